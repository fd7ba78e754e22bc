/* engine/event.c: events as journal records and back. `data` is what clients see, `detail` what only recovery needs. */
#include <pthread.h>
#include <stdlib.h>

#include "base/limits.h"
#include "engine/run_state.h"

#define ROOM_BYTES 500 /* most data, and most details, are shorter */

static const char *const names[SL_EVENT_KINDS] = {
	[SL_EV_CREATED] = "execution:created",
	[SL_EV_QUEUED] = "execution:queued",
	[SL_EV_STARTED] = "execution:started",
	[SL_EV_PAUSED] = "execution:paused",
	[SL_EV_RESUMED] = "execution:resumed",
	[SL_EV_WAITING] = "execution:waiting",
	[SL_EV_COMPLETED] = "execution:completed",
	[SL_EV_FAILED] = "execution:failed",
	[SL_EV_CANCELLED] = "execution:cancelled",
	[SL_EV_LOCKED] = "circuit_breaker:tripped",
	[SL_EV_UNLOCKED] = "circuit_breaker:unlocked",
	[SL_EV_RETRIED] = "execution:retried",
	[SL_EV_FORKED] = "execution:forked",
	[SL_EV_SIGNAL] = "signal:received",
	[SL_EV_INPUT] = "user_input",
	[SL_EV_FILE] = "file:written",
	[SL_EV_NODE] = "node_state_change",
	[SL_EV_RESET] = "stream_reset",
	[SL_EV_USAGE] = "token_usage",
};

/* Names of node types' own events, as journals had them: as many as there are, so they stay. */
struct known {
	struct known *next;
	char name[];
};
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;
static struct known *known; /* [lock known_lock] */

const char *sl_event_name(const char *name)
{
	size_t n = strlen(name);
	for (uint32_t k = 0; k < SL_EV_CUSTOM; k++)
		if (strcmp(name, names[k]) == 0)
			return names[k];
	pthread_mutex_lock(&known_lock);
	struct known *it = known;
	while (it && strcmp(it->name, name) != 0)
		it = it->next;
	if (!it && (it = malloc(sizeof(*it) + n + 1))) {
		memcpy(it->name, name, n + 1);
		it->next = known;
		known = it;
	}
	pthread_mutex_unlock(&known_lock);
	return it ? it->name : NULL;
}

void sl_event_fini(struct sl_event *e)
{
	free(e->path);
	free(e->message);
	free(e->reason);
	free(e->by);
	free(e->agent_id);
	free(e->model);
	free(e->taken);
	json_object_put(e->output);
	json_object_put(e->data);
	json_object_put(e->stream);
	json_object_put(e->child);
	*e = (struct sl_event){0};
}

static void put_error(struct sl_buf *b, const struct sl_event *e)
{
	if (e->code == SL_OK)
		return;
	sl_buf_json_key(b, "error");
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "code", sl_code_wire(e->code));
	sl_buf_json_kz(b, "message", e->message ? e->message : "");
	if (e->kind == SL_EV_FAILED && e->path)
		sl_buf_json_kz(b, "node", e->path);
	sl_buf_addc(b, '}');
}

static void put_node(struct sl_buf *b, const struct sl_event *e)
{
	sl_buf_json_kz(b, "node_id", e->path);
	sl_buf_json_kz(b, "status", sl_node_states[e->status].wire);
	if (e->type)
		sl_buf_json_kz(b, "type", e->type);
	sl_buf_json_ku64(b, "attempt", e->attempt);
	put_error(b, e);
	if (e->reason)
		sl_buf_json_kz(b, "reason", e->reason);
	if (e->expected) {
		sl_buf_json_ku64(b, "arrived", e->arrived);
		sl_buf_json_ku64(b, "expected", e->expected);
	}
	if (e->due_ms)
		sl_buf_json_ktime(b, "due_at", e->due_ms);
	if (e->started_ms)
		sl_buf_json_ktime(b, "started_at", e->started_ms);
	if (e->cached)
		sl_buf_json_kbool(b, "cached", true);
	if (e->child) {
		sl_buf_json_key(b, "child");
		sl_json_write(b, e->child);
	}
}

