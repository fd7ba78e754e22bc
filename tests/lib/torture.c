/* tests/lib/torture.c: fails the n-th allocation, and counts what is not given back. malloc and friends are wrapped by
 * symbol interposition, so libraries are tortured, too; under a sanitizer, which has its own malloc, nothing fails and
 * nothing is counted. */
#include "tests/lib/test.h"

#include <errno.h>
#include <execinfo.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__has_feature)
#define INTERPOSE 0
#else
#define INTERPOSE 1
#endif

static unsigned countdown; /* 0: off */
static unsigned made;      /* allocations since it was set */
static bool failed_one;
static int spared;
static _Atomic long blocks;
static void *frames[48]; /* of the one that failed */
static int n_frames;

#if INTERPOSE
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static bool fail_now(void)
{
	if (spared)
		return false;
	made++;
	if (countdown == 0 || --countdown != 0)
		return false;
	failed_one = true;
	spared++;
	n_frames = backtrace(frames, 48);
	spared--;
	errno = ENOMEM;
	return true;
}

static void *counted(void *p)
{
	if (p)
		atomic_fetch_add_explicit(&blocks, 1, memory_order_relaxed);
	return p;
}

void *malloc(size_t n)
{
	return fail_now() ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t each)
{
	return fail_now() ? NULL : counted(__libc_calloc(n, each));
}

void *realloc(void *p, size_t n)
{
	if (fail_now())
		return NULL;
	void *q = __libc_realloc(p, n);
	if (!p)
		return counted(q);
	if (n == 0 && !q)
		atomic_fetch_sub_explicit(&blocks, 1, memory_order_relaxed);
	return q;
}

void *memalign(size_t align, size_t n)
{
	return fail_now() ? NULL : counted(__libc_memalign(align, n));
}

void *aligned_alloc(size_t align, size_t n)
{
	return memalign(align, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
	void *p = memalign(align, n);
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

void free(void *p)
{
	if (p)
		atomic_fetch_sub_explicit(&blocks, 1, memory_order_relaxed);
	__libc_free(p);
}
#endif

void sl_test_failed_where(void)
{
	backtrace_symbols_fd(frames, n_frames, 2);
}

bool sl_test_can_torture(void)
{
	return INTERPOSE;
}

void sl_test_fail_nth(unsigned n)
{
	if (n && !n_frames)
		n_frames = backtrace(frames, 1); /* it loads a library, the first time */
	countdown = INTERPOSE ? n : 0;
	made = 0;
	failed_one = false;
}

unsigned sl_test_allocations(void)
{
	return made;
}

bool sl_test_has_failed(void)
{
	return failed_one;
}

void sl_test_spare(int by)
{
	spared += by;
}

long sl_test_blocks(void)
{
	return atomic_load_explicit(&blocks, memory_order_relaxed);
}

unsigned sl_test_torture(void (*body)(void *arg), void *arg)
{
	unsigned n = 0;
	do {
		failed_one = false;
		countdown = INTERPOSE ? ++n : 0;
		body(arg);
		countdown = 0;
	} while (failed_one && n < 100000);
	return n ? n - 1 : 0;
}
