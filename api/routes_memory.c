/* api/routes_memory.c: memories for people and clients: list, look, store, search, promote, invalidate, digest. */
#include <math.h>

#include "api/api_priv.h"
#include "base/limits.h"
#include "memory/memory.h"
#include "store/memory.h"

#define REASON_BYTES 2000
#define INSTEAD_MOST 2000

/* What the memory calls back with, as a task. */
static void from_memory(void *arg, enum sl_code rc, const struct sl_error *err, struct sl_bytes *json) /* [memory] */
{
	struct sl_task *t = arg;
	t->rc = rc;
	t->err = *err;
	t->json = rc == SL_OK ? sl_bytes_ref(json) : NULL;
	sl_task_back(t);
}

static void answer(struct sl_task *t)
{
	if (t->rc == SL_OK)
		sl_answer_json(t->r, t->version ? t->version : 200, SL_TAKE(t->json));
	else if (t->rc == SL_NOT_FOUND)
		sl_answer_problem(t->r, t->rc, "there is no such memory");
	else
		sl_answer_error(t->r, t->rc, t->err.text[0] ? &t->err : NULL);
	sl_task_free(t);
}

static struct sl_memory *memory_of(struct sl_api *a, struct sl_request *r)
{
	if (!a->parts.memory)
		sl_answer_problem(r, SL_UNAVAILABLE, "this server has no memory");
	return a->parts.memory;
}

static bool id_of(struct sl_request *r, struct sl_uuid *out)
{
	if (sl_uuid_parse(r->params[0], out))
		return true;
	sl_answer_problem(r, SL_NOT_FOUND, "there is no such memory");
	return false;
}

/* ---- a body, member by member; all that is wrong is told at once ---- */

struct body {
	struct json_object *o;
	struct sl_buf problems;
};

static void problem(struct body *b, const char *pointer, const char *message)
{
	sl_buf_json_problem(&b->problems, sl_str(pointer), message);
}

static void only(struct body *b, const char *const *known)
{
	json_object_object_foreach (b->o, key, value) {
		bool ok = false;
		(void)value;
		for (const char *const *k = known; *k; k++)
			ok |= strcmp(*k, key) == 0;
		if (!ok) {
			SL_BUF(pointer, 512);
			sl_pointer_add(&pointer, sl_str(key));
			problem(b, pointer.failed ? "" : pointer.data, "is not known here");
		}
	}
}

static struct sl_str text(struct body *b, const char *key, const char *pointer, bool required)
{
	struct json_object *v = sl_json_get(b->o, key);
	if (!v && !required)
		return SL_STR("");
	if (!json_object_is_type(v, json_type_string) || (required && sl_str_trim(sl_json_str(v)).len == 0))
		problem(b, pointer, required ? "is a text, and not an empty one" : "is a text");
	return sl_json_str(v);
}

static double number(struct body *b, const char *key, const char *pointer, double least, double most, double otherwise,
		     const char *message)
{
	struct json_object *v = sl_json_get(b->o, key);
	double d = sl_json_get_f64(b->o, key, NAN);
	if (!v)
		return otherwise;
	if (!(d >= least && d <= most)) {
		problem(b, pointer, message);
		return otherwise;
	}
	return d;
}

static struct sl_str project(struct body *b)
{
	struct sl_str p = text(b, "project", "/project", false);
	if (!p.len)
		return SL_STR("default");
	if (!sl_name_ok(p))
		problem(b, "/project", "a project's name has small letters, digits, _ and -, at most 64");
	return p;
}

/* false: the problems have been answered. */
static bool fine(struct body *b, struct sl_request *r)
{
	if (b->problems.len == 0)
		return true;
	sl_answer_problem_with(r, 422, SL_INVALID, SL_STR("the body does not fit"), sl_buf_str(&b->problems), 0,
			       SL_STR(""));
	return false;
}

static void body_fini(struct body *b)
{
	json_object_put(b->o);
	sl_buf_fini(&b->problems);
}
#define BODY(name, r)                                                                                                  \
	__attribute__((cleanup(body_fini))) struct body name = {.o = sl_request_json(r), .problems.max_bytes = 64 << 10}

/* ---- list, look ---- */

