/* engine/lua_priv.h: the Lua sandbox, inside the engine room: pooled states, their budgets, and what scripts may call.
 *
 * Owns      idle states (a process-wide pool). A taken state belongs to the caller until it is given back.
 * Thread    sl_lua_take/give [any]; a state serves one evaluation at a time, on one thread.
 * Careful   Lua raises errors by longjmp. Everything below that takes a lua_State may raise, and runs only under
 *           sl_lua_run(); it holds nothing that a cleanup would have to release, but in the fields `held` and
 * `scratch`.
 */
#pragma once

#include <lauxlib.h>
#include <lua.h>

#include "base/json.h"

enum sl_lua_broken {
	SL_LUA_INTACT,
	SL_LUA_INSTRUCTIONS,
	SL_LUA_MEMORY,
	SL_LUA_TIME,
	SL_LUA_PATTERN,
	SL_LUA_HOST_MEMORY
};

struct sl_lua {
	lua_State *L;
	struct sl_lua *next_idle;
	size_t used_bytes, base_bytes, cap_bytes;
	size_t churn_bytes; /* allocated since the clock was last looked at */
	unsigned uses, cap_hits;
	bool armed; /* budgets count */
	bool malloc_failed;
	enum sl_lua_broken broken;
	int64_t instructions_left, pattern_steps_left;
	uint32_t charged; /* work of C functions, not yet taken off instructions_left */
	uint64_t deadline_us, cpu_start_us;
	struct json_object *held; /* a JSON value being built; released when the evaluation ends */
	struct sl_buf scratch;
};

/* Places in the registry of every state. */
enum { SL_LUA_R_BASE = 10, SL_LUA_R_ENV_META, SL_LUA_R_CHUNKS, SL_LUA_R_NULL, SL_LUA_R_ARRAY };

static inline struct sl_lua *sl_lua_of(lua_State *L)
{
	return *(struct sl_lua **)lua_getextraspace(L);
}

/* NULL: no memory. */
struct sl_lua *sl_lua_take(void);
void sl_lua_give(struct sl_lua *s); /* NULL is fine */
void sl_lua_drop_idle(void);        /* closes the idle states */
uint64_t sl_lua_aborts(void);

/* Calls body with arg (a light userdata) as its argument, under the budgets. SL_EXPRESSION: what the script did wrong,
 * without Lua's chunk prefix, and with the line when `lines` is set. */
SL_MUST_USE enum sl_code sl_lua_run(struct sl_lua *s, lua_CFunction body, void *arg, bool lines, struct sl_error *err);

/* Pushes the function of a chunk, from this state's cache or compiled from text. A fresh environment becomes its _ENV
 * and is pushed above it. Raises a string when the text does not compile. id 0 is never cached. */
void sl_lua_push_chunk(lua_State *L, uint64_t id, struct sl_str head, struct sl_str text);

/* Takes the work of a C function off the budget; one unit is about what a VM instruction costs. */
void sl_lua_charge(lua_State *L, size_t units);
static inline void sl_lua_charge_bytes(lua_State *L, size_t bytes)
{
	sl_lua_charge(L, bytes / 16 + 1);
}
_Noreturn void sl_lua_break(lua_State *L, enum sl_lua_broken what); /* not catchable by the script */

/* lua_lib.c: fills the base table on top of the stack. */
void sl_lua_open_lib(lua_State *L);
/* lua_match.c: string.find, match, gmatch, gsub */
int sl_lua_find(lua_State *L);
int sl_lua_match(lua_State *L);
int sl_lua_gmatch(lua_State *L);
int sl_lua_gsub(lua_State *L);

/* lua_json.c */
struct sl_lua_key { /* a table key, in an order that is the same in every state and run */
	enum { SL_LUA_KEY_INT, SL_LUA_KEY_FLOAT, SL_LUA_KEY_STRING, SL_LUA_KEY_BOOL } kind;
	union {
		lua_Integer i;
		lua_Number f;
		struct sl_str s; /* anchored by the table */
	} u;
};
void sl_lua_open_json(lua_State *L); /* the null value and the mark of arrays, into the registry */
void sl_lua_push_json(lua_State *L, struct json_object *o);
void sl_lua_push_null(lua_State *L);
bool sl_lua_is_null(lua_State *L, int at); /* nil or json.null */
bool sl_lua_truth(lua_State *L, int at);
void sl_lua_mark_array(lua_State *L, int at);
void sl_lua_hold_json(lua_State *L, int at);                        /* converts into sl_lua.held */
size_t sl_lua_keys(lua_State *L, int at, struct sl_lua_key **keys); /* pushes the userdata that holds them, sorted */
void sl_lua_push_key(lua_State *L, const struct sl_lua_key *key);
bool sl_lua_read_key(lua_State *L, int at, struct sl_lua_key *key); /* false: a type of key that has no order */
int sl_lua_compare_keys(const void *a, const void *b);
int sl_lua_json_encode(lua_State *L);
int sl_lua_json_decode(lua_State *L);
