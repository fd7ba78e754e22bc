/* bench/streams_load.c: the load of `streams` and `coalesce`: runs with one model node each, and sockets that watch
 * them.
 *
 *     streams_load PORT TOKEN WORKFLOW STREAMS SOCKETS STARTS_PER_S SETTLE_S SECONDS SERVER_PID FIRST_TOKEN_MS FLUSH_MS
 *
 * Runs are started over HTTP, STARTS_PER_S of them a second, and each is watched by one of SOCKETS WebSockets (0: by
 * nobody). The simulator's tokens are the times of their sending, on the same clock, so a token's age is read off when
 * it arrives. When all run, SETTLE_S later, tokens are counted for SECONDS. FLUSH_MS -1 leaves the server's own
 * interval. "added" to the first token: its age on arrival. "submit": from the POST to its arrival, less the
 * simulator's own wait. Prints one JSON line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/idmap.h"
#include "bench/lib.h"

#define ASKING      16  /* connections that start runs */
#define PER_SOCKET  128 /* what the server lets one socket watch */
#define STAMP_BYTES 17  /* t and 16 digits */
#define OF_WS       0x10000u

struct stream {
	uint64_t sent_us;
	bool began;
};

static struct idmap streams_by_id;
static struct stream *streams;
static struct bench_samples first_added, first_submit, age;
static uint64_t first_token_us, from_us = UINT64_MAX, until_us = UINT64_MAX, tokens, frames, frames_before,
				bytes_before;
static int begun, ended, failed;

/* Reads the stamps of one chunk. */
static void chunk(const char *p, const char *end, struct stream *s, uint64_t now_us)
{
	for (; end - p >= STAMP_BYTES && *p == 't'; p += STAMP_BYTES + 1) {
		uint64_t stamp = 0;
		for (int i = 1; i < STAMP_BYTES; i++)
			stamp = stamp * 10 + (uint64_t)(p[i] - '0');
		if (!s->began) {
			s->began = true;
			begun++;
			bench_sample(&first_added, (int64_t)(now_us - stamp));
			bench_sample(&first_submit, (int64_t)(now_us - s->sent_us - first_token_us));
		}
		if (now_us >= from_us && now_us < until_us) {
			tokens++;
			bench_sample(&age, (int64_t)(now_us - stamp));
		}
	}
}

static void on_message(void *ctx, char *text, size_t n, uint64_t now_us)
{
	static const char event[] = "{\"event\":\"", run[] = "\"run_id\":\"", text_key[] = "\"chunk\":\"";
	char *end = text + n, *p = text;
	(void)ctx;
	while ((p = memmem(p, (size_t)(end - p), event, sizeof(event) - 1))) {
		p += sizeof(event) - 1;
		if (end - p < 24)
			return;
		if (memcmp(p, "execution:failed", 16) == 0)
			failed++;
		if (memcmp(p, "execution:completed", 19) == 0)
			ended++;
		if (memcmp(p, "token_stream\"", 13) != 0)
			continue;
		char *id = memmem(p, (size_t)(end - p), run, sizeof(run) - 1);
		char *from = id ? memmem(id, (size_t)(end - id), text_key, sizeof(text_key) - 1) : NULL;
		char *to =
			from ? memchr(from + sizeof(text_key) - 1, '"', (size_t)(end - from) - (sizeof(text_key) - 1))
			     : NULL;
		int index;
		if (!to || !idmap_get(&streams_by_id, id + sizeof(run) - 1, &index))
			bench_die("a token of nobody: %.200s", p);
		chunk(from + sizeof(text_key) - 1, to, &streams[index], now_us);
		p = to;
	}
}

