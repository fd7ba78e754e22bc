/* bench/lib.h: what the load clients share: time, percentiles, what a process costs, and small clients of HTTP/1.1 and
 * WebSocket.
 *
 * Thread    one; nothing is locked.
 * Errors    a broken measurement is no measurement: bench_die() says why and exits with 1.
 * Not for   the product. A client here trusts the server it measures, and understands only what that server sends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *fmt, ...);
uint64_t bench_now_us(void);                        /* monotonic: the clock the simulator stamps its tokens with */
void bench_pin(int core);                           /* this process, to one core; negative: nowhere */
void bench_files(void);                             /* raises the soft limit of open files to the hard one */
long bench_int(const char *text, const char *what); /* a number of the command line, or death */

/* Samples of a latency, in microseconds. */
struct bench_samples {
	uint32_t *us;
	size_t n, room;
	bool sorted;
};
void bench_sample(struct bench_samples *s, int64_t us);    /* what is negative counts as 0 */
double bench_ms(struct bench_samples *s, double quantile); /* 0..1; milliseconds; 0 without samples */

/* CPU seconds so far (user and system). `tree` adds children that live and those that were waited for: PostgreSQL. 0:
 * no process. */
double bench_cpu_s(pid_t pid, bool tree);
long bench_rss_kb(pid_t pid);

/* A growing run of bytes. */
struct bench_bytes {
	char *p;
	size_t n, room;
};
void bench_append(struct bench_bytes *b, const void *p, size_t n);
void bench_consume(struct bench_bytes *b, size_t n);

/* Connects to the loopback; the socket does not block from then on and sends at once. */
int bench_connect(int port);

/* One keep-alive connection that asks one thing at a time. */
struct bench_http {
	int fd;
	struct bench_bytes in;
	int status;       /* of the last answer */
	const char *body; /* of the last answer, until the next read */
	size_t body_len;
	size_t answer_len; /* to be consumed before the next read */
};
void bench_http_open(struct bench_http *h, int port);
void bench_http_send(struct bench_http *h, const char *bytes,
		     size_t n);             /* a whole request, small enough for the socket's buffer */
bool bench_http_read(struct bench_http *h); /* reads what is there; true: the answer is whole */

/* A WebSocket of subprotocol sluice.v1. */
struct bench_ws {
	int fd;
	struct bench_bytes in;
	uint64_t frames, bytes;
};
typedef void bench_ws_fn(void *ctx, char *text, size_t n, uint64_t now_us); /* one message; it may be written to */
void bench_ws_open(struct bench_ws *w, int port, const char *token);        /* blocks until the handshake is done */
void bench_ws_send(struct bench_ws *w, const char *text, size_t n);         /* masked, as a client must */
/* Reads once what is there and hands over each whole message; answers pings. Dies when the server closes. */
void bench_ws_read(struct bench_ws *w, bench_ws_fn *fn, void *ctx);
