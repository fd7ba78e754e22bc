/* engine/lua_lib.c: the functions a script may call.
 *
 * Taken from Lua's library only what neither runs long nor tells anything about the process; the rest is written here:
 * what walks tables (in sorted order, see lua_json.c), what could spin inside of one call ((""):rep(1e15) does), what
 * prints addresses. A library is an empty table whose metatable finds the functions and refuses assignments, so a state
 * that serves the next evaluation has nothing of the last one in it. Scripts have no getmetatable, setmetatable or
 * rawset. */
#include "engine/lua_priv.h"

#include <lualib.h>
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"

/* ---- tables ---- */

static const char *type_name(lua_State *L, int at)
{
	return lua_type(L, at) == LUA_TUSERDATA ? "null" : luaL_typename(L, at);
}

static void check_table(lua_State *L, int at)
{
	luaL_checktype(L, at, LUA_TTABLE);
	if (!lua_getmetatable(L, at))
		return;
	lua_pushliteral(L, "__newindex");
	if (lua_rawget(L, -2) != LUA_TNIL)
		luaL_argerror(L, at, "a library is no list");
	lua_pop(L, 2);
}

static lua_Integer length(lua_State *L, int at)
{
	check_table(L, at);
	return (lua_Integer)lua_rawlen(L, at);
}

static int table_insert(lua_State *L)
{
	lua_Integer n = length(L, 1), at = n + 1;
	switch (lua_gettop(L)) {
	case 2:
		break;
	case 3:
		at = luaL_checkinteger(L, 2);
		luaL_argcheck(L, at >= 1 && at <= n + 1, 2, "position out of bounds");
		sl_lua_charge(L, (size_t)(n - at) + 2);
		for (lua_Integer i = n; i >= at; i--) {
			lua_rawgeti(L, 1, i);
			lua_rawseti(L, 1, i + 1);
		}
		break;
	default:
		return luaL_error(L, "wrong number of arguments to 'insert'");
	}
	lua_rawseti(L, 1, at);
	return 0;
}

static int table_remove(lua_State *L)
{
	lua_Integer n = length(L, 1), at = luaL_optinteger(L, 2, n);
	if (!lua_isnoneornil(L, 2))
		luaL_argcheck(L, (at >= 1 && at <= n + 1) || (n == 0 && at == 0), 2, "position out of bounds");
	lua_rawgeti(L, 1, at);
	if (at >= 1 && at <= n) {
		sl_lua_charge(L, (size_t)(n - at) + 1);
		for (lua_Integer i = at; i < n; i++) {
			lua_rawgeti(L, 1, i + 1);
			lua_rawseti(L, 1, i);
		}
		lua_pushnil(L);
		lua_rawseti(L, 1, n);
	}
	return 1;
}

static int join(lua_State *L, bool any_type)
{
	size_t sep_len, charged = 0;
	lua_Integer n = length(L, 1);
	const char *sep = luaL_optlstring(L, 2, "", &sep_len);
	lua_Integer from = any_type ? 1 : luaL_optinteger(L, 3, 1), to = any_type ? n : luaL_optinteger(L, 4, n);
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	for (lua_Integer i = from; i <= to; i++) {
		lua_rawgeti(L, 1, i);
		if (any_type && sl_lua_is_null(L, -1)) {
			lua_pop(L, 1);
			lua_pushliteral(L, "");
		} else if (any_type && lua_isboolean(L, -1)) {
			int v = lua_toboolean(L, -1);
			lua_pop(L, 1);
			lua_pushstring(L, v ? "true" : "false");
		} else if (!lua_isstring(L, -1)) {
			return luaL_error(L, "item %I of the list is a %s, not a text", (LUAI_UACINT)i,
					  type_name(L, -1));
		}
		luaL_addvalue(&b);
		if (i < to)
			luaL_addlstring(&b, sep, sep_len);
		if (++charged >= 64) {
			sl_lua_charge(L, charged * 2);
			charged = 0;
		}
		if (i == LUA_MAXINTEGER)
			break;
	}
	luaL_pushresult(&b);
	return 1;
}

static int table_concat(lua_State *L)
{
	return join(L, false);
}

