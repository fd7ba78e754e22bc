/* base/clock.c: see clock.h. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

uint64_t sl_clock_mono_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t sl_clock_mono_ms(void)
{
	return sl_clock_mono_us() / 1000u;
}

int64_t sl_clock_wall_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static uint64_t real_mono(void *ctx)
{
	return sl_clock_mono_ms();
}

static int64_t real_wall(void *ctx)
{
	return sl_clock_wall_ms();
}

const struct sl_clock sl_clock_real = {real_mono, real_wall, NULL};

/* Nearly all times that are written are of this second, so its text is kept. */
void sl_time_format(int64_t wall_ms, char out[SL_TIME_TEXT_BYTES])
{
	static _Thread_local struct {
		int64_t secs;
		size_t len; /* 19 bytes up to the year 9999; 0: nothing yet */
		char text[SL_TIME_TEXT_BYTES - 6];
	} last;
	int64_t ms = wall_ms % 1000;
	int64_t secs = wall_ms / 1000;
	if (ms < 0)
		ms += 1000, secs--;
	if (!last.len || last.secs != secs) {
		time_t t = (time_t)secs;
		struct tm tm;
		last.secs = secs;
		last.len = gmtime_r(&t, &tm) ? strftime(last.text, sizeof(last.text), "%Y-%m-%dT%H:%M:%S", &tm) : 0;
		if (!last.len) {
			(void)snprintf(out, SL_TIME_TEXT_BYTES, "1970-01-01T00:00:00.000Z");
			return;
		}
	}
	memcpy(out, last.text, last.len);
	char *end = out + last.len;
	*end++ = '.';
	*end++ = (char)('0' + ms / 100);
	*end++ = (char)('0' + ms / 10 % 10);
	*end++ = (char)('0' + ms % 10);
	*end++ = 'Z';
	*end = 0;
}

static bool digits(struct sl_str s, size_t at, size_t n, int *out)
{
	int v = 0;
	if (at + n > s.len)
		return false;
	for (size_t i = at; i < at + n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (s.p[i] - '0');
	}
	*out = v;
	return true;
}

bool sl_time_parse(struct sl_str s, int64_t *wall_ms)
{
	int year, mon, day, hour, min, sec, oh = 0, om = 0;
	int64_t ms = 0, scale = 100;
	if (!digits(s, 0, 4, &year) || !digits(s, 5, 2, &mon) || !digits(s, 8, 2, &day) || !digits(s, 11, 2, &hour) ||
	    !digits(s, 14, 2, &min) || !digits(s, 17, 2, &sec) || s.p[4] != '-' || s.p[7] != '-' || s.p[13] != ':' ||
	    s.p[16] != ':' || !strchr("Tt ", s.p[10]) || mon < 1 || mon > 12 || day < 1 || day > 31 || hour > 23 ||
	    min > 59 || sec > 60)
		return false;
	size_t i = 19;
	if (i < s.len && s.p[i] == '.') {
		for (i++; i < s.len && s.p[i] >= '0' && s.p[i] <= '9'; i++) {
			ms += (s.p[i] - '0') * scale;
			scale /= 10;
		}
	}
	if (i >= s.len)
		return false;
	int sign = s.p[i] == '-' ? -1 : 1;
	if (s.p[i] == 'Z' || s.p[i] == 'z') {
		if (i + 1 != s.len)
			return false;
	} else if ((s.p[i] == '+' || s.p[i] == '-') && i + 6 == s.len && s.p[i + 3] == ':') {
		if (!digits(s, i + 1, 2, &oh) || !digits(s, i + 4, 2, &om) || oh > 23 || om > 59)
			return false;
	} else {
		return false;
	}
	struct tm tm = {.tm_year = year - 1900,
			.tm_mon = mon - 1,
			.tm_mday = day,
			.tm_hour = hour,
			.tm_min = min,
			.tm_sec = sec};
	int64_t secs = (int64_t)timegm(&tm) - sign * (oh * 3600 + om * 60);
	if (tm.tm_mday != day) /* timegm turned 31 April into 1 May */
		return false;
	*wall_ms = secs * 1000 + ms;
	return true;
}
