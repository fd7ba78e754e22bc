/* bench/wsload.c: WebSocket fan-out load: S subscribers and one publisher on loopback, one thread, epoll.
 *
 * Every published message carries "#t" and sixteen digits, its time in microseconds. The client looks for that mark in
 * the bytes it receives, wherever frames begin or end, so servers that gather messages in one frame are counted alike.
 * Closed loop (-w): at most W messages have not reached all S yet. Fixed rate (-r): messages a second, latency is the
 * point.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARK_BYTES 18 /* "#t" and 16 digits */
#define STAMP_BASE 1000000000000000ull
#define BUCKETS    400000 /* of 10 us */

struct conn {
	int fd;
	bool up;      /* its handshake is answered */
	bool waiting; /* it has not been told that it is subscribed yet */
	size_t keep;
	char tail[MARK_BYTES + 128]; /* the end of the last read: a mark may be cut */
};

static struct options {
	int port, subscribers, idle, window, cpu;
	double rate, seconds, warm;
	bool hub; /* our own protocol; else plain text frames to and from /pub and /sub */
	const char *run;
	int events_port; /* of our own: where the publisher says what happened */
	pid_t server;
} opt = {.subscribers = 100, .window = 1, .seconds = 3, .warm = 1, .cpu = -1};

static struct conn *conns;
static int ep, ready;
static uint64_t delivered, published, latency_n, reads, bytes;
static uint32_t *latency;
static bool measuring;

static uint64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000;
}

static double cpu_s(pid_t pid)
{
	clockid_t id;
	struct timespec t;
	if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &t) != 0)
		return 0;
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long rss_kib(pid_t pid)
{
	char path[64], line[256];
	long kib = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

static void die(const char *what)
{
	fprintf(stderr, "wsload: %s: %s\n", what, errno ? strerror(errno) : "");
	exit(1);
}

static void seen(const char *mark)
{
	delivered++;
	if (!measuring)
		return;
	uint64_t stamp = 0;
	for (int i = 2; i < MARK_BYTES; i++)
		stamp = stamp * 10 + (uint64_t)(mark[i] - '0');
	uint64_t us = now_us() + STAMP_BASE - stamp, bucket = us / 10;
	latency[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
	latency_n++;
}

/* Counts the marks in p[0..len); returns how many bytes at the end may be the beginning of one. */
static size_t scan(const char *p, size_t len)
{
	const char *at = p, *end = p + len;
	while ((at = memchr(at, '#', (size_t)(end - at)))) {
		if (end - at < MARK_BYTES)
			return (size_t)(end - at);
		if (at[1] == 't' && at[2] >= '0' && at[2] <= '9') {
			seen(at);
			at += MARK_BYTES;
		} else {
			at++;
		}
	}
	return 0;
}

static void send_frame(struct conn *c, const char *text, size_t len)
{
	uint8_t f[2048] = {0x81};
	size_t h = 2;
	if (len < 126) {
		f[1] = (uint8_t)(0x80 | len);
	} else {
		f[1] = 0x80 | 126;
		f[2] = (uint8_t)(len >> 8);
		f[3] = (uint8_t)len;
		h = 4;
	}
	memset(f + h, 0, 4); /* a mask of zeros: the payload as it is */
	memcpy(f + h + 4, text, len);
	if (send(c->fd, f, h + 4 + len, MSG_NOSIGNAL) != (ssize_t)(h + 4 + len))
		die("send");
}

static void on_up(struct conn *c)
{
	char text[256];
	long i = c - conns;
	c->up = true;
	if (opt.hub && i < opt.subscribers) {
		int n = snprintf(text, sizeof(text), "{\"cmd\":\"subscribe\",\"run_id\":\"%s\",\"id\":1}", opt.run);
		send_frame(c, text, (size_t)n);
		c->waiting = true;
		return;
	}
	ready++;
}

static void on_bytes(struct conn *c, char *p, size_t len)
{
	if (!c->up) {
		char *end = memmem(p, len, "\r\n\r\n", 4);
		if (!end || memcmp(p, "HTTP/1.1 101", 12) != 0)
			die("handshake refused");
		len -= (size_t)(end + 4 - p);
		p = end + 4;
		on_up(c);
		if (!len)
			return;
	}
	if (c->waiting && memmem(p, len, "\"snapshot\"", 10)) {
		c->waiting = false;
		ready++;
	}
	if (c->keep) { /* finish what was cut */
		size_t more = len < sizeof(c->tail) - c->keep ? len : sizeof(c->tail) - c->keep;
		if (more > MARK_BYTES)
			more = MARK_BYTES;
		memcpy(c->tail + c->keep, p, more);
		if (c->keep + more >= MARK_BYTES && c->tail[1] == 't')
			seen(c->tail);
		else if (c->keep + more < MARK_BYTES) {
			c->keep += more;
			return;
		}
		p += MARK_BYTES - c->keep;
		len -= MARK_BYTES - c->keep;
		c->keep = 0;
	}
	c->keep = scan(p, len);
	memcpy(c->tail, p + len - c->keep, c->keep);
}

static void open_conn(int i)
{
	struct conn *c = &conns[i];
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
	char text[512];
	int one = 1;
	bool publisher = opt.hub && i == opt.subscribers;
	if (publisher)
		a.sin_port = htons((uint16_t)opt.events_port);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a)) != 0)
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (publisher) {
		ready++;
		return;
	}
	const char *path = opt.hub ? "/ws" : i < opt.subscribers ? "/sub" : i == opt.subscribers ? "/pub" : "/idle";
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			 "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
			 path, opt.hub ? "Sec-WebSocket-Protocol: sluice.v1\r\n" : "");
	if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
		die("send");
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
	epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
}

