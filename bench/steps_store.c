/* bench/steps_store.c: what the journal costs: durable steps a second through store/journal.h, beside a bare group
 * commit of the same rows on the same PostgreSQL.
 *
 *     steps_store URL [runs at a time = 32] [seconds = 5] [connections = 2]
 *
 * A run is ten steps; a step is appended when the one before it is committed. The store writes what it always writes:
 * the head, the projection, the once key, under the condition on the lease. The bare side inserts rows (run, seq, text)
 * with one prepared unnest statement, and one row a run at its begin and an update at its end.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

#include "base/clock.h"
#include "store/journal.h"
#include "store/migrate.h"

#define STEPS 10

static const char result_text[] =
	"{\"output\":{\"text\":\"The quick brown fox jumps over the lazy dog and then some more text to make "
	"this a plausible small result\",\"tokens\":42},\"status\":\"ok\"}";

static struct sl_store *store;
static struct sl_bytes *payload, *definition, *inputs, *once[STEPS + 1];
static _Atomic uint64_t steps_done, runs_done, failures;
static _Atomic bool stopping;
static _Atomic int active;

struct run {
	struct sl_run_id id;
	int step;
};

static void next(struct run *r);

static void on_done(struct sl_batch *b, enum sl_code rc)
{
	struct run *r = b->ctx;
	sl_batch_free(b);
	if (rc != SL_OK)
		atomic_fetch_add(&failures, 1);
	atomic_fetch_add_explicit(&steps_done, 1, memory_order_relaxed);
	if (++r->step > STEPS) {
		atomic_fetch_add_explicit(&runs_done, 1, memory_order_relaxed);
		r->step = 1;
	}
	if (r->step == 1 && atomic_load_explicit(&stopping, memory_order_relaxed)) {
		atomic_fetch_sub(&active, 1);
		return;
	}
	next(r);
}

static void next(struct run *r)
{
	struct sl_batch *b = sl_batch_new(1);
	if (r->step == 1)
		r->id = (struct sl_run_id){sl_uuid_new()};
	b->run = r->id;
	b->epoch = 1;
	b->ctx = r;
	b->done = on_done;
	b->bytes = payload->len;
	b->records[0] = (struct sl_record){.seq = (uint64_t)r->step,
					   .wall_ms = sl_clock_wall_ms(),
					   .event = "node_state_change",
					   .data = sl_bytes_ref(payload),
					   .once = sl_bytes_ref(once[r->step])};
	if (r->step == 1) {
		b->create = sl_run_head_new();
		b->create->id = r->id;
		b->create->workflow = sl_str_dup(SL_STR("bench"));
		b->create->project = sl_str_dup(SL_STR("default"));
		b->create->definition = sl_bytes_ref(definition);
		b->create->inputs = sl_bytes_ref(inputs);
		b->create->created_ms = sl_clock_wall_ms();
	}
	b->has_projection = true;
	b->projection = (struct sl_projection){.status = r->step == STEPS ? "succeeded" : "running",
					       .started_ms = sl_clock_wall_ms(),
					       .nodes_total = STEPS,
					       .nodes_done = (uint32_t)r->step,
					       .done = r->step == STEPS};
	if (sl_store_append(store, b) != SL_OK)
		abort();
}

static double cpu_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double measure_store(const char *url, int n, int seconds, int connections)
{
	struct sl_store_config config;
	struct sl_store_stats stats;
	struct sl_error err = {0};
	struct run *runs = calloc((size_t)n, sizeof(*runs));
	sl_store_config_init(&config);
	config.url = url;
	config.journal_connections = (uint32_t)connections;
	if (sl_store_open(&config, &store, &err) != SL_OK || sl_store_wait(store, 10000, &err) != SL_OK) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	atomic_store(&steps_done, 0);
	atomic_store(&stopping, false);
	atomic_store(&active, n);
	double cpu = cpu_s();
	uint64_t began = sl_clock_mono_us();
	for (int i = 0; i < n; i++) {
		runs[i].step = 1;
		next(&runs[i]);
	}
	nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
	uint64_t steps = atomic_load(&steps_done), took = sl_clock_mono_us() - began;
	cpu = cpu_s() - cpu;
	atomic_store(&stopping, true);
	while (atomic_load(&active))
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	sl_store_stats(store, &stats);
	double rate = (double)steps * 1e6 / (double)took;
	printf("{\"bench\":\"steps_store\",\"side\":\"store\",\"runs\":%d,\"connections\":%d,\"steps_per_s\":%.0f,"
	       "\"records_per_commit\":%.1f,"
	       "\"cpu_us_per_step\":%.2f,\"failures\":%llu}\n",
	       n, connections, rate, (double)stats.records / (double)(stats.commits ? stats.commits : 1),
	       cpu * 1e6 / (double)(steps ? steps : 1), (unsigned long long)atomic_load(&failures));
	sl_store_close(store, 5000);
	free(runs);
	return rate;
}

/* ---- the bare group commit ---- */

struct bare {
	pthread_t thread;
	const char *url;
	int n;
	uint64_t until_us, steps;
};

static _Atomic long long next_id = 1;

static void must(PGconn *c, PGresult *r)
{
	if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK) {
		fprintf(stderr, "%s\n", PQerrorMessage(c));
		exit(1);
	}
	PQclear(r);
}

