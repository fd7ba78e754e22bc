/* ws/command.c: see command.h. One row of the table per command; anything a row does not say is refused. */
#include "ws/command.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"

#define FLUSH_MS_MAX 1000
#define OFFSET_MAX   ((int64_t)1 << 52) /* what every JSON reader can hold exactly */

static const struct row {
	const char *name;
	enum sl_ws_cmd cmd;
	bool needs_run;
	const char *more[2]; /* what it may have beside cmd, id and, when it needs one, run_id */
} rows[] = {
	{"subscribe", SL_WS_SUBSCRIBE, true, {"after_seq", "streams"}},
	{"unsubscribe", SL_WS_UNSUBSCRIBE, true},
	{"subscribe_all", SL_WS_SUBSCRIBE_ALL, false},
	{"unsubscribe_all", SL_WS_UNSUBSCRIBE_ALL, false},
	{"start_run", SL_WS_FORWARD, false},
	{"pause", SL_WS_FORWARD, true},
	{"resume", SL_WS_FORWARD, true},
	{"cancel", SL_WS_FORWARD, true},
	{"retry", SL_WS_FORWARD, true},
	{"fork", SL_WS_FORWARD, true},
	{"unlock", SL_WS_FORWARD, true},
	{"review", SL_WS_FORWARD, true},
	{"signal", SL_WS_FORWARD, true},
	{"user_input", SL_WS_FORWARD, true},
	{"set", SL_WS_SET, false, {"flush_ms"}},
	{"ping", SL_WS_PING, false},
};

static enum sl_code unknown(struct sl_str name, struct sl_error *err)
{
	char list[256];
	size_t at = 0;
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i ? ", " : "", rows[i].name);
	return sl_fail(err, SL_INVALID, "unknown command '" SL_STR_FMT "'; there are: %s",
		       SL_STR_ARG(sl_str_n(name.p, sl_utf8_cut(name.p, name.len, 40))), list);
}

/* A number that counts something: an integer, 0 and up. */
static bool read_count(struct json_object *v, uint64_t max, uint64_t *out)
{
	if (!json_object_is_type(v, json_type_int))
		return false;
	int64_t n = json_object_get_int64(v);
	if (n < 0 || (uint64_t)n > max)
		return false;
	*out = (uint64_t)n;
	return true;
}

static enum sl_code read_streams(struct json_object *streams, struct sl_error *err)
{
	if (!json_object_is_type(streams, json_type_object))
		return sl_fail(err, SL_INVALID, "'streams' is an object: { path: offset }");
	json_object_object_foreach (streams, path, entry) {
		uint64_t n;
		bool ok = read_count(entry, (uint64_t)OFFSET_MAX, &n);
		if (!ok && json_object_is_type(entry, json_type_object)) {
			struct json_object *attempt = sl_json_get(entry, "attempt");
			ok = read_count(sl_json_get(entry, "offset"), (uint64_t)OFFSET_MAX, &n) &&
			     (!attempt || read_count(attempt, UINT32_MAX, &n));
		}
		if (!ok)
			return sl_fail(err, SL_INVALID,
				       "'streams': the offset of '%.80s' is a number of bytes, or { attempt, offset }",
				       path);
	}
	return SL_OK;
}

/* Who serves a command that is forwarded knows what it may have. */
static enum sl_code refuse_others(const struct row *row, struct json_object *o, struct sl_error *err)
{
	json_object_object_foreach (o, key, value) {
		bool known = row->cmd == SL_WS_FORWARD || strcmp(key, "cmd") == 0 || strcmp(key, "id") == 0 ||
			     (row->needs_run && strcmp(key, "run_id") == 0);
		(void)value;
		for (size_t i = 0; i < SL_COUNT_OF(row->more) && row->more[i]; i++)
			known |= strcmp(key, row->more[i]) == 0;
		if (!known)
			return sl_fail(err, SL_INVALID, "'%s' has no '%.*s'%s%s%s%s", row->name,
				       (int)sl_utf8_cut(key, strlen(key), 40), key,
				       row->more[0] ? "; it may have " : "", row->more[0] ? row->more[0] : "",
				       row->more[1] ? " and " : "", row->more[1] ? row->more[1] : "");
	}
	return SL_OK;
}

static enum sl_code read_fields(struct sl_ws_command *c, const struct row *row, struct sl_error *err)
{
	struct json_object *o = c->object, *v;
	uint64_t n;

