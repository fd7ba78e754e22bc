/* Requests of strangers. Properties: what is eaten lies inside what was given; a head that is complete reads the same
 * without what follows it; and chunks give the same body however they are cut. */
#include <stdint.h>
#include <stdlib.h>

#include "api/http1.h"
#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The body in `in`, fed in pieces of `step` bytes; SL_BUSY: it has no end. */
static enum sl_code unchunk(struct sl_str in, size_t step, struct sl_buf *out)
{
	struct sl_http1_chunks c = {0};
	size_t at = 0;
	while (at < in.len && !c.done) {
		size_t n = in.len - at < step ? in.len - at : step, used = 0;
		struct sl_str body;
		enum sl_code rc = sl_http1_chunk(&c, sl_str_n(in.p + at, n), &used, &body);
		if (rc != SL_OK)
			return rc;
		SL_BUG_ON(used == 0 || used > n || body.len > used);
		sl_buf_add(out, body.p, body.len);
		at += used;
	}
	return c.done ? SL_OK : SL_BUSY;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sl_http1_head head, again;
	struct sl_str in = sl_str_n((const char *)data, size);
	size_t used = 0, used_again = 0;
	int status = 0;
	enum sl_code rc = sl_http1_parse(in, &head, &used, &status);
	if (rc == SL_OK) {
		SL_BUG_ON(used > size || head.path.len == 0 || head.path.p[0] != '/' ||
			  head.n_headers > SL_LIMIT_HEADER_LINES);
		SL_BUG_ON(sl_http1_parse(sl_str_n(in.p, used), &again, &used_again, &status) != SL_OK ||
			  used_again != used);
		SL_BUG_ON(!sl_str_eq(head.path, again.path) || head.framing != again.framing ||
			  head.content_length != again.content_length);
		SL_AUTO_MEM char *decoded = malloc(head.path.len + 1);
		size_t len;
		if (decoded && sl_percent_decode(head.path, SL_PLUS_KEPT, decoded, &len))
			SL_BUG_ON(len > head.path.len);
		in = sl_str_n(in.p + used, in.len - used);
	} else {
		SL_BUG_ON(rc != SL_BUSY && (status < 400 || status > 505));
	}
	SL_BUF(whole, size + 1);
	enum sl_code first = unchunk(in, in.len ? in.len : 1, &whole);
	for (size_t step = 1; step < 8; step++) {
		SL_BUF(pieces, size + 1);
		enum sl_code other = unchunk(in, step, &pieces);
		SL_BUG_ON(other != first);
		SL_BUG_ON(first == SL_OK && !sl_str_eq(sl_buf_str(&whole), sl_buf_str(&pieces)));
	}
	return 0;
}
