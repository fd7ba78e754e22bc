/* llm/sse.c: see sse.h. Lines are found with memchr for LF and CR over the whole chunk; only what a chunk leaves
 * unfinished is copied. */
#include "llm/sse.h"

#include "base/limits.h"

void sl_sse_init(struct sl_sse *s, sl_sse_fn *fn, void *ctx)
{
	*s = (struct sl_sse){.fn = fn, .ctx = ctx};
	sl_buf_init(&s->line, SL_LIMIT_SSE_LINE_BYTES);
	sl_buf_init(&s->data, SL_LIMIT_SSE_LINE_BYTES);
	sl_buf_init(&s->name, 256);
	sl_buf_init(&s->id, 256);
}

void sl_sse_fini(struct sl_sse *s)
{
	sl_buf_fini(&s->line);
	sl_buf_fini(&s->data);
	sl_buf_fini(&s->name);
	sl_buf_fini(&s->id);
}

static enum sl_code sse_dispatch(struct sl_sse *s)
{
	enum sl_code rc = SL_OK;
	if (s->has_data) {
		struct sl_sse_event e = {
			.name = sl_buf_str(&s->name),
			.data = s->in_place_valid ? s->in_place : sl_buf_str(&s->data),
			.id = sl_buf_str(&s->id),
		};
		rc = s->fn(s->ctx, &e);
	}
	sl_buf_reset(&s->data);
	sl_buf_reset(&s->name);
	s->has_data = s->in_place_valid = false;
	return rc;
}

/* The data lines of one event leave the chunk they lie in: because another one follows, or the chunk ends. */
static enum sl_code sse_failure(const struct sl_buf *b)
{
	return b->no_memory ? SL_NO_MEMORY : SL_TOO_LARGE;
}

static void sse_settle(struct sl_sse *s)
{
	if (!s->in_place_valid)
		return;
	sl_buf_reset(&s->data);
	sl_buf_add(&s->data, s->in_place.p, s->in_place.len);
	s->in_place_valid = false;
}

static enum sl_code sse_line(struct sl_sse *s, struct sl_str line, bool in_chunk)
{
	if (line.len == 0)
		return sse_dispatch(s);
	const char *colon = memchr(line.p, ':', line.len);
	struct sl_str field = sl_str_n(line.p, colon ? (size_t)(colon - line.p) : line.len);
	struct sl_str value = colon ? sl_str_n(colon + 1, line.len - field.len - 1) : sl_str_n("", 0);
	if (value.len && value.p[0] == ' ')
		value.p++, value.len--;
	if (field.len == 0)
		return SL_OK; /* a comment */
	if (sl_str_is(field, "data")) {
		if (!s->has_data && in_chunk) {
			s->in_place = value;
			s->in_place_valid = true;
		} else {
			sse_settle(s);
			if (s->has_data)
				sl_buf_addc(&s->data, '\n');
			sl_buf_add(&s->data, value.p, value.len);
		}
		s->has_data = true;
		if (s->data.failed)
			return sse_failure(&s->data);
	} else if (sl_str_is(field, "event")) {
		sl_buf_reset(&s->name);
		sl_buf_add(&s->name, value.p, value.len < s->name.max_bytes ? value.len : s->name.max_bytes - 1);
	} else if (sl_str_is(field, "id")) {
		if (!memchr(value.p, 0, value.len)) {
			sl_buf_reset(&s->id);
			sl_buf_add(&s->id, value.p, value.len < s->id.max_bytes ? value.len : s->id.max_bytes - 1);
		}
	} else if (!sl_str_is(field, "retry") && s->stray) {
		return s->stray(s->ctx, &(struct sl_sse_event){.name = sl_str_n("", 0), .data = line});
	}
	return SL_OK;
}

static size_t sse_find_end(const char *p, size_t len)
{
	const char *lf = memchr(p, '\n', len);
	size_t n = lf ? (size_t)(lf - p) : len;
	const char *cr = memchr(p, '\r', n);
	return cr ? (size_t)(cr - p) : n;
}

enum sl_code sl_sse_feed(struct sl_sse *s, struct sl_str in)
{
	static const unsigned char mark[3] = {0xef, 0xbb, 0xbf};
	const char *p = in.p, *end = in.p + in.len;
	while (s->bom < 3 && p < end) { /* a byte order mark, perhaps in pieces */
		if ((unsigned char)*p != mark[s->bom]) {
			sl_buf_add(&s->line, mark, s->bom); /* it was text after all */
			s->bom = 4;
			break;
		}
		s->bom++;
		p++;
	}
	while (p < end) {
		if (s->skip_lf) {
			s->skip_lf = false;
			if (*p == '\n') {
				p++;
				continue;
			}
		}
		size_t n = sse_find_end(p, (size_t)(end - p));
		struct sl_str line = sl_str_n(p, n);
		bool in_chunk = s->line.len == 0;
		if (p + n == end || !in_chunk) {
			sl_buf_add(&s->line, p, n);
			if (s->line.failed)
				return sse_failure(&s->line);
			if (p + n == end)
				break;
			line = sl_buf_str(&s->line);
		}
		if (n > SL_LIMIT_SSE_LINE_BYTES)
			return SL_TOO_LARGE;
		p += n;
		s->skip_lf = *p++ == '\r';
		enum sl_code rc = sse_line(s, line, in_chunk);
		if (!in_chunk)
			sl_buf_reset(&s->line);
		if (rc != SL_OK)
			return rc;
	}
	sse_settle(s);
	return s->data.failed ? sse_failure(&s->data) : SL_OK;
}

bool sl_sse_pending(const struct sl_sse *s)
{
	return s->has_data || s->line.len != 0;
}

enum sl_code sl_sse_finish(struct sl_sse *s)
{
	if (s->line.len) {
		enum sl_code rc = sse_line(s, sl_buf_str(&s->line), false);
		sl_buf_reset(&s->line);
		if (rc != SL_OK)
			return rc;
	}
	return sse_dispatch(s);
}
