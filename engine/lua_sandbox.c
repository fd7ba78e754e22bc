/* engine/lua_sandbox.c: the pool of Lua states and the walls around each: heap, instructions, time.
 *
 * A script meets three watchers. The allocator refuses above the cap, and looks at the clock after every MiB handed
 * out, because one instruction (`s .. s`) can copy megabytes. The count hook runs every HOOK_EVERY instructions. C
 * functions that work long call sl_lua_charge(). Whoever finds a budget broken sets `broken`; from then on the hook
 * fires at every instruction, no allocation succeeds, and our pcall re-raises, so a script cannot hold on. A state that
 * saw that is closed.
 *
 * Time is the processor time of the thread: an expression must not fail because the machine was busy. The wall clock
 * is only the cheap first look. */
#include "engine/lua_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/utf8.h"

#define HOOK_EVERY   64 /* instructions between two looks; one can cost milliseconds (comparing long strings) */
#define CHURN_BYTES  (1u << 20)
#define CAP_HITS     8 /* collections forced by a full heap before we call it broken: each walks the whole heap */
#define STATE_USES   512
#define STATE_GROWTH (1u << 20) /* a state that has grown by more is closed instead of kept */
#define IDLE_STATES  64

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sl_lua *idle; /* [lock pool_lock] */
static unsigned n_idle;     /* [lock pool_lock] */
static _Atomic uint64_t aborts;

uint64_t sl_lua_aborts(void)
{
	return aborts;
}

static uint64_t cpu_us(void)
{
	struct timespec t;
	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0)
		return sl_clock_mono_us();
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static bool out_of_time(struct sl_lua *s)
{
	uint64_t now = sl_clock_mono_us();
	if (s->cpu_start_us ==
	    0) { /* asked for late: most expressions end before the first look and save a system call */
		s->cpu_start_us = cpu_us();
		s->deadline_us = now + SL_LIMIT_LUA_MS * 1000u;
		return false;
	}
	if (now < s->deadline_us)
		return false;
	uint64_t spent = cpu_us() - s->cpu_start_us;
	if (spent >= SL_LIMIT_LUA_MS * 1000u)
		return true;
	s->deadline_us = now + SL_LIMIT_LUA_MS * 1000u - spent;
	return false;
}

static void hook(lua_State *L, lua_Debug *ar);

static void set_broken(struct sl_lua *s, enum sl_lua_broken what)
{
	if (s->broken == SL_LUA_INTACT)
		s->broken = what;
	lua_sethook(s->L, hook, LUA_MASKCOUNT, 1);
}

_Noreturn void sl_lua_break(lua_State *L, enum sl_lua_broken what)
{
	set_broken(sl_lua_of(L), what);
	lua_pushnil(L); /* a string could not be allocated any more */
	lua_error(L);
	abort(); /* lua_error does not return */
}

static void look(lua_State *L, struct sl_lua *s)
{
	if (s->broken != SL_LUA_INTACT)
		sl_lua_break(L, s->broken);
	if (s->instructions_left < 0)
		sl_lua_break(L, SL_LUA_INSTRUCTIONS);
	if (out_of_time(s))
		sl_lua_break(L, SL_LUA_TIME);
}

static void hook(lua_State *L, lua_Debug *ar)
{
	struct sl_lua *s = sl_lua_of(L);
	s->instructions_left -= HOOK_EVERY;
	look(L, s);
}

void sl_lua_charge(lua_State *L, size_t units)
{
	struct sl_lua *s = sl_lua_of(L);
	s->charged += units > INT32_MAX ? INT32_MAX : (uint32_t)units;
	if (s->charged < 1024)
		return;
	s->instructions_left -= s->charged;
	s->charged = 0;
	look(L, s);
}

static void *allocate(void *ud, void *p, size_t old_bytes, size_t new_bytes)
{
	struct sl_lua *s = ud;
	if (!p)
		old_bytes = 0; /* Lua says here what kind of object it wants */
	if (new_bytes == 0) {
		free(p);
		s->used_bytes -= old_bytes;
		return NULL;
	}
	if (new_bytes > old_bytes && s->armed) {
		size_t more = new_bytes - old_bytes;
		if (s->broken != SL_LUA_INTACT)
			return NULL;
		if (more > s->cap_bytes || s->used_bytes > s->cap_bytes - more) {
			if (++s->cap_hits > CAP_HITS || out_of_time(s))
				set_broken(s, SL_LUA_MEMORY);
			return NULL; /* Lua collects and asks once more */
		}
		s->churn_bytes += more;
		if (s->churn_bytes > CHURN_BYTES) {
			s->churn_bytes = 0;
			if (out_of_time(s)) {
				set_broken(s, SL_LUA_TIME);
				return NULL;
			}
		}
	}
	void *q = realloc(p, new_bytes);
	if (!q) {
		if (new_bytes <= old_bytes)
			return p; /* Lua counts on shrinking to succeed */
		s->malloc_failed = true;
		return NULL;
	}
	s->used_bytes = s->used_bytes - old_bytes + new_bytes;
	return q;
}

