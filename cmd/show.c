/* cmd/show.c: see show.h. */
#include "cmd/show.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"

#define SHOW_LINE_BYTES  (1u << 20)
#define SHOW_LABEL_MOST  24 /* columns of a node's name; longer ones are not padded */
#define SHOW_WIDTH_LEAST 40

struct node {
	struct sl_list link;
	char *path, *type;
	const char *colour;
	uint32_t attempt;
	uint64_t offset;    /* bytes of this attempt that were taken in */
	struct sl_buf line; /* begun, not complete */
	size_t on_screen;   /* bytes of it that stand on the terminal already */
	bool streaming, thinking;
};

struct sl_show {
	struct sl_show_config config;
	struct sl_list nodes;
	unsigned n_nodes, n_streaming, label;
	struct node *open; /* whose unfinished line the cursor stands in */
	uint64_t last_seq;
	struct sl_buf out;
};

#define BOLD  "\033[1m"
#define DIM   "\033[2m"
#define RED   "\033[31m"
#define GREEN "\033[32m"
#define PLAIN "\033[0m"
static const char *const colours[] = {"\033[36m", "\033[33m", "\033[35m", "\033[34m",
				      "\033[32m", "\033[96m", "\033[93m", "\033[95m"};

struct sl_show *sl_show_new(const struct sl_show_config *config)
{
	struct sl_show *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->config = *config;
	sl_list_init(&s->nodes);
	sl_buf_init(&s->out, 2 * SHOW_LINE_BYTES);
	sl_show_resize(s, config->width);
	return s;
}

void sl_show_free(struct sl_show *s)
{
	if (!s)
		return;
	sl_list_each_safe (it, next, &s->nodes) {
		struct node *n = sl_list_entry(it, struct node, link);
		sl_buf_fini(&n->line);
		free(n->path);
		free(n->type);
		free(n);
	}
	sl_buf_fini(&s->out);
	free(s);
}

void sl_show_resize(struct sl_show *s, unsigned width)
{
	s->config.width = width ? (width < SHOW_WIDTH_LEAST ? SHOW_WIDTH_LEAST : width) : 80;
}

uint64_t sl_show_last_seq(const struct sl_show *s)
{
	return s->last_seq;
}

bool sl_run_is_final(const char *status)
{
	return status &&
	       (strcmp(status, "succeeded") == 0 || strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0);
}

static const char *ink(const struct sl_show *s, const char *colour)
{
	return s->config.terminal && s->config.colour ? colour : "";
}

static void flush(struct sl_show *s)
{
	if (s->out.len && !s->out.failed)
		s->config.write(s->config.ctx, s->out.data, s->out.len);
	sl_buf_reset(&s->out);
}