static int table_pack(lua_State *L)
{
	int n = lua_gettop(L);
	lua_createtable(L, n, 1);
	lua_insert(L, 1);
	for (int i = n; i >= 1; i--)
		lua_rawseti(L, 1, i);
	lua_pushinteger(L, n);
	lua_setfield(L, 1, "n");
	return 1;
}

static int table_unpack(lua_State *L)
{
	lua_Integer from = luaL_optinteger(L, 2, 1), to = luaL_optinteger(L, 3, length(L, 1));
	if (from > to)
		return 0;
	lua_Unsigned n = (lua_Unsigned)to - (lua_Unsigned)from;
	if (n >= 100000 || !lua_checkstack(L, (int)++n))
		return luaL_error(L, "too many results to unpack");
	sl_lua_charge(L, n);
	for (lua_Unsigned i = 0; i < n; i++)
		lua_rawgeti(L, 1, (lua_Integer)((lua_Unsigned)from + i));
	return (int)n;
}

static int table_move(lua_State *L)
{
	lua_Integer from = luaL_checkinteger(L, 2), to = luaL_checkinteger(L, 3), at = luaL_checkinteger(L, 4);
	int target = lua_isnoneornil(L, 5) ? 1 : 5;
	check_table(L, 1);
	check_table(L, target);
	if (to >= from) {
		luaL_argcheck(L, from > 0 || to < LUA_MAXINTEGER + from, 3, "too many elements to move");
		lua_Integer n = to - from + 1;
		luaL_argcheck(L, at <= LUA_MAXINTEGER - n + 1, 4, "destination wrap around");
		bool down = at <= from || at > to || target != 1;
		for (lua_Integer i = 0; i < n; i++) {
			lua_Integer k = down ? i : n - 1 - i;
			if ((i & 63) == 0)
				sl_lua_charge(L, 128);
			lua_rawgeti(L, 1, from + k);
			lua_rawseti(L, target, at + k);
		}
	}
	lua_pushvalue(L, target);
	return 1;
}

/* A stable merge sort of copies. A comparison that contradicts itself gives some order, never an access out of bounds.
 * Values in table `a`, an empty table `b`, both absolute indexes; returns the one that holds the result. `by`: a
 * function (x, y) -> x before y, the name of a member, or nil. */
static bool before(lua_State *L, int by)
{
	switch (lua_type(L, by)) {
	case LUA_TFUNCTION: {
		lua_pushvalue(L, by);
		lua_pushvalue(L, -3);
		lua_pushvalue(L, -3);
		lua_call(L, 2, 1);
		bool yes = sl_lua_truth(L, -1);
		lua_pop(L, 1);
		return yes;
	}
	case LUA_TSTRING:
		for (int i = 0; i < 2; i++) {
			if (!lua_istable(L, -2))
				luaL_error(L, "to sort by '%s', every item must be a table; one is a %s",
					   lua_tostring(L, by), type_name(L, -2));
			lua_pushvalue(L, by);
			lua_rawget(L, -3);
		} /* the two items, then their members */
		break;
	default:
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		break;
	}
	bool yes = lua_compare(L, -2, -1, LUA_OPLT);
	lua_pop(L, 2);
	return yes;
}

static int merge_sort(lua_State *L, int a, int b, int by, lua_Integer n)
{
	luaL_checkstack(L, 8, NULL);
	for (lua_Integer width = 1; width < n; width *= 2) {
		for (lua_Integer lo = 1; lo <= n; lo += 2 * width) {
			lua_Integer i = lo, mid = lo + width <= n + 1 ? lo + width : n + 1;
			lua_Integer j = mid, hi = mid + width <= n + 1 ? mid + width : n + 1;
			for (lua_Integer k = lo; k < hi; k++) {
				bool right = i >= mid;
				if (i < mid && j < hi) {
					lua_rawgeti(L, a, j);
					lua_rawgeti(L, a, i);
					right = before(L, by);
					lua_pop(L, 2);
				}
				sl_lua_charge(L, 4);
				lua_rawgeti(L, a, right ? j++ : i++);
				lua_rawseti(L, b, k);
			}
		}
		int t = a;
		a = b, b = t;
	}
	return a;
}

