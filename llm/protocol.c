/* llm/protocol.c: see protocol.h: addresses. */
#include "llm/protocol.h"

#include "llm/profile.h"

void sl_protocol_base(const struct sl_profile *p, const char *const *tails, struct sl_buf *url)
{
	size_t n = strlen(p->base_url);
	for (; *tails; tails++) {
		size_t len = strlen(*tails);
		if (n > len && memcmp(p->base_url + n - len, *tails, len) == 0) {
			n -= len;
			break;
		}
	}
	sl_buf_add(url, p->base_url, n);
}

void sl_protocol_segment(struct sl_str s, struct sl_buf *url)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool plain =
			(c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("-._~+=,@/", c));
		if (plain)
			sl_buf_addc(url, (char)c);
		else
			sl_buf_addf(url, "%%%02X", c);
	}
}

bool sl_protocol_url(const struct sl_protocol *protocol, const struct sl_profile *p, const char *model,
		     enum sl_url_kind kind, struct sl_buf *url)
{
	const char *path = kind == SL_URL_EMBEDDINGS ? protocol->embeddings_path : protocol->path;
	if (kind == SL_URL_EMBEDDINGS && !path)
		return false;
	if (protocol->url) {
		protocol->url(p, model, kind, url);
		return true;
	}
	sl_buf_adds(url, p->base_url);
	sl_buf_adds(url, path);
	return true;
}
