/* llm/reader.c: see reader.h. */
#include "llm/reader.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "llm/refusal.h"

static enum sl_code reader_event(struct sl_reader *r, struct sl_str name, struct sl_str data)
{
	data = sl_str_trim(data);
	if (r->a->complete || data.len == 0)
		return SL_OK;
	if (!sl_utf8_valid(data.p, data.len))
		return sl_fail(r->err, SL_MALFORMED, "an event that is not UTF-8");
	return r->form->event(r, name, data);
}

static enum sl_code reader_on_event(void *ctx, const struct sl_sse_event *e)
{
	return reader_event(ctx, e->name, e->data);
}

static enum sl_code reader_on_stray(void *ctx, const struct sl_sse_event *e)
{
	struct sl_reader *r = ctx;
	return r->a->complete ? SL_OK : r->form->stray(r, e->data);
}

static enum sl_reader_shape shape_of_type(const struct sl_reader_form *form, struct sl_str type)
{
	struct sl_str media = type, rest;
	if (!sl_str_cut(type, ';', &media, &rest))
		media = type;
	media = sl_str_trim(media);
	if (sl_str_is_nocase(media, form->stream_type))
		return SL_SHAPE_STREAM;
	if (sl_str_is_nocase(media, "application/json"))
		return SL_SHAPE_WHOLE;
	if (media.len && !sl_str_is_nocase(media, "application/octet-stream"))
		return SL_SHAPE_FOREIGN;
	return SL_SHAPE_UNKNOWN;
}

/* No content type: what was asked for and the first character tell. */
static enum sl_reader_shape shape_of_start(const struct sl_reader *r, char first)
{
	if (first == '<')
		return SL_SHAPE_FOREIGN;
	if (r->form->lines)
		return r->a->mode == SL_CHAT_STREAM ? SL_SHAPE_STREAM : SL_SHAPE_WHOLE;
	return first == '{' || first == '[' ? SL_SHAPE_WHOLE : SL_SHAPE_STREAM;
}

void sl_reader_init(struct sl_reader *r, const struct sl_reader_form *form, struct sl_answer *a,
		    const struct sl_http_head *head)
{
	*r = (struct sl_reader){.form = form, .a = a, .head = head};
	r->shape = shape_of_type(form, sl_http_find(head, "content-type"));
	sl_sse_init(&r->sse, reader_on_event, r);
	r->sse.stray = form->stray ? reader_on_stray : NULL;
	sl_buf_init(&r->line, SL_LIMIT_SSE_LINE_BYTES);
	sl_buf_init(&r->whole, SL_LIMIT_HTTP_BODY_BYTES);
}

void sl_reader_fini(struct sl_reader *r)
{
	sl_sse_fini(&r->sse);
	sl_buf_fini(&r->line);
	sl_buf_fini(&r->whole);
}

static enum sl_code reader_foreign(struct sl_reader *r)
{
	char page[160];
	struct sl_str type = sl_http_find(r->head, "content-type");
	sl_refusal_page_words(sl_buf_str(&r->whole), page, sizeof(page));
	return sl_fail(r->err, SL_MALFORMED, "the answer is " SL_STR_FMT ", not a model's: %s", SL_STR_ARG(type), page);
}

static enum sl_code reader_lines(struct sl_reader *r, struct sl_str in)
{
	while (in.len) {
		const char *lf = memchr(in.p, '\n', in.len);
		size_t n = lf ? (size_t)(lf - in.p) : in.len;
		struct sl_str line = sl_str_n(in.p, n);
		if (!lf || r->line.len) {
			sl_buf_add(&r->line, in.p, n);
			line = sl_buf_str(&r->line);
		}
		if (r->line.failed || line.len > SL_LIMIT_SSE_LINE_BYTES)
			return SL_TOO_LARGE;
		if (!lf)
			return SL_OK;
		enum sl_code rc = reader_event(r, SL_STR(""), line);
		sl_buf_reset(&r->line);
		if (rc != SL_OK)
			return rc;
		in.p += n + 1, in.len -= n + 1;
	}
	return SL_OK;
}

