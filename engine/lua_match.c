/* engine/lua_match.c: Lua's text patterns (reference manual, section 6.4.1) with a step budget.
 *
 * The library's own matcher runs in C, out of reach of the instruction count, and `(.-)*` like patterns keep it busy
 * for ages. This one first compiles a pattern to a flat list of items, so a malformed pattern is an error at once (the
 * library notices only when the match comes along there), and captures are numbered before matching. Matching
 * recurses only at a repeated item; the budget is shared by all matches of an evaluation. */
#include "engine/lua_priv.h"

#include <ctype.h>

#define MAX_CAPTURES 32
#define MAX_DEPTH    200 /* repeated items that wait for each other on the C stack */
#define INLINE_ITEMS 12

enum item_kind {
	ITEM_SET,
	ITEM_OPEN,
	ITEM_CLOSE,
	ITEM_POSITION,
	ITEM_BACK,
	ITEM_BALANCE,
	ITEM_FRONTIER,
	ITEM_END,
	ITEM_MATCHED
};

struct item {
	unsigned char kind;
	char repeat;        /* of a set: 0, '*', '+', '-' or '?' */
	unsigned char a, b; /* capture number; or the two characters of %b */
	uint64_t set[4];    /* of a set and a frontier: which bytes */
};

struct pattern {
	struct item *items;
	size_t n, cap;
	unsigned captures;
	bool anchored;
};

struct match {
	lua_State *L;
	struct sl_lua *sandbox;
	const struct pattern *pattern;
	const char *begin, *end;
	unsigned depth;
	struct {
		const char *p;
		size_t len;
		bool position;
	} captures[MAX_CAPTURES];
};

static void put(struct item *it, unsigned c)
{
	it->set[c >> 6 & 3] |= 1ull << (c & 63);
}

static bool has(const struct item *it, const char *p)
{
	unsigned c = (unsigned char)*p;
	return it->set[c >> 6] >> (c & 63) & 1;
}

static bool in_class(int letter, int c)
{
	switch (letter) {
	case 'a':
		return isalpha(c) != 0;
	case 'c':
		return iscntrl(c) != 0;
	case 'd':
		return isdigit(c) != 0;
	case 'g':
		return isgraph(c) != 0;
	case 'l':
		return islower(c) != 0;
	case 'p':
		return ispunct(c) != 0;
	case 's':
		return isspace(c) != 0;
	case 'u':
		return isupper(c) != 0;
	case 'w':
		return isalnum(c) != 0;
	case 'x':
		return isxdigit(c) != 0;
	default:
		return false;
	}
}

/* %x: a class when x is one of its letters (upper case: the complement), else the character itself. */
static void put_escaped(struct item *it, unsigned char x)
{
	if (!isalpha(x) || !strchr("acdglpsuwx", tolower(x))) {
		put(it, x);
		return;
	}
	for (int c = 0; c < 256; c++)
		if (in_class(tolower(x), c) != (isupper(x) != 0))
			put(it, (unsigned)c);
}

/* Reads [set]; p stands after the '['. Returns where it ends. */
static const char *read_set(lua_State *L, struct item *it, const char *p, const char *end)
{
	bool complement = p < end && *p == '^';
	if (complement)
		p++;
	bool first = true; /* a ] that comes first is an ordinary character */
	for (;; first = false) {
		if (p == end)
			luaL_error(L, "malformed pattern (missing ']')");
		unsigned char c = (unsigned char)*p++;
		if (c == ']' && !first)
			break;
		if (c == '%') {
			if (p == end)
				luaL_error(L, "malformed pattern (missing ']')");
			put_escaped(it, (unsigned char)*p++);
		} else if (end - p >= 2 && p[0] == '-' && p[1] != ']') {
			for (unsigned x = c; x <= (unsigned char)p[1]; x++)
				put(it, x);
			p += 2;
		} else {
			put(it, c);
		}
	}
	for (int i = 0; complement && i < 4; i++)
		it->set[i] = ~it->set[i];
	return p;
}

static struct item *add_item(struct pattern *out, enum item_kind kind)
{
	struct item *it = &out->items[out->n++];
	memset(it, 0, sizeof(*it));
	it->kind = (unsigned char)kind;
	return it;
}

