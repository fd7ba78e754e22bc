/* llm/request.c: see request.h. */
#include "llm/request.h"

#include <math.h>

#include "llm/profile.h"

enum sl_code sl_wish_check_json(struct sl_str text, enum json_type type, const char *what, struct json_object **out,
				struct sl_error *err)
{
	enum sl_code rc = sl_json_parse(text, out, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc, "%s", what);
	if (!json_object_is_type(*out, type))
		return sl_fail(err, SL_INVALID, "%s: a JSON %s is needed, not %s", what, json_type_to_name(type),
			       sl_json_type_name(*out));
	return SL_OK;
}

static enum sl_code read_messages(struct sl_wish *w, const struct sl_chat_request *req, struct sl_error *err)
{
	struct sl_str list = sl_str_trim(req->messages);
	enum sl_code rc =
		sl_wish_check_json(list.len ? list : SL_STR("[]"), json_type_array, "messages", &w->messages, err);
	if (rc != SL_OK)
		return rc;
	size_t n = json_object_array_length(w->messages);
	for (size_t i = 0; i < n; i++)
		if (!sl_json_get_z(json_object_array_get_idx(w->messages, i), "role"))
			return sl_fail(err, SL_INVALID, "messages/%zu: an object with a role is needed", i);
	if (n == 0 && req->system.len == 0)
		return sl_fail(err, SL_INVALID, "messages: there are none");
	return SL_OK;
}

static enum sl_code read_stop(struct sl_wish *w, struct sl_str text, struct sl_error *err)
{
	SL_AUTO_JSON v = NULL;
	if (text.len == 0)
		return SL_OK;
	enum sl_code rc = sl_json_parse(text, &v, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc, "stop");
	if (json_object_is_type(v, json_type_string)) {
		w->stop = json_object_new_array();
		if (!w->stop || json_object_array_add(w->stop, v) != 0)
			return sl_fail(err, SL_NO_MEMORY, "stop");
		v = NULL;
		return SL_OK;
	}
	if (!json_object_is_type(v, json_type_array))
		return sl_fail(err, SL_INVALID, "stop: a text or an array of texts is needed");
	if (json_object_array_length(v))
		w->stop = json_object_get(v);
	return SL_OK;
}

static enum sl_code read_wishes(struct sl_wish *w, const struct sl_chat_request *req, const struct sl_profile *p,
				struct sl_error *err)
{
	*w = (struct sl_wish){
		.temperature = isnan(req->temperature) ? p->temperature : req->temperature,
		.top_p = isnan(req->top_p) ? p->top_p : req->top_p,
		.own_thinking = req->thinking.len != 0,
		.max_tokens = req->max_tokens ? req->max_tokens : p->max_tokens,
		.thinking = req->thinking.len ? req->thinking : sl_str(p->thinking),
	};
	enum sl_code rc = read_messages(w, req, err);
	if (rc == SL_OK)
		rc = read_stop(w, req->stop, err);
	if (rc == SL_OK && req->tools.len)
		rc = sl_wish_check_json(req->tools, json_type_array, "tools", &w->tools, err);
	if (rc == SL_OK && req->tool_choice.len &&
	    (rc = sl_json_parse(req->tool_choice, &w->tool_choice, err)) != SL_OK)
		(void)sl_wrap(err, rc, "tool_choice");
	if (rc == SL_OK && req->response_format.len)
		rc = sl_wish_check_json(req->response_format, json_type_object, "response_format", &w->format, err);
	if (rc != SL_OK)
		return rc;
	if (w->tools && json_object_array_length(w->tools) == 0) {
		json_object_put(w->tools);
		w->tools = NULL;
	}
	for (size_t i = 0; w->tools && i < json_object_array_length(w->tools); i++)
		if (!sl_json_get_z(sl_wish_tool(w, i), "name"))
			return sl_fail(err, SL_INVALID, "tools/%zu: a function with a name is needed", i);
	w->schema = sl_json_get(w->format, "schema");
	if (!w->schema)
		w->schema = sl_json_get(sl_json_get(w->format, "json_schema"), "schema");
	w->json = w->schema || sl_str_is(sl_json_get_str(w->format, "type"), "json_object");
	return SL_OK;
}

static void wish_fini(struct sl_wish *w)
{
	json_object_put(w->messages);
	json_object_put(w->stop);
	json_object_put(w->tools);
	json_object_put(w->tool_choice);
	json_object_put(w->format);
	*w = (struct sl_wish){0};
}

enum sl_code sl_wish_build(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
			   sl_wish_writer *write, struct sl_buf *b, struct sl_error *err)
{
	struct sl_wish w;
	enum sl_code rc = read_wishes(&w, req, p, err);
	if (rc == SL_OK)
		rc = write(&w, req, model, b, err);
	if (rc == SL_OK)
		rc = sl_wish_whole(b, err);
	wish_fini(&w);
	return rc;
}

