/* api/orders.c: see orders.h. */
#include "api/orders.h"

#include "base/limits.h"
#include "base/utf8.h"

#define OTHERS       10 /* unknown members that are told */
#define REASON_BYTES 1000
#define TEXT_BYTES   (64u << 10) /* of a justification, or of what a person interjects */

static void problem(struct sl_buf *errors, const char *pointer, const char *message)
{
	sl_buf_json_problem(errors, sl_str(pointer), message);
}

static struct sl_str cut(struct sl_str s, size_t most)
{
	s.len = sl_utf8_cut(s.p, s.len, most);
	return s;
}

static void read_reason(struct json_object *body, struct sl_order_text *out, struct sl_buf *errors)
{
	if (sl_json_get(body, "reason") && !json_object_is_type(sl_json_get(body, "reason"), json_type_string))
		problem(errors, "/reason", "is a text");
	out->order.reason = cut(sl_json_get_str(body, "reason"), REASON_BYTES);
	if (out->order.reason.len)
		sl_buf_json_kstr(&out->detail, "reason", out->order.reason);
}

static void read_pause(struct json_object *body, struct sl_order_text *out, struct sl_buf *errors)
{
	struct sl_str mode = sl_json_get_str(body, "mode");
	if (sl_str_is(mode, "now"))
		out->order.kind = SL_CMD_PAUSE_NOW;
	else if (sl_json_get(body, "mode") && !sl_str_is(mode, "drain"))
		problem(errors, "/mode", "drain or now");
	sl_buf_json_kz(&out->detail, "mode", out->order.kind == SL_CMD_PAUSE_NOW ? "now" : "drain");
	read_reason(body, out, errors);
}

/* The operator says in writing why it is safe, or ticks all three checks. */
static void read_unlock(struct json_object *body, struct sl_order_text *out, struct sl_buf *errors)
{
	struct sl_str why = sl_str_trim(sl_json_get_str(body, "justification"));
	struct json_object *checks = sl_json_get(body, "confirmations");
	size_t n = json_object_is_type(checks, json_type_array) ? json_object_array_length(checks) : 0, yes = 0;
	for (size_t i = 0; i < n; i++)
		yes += json_object_is_type(json_object_array_get_idx(checks, i), json_type_boolean) &&
		       json_object_get_boolean(json_object_array_get_idx(checks, i));
	if (why.len > TEXT_BYTES)
		problem(errors, "/justification", "is too long");
	else if (why.len == 0 && (n != 3 || yes != 3))
		problem(errors, sl_json_get(body, "confirmations") ? "/confirmations" : "/justification",
			"write why it is safe to go on, or confirm all three checks: [true, true, true]");
	if (why.len)
		sl_buf_json_kstr(&out->detail, "justification", why);
	if (n == 3 && yes == 3)
		sl_buf_json_kraw(&out->detail, "confirmations", SL_STR("[true,true,true]"));
	sl_buf_add(&out->payload, out->detail.data, out->detail.len); /* the event says the same */
	sl_buf_addc(&out->payload, '}');
}

/* Which actions a node allows is its own affair (a skip has to be allowed); here only that it is one. */
static void read_review(struct json_object *body, struct sl_order_text *out, struct sl_buf *errors)
{
	static const char *const actions[] = {"approve", "modify", "reject", "skip"};
	struct sl_str action = sl_json_get_str(body, "action"), reason = sl_json_get_str(body, "reason");
	struct json_object *content = sl_json_get(body, "content");
	size_t i = 0;
	while (i < SL_COUNT_OF(actions) && !sl_str_is(action, actions[i]))
		i++;
	out->order.node = sl_json_get_str(body, "node");
	if (out->order.node.len == 0)
		problem(errors, "/node", "is the path of the node that waits");
	if (i == SL_COUNT_OF(actions))
		problem(errors, "/action", "approve, modify, reject or skip");
	if (sl_json_get(body, "reason") &&
	    (!json_object_is_type(sl_json_get(body, "reason"), json_type_string) || reason.len > TEXT_BYTES))
		problem(errors, "/reason", "is a text, and not that long");
	sl_buf_addc(&out->payload, '{');
	sl_buf_json_kstr(&out->payload, "action", action);
	if (content) {
		sl_buf_json_key(&out->payload, "content");
		sl_json_write(&out->payload, content);
	}
	if (reason.len)
		sl_buf_json_kstr(&out->payload, "reason", reason);
	sl_buf_addc(&out->payload, '}');
	sl_buf_json_kstr(&out->detail, "node", out->order.node);
	sl_buf_json_kstr(&out->detail, "action", action);
	if (reason.len)
		sl_buf_json_kstr(&out->detail, "reason", cut(reason, REASON_BYTES));
}

static void read_retry(struct json_object *body, struct sl_order_text *out, struct sl_buf *errors)
{
	struct json_object *from = sl_json_get(body, "from");
	out->order.node = sl_json_str(from);
	if (from && out->order.node.len == 0)
		problem(errors, "/from", "is the path of a node; leave it out to begin with what failed");
	if (out->order.node.len)
		sl_buf_json_kstr(&out->detail, "from", out->order.node);
}

static void read_signal(struct json_object *body, struct sl_order_text *out, struct sl_buf *errors)
{
	struct sl_str name = sl_json_get_str(body, "signal");
	if (name.len == 0 || name.len > 128)
		problem(errors, "/signal", "is the name of a signal, at most 128 bytes");
	sl_buf_addc(&out->payload, '{');
	sl_buf_json_kstr(&out->payload, "signal", name);
	sl_buf_json_key(&out->payload, "payload");
	sl_json_write(&out->payload, sl_json_get(body, "payload"));
	sl_buf_addc(&out->payload, '}');
	sl_buf_json_kstr(&out->detail, "signal", name);
}