/* items has room for one item a pattern byte, and one more. */
static void compile(lua_State *L, const char *p, size_t len, struct pattern *out, bool anchors)
{
	const char *end = p + len;
	unsigned char open[MAX_CAPTURES];
	bool closed[MAX_CAPTURES] = {false};
	unsigned n_open = 0;
	out->n = out->captures = 0;
	out->anchored = anchors && len && *p == '^';
	if (out->anchored)
		p++;
	while (p < end) {
		struct item *it;
		unsigned char c = (unsigned char)*p++;
		if (c == '(') {
			if (out->captures >= MAX_CAPTURES)
				luaL_error(L, "too many captures");
			if (p < end && *p == ')') {
				p++;
				closed[out->captures] = true;
				add_item(out, ITEM_POSITION)->a = (unsigned char)out->captures++;
				continue;
			}
			open[n_open++] = (unsigned char)out->captures;
			add_item(out, ITEM_OPEN)->a = (unsigned char)out->captures++;
			continue;
		}
		if (c == ')') {
			if (n_open == 0)
				luaL_error(L, "invalid pattern capture");
			unsigned char which = open[--n_open];
			closed[which] = true;
			add_item(out, ITEM_CLOSE)->a = which;
			continue;
		}
		if (c == '$' && p == end) {
			add_item(out, ITEM_END);
			continue;
		}
		if (c == '%') {
			if (p == end)
				luaL_error(L, "malformed pattern (ends with '%%')");
			c = (unsigned char)*p++;
			if (c == 'b') {
				if (end - p < 2)
					luaL_error(L, "malformed pattern (missing arguments to '%%b')");
				it = add_item(out, ITEM_BALANCE);
				it->a = (unsigned char)p[0];
				it->b = (unsigned char)p[1];
				p += 2;
				continue;
			}
			if (c == 'f') {
				if (p == end || *p != '[')
					luaL_error(L, "missing '[' after '%%f' in pattern");
				p = read_set(L, add_item(out, ITEM_FRONTIER), p + 1, end);
				continue;
			}
			if (isdigit(c)) {
				unsigned which = c - (unsigned)'1';
				if (c == '0' || which >= out->captures || !closed[which])
					luaL_error(L, "invalid capture index %%%c", c);
				add_item(out, ITEM_BACK)->a = (unsigned char)which;
				continue;
			}
			it = add_item(out, ITEM_SET);
			put_escaped(it, c);
		} else if (c == '[') {
			it = add_item(out, ITEM_SET);
			p = read_set(L, it, p, end);
		} else {
			it = add_item(out, ITEM_SET);
			if (c == '.')
				memset(it->set, 0xff, sizeof(it->set));
			else
				put(it, c);
		}
		if (p < end && strchr("*+-?", *p) && *p)
			it->repeat = *p++;
	}
	if (n_open)
		luaL_error(L, "unfinished capture");
	add_item(out, ITEM_MATCHED);
}

static void step(struct match *m, size_t n)
{
	m->sandbox->pattern_steps_left -= (int64_t)n;
	if (m->sandbox->pattern_steps_left < 0)
		sl_lua_break(m->L, SL_LUA_PATTERN);
}

static const char *run(struct match *m, size_t i, const char *s);

static const char *repeat(struct match *m, size_t i, const char *s)
{
	const struct item *it = &m->pattern->items[i];
	const char *e, *from = s;
	if (++m->depth > MAX_DEPTH)
		luaL_error(m->L, "pattern too complex");
	if (it->repeat == '-') {
		while (!(e = run(m, i + 1, s)) && s < m->end && has(it, s)) {
			step(m, 1);
			s++;
		}
	} else {
		const char *limit = it->repeat == '?' && m->end - s > 1 ? s + 1 : m->end;
		while (s < limit && has(it, s))
			s++;
		step(m, (size_t)(s - from) / 8 + 1);
		if (it->repeat == '+')
			from++; /* one is owed */
		e = NULL;
		for (; s >= from && !(e = run(m, i + 1, s)); s--)
			step(m, 1);
	}
	m->depth--;
	return e;
}

static const char *balance(struct match *m, const struct item *it, const char *s)
{
	unsigned open = 1;
	const char *from = s;
	if (s == m->end || (unsigned char)*s != it->a)
		return NULL;
	for (s++; s < m->end; s++) {
		if ((unsigned char)*s == it->b) {
			if (--open == 0)
				break;
		} else if ((unsigned char)*s == it->a) {
			open++;
		}
	}
	step(m, (size_t)(s - from) / 4 + 1);
	return s < m->end ? s + 1 : NULL;
}

/* Matches from item i at s. Returns the end of the match. Captures need no undoing: whoever reads one is behind the
 * items that set it, and every way there passes them. */
