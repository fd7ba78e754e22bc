/* llm/claims.c: see claims.h. Each sentence is walked once; at every place where a word, a figure or a sign begins, the
 * few patterns that can begin there are tried. */
#include "llm/claims.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"

static const char *const names[SL_CLAIM_KINDS] = {
	[SL_CLAIM_MONEY] = "money",       [SL_CLAIM_PERCENTAGE] = "percentage",
	[SL_CLAIM_CITATION] = "citation", [SL_CLAIM_ATTRIBUTION] = "attribution",
	[SL_CLAIM_YEAR] = "year",         [SL_CLAIM_STATEMENT] = "statement",
};

const char *sl_claim_kind_name(enum sl_claim_kind kind)
{
	return names[kind];
}

bool sl_claim_kind_parse(struct sl_str name, enum sl_claim_kind *out)
{
	for (int i = 0; i < SL_CLAIM_KINDS; i++)
		if (sl_str_is(name, names[i])) {
			*out = (enum sl_claim_kind)i;
			return true;
		}
	return false;
}

/* ---- characters ---- */

static bool is_digit(struct sl_str s, size_t i)
{
	return i < s.len && s.p[i] >= '0' && s.p[i] <= '9';
}

static bool is_letter(struct sl_str s, size_t i) /* also an accented, Greek or Cyrillic one */
{
	unsigned char c = i < s.len ? (unsigned char)s.p[i] : 0;
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= 0xc3 && c < 0xe0);
}

