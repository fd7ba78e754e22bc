/* bench/pg_group.c: the reference of `steps`: the least a durable ten-step workflow can cost on this PostgreSQL.
 *
 *     pg_group URL CONCURRENCY SECONDS CONNECTIONS each|ahead [POSTGRES_PID]
 *
 * Bare group commit through libpq: whatever is ready when a connection is free goes into one unnest INSERT and one
 * commit. A run has one row at its begin, ten steps of about 150 bytes, and an update at its end. each    a step starts
 * only when the one before it is committed: ten commits on the way of a run ahead   the ten steps of a run are written
 * in one commit, as an engine may that repeats pure steps after a crash No engine, no validation, no HTTP, no events: a
 * ceiling, not a competitor. Prints one JSON line.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "bench/lib.h"

#define STEPS       10
#define CONNECTIONS 8

/* As the text of an array element: quotes are escaped once more. */
static const char result[] =
	"\"{\\\"status\\\":\\\"ok\\\",\\\"output\\\":{\\\"text\\\":\\\"what a small step says when it is done, "
	"in about as many words as a person would take\\\",\\\"tokens\\\":42}}\"";

struct flow {
	long long id;
	int step; /* the next one, from 1 */
	uint64_t began_us;
};

struct conn {
	PGconn *pg;
	struct flow **batch; /* in this commit */
	int n;               /* 0: free */
	bool busy;
};

static struct flow **ready;
static int n_ready;

static void must(PGconn *pg, PGresult *r)
{
	ExecStatusType s = PQresultStatus(r);
	if (s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK)
		bench_die("%s", PQerrorMessage(pg));
	PQclear(r);
}

static void run_sql(PGconn *pg, const char *sql)
{
	must(pg, PQexec(pg, sql));
}

static void open_conn(struct conn *c, const char *url, int concurrency)
{
	c->pg = PQconnectdb(url);
	if (PQstatus(c->pg) != CONNECTION_OK)
		bench_die("%s", PQerrorMessage(c->pg));
	c->batch = calloc((size_t)concurrency, sizeof(struct flow *));
	run_sql(c->pg, "SET jit = off");
	must(c->pg,
	     PQprepare(c->pg, "begin", "INSERT INTO bench_flow SELECT unnest($1::bigint[]), 'running'", 0, NULL));
	must(c->pg,
	     PQprepare(c->pg, "step",
		       "INSERT INTO bench_step SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[])", 0, NULL));
	must(c->pg,
	     PQprepare(c->pg, "end", "UPDATE bench_flow SET status = 'done' FROM unnest($1::bigint[]) u WHERE id = u",
		       0, NULL));
}

static void element(struct bench_bytes *b, const char *text, size_t n)
{
	bench_append(b, b->n ? "," : "{", 1);
	bench_append(b, text, n);
}

static void number(struct bench_bytes *b, long long v)
{
	char text[24];
	element(b, text, (size_t)snprintf(text, sizeof(text), "%lld", v));
}

static const char *closed(struct bench_bytes *b)
{
	bench_append(b, "}", 2); /* with its NUL */
	return b->p;
}

/* What is ready, at most this connection's share, in one commit. A pipeline without BEGIN is one transaction up to its
 * sync. */
static void commit_ready(struct conn *c, bool ahead, int at_most)
{
	static struct bench_bytes begins, ids, seqs, texts, ends;
	begins.n = ids.n = seqs.n = texts.n = ends.n = 0;
	c->n = n_ready < at_most ? n_ready : at_most;
	n_ready -= c->n;
	memcpy(c->batch, ready + n_ready, (size_t)c->n * sizeof(*ready));
	for (int i = 0; i < c->n; i++) {
		struct flow *f = c->batch[i];
		if (f->step == 1)
			number(&begins, f->id);
		int last = ahead ? STEPS : f->step;
		for (; f->step <= last; f->step++) {
			number(&ids, f->id);
			number(&seqs, f->step);
			element(&texts, result, sizeof(result) - 1);
		}
		if (f->step > STEPS)
			number(&ends, f->id);
	}
	PQenterPipelineMode(c->pg);
	if (begins.n) {
		const char *v[] = {closed(&begins)};
		PQsendQueryPrepared(c->pg, "begin", 1, v, NULL, NULL, 0);
	}
	const char *v[] = {closed(&ids), closed(&seqs), closed(&texts)};
	PQsendQueryPrepared(c->pg, "step", 3, v, NULL, NULL, 0);
	if (ends.n) {
		const char *e[] = {closed(&ends)};
		PQsendQueryPrepared(c->pg, "end", 1, e, NULL, NULL, 0);
	}
	PQpipelineSync(c->pg);
	while (PQflush(c->pg) > 0) {
		/* the sockets block for a moment only; a reference may wait */
	}
	c->busy = true;
}

