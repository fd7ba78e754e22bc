/* api/routes_bulk.c: one order for many runs: for those whose ids are given, or for all of a filter, which are looked
 * up page by page. It is given to each, on whichever server it is; the answer says who refused it, and why. One line of
 * the trail says what was asked for and what became of it. */
#include "api/api_priv.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "store/audit.h"
#include "store/runs.h"

#define BULK_MOST  1000
#define BULK_USUAL 200
#define BULK_PAGE  200
#define BULK_IDS   200 /* that one order may name */
#define BULK_TOLD  200 /* refusals in an answer; of more it says that there are */
#define NAME_BYTES 256 /* so much of each text of the filter is in the trail */

static const struct {
	const char *action;
	enum sl_command_kind kind;
	const char *statuses[SL_RUN_FILTER_STATUSES]; /* whose runs it is for, unless the filter says */
} actions[] = {
	{"pause", SL_CMD_PAUSE_DRAIN, {"running", "waiting"}},
	{"resume", SL_CMD_RESUME, {"paused"}},
	{"cancel", SL_CMD_CANCEL, {"queued", "running", "waiting", "paused", "locked"}},
	{"retry", SL_CMD_RETRY, {"failed", "cancelled"}},
};

/* What became of one of them is written by whoever answers its order, before `left` goes down. */
struct bulk_run {
	struct bulk *bulk;
	struct sl_run_id id;
	enum sl_code rc;
	char status[16];
	char *why; /* NULL: none was given */
};

struct bulk {
	struct sl_task *task;
	struct sl_run_filter filter;
	char *texts[SL_RUN_FILTER_STATUSES + 4]; /* what the filter lends from */
	size_t n_texts;
	size_t action;
	bool by_ids, dry_run, more;
	uint32_t limit;
	char *cursor;
	struct bulk_run runs[BULK_MOST];
	size_t n;
	_Atomic size_t left, done, refused;
	char by[64];
};

static void bulk_free(void *more)
{
	struct bulk *b = more;
	for (size_t i = 0; i < b->n_texts; i++)
		free(b->texts[i]);
	for (size_t i = 0; i < b->n; i++)
		free(b->runs[i].why);
	free(b->cursor);
	free(b);
}

static void problem(struct sl_buf *out, const char *pointer, const char *message)
{
	sl_buf_json_problem(out, sl_str(pointer), message);
}

static bool keep(struct bulk *b, struct sl_str text, struct sl_str *out)
{
	char *z = sl_str_dup(text);
	if (!z)
		return false;
	b->texts[b->n_texts++] = z;
	*out = sl_str(z);
	return true;
}

/* One text, with commas between several, as in the address of a list; or an array of texts. */
static bool read_statuses(struct bulk *b, struct json_object *v, struct sl_buf *errors)
{
	struct sl_run_filter *f = &b->filter;
	bool array = json_object_is_type(v, json_type_array), good = array || json_object_is_type(v, json_type_string);
	size_t n = array ? json_object_array_length(v) : 1;
	for (size_t i = 0; good && i < n; i++) {
		struct sl_str rest = sl_json_str(array ? json_object_array_get_idx(v, i) : v), one;
		do {
			if (!sl_str_cut(rest, ',', &one, &rest)) {
				one = rest;
				rest = SL_STR("");
			}
			good = sl_run_status_known(one) && f->n_statuses < SL_RUN_FILTER_STATUSES;
			if (good && !keep(b, one, &f->statuses[f->n_statuses]))
				return false;
			f->n_statuses += good;
		} while (good && rest.len);
	}
	if (!good)
		problem(errors, "/filter/status", "is a status of runs, or several");
	return true;
}

/* False: no memory. */
static bool read_filter(struct bulk *b, struct json_object *filter, struct sl_buf *errors)
{
	struct sl_run_filter *f = &b->filter;
	bool any = false;
	if (!filter || !json_object_is_type(filter, json_type_object)) {
		problem(errors, "/filter",
			"must be an object with status, workflow, project, tag or since; or give `ids`");
		return true;
	}
	json_object_object_foreach (filter, key, v) {
		struct sl_str *to = !strcmp(key, "workflow")  ? &f->workflow
				    : !strcmp(key, "project") ? &f->project
				    : !strcmp(key, "tag")     ? &f->tag
							      : NULL;
		char at[128];
		(void)snprintf(at, sizeof(at), "/filter/%.100s", key);
		any = true;
		if (to && sl_json_str(v).len) {
			if (!keep(b, sl_json_str(v), to))
				return false;
		} else if (to) {
			problem(errors, at, "must be a text");
		} else if (!strcmp(key, "status")) {
			if (!read_statuses(b, v, errors))
				return false;
		} else if (!strcmp(key, "since")) {
			if (!sl_time_parse(sl_json_str(v), &f->since_ms))
				problem(errors, at, "is a time like 2026-01-31T12:00:00Z");
		} else {
			problem(errors, at, "is not known; there are status, workflow, project, tag and since");
		}
	}
	if (!any) /* by mistake, it would be everything there is */
		problem(errors, "/filter", "needs at least one member");
	return true;
}