static void put_usage(struct sl_buf *b, const struct sl_event *e)
{
	sl_buf_json_kz(b, "node_id", e->path);
	if (e->agent_id)
		sl_buf_json_kz(b, "agent_id", e->agent_id);
	sl_buf_json_kz(b, "model", e->model ? e->model : "");
	sl_buf_json_ku64(b, "input_tokens", e->input_tokens);
	sl_buf_json_ku64(b, "output_tokens", e->output_tokens);
	if (e->cached_tokens)
		sl_buf_json_ku64(b, "cached_tokens", e->cached_tokens);
	if (e->reasoning_tokens)
		sl_buf_json_ku64(b, "reasoning_tokens", e->reasoning_tokens);
	sl_buf_json_kf64(b, "estimated_cost_usd", (double)e->cost_microusd / 1e6);
	sl_buf_json_kbool(b, "simulated", e->simulated);
	if (e->estimated)
		sl_buf_json_kbool(b, "estimated", true);
}

static void put_data(struct sl_buf *b, const struct sl_event *e)
{
	if (e->kind == SL_EV_CUSTOM) {
		sl_json_write(b, e->data);
		return;
	}
	sl_buf_addc(b, '{');
	switch (e->kind) {
	case SL_EV_NODE:
		put_node(b, e);
		break;
	case SL_EV_USAGE:
		put_usage(b, e);
		/* the run's totals after this event, worked out by who decided it */
		if (e->data) {
			json_object_object_foreach (e->data, k, v) {
				sl_buf_json_key(b, k);
				sl_json_write(b, v);
			}
		}
		break;
	case SL_EV_RESET:
		sl_buf_json_kz(b, "node_id", e->path);
		sl_buf_json_ku64(b, "attempt", e->attempt);
		sl_buf_json_kz(b, "reason", e->reason ? e->reason : "retry");
		break;
	default:
		if (e->reason)
			sl_buf_json_kz(b, "reason", e->reason);
		if (e->by)
			sl_buf_json_kz(b, "by", e->by);
		if (e->path && (e->kind == SL_EV_RETRIED || e->kind == SL_EV_FORKED))
			sl_buf_json_kz(b, "from", e->path);
		if (e->kind == SL_EV_PAUSED)
			sl_buf_json_kz(b, "mode", e->now ? "now" : "drain");
		if (e->kind == SL_EV_COMPLETED) {
			sl_buf_json_key(b, "outputs");
			sl_json_write(b, e->output);
		}
		if (e->data) {
			json_object_object_foreach (e->data, k, v) {
				sl_buf_json_key(b, k);
				sl_json_write(b, v);
			}
		}
		put_error(b, e);
	}
	sl_buf_addc(b, '}');
}

static bool put_detail(struct sl_buf *b, const struct sl_event *e)
{
	if (e->kind == SL_EV_FORKED && e->output) {
		sl_buf_addc(b, '{');
		sl_buf_json_key(b, "outputs");
		sl_json_write(b, e->output);
		sl_buf_addc(b, '}');
		return true;
	}
	if (e->kind != SL_EV_NODE || (!e->output && !e->stream && !e->n_taken && !e->tries && !e->took))
		return false;
	sl_buf_addc(b, '{');
	if (e->output) {
		sl_buf_json_key(b, "output");
		sl_json_write(b, e->output);
	}
	if (e->stream) {
		sl_buf_json_key(b, "stream");
		sl_json_write(b, e->stream);
	}
	if (e->n_taken) {
		sl_buf_json_key(b, "taken");
		for (uint32_t i = 0; i < e->n_taken; i++) {
			sl_buf_addc(b, i ? ',' : '[');
			sl_buf_addu(b, e->taken[i]);
		}
		sl_buf_addc(b, ']');
	}
	if (e->tries)
		sl_buf_json_ku64(b, "tries", e->tries);
	if (e->took)
		sl_buf_json_ku64(b, "took", e->took);
	sl_buf_addc(b, '}');
	return true;
}

