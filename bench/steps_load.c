/* bench/steps_load.c: the load of `steps`: runs of a stored workflow in a closed loop, from submission to the event
 * that ends them.
 *
 *     steps_load PORT TOKEN WORKFLOW CONCURRENCY SECONDS SERVER_PID POSTGRES_PID [at-once|gather]
 *
 * Every place of the loop has a keep-alive connection of its own: POST /api/v1/runs, and the next one when the run has
 * ended. The end is seen where a program would see it: as execution:completed on one WebSocket that watches all runs.
 * It may come before the answer to the POST. The socket asks for events at once, or with `gather` takes the server's
 * interval. The first half second is not counted. Prints one JSON line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/idmap.h"
#include "bench/lib.h"

#define EARLY      (-1)
#define WARM_UP_US 500000

struct place {
	struct bench_http http;
	uint64_t sent_us;
};

/* Who waits for a run: put there by the POST's answer, or by the event when that came first (EARLY). */
static struct idmap waiting;
static struct place *places;
static struct bench_samples took;
static uint64_t counted_from_us, ended_runs, failed_runs, events;
static char request[1024];
static size_t request_len;

static void submit(struct place *p)
{
	p->sent_us = bench_now_us();
	bench_http_send(&p->http, request, request_len);
}

static void over(struct place *p, uint64_t now_us)
{
	if (now_us >= counted_from_us) {
		bench_sample(&took, (int64_t)(now_us - p->sent_us));
		ended_runs++;
	}
	submit(p);
}

static void on_answer(int index)
{
	struct place *p = &places[index];
	if (p->http.status != 202)
		bench_die("POST /api/v1/runs: %d %.*s", p->http.status, (int)p->http.body_len, p->http.body);
	const char *id = memmem(p->http.body, p->http.body_len, "\"id\":\"", 6);
	if (!id)
		bench_die("an answer without an id");
	id += 6;
	int early;
	if (idmap_take(&waiting, id, &early))
		over(p, bench_now_us());
	else
		idmap_put(&waiting, id, index);
}

static void on_message(void *ctx, char *text, size_t n, uint64_t now_us)
{
	static const char mark[] = "{\"event\":\"execution:", run[] = "\"run_id\":\"";
	char *end = text + n;
	(void)ctx;
	for (char *p = text; (p = memmem(p, (size_t)(end - p), mark, sizeof(mark) - 1));) {
		p += sizeof(mark) - 1;
		if (*p != 'c' && *p != 'f')
			continue;
		bool completed = strncmp(p, "completed\"", 10) == 0;
		if (!completed && strncmp(p, "failed\"", 7) != 0 && strncmp(p, "cancelled\"", 10) != 0)
			continue; /* created */
		char *id = memmem(p, (size_t)(end - p), run, sizeof(run) - 1);
		if (!id)
			bench_die("an end without a run");
		id += sizeof(run) - 1;
		events++;
		failed_runs += !completed;
		int place;
		if (idmap_take(&waiting, id, &place))
			over(&places[place], now_us);
		else
			idmap_put(&waiting, id, EARLY);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event got[128];
	struct bench_ws ws;
	char body[256];
	if (argc < 8)
		bench_die("usage: steps_load PORT TOKEN WORKFLOW CONCURRENCY SECONDS SERVER_PID POSTGRES_PID "
			  "[at-once|gather]");
	int port = (int)bench_int(argv[1], "PORT"), concurrency = (int)bench_int(argv[4], "CONCURRENCY");
	uint64_t span_us = (uint64_t)bench_int(argv[5], "SECONDS") * 1000000;
	pid_t server = (pid_t)bench_int(argv[6], "SERVER_PID"), postgres = (pid_t)bench_int(argv[7], "POSTGRES_PID");
	if (concurrency < 1 || concurrency > 4096)
		bench_die("1 to 4096 runs at a time");
	bool flush_ms_0 = argc <= 8 || strcmp(argv[8], "gather") != 0;
	bench_files();

	int body_len = snprintf(body, sizeof(body), "{\"workflow\":\"%s\",\"inputs\":{\"n\":1}}", argv[3]);
	request_len = (size_t)snprintf(
		request, sizeof(request),
		"POST /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\nContent-Type: "
		"application/json\r\nContent-Length: %d\r\n\r\n%s",
		port, argv[2], body_len, body);
	int ep = epoll_create1(EPOLL_CLOEXEC);
	bench_ws_open(&ws, port, argv[2]);
	static const char quick[] = "{\"cmd\":\"set\",\"flush_ms\":0}", all[] = "{\"cmd\":\"subscribe_all\"}";
	if (flush_ms_0)
		bench_ws_send(&ws, quick,
			      sizeof(quick) - 1); /* a program that waits for ends, not a person who reads */
	bench_ws_send(&ws, all, sizeof(all) - 1);
	epoll_ctl(ep, EPOLL_CTL_ADD, ws.fd, &(struct epoll_event){.events = EPOLLIN, .data.u32 = UINT32_MAX});
	places = calloc((size_t)concurrency, sizeof(*places));
	for (int i = 0; i < concurrency; i++) {
		bench_http_open(&places[i].http, port);
		epoll_ctl(ep, EPOLL_CTL_ADD, places[i].http.fd,
			  &(struct epoll_event){.events = EPOLLIN, .data.u32 = (uint32_t)i});
	}
	uint64_t began = bench_now_us(), from = began + WARM_UP_US, until = from + span_us, now;
	double cpu_server = 0, cpu_postgres = 0, cpu_own = 0;
	bool counting = false;
	counted_from_us = UINT64_MAX;
	for (int i = 0; i < concurrency; i++)
		submit(&places[i]);
	while ((now = bench_now_us()) < until) {
		if (!counting && now >= from) {
			counting = true;
			from = counted_from_us = now;
			until = from + span_us;
			cpu_server = bench_cpu_s(server, false);
			cpu_postgres = bench_cpu_s(postgres, true);
			cpu_own = bench_cpu_s(getpid(), false);
		}
		int n = epoll_wait(ep, got, 128, 100);
		for (int i = 0; i < n; i++) {
			if (got[i].data.u32 == UINT32_MAX)
				bench_ws_read(&ws, on_message, NULL);
			else if (bench_http_read(&places[got[i].data.u32].http))
				on_answer((int)got[i].data.u32);
		}
		if (bench_now_us() > began + 10000000 && !events)
			bench_die("no run has ended in 10 s");
	}
	double seconds = (double)(bench_now_us() - from) / 1e6, steps = (double)(ended_runs ? ended_runs : 1) * 10;
	cpu_server = bench_cpu_s(server, false) - cpu_server;
	cpu_postgres = bench_cpu_s(postgres, true) - cpu_postgres;
	cpu_own = bench_cpu_s(getpid(), false) - cpu_own;
	if (failed_runs)
		bench_die("%llu runs have failed", (unsigned long long)failed_runs);
	printf("{\"runs_per_s\":%.1f,\"steps_per_s\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"server_cpu_us_per_step\":%."
	       "2f,"
	       "\"postgres_cpu_us_per_step\":%.2f,\"client_cpu_us_per_step\":%.2f,\"server_rss_kb\":%ld}\n",
	       (double)ended_runs / seconds, (double)ended_runs * 10 / seconds, bench_ms(&took, 0.5),
	       bench_ms(&took, 0.99), cpu_server * 1e6 / steps, cpu_postgres * 1e6 / steps, cpu_own * 1e6 / steps,
	       bench_rss_kb(server));
	return 0;
}