static const char *run(struct match *m, size_t i, const char *s)
{
	for (;; i++) {
		const struct item *it = &m->pattern->items[i];
		step(m, 1);
		switch ((enum item_kind)it->kind) {
		case ITEM_SET:
			if (it->repeat)
				return repeat(m, i, s);
			if (s == m->end || !has(it, s))
				return NULL;
			s++;
			break;
		case ITEM_OPEN:
			m->captures[it->a].p = s;
			break;
		case ITEM_CLOSE:
			m->captures[it->a].len = (size_t)(s - m->captures[it->a].p);
			m->captures[it->a].position = false;
			break;
		case ITEM_POSITION:
			m->captures[it->a].p = s;
			m->captures[it->a].position = true;
			break;
		case ITEM_BACK: {
			size_t len = m->captures[it->a].len;
			if (m->captures[it->a].position)
				return NULL; /* a position is no text, so nothing is equal to it */
			step(m, len / 8);
			if ((size_t)(m->end - s) < len || memcmp(s, m->captures[it->a].p, len) != 0)
				return NULL;
			s += len;
			break;
		}
		case ITEM_BALANCE:
			s = balance(m, it, s);
			if (!s)
				return NULL;
			break;
		case ITEM_FRONTIER:
			if (has(it, s > m->begin ? s - 1 : "") || !has(it, s < m->end ? s : ""))
				return NULL;
			break;
		case ITEM_END:
			if (s != m->end)
				return NULL;
			break;
		case ITEM_MATCHED:
			return s;
		}
	}
}

/* ---- what scripts call ---- */

/* Compiles the pattern at stack index `at`. Small ones need no memory; `room` is for them. */
static void prepare(lua_State *L, int at, struct pattern *out, struct item room[INLINE_ITEMS + 1], bool anchors)
{
	size_t len, bytes = 0;
	const char *p = luaL_checklstring(L, at, &len);
	out->items = room;
	if (len > INLINE_ITEMS || !room) {
		if (!sl_mul_size(len + 1, sizeof(struct item), &bytes))
			luaL_error(L, "pattern too long");
		out->items = lua_newuserdatauv(L, bytes, 0); /* stays on the stack: that keeps it */
	}
	sl_lua_charge(L, len * 4);
	compile(L, p, len, out, anchors);
}

static void push_capture(struct match *m, unsigned i)
{
	if (m->captures[i].position)
		lua_pushinteger(m->L, m->captures[i].p - m->begin + 1);
	else
		lua_pushlstring(m->L, m->captures[i].p, m->captures[i].len);
}

/* All captures; the whole match when there are none and `whole` is set. */
static int push_captures(struct match *m, const char *s, const char *e)
{
	luaL_checkstack(m->L, MAX_CAPTURES + 2, NULL);
	for (unsigned i = 0; i < m->pattern->captures; i++)
		push_capture(m, i);
	if (m->pattern->captures || !s)
		return (int)m->pattern->captures;
	lua_pushlstring(m->L, s, (size_t)(e - s));
	return 1;
}

static void start(struct match *m, lua_State *L, const struct pattern *p, const char *subject, size_t len)
{
	m->L = L;
	m->sandbox = sl_lua_of(L);
	m->pattern = p;
	m->begin = subject;
	m->end = subject + len;
	m->depth = 0;
}

static const char *search(struct match *m, const char **s)
{
	for (;;) {
		const char *e = run(m, 0, *s);
		m->depth = 0;
		if (e)
			return e;
		if (m->pattern->anchored || *s == m->end)
			return NULL;
		(*s)++;
	}
}

/* Where a search begins: Lua's `init`, counted from the end when negative. false: behind the end. */
static bool read_init(lua_State *L, int at, size_t len, size_t *out)
{
	lua_Integer i = luaL_optinteger(L, at, 1);
	if (i < 0)
		i = (lua_Unsigned) - (i + 1) >= len ? 1 : (lua_Integer)len + i + 1;
	if (i == 0)
		i = 1;
	*out = (size_t)i - 1;
	return (size_t)i - 1 <= len;
}

static int find(lua_State *L, bool positions)
{
	size_t len, plen, init;
	const char *subject = luaL_checklstring(L, 1, &len);
	const char *p = luaL_checklstring(L, 2, &plen);
	struct item room[INLINE_ITEMS + 1];
	struct pattern pattern;
	struct match m;
	if (!read_init(L, 3, len, &init)) {
		lua_pushnil(L);
		return 1;
	}
	if (positions && lua_toboolean(L, 4)) {
		const char *at = plen == 0 ? subject + init : memmem(subject + init, len - init, p, plen);
		sl_lua_charge_bytes(L, at ? (size_t)(at - subject) - init : len - init);
		if (!at) {
			lua_pushnil(L);
			return 1;
		}
		lua_pushinteger(L, at - subject + 1);
		lua_pushinteger(L, at - subject + (lua_Integer)plen);
		return 2;
	}
	prepare(L, 2, &pattern, room, true);
	start(&m, L, &pattern, subject, len);
	const char *s = subject + init, *e = search(&m, &s);
	if (!e) {
		lua_pushnil(L);
		return 1;
	}
	if (!positions)
		return push_captures(&m, s, e);
	lua_pushinteger(L, s - subject + 1);
	lua_pushinteger(L, e - subject);
	return 2 + push_captures(&m, NULL, NULL);
}

int sl_lua_find(lua_State *L)
{
	return find(L, true);
}

int sl_lua_match(lua_State *L)
{
	return find(L, false);
}