static int open_state(lua_State *L)
{
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_rawseti(L, LUA_REGISTRYINDEX, SL_LUA_R_BASE);
	sl_lua_open_json(L);
	sl_lua_open_lib(L);

	lua_newtable(L); /* the metatable of every environment: unknown names are looked up in the base table */
	lua_rawgeti(L, LUA_REGISTRYINDEX, SL_LUA_R_BASE);
	lua_setfield(L, -2, "__index");
	lua_rawseti(L, LUA_REGISTRYINDEX, SL_LUA_R_ENV_META);
	lua_newtable(L);
	lua_rawseti(L, LUA_REGISTRYINDEX, SL_LUA_R_CHUNKS);
	return 0;
}

static void destroy(struct sl_lua *s)
{
	if (!s)
		return;
	s->armed = false;
	if (s->L)
		lua_close(s->L);
	json_object_put(s->held);
	sl_buf_fini(&s->scratch);
	free(s);
}

static struct sl_lua *create(void)
{
	struct sl_lua *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	sl_buf_init(&s->scratch, SL_LIMIT_LUA_MEMORY_BYTES);
	s->L = lua_newstate(allocate, s);
	if (s->L) {
		*(struct sl_lua **)lua_getextraspace(s->L) = s;
		lua_pushcfunction(s->L, open_state);
		if (lua_pcall(s->L, 0, 0, 0) == LUA_OK) {
			s->base_bytes = s->used_bytes;
			return s;
		}
	}
	destroy(s);
	return NULL;
}

struct sl_lua *sl_lua_take(void)
{
	pthread_mutex_lock(&pool_lock);
	struct sl_lua *s = idle;
	if (s) {
		idle = s->next_idle;
		n_idle--;
	}
	pthread_mutex_unlock(&pool_lock);
	return s ? s : create();
}

void sl_lua_give(struct sl_lua *s)
{
	if (!s)
		return;
	bool keep = s->broken == SL_LUA_INTACT && !s->malloc_failed && ++s->uses < STATE_USES &&
		    s->used_bytes <= s->base_bytes + STATE_GROWTH;
	if (keep) {
		pthread_mutex_lock(&pool_lock);
		keep = n_idle < IDLE_STATES;
		if (keep) {
			s->next_idle = idle;
			idle = s;
			n_idle++;
		}
		pthread_mutex_unlock(&pool_lock);
	}
	if (!keep)
		destroy(s);
}

void sl_lua_drop_idle(void)
{
	pthread_mutex_lock(&pool_lock);
	struct sl_lua *s = idle;
	idle = NULL;
	n_idle = 0;
	pthread_mutex_unlock(&pool_lock);
	while (s) {
		struct sl_lua *next = s->next_idle;
		destroy(s);
		s = next;
	}
}

void sl_lua_push_chunk(lua_State *L, uint64_t id, struct sl_str head, struct sl_str text)
{
	luaL_checkstack(L, 8, NULL);
	lua_rawgeti(L, LUA_REGISTRYINDEX, SL_LUA_R_CHUNKS);
	if (id == 0 || lua_rawgeti(L, -1, (lua_Integer)id) != LUA_TFUNCTION) {
		luaL_Buffer b;
		if (id != 0)
			lua_pop(L, 1);
		luaL_buffinitsize(L, &b, head.len + text.len);
		luaL_addlstring(&b, head.p, head.len);
		luaL_addlstring(&b, text.p, text.len);
		luaL_pushresult(&b);
		size_t len;
		const char *source = lua_tolstring(L, -1, &len);
		int status = luaL_loadbufferx(L, source, len, "=(expr)", "t");
		if (status == LUA_ERRMEM)
			sl_lua_break(L, sl_lua_of(L)->malloc_failed ? SL_LUA_HOST_MEMORY : SL_LUA_MEMORY);
		if (status != LUA_OK)
			lua_error(L);
		lua_remove(L, -2); /* the source */
		if (id != 0) {
			lua_pushvalue(L, -1);
			lua_rawseti(L, -3, (lua_Integer)id);
		}
	}
	lua_remove(L, -2); /* the cache */
	lua_createtable(L, 0, 4);
	lua_rawgeti(L, LUA_REGISTRYINDEX, SL_LUA_R_ENV_META);
	lua_setmetatable(L, -2);
	lua_pushvalue(L, -1);
	lua_setupvalue(L, -3, 1); /* the only upvalue of a main chunk is _ENV */
}

/* Runs where the error was raised. Makes a text of whatever was raised; strings stay. */
static int describe(lua_State *L)
{
	if (sl_lua_of(L)->broken != SL_LUA_INTACT || lua_type(L, 1) == LUA_TSTRING)
		return 1;
	if (lua_type(L, 1) == LUA_TNUMBER) {
		lua_tostring(L, 1);
		return 1;
	}
	if (lua_type(L, 1) == LUA_TTABLE) {
		lua_pushliteral(L, "message");
		if (lua_rawget(L, 1) == LUA_TSTRING)
			return 1;
	}
	lua_pushfstring(L, "error() was called with a %s, give it a text", luaL_typename(L, 1));
	return 1;
}

