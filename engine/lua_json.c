/* engine/lua_json.c: values between JSON and Lua, and json.encode / json.decode.
 *
 * JSON            Lua
 * array           table with the array mark (a metatable), so that an empty one stays an array
 * object          table; members that are null are absent (`if nodes.x.y then` must work), but remembered in a
 * metatable (a list of their names), so that a value handed on whole loses nothing null in arrays  json.null, so that
 * positions stay Keys are always visited in sorted order: Lua's own order changes with the address of a state, and a
 * repeated evaluation must give the same result. json.decode reads text straight into tables, so that the cap on the
 * heap holds for it. */
#include "engine/lua_priv.h"

#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/utf8.h"

#define INPUT_DEPTH      (2 * SL_LIMIT_JSON_DEPTH) /* of objects the engine puts together: outputs inside of lists */
#define JSON_VALUE_BYTES 96                        /* what json-c spends on one value, about */

static int null_tostring(lua_State *L)
{
	lua_pushliteral(L, "null");
	return 1;
}

void sl_lua_open_json(lua_State *L)
{
	lua_newuserdatauv(L, 1, 0);
	lua_createtable(L, 0, 2);
	lua_pushliteral(L, "null"); /* "attempt to index a null value" */
	lua_setfield(L, -2, "__name");
	lua_pushcfunction(L, null_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_setmetatable(L, -2);
	lua_rawseti(L, LUA_REGISTRYINDEX, SL_LUA_R_NULL);
	lua_createtable(L, 0, 1);
	lua_pushliteral(L, "list");
	lua_setfield(L, -2, "__name");
	lua_rawseti(L, LUA_REGISTRYINDEX, SL_LUA_R_ARRAY);
}

void sl_lua_push_null(lua_State *L)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, SL_LUA_R_NULL);
}

bool sl_lua_is_null(lua_State *L, int at)
{
	return lua_isnoneornil(L, at) ||
	       lua_type(L, at) == LUA_TUSERDATA; /* json.null is the only userdata a script sees */
}

bool sl_lua_truth(lua_State *L, int at)
{
	return lua_toboolean(L, at) && !sl_lua_is_null(L, at);
}

void sl_lua_mark_array(lua_State *L, int at)
{
	at = lua_absindex(L, at);
	lua_rawgeti(L, LUA_REGISTRYINDEX, SL_LUA_R_ARRAY);
	lua_setmetatable(L, at);
}

/* ---- JSON to Lua ---- */

static void push_value(lua_State *L, struct json_object *o, int depth);

static void push_object(lua_State *L, struct json_object *o, int depth)
{
	lua_Integer nulls = 0;
	lua_createtable(L, 0, json_object_object_length(o));
	json_object_object_foreach (o, key, v) {
		if (v) { // cppcheck-suppress identicalInnerCondition ; the macro's own loop is not the same v
			lua_pushstring(L, key);
			push_value(L, v, depth + 1);
			lua_rawset(L, -3);
			continue;
		}
		if (nulls == 0)
			lua_newtable(L), lua_insert(L, -2); /* the list stands below the object */
		lua_pushstring(L, key);
		lua_rawseti(L, -3, ++nulls);
	}
	if (nulls) {
		lua_insert(L, -2);
		lua_setmetatable(L, -2);
	}
}