static void read_input(struct json_object *body, struct sl_order_text *out, struct sl_buf *errors)
{
	struct sl_str text = sl_str_trim(sl_json_get_str(body, "text"));
	if (text.len == 0 || text.len > TEXT_BYTES)
		problem(errors, "/text", "is what you want to say, at most 64 KiB");
	sl_buf_addc(&out->payload, '{');
	sl_buf_json_kstr(&out->payload, "text", text);
	sl_buf_addc(&out->payload, '}');
}

const struct sl_order_row sl_order_rows[] = {
	{"pause", "pause", SL_CMD_PAUSE_DRAIN, SL_ROLE_RUNNER, "run.pause", read_pause, {"mode", "reason"}},
	{"resume", "resume", SL_CMD_RESUME, SL_ROLE_RUNNER, "run.resume", read_reason, {"reason"}},
	{"cancel", "cancel", SL_CMD_CANCEL, SL_ROLE_RUNNER, "run.cancel", read_reason, {"reason"}},
	{"retry", "retry", SL_CMD_RETRY, SL_ROLE_RUNNER, "run.retry", read_retry, {"from"}},
	{"unlock",
	 "unlock",
	 SL_CMD_UNLOCK,
	 SL_ROLE_ADMIN,
	 "run.unlock",
	 read_unlock,
	 {"justification", "confirmations"}},
	{"review",
	 "review",
	 SL_CMD_REVIEW,
	 SL_ROLE_RUNNER,
	 "run.review",
	 read_review,
	 {"node", "action", "content", "reason"}},
	{"signal", "signal", SL_CMD_SIGNAL, SL_ROLE_RUNNER, "run.signal", read_signal, {"signal", "payload"}},
	{"input", "user_input", SL_CMD_INPUT, SL_ROLE_RUNNER, "run.input", read_input, {"text"}},
};
const size_t sl_n_order_rows = SL_COUNT_OF(sl_order_rows);

const struct sl_order_row *sl_order_find_rest(struct sl_str name)
{
	for (size_t i = 0; i < sl_n_order_rows; i++)
		if (sl_str_is(name, sl_order_rows[i].rest))
			return &sl_order_rows[i];
	return NULL;
}

const struct sl_order_row *sl_order_find_ws(const char *name)
{
	for (size_t i = 0; i < sl_n_order_rows; i++)
		if (strcmp(name, sl_order_rows[i].ws) == 0)
			return &sl_order_rows[i];
	return NULL;
}

static bool known(const char *const *names, const char *key)
{
	while (names && *names && strcmp(*names, key) != 0)
		names++;
	return names && *names;
}

static void refuse_others(const struct sl_order_row *row, struct json_object *body, const char *const *around,
			  struct sl_buf *errors)
{
	unsigned told = 0;
	SL_BUF(message, 256);
	sl_buf_adds(&message, "is not known here; there is ");
	for (size_t i = 0; row->fields[i]; i++)
		sl_buf_addf(&message, "%s%s", i ? ", " : "", row->fields[i]);
	json_object_object_foreach (body, key, value) {
		(void)value;
		if (known(row->fields, key) || known(around, key) || told++ >= OTHERS)
			continue;
		SL_BUF(pointer, 256);
		sl_pointer_add(&pointer, sl_str(key));
		problem(errors, pointer.failed ? "" : pointer.data, message.data ? message.data : "is not known here");
	}
}

static enum sl_code first_problem(const struct sl_buf *errors, struct sl_error *err)
{
	SL_AUTO_JSON first = NULL;
	SL_BUF(array, 16384);
	sl_buf_addf(&array, "[" SL_STR_FMT "]", SL_STR_ARG(sl_buf_str(errors)));
	if (sl_json_parse(sl_buf_str(&array), &first, NULL) == SL_OK && json_object_array_length(first) > 0) {
		struct json_object *one = json_object_array_get_idx(first, 0);
		return sl_fail(err, SL_INVALID, "%s: %s", sl_json_get_z(one, "pointer"), sl_json_get_z(one, "message"));
	}
	return sl_fail(err, SL_INVALID, "this cannot be asked of a run");
}

enum sl_code sl_order_read(const struct sl_order_row *row, struct json_object *body, const char *const *around,
			   struct sl_str by, struct sl_order_text *out, struct sl_buf *errors, struct sl_error *err)
{
	*out = (struct sl_order_text){.order = {.kind = row->kind, .by = by}};
	sl_buf_init(&out->payload, SL_LIMIT_PAYLOAD_BYTES);
	sl_buf_init(&out->detail, SL_LIMIT_PAYLOAD_BYTES);
	sl_buf_addc(&out->detail, '{');
	row->read(body, out, errors);
	refuse_others(row, body, around, errors);
	if (out->detail.len > 1)
		sl_buf_addc(&out->detail, '}');
	else
		sl_buf_reset(&out->detail);
	if (errors->len || errors->failed)
		return first_problem(errors, err);
	if (out->payload.failed || out->detail.failed)
		return sl_fail(err, SL_TOO_LARGE, "the payload is larger than %u bytes", SL_LIMIT_PAYLOAD_BYTES);
	if (out->payload.len)
		out->order.payload = sl_buf_str(&out->payload);
	return SL_OK;
}

void sl_order_text_fini(struct sl_order_text *t)
{
	sl_buf_fini(&t->payload);
	sl_buf_fini(&t->detail);
}
