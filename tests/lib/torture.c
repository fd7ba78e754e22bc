/* tests/lib/torture.c: fails the n-th allocation. malloc and friends are wrapped by symbol interposition; under a
 * sanitizer, which has its own malloc, the body runs once without a failure. */
#include "tests/lib/test.h"

#include <stdbool.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__has_feature)
#define INTERPOSE 0
#else
#define INTERPOSE 1
#endif

static unsigned countdown; /* 0: off */
static bool failed_one;

#if INTERPOSE
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static bool fail_now(void)
{
	if (countdown == 0 || --countdown != 0)
		return false;
	failed_one = true;
	return true;
}
void *malloc(size_t n)
{
	return fail_now() ? NULL : __libc_malloc(n);
}
void *calloc(size_t n, size_t each)
{
	return fail_now() ? NULL : __libc_calloc(n, each);
}
void *realloc(void *p, size_t n)
{
	return fail_now() ? NULL : __libc_realloc(p, n);
}
#endif

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