/* The iterator's state: upvalues subject, pattern text, compiled items (a userdata), this one. */
struct walk {
	struct pattern pattern;
	size_t at;
	const char *last_end; /* a match that ends there again would be the empty one behind it */
};

static int gmatch_next(lua_State *L)
{
	size_t len;
	const char *subject = lua_tolstring(L, lua_upvalueindex(1), &len);
	struct walk *w = lua_touserdata(L, lua_upvalueindex(4));
	struct match m;
	start(&m, L, &w->pattern, subject, len);
	for (const char *s = subject + w->at; w->at <= len; s++) {
		const char *e = search(&m, &s);
		if (!e)
			break;
		if (e == w->last_end) {
			w->at = (size_t)(s - subject) + 1;
			continue;
		}
		w->at = (size_t)(e - subject);
		w->last_end = e;
		return push_captures(&m, s, e);
	}
	w->at = len + 1;
	return 0;
}

int sl_lua_gmatch(lua_State *L)
{
	size_t len, init;
	(void)luaL_checklstring(L, 1, &len);
	(void)luaL_checklstring(L, 2, NULL);
	if (!read_init(L, 3, len, &init))
		init = len + 1;
	lua_settop(L, 2);
	struct pattern p;
	prepare(L, 2, &p, NULL, false); /* in gmatch ^ is an ordinary character */
	struct walk *w = lua_newuserdatauv(L, sizeof(*w), 0);
	w->pattern = p;
	w->at = init;
	w->last_end = NULL;
	lua_pushcclosure(L, gmatch_next, 4);
	return 1;
}

/* Pushes what replaces the match; false: nothing does. */
static bool replacement(struct match *m, const char *s, const char *e)
{
	lua_State *L = m->L;
	switch (lua_type(L, 3)) {
	case LUA_TFUNCTION:
		lua_pushvalue(L, 3);
		lua_call(L, push_captures(m, s, e), 1);
		break;
	case LUA_TTABLE:
		if (m->pattern->captures)
			push_capture(m, 0);
		else
			lua_pushlstring(L, s, (size_t)(e - s));
		lua_gettable(L, 3);
		break;
	default: {
		size_t len;
		const char *r = lua_tolstring(L, 3, &len), *end = r + len;
		luaL_Buffer b;
		luaL_buffinit(L, &b);
		while (r < end) {
			const char *plain = memchr(r, '%', (size_t)(end - r));
			luaL_addlstring(&b, r, (size_t)((plain ? plain : end) - r));
			if (!plain)
				break;
			r = plain + 2;
			char c = plain + 1 < end ? plain[1] : 0;
			if (c == '%') {
				luaL_addchar(&b, '%');
			} else if (c == '0' || (c == '1' && m->pattern->captures == 0)) {
				luaL_addlstring(&b, s, (size_t)(e - s));
			} else if (c >= '1' && c <= '9') {
				if ((unsigned)(c - '1') >= m->pattern->captures)
					luaL_error(L, "invalid capture index %%%c in replacement string", c);
				push_capture(m, (unsigned)(c - '1'));
				luaL_addvalue(&b);
			} else {
				luaL_error(L, "invalid use of '%%' in replacement string");
			}
		}
		luaL_pushresult(&b);
		return true;
	}
	}
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		return false;
	}
	if (!lua_isstring(L, -1))
		luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
	return true;
}

int sl_lua_gsub(lua_State *L)
{
	size_t len;
	const char *subject = luaL_checklstring(L, 1, &len);
	(void)luaL_checklstring(L, 2, NULL);
	int type = lua_type(L, 3);
	luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TTABLE || type == LUA_TFUNCTION,
			 3, "string/function/table");
	lua_Integer max = luaL_optinteger(L, 4, len < INT64_MAX ? (lua_Integer)len + 1 : INT64_MAX), n = 0;
	lua_settop(L, 4);
	if (type == LUA_TNUMBER)
		lua_tostring(L, 3);
	struct item room[INLINE_ITEMS + 1];
	struct pattern pattern;
	struct match m;
	prepare(L, 2, &pattern, room, true);
	start(&m, L, &pattern, subject, len);
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	const char *s = subject, *last_end = NULL;
	while (n < max) {
		m.depth = 0;
		const char *e = run(&m, 0, s);
		if (e && e != last_end) {
			n++;
			if (replacement(&m, s, e))
				luaL_addvalue(&b);
			else
				luaL_addlstring(&b, s, (size_t)(e - s));
			s = last_end = e;
		} else if (s < m.end) {
			luaL_addchar(&b, *s++);
		} else {
			break;
		}
		if (pattern.anchored)
			break;
	}
	luaL_addlstring(&b, s, (size_t)(m.end - s));
	luaL_pushresult(&b);
	lua_pushinteger(L, n);
	return 2;
}
