/* The pattern matcher against Lua's own, on random patterns and subjects. */
#include "tests/lib/test.h"

#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "engine/lua_priv.h"

static const char script[] = "local s, p, init = ...\n"
			     "local out = {}\n"
			     "local function add(...) for i = 1, select('#', ...) do out[#out + 1] = "
			     "tostring((select(i, ...))) end out[#out + 1] = '|' end\n"
			     "add(string.find(s, p, init))\n"
			     "add(string.match(s, p, init))\n"
			     "add(string.find(s, p, init, true))\n"
			     "for a, b in string.gmatch(s, p) do add(a, b) end\n"
			     "add(string.gsub(s, p, '<%0>'))\n"
			     "add(string.gsub(s, p, '%%', 2))\n"
			     "add(string.gsub(s, p, function(...) if select('#', ...) % 2 == 1 then return '[' .. "
			     "tostring((...)) .. ']' end end))\n"
			     "add(string.gsub(s, p, {a = 'A', b = false, ab = 12}))\n"
			     "return table.concat(out, ',')";

/* The thread sanitizer does not see Lua's longjmp in a library without instrumentation: it keeps the frames that were
 * left and gives up after 65,536. */
#if defined(__SANITIZE_THREAD__)
#define ROUNDS 1000
#else
#define ROUNDS 20000
#endif

struct call {
	const char *subject, *pattern;
	int init;
	char result[8192];
};

static uint32_t seed = 12345;
static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % sides;
}

static void add(char *to, size_t max, const char *text)
{
	size_t len = strlen(to);
	snprintf(to + len, max - len, "%s", text);
}

/* Patterns that are well formed: the library notices a bad one only when the match gets there. */
static void random_pattern(char *p, size_t max)
{
	static const char *const singles[] = {"a",    "b",    "c",    ".",     "%a",    "%d",    "%W",  "%s",
					      "%%",   "%.",   "[ab]", "[^a]",  "[a-c]", "[%d_]", "[]]", "[^]a]",
					      "[a-]", "[%]]", "x",    "-",     "[b-a]", "[%w-]", "$",   "^",
					      "1",    " ",    "%S",   "[^%s]", "(",     "*"};
	static const char *const repeats[] = {"", "", "", "*", "+", "-", "?"};
	char number[16];
	unsigned open = 0, captures = 0, closed = 0;
	bool position[32] = {false}, done[32] = {false};
	unsigned stack[32];
	p[0] = 0;
	if (dice(6) == 0)
		add(p, max, "^");
	for (unsigned n = 1 + dice(7); n > 0; n--) {
		switch (dice(14)) {
		case 0:
			if (captures < 6) {
				stack[open++] = captures++;
				add(p, max, "(");
			}
			break;
		case 1:
			if (open) {
				done[stack[--open]] = true;
				closed++;
				add(p, max, ")");
			}
			break;
		case 2:
			if (captures < 6) {
				position[captures++] = true;
				add(p, max, "()");
			}
			break;
		case 3:
			add(p, max, dice(2) ? "%b()" : "%bab");
			break;
		case 4:
			add(p, max, dice(2) ? "%f[%a]" : "%f[^a]");
			break;
		case 5:
			for (unsigned i = 0; i < captures; i++)
				if (done[i] && !position[i]) {
					snprintf(number, sizeof(number), "%%%u", i + 1);
					add(p, max, number);
					break;
				}
			break;
		default: {
			const char *single = singles[dice(SL_COUNT_OF(singles))];
			if (strcmp(single, "(") == 0)
				single = "%(";
			add(p, max, single);
			if (strcmp(single, "%b()") != 0)
				add(p, max, repeats[dice(SL_COUNT_OF(repeats))]);
			break;
		}
		}
	}
	while (open--)
		add(p, max, ")");
	if (dice(6) == 0)
		add(p, max, "$");
}

static void random_subject(char *s, size_t max)
{
	static const char letters[] = "aaabbbcab()x1 -.$^_]%*";
	size_t n = dice((uint32_t)max - 1);
	for (size_t i = 0; i < n; i++)
		s[i] = letters[dice(sizeof(letters) - 1)];
	s[n] = 0;
}

static int ours(lua_State *L)
{
	struct call *c = lua_touserdata(L, 1);
	sl_lua_push_chunk(L, 1ull << 60, SL_STR(""), sl_str(script));
	lua_pop(L, 1);
	lua_pushstring(L, c->subject);
	lua_pushstring(L, c->pattern);
	lua_pushinteger(L, c->init);
	lua_call(L, 3, 1);
	snprintf(c->result, sizeof(c->result), "%s", lua_tostring(L, -1));
	return 0;
}

static void every_random_pattern_gives_what_the_library_gives(void **state)
{
	lua_State *L = luaL_newstate();
	unsigned failed = 0, matched = 0;
	assert_non_null(L);
	luaL_openlibs(L);
	assert_int_equal(luaL_loadstring(L, script), LUA_OK);
	for (int i = 0; i < ROUNDS; i++) {
		char pattern[128], subject[16];
		struct call c = {.subject = subject, .pattern = pattern};
		struct sl_error err = {0};
		random_pattern(pattern, sizeof(pattern));
		random_subject(subject, sizeof(subject));
		c.init = (int)dice(9) - 4;
		lua_settop(L, 1);
		lua_pushvalue(L, 1);
		lua_pushstring(L, subject);
		lua_pushstring(L, pattern);
		lua_pushinteger(L, c.init);
		int status = lua_pcall(L, 3, 1, 0);
		struct sl_lua *lua = sl_lua_take();
		enum sl_code rc = sl_lua_run(lua, ours, &c, false, &err);
		sl_lua_give(lua);
		if ((rc == SL_OK) != (status == LUA_OK))
			fail_msg("'%s' on '%s': %s / %s", pattern, subject, err.text, lua_tostring(L, -1));
		failed += rc != SL_OK;
		matched += rc == SL_OK && strncmp(c.result, "nil", 3) != 0;
		if (rc == SL_OK && strcmp(c.result, lua_tostring(L, -1)) != 0)
			fail_msg("'%s' on '%s' from %d\n ours %s\n Lua  %s", pattern, subject, c.init, c.result,
				 lua_tostring(L, -1));
	}
	assert_true(matched > ROUNDS / 5); /* or the comparison says little */
	assert_true(failed < ROUNDS / 10);
	lua_close(L);
	sl_lua_drop_idle();
}

static void any_bytes_as_a_pattern_end_with_an_answer_or_an_error(void **state)
{
	for (int i = 0; i < ROUNDS; i++) {
		char pattern[40], subject[16];
		struct call c = {.subject = subject, .pattern = pattern, .init = 1};
		struct sl_error err = {0};
		static const char letters[] = "%%%%[[]]()()^$*+-?.abfdw1290xab";
		size_t n = dice(sizeof(pattern) - 1);
		for (size_t k = 0; k < n; k++)
			pattern[k] = letters[dice(sizeof(letters) - 1)];
		pattern[n] = 0;
		random_subject(subject, sizeof(subject));
		struct sl_lua *lua = sl_lua_take();
		enum sl_code rc = sl_lua_run(lua, ours, &c, false, &err);
		sl_lua_give(lua);
		assert_true(rc == SL_OK || (rc == SL_EXPRESSION && err.text[0]));
	}
	sl_lua_drop_idle();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_random_pattern_gives_what_the_library_gives),
		cmocka_unit_test(any_bytes_as_a_pattern_end_with_an_answer_or_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
