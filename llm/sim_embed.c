/* llm/sim_embed.c: OpenAI's /v1/embeddings, with vectors that mean something: hashed words and pieces of words, so that
 * texts that share words, or forms of them, are near each other. The same text has the same vector everywhere. */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "llm/sim_dialect.h"

#define EMBED_DIMENSIONS 384
#define EMBED_MOST       4096
#define EMBED_INPUTS     2048
#define EMBED_WORD_BYTES 64

static const char *const common[] = {
	"a",    "about", "all",   "an",   "and",  "are", "as",  "at",  "be",   "but",  "by",    "can",   "do",  "for",
	"from", "had",   "has",   "have", "he",   "her", "his", "how", "i",    "if",   "in",    "is",    "it",  "its",
	"me",   "my",    "no",    "not",  "of",   "on",  "or",  "our", "she",  "so",   "than",  "that",  "the", "their",
	"them", "then",  "there", "they", "this", "to",  "was", "we",  "were", "what", "when",  "which", "who", "will",
	"with", "you",   "your",  "der",  "die",  "das", "und", "ist", "ein",  "eine", "nicht",
};

static bool is_common(struct sl_str word)
{
	for (size_t i = 0; i < SL_COUNT_OF(common); i++)
		if (sl_str_is(word, common[i]))
			return true;
	return false;
}

static void add_feature(float *v, size_t n, char kind, struct sl_str what, double weight)
{
	uint64_t h = sl_sim_digest(what, SIM_DIGEST ^ (unsigned char)kind);
	h = sl_sim_random(&h); /* FNV's high bits are poor */
	v[(h >> 1) % n] += (float)(h & 1 ? weight : -weight);
}

static void add_word(float *v, size_t n, struct sl_str word)
{
	char padded[EMBED_WORD_BYTES + 2];
	size_t len = word.len + 2, grams = len - 2;
	bool rare = !is_common(word);
	add_feature(v, n, 'w', word, rare ? 1 : 0.1);
	if (!rare || word.len < 3)
		return;
	padded[0] = padded[len - 1] = ' ';
	memcpy(padded + 1, word.p, word.len);
	for (size_t i = 0; i < grams; i++) /* "cats" and "cat" share most of theirs */
		add_feature(v, n, 'g', sl_str_n(padded + i, 3), 0.9 / sqrt((double)grams));
}

/* Writes the lower case of the character at p into out (at most 4 bytes); 0: no part of a word. *wide: a script without
 * spaces, each of whose characters counts as a word. */
static size_t lower(const char *p, size_t left, char out[4], size_t *took, bool *wide)
{
	unsigned char c = (unsigned char)p[0];
	size_t len = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	*took = len = len < left ? len : left;
	*wide = false;
	memcpy(out, p, len);
	if (len == 1) {
		out[0] = (char)(c >= 'A' && c <= 'Z' ? c | 32 : c);
		return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
	}
	if (len == 2 && c == 0xc3 && (unsigned char)p[1] >= 0x80 && (unsigned char)p[1] <= 0x9e)
		out[1] = (char)((unsigned char)p[1] + 0x20); /* Latin-1 capitals */
	if (len == 2 && c == 0xc2)
		return 0; /* « » and the like */
	if (len == 3 && c == 0xe2)
		return 0; /* punctuation, arrows, mathematics */
	*wide = len >= 3 && c >= 0xe3;
	return len;
}

void sl_sim_vector(struct sl_str text, float *v, size_t n)
{
	char word[EMBED_WORD_BYTES], one[4], pair[8];
	size_t len = 0, took, before = 0;
	double sum = 0;
	bool wide;
	memset(v, 0, n * sizeof(*v));
	for (size_t at = 0; at < text.len; at += took) {
		size_t bytes = lower(text.p + at, text.len - at, one, &took, &wide);
		if (len && (bytes == 0 || wide || len + bytes > sizeof(word))) {
			add_word(v, n, sl_str_n(word, len));
			len = 0;
		}
		if (bytes && wide) { /* the character, and the pair it makes with the one before */
			add_feature(v, n, 'c', sl_str_n(one, bytes), 0.6);
			memcpy(pair + before, one, bytes);
			if (before)
				add_feature(v, n, 'p', sl_str_n(pair, before + bytes), 0.8);
			memcpy(pair, one, bytes);
			before = bytes;
		} else {
			before = 0;
			memcpy(word + len, one, bytes);
			len += bytes;
		}
	}
	if (len)
		add_word(v, n, sl_str_n(word, len));
	for (size_t i = 0; i < n; i++)
		sum += (double)v[i] * v[i];
	for (size_t i = 0; i < n && sum > 0; i++)
		v[i] = (float)(v[i] / sqrt(sum));
}