static void poll_once(int timeout_ms)
{
	static struct epoll_event events[4096];
	static char buf[1 << 18];
	int n = epoll_wait(ep, events, 4096, timeout_ms);
	for (int i = 0; i < n; i++) {
		struct conn *c = &conns[events[i].data.u32];
		ssize_t got = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (got == 0 || (got < 0 && errno != EAGAIN))
			die("a connection ended");
		if (got < 0)
			continue;
		reads++;
		bytes += (uint64_t)got;
		on_bytes(c, buf, (size_t)got);
	}
}

/* 150 bytes of JSON as plain servers send them on; to the hub, what it makes an event of about that length from. */
static void publish(void)
{
	char text[512];
	unsigned long long stamp = STAMP_BASE + now_us();
	int n;
	if (opt.hub) {
		n = snprintf(text, sizeof(text), "#t%llu\n", stamp);
		published++;
		if (send(conns[opt.subscribers].fd, text, (size_t)n, MSG_NOSIGNAL) != n)
			die("send");
		return;
	} else {
		n = snprintf(text, sizeof(text),
			     "{\"event\":\"progress\",\"run_id\":\"01234567-89ab-7def-8123-456789abcdef\",\"seq\":%"
			     "08llu,\"ts\":\"2026-01-01T00:00:00.000Z\","
			     "\"data\":{\"t\":\"#t%llu\"}}",
			     (unsigned long long)published, stamp);
	}
	published++;
	send_frame(&conns[opt.subscribers], text, (size_t)n);
}

static void run_for(double seconds)
{
	uint64_t end = now_us() + (uint64_t)(seconds * 1e6), next = now_us();
	uint64_t s = (uint64_t)opt.subscribers;
	for (uint64_t now; (now = now_us()) < end;) {
		if (opt.rate > 0) {
			while (now >= next) {
				publish();
				next += (uint64_t)(1e6 / opt.rate);
			}
			poll_once(next - now > 1500 ? (int)((next - now) / 1000) : 0);
		} else {
			while (published * s < delivered + (uint64_t)opt.window * s)
				publish();
			poll_once(100);
		}
	}
}

