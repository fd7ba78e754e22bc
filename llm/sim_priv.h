/* llm/sim_priv.h: what the simulator's files share. Everything here belongs to the simulator's loop. */
#pragma once

#include <stdatomic.h>

#include "base/list.h"
#include "base/loop.h"
#include "llm/sim.h"
#include "llm/sim_scenario.h"

#define SIM_LOG 4096u /* requests remembered for GET /sim/requests */

enum sim_outcome { SIM_RUNNING, SIM_FINISHED, SIM_CLOSED_BY_CLIENT, SIM_DROPPED, SIM_STOPPED };

struct sim_entry {
	uint64_t n; /* 1, 2, 3 …; 0: never used */
	int64_t wall_ms;
	uint64_t began_us, ended_us;
	enum sim_outcome outcome;
	int status;
	uint8_t fault;
	bool stream;
	uint32_t tokens;
	const char *dialect, *auth; /* the protocol; the header that brought a key, NULL: none */
	char model[64], rule[64], gist[128], key[96];
};

struct sl_sim {
	struct sl_loop *loop;
	uv_tcp_t listener;
	struct sl_list conns;
	struct sim_scenario scenario;
	struct sim_settings base; /* config and the scenario's defaults */
	uint16_t port;
	char url[64], host[64];
	struct sl_buf out; /* what one turn writes; reused */
	char read[65536];  /* what one turn reads; reused */
	struct sim_entry log[SIM_LOG];
	uint64_t n_requests;
	struct sim_counts conversations; /* for `times` */
	_Atomic uint64_t open, total, requests, embeddings, streams_open, streams_finished, tokens, faults,
		closed_by_client, last_closed_us;
	bool stopped;
};

enum sim_part { SIM_PART_FIRST, SIM_PART_THINKING, SIM_PART_TEXT, SIM_PART_ENDING, SIM_PART_SILENT, SIM_PART_RESET };

struct sim_dialect;

struct sim_reply {
	const struct sim_dialect *dialect;
	struct sim_settings set;
	enum sim_part part;
	bool stream, tell_usage;
	bool cut; /* at the most tokens that were asked for */
	char model[64];
	uint64_t n; /* of the request; 0: it is not in the log */
	char *body; /* the whole answer, when it is no conversation's; NULL: none */
	char *text, *thinking, *tools;
	size_t text_len, thinking_len, at;
	uint64_t random, next_us;
	uint32_t sent, prompt_tokens, thinking_tokens;
	int64_t created_s;
	int block, block_kind; /* Anthropic's: the number of the block, and what it holds */
};

struct sim_conn {
	struct sl_list link;
	struct sl_sim *sim;
	uv_tcp_t tcp;
	uv_timer_t timer;
	uv_write_t write;
	uv_shutdown_t shutdown;
	int handles; /* to be closed before the memory is free */
	bool taking, closing, writing, keep_alive, close_after_write, half_close_after_write;
	struct sl_buf in;        /* a request that is not complete */
	struct sl_buf pending;   /* not taken by the kernel yet */
	char *in_flight;         /* what the write request sends */
	struct sim_reply *reply; /* the one that is being given; NULL: none */
	uint32_t served;
};

struct sim_request {
	struct sl_str method, path, headers, body;
	bool keep_alive;
};
/* The value of a header in the raw header lines; empty: none. */
struct sl_str sl_sim_header(struct sl_str headers, const char *name);

/* sim_conn.c */
void sl_sim_conn_accept(struct sl_sim *s);
void sl_sim_conn_send(struct sim_conn *c, struct sl_str bytes); /* copies what the kernel does not take */
void sl_sim_conn_close(struct sim_conn *c, bool reset);
void sl_sim_conn_half_close(struct sim_conn *c);
void sl_sim_conn_next(struct sim_conn *c); /* the answer is complete: the next request, or the end */
/* A whole answer with a body. */
void sl_sim_conn_answer(struct sim_conn *c, int status, const char *type, const char *headers, struct sl_str body);

/* sim_reply.c */
void sl_sim_reply_begin(struct sim_conn *c, const struct sim_request *r); /* in sim_request.c */
void sl_sim_reply_resume(struct sim_conn *c);                             /* the socket took everything */
void sl_sim_reply_end(struct sim_conn *c, enum sim_outcome outcome);      /* frees it; also when there is none */

void sl_sim_on_tick(uv_timer_t *t); /* the next tokens are due */

/* sim_fault.c */
bool sl_sim_fault(struct sim_conn *c); /* true: a fault took the answer's place */

/* sim_request.c */
struct sim_entry *sl_sim_entry(struct sl_sim *s, uint64_t n); /* of a request in the log; NULL: too long ago */
struct json_object;
/* A reply in OpenAI's dialect with its settings: the base, then the rules' (`match` NULL: none apply), then the
 * request's own. NULL: no memory, and the connection is closed. */
struct sim_reply *sl_sim_reply_new(struct sim_conn *c, const struct sim_request *req, struct json_object *doc,
				   struct sl_str suffix, const struct sim_ask *ask, struct sim_match *match);
/* Begins it: the fault that comes at once, or the first token when it is due. */
void sl_sim_reply_go(struct sim_conn *c, struct sim_reply *r);
void sl_sim_refuse_request(struct sim_conn *c, const struct sim_dialect *d, const char *why); /* 400 */

/* sim_embed.c */
void sl_sim_embeddings(struct sim_conn *c, const struct sim_request *req);
void sl_sim_vector(struct sl_str text, float *out, size_t dimensions); /* of length 1; all 0 for a text without words */

/* sim_text.c */
size_t sl_sim_token(struct sl_str rest);                                  /* bytes of the next token, at least 1 */
void sl_sim_filler(uint64_t *random, uint32_t words, struct sl_buf *out); /* plausible words */
void sl_sim_own_words(struct sl_str gist, struct sl_buf *out);            /* the answer when nothing is scripted */
/* The smallest value that fits. The first free text says `*say` and empties it; further ones say they are made up. */
void sl_sim_from_schema(struct json_object *schema, int depth, struct sl_str *say, struct sl_buf *out);
/* What the schema has and `given`, an object, has not. false: nothing is missing, or one of them is no object. */
bool sl_sim_complete(struct json_object *schema, struct json_object *given, struct sl_buf *out);
uint64_t sl_sim_random(uint64_t *state);
