/* api/diff.c: what two runs differ in, node by node. A value that differs is told by the places in it that do, so that
 * a changed word of a long output is not two long outputs; how much is told of each is bounded, and what was left out
 * is counted. */
#include "api/fork.h"

#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1 /* what could not be added has hh.tbl NULL; else uthash ends the process */
#include <uthash.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/utf8.h"

#define PLACES_MOST 50   /* of one value */
#define VALUE_BYTES 4096 /* of what is told of one place, in each run */
#define NODES_MOST  5000
#define DEPTH_MOST  32

struct node {
	UT_hash_handle hh;
	struct json_object *o;
	bool seen;
};

struct places {
	struct sl_buf *out;
	uint32_t n, left_out;
};

/* ---- values ---- */

static void cut_to(struct sl_buf *b, size_t len)
{
	if (b->failed)
		return;
	b->len = len;
	if (b->data)
		b->data[len] = 0;
}

static void put_value(struct sl_buf *b, const char *key, struct json_object *v, bool *cut)
{
	SL_BUF(text, SL_LIMIT_GATHERED_BYTES);
	sl_json_write(&text, v);
	if (text.len <= VALUE_BYTES && !text.failed) {
		sl_buf_json_kraw(b, key, sl_buf_str(&text));
		return;
	}
	struct sl_str s = sl_json_str(v);
	*cut = true;
	if (s.len)
		sl_buf_json_kstr(b, key, sl_str_n(s.p, sl_utf8_cut(s.p, s.len, VALUE_BYTES)));
}

static void place(struct places *p, const struct sl_buf *pointer, struct json_object *a, bool in_a,
		  struct json_object *b, bool in_b)
{
	bool cut = false;
	if (p->n == PLACES_MOST) {
		p->left_out++;
		return;
	}
	p->n++;
	sl_buf_json_comma(p->out);
	sl_buf_addc(p->out, '{');
	sl_buf_json_kstr(p->out, "pointer", sl_buf_str(pointer));
	if (in_a)
		put_value(p->out, "a", a, &cut);
	if (in_b)
		put_value(p->out, "b", b, &cut);
	if (cut)
		sl_buf_json_kbool(p->out, "cut", true);
	sl_buf_addc(p->out, '}');
}

static void compare(struct places *p, struct sl_buf *pointer, struct json_object *a, struct json_object *b,
		    unsigned depth)
{
	size_t at = pointer->len;
	enum json_type ta = json_object_get_type(a), tb = json_object_get_type(b);
	if (sl_json_equal(a, b))
		return;
	if (ta != tb || (ta != json_type_object && ta != json_type_array) || depth == DEPTH_MOST || pointer->failed) {
		place(p, pointer, a, true, b, true);
		return;
	}
	if (ta == json_type_array) {
		size_t na = json_object_array_length(a), nb = json_object_array_length(b);
		for (size_t i = 0; i < na || i < nb; i++) {
			struct json_object *va = i < na ? json_object_array_get_idx(a, i) : NULL,
					   *vb = i < nb ? json_object_array_get_idx(b, i) : NULL;
			sl_pointer_add_index(pointer, i);
			if (i < na && i < nb)
				compare(p, pointer, va, vb, depth + 1);
			else
				place(p, pointer, va, i < na, vb, i < nb);
			cut_to(pointer, at);
		}
		return;
	}
	json_object_object_foreach (a, key, va) {
		struct json_object *vb = NULL;
		bool there = json_object_object_get_ex(b, key, &vb);
		sl_pointer_add(pointer, sl_str(key));
		if (there)
			compare(p, pointer, va, vb, depth + 1);
		else
			place(p, pointer, va, true, NULL, false);
		cut_to(pointer, at);
	}
	json_object_object_foreach (b, other, value) {
		if (json_object_object_get_ex(a, other, NULL))
			continue;
		sl_pointer_add(pointer, sl_str(other));
		place(p, pointer, NULL, false, value, true);
		cut_to(pointer, at);
	}
}