void sl_route_memory_list(struct sl_api *a, struct sl_request *r)
{
	struct sl_memory_filter f = {0};
	struct sl_str invalid;
	enum sl_memory_tier tier;
	uint64_t limit;
	SL_IGNORE(sl_request_query(r, "project", &f.project) ? SL_OK : SL_NOT_FOUND); /* all of them are optional */
	SL_IGNORE(sl_request_query(r, "tier", &f.tier) ? SL_OK : SL_NOT_FOUND);
	SL_IGNORE(sl_request_query(r, "cursor", &f.cursor) ? SL_OK : SL_NOT_FOUND);
	if (sl_request_query(r, "invalid", &invalid))
		f.invalid = sl_str_is(invalid, "true") || sl_str_is(invalid, "1");
	if (!sl_request_query_u64(r, "limit", 1, 200, 50, &limit)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "limit is a whole number from 1 to 200");
		return;
	}
	if (f.tier.len && !sl_memory_tier_parse(f.tier, &tier)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "tier is quarantine, working or long_term");
		return;
	}
	f.limit = (uint32_t)limit;
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc = sl_store_memory_list(a->parts.store, &f, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_memory_get(struct sl_api *a, struct sl_request *r)
{
	struct sl_uuid id;
	struct sl_task *t = id_of(r, &id) ? sl_task_new(a, r, answer) : NULL;
	if (!t)
		return;
	enum sl_code rc = sl_store_memory_get(a->parts.store, id, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* ---- store ---- */

static void stored(struct sl_task *t)
{
	if (t->rc == SL_OK && sl_str_starts(sl_bytes_str(t->json), SL_STR("{\"accepted\":true")))
		t->version = 201;
	answer(t);
}

void sl_route_memory_store(struct sl_api *a, struct sl_request *r)
{
	static const char *const known[] = {"content", "tier", "project", "confidence", "metadata", NULL};
	struct sl_memory *m = memory_of(a, r);
	if (!m)
		return;
	BODY(b, r);
	if (!b.o)
		return;
	struct sl_str tier = text(&b, "tier", "/tier", false);
	struct json_object *metadata = sl_json_get(b.o, "metadata");
	SL_BUF(about, SL_LIMIT_MEMORY_BYTES);
	SL_BUF(once, 512);
	struct sl_memory_item item = {
		.content = text(&b, "content", "/content", true),
		.project = project(&b),
		.confidence = number(&b, "confidence", "/confidence", 0, 1, NAN, "is a number from 0 to 1"),
		.by = sl_str(r->by ? r->by : ""),
		.verified = true,
	};
	only(&b, known);
	if (!tier.len)
		item.tier = SL_MEMORY_QUARANTINE;
	else if (!sl_memory_tier_parse(tier, &item.tier))
		problem(&b, "/tier", "is quarantine, working or long_term");
	if (metadata && !json_object_is_type(metadata, json_type_object))
		problem(&b, "/metadata", "is an object");
	if (!fine(&b, r))
		return;
	if (item.tier == SL_MEMORY_LONG_TERM && r->role < SL_ROLE_EDITOR) {
		sl_answer_problem(r, SL_FORBIDDEN, "long-term memory is an editor's to write");
		return;
	}
	if (metadata)
		sl_json_write(&about, metadata);
	item.metadata = sl_buf_str(&about);
	struct sl_str key = sl_request_header(r, "idempotency-key");
	if (key.len > 256) {
		sl_answer_problem(r, SL_BAD_REQUEST, "an Idempotency-Key has at most 256 characters");
		return;
	}
	if (key.len) { /* a key of one token means nothing to another */
		sl_buf_addf(&once, "api:%s:", r->by ? r->by : "");
		sl_buf_add(&once, key.p, key.len);
	}
	item.once = sl_buf_str(&once);
	struct sl_task *t = sl_task_new(a, r, stored);
	if (!t)
		return;
	enum sl_code rc = about.failed ? SL_TOO_LARGE : sl_memory_store(m, &item, from_memory, t);
	if (rc == SL_TOO_LARGE)
		SL_IGNORE(sl_fail(&t->err, rc, "a memory holds at most %u bytes",
				  SL_LIMIT_MEMORY_BYTES)); /* fills the text */
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* ---- search ---- */

void sl_route_memory_search(struct sl_api *a, struct sl_request *r)
{
	static const char *const known[] = {"project",    "query",           "max_results",
					    "tiers",      "time_range_days", "relevance_threshold",
					    "max_tokens", "offset",          NULL};
	struct sl_memory *m = memory_of(a, r);
	if (!m)
		return;
	BODY(b, r);
	if (!b.o)
		return;
	struct json_object *tiers = sl_json_get(b.o, "tiers");
	struct sl_memory_search q = {
		.project = project(&b),
		.query = text(&b, "query", "/query", false),
		.max_results =
			(uint32_t)number(&b, "max_results", "/max_results", 1, 50, 5, "is a number from 1 to 50"),
		.time_range_days =
			(uint32_t)number(&b, "time_range_days", "/time_range_days", 0, 36500, 0, "is a number of days"),
		.relevance_threshold =
			number(&b, "relevance_threshold", "/relevance_threshold", 0, 1, 0, "is a number from 0 to 1"),
		.max_tokens = (uint32_t)number(&b, "max_tokens", "/max_tokens", 1, 1000000, 0, "is a number from 1"),
		.offset = (uint32_t)number(&b, "offset", "/offset", 0, 10000, 0, "is a number from 0"),
		.on_timeout = SL_MEMORY_FAIL,
	};
	only(&b, known);
	if (tiers && !json_object_is_type(tiers, json_type_array))
		problem(&b, "/tiers", "is a list of working and long_term");
	for (size_t i = 0; json_object_is_type(tiers, json_type_array) && i < json_object_array_length(tiers); i++) {
		struct sl_str tier = sl_json_str(json_object_array_get_idx(tiers, i));
		bool working = sl_str_is(tier, "working"), long_term = sl_str_is(tier, "long_term");
		q.working |= working;
		q.long_term |= long_term;
		if (!working && !long_term)
			problem(&b, "/tiers", "working and long_term can be retrieved, nothing else");
	}
	if (!fine(&b, r))
		return;
	struct sl_task *t = sl_task_new(a, r, answer);
	if (!t)
		return;
	enum sl_code rc = sl_memory_search(m, &q, from_memory, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* ---- promote, invalidate, digest ---- */

static void promoted(struct sl_task *t)
{
	if (t->rc == SL_OK)
		sl_api_audit(t->api, t->r, "memory.promote", t->r->params[0]);
	answer(t);
}

void sl_route_memory_promote(struct sl_api *a, struct sl_request *r)
{
	static const char *const known[] = {"tier", "reason", "duplicates", NULL};
	struct sl_memory *m = memory_of(a, r);
	struct sl_uuid id;
	if (!m || !id_of(r, &id))
		return;
	BODY(b, r);
	if (!b.o)
		return;
	SL_BUF(instead, INSTEAD_MOST * SL_UUID_TEXT_BYTES);
	enum sl_memory_tier tier = SL_MEMORY_LONG_TERM;
	struct sl_str to = text(&b, "tier", "/tier", false), reason = text(&b, "reason", "/reason", false);
	struct json_object *duplicates = sl_json_get(b.o, "duplicates");
	only(&b, known);
	if (to.len && (!sl_memory_tier_parse(to, &tier) || tier == SL_MEMORY_QUARANTINE))
		problem(&b, "/tier", "is working or long_term");
	if (reason.len > REASON_BYTES)
		problem(&b, "/reason", "is too long");
	if (duplicates &&
	    (!json_object_is_type(duplicates, json_type_array) || json_object_array_length(duplicates) > INSTEAD_MOST))
		problem(&b, "/duplicates", "is a list of ids");
	for (size_t i = 0; json_object_is_type(duplicates, json_type_array) && i < json_object_array_length(duplicates);
	     i++) {
		char one[SL_UUID_TEXT_BYTES];
		struct sl_uuid other;
		if (!sl_uuid_parse(sl_json_str(json_object_array_get_idx(duplicates, i)), &other)) {
			problem(&b, "/duplicates", "is a list of ids");
			break;
		}
		if (sl_uuid_eq(other, id))
			continue;
		sl_uuid_format(other, one);
		sl_buf_addf(&instead, "%s%s", instead.len ? "," : "", one);
	}
	if (!fine(&b, r))
		return;
	struct sl_task *t = sl_task_new(a, r, promoted);
	if (!t)
		return;
	enum sl_code rc = sl_memory_promote(m, id, tier, sl_str(r->by ? r->by : ""), reason, sl_buf_str(&instead),
					    from_memory, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

static void invalidated(struct sl_task *t)
{
	if (t->rc == SL_OK) {
		sl_api_audit(t->api, t->r, "memory.invalidate", t->r->params[0]);
		sl_answer_empty(t->r, 204);
		sl_task_free(t);
	} else {
		answer(t);
	}
}

void sl_route_memory_invalidate(struct sl_api *a, struct sl_request *r)
{
	struct sl_memory *m = memory_of(a, r);
	struct sl_uuid id;
	struct sl_str reason = SL_STR("");
	if (!m || !id_of(r, &id))
		return;
	if (sl_request_query(r, "reason", &reason) && reason.len > REASON_BYTES) {
		sl_answer_problem(r, SL_BAD_REQUEST, "the reason is too long");
		return;
	}
	struct sl_task *t = sl_task_new(a, r, invalidated);
	if (!t)
		return;
	enum sl_code rc = sl_memory_invalidate(m, id, sl_str(r->by ? r->by : ""), reason, from_memory, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_memory_digest(struct sl_api *a, struct sl_request *r)
{
	struct sl_memory *m = memory_of(a, r);
	struct sl_str name = SL_STR("default");
	uint64_t limit;
	if (!m)
		return;
	SL_IGNORE(sl_request_query(r, "project", &name) ? SL_OK : SL_NOT_FOUND); /* optional */
	if (!sl_name_ok(name) || !sl_request_query_u64(r, "limit", 1, 200, 50, &limit)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "name a project; limit is a whole number from 1 to 200");
		return;
	}
	struct sl_task *t = sl_task_new(a, r, answer);
	if (!t)
		return;
	enum sl_code rc = sl_memory_digest(m, name, (uint32_t)limit, from_memory, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}