static void push_value(lua_State *L, struct json_object *o, int depth)
{
	if (depth > INPUT_DEPTH)
		luaL_error(L, "a value is nested deeper than %d levels", INPUT_DEPTH);
	luaL_checkstack(L, 6, NULL);
	sl_lua_charge(L, 1);
	switch (json_object_get_type(o)) {
	case json_type_null:
		sl_lua_push_null(L);
		break;
	case json_type_boolean:
		lua_pushboolean(L, json_object_get_boolean(o));
		break;
	case json_type_int:
		if (json_object_get_int64(o) == INT64_MAX && json_object_get_uint64(o) > (uint64_t)INT64_MAX)
			lua_pushnumber(L, (lua_Number)json_object_get_uint64(o));
		else
			lua_pushinteger(L, json_object_get_int64(o));
		break;
	case json_type_double:
		lua_pushnumber(L, json_object_get_double(o));
		break;
	case json_type_string:
		lua_pushlstring(L, json_object_get_string(o), (size_t)json_object_get_string_len(o));
		break;
	case json_type_array: {
		size_t n = json_object_array_length(o);
		lua_createtable(L, n > INT32_MAX ? 0 : (int)n, 0);
		for (size_t i = 0; i < n; i++) {
			push_value(L, json_object_array_get_idx(o, i), depth + 1);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		sl_lua_mark_array(L, -1);
		break;
	}
	case json_type_object:
		push_object(L, o, depth);
		break;
	}
}

void sl_lua_push_json(lua_State *L, struct json_object *o)
{
	if (o)
		push_value(L, o, 0);
	else
		lua_pushnil(L);
}

/* ---- keys in order ---- */

bool sl_lua_read_key(lua_State *L, int at, struct sl_lua_key *key)
{
	switch (lua_type(L, at)) {
	case LUA_TNUMBER:
		if (lua_isinteger(L, at)) {
			key->kind = SL_LUA_KEY_INT;
			key->u.i = lua_tointeger(L, at);
		} else {
			key->kind = SL_LUA_KEY_FLOAT;
			key->u.f = lua_tonumber(L, at);
		}
		return true;
	case LUA_TSTRING:
		key->kind = SL_LUA_KEY_STRING;
		key->u.s.p = lua_tolstring(L, at, &key->u.s.len);
		return true;
	case LUA_TBOOLEAN:
		key->kind = SL_LUA_KEY_BOOL;
		key->u.i = lua_toboolean(L, at);
		return true;
	default:
		return false;
	}
}

/* Numbers, then strings, then booleans. Float keys are never whole numbers (Lua turns those into integers) unless they
 * are beyond the integers, so a tie between the kinds is only an effect of rounding. */
int sl_lua_compare_keys(const void *pa, const void *pb)
{
	static const int rank[] = {0, 0, 1, 2};
	const struct sl_lua_key *a = pa, *b = pb;
	if (rank[a->kind] != rank[b->kind])
		return rank[a->kind] < rank[b->kind] ? -1 : 1;
	if (a->kind == SL_LUA_KEY_STRING) {
		size_t n = a->u.s.len < b->u.s.len ? a->u.s.len : b->u.s.len;
		int c = memcmp(a->u.s.p, b->u.s.p, n);
		return c ? c : (a->u.s.len > b->u.s.len) - (a->u.s.len < b->u.s.len);
	}
	if (a->kind == b->kind && a->kind != SL_LUA_KEY_FLOAT)
		return (a->u.i > b->u.i) - (a->u.i < b->u.i);
	lua_Number x = a->kind == SL_LUA_KEY_FLOAT ? a->u.f : (lua_Number)a->u.i;
	lua_Number y = b->kind == SL_LUA_KEY_FLOAT ? b->u.f : (lua_Number)b->u.i;
	if (x < y || x > y)
		return x < y ? -1 : 1;
	return (a->kind > b->kind) - (a->kind < b->kind);
}

void sl_lua_push_key(lua_State *L, const struct sl_lua_key *key)
{
	switch (key->kind) {
	case SL_LUA_KEY_INT:
		lua_pushinteger(L, key->u.i);
		break;
	case SL_LUA_KEY_FLOAT:
		lua_pushnumber(L, key->u.f);
		break;
	case SL_LUA_KEY_STRING:
		lua_pushlstring(L, key->u.s.p, key->u.s.len);
		break;
	case SL_LUA_KEY_BOOL:
		lua_pushboolean(L, (int)key->u.i);
		break;
	}
}

/* Heap sort: in place, no allocation (qsort may allocate, and a raise from here would lose it). */
static void sift(struct sl_lua_key *k, size_t from, size_t n)
{
	for (;;) {
		size_t child = 2 * from + 1;
		if (child >= n)
			return;
		if (child + 1 < n && sl_lua_compare_keys(&k[child], &k[child + 1]) < 0)
			child++;
		if (sl_lua_compare_keys(&k[from], &k[child]) >= 0)
			return;
		struct sl_lua_key t = k[from];
		k[from] = k[child], k[child] = t;
		from = child;
	}
}

static void sort_keys(struct sl_lua_key *k, size_t n)
{
	for (size_t i = n / 2; i-- > 0;)
		sift(k, i, n);
	for (size_t end = n; end-- > 1;) {
		struct sl_lua_key t = k[0];
		k[0] = k[end], k[end] = t;
		sift(k, 0, end);
	}
}

size_t sl_lua_keys(lua_State *L, int at, struct sl_lua_key **keys)
{
	size_t n = 0, i = 0, bytes = 0;
	at = lua_absindex(L, at);
	luaL_checkstack(L, 6, NULL);
	for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1))
		n++;
	sl_lua_charge(L, n * 4);
	if (!sl_mul_size(n, sizeof(**keys), &bytes))
		luaL_error(L, "too many keys");
	struct sl_lua_key *k = lua_newuserdatauv(L, bytes ? bytes : 1, 1); /* the user value is for pairs */
	bool sorted = true;
	for (lua_pushnil(L); i < n && lua_next(L, at); lua_pop(L, 1), i++) {
		if (!sl_lua_read_key(L, -2, &k[i]))
			luaL_error(L,
				   "a table with a %s as a key cannot be walked in order: use texts or numbers as keys",
				   luaL_typename(L, -2));
		if (i && sl_lua_compare_keys(&k[i - 1], &k[i]) > 0)
			sorted = false;
	}
	if (i == n) /* the loop above leaves its key when it ends before lua_next does */
		lua_pop(L, 1);
	if (!sorted) {
		for (size_t m = n; m > 1; m /= 2)
			sl_lua_charge(L, n);
		sort_keys(k, n);
	}
	*keys = k;
	return n;
}