static enum sl_code reader_stream(struct sl_reader *r, struct sl_str bytes)
{
	enum sl_code rc = r->form->lines ? reader_lines(r, bytes) : sl_sse_feed(&r->sse, bytes);
	if (rc == SL_TOO_LARGE && (r->err->code != SL_TOO_LARGE || !r->err->text[0]))
		(void)sl_fail(r->err, rc, "a line of the stream is longer than %u bytes", SL_LIMIT_SSE_LINE_BYTES);
	return rc;
}

/* The blanks in front of what tells the shape are kept: to a stream they may mean something. */
static enum sl_code reader_feed(struct sl_reader *r, struct sl_str bytes)
{
	if (r->shape == SL_SHAPE_UNKNOWN) {
		struct sl_str t = sl_str_trim(bytes);
		if (t.len)
			r->shape = shape_of_start(r, t.p[0]);
		if (r->shape == SL_SHAPE_STREAM && r->whole.len) {
			enum sl_code rc = reader_stream(r, sl_buf_str(&r->whole));
			sl_buf_fini(&r->whole);
			if (rc != SL_OK)
				return rc;
		}
	}
	if (r->shape == SL_SHAPE_STREAM)
		return reader_stream(r, bytes);
	sl_buf_add(&r->whole, bytes.p, bytes.len);
	if (r->shape == SL_SHAPE_FOREIGN && (r->whole.len > 4096 || r->whole.failed))
		return reader_foreign(r);
	if (r->whole.failed)
		return sl_fail(r->err, SL_TOO_LARGE, "an answer of more than %u bytes", SL_LIMIT_HTTP_BODY_BYTES);
	return SL_OK;
}

enum sl_code sl_reader_feed(struct sl_reader *r, struct sl_str bytes, struct sl_error *err)
{
	r->err = err;
	enum sl_code rc = reader_feed(r, bytes);
	r->err = NULL;
	return rc;
}

/* An error, or the marker, may stand at the end without its blank line or line feed; half a chunk counts for nothing,
 * and what came before it is no whole answer either. */
static enum sl_code reader_finish_stream(struct sl_reader *r)
{
	enum sl_code rc = SL_OK;
	bool half = false;
	if (r->form->lines && r->line.len) {
		rc = reader_event(r, SL_STR(""), sl_buf_str(&r->line));
		sl_buf_reset(&r->line);
	} else if (!r->form->lines && sl_sse_pending(&r->sse)) {
		rc = sl_sse_finish(&r->sse);
	}
	if (rc == SL_MALFORMED) {
		rc = SL_OK;
		half = true;
	}
	if (rc == SL_OK && !half && !r->a->complete && r->form->end)
		rc = r->form->end(r);
	if (rc != SL_OK || r->a->complete)
		return rc;
	return sl_fail(r->err, SL_TRUNCATED, "the stream ended without its end marker%s",
		       r->a->finish_reason[0] ? ", though with a finish reason" : "");
}

static enum sl_code reader_finish_whole(struct sl_reader *r)
{
	SL_AUTO_JSON doc = NULL;
	enum sl_code rc = sl_json_parse(sl_buf_str(&r->whole), &doc, r->err);
	if (rc != SL_OK)
		return sl_wrap(r->err, rc == SL_NO_MEMORY ? rc : SL_MALFORMED, "the provider's answer");
	rc = r->form->document(r, doc);
	if (rc == SL_OK && !r->a->complete)
		rc = sl_fail(r->err, SL_TRUNCATED, "the answer does not say that it is complete");
	return rc;
}

enum sl_code sl_reader_finish(struct sl_reader *r, struct sl_error *err)
{
	r->err = err;
	if (r->a->complete)
		return SL_OK;
	switch (r->shape) {
	case SL_SHAPE_STREAM:
		return reader_finish_stream(r);
	case SL_SHAPE_WHOLE:
		return reader_finish_whole(r);
	case SL_SHAPE_FOREIGN:
		return reader_foreign(r);
	case SL_SHAPE_UNKNOWN:
		break;
	}
	return sl_fail(err, SL_TRUNCATED, "an empty answer");
}