/* A member `key` with the places where a and b differ; nothing when they are the same. */
static void put_places(struct sl_buf *out, const char *key, struct json_object *a, struct json_object *b)
{
	struct places p = {.out = out};
	SL_BUF(pointer, 16384);
	if (sl_json_equal(a, b))
		return;
	sl_buf_json_key(out, key);
	sl_buf_addc(out, '[');
	compare(&p, &pointer, a, b, 0);
	if (p.left_out) {
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_ku64(out, "left_out", p.left_out);
		sl_buf_addc(out, '}');
	}
	sl_buf_addc(out, ']');
}

/* ---- pairs ---- */

static int64_t tokens_of(struct json_object *o)
{
	struct json_object *u = sl_json_get(o, "usage");
	return sl_json_get_i64(u, "input_tokens", 0) + sl_json_get_i64(u, "output_tokens", 0);
}

/* A node has its cost with its usage, a run beside it. */
static double cost_of(struct json_object *o)
{
	struct json_object *u = sl_json_get(o, "usage");
	return sl_json_get(u, "cost_usd") ? sl_json_get_f64(u, "cost_usd", 0) : sl_json_get_f64(o, "cost_usd", 0);
}

static bool duration_of(struct json_object *o, int64_t *ms)
{
	int64_t from, to;
	if (!sl_time_parse(sl_json_get_str(o, "started_at"), &from) ||
	    !sl_time_parse(sl_json_get_str(o, "finished_at"), &to))
		return false;
	*ms = to - from;
	return true;
}

static void put_or_null(struct sl_buf *out, struct json_object *o, const char *key)
{
	struct sl_str s = sl_json_get_str(o, key);
	sl_buf_json_comma(out);
	if (o && s.len)
		sl_buf_json_str(out, s);
	else
		sl_buf_adds(out, "null");
}

/* "status", "tokens", "cost_usd" and "duration_ms", each [of a, of b]; NULL: it is not there. */
static void put_pairs(struct sl_buf *out, struct json_object *a, struct json_object *b)
{
	struct json_object *both[] = {a, b};
	sl_buf_json_key(out, "status");
	sl_buf_addc(out, '[');
	put_or_null(out, a, "status");
	put_or_null(out, b, "status");
	sl_buf_addc(out, ']');
	sl_buf_json_key(out, "tokens");
	sl_buf_addf(out, "[%lld,%lld]", (long long)tokens_of(a), (long long)tokens_of(b));
	sl_buf_json_key(out, "cost_usd");
	sl_buf_addf(out, "[%.6f,%.6f]", cost_of(a), cost_of(b));
	sl_buf_json_key(out, "duration_ms");
	for (size_t i = 0; i < 2; i++) {
		int64_t ms;
		sl_buf_addc(out, i ? ',' : '[');
		if (both[i] && duration_of(both[i], &ms))
			sl_buf_addf(out, "%lld", (long long)ms);
		else
			sl_buf_adds(out, "null");
	}
	sl_buf_addc(out, ']');
}

/* ---- nodes ---- */

/* What a call took is told as tokens, cost and duration, and is no difference in what it gave. */
static struct json_object *given(struct json_object *node)
{
	struct json_object *output = sl_json_get(node, "output"), *o;
	if (!json_object_is_type(output, json_type_object) || !(o = json_object_new_object()))
		return json_object_get(output); /* without memory it differs in more than it has to */
	json_object_object_foreach (output, key, value)
		if (strcmp(key, "usage") != 0 && strcmp(key, "first_token_ms") != 0)
			sl_json_set(o, key, json_object_get(value));
	return o;
}

static bool same(struct json_object *a, struct json_object *b)
{
	SL_AUTO_JSON oa = given(a);
	SL_AUTO_JSON ob = given(b);
	return sl_str_eq(sl_json_get_str(a, "status"), sl_json_get_str(b, "status")) && sl_json_equal(oa, ob) &&
	       sl_json_equal(sl_json_get(a, "error"), sl_json_get(b, "error"));
}