/* ---- Lua to JSON ---- */

struct out {
	size_t bytes; /* spent so far: one table met a thousand times is written a thousand times */
};

static void spend(lua_State *L, struct out *out, size_t bytes)
{
	sl_lua_charge_bytes(L, bytes);
	out->bytes += bytes;
	if (out->bytes > SL_LIMIT_LUA_MEMORY_BYTES)
		sl_lua_break(L, SL_LUA_MEMORY);
}

/* Puts the value at -1 (popped) under key of `o`, or at the end of it when key is NULL, or into `held` when o is NULL.
 */
static void emit(lua_State *L, struct out *out, struct json_object *o, const char *key, int depth);

static void attach(lua_State *L, struct json_object *o, const char *key, struct json_object *v)
{
	struct sl_lua *s = sl_lua_of(L);
	int rc = 0;
	if (!o)
		s->held = v;
	else if (key)
		rc = json_object_object_add(o, key, v);
	else
		rc = json_object_array_add(o, v);
	if (rc != 0) {
		json_object_put(v);
		sl_lua_break(L, SL_LUA_HOST_MEMORY);
	}
}

static struct json_object *fresh(lua_State *L, struct json_object *v)
{
	if (!v)
		sl_lua_break(L, SL_LUA_HOST_MEMORY);
	return v;
}

static const char *key_text(lua_State *L, const struct sl_lua_key *key, char number[40])
{
	switch (key->kind) {
	case SL_LUA_KEY_INT:
		(void)snprintf(number, 40, "%lld", (long long)key->u.i);
		return number;
	case SL_LUA_KEY_FLOAT:
		(void)snprintf(number, 40, "%.14g", key->u.f);
		return number;
	case SL_LUA_KEY_STRING:
		if (memchr(key->u.s.p, 0, key->u.s.len) || sl_utf8_prefix(key->u.s.p, key->u.s.len) != key->u.s.len)
			luaL_error(L, "a table key is not valid text");
		return key->u.s.p; /* Lua's strings end in NUL */
	case SL_LUA_KEY_BOOL:
		break;
	}
	luaL_error(L, "a table key must be a text or a number, not a boolean");
	return NULL;
}