static void *bare_thread(void *arg)
{
	struct bare *b = arg;
	PGconn *c = PQconnectdb(b->url);
	size_t room = (size_t)b->n * 400 + 16;
	char *ids = malloc(room), *seqs = malloc(room), *texts = malloc(room), escaped[512];
	size_t e = 0;
	for (const char *p = result_text; *p; p++) {
		if (*p == '"')
			escaped[e++] = '\\';
		escaped[e++] = *p;
	}
	escaped[e] = 0;
	must(c, PQexec(c, "SET jit = off"));
	must(c, PQprepare(c, "begin", "INSERT INTO bench_runs SELECT unnest($1::bigint[]), 'running'", 0, NULL));
	must(c,
	     PQprepare(c, "step", "INSERT INTO bench_steps SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[])",
		       0, NULL));
	must(c, PQprepare(c, "end", "UPDATE bench_runs SET status = 'done' FROM unnest($1::bigint[]) u WHERE id = u", 0,
			  NULL));
	while (sl_clock_mono_us() < b->until_us) {
		long long first = atomic_fetch_add(&next_id, b->n);
		for (int step = 1; step <= STEPS; step++) {
			size_t i = 0, s = 0, t = 0;
			for (int k = 0; k < b->n; k++) {
				i += (size_t)snprintf(ids + i, room - i, "%c%lld", k ? ',' : '{', first + k);
				s += (size_t)snprintf(seqs + s, room - s, "%c%d", k ? ',' : '{', step);
				t += (size_t)snprintf(texts + t, room - t, "%c\"%s\"", k ? ',' : '{', escaped);
			}
			memcpy(ids + i, "}", 2);
			memcpy(seqs + s, "}", 2);
			memcpy(texts + t, "}", 2);
			const char *v[] = {ids, seqs, texts};
			PQenterPipelineMode(c);
			if (step == 1)
				PQsendQueryPrepared(c, "begin", 1, v, NULL, NULL, 0);
			PQsendQueryPrepared(c, "step", 3, v, NULL, NULL, 0);
			if (step == STEPS)
				PQsendQueryPrepared(c, "end", 1, v, NULL, NULL, 0);
			PQpipelineSync(c);
			for (;;) {
				PGresult *r = PQgetResult(c);
				if (!r)
					continue;
				ExecStatusType st = PQresultStatus(r);
				if (st == PGRES_PIPELINE_SYNC) {
					PQclear(r);
					break;
				}
				must(c, r);
			}
			b->steps += (uint64_t)b->n;
		}
	}
	PQfinish(c);
	free(ids);
	free(seqs);
	free(texts);
	return NULL;
}

static double measure_bare(const char *url, int n, int seconds, int connections)
{
	struct bare b[4] = {0};
	PGconn *c = PQconnectdb(url);
	uint64_t steps = 0, began;
	if (connections > n)
		connections = n;
	must(c,
	     PQexec(c,
		    "SET client_min_messages = error; DROP TABLE IF EXISTS bench_runs, bench_steps; CREATE TABLE "
		    "bench_runs (id bigint PRIMARY KEY, "
		    "status text); CREATE TABLE bench_steps (run bigint, seq int, data text, PRIMARY KEY (run, seq))"));
	began = sl_clock_mono_us();
	for (int i = 0; i < connections; i++) {
		b[i] = (struct bare){.url = url, .n = n / connections, .until_us = began + (uint64_t)seconds * 1000000};
		pthread_create(&b[i].thread, NULL, bare_thread, &b[i]);
	}
	for (int i = 0; i < connections; i++) {
		pthread_join(b[i].thread, NULL);
		steps += b[i].steps;
	}
	double rate = (double)steps * 1e6 / (double)(sl_clock_mono_us() - began);
	printf("{\"bench\":\"steps_store\",\"side\":\"bare\",\"runs\":%d,\"connections\":%d,\"steps_per_s\":%.0f}\n", n,
	       connections, rate);
	must(c, PQexec(c, "DROP TABLE bench_runs, bench_steps"));
	PQfinish(c);
	return rate;
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 32, seconds = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 5,
	    connections = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 2;
	struct sl_error err = {0};
	if (argc < 2 || n < 1 || seconds < 1 || connections < 1 || connections > 4) {
		fprintf(stderr, "usage: steps_store URL [runs at a time] [seconds] [connections 1..4]\n");
		return 2;
	}
	if (sl_migrate_up(argv[1], NULL, &err) != SL_OK) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	payload = sl_bytes_new(result_text, sizeof(result_text) - 1);
	definition = sl_bytes_new("{\"sluice\":1}", 12);
	inputs = sl_bytes_new("{}", 2);
	for (int i = 1; i <= STEPS; i++) {
		char name[16];
		once[i] = sl_bytes_new(name, (size_t)snprintf(name, sizeof(name), "node%d", i));
	}
	double sum = 0;
	for (int round = 0; round < 3; round++) {
		double bare = measure_bare(argv[1], n, seconds, connections);
		sum += measure_store(argv[1], n, seconds, connections) / bare;
	}
	printf("{\"bench\":\"steps_store\",\"runs\":%d,\"connections\":%d,\"store_to_bare\":%.2f,\"rounds\":3}\n", n,
	       connections, sum / 3);
	return 0;
}
