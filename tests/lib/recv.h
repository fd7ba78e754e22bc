/* tests/lib/recv.h: a client's reading in tests. */
#pragma once

#include <errno.h>
#include <sys/socket.h>

/* recv() that an interruption does not end: with libuv 1.50 a call that waits is interrupted without any signal.
 * MSG_WAITALL may have a part by then. */
static inline ssize_t sl_test_recv(int fd, void *to, size_t len, int flags)
{
	size_t at = 0;
	for (;;) {
		ssize_t n = recv(fd, (char *)to + at, len - at, flags);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return at ? (ssize_t)at : n;
		at += (size_t)n;
		if (!(flags & MSG_WAITALL) || at == len)
			return (ssize_t)at;
	}
}
