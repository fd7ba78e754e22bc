/* tests/lib/test.h: cmocka, and what every test needs. Include it first. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* Reruns body(arg) failing its 1st, 2nd, 3rd … allocation until a run needs no failure any more. The body must survive
 * every one of them and leak nothing (the address sanitizer looks). Returns how many were failed. Call it only while
 * no other thread allocates. */
unsigned sl_test_torture(void (*body)(void *arg), void *arg);