/* True: the commit has returned. */
static bool finish(struct conn *c)
{
	if (!PQconsumeInput(c->pg))
		bench_die("%s", PQerrorMessage(c->pg));
	while (!PQisBusy(c->pg)) {
		PGresult *r = PQgetResult(c->pg);
		if (!r)
			continue; /* between two statements of the pipeline */
		if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
			PQclear(r);
			PQexitPipelineMode(c->pg);
			c->busy = false;
			return true;
		}
		must(c->pg, r);
	}
	return false;
}

int main(int argc, char **argv)
{
	struct conn conns[CONNECTIONS] = {0};
	struct pollfd polls[CONNECTIONS];
	struct bench_samples took = {0};
	if (argc < 6)
		bench_die("usage: pg_group URL CONCURRENCY SECONDS CONNECTIONS each|ahead [POSTGRES_PID]");
	const char *url = argv[1];
	int concurrency = (int)bench_int(argv[2], "CONCURRENCY"), n_conns = (int)bench_int(argv[4], "CONNECTIONS");
	uint64_t span_us = (uint64_t)bench_int(argv[3], "SECONDS") * 1000000;
	bool ahead = strcmp(argv[5], "ahead") == 0;
	if (concurrency < 1 || n_conns < 1 || n_conns > CONNECTIONS || (!ahead && strcmp(argv[5], "each") != 0))
		bench_die("1 run or more, 1 to %d connections, each or ahead", CONNECTIONS);
	pid_t postgres = argc > 6 ? (pid_t)bench_int(argv[6], "POSTGRES_PID") : 0;

	PGconn *setup = PQconnectdb(url);
	if (PQstatus(setup) != CONNECTION_OK)
		bench_die("%s", PQerrorMessage(setup));
	run_sql(setup, "SET client_min_messages = error");
	run_sql(setup, "DROP TABLE IF EXISTS bench_flow, bench_step");
	run_sql(setup, "CREATE TABLE bench_flow (id bigint PRIMARY KEY, status text)");
	run_sql(setup, "CREATE TABLE bench_step (flow bigint, seq int, result text, PRIMARY KEY (flow, seq))");
	for (int i = 0; i < n_conns; i++)
		open_conn(&conns[i], url, concurrency);

	struct flow *flows = calloc((size_t)concurrency, sizeof(*flows));
	ready = calloc((size_t)concurrency, sizeof(struct flow *));
	long long next_id = 1;
	uint64_t began = bench_now_us(), flows_done = 0, steps = 0, commits = 0;
	for (int i = 0; i < concurrency; i++) {
		flows[i] = (struct flow){.id = next_id++, .step = 1, .began_us = began};
		ready[n_ready++] = &flows[i];
	}
	double cpu = bench_cpu_s(getpid(), false), cpu_postgres = bench_cpu_s(postgres, true);
	for (;;) {
		for (int i = 0; i < n_conns; i++)
			if (!conns[i].busy && n_ready)
				commit_ready(&conns[i], ahead, (concurrency + n_conns - 1) / n_conns);
		for (int i = 0; i < n_conns; i++)
			polls[i] = (struct pollfd){.fd = PQsocket(conns[i].pg), .events = POLLIN};
		poll(polls, (nfds_t)n_conns, 1000);
		uint64_t now = bench_now_us();
		for (int i = 0; i < n_conns; i++) {
			struct conn *c = &conns[i];
			if (!c->busy || !polls[i].revents || !finish(c))
				continue;
			commits++;
			steps += (uint64_t)c->n * (ahead ? STEPS : 1);
			for (int k = 0; k < c->n; k++) {
				struct flow *f = c->batch[k];
				if (f->step > STEPS) {
					bench_sample(&took, (int64_t)(now - f->began_us));
					flows_done++;
					*f = (struct flow){.id = next_id++, .step = 1, .began_us = now};
				}
				ready[n_ready++] = f;
			}
		}
		if (now - began >= span_us)
			break;
	}
	double seconds = (double)(bench_now_us() - began) / 1e6;
	cpu = bench_cpu_s(getpid(), false) - cpu;
	cpu_postgres = bench_cpu_s(postgres, true) - cpu_postgres;
	for (int i = 0; i < n_conns; i++) {
		while (conns[i].busy && !finish(&conns[i])) {
			struct pollfd wait = {.fd = PQsocket(conns[i].pg), .events = POLLIN};
			poll(&wait, 1, 1000);
		}
		PQfinish(conns[i].pg);
	}
	run_sql(setup, "DROP TABLE bench_flow, bench_step");
	PQfinish(setup);
	printf("{\"runs_per_s\":%.1f,\"steps_per_s\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"steps_per_commit\":%.2f,"
	       "\"server_cpu_us_per_step\":%.2f,"
	       "\"postgres_cpu_us_per_step\":%.2f}\n",
	       (double)flows_done / seconds, (double)steps / seconds, bench_ms(&took, 0.5), bench_ms(&took, 0.99),
	       (double)steps / (double)(commits ? commits : 1), cpu * 1e6 / (double)(steps ? steps : 1),
	       cpu_postgres * 1e6 / (double)(steps ? steps : 1));
	return 0;
}