enum sl_code sl_event_encode(const struct sl_event *e, struct sl_record *r)
{
	/* outputs and streams are capped where they are made; with the escapes of JSON they can grow sixfold */
	SL_BUF(b, 16u * SL_LIMIT_PAYLOAD_BYTES);
	*r = (struct sl_record){.seq = e->seq, .wall_ms = e->wall_ms};
	if (!e->path && (e->kind == SL_EV_NODE || e->kind == SL_EV_RESET || e->kind == SL_EV_USAGE))
		return SL_NO_MEMORY; /* its path could not be copied */
	if (e->kind == SL_EV_CUSTOM && !e->data)
		return SL_NO_MEMORY; /* an object that could not be made; as null it could not be read again */
	r->event = e->kind == SL_EV_CUSTOM ? e->name : names[e->kind];
	(void)sl_buf_reserve(&b, ROOM_BYTES); /* or it grows when it must */
	put_data(&b, e);
	r->data = sl_buf_bytes(&b);
	sl_buf_reset(&b);
	bool detail = put_detail(&b, e);
	if (detail)
		r->detail = sl_buf_bytes(&b);
	bool once = e->kind == SL_EV_NODE && e->status == SL_NODE_COMPLETED;
	if (once) { /* a path has no @ */
		if (e->generation > 1) {
			sl_buf_reset(&b);
			sl_buf_addf(&b, "%s@%u", e->path, e->generation);
			r->once = sl_buf_bytes(&b);
		} else {
			r->once = sl_bytes_new(e->path, strlen(e->path));
		}
	}
	if (!r->data || (detail && !r->detail) || (once && !r->once)) {
		sl_record_fini(r);
		return SL_NO_MEMORY;
	}
	return SL_OK;
}

static char *dup_member(struct json_object *o, const char *key)
{
	const char *z = sl_json_get_z(o, key);
	char *copy = z ? sl_str_dup(sl_str(z)) : NULL;
	if (z && !copy)
		sl_json_lost();
	return copy;
}

static int64_t time_member(struct json_object *o, const char *key)
{
	int64_t ms = 0;
	return sl_time_parse(sl_json_get_str(o, key), &ms) ? ms : 0;
}

static enum sl_code get_node(struct json_object *data, struct json_object *detail, struct sl_event *e,
			     struct sl_error *err)
{
	struct sl_str status = sl_json_get_str(data, "status");
	uint32_t s = 0;
	while (s < SL_NODE_STATUSES && !sl_str_is(status, sl_node_states[s].wire))
		s++;
	if (s == SL_NODE_STATUSES)
		return sl_fail(err, SL_INVALID, "event %llu: unknown node status", (unsigned long long)e->seq);
	e->status = (enum sl_node_status)s;
	e->arrived = (uint32_t)sl_json_get_i64(data, "arrived", 0);
	e->expected = (uint32_t)sl_json_get_i64(data, "expected", 0);
	e->due_ms = time_member(data, "due_at");
	e->started_ms = time_member(data, "started_at");
	e->cached = sl_json_get_bool(data, "cached", false);
	e->child = json_object_get(sl_json_get(data, "child"));
	e->output = json_object_get(sl_json_get(detail, "output"));
	e->stream = json_object_get(sl_json_get(detail, "stream"));
	e->tries = (uint32_t)sl_json_get_i64(detail, "tries", 0);
	e->took = (uint64_t)sl_json_get_i64(detail, "took", 0);
	struct json_object *taken = sl_json_get(detail, "taken");
	if (taken && json_object_is_type(taken, json_type_array)) {
		size_t n = json_object_array_length(taken);
		e->taken = calloc(n ? n : 1, sizeof(*e->taken));
		if (!e->taken)
			return sl_fail(err, SL_NO_MEMORY, "event %llu", (unsigned long long)e->seq);
		for (size_t i = 0; i < n; i++) {
			int64_t edge = json_object_get_int64(json_object_array_get_idx(taken, i));
			e->taken[i] = edge < 0 || edge > SL_LIMIT_EDGES ? UINT32_MAX : (uint32_t)edge;
		}
		e->n_taken = (uint32_t)n;
	}
	return SL_OK;
}

/* What such events tell beside what has a member of its own. */
static struct json_object *further_data(struct json_object *data)
{
	static const char *const keys[] = {"parent",      "parent_node", "depth",  "signal", "payload",          "text",
					   "forked_from", "run",         "at_seq", "inputs", "parent_generation"};
	struct json_object *o = json_object_new_object(), *v;
	if (!o)
		sl_json_lost();
	for (size_t i = 0; o && i < SL_COUNT_OF(keys); i++)
		if (json_object_object_get_ex(data, keys[i], &v))
			sl_json_set(o, keys[i], json_object_get(v));
	return o;
}