static void write_base64(const float *v, size_t n, struct sl_buf *b) /* little-endian floats, as OpenAI sends them */
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)v;
	size_t len = n * sizeof(*v);
	sl_buf_addc(b, '"');
	for (size_t i = 0; i < len; i += 3) {
		unsigned x = (unsigned)p[i] << 16 | (i + 1 < len ? (unsigned)p[i + 1] << 8 : 0) |
			     (i + 2 < len ? p[i + 2] : 0);
		sl_buf_addc(b, digits[x >> 18]);
		sl_buf_addc(b, digits[x >> 12 & 63]);
		sl_buf_addc(b, i + 1 < len ? digits[x >> 6 & 63] : '=');
		sl_buf_addc(b, i + 2 < len ? digits[x & 63] : '=');
	}
	sl_buf_addc(b, '"');
}

static void write_vector(struct sl_str text, size_t index, size_t n, bool base64, float *v, struct sl_buf *b)
{
	sl_sim_vector(text, v, n);
	sl_buf_addf(b, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", index ? "," : "", index);
	if (base64)
		write_base64(v, n, b);
	for (size_t i = 0; i < n && !base64; i++)
		sl_buf_addf(b, "%c%.7g", i ? ',' : '[', (double)v[i]);
	sl_buf_adds(b, base64 ? "}" : "]}");
}

void sl_sim_embeddings(struct sim_conn *c, const struct sim_request *req)
{
	SL_AUTO_JSON doc = NULL;
	struct json_object *input = NULL;
	struct sl_str suffix = SL_STR(""), head;
	if (sl_json_parse(req->body, &doc, NULL) == SL_OK)
		input = sl_json_get(doc, "input");
	bool list = json_object_is_type(input, json_type_array);
	size_t n = list ? json_object_array_length(input) : 1;
	int64_t dimensions = sl_json_get_i64(doc, "dimensions", EMBED_DIMENSIONS);
	if ((!list && sl_json_str(input).len == 0) || n == 0 || n > EMBED_INPUTS) {
		sl_sim_refuse_request(c, &sl_sim_openai,
				      "'input' must be a text that is not empty, or a list of up to 2048.");
		return;
	}
	if (dimensions < 1 || dimensions > EMBED_MOST) {
		sl_sim_refuse_request(c, &sl_sim_openai, "'dimensions' must be from 1 to 4096.");
		return;
	}
	for (size_t i = 0; list && i < n; i++)
		if (sl_json_str(json_object_array_get_idx(input, i)).len == 0) {
			sl_sim_refuse_request(c, &sl_sim_openai, "each 'input' must be a text that is not empty.");
			return;
		}
	struct sim_ask ask = {.model = sl_json_get_str(doc, "model"), .digest = SIM_DIGEST};
	if (sl_str_cut(ask.model, '+', &head, &suffix))
		ask.model = head;
	ask.digest =
		sl_sim_digest(list ? sl_json_str(json_object_array_get_idx(input, 0)) : sl_json_str(input), ask.digest);
	struct sim_reply *r = sl_sim_reply_new(c, req, doc, suffix, &ask, NULL);
	if (!r)
		return;
	SL_BUF(b, 64u << 20);
	float *v = calloc((size_t)dimensions, sizeof(*v));
	bool base64 = sl_str_is(sl_json_get_str(doc, "encoding_format"), "base64");
	uint64_t bytes = 0;
	sl_buf_adds(&b, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; v && i < n; i++) {
		struct sl_str text = list ? sl_json_str(json_object_array_get_idx(input, i)) : sl_json_str(input);
		write_vector(text, i, (size_t)dimensions, base64, v, &b);
		bytes += text.len;
	}
	sl_buf_adds(&b, "],");
	sl_buf_json_kz(&b, "model", r->model);
	unsigned long long tokens = bytes / 4 + n;
	sl_buf_addf(&b, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}", tokens, tokens);
	r->body = v ? sl_buf_take(&b) : NULL;
	free(v);
	atomic_fetch_add(&c->sim->embeddings, 1);
	if (!r->body) /* no memory: an empty document is the client's to judge */
		r->body = strdup("");
	sl_sim_reply_go(c, r);
}