static bool is_ascii_letter(struct sl_str s, size_t i)
{
	unsigned char c = i < s.len ? (unsigned char)s.p[i] : 0;
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_blank(struct sl_str s, size_t i)
{
	return i < s.len && (s.p[i] == ' ' || s.p[i] == '\t');
}

static bool here(struct sl_str s, size_t i, const char *z)
{
	size_t n = strlen(z);
	return i + n <= s.len && strncasecmp(s.p + i, z, n) == 0;
}

/* One of the words stands at i, as a word of its own where it ends in a letter of ASCII. Its length; 0: none. */
static size_t word_of(struct sl_str s, size_t i, const char *const *words)
{
	for (; *words; words++) {
		size_t n = strlen(*words);
		if (here(s, i, *words) && !(is_ascii_letter(sl_str(*words), n - 1) && is_ascii_letter(s, i + n)))
			return n;
	}
	return 0;
}

/* Blanks, or a no-break space, between a figure and its unit. */
static size_t gap(struct sl_str s, size_t i)
{
	size_t n = 0;
	for (;; n++) {
		if (here(s, i + n, "\xc2\xa0"))
			n++;
		else if (here(s, i + n, "\xe2\x80\xaf"))
			n += 2;
		else if (!is_blank(s, i + n) && !(i + n < s.len && s.p[i + n] == '\n'))
			return n;
		if (n > 4)
			return n;
	}
}

/* Digits with separators between them: "1,234.5". Its length; 0: none. */
static size_t figure(struct sl_str s, size_t i)
{
	size_t n = 0;
	while (is_digit(s, i + n) ||
	       (n && i + n < s.len && (s.p[i + n] == ',' || s.p[i + n] == '.') && is_digit(s, i + n + 1)))
		n++;
	return n;
}

/* "4.2 million", with what comes after the figure. */
static size_t scaled(struct sl_str s, size_t i)
{
	static const char *const scales[] = {"thousand", "million", "billion", "trillion", "mn", "bn", "tn",
					     "m",        "k",       "万",      "亿",       "萬", "億", NULL};
	size_t n = figure(s, i), space, word;
	if (!n)
		return 0;
	space = gap(s, i + n);
	word = word_of(s, i + n + space, scales);
	return word ? n + space + word : n;
}

/* ---- marks. Each: the length of one that begins at i; 0: none ---- */

static size_t money(struct sl_str s, size_t i)
{
	static const char *const before[] = {"$",   "€",   "£",   "¥",   "￥",  "₹",   "US$", "USD",
					     "EUR", "GBP", "JPY", "CNY", "RMB", "CHF", NULL};
	static const char *const after[] = {"dollars", "dollar", "euros", "euro", "pounds", "yen",  "yuan",
					    "rupees",  "cents",  "usd",   "eur",  "gbp",    "jpy",  "cny",
					    "chf",     "€",      "$",     "£",    "元",     "美元", "欧元",
					    "日元",    "人民币", "円",    "块",   NULL};
	size_t sign = word_of(s, i, before), space, n;
	if (sign) {
		space = gap(s, i + sign);
		n = scaled(s, i + sign + space);
		return n ? sign + space + n : 0;
	}
	if (!(n = scaled(s, i)))
		return 0;
	space = gap(s, i + n);
	sign = word_of(s, i + n + space, after);
	return sign ? n + space + sign : 0;
}

static size_t percentage(struct sl_str s, size_t i)
{
	static const char *const after[] = {"%", "％", "percent", "per cent", "percentage points", "pct", NULL};
	static const char *const chinese[] = {"百分之", "百分點", NULL};
	size_t n = word_of(s, i, chinese), space, sign;
	if (n)
		return n;
	if (!(n = figure(s, i)))
		return 0;
	space = gap(s, i + n);
	sign = word_of(s, i + n + space, after);
	return sign ? n + space + sign : 0;
}

static size_t year(struct sl_str s, size_t i)
{
	size_t n = figure(s, i);
	if (n != 4 || !is_digit(s, i + 1) || !is_digit(s, i + 2))
		return 0;
	int y = (s.p[i] - '0') * 1000 + (s.p[i + 1] - '0') * 100 + (s.p[i + 2] - '0') * 10 + (s.p[i + 3] - '0');
	if (y < 1500 || y > 2099)
		return 0;
	if (here(s, i + 4, "年"))
		return 4 + strlen("年");
	return here(s, i + 4, "s") && !is_ascii_letter(s, i + 5) ? 5 : !is_letter(s, i + 4) ? 4 : 0;
}

/* "[12]", "[3, 7]", "[3-5]" */
static size_t bracket(struct sl_str s, size_t i)
{
	size_t n = 1;
	if (!here(s, i, "[") || !is_digit(s, i + 1))
		return 0;
	while (is_digit(s, i + n) || here(s, i + n, ",") || here(s, i + n, " ") || here(s, i + n, "-"))
		n++;
	return n <= 16 && here(s, i + n, "]") && !here(s, i + n + 1, "(") ? n + 1 : 0;
}

/* "(Smith, 2021)", "(Smith et al. 2021, p. 4)" */
static size_t author(struct sl_str s, size_t i)
{
	if (!here(s, i, "(") || i + 1 >= s.len || s.p[i + 1] < 'A' || s.p[i + 1] > 'Z')
		return 0;
	for (size_t n = 2; n < 120 && i + n < s.len && s.p[i + n] != '('; n++) {
		if (s.p[i + n] != ')')
			continue;
		for (size_t k = 2; k + 4 <= n; k++)
			if (year(s, i + k) && !is_digit(s, i + k - 1))
				return n + 1;
		return 0;
	}
	return 0;
}

static size_t citation(struct sl_str s, size_t i)
{
	static const char *const marks[] = {
		"et al.", "doi:", "doi.org/", "arxiv:", "isbn", "https://", "http://", NULL};
	size_t n = bracket(s, i);
	if (!n)
		n = author(s, i);
	return n ? n : word_of(s, i, marks);
}

static size_t attribution(struct sl_str s, size_t i)
{
	static const char *const phrases[] = {"according to",
					      "as reported by",
					      "reports that",
					      "reported that",
					      "a report by",
					      "a report from",
					      "a study by",
					      "a study from",
					      "a study in",
					      "a survey of",
					      "a survey by",
					      "studies show",
					      "studies have shown",
					      "study found",
					      "study finds",
					      "study shows",
					      "study showed",
					      "research shows",
					      "research has shown",
					      "research suggests",
					      "research indicates",
					      "researchers found",
					      "researchers at",
					      "scientists say",
					      "experts say",
					      "statistics show",
					      "data shows",
					      "data show",
					      "survey found",
					      "survey shows",
					      "published in",
					      "report found",
					      "report says",
					      "laut einer studie",
					      "selon une étude",
					      "据报道",
					      "据统计",
					      "研究表明",
					      "研究显示",
					      "根据",
					      "數據顯示",
					      "数据显示",
					      "调查显示",
					      "报告指出",
					      NULL};
	return word_of(s, i, phrases);
}

/* ---- sentences ---- */

static bool better(enum sl_claim_kind kind, size_t n, struct sl_claim *c)
{
	return n && (!c->mark.len || kind < c->kind);
}

/* The strongest mark of a sentence. */
static bool mark_of(struct sl_str s, struct sl_claim *c)
{
	static const struct {
		enum sl_claim_kind kind;
		size_t (*fn)(struct sl_str s, size_t i);
	} rules[] = {{SL_CLAIM_MONEY, money},
		     {SL_CLAIM_PERCENTAGE, percentage},
		     {SL_CLAIM_CITATION, citation},
		     {SL_CLAIM_ATTRIBUTION, attribution},
		     {SL_CLAIM_YEAR, year}};
	*c = (struct sl_claim){.text = s};
	for (size_t i = 0; i < s.len && !(c->mark.len && c->kind == SL_CLAIM_MONEY); i++) {
		bool inside =
			i &&
			((is_ascii_letter(s, i) && is_ascii_letter(s, i - 1)) ||
			 (is_digit(s, i) && (is_digit(s, i - 1) || is_ascii_letter(s, i - 1))) ||
			 (is_digit(s, i) && i > 1 && (s.p[i - 1] == '.' || s.p[i - 1] == ',') && is_digit(s, i - 2)) ||
			 ((unsigned char)s.p[i] & 0xc0) == 0x80);
		if (inside)
			continue;
		for (size_t k = 0; k < SL_COUNT_OF(rules); k++) {
			size_t n = rules[k].fn(s, i);
			if (!better(rules[k].kind, n, c))
				continue;
			c->kind = rules[k].kind;
			c->mark = sl_str_n(s.p + i, n);
			break;
		}
	}
	return c->mark.len > 0;
}

/* Does a sentence end behind the byte at i? Sets how many bytes its sign has. */
static bool ends(struct sl_str s, size_t i, size_t *sign)
{
	static const char *const full[] = {"。", "！", "？", NULL};
	*sign = 1;
	if (s.p[i] == '\n') /* one line break may stand in the middle of a paragraph */
		return i + 1 >= s.len || s.p[i + 1] == '\n' || strchr("-*#>|", s.p[i + 1]) || is_digit(s, i + 1);
	for (const char *const *f = full; *f; f++)
		if (here(s, i, *f)) {
			*sign = strlen(*f);
			return true;
		}
	if (s.p[i] == '!' || s.p[i] == '?')
		return true;
	if (s.p[i] != '.' || !(i + 1 >= s.len || strchr(" \t\n\r\")", s.p[i + 1])))
		return false;
	/* "et al. 2021", "e.g. 5 %", "Dr. Smith", "U.S. data" */
	static const char *const no_end[] = {"al",     "e.g", "i.e", "dr",  "mr", "mrs", "ms", "prof", "vs",
					     "approx", "ca",  "no",  "fig", "st", "inc", "p",  "pp",   NULL};
	size_t from = i;
	while (from && (is_ascii_letter(s, from - 1) || s.p[from - 1] == '.'))
		from--;
	if (i - from == 1 && s.p[from] >= 'A' && s.p[from] <= 'Z')
		return false;
	if (i - from >= 3 && s.p[i - 2] == '.' && s.p[i - 1] >= 'A' && s.p[i - 1] <= 'Z')
		return false;
	for (const char *const *w = no_end; *w; w++)
		if (i - from == strlen(*w) && here(s, from, *w))
			return false;
	return true;
}

/* Marks of lists and headings are not part of what is said. */
static struct sl_str bare(struct sl_str s)
{
	s = sl_str_trim(s);
	while (s.len && strchr("-*#>|", s.p[0]))
		s = sl_str_trim(sl_str_n(s.p + 1, s.len - 1));
	size_t n = 0;
	while (is_digit(s, n))
		n++;
	if (n && n < 4 && (here(s, n, ". ") || here(s, n, ") ")))
		s = sl_str_trim(sl_str_n(s.p + n + 1, s.len - n - 1));
	return s;
}

size_t sl_claims_find(struct sl_str text, struct sl_claim *out, size_t most)
{
	size_t n = 0, from = 0, sign = 1;
	bool code = false;
	text.len = sl_utf8_cut(text.p, text.len, SL_CLAIMS_TEXT_BYTES);
	if (most > SL_CLAIMS)
		most = SL_CLAIMS;
	for (size_t i = 0; i <= text.len && n < most; i++) {
		bool fence = (i == 0 || (i < text.len && text.p[i - 1] == '\n')) && here(text, i, "```");
		if (i < text.len && !fence && (code || !ends(text, i, &sign)))
			continue;
		struct sl_str s = bare(sl_str_n(text.p + from, i - from));
		bool question = i < text.len && !fence && (text.p[i] == '?' || here(text, i, "？"));
		if (i < text.len && !fence && text.p[i] != '\n' && s.len)
			s.len = (size_t)(text.p + i + sign - s.p);
		if (!code && !question && s.len) {
			if (s.len > SL_CLAIM_BYTES)
				s.len = sl_utf8_cut(s.p, s.len, SL_CLAIM_BYTES);
			n += mark_of(s, &out[n]);
		}
		if (fence) {
			code = !code;
			i += 2;
		} else if (i < text.len) {
			i += sign - 1;
		}
		from = i + 1;
	}
	return n;
}

struct json_object *sl_claims_json(struct sl_str text)
{
	struct sl_claim *all = malloc(SL_CLAIMS * sizeof(*all));
	struct json_object *list = json_object_new_array();
	if (!all || !list) {
		free(all);
		json_object_put(list);
		return NULL;
	}
	size_t n = sl_claims_find(text, all, SL_CLAIMS);
	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();
		if (!o)
			break;
		sl_json_set_str(o, "text", all[i].text);
		sl_json_set_str(o, "kind", sl_str(sl_claim_kind_name(all[i].kind)));
		sl_json_set_str(o, "mark", all[i].mark);
		sl_json_set_i64(o, "at", all[i].text.p - text.p);
		sl_json_append(list, o);
	}
	free(all);
	return list;
}
