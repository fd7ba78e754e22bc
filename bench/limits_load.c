/* bench/limits_load.c: what limits cost by themselves, in nanoseconds of processor time.
 *
 *     limits_load limiter [buckets = 100] [seconds = 2]    take and settle, one call after the other; beside a lock and
 * an addition limits_load cache [entries = 10000] [seconds = 2]    hits; beside a copy of the answer's bytes
 *     limits_load watch [tokens = 2000000]                 the run breaker's detectors on a stream of tokens; beside
 * adding them to it
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/lib.h"
#include "engine/stream.h"
#include "llm/cache.h"
#include "llm/limiter.h"
#include "llm/runaway.h"

static double cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void limiter(long buckets, long seconds)
{
	struct sl_limiter *l;
	char(*names)[40] = calloc((size_t)buckets, sizeof(*names));
	const struct sl_rate rate = {.rpm = 100000000, .tpm = 100000000000};
	uint64_t n = 0, until = bench_now_us() + (uint64_t)seconds * 1000000, waits = 0, sum = 0;
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	if (!names || sl_limiter_new(&l) != SL_OK)
		bench_die("no memory");
	for (long i = 0; i < buckets; i++)
		snprintf(names[i], sizeof(names[i]), "profile-%ld", i);
	double begin = cpu_ns();
	while (bench_now_us() < until)
		for (int k = 0; k < 1000; k++, n++) {
			struct sl_ticket t = {0};
			struct sl_limiter_view v;
			uint64_t now = n / 1000;
			if (sl_limiter_take(l, sl_str(names[n % (uint64_t)buckets]), &rate, 1000, &t, NULL, NULL, now,
					    &v) != SL_OK)
				bench_die("take");
			waits += v.wait_ms > 0;
			sl_limiter_settle(l, &t, 700, now);
		}
	double ours = (cpu_ns() - begin) / (double)n;
	begin = cpu_ns();
	for (uint64_t i = 0; i < n; i++) {
		pthread_mutex_lock(&lock);
		sum += i;
		pthread_mutex_unlock(&lock);
	}
	double bare = (cpu_ns() - begin) / (double)n;
	printf("{\"what\":\"limiter\",\"buckets\":%ld,\"calls\":%llu,\"ns_per_call\":%.1f,\"lock_ns\":%.1f,\"waited\":%"
	       "llu,\"x\":%llu}\n",
	       buckets, (unsigned long long)n, ours, bare, (unsigned long long)waits, (unsigned long long)(sum & 1));
	sl_limiter_free(l);
	free(names);
}

static void cache(long entries, long seconds)
{
	struct sl_cache *c;
	char answer[1500], copy[1500];
	uint64_t n = 0, hits = 0, until = bench_now_us() + (uint64_t)seconds * 1000000, sum = 0;
	memset(answer, 'x', sizeof(answer));
	struct sl_bytes *output = sl_bytes_new(answer, sizeof(answer));
	if (!output || sl_cache_new(NULL, &c) != SL_OK)
		bench_die("no memory");
	for (long i = 0; i < entries; i++) {
		struct sl_cache_key key = {{0}};
		struct sl_cache_ticket t = {0};
		struct sl_cache_hit hit;
		memcpy(key.b, &i, sizeof(i));
		if (sl_cache_ask(c, &key, SL_STR("llm"), &t, NULL, NULL, 1, &hit) == SL_CACHE_MISS)
			sl_cache_done(c, &t, output, SL_STR("run/a"), 3600, 1);
	}
	double begin = cpu_ns();
	while (bench_now_us() < until)
		for (int k = 0; k < 1000; k++, n++) {
			struct sl_cache_key key = {{0}};
			struct sl_cache_ticket t = {0};
			struct sl_cache_hit hit = {0};
			uint64_t i = n * 2654435761u % (uint64_t)entries;
			memcpy(key.b, &i, sizeof(i));
			hits += sl_cache_ask(c, &key, SL_STR("llm"), &t, NULL, NULL, 2, &hit) == SL_CACHE_HIT;
			sl_bytes_unref(hit.output);
		}
	double ours = (cpu_ns() - begin) / (double)n;
	begin = cpu_ns();
	for (uint64_t i = 0; i < n; i++) {
		memcpy(copy, answer, sizeof(copy));
		__asm__ volatile("" : : "r"(copy) : "memory");
		sum += (uint64_t)(unsigned char)copy[i % sizeof(copy)];
	}
	double bare = (cpu_ns() - begin) / (double)n;
	printf("{\"what\":\"cache\",\"entries\":%ld,\"calls\":%llu,\"hit_rate\":%.4f,\"ns_per_hit\":%.1f,\"copy_ns\":%."
	       "1f,\"x\":%llu}\n",
	       entries, (unsigned long long)n, (double)hits / (double)n, ours, bare, (unsigned long long)(sum & 1));
	sl_bytes_unref(output);
	sl_cache_free(c);
}

/* Words as a model sends them: about four letters and a blank, now and then a mark or a new line. */
static void words(char *out, size_t *len, uint32_t *seed)
{
	static const char *const list[] = {" the",  " model",    " weighs", " several", " sides", " of",
					   " one",  " question", ",",       ".\n",      " and",   " names",
					   " what", " follows",  " from",   " each"};
	*seed = *seed * 1664525u + 1013904223u;
	const char *w = list[*seed >> 28];
	*len = strlen(w);
	memcpy(out, w, *len);
}

static void watch(long tokens)
{
	const struct sl_runaway_limits limits = SL_RUNAWAY_DEFAULTS;
	double plain = 0, watched = 0;
	uint64_t bytes = 0, tripped = 0;
	for (int with = 0; with < 2; with++) {
		uint32_t seed = 7;
		double begin = cpu_ns();
		for (long done = 0; done < tokens;) {
			static struct sl_runaway_stream s;
			struct sl_runaway_verdict v;
			struct sl_stream *stream = sl_stream_new((struct sl_run_id){{{0}}}, SL_STR("a"), 1);
			if (!stream)
				bench_die("no memory");
			sl_runaway_stream_init(&s, &limits, 100000, 0);
			for (int k = 0; k < 1000; k++, done++) {
				char w[16];
				size_t n;
				words(w, &n, &seed);
				if (sl_stream_append(stream, SL_STREAM_TEXT, sl_str_n(w, n)) != SL_OK)
					bench_die("append");
				if (with)
					tripped += sl_runaway_feed(&s, false, sl_str_n(w, n), (uint64_t)k * 20, &v);
				else
					bytes += n;
			}
			sl_stream_unref(stream);
		}
		*(with ? &watched : &plain) = (cpu_ns() - begin) / (double)tokens;
	}
	printf("{\"what\":\"watch\",\"tokens\":%ld,\"bytes_per_token\":%.2f,\"append_ns\":%.1f,\"watched_ns\":%.1f,"
	       "\"watch_ns\":%.1f,\"tripped\":%llu}\n",
	       tokens, (double)bytes / (double)tokens, plain, watched, watched - plain, (unsigned long long)tripped);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	long n = argc > 2 ? bench_int(argv[2], "a number") : 0, seconds = argc > 3 ? bench_int(argv[3], "seconds") : 2;
	if (strcmp(what, "limiter") == 0)
		limiter(n ? n : 100, seconds);
	else if (strcmp(what, "cache") == 0)
		cache(n ? n : 10000, seconds);
	else if (strcmp(what, "watch") == 0)
		watch(n ? n : 2000000);
	else
		bench_die("usage: limits_load limiter|cache|watch [N] [SECONDS]");
	return 0;
}
