/* tests/lib/test.h: cmocka, and what every test needs. Include it first. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* How often a random test plays: what the variable `name` of the environment says, else `usually`, or an Nth of it (at
 * least one) with SLUICE_FEWER=N, where the same has been played in whole in another build. */
unsigned long sl_test_rounds(const char *name, unsigned long usually);

/* The step through thousands of cases that one thread plays: under the thread sanitizer, which has nothing to find
 * there and makes them ten times as long, each tenth must do. */
#if defined(__SANITIZE_THREAD__)
#define SL_TEST_EACH 10
#else
#define SL_TEST_EACH 1
#endif

/* Reruns body(arg) failing its 1st, 2nd, 3rd … allocation until a run needs no failure any more. The body must survive
 * every one of them and leak nothing (the address sanitizer looks). Returns how many were failed. Call it only while
 * no other thread allocates. */
unsigned sl_test_torture(void (*body)(void *arg), void *arg);

/* The parts of it, for bodies that need more than a function. The n-th allocation from now on fails; 0: none. */
void sl_test_fail_nth(unsigned n);
unsigned sl_test_allocations(void); /* since then */
bool sl_test_has_failed(void);
void sl_test_failed_where(void); /* says on stderr where that was, for addr2line */
void sl_test_spare(int by);      /* +1 … -1 around the fakes: their allocations neither fail nor count */
long sl_test_blocks(void);       /* allocated and not given back, by anybody: compare before and after */
bool sl_test_can_torture(void);  /* false under a sanitizer */

/* The same from here to the end of a block: SL_TEST_SPARED; as its first line. */
static inline int sl_test_spare_begin(void)
{
	sl_test_spare(1);
	return 1;
}
static inline void sl_test_spare_end(int *spared)
{
	sl_test_spare(-*spared);
}
#define SL_TEST_SPARED __attribute__((cleanup(sl_test_spare_end), unused)) int spared_ = sl_test_spare_begin()
