/* ws/encode.c: see encode.h. Written by hand: json-c takes ten times as long (docs/PERFORMANCE.md). */
#include "ws/encode.h"

#include <string.h>

size_t sl_ws_frame_header(uint8_t out[SL_WS_HEADER_BYTES], enum sl_ws_opcode opcode, bool fin, size_t len)
{
	out[0] = (uint8_t)((fin ? 0x80 : 0) | opcode);
	if (len < 126) {
		out[1] = (uint8_t)len;
		return 2;
	}
	if (len < 65536) {
		out[1] = 126;
		out[2] = (uint8_t)(len >> 8);
		out[3] = (uint8_t)len;
		return 4;
	}
	out[1] = 127;
	for (int i = 0; i < 8; i++)
		out[2 + i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
	return 10;
}

bool sl_ws_frame_measure(const char *s, size_t len, size_t *header, size_t *payload)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t h = 2;
	uint64_t n;
	if (len < 2)
		return false;
	n = p[1] & 127;
	if (n == 126) {
		h = 4;
		if (len < h)
			return false;
		n = (uint64_t)p[2] << 8 | p[3];
	} else if (n == 127) {
		h = 10;
		if (len < h)
			return false;
		n = 0;
		for (int i = 0; i < 8; i++)
			n = n << 8 | p[2 + i];
	}
	if (n > len - h)
		return false;
	*header = h;
	*payload = (size_t)n;
	return true;
}

void sl_event_record(struct sl_buf *b, const char *run, const struct sl_record *r)
{
	char ts[SL_TIME_TEXT_BYTES];
	sl_time_format(r->wall_ms, ts);
	sl_buf_adds(b, "{\"event\":\"");
	sl_buf_adds(b, r->event); /* a name out of our own tables: nothing to escape */
	sl_buf_adds(b, "\",\"run_id\":\"");
	sl_buf_adds(b, run);
	sl_buf_adds(b, "\",\"seq\":");
	sl_buf_addu(b, r->seq);
	sl_buf_adds(b, ",\"ts\":\"");
	sl_buf_adds(b, ts);
	sl_buf_adds(b, "\",\"data\":");
	if (r->data && r->data->len)
		sl_buf_add(b, r->data->data, r->data->len);
	else
		sl_buf_adds(b, "{}");
	sl_buf_addc(b, '}');
}

/* Has one of eight bytes to be escaped? Exact for what matters: below 0x20, '"' and '\\'; DEL and above pass. */
static bool word_is_plain(uint64_t w)
{
	const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
	uint64_t quote = w ^ (ones * '"'), back = w ^ (ones * '\\');
	uint64_t low = (w - ones * 0x20) & ~w;
	return !((low | ((quote - ones) & ~quote) | ((back - ones) & ~back)) & highs);
}

void sl_event_escape(struct sl_buf *b, struct sl_str s)
{
	static const char hex[] = "0123456789abcdef";
	size_t from = 0, i = 0;
	while (i < s.len) {
		uint64_t w;
		if (s.len - i >= 8) {
			memcpy(&w, s.p + i, 8);
			if (word_is_plain(w)) {
				i += 8;
				continue;
			}
		}
		unsigned char c = (unsigned char)s.p[i];
		if (c >= 0x20 && c != '"' && c != '\\') {
			i++;
			continue;
		}
		sl_buf_add(b, s.p + from, i - from);
		char esc[6] = {'\\', (char)c};
		size_t n = 2;
		switch (c) {
		case '"':
		case '\\':
			break;
		case '\n':
			esc[1] = 'n';
			break;
		case '\r':
			esc[1] = 'r';
			break;
		case '\t':
			esc[1] = 't';
			break;
		default:
			memcpy(esc, "\\u00", 4);
			esc[4] = hex[c >> 4];
			esc[5] = hex[c & 15];
			n = 6;
		}
		sl_buf_add(b, esc, n);
		from = ++i;
	}
	sl_buf_add(b, s.p + from, s.len - from);
}

void sl_event_sse(struct sl_buf *b, uint64_t seq, const char *event, struct sl_str json)
{
	if (seq) {
		sl_buf_adds(b, "id: ");
		sl_buf_addu(b, seq);
		sl_buf_addc(b, '\n');
	}
	sl_buf_adds(b, "event: ");
	sl_buf_adds(b, event);
	sl_buf_adds(b, "\ndata: ");
	size_t at = b->len;
	sl_buf_add(b, json.p, json.len);
	if (!b->failed) /* a line break in JSON text is only space between tokens, but would end the field */
		for (size_t i = at; i < b->len; i++)
			if (b->data[i] == '\n' || b->data[i] == '\r')
				b->data[i] = ' ';
	sl_buf_adds(b, "\n\n");
}