static int sorted_copy(lua_State *L, int from, int by, lua_Integer n)
{
	lua_createtable(L, n > INT32_MAX ? 0 : (int)n, 0);
	int a = lua_gettop(L);
	for (lua_Integer i = 1; i <= n; i++) {
		sl_lua_charge(L, 1);
		lua_rawgeti(L, from, i);
		lua_rawseti(L, a, i);
	}
	lua_createtable(L, n > INT32_MAX ? 0 : (int)n, 0);
	return merge_sort(L, a, a + 1, by, n);
}

static int table_sort(lua_State *L)
{
	lua_Integer n = length(L, 1);
	if (!lua_isnoneornil(L, 2))
		luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	int result = sorted_copy(L, 1, 2, n);
	for (lua_Integer i = 1; i <= n; i++) {
		sl_lua_charge(L, 1);
		lua_rawgeti(L, result, i);
		lua_rawseti(L, 1, i);
	}
	return 0;
}

/* ---- lists ---- */

static int list_map(lua_State *L)
{
	lua_Integer n = length(L, 1);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	lua_createtable(L, n > INT32_MAX ? 0 : (int)n, 0);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_pushvalue(L, 2);
		lua_rawgeti(L, 1, i);
		lua_pushinteger(L, i);
		lua_call(L, 2, 1);
		if (lua_isnil(L, -1)) { /* keeps the place */
			lua_pop(L, 1);
			sl_lua_push_null(L);
		}
		lua_rawseti(L, 3, i);
	}
	sl_lua_mark_array(L, 3);
	return 1;
}

static int list_filter(lua_State *L)
{
	lua_Integer n = length(L, 1), kept = 0;
	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	lua_newtable(L);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, 1, i);
		lua_pushvalue(L, 2);
		lua_pushvalue(L, -2);
		lua_pushinteger(L, i);
		lua_call(L, 2, 1);
		bool yes = sl_lua_truth(L, -1);
		lua_pop(L, 1);
		if (yes)
			lua_rawseti(L, 3, ++kept);
		else
			lua_pop(L, 1);
	}
	sl_lua_mark_array(L, 3);
	return 1;
}

static int list_sort(lua_State *L)
{
	lua_Integer n = length(L, 1);
	int type = lua_type(L, 2);
	luaL_argexpected(L, type == LUA_TNONE || type == LUA_TNIL || type == LUA_TFUNCTION || type == LUA_TSTRING, 2,
			 "function or the name of a member");
	lua_settop(L, 2);
	lua_pushvalue(L, sorted_copy(L, 1, 2, n));
	sl_lua_mark_array(L, -1);
	return 1;
}

static size_t characters(const char *p, size_t len)
{
	size_t n = 0;
	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)p[i] & 0xc0) != 0x80;
	return n;
}

static int list_len(lua_State *L)
{
	lua_Integer n = 0;
	if (lua_type(L, 1) == LUA_TSTRING) {
		size_t len;
		const char *p = lua_tolstring(L, 1, &len);
		sl_lua_charge_bytes(L, len);
		n = (lua_Integer)characters(p, len);
	} else if (!sl_lua_is_null(L, 1)) {
		n = length(L, 1);
		if (n == 0) {
			for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
				n++;
			sl_lua_charge(L, (size_t)n);
		}
	}
	lua_pushinteger(L, n);
	return 1;
}

static int list_sum(lua_State *L)
{
	lua_Integer n = length(L, 1);
	lua_pushinteger(L, 0);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, 1, i);
		if (lua_type(L, -1) != LUA_TNUMBER)
			return luaL_error(L, "item %I of the list is a %s, not a number", (LUAI_UACINT)i,
					  type_name(L, -1));
		lua_arith(L, LUA_OPADD);
		sl_lua_charge(L, 1);
	}
	return 1;
}

static int list_contains(lua_State *L)
{
	lua_Integer n = length(L, 1);
	luaL_checkany(L, 2);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, 1, i);
		sl_lua_charge_bytes(L, lua_type(L, -1) == LUA_TSTRING ? lua_rawlen(L, -1) : 16);
		if (lua_rawequal(L, -1, 2)) {
			lua_pushboolean(L, 1);
			return 1;
		}
		lua_pop(L, 1);
	}
	lua_pushboolean(L, 0);
	return 1;
}