static void emit_table(lua_State *L, struct out *out, struct json_object *o, const char *key, int depth)
{
	int t = lua_gettop(L);
	bool marked = false, nulls = false;
	struct sl_lua_key *keys;
	if (depth >= SL_LIMIT_JSON_DEPTH)
		luaL_error(L, "a value is nested deeper than %d levels; does it contain itself?", SL_LIMIT_JSON_DEPTH);
	if (lua_getmetatable(L, t)) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, SL_LUA_R_ARRAY);
		marked = lua_rawequal(L, -1, -2);
		lua_pop(L, 1);
		lua_pushliteral(L, "__newindex");
		if (lua_rawget(L, -2) != LUA_TNIL)
			luaL_error(L, "a library cannot be a value");
		lua_pop(L, 1);
		nulls = !marked;
		if (marked)
			lua_pop(L, 1);
	}
	/* the list of null members, when there is one, stays at t + 1 */
	size_t n = sl_lua_keys(L, t, &keys);
	bool array = n ? keys[0].kind == SL_LUA_KEY_INT && keys[0].u.i == 1 && keys[n - 1].kind == SL_LUA_KEY_INT &&
				     keys[n - 1].u.i == (lua_Integer)n
		       : marked;
	spend(L, out, JSON_VALUE_BYTES + n * 16);
	struct json_object *v = fresh(L, array ? json_object_new_array_ext(n ? (int)n : 1) : json_object_new_object());
	attach(L, o, key, v);
	for (size_t i = 0; i < n; i++) {
		char number[40];
		const char *name = array ? NULL : key_text(L, &keys[i], number);
		if (array)
			lua_rawgeti(L, t, (lua_Integer)i + 1);
		else
			sl_lua_push_key(L, &keys[i]), lua_rawget(L, t);
		if (name)
			spend(L, out, strlen(name));
		emit(L, out, v, name, depth + 1);
	}
	for (lua_Integer i = 1; nulls && !array && lua_rawgeti(L, t + 1, i) == LUA_TSTRING; i++) {
		lua_pushvalue(L, -1);
		if (lua_rawget(L, t) == LUA_TNIL)
			attach(L, v, lua_tostring(L, -2), NULL);
		lua_pop(L, 2);
	}
	lua_settop(L, t - 1);
}

static struct json_object *text_value(lua_State *L, const char *p, size_t len)
{
	struct json_object *v = fresh(L, json_object_new_string_len(p, (int)len));
	if (sl_utf8_prefix(p, len) == len)
		return v;
	char *copy = malloc(len + 1); /* a character cut in half by string.sub; no raise between here and free */
	if (!copy) {
		json_object_put(v);
		return sl_lua_break(L, SL_LUA_HOST_MEMORY), NULL; /* does not come back */
	}
	memcpy(copy, p, len);
	sl_utf8_make_valid(copy, &len);
	int ok = json_object_set_string_len(v, copy, (int)len);
	free(copy);
	if (!ok) {
		json_object_put(v);
		sl_lua_break(L, SL_LUA_HOST_MEMORY);
	}
	return v;
}

static void emit(lua_State *L, struct out *out, struct json_object *o, const char *key, int depth)
{
	size_t len;
	const char *p;
	luaL_checkstack(L, 8, NULL);
	spend(L, out, JSON_VALUE_BYTES);
	switch (lua_type(L, -1)) {
	case LUA_TNIL:
		attach(L, o, key, NULL);
		break;
	case LUA_TBOOLEAN:
		attach(L, o, key, fresh(L, json_object_new_boolean(lua_toboolean(L, -1))));
		break;
	case LUA_TNUMBER:
		if (lua_isinteger(L, -1)) {
			attach(L, o, key, fresh(L, json_object_new_int64(lua_tointeger(L, -1))));
			break;
		}
		if (!isfinite(lua_tonumber(L, -1)))
			luaL_error(L, "a number is not finite (%s): JSON cannot hold it",
				   isnan(lua_tonumber(L, -1)) ? "0/0" : "division by zero or overflow");
		attach(L, o, key, fresh(L, json_object_new_double(lua_tonumber(L, -1))));
		break;
	case LUA_TSTRING:
		p = lua_tolstring(L, -1, &len);
		spend(L, out, len);
		attach(L, o, key, text_value(L, p, len));
		break;
	case LUA_TTABLE:
		emit_table(L, out, o, key, depth); /* pops */
		return;
	case LUA_TUSERDATA: /* json.null */
		attach(L, o, key, NULL);
		break;
	default:
		luaL_error(L, "a %s cannot be a value; did you mean to call it?", luaL_typename(L, -1));
	}
	lua_pop(L, 1);
}

void sl_lua_hold_json(lua_State *L, int at)
{
	struct sl_lua *s = sl_lua_of(L);
	struct out out = {0};
	json_object_put(s->held);
	s->held = NULL;
	lua_pushvalue(L, at);
	emit(L, &out, NULL, NULL, 0);
}

