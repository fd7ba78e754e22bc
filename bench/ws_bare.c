/* bench/ws_bare.c: the physical limit a hub is measured beside: epoll, one ring of frames, a cursor per connection, one
 * send() for whatever a connection lacks. No library, no parsing but what the load client needs. ws_bare PORT CPU
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
#include <unistd.h>

#define RING (1u << 22)

struct conn {
	int fd;
	bool up, subscribed, full;
	uint64_t at;
	size_t n;
	char in[512]; /* what is incomplete */
};
static char input[65536];

static struct conn *by_fd[65536], *subs[65536];
static int n_subs, ep;
static char ring[2 * RING]; /* every frame twice, so that what follows a cursor is contiguous */
static uint64_t head;

static void put(const void *p, size_t len)
{
	for (size_t done = 0; done < len;) {
		size_t at = (head + done) % RING, n = len - done < RING - at ? len - done : RING - at;
		memcpy(ring + at, (const char *)p + done, n);
		memcpy(ring + RING + at, (const char *)p + done, n);
		done += n;
	}
	head += len;
}

static void flush(struct conn *c)
{
	while (c->at < head) {
		ssize_t n = send(c->fd, ring + c->at % RING, head - c->at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0) {
			struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.fd = c->fd};
			c->full = true;
			epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
			return;
		}
		c->at += (uint64_t)n;
	}
}

static void on_frame(const uint8_t *payload, size_t len)
{
	uint8_t h[4] = {0x81, (uint8_t)len};
	if (len >= 126) {
		h[1] = 126;
		h[2] = (uint8_t)(len >> 8);
		h[3] = (uint8_t)len;
	}
	put(h, len >= 126 ? 4 : 2);
	put(payload, len);
}

/* True when something was published. What is left of `in` is an incomplete frame. */
static bool on_input(struct conn *c, char *in, size_t n)
{
	bool any = false;
	if (!c->up) {
		static const char answer[] =
			"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			"Sec-WebSocket-Accept: bench\r\n\r\n";
		char *end = memmem(in, n, "\r\n\r\n", 4);
		if (end) {
			c->up = true;
			c->subscribed = memcmp(in, "GET /sub", 8) == 0;
			c->at = head;
			if (c->subscribed)
				subs[n_subs++] = c;
			if (send(c->fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0)
				return false;
			n -= (size_t)(end + 4 - in);
			in = end + 4;
		}
	}
	while (c->up && n >= 8) {
		uint8_t *p = (uint8_t *)in;
		size_t h = 6, len = p[1] & 127;
		if (len == 126) {
			len = (size_t)p[2] << 8 | p[3];
			h = 8;
		}
		if (n < h + len)
			break;
		for (size_t i = 0; i < len; i++)
			p[h + i] ^= p[h - 4 + (i & 3)];
		on_frame(p + h, len);
		any = true;
		n -= h + len;
		in += h + len;
	}
	c->n = n < sizeof(c->in) ? n : 0;
	memcpy(c->in, in, c->n);
	return any;
}

static void drop(struct conn *c)
{
	for (int i = 0; i < n_subs; i++)
		if (subs[i] == c)
			subs[i] = subs[--n_subs];
	by_fd[c->fd] = NULL;
	close(c->fd);
	free(c);
}

static void on_accept(int listener)
{
	for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
		int one = 1;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		by_fd[fd] = calloc(1, sizeof(struct conn));
		by_fd[fd]->fd = fd;
		struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0))};
	struct rlimit files;
	socklen_t alen = sizeof(a);
	static struct epoll_event events[1024];
	cpu_set_t set;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	CPU_ZERO(&set);
	CPU_SET((unsigned)(argc > 2 ? atoi(argv[2]) : 0), &set);
	sched_setaffinity(0, sizeof(set), &set);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (bind(listener, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(listener, 4096) != 0) {
		perror("ws_bare");
		return 1;
	}
	getsockname(listener, (struct sockaddr *)&a, &alen);
	printf("listening %d\n", ntohs(a.sin_port));
	fflush(stdout);
	struct epoll_event e = {.events = EPOLLIN, .data.fd = listener};
	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(ep, events, 1024, -1);
		bool any = false;
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener) {
				on_accept(listener);
				continue;
			}
			struct conn *c = by_fd[events[i].data.fd];
			if (events[i].events & EPOLLOUT) {
				struct epoll_event in = {.events = EPOLLIN, .data.fd = c->fd};
				c->full = false;
				epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &in);
				flush(c);
			}
			if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
				memcpy(input, c->in, c->n);
				ssize_t got = recv(c->fd, input + c->n, sizeof(input) - c->n, 0);
				if (got == 0 || (got < 0 && errno != EAGAIN)) {
					drop(c);
					continue;
				}
				if (got > 0)
					any = on_input(c, input, c->n + (size_t)got) || any;
			}
		}
		for (int i = 0; any && i < n_subs; i++)
			if (!subs[i]->full)
				flush(subs[i]);
	}
}
