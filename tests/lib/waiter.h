/* tests/lib/waiter.h: whoever waits for a place at a limit, with an eye on how often it is woken and held.
 * Thread    the test's own.
 */
#pragma once

#include "llm/wake.h"

struct waiter {
	unsigned wakes;
	int refs; /* 0 again when nobody holds it any more */
};

static void waiter_wake(void *h)
{
	((struct waiter *)h)->wakes++;
}

static void *waiter_ref(void *h)
{
	((struct waiter *)h)->refs++;
	return h;
}

static void waiter_unref(void *h)
{
	((struct waiter *)h)->refs--;
}

static const struct sl_wake wakes = {waiter_wake, waiter_ref, waiter_unref};
