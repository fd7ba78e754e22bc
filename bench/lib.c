/* bench/lib.c: see lib.h. */
#include "bench/lib.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void bench_die(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

uint64_t bench_now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void bench_pin(int core)
{
	cpu_set_t set;
	if (core < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		bench_die("there is no core %d", core);
}

void bench_files(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

long bench_int(const char *text, const char *what)
{
	char *end;
	long v = strtol(text, &end, 10);
	if (end == text || *end)
		bench_die("%s is a number, not '%s'", what, text);
	return v;
}

static void *grow(void *p, size_t n)
{
	void *q = realloc(p, n);
	if (!q)
		bench_die("no memory");
	return q;
}

/* ---- percentiles ---- */

void bench_sample(struct bench_samples *s, int64_t us)
{
	if (s->n == s->room) {
		s->room = s->room ? s->room * 2 : 4096;
		s->us = grow(s->us, s->room * sizeof(*s->us));
	}
	s->us[s->n++] = us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
	s->sorted = false;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

double bench_ms(struct bench_samples *s, double quantile)
{
	if (!s->n)
		return 0;
	if (!s->sorted)
		qsort(s->us, s->n, sizeof(*s->us), compare);
	s->sorted = true;
	size_t at = (size_t)(quantile * (double)s->n);
	return (double)s->us[at < s->n ? at : s->n - 1] / 1000.0;
}

/* ---- what a process costs ---- */

/* Fields of /proc/PID/stat from the third on: 4 is the parent, 14 and 15 user and system time, 16 and 17 those of its
 * dead children. */
static bool read_stat(pid_t pid, unsigned long long *fields, int count)
{
	char path[64], text[2048], *p, *save;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = 0;
	p = strrchr(text, ')'); /* the name may hold anything */
	if (!p)
		return false;
	int i = 2;
	for (p = strtok_r(p + 1, " ", &save); p && i < count; p = strtok_r(NULL, " ", &save))
		fields[i++] = strtoull(p, NULL, 10);
	return i == count;
}

/* Nanoseconds of all threads that live: the kernel's ticks of 10 ms are too coarse for short turns. 0: the kernel does
 * not say. */
static double threads_s(pid_t pid)
{
	char path[64];
	double sum = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	struct dirent *e;
	while (tasks && (e = readdir(tasks))) {
		unsigned long long ns = 0;
		long tid = strtol(e->d_name, NULL, 10);
		snprintf(path, sizeof(path), "/proc/%d/task/%ld/schedstat", (int)pid, tid);
		FILE *f = tid > 0 ? fopen(path, "re") : NULL;
		if (f && fscanf(f, "%llu", &ns) == 1)
			sum += (double)ns / 1e9;
		if (f)
			fclose(f);
	}
	if (tasks)
		closedir(tasks);
	return sum;
}

double bench_cpu_s(pid_t pid, bool tree)
{
	unsigned long long f[18], ticks;
	if (pid <= 0 || !read_stat(pid, f, 18))
		return 0;
	double threads = tree ? 0 : threads_s(pid);
	if (threads > 0)
		return threads;
	ticks = f[13] + f[14];
	if (tree) {
		ticks += f[15] + f[16];
		DIR *proc = opendir("/proc");
		struct dirent *e;
		while (proc && (e = readdir(proc))) {
			long child = strtol(e->d_name, NULL, 10);
			if (child > 0 && read_stat((pid_t)child, f, 18) && f[3] == (unsigned long long)pid)
				ticks += f[13] + f[14] + f[15] + f[16];
		}
		if (proc)
			closedir(proc);
	}
	return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

long bench_rss_kb(pid_t pid)
{
	char path[64], line[256];
	long kb = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "VmRSS:", 6) == 0)
			kb = strtol(line + 6, NULL, 10);
	if (f)
		fclose(f);
	return kb;
}

/* ---- bytes and sockets ---- */

static void reserve(struct bench_bytes *b, size_t n)
{
	if (b->room - b->n >= n)
		return;
	b->room = (b->n + n) * 2;
	b->p = grow(b->p, b->room);
}

void bench_append(struct bench_bytes *b, const void *p, size_t n)
{
	reserve(b, n);
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

void bench_consume(struct bench_bytes *b, size_t n)
{
	b->n -= n;
	if (n && b->n)
		memmove(b->p, b->p + n, b->n);
}

int bench_connect(int port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
		bench_die("cannot connect to port %d: %s", port, strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return fd;
}

static void send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
		if (k < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = fd, .events = POLLOUT};
			poll(&wait, 1, 1000);
			continue;
		}
		if (k <= 0)
			bench_die("cannot send: %s", strerror(errno));
		p += k;
		n -= (size_t)k;
	}
}

/* False: nothing there. */
static bool receive(int fd, struct bench_bytes *b, const char *what)
{
	reserve(b, 65536);
	ssize_t k = recv(fd, b->p + b->n, b->room - b->n, 0);
	if (k < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (k <= 0)
		bench_die("the server closed %s", what);
	b->n += (size_t)k;
	return true;
}

/* ---- HTTP ---- */

void bench_http_open(struct bench_http *h, int port)
{
	*h = (struct bench_http){.fd = bench_connect(port)};
}

void bench_http_send(struct bench_http *h, const char *bytes, size_t n)
{
	send_all(h->fd, bytes, n);
}

bool bench_http_read(struct bench_http *h)
{
	bench_consume(&h->in, h->answer_len);
	h->answer_len = 0;
	if (!receive(h->fd, &h->in, "a connection"))
		return false;
	char *end = memmem(h->in.p, h->in.n, "\r\n\r\n", 4);
	if (!end)
		return false;
	size_t head = (size_t)(end - h->in.p) + 4;
	*end = 0; /* the head becomes a string; put back below, in case the body is still on its way */
	const char *length = strcasestr(h->in.p, "\r\ncontent-length:");
	size_t body = length ? strtoul(length + 17, NULL, 10) : 0;
	h->status = h->in.n > 12 ? (int)strtol(h->in.p + 9, NULL, 10) : 0;
	*end = '\r';
	if (!length)
		bench_die("an answer without a length: %.60s", h->in.p);
	if (h->in.n < head + body)
		return false;
	h->body = h->in.p + head;
	h->body_len = body;
	h->answer_len = head + body;
	return true;
}

/* ---- WebSocket ---- */

void bench_ws_open(struct bench_ws *w, int port, const char *token)
{
	char head[512];
	*w = (struct bench_ws){.fd = bench_connect(port)};
	int n = snprintf(head, sizeof(head),
			 "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: "
			 "Upgrade\r\nSec-WebSocket-Key: "
			 "c2x1aWNlLWJlbmNoLWtleQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: "
			 "sluice.v1\r\nAuthorization: "
			 "Bearer %s\r\n\r\n",
			 port, token);
	send_all(w->fd, head, (size_t)n);
	for (;;) {
		struct pollfd wait = {.fd = w->fd, .events = POLLIN};
		if (poll(&wait, 1, 10000) <= 0)
			bench_die("no answer to the handshake of a WebSocket");
		if (!receive(w->fd, &w->in, "a WebSocket"))
			continue;
		char *end = memmem(w->in.p, w->in.n, "\r\n\r\n", 4);
		if (!end)
			continue;
		if (w->in.n < 12 || memcmp(w->in.p + 9, "101", 3) != 0)
			bench_die("the handshake was refused: %.*s", (int)w->in.n, w->in.p);
		bench_consume(&w->in, (size_t)(end - w->in.p) + 4);
		return;
	}
}

static void send_frame(struct bench_ws *w, unsigned opcode, const char *text, size_t n)
{
	static const unsigned char mask[4] = {0x5a, 0x17, 0xc3, 0x2e};
	struct bench_bytes b = {0};
	unsigned char head[8] = {(unsigned char)(0x80 | opcode)};
	size_t head_len = 2;
	if (n > 65535)
		bench_die("a command of %zu bytes", n);
	if (n < 126) {
		head[1] = (unsigned char)(0x80 | n);
	} else {
		head[1] = 0x80 | 126;
		head[2] = (unsigned char)(n >> 8);
		head[3] = (unsigned char)n;
		head_len = 4;
	}
	memcpy(head + head_len, mask, 4);
	bench_append(&b, head, head_len + 4);
	reserve(&b, n);
	for (size_t i = 0; i < n; i++)
		b.p[b.n++] = (char)((unsigned char)text[i] ^ mask[i & 3]);
	send_all(w->fd, b.p, b.n);
	free(b.p);
}

void bench_ws_send(struct bench_ws *w, const char *text, size_t n)
{
	send_frame(w, 1, text, n);
}

void bench_ws_read(struct bench_ws *w, bench_ws_fn *fn, void *ctx)
{
	size_t at = 0;
	if (!receive(w->fd, &w->in, "a WebSocket"))
		return;
	uint64_t now = bench_now_us();
	while (w->in.n - at >= 2) {
		const unsigned char *p = (const unsigned char *)w->in.p + at;
		size_t have = w->in.n - at, head = 2, n = p[1] & 127;
		if (n == 126) {
			head = 4;
			if (have < head)
				break;
			n = (size_t)p[2] << 8 | p[3];
		} else if (n == 127) {
			head = 10;
			if (have < head)
				break;
			n = 0;
			for (int i = 2; i < 10; i++)
				n = n << 8 | p[i];
		}
		if (have < head + n)
			break;
		unsigned opcode = p[0] & 15;
		w->frames++;
		w->bytes += head + n;
		if (!(p[0] & 0x80))
			bench_die("a message in pieces: this client does not collect them");
		if (opcode == 1)
			fn(ctx, w->in.p + at + head, n, now);
		else if (opcode == 9)
			send_frame(w, 10, w->in.p + at + head, n);
		else if (opcode == 8)
			bench_die("the server closed a WebSocket: %u",
				  n >= 2 ? (unsigned)p[head] << 8 | p[head + 1] : 0);
		at += head + n;
	}
	bench_consume(&w->in, at);
}