/* Bytes and columns of the character at p; wide ones (CJK, emoji) count two. Text here is valid UTF-8. */
static size_t character(const char *p, size_t len, unsigned *columns)
{
	unsigned char b = (unsigned char)*p;
	size_t n = b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
	if (n > len)
		n = len;
	uint32_t c = b;
	if (n > 1) {
		c = b & (0xffu >> (n + 1));
		for (size_t i = 1; i < n; i++)
			c = c << 6 | ((unsigned char)p[i] & 0x3f);
	}
	bool wide = (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) || (c >= 0xac00 && c <= 0xd7a3) ||
		    (c >= 0xf900 && c <= 0xfaff) || (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
		    (c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd);
	bool none = (c >= 0x300 && c <= 0x36f) || (c >= 0x200b && c <= 0x200d) || (c >= 0xfe00 && c <= 0xfe0f);
	*columns = none ? 0 : wide ? 2 : 1;
	return n;
}

static struct node *node_of(struct sl_show *s, const char *path)
{
	sl_list_each (it, &s->nodes) {
		struct node *n = sl_list_entry(it, struct node, link);
		if (strcmp(n->path, path) == 0)
			return n;
	}
	struct node *n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->path = sl_str_dup(sl_str(path));
	if (!n->path) {
		free(n);
		return NULL;
	}
	n->colour = colours[s->n_nodes++ % SL_COUNT_OF(colours)];
	sl_buf_init(&n->line, SHOW_LINE_BYTES);
	sl_list_append(&s->nodes, &n->link);
	unsigned len = (unsigned)strlen(path);
	if (len > s->label && len <= SHOW_LABEL_MOST)
		s->label = len;
	return n;
}

/* The name of the node in front of what it says. */
static void prefix(struct sl_show *s, const struct node *n, const char *mark)
{
	sl_buf_addf(&s->out, "%s%-*s%s %s ", ink(s, n->colour), s->config.terminal ? (int)s->label : 0, n->path,
		    ink(s, PLAIN), mark);
}

/* Leaves the line the cursor stands in; its node goes on with a fresh one. */
static void close_open(struct sl_show *s)
{
	struct node *n = s->open;
	if (!n)
		return;
	sl_buf_drop_front(&n->line, n->on_screen);
	n->on_screen = 0;
	s->open = NULL;
	sl_buf_addf(&s->out, "%s\n", ink(s, PLAIN));
}

static void open_line(struct sl_show *s, struct node *n)
{
	if (s->open == n)
		return;
	close_open(s);
	prefix(s, n, s->config.terminal ? "│" : "|");
	if (n->thinking)
		sl_buf_adds(&s->out, ink(s, DIM));
	s->open = n;
}

/* Prints the first `len` bytes of the node's line as a line of its own and drops `drop` bytes. */
static void put_line(struct sl_show *s, struct node *n, size_t len, size_t drop)
{
	open_line(s, n);
	if (len > n->on_screen)
		sl_buf_add(&s->out, n->line.data + n->on_screen, len - n->on_screen);
	sl_buf_addf(&s->out, "%s\n", ink(s, PLAIN));
	sl_buf_drop_front(&n->line, drop);
	n->on_screen = 0;
	s->open = NULL;
}

static void finish_line(struct sl_show *s, struct node *n)
{
	if (n->line.len)
		put_line(s, n, n->line.len, n->line.len);
	else if (s->open == n)
		close_open(s);
}

/* How much of the line fits into the columns, broken at a space where there is one. 0: all of it. */
static size_t wrap_at(const struct sl_show *s, const struct node *n, size_t *drop)
{
	unsigned label = (unsigned)strlen(n->path) > s->label ? (unsigned)strlen(n->path) : s->label;
	unsigned room = s->config.width > label + 3 + 16 ? s->config.width - label - 3 : 16, used = 0, columns;
	size_t space = 0, at = 0;
	while (at < n->line.len) {
		size_t size = character(n->line.data + at, n->line.len - at, &columns);
		if (used + columns > room) {
			if (n->line.data[at] == ' ')
				space = at;
			/* what is on the screen cannot be taken back */
			size_t cut = space > n->on_screen || (space && space == n->on_screen) ? space : at;
			*drop = cut < n->line.len && n->line.data[cut] == ' ' ? cut + 1 : cut;
			return cut;
		}
		if (n->line.data[at] == ' ' && at > 0)
			space = at;
		used += columns;
		at += size;
	}
	return 0;
}

/* A single stream shows every complete word at once. */
static void show_live(struct sl_show *s, struct node *n)
{
	size_t until = n->line.len;
	while (until > n->on_screen && n->line.data[until - 1] != ' ' && (unsigned char)n->line.data[until - 1] < 0x80)
		until--;
	if (until <= n->on_screen)
		return;
	open_line(s, n);
	sl_buf_add(&s->out, n->line.data + n->on_screen, until - n->on_screen);
	n->on_screen = until;
}

static void take_text(struct sl_show *s, struct node *n, struct sl_str text)
{
	size_t drop = 0;
	for (size_t i = 0; i < text.len;) {
		unsigned columns;
		size_t size = character(text.p + i, text.len - i, &columns);
		unsigned char c = (unsigned char)text.p[i];
		if (c == '\n')
			put_line(s, n, n->line.len, n->line.len);
		else if (c == '\t')
			sl_buf_adds(&n->line, "    ");
		else if (c >= 0x20 && c != 0x7f && !(c == 0xc2 && size == 2 && (unsigned char)text.p[i + 1] < 0xa0))
			sl_buf_add(&n->line, text.p + i, size);
		i += size;
		if (n->line.failed || n->line.len >= SHOW_LINE_BYTES / 2) /* a line of a megabyte is shown in pieces */
			put_line(s, n, n->line.len, n->line.len);
		for (size_t cut; s->config.terminal && (cut = wrap_at(s, n, &drop)) > 0;)
			put_line(s, n, cut, drop);
	}
	if (s->config.terminal && s->n_streaming == 1)
		show_live(s, n);
}

static void set_streaming(struct sl_show *s, struct node *n, bool on)
{
	if (n->streaming == on)
		return;
	n->streaming = on;
	s->n_streaming += on ? 1u : -1u;
}

static void tokens(struct sl_show *s, struct json_object *data)
{
	const char *path = sl_json_get_z(data, "node_id");
	struct node *n = path ? node_of(s, path) : NULL;
	int64_t attempt = sl_json_get_i64(data, "attempt", 1), offset = sl_json_get_i64(data, "offset", 0);
	struct sl_str chunk = sl_json_get_str(data, "chunk");
	bool thinking = sl_json_get_bool(data, "is_thinking", false);

	if (!n || attempt < n->attempt || offset < 0)
		return;
	if (attempt > n->attempt) {
		n->attempt = (uint32_t)attempt;
		n->offset = 0;
	}
	uint64_t skip = n->offset > (uint64_t)offset ? n->offset - (uint64_t)offset : 0;
	if (skip >= chunk.len)
		return;
	n->offset = (uint64_t)offset + chunk.len;
	set_streaming(s, n, true);
	if (thinking != n->thinking) {
		finish_line(s, n);
		n->thinking = thinking;
	}
	take_text(s, n, sl_str_n(chunk.p + skip, chunk.len - skip));
}

static void reset(struct sl_show *s, struct json_object *data)
{
	const char *path = sl_json_get_z(data, "node_id"), *reason = sl_json_get_z(data, "reason");
	struct node *n = path ? node_of(s, path) : NULL;
	int64_t attempt = sl_json_get_i64(data, "attempt", 0);
	if (!n || attempt <= n->attempt)
		return;
	finish_line(s, n);
	set_streaming(s, n, false);
	n->attempt = (uint32_t)attempt;
	n->offset = 0;
	close_open(s);
	prefix(s, n, s->config.terminal ? "↺" : "*");
	sl_buf_addf(&s->out, "starts over, attempt %lld%s%s; the text above is void\n", (long long)attempt,
		    reason ? ": " : "", reason ? reason : "");
}

/* Text of others in a line of ours: control characters would drive the terminal. */
static void add_clean(struct sl_buf *out, const char *z)
{
	for (; *z; z++)
		sl_buf_addc(out, (unsigned char)*z < 0x20 || *z == 0x7f ? ' ' : *z);
}

static void state(struct sl_show *s, struct json_object *data)
{
	static const struct {
		const char *status, *mark, *plain, *colour;
	} marks[] = {
		{"running", "▸", ">", DIM},     {"waiting", "…", "~", DIM}, {"retrying", "↺", "*", RED},
		{"completed", "✓", "+", GREEN}, {"failed", "✗", "!", RED},  {"skipped", "–", "-", DIM},
		{"cancelled", "–", "-", DIM},   {"pending", "…", "~", DIM},
	};
	const char *path = sl_json_get_z(data, "node_id"), *status = sl_json_get_z(data, "status");
	struct node *n = path ? node_of(s, path) : NULL;
	const char *reason = sl_json_get_z(data, "reason"), *type = sl_json_get_z(data, "type");
	struct json_object *error = sl_json_get(data, "error");
	size_t i = 0;

	while (status && i < SL_COUNT_OF(marks) && strcmp(status, marks[i].status) != 0)
		i++;
	if (!n || !status || i == SL_COUNT_OF(marks) || (strcmp(status, "pending") == 0 && !reason))
		return; /* a node that is held back says why */
	if (type && !n->type)
		n->type = sl_str_dup(sl_str(type));
	if (strcmp(status, "running") != 0) {
		finish_line(s, n);
		set_streaming(s, n, false);
	}
	close_open(s);
	prefix(s, n, s->config.terminal ? marks[i].mark : marks[i].plain);
	sl_buf_addf(&s->out, "%s%s", ink(s, marks[i].colour), status);
	if (n->type && strcmp(status, "running") == 0) {
		sl_buf_adds(&s->out, " (");
		add_clean(&s->out, n->type);
		sl_buf_addc(&s->out, ')');
	}
	const char *message = json_object_is_type(error, json_type_string) ? json_object_get_string(error)
									   : sl_json_get_z(error, "message");
	if (message || reason) {
		sl_buf_adds(&s->out, ": ");
		add_clean(&s->out, message ? message : reason);
	}
	int64_t arrived = sl_json_get_i64(data, "arrived", -1), expected = sl_json_get_i64(data, "expected", -1);
	if (arrived >= 0 && expected >= 0)
		sl_buf_addf(&s->out, ", %lld of %lld arrived", (long long)arrived, (long long)expected);
	sl_buf_addf(&s->out, "%s\n", ink(s, PLAIN));
}

static void execution(struct sl_show *s, const char *what, struct json_object *data)
{
	const char *reason = sl_json_get_z(data, "reason");
	if (strcmp(what, "created") == 0 || strcmp(what, "started") == 0 || strcmp(what, "completed") == 0 ||
	    strcmp(what, "failed") == 0)
		return; /* the first two are obvious, of the others the end tells more */
	close_open(s);
	sl_buf_addf(&s->out, "%srun %s", ink(s, BOLD), what);
	if (reason) {
		sl_buf_adds(&s->out, ": ");
		add_clean(&s->out, reason);
	}
	sl_buf_addf(&s->out, "%s\n", ink(s, PLAIN));
}

static void add_number(struct sl_buf *out, const char *words, struct json_object *data, const char *key)
{
	if (sl_json_get(data, key))
		sl_buf_addf(out, "%s%.6g", words, sl_json_get_f64(data, key, 0));
}

static void add_words(struct sl_buf *out, const char *words, struct json_object *data, const char *key)
{
	const char *z = sl_json_get_z(data, key);
	if (z && *z) {
		sl_buf_adds(out, words);
		add_clean(out, z);
	}
}

static void round_told(struct sl_buf *out, struct json_object *data)
{
	add_number(out, "round ", data, "round");
	add_number(out, " of ", data, "of");
	add_number(out, ": score ", data, "score");
	add_number(out, " of ", data, "target");
	add_words(out, ", ", data, "note");
	add_words(out, "; ends: ", data, "exit_reason");
}

static void review_told(struct sl_buf *out, struct json_object *data)
{
	sl_buf_adds(out, "a person is asked");
	add_words(out, ": ", data, "instructions");
	sl_buf_adds(out, "\n  answer in the browser, or: sluice runs review RUN ");
	add_clean(out, sl_json_get_z(data, "node_id") ? sl_json_get_z(data, "node_id") : "NODE");
	sl_buf_adds(out, " approve | modify | reject");
}

static void reminder_told(struct sl_buf *out, struct json_object *data)
{
	add_number(out, "still waiting for a person, ", data, "in_s");
	sl_buf_adds(out, " s are left");
}

static void resolved_told(struct sl_buf *out, struct json_object *data)
{
	add_words(out, "decided: ", data, "action");
	add_words(out, ", by ", data, "reviewer");
	add_words(out, ": ", data, "reason");
}

static void tripped_told(struct sl_buf *out, struct json_object *data)
{
	add_words(out, "the run is locked: ", data, "message");
	sl_buf_adds(out, "\n  look at it, then: sluice runs unlock RUN --justification WHY");
}

static void vote_told(struct sl_buf *out, struct json_object *data)
{
	add_words(out, "", data, "voter");
	add_words(out, " votes ", data, "vote");
	if (json_object_is_type(sl_json_get(data, "vote"), json_type_int))
		add_number(out, " gives ", data, "vote");
	add_words(out, ": ", data, "reason");
}

static void checking_told(struct sl_buf *out, struct json_object *data)
{
	add_words(out, "looks up in ", data, "source");
	add_words(out, ": ", data, "claim");
}

static void checked_told(struct sl_buf *out, struct json_object *data)
{
	sl_buf_adds(out, sl_json_get_bool(data, "verified", false) ? "verified" : "not verified");
	add_words(out, ": ", data, "claim");
	add_words(out, "\n  ", data, "reason");
}

static void claims_told(struct sl_buf *out, struct json_object *data)
{
	add_number(out, "claims to be checked: ", data, "count");
}

static void progress_told(struct sl_buf *out, struct json_object *data)
{
	add_number(out, "", data, "done");
	add_number(out, " of ", data, "of");
	if (sl_json_get_i64(data, "failed", 0))
		add_number(out, ", failed: ", data, "failed");
}

static void memories_told(struct sl_buf *out, struct json_object *data)
{
	add_number(out, "memories found: ", data, "count");
	add_words(out, "; ", data, "degraded");
}

static void tool_told(struct sl_buf *out, struct json_object *data)
{
	struct json_object *error = sl_json_get(data, "error");
	add_words(out, "", data, "tool");
	add_words(out, " ", data, "arguments");
	add_words(out, ": ", data, "result");
	add_words(out, ": ", error, "code");
	add_words(out, ": ", error, "message");
}

static void said_told(struct sl_buf *out, struct json_object *data)
{
	add_words(out, "", data, "by");
	add_words(out, " interjects: ", data, "text");
	add_words(out, " signals ", data, "signal");
}

/* What nodes tell beside their states, a line each. */
static bool told(struct sl_show *s, const char *event, struct json_object *data)
{
	static const struct {
		const char *event;
		void (*tell)(struct sl_buf *out, struct json_object *data);
		const char *colour;
	} rows[] = {
		{"loop:round", round_told, PLAIN},
		{"human_review:requested", review_told, BOLD},
		{"human_review:reminder", reminder_told, BOLD},
		{"human_review:resolved", resolved_told, PLAIN},
		{"circuit_breaker:tripped", tripped_told, RED},
		{"vote:cast", vote_told, PLAIN},
		{"factcheck:checking", checking_told, DIM},
		{"factcheck:result", checked_told, PLAIN},
		{"claims:flagged", claims_told, DIM},
		{"progress", progress_told, DIM},
		{"memory_retrieved", memories_told, DIM},
		{"tool_execution", tool_told, DIM},
		{"user_input", said_told, PLAIN},
		{"signal:received", said_told, PLAIN},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		if (strcmp(event, rows[i].event) != 0)
			continue;
		const char *path = sl_json_get_z(data, "node_id");
		struct node *n = path ? node_of(s, path) : NULL;
		close_open(s);
		if (n)
			prefix(s, n, s->config.terminal ? "·" : "=");
		sl_buf_adds(&s->out, ink(s, rows[i].colour));
		rows[i].tell(&s->out, data);
		sl_buf_addf(&s->out, "%s\n", ink(s, PLAIN));
		return true;
	}
	return false;
}

void sl_show_event(struct sl_show *s, const char *event, uint64_t seq, struct json_object *data)
{
	if (seq) {
		if (seq <= s->last_seq)
			return;
		s->last_seq = seq;
	}
	if (strcmp(event, "token_stream") == 0)
		tokens(s, data);
	else if (strcmp(event, "stream_reset") == 0)
		reset(s, data);
	else if (strcmp(event, "node_state_change") == 0)
		state(s, data);
	else if (strncmp(event, "execution:", 10) == 0)
		execution(s, event + 10, data);
	else
		(void)told(s, event, data); /* what it does not know it leaves to the browser */
	flush(s);
}

void sl_show_note(struct sl_show *s, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	close_open(s);
	sl_buf_addf(&s->out, "%s%s%s\n", ink(s, DIM), text, ink(s, PLAIN));
	flush(s);
}

static void output(struct sl_show *s, const char *key, struct json_object *v)
{
	sl_buf_adds(&s->out, ink(s, BOLD));
	add_clean(&s->out, key);
	sl_buf_addf(&s->out, ":%s ", ink(s, PLAIN));
	if (json_object_is_type(v, json_type_string)) {
		struct sl_str text = sl_json_str(v);
		bool lines = memchr(text.p, '\n', text.len) != NULL;
		if (lines)
			sl_buf_addc(&s->out, '\n');
		for (size_t i = 0; i < text.len; i++) {
			unsigned char c = (unsigned char)text.p[i];
			sl_buf_addc(&s->out, c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f) ? (char)c : ' ');
		}
	} else
		sl_json_write(&s->out, v); /* escapes what is no text */
	sl_buf_addc(&s->out, '\n');
	flush(s);
}