static int list_keys(lua_State *L)
{
	struct sl_lua_key *keys;
	check_table(L, 1);
	size_t n = sl_lua_keys(L, 1, &keys);
	lua_createtable(L, n > INT32_MAX ? 0 : (int)n, 0);
	for (size_t i = 0; i < n; i++) {
		sl_lua_push_key(L, &keys[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	sl_lua_mark_array(L, -1);
	return 1;
}

static int json_array(lua_State *L)
{
	if (lua_isnoneornil(L, 1)) {
		lua_settop(L, 0);
		lua_newtable(L);
	}
	check_table(L, 1);
	lua_settop(L, 1);
	sl_lua_mark_array(L, 1);
	return 1;
}

/* ---- texts ---- */

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct sl_str check_str(lua_State *L, int at)
{
	struct sl_str s;
	s.p = luaL_checklstring(L, at, &s.len);
	sl_lua_charge_bytes(L, s.len);
	return s;
}

static void add_item(lua_State *L, lua_Integer *n, const char *p, size_t len)
{
	sl_lua_charge(L, 2);
	lua_pushlstring(L, p, len);
	lua_rawseti(L, -2, ++*n);
}

static int text_trim(lua_State *L)
{
	struct sl_str s = check_str(L, 1);
	while (s.len && is_space(s.p[0]))
		s.p++, s.len--;
	while (s.len && is_space(s.p[s.len - 1]))
		s.len--;
	lua_pushlstring(L, s.p, s.len);
	return 1;
}

/* text.split(s, separator): a plain text, not a pattern; without one, at runs of spaces. */
static int text_split(lua_State *L)
{
	struct sl_str s = check_str(L, 1), sep = {NULL, 0};
	lua_Integer n = 0;
	if (!lua_isnoneornil(L, 2)) {
		sep = check_str(L, 2);
		luaL_argcheck(L, sep.len > 0, 2, "the separator is empty");
	}
	lua_newtable(L);
	sl_lua_mark_array(L, -1);
	const char *p = s.p, *end = s.p + s.len;
	if (!sep.p) {
		while (p < end) {
			const char *from;
			while (p < end && is_space(*p))
				p++;
			for (from = p; p < end && !is_space(*p);)
				p++;
			if (p > from)
				add_item(L, &n, from, (size_t)(p - from));
		}
		return 1;
	}
	for (;;) {
		const char *at = memmem(p, (size_t)(end - p), sep.p, sep.len);
		add_item(L, &n, p, (size_t)((at ? at : end) - p));
		if (!at)
			return 1;
		p = at + sep.len;
	}
}

static int text_join(lua_State *L)
{
	return join(L, true);
}

static int text_lines(lua_State *L)
{
	struct sl_str s = check_str(L, 1);
	lua_Integer n = 0;
	lua_newtable(L);
	sl_lua_mark_array(L, -1);
	for (const char *p = s.p, *end = s.p + s.len; p < end;) {
		const char *at = memchr(p, '\n', (size_t)(end - p));
		const char *stop = at ? at : end;
		add_item(L, &n, p, (size_t)(stop - p) - (stop > p && stop[-1] == '\r'));
		p = stop + 1;
	}
	return 1;
}

/* text.truncate(s, n, ending): at most n characters, `ending` among them when something was cut. */
static int text_truncate(lua_State *L)
{
	struct sl_str s = check_str(L, 1);
	lua_Integer max = luaL_checkinteger(L, 2);
	struct sl_str ending = lua_isnoneornil(L, 3) ? SL_STR("") : check_str(L, 3);
	if (max < 0)
		max = 0;
	if (characters(s.p, s.len) <= (lua_Unsigned)max) {
		lua_settop(L, 1);
		return 1;
	}
	lua_Unsigned own = characters(ending.p, ending.len),
		     keep = own > (lua_Unsigned)max ? 0 : (lua_Unsigned)max - own;
	size_t i = 0;
	for (lua_Unsigned n = 0; i < s.len; i++)
		if (((unsigned char)s.p[i] & 0xc0) != 0x80 && n++ == keep)
			break;
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	luaL_addlstring(&b, s.p, i);
	if (own <= (lua_Unsigned)max)
		luaL_addlstring(&b, ending.p, ending.len);
	luaL_pushresult(&b);
	return 1;
}

static int text_len(lua_State *L)
{
	struct sl_str s = check_str(L, 1);
	lua_pushinteger(L, (lua_Integer)characters(s.p, s.len));
	return 1;
}

static int text_contains(lua_State *L)
{
	struct sl_str s = check_str(L, 1), part = check_str(L, 2);
	lua_pushboolean(L, part.len == 0 || memmem(s.p, s.len, part.p, part.len) != NULL);
	return 1;
}

/* ---- string ---- */

static int string_rep(lua_State *L)
{
	size_t len, sep_len, total;
	const char *s = luaL_checklstring(L, 1, &len);
	lua_Integer n = luaL_checkinteger(L, 2);
	const char *sep = luaL_optlstring(L, 3, "", &sep_len);
	if (n <= 0 || len + sep_len == 0) {
		lua_pushliteral(L, "");
		return 1;
	}
	if (!sl_mul_size(len + sep_len, (size_t)n, &total) || total - sep_len > SL_LIMIT_LUA_MEMORY_BYTES)
		return luaL_error(L, "resulting string too large");
	total -= sep_len;
	sl_lua_charge_bytes(L, total + (size_t)n * 8);
	luaL_Buffer b;
	char *p = luaL_buffinitsize(L, &b, total);
	for (lua_Integer i = 0; i < n; i++) {
		memcpy(p, s, len);
		p += len;
		if (i + 1 < n) {
			memcpy(p, sep, sep_len);
			p += sep_len;
		}
	}
	luaL_pushresultsize(&b, total);
	return 1;
}

/* Pushes a text for the value at `at`: like Lua's tostring, but without addresses. */
static const char *push_text(lua_State *L, int at, size_t *len)
{
	switch (lua_type(L, at)) {
	case LUA_TTABLE:
	case LUA_TFUNCTION:
		lua_pushstring(L, type_name(L, at));
		return lua_tolstring(L, -1, len);
	default:
		return luaL_tolstring(L, at, len); /* json.null says "null" through its metatable */
	}
}

/* Upvalue: Lua's own string.format. Here only what it may not see: %p, and tables and functions for %s. */
static int string_format(lua_State *L)
{
	size_t len;
	const char *f = luaL_checklstring(L, 1, &len), *end = f + len;
	int arg = 1, top = lua_gettop(L);
	while ((f = memchr(f, '%', (size_t)(end - f)))) {
		f++;
		if (f < end && *f == '%') {
			f++;
			continue;
		}
		while (f < end && (*f == '.' || strchr("-+ #0123456789", *f)) && *f)
			f++;
		if (f == end)
			break;
		if (*f == 'p')
			return luaL_error(L, "invalid conversion '%%p' to 'format'");
		if (++arg <= top && *f == 's' && lua_type(L, arg) != LUA_TSTRING) {
			(void)push_text(L, arg, NULL);
			lua_replace(L, arg);
		}
		f++;
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	sl_lua_charge_bytes(L, len);
	lua_call(L, top, 1);
	return 1;
}

/* Upvalue: a library function that reads the whole text in its first argument. */
static int charged(lua_State *L)
{
	if (lua_type(L, 1) == LUA_TSTRING)
		sl_lua_charge_bytes(L, lua_rawlen(L, 1) * 4);
	return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int no_such_field(lua_State *L)
{
	return luaL_error(L, "a text has no field '%s'", luaL_tolstring(L, 2, NULL));
}

/* ---- the basics ---- */

static int base_tostring(lua_State *L)
{
	luaL_checkany(L, 1);
	(void)push_text(L, 1, NULL);
	return 1;
}

static int base_type(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_pushstring(L, type_name(L, 1));
	return 1;
}

/* next(t, key): in key order. Each call walks the table, so it is for `next(t) == nil`; loops use pairs. */
static int base_next(lua_State *L)
{
	struct sl_lua_key after, key, best = {0};
	bool found = false, first = lua_isnoneornil(L, 2);
	size_t n = 0;
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 2);
	if (!first && !sl_lua_read_key(L, 2, &after))
		return luaL_error(L, "a %s has no place in the order of keys", type_name(L, 2));
	for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
		if (++n % 64 == 0)
			sl_lua_charge(L, 64);
		if (!sl_lua_read_key(L, -2, &key))
			return luaL_error(
				L, "a table with a %s as a key cannot be walked in order: use texts or numbers as keys",
				type_name(L, -2));
		if ((first || sl_lua_compare_keys(&key, &after) > 0) &&
		    (!found || sl_lua_compare_keys(&key, &best) < 0)) {
			best = key;
			found = true;
		}
	}
	if (!found) {
		lua_pushnil(L);
		return 1;
	}
	sl_lua_push_key(L, &best);
	lua_pushvalue(L, -1);
	lua_rawget(L, 1);
	return 2;
}

/* Upvalues: the table, the userdata with its keys, how many, the next one. */
static int pairs_next(lua_State *L)
{
	const struct sl_lua_key *keys = lua_touserdata(L, lua_upvalueindex(2));
	lua_Integer n = lua_tointeger(L, lua_upvalueindex(3));
	for (lua_Integer i = lua_tointeger(L, lua_upvalueindex(4)); i < n; i++) {
		sl_lua_push_key(L, &keys[i]);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL) { /* removed meanwhile */
			lua_pop(L, 2);
			sl_lua_charge(L, 1);
			continue;
		}
		lua_pushinteger(L, i + 1);
		lua_replace(L, lua_upvalueindex(4));
		return 2;
	}
	lua_pushnil(L);
	return 1;
}

static int base_pairs(lua_State *L)
{
	struct sl_lua_key *keys;
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	lua_pushvalue(L, 1);
	size_t n = sl_lua_keys(L, 1, &keys);
	for (size_t i = 0; i < n; i++) /* texts must outlive a script that removes them from the table while it walks */
		if (keys[i].kind == SL_LUA_KEY_STRING) {
			lua_createtable(L, (int)(n > INT32_MAX ? 0 : n), 0);
			for (lua_Integer at = 1; i < n && keys[i].kind == SL_LUA_KEY_STRING; i++) {
				sl_lua_push_key(L, &keys[i]);
				keys[i].u.s.p = lua_tolstring(L, -1, NULL);
				lua_rawseti(L, -2, at++);
			}
			lua_setiuservalue(L, -2, 1);
			break;
		}
	lua_pushinteger(L, (lua_Integer)n);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, pairs_next, 4);
	lua_pushvalue(L, 1);
	lua_pushnil(L);
	return 3;
}

static int base_pcall(lua_State *L)
{
	struct sl_lua *s = sl_lua_of(L);
	luaL_checkany(L, 1);
	lua_pushboolean(L, 1);
	lua_insert(L, 1);
	int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
	if (s->broken != SL_LUA_INTACT)
		sl_lua_break(L, s->broken);
	if (status == LUA_ERRMEM)
		sl_lua_break(L, s->malloc_failed ? SL_LUA_HOST_MEMORY : SL_LUA_MEMORY);
	if (status == LUA_OK)
		return lua_gettop(L);
	lua_pushboolean(L, 0);
	lua_insert(L, -2);
	return 2;
}

/* ---- putting it together ---- */

static const luaL_Reg table_functions[] = {
	{"concat", table_concat}, {"insert", table_insert}, {"move", table_move},     {"pack", table_pack},
	{"remove", table_remove}, {"sort", table_sort},     {"unpack", table_unpack}, {NULL, NULL}};
static const luaL_Reg list_functions[] = {
	{"map", list_map}, {"filter", list_filter},     {"sort", list_sort}, {"len", list_len},
	{"sum", list_sum}, {"contains", list_contains}, {"keys", list_keys}, {NULL, NULL}};
static const luaL_Reg text_functions[] = {
	{"trim", text_trim}, {"split", text_split},       {"join", text_join},         {"lines", text_lines},
	{"len", text_len},   {"truncate", text_truncate}, {"contains", text_contains}, {NULL, NULL}};
static const luaL_Reg json_functions[] = {
	{"encode", sl_lua_json_encode}, {"decode", sl_lua_json_decode}, {"array", json_array}, {NULL, NULL}};
static const luaL_Reg string_functions[] = {{"find", sl_lua_find}, {"match", sl_lua_match}, {"gmatch", sl_lua_gmatch},
					    {"gsub", sl_lua_gsub}, {"rep", string_rep},     {NULL, NULL}};
static const luaL_Reg base_functions[] = {{"tostring", base_tostring}, {"type", base_type},   {"next", base_next},
					  {"pairs", base_pairs},       {"pcall", base_pcall}, {NULL, NULL}};

static int read_only(lua_State *L)
{
	return luaL_error(L, "the library '%s' cannot be changed", lua_tostring(L, lua_upvalueindex(1)));
}

/* Pops the table of functions on top; the base table is at 1. */
static void publish(lua_State *L, const char *name)
{
	lua_newtable(L);
	lua_createtable(L, 0, 3);
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pushstring(L, name);
	lua_pushcclosure(L, read_only, 1);
	lua_setfield(L, -2, "__newindex");
	lua_pushliteral(L, "library");
	lua_setfield(L, -2, "__name");
	lua_setmetatable(L, -2);
	lua_setfield(L, 1, name);
	lua_pop(L, 1);
}

/* Copies functions of the table at `from` into the one on top. `wrap` puts a function of ours around each. */
static void copy(lua_State *L, int from, const char *const *names, lua_CFunction wrap)
{
	for (; *names; names++) {
		lua_getfield(L, from, *names);
		if (wrap && lua_isfunction(L, -1))
			lua_pushcclosure(L, wrap, 1);
		lua_setfield(L, -2, *names);
	}
}

static int open_standard(lua_State *L, lua_CFunction open)
{
	lua_pushcfunction(L, open);
	lua_call(L, 0, 1);
	return lua_gettop(L);
}

void sl_lua_open_lib(lua_State *L)
{
	static const char *const from_base[] = {"ipairs", "select", "error", "assert", NULL};
	static const char *const from_base_charged[] = {"tonumber", NULL};
	static const char *const from_math[] = {"abs",        "acos",  "asin",       "atan", "ceil", "cos",
						"exp",        "floor", "fmod",       "huge", "log",  "max",
						"maxinteger", "min",   "mininteger", "modf", "pi",   "sin",
						"sqrt",       "tan",   "tointeger",  "type", "ult",  NULL};
	static const char *const from_string[] = {"byte", "char", "len", "lower", "reverse", "sub", "upper", NULL};
	static const char *const from_text[] = {"lower", "upper", NULL};
	static const char *const from_utf8[] = {"char", "charpattern", NULL};
	static const char *const from_utf8_charged[] = {"codepoint", "codes", "len", "offset", NULL};
	int base = lua_gettop(L), lib;
	SL_BUG_ON(base != 1);

	luaL_setfuncs(L, base_functions, 0);
	lib = open_standard(L, luaopen_base);
	lua_pushvalue(L, base);
	copy(L, lib, from_base, NULL);
	copy(L, lib, from_base_charged, charged);
	lua_settop(L, base);

	lib = open_standard(L, luaopen_math);
	lua_newtable(L);
	copy(L, lib, from_math, NULL);
	publish(L, "math");
	lua_settop(L, base);

	lib = open_standard(L, luaopen_utf8);
	lua_newtable(L);
	copy(L, lib, from_utf8, NULL);
	copy(L, lib, from_utf8_charged, charged);
	publish(L, "utf8");
	lua_settop(L, base);

	lib = open_standard(L, luaopen_string);
	lua_newtable(L);
	luaL_setfuncs(L, text_functions, 0);
	copy(L, lib, from_text, NULL);
	publish(L, "text");
	lua_newtable(L);
	luaL_setfuncs(L, string_functions, 0);
	copy(L, lib, from_string, NULL);
	lua_getfield(L, lib, "format");
	lua_pushcclosure(L, string_format, 1);
	lua_setfield(L, -2, "format");
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, no_such_field);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	lua_pushliteral(L, "");
	lua_getmetatable(L, -1);
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index"); /* ("x"):upper() finds ours */
	lua_pop(L, 2);
	publish(L, "string");
	lua_settop(L, base);

	luaL_newlib(L, table_functions);
	publish(L, "table");
	luaL_newlib(L, list_functions);
	publish(L, "list");
	luaL_newlib(L, json_functions);
	sl_lua_push_null(L);
	lua_setfield(L, -2, "null");
	publish(L, "json");
	lua_pop(L, 1);
}