int sl_lua_json_encode(lua_State *L)
{
	struct sl_lua *s = sl_lua_of(L);
	luaL_checkany(L, 1);
	sl_lua_hold_json(L, 1);
	sl_buf_reset(&s->scratch);
	sl_json_write(&s->scratch, s->held);
	if (s->scratch.failed) /* its cap is never met when memory is short */
		sl_lua_break(L, s->scratch.len > s->scratch.max_bytes / 2 ? SL_LUA_MEMORY : SL_LUA_HOST_MEMORY);
	json_object_put(s->held);
	s->held = NULL;
	sl_lua_charge_bytes(L, s->scratch.len);
	lua_pushlstring(L, s->scratch.data, s->scratch.len);
	return 1;
}

/* ---- json.decode ---- */

struct reader {
	lua_State *L;
	const char *begin, *p, *end;
};

_Noreturn static void reader_fail(struct reader *r, const char *what)
{
	int line = 1, column = 1;
	for (const char *p = r->begin; p < r->p; p++)
		if (*p == '\n')
			line++, column = 1;
		else if (((unsigned char)*p & 0xc0) != 0x80)
			column++;
	luaL_error(r->L, "json.decode: line %d, column %d: %s", line, column, what);
	abort(); /* luaL_error does not return */
}

static int reader_peek(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
		r->p++;
	return r->p < r->end ? (unsigned char)*r->p : -1;
}

static unsigned reader_hex4(struct reader *r)
{
	unsigned v = 0;
	for (int i = 0; i < 4; i++, r->p++) {
		int c = r->p < r->end ? *r->p : 0;
		if (c >= '0' && c <= '9')
			v = v * 16 + (unsigned)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			v = v * 16 + (unsigned)((c | 32) - 'a') + 10;
		else
			reader_fail(r, "\\u wants four hexadecimal digits");
	}
	return v;
}

static void reader_escape(struct reader *r, luaL_Buffer *b)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at;
	int c = r->p < r->end ? *r->p++ : 0;
	if (c && (at = strchr(from, c))) {
		luaL_addchar(b, to[at - from]);
		return;
	}
	if (c != 'u')
		reader_fail(r, "an escape that JSON does not know");
	unsigned u = reader_hex4(r);
	if (u >= 0xdc00 && u <= 0xdfff)
		reader_fail(r, "half of a surrogate pair");
	if (u >= 0xd800 && u <= 0xdbff) {
		if (r->end - r->p < 6 || r->p[0] != '\\' || r->p[1] != 'u')
			reader_fail(r, "half of a surrogate pair");
		r->p += 2;
		unsigned low = reader_hex4(r);
		if (low < 0xdc00 || low > 0xdfff)
			reader_fail(r, "half of a surrogate pair");
		u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
	}
	if (u < 0x80) {
		luaL_addchar(b, (char)u);
	} else if (u < 0x800) {
		luaL_addchar(b, (char)(0xc0 | u >> 6));
		luaL_addchar(b, (char)(0x80 | (u & 63)));
	} else if (u < 0x10000) {
		luaL_addchar(b, (char)(0xe0 | u >> 12));
		luaL_addchar(b, (char)(0x80 | (u >> 6 & 63)));
		luaL_addchar(b, (char)(0x80 | (u & 63)));
	} else {
		luaL_addchar(b, (char)(0xf0 | u >> 18));
		luaL_addchar(b, (char)(0x80 | (u >> 12 & 63)));
		luaL_addchar(b, (char)(0x80 | (u >> 6 & 63)));
		luaL_addchar(b, (char)(0x80 | (u & 63)));
	}
}

static void reader_string(struct reader *r)
{
	luaL_Buffer b;
	luaL_buffinit(r->L, &b);
	r->p++;
	for (;;) {
		const char *from = r->p;
		while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (unsigned char)*r->p >= 0x20)
			r->p++;
		luaL_addlstring(&b, from, (size_t)(r->p - from));
		if (r->p == r->end)
			reader_fail(r, "the text ends inside a string");
		if (*r->p == '"')
			break;
		if (*r->p != '\\')
			reader_fail(r, "a control character inside a string");
		r->p++;
		reader_escape(r, &b);
	}
	r->p++;
	luaL_pushresult(&b);
}

