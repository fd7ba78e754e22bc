/* Any text as JSON, and any bytes as a text in JSON. Properties: what is accepted is written, and reads again as the
 * same; a second writing is the first; no cap is passed, and one that is exactly large enough is enough; and the
 * writer that takes large steps writes what one does that goes byte by byte. */
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"
#include "ws/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void capped(struct json_object *doc, struct sl_str whole, size_t cap)
{
	SL_BUF(b, cap);
	sl_json_write(&b, doc);
	SL_BUG_ON(b.len > cap || b.failed != (whole.len > cap));
	SL_BUG_ON(!b.failed && !sl_str_eq(sl_buf_str(&b), whole));
}

/* What we refuse has a place, or says that it is too large. */
static void refused(enum sl_code rc, const struct sl_error *err, const struct json_object *doc)
{
	SL_BUG_ON(doc || err->code != rc || !err->text[0] || !sl_utf8_valid(err->text, strlen(err->text)));
}

static void document(struct sl_str in)
{
	SL_AUTO_JSON doc = NULL;
	SL_AUTO_JSON again = NULL;
	SL_BUF(first, SIZE_MAX);
	SL_BUF(second, SIZE_MAX);
	struct sl_error err = {0};
	enum sl_code rc = sl_json_parse(in, &doc, &err);
	if (rc != SL_OK) {
		refused(rc, &err, doc);
		return;
	}
	sl_json_write(&first, doc);
	SL_BUG_ON(sl_json_parse(sl_buf_str(&first), &again, NULL) != SL_OK || !sl_json_equal(doc, again));
	sl_json_write(&second, again);
	SL_BUG_ON(!sl_str_eq(sl_buf_str(&first), sl_buf_str(&second)));
	for (size_t cap = first.len; cap + 3 > first.len; cap--) {
		capped(doc, sl_buf_str(&first), cap);
		if (cap == 0)
			break;
	}
	capped(doc, sl_buf_str(&first), first.len / 2);
}

static void slowly(struct sl_str s, struct sl_buf *out)
{
	sl_buf_addc(out, '"');
	while (s.len) {
		unsigned char c = (unsigned char)*s.p;
		size_t n = 1;
		while (n < 4 && n < s.len && !sl_utf8_valid(s.p, n))
			n++;
		if (!sl_utf8_valid(s.p, n))
			sl_buf_adds(out, "\xef\xbf\xbd"), n = 1;
		else if (c == '"' || c == '\\')
			sl_buf_addf(out, "\\%c", c);
		else if (c == '\n' || c == '\r' || c == '\t')
			sl_buf_addf(out, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
		else if (c < 0x20)
			sl_buf_addf(out, "\\u%04x", c);
		else
			sl_buf_add(out, s.p, n);
		s = sl_str_n(s.p + n, s.len - n);
	}
	sl_buf_addc(out, '"');
}

static void text(struct sl_str in)
{
	SL_AUTO_JSON doc = NULL;
	SL_BUF(fast, SIZE_MAX);
	SL_BUF(slow, SIZE_MAX);
	sl_buf_json_str(&fast, in);
	slowly(in, &slow);
	SL_BUG_ON(!sl_str_eq(sl_buf_str(&fast), sl_buf_str(&slow)));
	SL_BUG_ON(sl_json_parse(sl_buf_str(&fast), &doc, NULL) != SL_OK);
	if (sl_utf8_valid(in.p, in.len)) {
		SL_BUG_ON(!sl_str_eq(sl_json_str(doc), in));
		SL_BUF(event, SIZE_MAX); /* the text of a stream, as it is told to browsers */
		sl_event_escape(&event, in);
		SL_BUG_ON(!sl_str_eq(sl_buf_str(&event), sl_str_n(fast.data + 1, fast.len - 2)));
	}
	for (size_t less = 0; less < 4 && less <= fast.len; less++) {
		SL_BUF(b, fast.len - less);
		sl_buf_json_str(&b, in);
		SL_BUG_ON(b.len > b.max_bytes || b.failed != (less > 0));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sl_str in = sl_str_n((const char *)data, size);
	if (size > 1 << 16)
		return 0;
	document(in);
	text(in);
	return 0;
}
