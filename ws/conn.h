/* ws/conn.h: the hub on libwebsockets: the protocol `sluice.v1` for the server's protocols[].
 *
 * Owns      the hub, its uv_check and uv_timer on the front loop, and the per-socket state.
 * Thread    [front], but sl_ws_publish() is [any].
 * The server (api) makes the lws context on sl_loop_uv(loop) and must set on it: pt_serv_buf_size >= 128 KiB (a piece
 * is one send then), extensions NULL (no deflate: frames are shared), timeout_secs for handshakes that do not finish,
 * and max_http_header_pool (64, say): libwebsockets holds 5 KB for each handshake under way, and a crowd that comes at
 * once would leave them behind as fragmented memory, more than all its connections need afterwards.
 */
#pragma once

#include "ws/hub.h"

struct lws;
struct lws_protocols;
struct sl_loop;
struct sl_ws;

#define SL_WS_SUBPROTOCOL "sluice.v1"

struct sl_ws_config {
	struct sl_loop *loop; /* the front loop */
	struct sl_hub_source source;
	struct sl_ws_commands commands;
	uint32_t flush_ms; /* SL_HUB_FLUSH_MS */
	const char *path;  /* "/ws"; any other path is answered 404. A constant */
	/* [front] In the handshake, while its headers can be read (lws_hdr_copy and friends). SL_OK fills `who`;
	 * SL_UNAUTHORIZED and the like refuse with that code's HTTP status. */
	enum sl_code (*authenticate)(void *ctx, struct lws *wsi, struct sl_ws_identity *who);
	void *auth_ctx;
};

/* Before the loop starts, or on it. */
SL_MUST_USE enum sl_code sl_ws_new(const struct sl_ws_config *config, struct sl_ws **out);
/* Fills one entry of protocols[]; `ws` must outlive the lws context. */
void sl_ws_protocol(struct sl_ws *ws, struct lws_protocols *out);
struct sl_hub *sl_ws_hub(struct sl_ws *ws); /* lends: for SSE, statistics, closing revoked tokens, drain */
void sl_ws_publish(struct sl_ws *ws, struct sl_notice *n); /* [any] the bus port */

/* [front] After sl_hub_drain() and the end of the lws context (no socket is left): gives the loop its handles back. */
void sl_ws_close(struct sl_ws *ws);
/* After sl_ws_close(), when the loop has turned or stopped, and engine and store have gone quiet. NULL is fine. */
void sl_ws_free(struct sl_ws *ws);
SL_DEFINE_AUTO(sl_ws)