	c->cmd = row->cmd;
	c->name = row->name;
	if ((v = sl_json_get(o, "run_id"))) {
		if (!sl_uuid_parse(sl_json_str(v), &c->run.u))
			return sl_fail(err, SL_INVALID, "'run_id' is no run id");
		c->has_run = true;
	} else if (row->needs_run) {
		return sl_fail(err, SL_INVALID, "'%s' needs a 'run_id'", row->name);
	}
	if (row->cmd == SL_WS_SUBSCRIBE) {
		if ((v = sl_json_get(o, "after_seq"))) {
			if (!read_count(v, (uint64_t)OFFSET_MAX, &c->after_seq))
				return sl_fail(err, SL_INVALID, "'after_seq' is the number of the last event you have");
			c->has_after_seq = true;
		}
		if ((v = sl_json_get(o, "streams"))) {
			enum sl_code rc = read_streams(v, err);
			if (rc != SL_OK)
				return rc;
			c->streams = v;
		}
	}
	if (row->cmd == SL_WS_SET) {
		if (!read_count(sl_json_get(o, "flush_ms"), FLUSH_MS_MAX, &n))
			return sl_fail(err, SL_INVALID, "'flush_ms' is a whole number from 0 to %d", FLUSH_MS_MAX);
		c->flush_ms = (uint32_t)n;
	}
	return refuse_others(row, o, err);
}

enum sl_code sl_ws_command_parse(struct sl_str text, struct sl_ws_command *out, struct sl_error *err)
{
	SL_AUTO_JSON o = NULL;
	*out = (struct sl_ws_command){0};
	enum sl_code rc = sl_json_parse(text, &o, err);
	return rc == SL_OK ? sl_ws_command_read(o, out, err) : rc;
}

enum sl_code sl_ws_command_read(struct json_object *o, struct sl_ws_command *out, struct sl_error *err)
{
	struct json_object *id;
	*out = (struct sl_ws_command){0};
	if (!json_object_is_type(o, json_type_object))
		return sl_fail(err, SL_INVALID, "a command is a JSON object: { \"cmd\": NAME, \"id\"?, … }");
	out->object = json_object_get(o);
	if ((id = sl_json_get(o, "id"))) {
		bool text_id = json_object_is_type(id, json_type_string) && json_object_get_string_len(id) <= 128;
		bool number = json_object_is_type(id, json_type_int);
		if (!text_id && !number)
			return sl_fail(err, SL_INVALID, "'id' is a whole number or a string of at most 128 bytes");
		out->id = id;
	}
	struct sl_str name = sl_json_get_str(o, "cmd");
	if (!sl_json_get_z(o, "cmd"))
		return sl_fail(err, SL_INVALID, "a command needs its name: { \"cmd\": NAME, … }");
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++)
		if (sl_str_is(name, rows[i].name))
			return read_fields(out, &rows[i], err);
	return unknown(name, err);
}

void sl_ws_command_fini(struct sl_ws_command *c)
{
	if (c->object)
		json_object_put(c->object);
	*c = (struct sl_ws_command){0};
}

/* The known members are written from what was understood, the rest as it came. */
void sl_ws_command_print(struct sl_buf *b, const struct sl_ws_command *c)
{
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "cmd", c->name);
	if (c->id) {
		sl_buf_json_key(b, "id");
		sl_json_write(b, c->id);
	}
	if (c->has_run) {
		char text[SL_UUID_TEXT_BYTES];
		sl_uuid_format(c->run.u, text);
		sl_buf_json_kz(b, "run_id", text);
	}
	if (c->has_after_seq)
		sl_buf_json_ku64(b, "after_seq", c->after_seq);
	if (c->cmd == SL_WS_SET)
		sl_buf_json_ku64(b, "flush_ms", c->flush_ms);
	if (c->streams) {
		sl_buf_json_key(b, "streams");
		sl_buf_addc(b, '{');
		json_object_object_foreach (c->streams, path, entry) {
			uint32_t attempt;
			uint64_t offset;
			sl_ws_stream_offset(entry, &attempt, &offset);
			sl_buf_json_comma(b);
			sl_buf_json_str(b, sl_str(path));
			sl_buf_adds(b, ":{");
			if (attempt)
				sl_buf_json_ku64(b, "attempt", attempt);
			sl_buf_json_ku64(b, "offset", offset);
			sl_buf_addc(b, '}');
		}
		sl_buf_addc(b, '}');
	}
	sl_buf_addc(b, '}');
}

void sl_ws_stream_offset(struct json_object *entry, uint32_t *attempt, uint64_t *offset)
{
	*attempt = 0;
	if (json_object_is_type(entry, json_type_int)) {
		*offset = (uint64_t)json_object_get_int64(entry);
		return;
	}
	*attempt = (uint32_t)sl_json_get_i64(entry, "attempt", 0);
	*offset = (uint64_t)sl_json_get_i64(entry, "offset", 0);
}
