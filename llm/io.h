/* llm/io.h: one I/O loop: a libuv loop whose sockets and timer are driven by a curl multi handle.
 *
 * Owns      the loop, the multi handle, one poll handle a socket. Not the transfers: their owner hears of the end.
 * Thread    [io] the loop's; sl_io_new, sl_io_stop and sl_io_free from outside.
 * Rule      a transfer is never removed inside a callback of its own: `finished` is called after curl has returned.
 */
#pragma once

#include <curl/curl.h>

#include "base/list.h"
#include "base/loop.h"

struct sl_io {
	struct sl_loop *loop;
	CURLM *multi;
	uv_timer_t timer;
	struct sl_list sockets, connecting; /* struct io_socket */
	struct sl_list calls;               /* of the owner: what runs here */
	struct sl_list queue;               /* of the owner: what waits for its turn */
	uint32_t n_calls;                   /* those that have it */
	bool closed;
	_Atomic uint64_t sockets_opened, sockets_closed, bytes_received;
	uint64_t closed_at_us;                                           /* when the last socket was closed */
	void (*finished)(struct sl_io *io, CURL *easy, CURLcode result); /* [io] must remove the handle */
};

SL_MUST_USE enum sl_code sl_io_new(const char *name, void (*finished)(struct sl_io *, CURL *, CURLcode),
				   struct sl_io **out);
/* [not io] Ends the thread. Every transfer must have been removed. */
void sl_io_stop(struct sl_io *io);
void sl_io_free(struct sl_io *io); /* after stop; NULL is fine */

/* [io] */
SL_MUST_USE bool sl_io_add(struct sl_io *io, CURL *easy);
void sl_io_remove(struct sl_io *io, CURL *easy);
/* Options every transfer needs so that its sockets are counted, close on exec, and may be polled here. */
bool sl_io_prepare(struct sl_io *io, CURL *easy);
curl_socket_t sl_io_open_socket(struct sl_io *io, const struct curl_sockaddr *a); /* for one's own OPENSOCKETFUNCTION */
void sl_io_keep_idle(struct sl_io *io, uint32_t connections);                     /* before the first transfer */