static void put_node(struct sl_buf *out, struct json_object *a, struct json_object *b)
{
	struct json_object *one = a ? a : b;
	sl_buf_json_comma(out);
	sl_buf_addc(out, '{');
	sl_buf_json_kstr(out, "path", sl_json_get_str(one, "path"));
	sl_buf_json_kstr(out, "type", sl_json_get_str(one, "type"));
	sl_buf_json_kz(out, "change", !b ? "only_a" : !a ? "only_b" : same(a, b) ? "same" : "changed");
	put_pairs(out, a, b);
	if (a && b) {
		SL_AUTO_JSON oa = given(a);
		SL_AUTO_JSON ob = given(b);
		put_places(out, "output", oa, ob);
		put_places(out, "error", sl_json_get(a, "error"), sl_json_get(b, "error"));
	}
	sl_buf_addc(out, '}');
}

static enum sl_code put_nodes(struct sl_buf *out, struct json_object *a, struct json_object *b)
{
	size_t na = json_object_array_length(a), nb = json_object_array_length(b), shown = 0, left_out = 0;
	enum sl_code rc = SL_OK;
	struct node *table = NULL, *found, *nodes = calloc(nb + 1, sizeof(*nodes));
	if (!nodes)
		return SL_NO_MEMORY;
	for (size_t i = 0; i < nb; i++) {
		struct sl_str path = sl_json_get_str(json_object_array_get_idx(b, i), "path");
		nodes[i].o = json_object_array_get_idx(b, i);
		HASH_ADD_KEYPTR(hh, table, path.p, path.len, &nodes[i]);
		if (!nodes[i].hh.tbl)
			rc = SL_NO_MEMORY;
	}
	sl_buf_json_key(out, "nodes");
	sl_buf_addc(out, '[');
	for (size_t i = 0; i < na; i++) {
		struct json_object *o = json_object_array_get_idx(a, i);
		struct sl_str path = sl_json_get_str(o, "path");
		HASH_FIND(hh, table, path.p, path.len, found);
		if (found)
			found->seen = true;
		if (shown++ < NODES_MOST)
			put_node(out, o, found ? found->o : NULL);
		else
			left_out++;
	}
	for (size_t i = 0; i < nb; i++) {
		if (nodes[i].seen)
			continue;
		if (shown++ < NODES_MOST)
			put_node(out, NULL, nodes[i].o);
		else
			left_out++;
	}
	sl_buf_addc(out, ']');
	if (left_out)
		sl_buf_json_ku64(out, "nodes_left_out", left_out);
	HASH_CLEAR(hh, table);
	free(nodes);
	return rc;
}

static void put_run(struct sl_buf *out, const char *key, struct json_object *run)
{
	static const char *const members[] = {"id",         "workflow",   "version",     "project", "status",
					      "created_at", "started_at", "finished_at", "error",   "forked_from"};
	sl_buf_json_key(out, key);
	sl_buf_addc(out, '{');
	for (size_t i = 0; i < SL_COUNT_OF(members); i++) {
		struct json_object *v;
		if (!json_object_object_get_ex(run, members[i], &v))
			continue;
		sl_buf_json_key(out, members[i]);
		sl_json_write(out, v);
	}
	sl_buf_addc(out, '}');
}

enum sl_code sl_run_diff(struct sl_str a_text, struct sl_str b_text, struct sl_buf *out)
{
	SL_AUTO_JSON a = NULL;
	SL_AUTO_JSON b = NULL;
	enum sl_code rc = sl_json_parse(a_text, &a, NULL);
	if (rc == SL_OK)
		rc = sl_json_parse(b_text, &b, NULL);
	struct json_object *na = sl_json_get(a, "nodes"), *nb = sl_json_get(b, "nodes");
	if (rc == SL_OK && !(json_object_is_type(na, json_type_array) && json_object_is_type(nb, json_type_array)))
		rc = SL_INVALID;
	if (rc != SL_OK)
		return rc;
	sl_buf_addc(out, '{');
	put_run(out, "a", a);
	put_run(out, "b", b);
	put_pairs(out, a, b);
	sl_buf_json_kbool(out, "same_definition",
			  sl_json_equal(sl_json_get(a, "definition"), sl_json_get(b, "definition")));
	put_places(out, "inputs", sl_json_get(a, "inputs"), sl_json_get(b, "inputs"));
	put_places(out, "outputs", sl_json_get(a, "outputs"), sl_json_get(b, "outputs"));
	rc = put_nodes(out, na, nb);
	sl_buf_addc(out, '}');
	return rc == SL_OK && out->failed ? SL_NO_MEMORY : rc;
}