/* "(expr):3: text" becomes "text" or "line 3: text". Messages may be raised again by the script, so prefixes can
 * repeat. */
static enum sl_code fail_with(struct sl_error *err, struct sl_str m, bool lines)
{
	static const char prefix[] = "(expr):";
	unsigned line = 0;
	while (m.len > sizeof(prefix) && memcmp(m.p, prefix, sizeof(prefix) - 1) == 0) {
		size_t i = sizeof(prefix) - 1;
		unsigned n = 0;
		while (i < m.len && m.p[i] >= '0' && m.p[i] <= '9' && n < 1000000)
			n = n * 10 + (unsigned)(m.p[i++] - '0');
		if (i >= m.len || m.p[i] != ':')
			break;
		line = line ? line : n;
		m = sl_str_n(m.p + i + 1, m.len - i - 1);
		while (m.len && m.p[0] == ' ')
			m.p++, m.len--;
	}
	char text[SL_ERROR_TEXT_BYTES]; /* a script may raise any bytes */
	size_t len = m.len < sizeof(text) - 1 ? m.len : sizeof(text) - 1;
	memcpy(text, m.p, len);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 && text[i] != '\n' && text[i] != '\t')
			text[i] = '?';
	sl_utf8_make_valid(text, &len);
	m = len ? sl_str_n(text, len) : SL_STR("it failed without a message");
	if (lines && line)
		return sl_fail(err, SL_EXPRESSION, "line %u: " SL_STR_FMT, line, SL_STR_ARG(m));
	return sl_fail(err, SL_EXPRESSION, SL_STR_FMT, SL_STR_ARG(m));
}

static enum sl_code broken_text(enum sl_lua_broken broken, struct sl_error *err)
{
	switch (broken) {
	case SL_LUA_INSTRUCTIONS:
		return sl_fail(err, SL_EXPRESSION,
			       "it ran for more than %d instructions and was stopped; does it loop for ever?",
			       SL_LIMIT_LUA_INSTRUCTIONS);
	case SL_LUA_MEMORY:
		return sl_fail(err, SL_EXPRESSION, "it needed more than %u MiB of memory and was stopped",
			       SL_LIMIT_LUA_MEMORY_BYTES >> 20);
	case SL_LUA_TIME:
		return sl_fail(err, SL_EXPRESSION, "it took more than %d ms and was stopped", SL_LIMIT_LUA_MS);
	case SL_LUA_PATTERN:
		return sl_fail(err, SL_EXPRESSION,
			       "its text patterns needed more than %d steps and it was stopped; simplify the pattern",
			       SL_LIMIT_LUA_PATTERN_STEPS);
	case SL_LUA_HOST_MEMORY:
	case SL_LUA_INTACT:
		break;
	}
	return sl_fail(err, SL_NO_MEMORY, "no memory for an expression");
}

enum sl_code sl_lua_run(struct sl_lua *s, lua_CFunction body, void *arg, bool lines, struct sl_error *err)
{
	lua_State *L = s->L;
	enum sl_code rc = SL_OK;
	s->broken = SL_LUA_INTACT;
	s->cap_bytes = s->used_bytes + SL_LIMIT_LUA_MEMORY_BYTES;
	s->instructions_left = SL_LIMIT_LUA_INSTRUCTIONS;
	s->pattern_steps_left = SL_LIMIT_LUA_PATTERN_STEPS;
	s->churn_bytes = s->charged = s->cap_hits = 0;
	s->cpu_start_us = 0;
	lua_sethook(L, hook, LUA_MASKCOUNT, HOOK_EVERY);
	lua_settop(L, 0);
	lua_pushcfunction(L, describe);
	lua_pushcfunction(L, body); /* light C functions: nothing is allocated out here */
	lua_pushlightuserdata(L, arg);
	s->armed = true;
	int status = lua_pcall(L, 1, 0, 1);
	s->armed = false;
	lua_sethook(L, NULL, 0, 0);

	if (status == LUA_ERRMEM && s->broken == SL_LUA_INTACT)
		s->broken = s->malloc_failed ? SL_LUA_HOST_MEMORY : SL_LUA_MEMORY;
	if (s->broken != SL_LUA_INTACT) {
		if (s->broken != SL_LUA_HOST_MEMORY)
			aborts++;
		rc = broken_text(s->broken, err);
	} else if (status != LUA_OK) {
		size_t len = 0;
		const char *m = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
		rc = fail_with(err, m ? sl_str_n(m, len) : SL_STR("it failed"), lines);
	}
	lua_settop(L, 0);
	json_object_put(s->held);
	s->held = NULL;
	if (s->scratch.cap > CHURN_BYTES)
		sl_buf_fini(&s->scratch), sl_buf_init(&s->scratch, SL_LIMIT_LUA_MEMORY_BYTES);
	return rc;
}