int main(int argc, char **argv)
{
	struct epoll_event got[256];
	struct bench_http asking[ASKING];
	int busy[ASKING]; /* the stream it starts; -1: free */
	char body[256], request[1024], command[256];
	if (argc < 12)
		bench_die("usage: streams_load PORT TOKEN WORKFLOW STREAMS SOCKETS STARTS_PER_S SETTLE_S SECONDS "
			  "SERVER_PID FIRST_TOKEN_MS FLUSH_MS");
	int port = (int)bench_int(argv[1], "PORT"), n_streams = (int)bench_int(argv[4], "STREAMS"),
	    n_sockets = (int)bench_int(argv[5], "SOCKETS");
	uint64_t starts = (uint64_t)bench_int(argv[6], "STARTS_PER_S"),
		 settle_us = (uint64_t)bench_int(argv[7], "SETTLE_S") * 1000000;
	uint64_t span_us = (uint64_t)bench_int(argv[8], "SECONDS") * 1000000;
	pid_t server = (pid_t)bench_int(argv[9], "SERVER_PID");
	first_token_us = (uint64_t)bench_int(argv[10], "FIRST_TOKEN_MS") * 1000;
	int flush_ms = (int)bench_int(argv[11], "FLUSH_MS");
	if (n_streams < 1 || n_streams > (int)IDMAP_ROOM / 2 || n_sockets < 0 ||
	    (n_sockets && n_streams > n_sockets * PER_SOCKET) || starts < 1)
		bench_die("a socket watches at most %d streams", PER_SOCKET);
	bench_files();

	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct bench_ws *sockets = calloc((size_t)n_sockets + 1, sizeof(*sockets));
	streams = calloc((size_t)n_streams, sizeof(*streams));
	for (int i = 0; i < n_sockets; i++) {
		bench_ws_open(&sockets[i], port, argv[2]);
		if (flush_ms >= 0) {
			int n = snprintf(command, sizeof(command), "{\"cmd\":\"set\",\"flush_ms\":%d}", flush_ms);
			bench_ws_send(&sockets[i], command, (size_t)n);
		}
		epoll_ctl(ep, EPOLL_CTL_ADD, sockets[i].fd,
			  &(struct epoll_event){.events = EPOLLIN, .data.u32 = OF_WS | (uint32_t)i});
	}
	for (int i = 0; i < ASKING; i++) {
		bench_http_open(&asking[i], port);
		busy[i] = -1;
		epoll_ctl(ep, EPOLL_CTL_ADD, asking[i].fd,
			  &(struct epoll_event){.events = EPOLLIN, .data.u32 = (uint32_t)i});
	}
	long rss_before = bench_rss_kb(server), rss = 0;
	int sent = 0, answered = 0;
	double cpu = 0, seconds = 0;
	uint64_t began = bench_now_us(), all_running = 0;
	for (;;) {
		uint64_t now = bench_now_us();
		for (int i = 0; i < ASKING && sent < n_streams && (uint64_t)sent <= (now - began) * starts / 1000000;
		     i++) {
			if (busy[i] >= 0)
				continue;
			int body_len = snprintf(body, sizeof(body), "{\"workflow\":\"%s\",\"inputs\":{\"n\":%d}}",
						argv[3], sent);
			int n = snprintf(request, sizeof(request),
					 "POST /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer "
					 "%s\r\nContent-Type: application/json"
					 "\r\nContent-Length: %d\r\n\r\n%s",
					 port, argv[2], body_len, body);
			busy[i] = sent;
			streams[sent++].sent_us = bench_now_us();
			bench_http_send(&asking[i], request, (size_t)n);
		}
		if (from_us == UINT64_MAX && answered == n_streams &&
		    (begun == n_streams || (!n_sockets && now - streams[n_streams - 1].sent_us > first_token_us))) {
			if (!all_running)
				all_running = now;
			if (now - all_running >= settle_us) {
				frames_before = bytes_before = 0;
				for (int i = 0; i < n_sockets; i++) {
					frames_before += sockets[i].frames;
					bytes_before += sockets[i].bytes;
				}
				cpu = bench_cpu_s(server, false);
				from_us = bench_now_us();
				until_us = from_us + span_us;
			}
		}
		if (from_us != UINT64_MAX && now >= until_us) {
			cpu = bench_cpu_s(server, false) - cpu;
			seconds = (double)(bench_now_us() - from_us) / 1e6;
			rss = bench_rss_kb(server);
			break;
		}
		if (now - began > 90000000)
			bench_die("after 90 s %d of %d runs were started and %d streams had begun", answered, n_streams,
				  begun);
		int n = epoll_wait(ep, got, 256, 1);
		for (int i = 0; i < n; i++) {
			uint32_t which = got[i].data.u32 & (OF_WS - 1);
			if (got[i].data.u32 & OF_WS) {
				bench_ws_read(&sockets[which], on_message, NULL);
				continue;
			}
			struct bench_http *h = &asking[which];
			if (!bench_http_read(h))
				continue;
			const char *id = h->status == 202 ? memmem(h->body, h->body_len, "\"id\":\"", 6) : NULL;
			if (!id)
				bench_die("POST /api/v1/runs: %d %.*s", h->status, (int)h->body_len, h->body);
			idmap_put(&streams_by_id, id + 6, busy[which]);
			if (n_sockets) {
				int len = snprintf(command, sizeof(command),
						   "{\"cmd\":\"subscribe\",\"run_id\":\"%.36s\"}", id + 6);
				bench_ws_send(&sockets[busy[which] % n_sockets], command, (size_t)len);
			}
			busy[which] = -1;
			answered++;
		}
	}
	uint64_t bytes = 0;
	for (int i = 0; i < n_sockets; i++) {
		frames += sockets[i].frames;
		bytes += sockets[i].bytes;
	}
	if (failed)
		bench_die("%d runs have failed", failed);
	printf("{\"streams\":%d,\"sockets\":%d,\"ended_early\":%d,\"tokens_per_s\":%.0f,\"frames_per_s\":%.0f,\"mb_per_"
	       "s\":%.2f,\"first_added_p50_ms\":%.3f,"
	       "\"first_added_p99_ms\":%.3f,\"first_submit_p50_ms\":%.3f,\"first_submit_p99_ms\":%.3f,\"token_p50_ms\":"
	       "%.3f,\"token_p99_ms\":%.3f,"
	       "\"server_cpu\":%.4f,\"cpu_ms_per_1000_tokens\":%.3f,\"rss_kb\":%ld,\"rss_kb_per_stream\":%.2f}\n",
	       n_streams, n_sockets, ended, (double)tokens / seconds, (double)(frames - frames_before) / seconds,
	       (double)(bytes - bytes_before) / seconds / 1e6, bench_ms(&first_added, 0.5),
	       bench_ms(&first_added, 0.99), bench_ms(&first_submit, 0.5), bench_ms(&first_submit, 0.99),
	       bench_ms(&age, 0.5), bench_ms(&age, 0.99), cpu / seconds, tokens ? cpu * 1e6 / (double)tokens : 0.0, rss,
	       (double)(rss - rss_before) / n_streams);
	return 0;
}