enum sl_code sl_wish_whole(const struct sl_buf *b, struct sl_error *err)
{
	if (!b->failed)
		return SL_OK;
	return b->no_memory ? sl_fail(err, SL_NO_MEMORY, "messages")
			    : sl_fail(err, SL_TOO_LARGE, "a request of more than %zu bytes", b->max_bytes);
}

bool sl_wish_is_system(struct json_object *message)
{
	struct sl_str role = sl_json_get_str(message, "role");
	return sl_str_is(role, "system") || sl_str_is(role, "developer");
}

bool sl_wish_is_tool(struct json_object *message)
{
	struct sl_str role = sl_json_get_str(message, "role");
	return sl_str_is(role, "tool") || sl_str_is(role, "function");
}

void sl_wish_text(struct json_object *content, struct sl_buf *out)
{
	struct sl_str s = sl_json_str(content);
	sl_buf_add(out, s.p, s.len);
	for (size_t i = 0; json_object_is_type(content, json_type_array) && i < json_object_array_length(content);
	     i++) {
		s = sl_json_get_str(json_object_array_get_idx(content, i), "text");
		sl_buf_add(out, s.p, s.len);
	}
}

static void add_paragraph(struct sl_buf *out, struct sl_str s)
{
	if (s.len && out->len)
		sl_buf_adds(out, "\n\n");
	sl_buf_add(out, s.p, s.len);
}

/* The request's text, then the messages that are the system's. */
static enum sl_code gather_system(const struct sl_wish *w, const struct sl_chat_request *req, struct sl_buf *out,
				  struct sl_error *err)
{
	add_paragraph(out, req->system);
	for (size_t i = 0; i < json_object_array_length(w->messages); i++) {
		struct json_object *m = json_object_array_get_idx(w->messages, i);
		SL_BUF(text, out->max_bytes);
		if (!sl_wish_is_system(m))
			continue;
		sl_wish_text(sl_json_get(m, "content"), &text);
		if (text.failed)
			return sl_wish_whole(&text, err);
		add_paragraph(out, sl_buf_str(&text));
	}
	return sl_wish_whole(out, err);
}

static void open_turn(const struct sl_wish_turns *how, const char *side, struct sl_buf *b)
{
	sl_buf_addf(b, "{\"role\":\"%s\",\"%s\":[", side, how->blocks);
}

enum sl_code sl_wish_write_turns(const struct sl_wish *w, const struct sl_chat_request *req,
				 const struct sl_wish_turns *how, struct sl_str note, struct sl_buf *system,
				 struct sl_buf *b, struct sl_error *err)
{
	const char *open = NULL;
	enum sl_code rc = gather_system(w, req, system, err);
	if (rc != SL_OK)
		return rc;
	sl_buf_json_key(b, how->list);
	sl_buf_addc(b, '[');
	for (size_t i = 0; i < json_object_array_length(w->messages); i++) {
		struct json_object *m = json_object_array_get_idx(w->messages, i);
		bool assistant = sl_str_is(sl_json_get_str(m, "role"), "assistant");
		const char *side = assistant ? how->assistant : "user";
		SL_BUF(blocks, b->max_bytes);
		if (sl_wish_is_system(m))
			continue;
		if ((rc = how->message(w, i, &blocks, err)) != SL_OK || (rc = sl_wish_whole(&blocks, err)) != SL_OK)
			return rc;
		if (blocks.len == 0)
			continue;
		if (open && strcmp(open, side) == 0) {
			sl_buf_addc(b, ',');
		} else {
			sl_buf_adds(b, open ? "]}," : "");
			open_turn(how, side, b);
		}
		open = side;
		sl_buf_add(b, blocks.data, blocks.len);
	}
	if (!open) { /* somebody has to speak */
		if (system->len == 0)
			return sl_fail(err, SL_INVALID, "messages: all of them are empty");
		open_turn(how, "user", b);
		how->text(sl_buf_str(system), b);
		sl_buf_reset(system);
	}
	sl_buf_adds(b, "]}]");
	add_paragraph(system, note);
	return sl_wish_whole(system, err);
}

void sl_wish_write_tuning(const struct sl_wish *w, const struct sl_chat_request *req, const struct sl_wish_names *names,
			  struct sl_buf *b)
{
	if (!isnan(w->temperature))
		sl_buf_json_kf64(b, names->temperature, w->temperature);
	if (!isnan(w->top_p))
		sl_buf_json_kf64(b, names->top_p, w->top_p);
	if (!isnan(req->frequency_penalty))
		sl_buf_json_kf64(b, names->frequency_penalty, req->frequency_penalty);
	if (!isnan(req->presence_penalty))
		sl_buf_json_kf64(b, names->presence_penalty, req->presence_penalty);
	if (w->max_tokens > 0)
		sl_buf_json_ki64(b, names->max_tokens, w->max_tokens);
	if (req->has_seed)
		sl_buf_json_ki64(b, names->seed, req->seed);
	if (w->stop) {
		sl_buf_json_key(b, names->stop);
		sl_json_write(b, w->stop);
	}
}

