/* base/clock.h: time, real or fake.
 *
 * Thread    [any]. Deadlines are monotonic milliseconds in uint64_t; wall time (ms since 1970, UTC) appears only where
 *           a person or the journal sees it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* The process clock, as the loops and the rooms outside the engine use it. */
uint64_t sl_clock_mono_ms(void);
uint64_t sl_clock_mono_us(void);
int64_t sl_clock_wall_ms(void);

/* A clock as a port: the engine asks this one, so a test can turn its hands. */
struct sl_clock {
	uint64_t (*mono_ms)(void *ctx);
	int64_t (*wall_ms)(void *ctx);
	void *ctx;
};
extern const struct sl_clock sl_clock_real;

static inline uint64_t sl_clock_mono(const struct sl_clock *c)
{
	return c->mono_ms(c->ctx);
}
static inline int64_t sl_clock_wall(const struct sl_clock *c)
{
	return c->wall_ms(c->ctx);
}

#define SL_TIME_TEXT_BYTES 32
void sl_time_format(int64_t wall_ms, char out[SL_TIME_TEXT_BYTES]); /* 2026-01-31T12:00:00.000Z */
bool sl_time_parse(struct sl_str text, int64_t *wall_ms);           /* RFC 3339, any offset */