static void add(struct bulk *b, struct sl_run_id id)
{
	b->runs[b->n++] = (struct bulk_run){.bulk = b, .id = id};
}

/* Who is named twice gets the order once. */
static void read_ids(struct bulk *b, struct json_object *ids, struct sl_buf *errors)
{
	size_t n = json_object_is_type(ids, json_type_array) ? json_object_array_length(ids) : 0;
	if (n < 1 || n > BULK_IDS) {
		problem(errors, "/ids", "is an array of ids of runs, 1 to 200");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		char at[32];
		struct sl_run_id id;
		size_t same = 0;
		(void)snprintf(at, sizeof(at), "/ids/%zu", i);
		if (!sl_uuid_parse(sl_json_str(json_object_array_get_idx(ids, i)), &id.u)) {
			problem(errors, at, "is no id of a run");
			continue;
		}
		while (same < b->n && memcmp(&b->runs[same].id, &id, sizeof(id)) != 0)
			same++;
		if (same == b->n)
			add(b, id);
	}
}

/* False: no memory. */
static bool read_body(struct bulk *b, struct json_object *body, struct sl_buf *errors)
{
	struct json_object *ids = sl_json_get(body, "ids"), *filter = sl_json_get(body, "filter");
	struct json_object *limit = sl_json_get(body, "limit"), *dry = sl_json_get(body, "dry_run");
	json_object_object_foreach (body, key, unused) {
		char at[128];
		(void)unused;
		(void)snprintf(at, sizeof(at), "/%.100s", key);
		if (strcmp(key, "action") != 0 && strcmp(key, "ids") != 0 && strcmp(key, "filter") != 0 &&
		    strcmp(key, "limit") != 0 && strcmp(key, "dry_run") != 0)
			problem(errors, at, "is not known; there are action, ids, filter, limit and dry_run");
	}
	while (b->action < SL_COUNT_OF(actions) &&
	       !sl_str_is(sl_json_get_str(body, "action"), actions[b->action].action))
		b->action++;
	if (b->action == SL_COUNT_OF(actions))
		problem(errors, "/action", "is pause, resume, cancel or retry");
	int64_t most = json_object_get_int64(limit);
	if (limit && !(json_object_is_type(limit, json_type_int) && most >= 1 && most <= BULK_MOST))
		problem(errors, "/limit", "is a number from 1 to 1000");
	if (dry && !json_object_is_type(dry, json_type_boolean))
		problem(errors, "/dry_run", "is true or false");
	b->limit = limit ? (uint32_t)most : BULK_USUAL;
	b->dry_run = json_object_get_boolean(dry);
	b->by_ids = ids != NULL;
	if (ids) {
		if (filter)
			problem(errors, "/filter", "is instead of `ids`; give one of them");
		if (limit)
			problem(errors, "/limit", "goes with a filter, not with `ids`");
		if (b->dry_run)
			problem(errors, "/dry_run", "goes with a filter, not with `ids`");
		read_ids(b, ids, errors);
		return true;
	}
	if (!read_filter(b, filter, errors))
		return false;
	if (b->action < SL_COUNT_OF(actions) && !b->filter.n_statuses)
		for (const char *const *s = actions[b->action].statuses; *s; s++)
			b->filter.statuses[b->filter.n_statuses++] = sl_str(*s);
	return true;
}

/* ---- what became of it */

/* Whose runs they were, for the trail: the filter with the statuses it had, also when nobody named one. What is longer
 * than a name can be is cut. */