void sl_show_end(struct sl_show *s, struct json_object *run)
{
	const char *status = sl_json_get_z(run, "status");
	struct json_object *outputs = sl_json_get(run, "outputs"), *usage = sl_json_get(run, "usage"),
			   *error = sl_json_get(run, "error");
	int64_t began = 0, ended = 0;

	sl_list_each (it, &s->nodes)
		finish_line(s, sl_list_entry(it, struct node, link));
	close_open(s);
	sl_buf_addc(&s->out, '\n');
	flush(s);
	if (outputs && json_object_is_type(outputs, json_type_object)) {
		json_object_object_foreach (outputs, key, v)
			output(s, key, v);
	} else if (outputs)
		output(s, "outputs", outputs);
	bool good = status && strcmp(status, "succeeded") == 0;
	sl_buf_addf(&s->out, "%s%s%s", ink(s, good ? GREEN : RED), status ? status : "unknown", ink(s, PLAIN));
	if (error) {
		const char *node = sl_json_get_z(error, "node"), *message = sl_json_get_z(error, "message");
		if (node) {
			sl_buf_adds(&s->out, " at ");
			add_clean(&s->out, node);
		}
		sl_buf_adds(&s->out, ": ");
		add_clean(&s->out, message ? message : "");
	}
	if (sl_time_parse(sl_json_get_str(run, "started_at"), &began) &&
	    sl_time_parse(sl_json_get_str(run, "finished_at"), &ended))
		sl_buf_addf(&s->out, " in %.1f s", (double)(ended - began) / 1000);
	sl_buf_addf(&s->out, "; %lld tokens in, %lld out, $%.4f", (long long)sl_json_get_i64(usage, "input_tokens", 0),
		    (long long)sl_json_get_i64(usage, "output_tokens", 0), sl_json_get_f64(run, "cost_usd", 0));
	if (sl_json_get_bool(run, "simulated", false))
		sl_buf_adds(&s->out, " (answered by the simulator, not by a model)");
	sl_buf_addc(&s->out, '\n');
	flush(s);
}