static double percentile(double p)
{
	uint64_t want = (uint64_t)((double)latency_n * p), n = 0;
	for (size_t i = 0; i < BUCKETS; i++)
		if ((n += latency[i]) > want)
			return (double)i * 10 / 1000;
	return 0;
}

static void options(int argc, char **argv)
{
	for (int o; (o = getopt(argc, argv, "p:s:i:w:r:d:W:P:c:R:E:")) != -1;)
		switch (o) {
		case 'p':
			opt.port = atoi(optarg);
			break;
		case 's':
			opt.subscribers = atoi(optarg);
			break;
		case 'i':
			opt.idle = atoi(optarg);
			break;
		case 'w':
			opt.window = atoi(optarg);
			break;
		case 'r':
			opt.rate = atof(optarg);
			break;
		case 'd':
			opt.seconds = atof(optarg);
			break;
		case 'W':
			opt.warm = atof(optarg);
			break;
		case 'P':
			opt.server = atoi(optarg);
			break;
		case 'c':
			opt.cpu = atoi(optarg);
			break;
		case 'E':
			opt.events_port = atoi(optarg);
			break;
		case 'R':
			opt.run = optarg;
			opt.hub = true;
			break;
		default:
			fprintf(stderr, "wsload -p PORT -s SUBSCRIBERS [-i IDLE] [-w WINDOW | -r RATE] [-d SECONDS] "
					"[-W WARM] [-P SERVER_PID]"
					" [-c CPU] [-R RUN_ID -E EVENTS_PORT]\n");
			exit(2);
		}
}

int main(int argc, char **argv)
{
	struct rlimit files;
	options(argc, argv);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (opt.cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET((unsigned)opt.cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
	}
	int all = opt.subscribers + 1 + opt.idle;
	conns = calloc((size_t)all, sizeof(*conns));
	latency = calloc(BUCKETS, sizeof(*latency));
	ep = epoll_create1(EPOLL_CLOEXEC);
	long before = rss_kib(opt.server);
	for (int i = 0; i < all; i++) {
		open_conn(i);
		if (i % 64 == 0)
			poll_once(0);
	}
	for (uint64_t end = now_us() + 30000000; ready < all;) {
		poll_once(100);
		if (now_us() > end)
			die("not everyone was subscribed");
	}
	long idle_rss = rss_kib(opt.server);
	run_for(opt.warm);
	uint64_t d = delivered, p = published, r = reads, b = bytes;
	double server = cpu_s(opt.server), self = cpu_s(getpid());
	uint64_t began = now_us();
	measuring = true;
	run_for(opt.seconds);
	measuring = false;
	double wall = (double)(now_us() - began) / 1e6;
	d = delivered - d;
	p = published - p;
	server = cpu_s(opt.server) - server;
	self = cpu_s(getpid()) - self;
	for (uint64_t end = now_us() + 5000000; delivered < published * (uint64_t)opt.subscribers && now_us() < end;)
		poll_once(10);
	printf("{\"subscribers\":%d,\"idle\":%d,\"window\":%d,\"rate\":%g,\"published_s\":%.0f,\"delivered_s\":%.0f,"
	       "\"server_us\":%.3f,"
	       "\"server_cpu\":%.3f,\"client_cpu\":%.3f,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"lost\":%lld,\"per_read\":%."
	       "1f,\"bytes\":%.0f,"
	       "\"idle_kib_per_conn\":%.2f}\n",
	       opt.subscribers, opt.idle, opt.rate > 0 ? 0 : opt.window, opt.rate, (double)p / wall, (double)d / wall,
	       d ? server * 1e6 / (double)d : 0, server / wall, self / wall, percentile(0.5), percentile(0.99),
	       (long long)(published * (uint64_t)opt.subscribers) - (long long)delivered,
	       (double)d / (double)(reads - r ? reads - r : 1), d ? (double)(bytes - b) / (double)d : 0,
	       (double)(idle_rss - before) / all);
	return 0;
}
