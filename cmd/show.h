/* cmd/show.h: a run on the terminal: its events and the text of its nodes, readable also when several write at once.
 *
 * Owns      a line buffer for each node that streams. A single stream is shown word by word; as soon as two are open,
 * each line is held back until it is complete and printed behind its node's name. Thread    whoever owns it. Knows no
 * socket and no file: bytes go to `write`. Safe      control characters of a model's text are dropped, so it cannot
 * drive the terminal.
 */
#pragma once

#include "base/json.h"
#include "base/own.h"

struct sl_show;

struct sl_show_config {
	void (*write)(void *ctx, const char *bytes, size_t len);
	void *ctx;
	bool terminal;  /* colours, word wrap, a single stream live; false: complete lines, plain */
	bool colour;    /* with terminal only */
	unsigned width; /* columns; 0: 80 */
};

struct sl_show *sl_show_new(const struct sl_show_config *config); /* NULL: no memory */
void sl_show_free(struct sl_show *s);
SL_DEFINE_AUTO(sl_show)
void sl_show_resize(struct sl_show *s, unsigned width);

/* One event as the server tells it. What was shown before (same attempt and offsets, same seq) is not shown again, so a
 * stream may be started over after a reconnect. */
void sl_show_event(struct sl_show *s, const char *event, uint64_t seq, struct json_object *data);
uint64_t sl_show_last_seq(const struct sl_show *s);
/* A line of ours, between the others. */
void sl_show_note(struct sl_show *s, const char *fmt, ...) SL_PRINTF(2, 3);
/* The end: what is left, outputs, usage and cost of the run object. */
void sl_show_end(struct sl_show *s, struct json_object *run);
bool sl_run_is_final(const char *status);
