/* store/cdc.c: see cdc.h. */
#include "store/cdc.h"

#include <stdint.h>

/* 2^-14 of all places before the average, 2^-10 behind it: two bits either way of the 12 that 4,096 has. */
#define MASK_BEFORE (~UINT64_C(0) << (64 - 14))
#define MASK_BEHIND (~UINT64_C(0) << (64 - 10))

/* A number for each byte, of random bits: the sequence of splitmix64 (Steele, Lea, Flood, 2014) from 0, worked out by
 * the compiler. Other numbers would do; but who changes them stores everything once more. */
#define STEP(i)    (UINT64_C(0x9e3779b97f4a7c15) * ((uint64_t)(i) + 1))
#define MIX_1(z)   (((z) ^ ((z) >> 30)) * UINT64_C(0xbf58476d1ce4e5b9))
#define MIX_2(z)   (((z) ^ ((z) >> 27)) * UINT64_C(0x94d049bb133111eb))
#define MIX_3(z)   ((z) ^ ((z) >> 31))
#define GEAR(i)    MIX_3(MIX_2(MIX_1(STEP(i))))
#define GEAR_4(i)  GEAR(i), GEAR((i) + 1), GEAR((i) + 2), GEAR((i) + 3)
#define GEAR_16(i) GEAR_4(i), GEAR_4((i) + 4), GEAR_4((i) + 8), GEAR_4((i) + 12)
#define GEAR_64(i) GEAR_16(i), GEAR_16((i) + 16), GEAR_16((i) + 32), GEAR_16((i) + 48)

static const uint64_t gear[256] = {GEAR_64(0), GEAR_64(64), GEAR_64(128), GEAR_64(192)};

size_t sl_cdc_cut(const char *p, size_t len)
{
	const unsigned char *b = (const unsigned char *)p;
	size_t most = len < SL_CDC_MOST ? len : SL_CDC_MOST;
	size_t average = most < SL_CDC_AVERAGE ? most : SL_CDC_AVERAGE;
	uint64_t hash = 0;
	size_t i = SL_CDC_LEAST;
	if (len <= SL_CDC_LEAST)
		return len;
	/* The hash knows the last 64 bytes when it is first asked. */
	for (size_t k = SL_CDC_LEAST - 64; k < SL_CDC_LEAST; k++)
		hash = (hash << 1) + gear[b[k]];
	for (; i < average; i++) {
		if (!(hash & MASK_BEFORE))
			return i;
		hash = (hash << 1) + gear[b[i]];
	}
	for (; i < most; i++) {
		if (!(hash & MASK_BEHIND))
			return i;
		hash = (hash << 1) + gear[b[i]];
	}
	return most;
}