static void write_filter(struct sl_buf *out, const struct sl_run_filter *f)
{
	const struct {
		const char *key;
		struct sl_str value;
	} texts[] = {{"workflow", f->workflow}, {"project", f->project}, {"tag", f->tag}};
	sl_buf_addc(out, '{');
	sl_buf_json_key(out, "status");
	sl_buf_addc(out, '[');
	for (size_t i = 0; i < f->n_statuses; i++) {
		sl_buf_json_comma(out);
		sl_buf_json_str(out, f->statuses[i]);
	}
	sl_buf_addc(out, ']');
	for (size_t i = 0; i < SL_COUNT_OF(texts); i++)
		if (texts[i].value.len)
			sl_buf_json_kstr(out, texts[i].key,
					 sl_str_n(texts[i].value.p,
						  sl_utf8_cut(texts[i].value.p, texts[i].value.len, NAME_BYTES)));
	if (f->since_ms)
		sl_buf_json_ktime(out, "since", f->since_ms);
	sl_buf_addc(out, '}');
}

static void write_ids(struct sl_buf *out, const struct bulk *b, bool refused)
{
	sl_buf_json_key(out, refused ? "refused_ids" : "ids");
	sl_buf_addc(out, '[');
	for (size_t i = 0; i < b->n; i++) {
		char id[SL_UUID_TEXT_BYTES];
		if (refused && b->runs[i].rc == SL_OK)
			continue;
		sl_uuid_format(b->runs[i].id.u, id);
		sl_buf_json_comma(out);
		sl_buf_json_str(out, sl_str(id));
	}
	sl_buf_addc(out, ']');
}

static void write_counts(struct sl_buf *out, struct bulk *b)
{
	sl_buf_json_kz(out, "action", actions[b->action].action);
	sl_buf_json_ku64(out, "matched", b->n);
	sl_buf_json_ku64(out, "done", atomic_load(&b->done));
	sl_buf_json_ku64(out, "refused", atomic_load(&b->refused));
	sl_buf_json_kbool(out, "more", b->more);
	sl_buf_json_kbool(out, "dry_run", b->dry_run);
}

static void audit(struct bulk *b)
{
	struct sl_api *a = b->task->api;
	SL_BUF(line, 64 << 10);
	sl_buf_addc(&line, '{');
	write_counts(&line, b);
	if (b->by_ids) {
		write_ids(&line, b, false);
		write_ids(&line, b, true);
	} else {
		sl_buf_json_key(&line, "filter");
		write_filter(&line, &b->filter);
	}
	sl_buf_addc(&line, '}');
	SL_AUTO(sl_bytes) detail = sl_buf_bytes(&line);
	sl_counts_audit(a, "run.bulk");
	sl_api_audit_by(a, sl_str(b->by), "run.bulk", SL_STR(""), detail);
}

/* Who refused it, in the order they were named or found in. */
static void write_refusals(struct sl_buf *out, const struct bulk *b)
{
	size_t n = 0;
	sl_buf_json_key(out, "refusals");
	sl_buf_addc(out, '[');
	for (size_t i = 0; i < b->n; i++) {
		const struct bulk_run *x = &b->runs[i];
		char id[SL_UUID_TEXT_BYTES];
		if (x->rc == SL_OK || n++ >= BULK_TOLD)
			continue;
		sl_uuid_format(x->id.u, id);
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "id", id);
		if (x->status[0])
			sl_buf_json_kz(out, "state", x->status);
		sl_buf_json_kz(out, "code", sl_code_wire(x->rc));
		sl_buf_json_kz(out, "message",
			       x->why                  ? x->why
			       : x->rc == SL_NOT_FOUND ? "there is no such run"
						       : "not possible now");
		sl_buf_addc(out, '}');
	}
	sl_buf_addc(out, ']');
	sl_buf_json_kbool(out, "refusals_cut", n > BULK_TOLD);
}

static void answer(struct sl_task *t)
{
	struct bulk *b = t->more;
	SL_BUF(out, 1 << 20);
	if (!b->dry_run)
		audit(b);
	sl_buf_addc(&out, '{');
	write_counts(&out, b);
	write_refusals(&out, b);
	sl_buf_addc(&out, '}');
	sl_answer_buf(t->r, 200, &out);
	sl_task_free(t);
}

static void one_less(struct bulk *b)
{
	if (atomic_fetch_sub(&b->left, 1) == 1)
		sl_task_back(b->task);
}