static enum sl_code decode(const struct sl_record *r, struct sl_event *e, struct sl_error *err)
{
	SL_AUTO_JSON data = NULL;
	SL_AUTO_JSON detail = NULL;
	enum sl_code rc = sl_json_parse(sl_bytes_str(r->data), &data, err);
	if (rc == SL_OK && r->detail)
		rc = sl_json_parse(sl_bytes_str(r->detail), &detail, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc, "event %llu", (unsigned long long)r->seq);
	if (!json_object_is_type(data, json_type_object))
		return sl_fail(err, SL_INVALID, "event %llu: its data is no object", (unsigned long long)r->seq);
	uint32_t k = 0;
	while (k < SL_EV_CUSTOM && strcmp(r->event, names[k]) != 0)
		k++;
	e->kind = (enum sl_event_kind)k;
	e->seq = r->seq;
	e->wall_ms = r->wall_ms;
	if (e->kind == SL_EV_CUSTOM) { /* its data is the record's, and as a rule nobody's else */
		e->name = r->event;
		e->path = dup_member(data, "node_id");
		if (strcmp(e->name, sl_child_started) == 0) /* what a retry, and the limits of the run, need to know */
			e->data = json_object_get(data);
		return SL_OK;
	}
	struct json_object *error = sl_json_get(data, "error");
	if (error) {
		struct sl_str code = sl_json_get_str(error, "code");
		if (!sl_code_from_wire(code.p, code.len, &e->code) || e->code == SL_OK)
			e->code = SL_INTERNAL; /* a code of a newer version */
		e->message = dup_member(error, "message");
	}
	e->path = e->kind == SL_EV_FAILED                               ? dup_member(error, "node")
		  : e->kind == SL_EV_RETRIED || e->kind == SL_EV_FORKED ? dup_member(data, "from")
									: dup_member(data, "node_id");
	e->attempt = (uint32_t)sl_json_get_i64(data, "attempt", 0);
	e->reason = dup_member(data, "reason");
	e->by = dup_member(data, "by");
	switch (e->kind) {
	case SL_EV_NODE:
		return get_node(data, detail, e, err);
	case SL_EV_USAGE:
		e->agent_id = dup_member(data, "agent_id");
		e->model = dup_member(data, "model");
		e->input_tokens = (uint64_t)sl_json_get_i64(data, "input_tokens", 0);
		e->output_tokens = (uint64_t)sl_json_get_i64(data, "output_tokens", 0);
		e->cached_tokens = (uint64_t)sl_json_get_i64(data, "cached_tokens", 0);
		e->reasoning_tokens = (uint64_t)sl_json_get_i64(data, "reasoning_tokens", 0);
		double cost = sl_json_get_f64(data, "estimated_cost_usd", 0) * 1e6;
		e->cost_microusd = cost > -1e15 && cost < 1e15 ? (int64_t)(cost + (cost < 0 ? -0.5 : 0.5)) : 0;
		e->simulated = sl_json_get_bool(data, "simulated", false);
		e->estimated = sl_json_get_bool(data, "estimated", false);
		break;
	case SL_EV_FORKED:
		e->output = json_object_get(sl_json_get(detail, "outputs"));
		e->data = further_data(data);
		if (!e->data)
			return sl_fail(err, SL_NO_MEMORY, "event %llu", (unsigned long long)e->seq);
		break;
	case SL_EV_CREATED:
	case SL_EV_RETRIED:
	case SL_EV_SIGNAL:
	case SL_EV_INPUT:
		e->data = further_data(data);
		if (!e->data)
			return sl_fail(err, SL_NO_MEMORY, "event %llu", (unsigned long long)e->seq);
		break;
	case SL_EV_FILE:
		e->data = json_object_get(data);
		break;
	case SL_EV_PAUSED:
		e->now = sl_str_is(sl_json_get_str(data, "mode"), "now");
		break;
	case SL_EV_COMPLETED:
		e->output = json_object_get(sl_json_get(data, "outputs"));
		break;
	default:
		break;
	}
	return SL_OK;
}

enum sl_code sl_event_decode(const struct sl_record *r, struct sl_event *out, struct sl_error *err)
{
	struct sl_event e = {0};
	uint64_t losses = sl_json_losses();
	enum sl_code rc = decode(r, &e, err);
	if (rc == SL_OK && sl_json_losses() != losses)
		rc = sl_fail(err, SL_NO_MEMORY, "event %llu", (unsigned long long)r->seq);
	if (rc != SL_OK) {
		sl_event_fini(&e);
		return rc;
	}
	*out = e;
	return SL_OK;
}
