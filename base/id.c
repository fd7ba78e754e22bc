/* base/id.c: see id.h. */
#include "base/id.h"

#include <pthread.h>
#include <sodium.h>

#include "base/clock.h"

struct sl_uuid sl_uuid_new(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static uint64_t last_ms;
	static unsigned counter; /* 12 bits; spilling over borrows from the next millisecond */
	struct sl_uuid u;
	randombytes_buf(u.b, sizeof(u.b));
	uint64_t now = (uint64_t)sl_clock_wall_ms();
	pthread_mutex_lock(&lock);
	if (now > last_ms) {
		last_ms = now;
		counter = (unsigned)(u.b[6] & 0x03) << 8 | u.b[7]; /* starts low, so there is room to count */
	} else if (++counter > 0xfff) {
		last_ms++;
		counter = 0;
	}
	now = last_ms;
	unsigned seq = counter;
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < 6; i++)
		u.b[i] = (uint8_t)(now >> (40 - 8 * i));
	u.b[6] = (uint8_t)(0x70 | seq >> 8);
	u.b[7] = (uint8_t)seq;
	u.b[8] = (uint8_t)(0x80 | (u.b[8] & 0x3f));
	return u;
}

void sl_uuid_format(struct sl_uuid u, char out[SL_UUID_TEXT_BYTES])
{
	static const char hex[] = "0123456789abcdef";
	char *p = out;
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex[u.b[i] >> 4];
		*p++ = hex[u.b[i] & 15];
	}
	*p = 0;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool sl_uuid_parse(struct sl_str t, struct sl_uuid *out)
{
	struct sl_uuid u;
	if (t.len != 36)
		return false;
	size_t at = 0;
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			if (t.p[at++] != '-')
				return false;
		int hi = nibble(t.p[at]), lo = nibble(t.p[at + 1]);
		if (hi < 0 || lo < 0)
			return false;
		u.b[i] = (uint8_t)(hi << 4 | lo);
		at += 2;
	}
	*out = u;
	return true;
}

int64_t sl_uuid_wall_ms(struct sl_uuid u)
{
	int64_t ms = 0;
	for (int i = 0; i < 6; i++)
		ms = ms << 8 | u.b[i];
	return ms;
}