static void on_commanded(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct bulk_run *x = arg;
	struct bulk *b = x->bulk;
	x->rc = rc;
	(void)snprintf(x->status, sizeof(x->status), "%s", status ? status : "");
	if (rc != SL_OK && err && err->text[0])
		x->why = sl_str_dup(sl_str(err->text)); /* NULL: a sentence less */
	atomic_fetch_add(rc == SL_OK ? &b->done : &b->refused, 1);
	one_less(b);
}

static void give_orders(struct bulk *b)
{
	struct sl_task *t = b->task;
	const struct sl_order order = {.kind = actions[b->action].kind, .by = sl_str(b->by)};
	t->then = answer;
	atomic_store(&b->left, b->n + 1); /* one for this loop */
	for (size_t i = 0; i < b->n && !b->dry_run; i++)
		if (sl_engine_command(t->api->parts.engine, b->runs[i].id, &order, on_commanded, &b->runs[i]) != SL_OK)
			on_commanded(&b->runs[i], SL_NO_MEMORY, "", NULL);
	if (b->dry_run)
		atomic_store(&b->left, 1);
	one_less(b);
}

/* ---- who they are */

static void next_page(struct bulk *b);

static void page_came(struct sl_task *t)
{
	struct bulk *b = t->more;
	SL_AUTO_JSON page = NULL;
	if (t->rc == SL_OK)
		t->rc = sl_json_parse(sl_bytes_str(t->json), &page, &t->err);
	if (t->rc != SL_OK) {
		sl_task_refuse(t, t->rc);
		return;
	}
	struct json_object *items = sl_json_get(page, "items");
	size_t n = items ? json_object_array_length(items) : 0;
	for (size_t i = 0; i < n; i++) {
		struct sl_run_id id;
		if (b->n == b->limit)
			b->more = true;
		else if (sl_uuid_parse(sl_json_get_str(json_object_array_get_idx(items, i), "id"), &id.u))
			add(b, id);
	}
	struct sl_str cursor = sl_json_get_str(page, "next_cursor");
	sl_bytes_unref(SL_TAKE(t->json));
	free(SL_TAKE(b->cursor));
	if (!cursor.len || b->more) {
		give_orders(b);
		return;
	}
	b->cursor = sl_str_dup(cursor);
	if (b->cursor)
		next_page(b);
	else
		sl_task_refuse(t, SL_NO_MEMORY);
}

static void next_page(struct bulk *b)
{
	struct sl_task *t = b->task;
	b->filter.limit = BULK_PAGE;
	b->filter.cursor = b->cursor ? sl_str(b->cursor) : SL_STR("");
	enum sl_code rc = sl_store_run_list(t->api->parts.store, &b->filter, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_runs_bulk(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(errors, 64 << 10);
	SL_AUTO_JSON body = sl_request_json(r);
	if (!body)
		return;
	if (r->role < SL_ROLE_EDITOR && !sl_json_get(body, "ids")) {
		sl_log(SL_LOG_WARN, "api", "a request was not allowed", SL_KS("event", "authz_fail"),
		       SL_KS("by", r->by), SL_KS("route", r->route->pattern), SL_KS("request_id", r->id));
		sl_answer_problem(r, SL_FORBIDDEN,
				  "an order for all runs of a filter needs the role %s, and the token has %s; %s may "
				  "give it by `ids`",
				  sl_role_name(SL_ROLE_EDITOR), sl_role_name(r->role), sl_role_name(r->role));
		return;
	}
	struct sl_task *t = sl_task_new(a, r, page_came);
	struct bulk *b = t ? calloc(1, sizeof(*b)) : NULL;
	if (!t)
		return;
	if (!b) {
		sl_task_refuse(t, SL_NO_MEMORY);
		return;
	}
	t->more = b;
	t->more_free = bulk_free;
	b->task = t;
	(void)snprintf(b->by, sizeof(b->by), "%s", r->by);
	if (!read_body(b, body, &errors)) {
		sl_task_refuse(t, SL_NO_MEMORY);
	} else if (errors.len) {
		sl_answer_problem_with(r, 422, SL_INVALID, SL_STR("the bulk order is not understood"),
				       sl_buf_str(&errors), 0, SL_STR(""));
		sl_task_free(t);
	} else if (actions[b->action].kind == SL_CMD_RETRY && !b->dry_run &&
		   (t->rc = sl_api_takes_runs(a, &t->err)) != SL_OK) { /* it is a start, too */
		sl_task_refuse(t, t->rc);
	} else if (b->by_ids) {
		give_orders(b);
	} else {
		next_page(b);
	}
}