void sl_wish_json_note(const struct sl_wish *w, struct sl_buf *out)
{
	if (w->schema) {
		sl_buf_adds(out,
			    "Answer with one JSON object that is valid under this JSON Schema, and nothing else:\n");
		sl_json_write(out, w->schema);
	} else if (w->json) {
		sl_buf_adds(out, "Answer with one JSON object, and nothing else.");
	}
}

size_t sl_wish_parts(struct json_object *content)
{
	if (json_object_is_type(content, json_type_array))
		return json_object_array_length(content);
	return sl_json_str(content).len ? 1 : 0;
}

enum sl_code sl_wish_part(struct json_object *content, size_t i, struct sl_wish_part *out, struct sl_error *err)
{
	*out = (struct sl_wish_part){0};
	if (json_object_is_type(content, json_type_string)) {
		out->text = sl_json_str(content);
		return SL_OK;
	}
	struct json_object *part = json_object_array_get_idx(content, i), *image = sl_json_get(part, "image_url");
	struct sl_str type = sl_json_get_str(part, "type"), head, rest;
	if (json_object_is_type(part, json_type_string) || sl_str_is(type, "text") || sl_str_is(type, "input_text")) {
		out->text =
			json_object_is_type(part, json_type_string) ? sl_json_str(part) : sl_json_get_str(part, "text");
		return SL_OK;
	}
	out->url = json_object_is_type(image, json_type_string) ? sl_json_str(image) : sl_json_get_str(image, "url");
	if (!sl_str_is(type, "image_url") || out->url.len == 0)
		return sl_fail(err, SL_INVALID,
			       "messages: this provider takes text and image_url parts, not \"" SL_STR_FMT "\"",
			       SL_STR_ARG(type));
	if (!sl_str_starts(out->url, SL_STR("data:")))
		return SL_OK;
	rest = sl_str_n(out->url.p + 5, out->url.len - 5);
	const char *mark = memmem(rest.p, rest.len, ";base64,", 8);
	if (!mark)
		return sl_fail(err, SL_INVALID, "messages: a picture as data: needs \";base64,\"");
	head = sl_str_n(rest.p, (size_t)(mark - rest.p));
	out->media = head.len ? head : SL_STR("image/png");
	out->data = sl_str_n(mark + 8, rest.len - head.len - 8);
	out->url = sl_str_n("", 0);
	return SL_OK;
}

size_t sl_wish_calls(struct json_object *message)
{
	struct json_object *calls = sl_json_get(message, "tool_calls");
	return json_object_is_type(calls, json_type_array) ? json_object_array_length(calls) : 0;
}

enum sl_code sl_wish_call(struct json_object *message, size_t i, struct sl_wish_call *out, struct sl_error *err)
{
	out->call = json_object_array_get_idx(sl_json_get(message, "tool_calls"), i);
	out->function = sl_json_get(out->call, "function");
	struct json_object *args = sl_json_get(out->function, "arguments");
	struct sl_str text = sl_str_trim(sl_json_str(args));
	SL_AUTO_JSON doc = NULL;
	if (json_object_is_type(args, json_type_object))
		doc = json_object_get(args);
	else if (text.len == 0)
		doc = json_object_new_object();
	else if (sl_json_parse(text, &doc, NULL) != SL_OK)
		doc = NULL;
	out->arguments = json_object_is_type(doc, json_type_object) ? json_object_get(doc) : NULL;
	if (!out->arguments)
		return sl_fail(err, SL_INVALID, "messages: the arguments of a tool call are no JSON object");
	return SL_OK;
}

enum sl_wish_choice sl_wish_choice(const struct sl_wish *w, struct sl_str *name)
{
	struct sl_str word = sl_json_str(w->tool_choice);
	*name = sl_json_get_str(sl_json_get(w->tool_choice, "function"), "name");
	if (name->len)
		return SL_CHOICE_ONE;
	if (sl_str_is(word, "none"))
		return SL_CHOICE_NONE;
	return sl_str_is(word, "required") ? SL_CHOICE_ANY : SL_CHOICE_AUTO;
}

struct json_object *sl_wish_tool(const struct sl_wish *w, size_t i)
{
	struct json_object *tool = json_object_array_get_idx(w->tools, i), *function = sl_json_get(tool, "function");
	return function ? function : tool;
}

unsigned sl_model_version(struct sl_str model, const char *head)
{
	const char *at = memmem(model.p, model.len, head, strlen(head));
	unsigned version[2] = {0, 0}, n = 0;
	if (!at)
		return 0;
	const char *p = at + strlen(head), *end = model.p + model.len;
	while (p < end && n < 2) {
		const char *from = p;
		unsigned v = 0;
		while (p < end && *p >= '0' && *p <= '9' && p - from < 9)
			v = v * 10 + (unsigned)(*p++ - '0');
		if (p > from && p - from <= 2)
			version[n++] = v;
		else if (p > from || (n && *p != '.' && *p != '-'))
			break; /* a date, or the name goes on */
		if (p == from)
			p++;
	}
	return version[0] * 100 + version[1];
}