static void reader_number(struct reader *r)
{
	const char *from = r->p;
	bool whole = true;
	double f;
	int64_t i;
	if (*r->p == '-')
		r->p++;
	if (r->p < r->end && *r->p == '0')
		r->p++;
	else if (r->p < r->end && *r->p >= '1' && *r->p <= '9')
		while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
			r->p++;
	else
		reader_fail(r, "a value was expected here");
	for (int part = 0; part < 2; part++) {
		if (r->p == r->end || (part == 0 ? *r->p != '.' : (*r->p | 32) != 'e'))
			continue;
		whole = false;
		r->p++;
		if (part == 1 && r->p < r->end && (*r->p == '+' || *r->p == '-'))
			r->p++;
		if (r->p == r->end || *r->p < '0' || *r->p > '9')
			reader_fail(r, "a number that stops in the middle");
		while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
			r->p++;
	}
	struct sl_str text = sl_str_n(from, (size_t)(r->p - from));
	if (text.len > 400)
		reader_fail(r, "a number with too many digits");
	if (whole && sl_str_i64(text, &i))
		lua_pushinteger(r->L, i);
	else if (sl_str_f64(text, &f))
		lua_pushnumber(r->L, f);
	else
		reader_fail(r, "a number that is too large");
}

static bool reader_word(struct reader *r, const char *word)
{
	size_t n = strlen(word);
	if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
		return false;
	r->p += n;
	return true;
}

static void reader_value(struct reader *r, int depth);

static void reader_array(struct reader *r, int depth)
{
	lua_Integer n = 0;
	lua_newtable(r->L);
	sl_lua_mark_array(r->L, -1);
	r->p++;
	if (reader_peek(r) == ']') {
		r->p++;
		return;
	}
	for (;;) {
		reader_value(r, depth + 1);
		lua_rawseti(r->L, -2, ++n);
		int c = reader_peek(r);
		if (c != ',' && c != ']')
			reader_fail(r, "a comma or ] was expected here");
		r->p++;
		if (c == ']')
			return;
	}
}

static void reader_object(struct reader *r, int depth)
{
	lua_State *L = r->L;
	lua_Integer nulls = 0;
	lua_newtable(L);
	lua_newtable(L); /* the names of null members */
	r->p++;
	if (reader_peek(r) == '}') {
		r->p++;
		lua_pop(L, 1);
		return;
	}
	for (;;) {
		if (reader_peek(r) != '"')
			reader_fail(r, "a key in double quotes was expected here");
		reader_string(r);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, -4) != LUA_TNIL)
			reader_fail(r, "a key that occurs twice");
		lua_pop(L, 1);
		if (reader_peek(r) != ':')
			reader_fail(r, "a colon was expected here");
		r->p++;
		if (reader_peek(r) == 'n' && reader_word(r, "null")) {
			lua_rawseti(L, -2, ++nulls);
		} else {
			reader_value(r, depth + 1);
			lua_rawset(L, -4);
		}
		int c = reader_peek(r);
		if (c != ',' && c != '}')
			reader_fail(r, "a comma or } was expected here");
		r->p++;
		if (c == '}')
			break;
	}
	if (nulls)
		lua_setmetatable(L, -2);
	else
		lua_pop(L, 1);
}

static void reader_value(struct reader *r, int depth)
{
	lua_State *L = r->L;
	if (depth > SL_LIMIT_JSON_DEPTH)
		reader_fail(r, "nested too deeply");
	luaL_checkstack(L, 8, NULL);
	sl_lua_charge(L, 2);
	switch (reader_peek(r)) {
	case '{':
		reader_object(r, depth);
		return;
	case '[':
		reader_array(r, depth);
		return;
	case '"':
		reader_string(r);
		return;
	case 't':
		if (!reader_word(r, "true"))
			break;
		lua_pushboolean(L, 1);
		return;
	case 'f':
		if (!reader_word(r, "false"))
			break;
		lua_pushboolean(L, 0);
		return;
	case 'n':
		if (!reader_word(r, "null"))
			break;
		sl_lua_push_null(L);
		return;
	case -1:
		reader_fail(r, "the text ends too early");
	default:
		reader_number(r);
		return;
	}
	reader_fail(r, "a value was expected here");
}

int sl_lua_json_decode(lua_State *L)
{
	size_t len;
	const char *p = luaL_checklstring(L, 1, &len);
	struct reader r = {L, p, p, p + len};
	sl_lua_charge_bytes(L, len * 2);
	r.p = p + sl_utf8_prefix(p, len);
	if (r.p != r.end)
		reader_fail(&r, "not valid UTF-8");
	r.p = p;
	reader_value(&r, 0);
	if (reader_peek(&r) != -1)
		reader_fail(&r, "text after the end of the value");
	return 1;
}
