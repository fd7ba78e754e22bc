/* tests/lib/ws_world.h: runs that never were, sinks without sockets, and a client that checks every byte it is sent.
 * Everything happens when the test says so: commits, the bus, views, journal pages, the clock. One thread.
 */
#pragma once

#include "tests/lib/test.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "ws/encode.h"
#include "ws/hub.h"

#define FAKE_PATHS 4

struct fake_run {
	struct sl_run_id id;
	struct sl_record *records; /* the journal */
	size_t n, size;
	size_t published; /* records that went to the bus */
	struct sl_stream *streams[FAKE_PATHS];
	size_t announced_at[FAKE_PATHS]; /* the record count with which the stream is announced */
	uint32_t attempt[FAKE_PATHS];
	bool open[FAKE_PATHS];
	unsigned watched;
	bool live, missing;
};

struct fake_call {
	struct fake_run *run;
	enum sl_view_watch watch;
	sl_view_fn *view;
	sl_hub_page_fn *page;
	void *arg;
	uint64_t after;
	size_t limit;
};

struct client;
struct fake {
	struct client *clients[64]; /* the open ones */
	size_t n_clients;
	struct sl_hub *hub;
	struct sl_clock clock;
	uint64_t now, wake_at;
	unsigned wakes;
	struct fake_run *runs;
	size_t n_runs;
	struct fake_call calls[256];
	size_t n_calls;
	bool defer; /* callbacks wait for fake_call_back() */
	bool all;
	unsigned views, pages;
};

struct client {
	struct sl_hub_sink sink;
	struct fake *fake;
	struct sl_hub_conn *conn;
	bool slow, full, gone, want;
	int closed;         /* the code we were closed with */
	struct sl_buf wire; /* bytes not parsed yet */
	struct sl_buf message;
	bool in_message;
	size_t writes, frames, events, bytes, most_wire;
	unsigned pings, acks, errors, pongs, tokens, snapshots, resets_without_seq;
	char error_code[64];
	struct watching {
		struct fake_run *run;
		bool on, began;
		uint64_t last_seq;
		struct {
			uint32_t attempt; /* of the text */
			uint32_t told;    /* attempt that was announced */
			struct sl_buf text;
		} path[FAKE_PATHS];
	} runs[8];
	size_t n_all; /* events of subscribe_all, by arrival */
	bool all;
	uint64_t all_seq[8];
};

void fake_init(struct fake *f, size_t n_runs, uint32_t flush_ms);
void fake_fini(struct fake *f);
void fake_commit(struct fake_run *r, const char *event, const char *fmt, ...) SL_PRINTF(3, 4);
void fake_publish(struct fake *f, struct fake_run *r, bool lose); /* everything committed so far, as one notice */
void fake_publish_some(struct fake *f, struct fake_run *r, size_t most, bool lose);
void fake_call_back(struct fake *f, size_t i);
void fake_settle(struct fake *f);                   /* turns, callbacks, room for those who are not slow, for 4 s */
void fake_begin(struct fake_run *r, unsigned path); /* running, with a stream */
void fake_text(struct fake_run *r, unsigned path, const char *text, size_t len, bool thinking);
void fake_end(struct fake_run *r, unsigned path, const char *status);
void fake_retry(struct fake_run *r, unsigned path); /* stream_reset and the next attempt */
struct fake_run *fake_run_of(struct fake *f, struct sl_run_id id);
const char *fake_path(unsigned path);
const char *fake_id(const struct fake_run *r);

void client_open(struct client *c, struct fake *f);
void client_close(struct client *c); /* keeps what it holds, as a page does that lost its socket */
void client_fini(struct client *c);
void client_say(struct client *c, const char *fmt, ...) SL_PRINTF(2, 3);
void client_subscribe(struct client *c, size_t run); /* with what it holds, if it holds something */
void client_read(struct client *c);                  /* parses what came, and checks it */
void client_writable(struct client *c);
struct watching *client_run(struct client *c, size_t run);
/* It holds what the journal and the streams hold. */
void client_check_whole(struct client *c, size_t run);
