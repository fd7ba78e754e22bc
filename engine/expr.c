/* engine/expr.c: compiles and evaluates expressions.
 *
 * Lua checks the grammar, expr_read.c finds what is mentioned. An evaluation converts only those members of a node's
 * output that the source names (`nodes.judge.json.score` does not turn the judge's whole text into a Lua string), and
 * an expression that is nothing but a path never enters Lua. */
#include "engine/expr_priv.h"

#include <stdlib.h>

#include "base/limits.h"
#include "engine/lua_priv.h"

#define SOURCE_BYTES 65536 /* of one expression or block */

static _Atomic uint64_t last_id;

/* "nodes.judge.json" up to step n */
static void write_path(const struct sl_expr *e, size_t n, struct sl_buf *b)
{
	const struct sl_ref *ref = &e->mentions[0].ref;
	sl_buf_adds(b, sl_ref_root_names[ref->root]);
	if (ref->node)
		sl_buf_addf(b, ".%s", ref->node);
	for (size_t i = 0; i < n; i++)
		if (e->steps[i].key)
			sl_buf_addf(b, ".%s", e->steps[i].key);
		else
			sl_buf_addf(b, "[%lld]", (long long)e->steps[i].index);
}

static enum sl_code path_failed(const struct sl_expr *e, size_t n, struct json_object *o, struct sl_error *err)
{
	static const char *const types[] = {
		[json_type_null] = "null",    [json_type_boolean] = "a boolean", [json_type_double] = "a number",
		[json_type_int] = "a number", [json_type_string] = "a text",     [json_type_object] = "an object",
		[json_type_array] = "a list"};
	SL_BUF(path, SL_ERROR_TEXT_BYTES);
	const struct sl_path_step *step = &e->steps[n];
	write_path(e, n, &path);
	if (step->key)
		return sl_fail(err, SL_EXPRESSION, "%s is %s, so .%s cannot be read", path.data ? path.data : "a value",
			       types[json_object_get_type(o)], step->key);
	return sl_fail(err, SL_EXPRESSION, "%s is %s, so [%lld] cannot be read", path.data ? path.data : "a value",
		       types[json_object_get_type(o)], (long long)step->index);
}

/* *out is borrowed. The same answers as Lua gives for the same path. */
static enum sl_code walk_path(const struct sl_expr *e, const struct sl_env *env, struct json_object **out,
			      struct sl_error *err)
{
	struct json_object *o = env->get(env->ctx, &e->mentions[0].ref);
	for (size_t i = 0; i < e->n_steps; i++) {
		const struct sl_path_step *step = &e->steps[i];
		struct json_object *v = NULL;
		switch (json_object_get_type(o)) {
		case json_type_object:
			if (step->key)
				json_object_object_get_ex(o, step->key, &v);
			break;
		case json_type_array:
			if (!step->key && step->index >= 1 && (uint64_t)step->index <= json_object_array_length(o))
				v = json_object_array_get_idx(o, (size_t)step->index - 1);
			break;
		default:
			return path_failed(e, i, o, err);
		}
		o = v;
	}
	*out = o;
	return SL_OK;
}

/* ---- evaluation in Lua ---- */

struct job {
	const struct sl_expr *expr;
	const struct sl_env *env;
	struct json_object *out;
	bool test, truth;
};

static void push_parts(lua_State *L, struct json_object *o, const struct sl_expr_part *part)
{
	if (part->whole || !json_object_is_type(o, json_type_object)) {
		sl_lua_push_json(L, o);
		return;
	}
	luaL_checkstack(L, 4, NULL);
	lua_createtable(L, 0, (int)part->n_children);
	for (const struct sl_expr_part *c = part->children; c; c = c->next) {
		struct json_object *v = NULL;
		if (!json_object_object_get_ex(o, c->key, &v) || !v)
			continue;
		lua_pushstring(L, c->key);
		push_parts(L, v, c);
		lua_rawset(L, -3);
	}
}

static struct sl_str chunk_head(enum sl_expr_kind kind)
{
	return kind == SL_EXPR_VALUE ? SL_STR("return ") : SL_STR("");
}

static int eval_body(lua_State *L)
{
	struct job *job = lua_touserdata(L, 1);
	const struct sl_expr *e = job->expr;
	bool has_nodes = false;
	sl_lua_push_chunk(L, e->id, chunk_head(e->kind), e->source);
	int env = lua_gettop(L);
	for (size_t i = 0; i < e->n_refs; i++) {
		const struct sl_mention *m = &e->mentions[i];
		struct json_object *o = job->env->get(job->env->ctx, &m->ref);
		if (m->ref.root != SL_REF_NODE) {
			lua_pushstring(L, sl_ref_root_names[m->ref.root]);
			push_parts(L, o, &m->part);
			lua_rawset(L, env);
			continue;
		}
		if (!has_nodes) {
			has_nodes = true;
			lua_newtable(L);
			lua_pushliteral(L, "nodes");
			lua_pushvalue(L, -2);
			lua_rawset(L, env);
			lua_replace(L, 1); /* the nodes are at 1 now; the job is not needed there any more */
		}
		lua_pushstring(L, m->ref.node);
		push_parts(L, o, &m->part);
		lua_rawset(L, 1);
	}
	lua_settop(L, env - 1);
	lua_call(L, 0, 1);
	if (job->test) {
		job->truth = sl_lua_truth(L, -1);
		return 0;
	}
	sl_lua_hold_json(L, -1);
	job->out = SL_TAKE(sl_lua_of(L)->held);
	return 0;
}

static enum sl_code run_job(struct job *job, struct sl_error *err)
{
	struct sl_lua *lua = sl_lua_take();
	if (!lua)
		return sl_fail(err, SL_NO_MEMORY, "no memory for an expression");
	enum sl_code rc = sl_lua_run(lua, eval_body, job, job->expr->kind == SL_EXPR_BLOCK, err);
	sl_lua_give(lua);
	if (rc != SL_OK) {
		json_object_put(job->out);
		job->out = NULL;
	}
	return rc;
}

static int check_body(lua_State *L)
{
	const struct sl_expr *e = lua_touserdata(L, 1);
	sl_lua_push_chunk(L, e->id, chunk_head(e->kind), e->source);
	return 0;
}

/* A node may be called `end`, but Lua has that word for itself. The sentence Lua has for it helps nobody. */
static bool lua_word_as_node(const struct sl_expr *e, struct sl_error *err)
{
	static const char *const words[] = {"and",      "break",  "do",   "else", "elseif", "end",  "false", "for",
					    "function", "goto",   "if",   "in",   "local",  "nil",  "not",   "or",
					    "repeat",   "return", "then", "true", "until",  "while"};
	struct sl_lexer lx = {.p = e->source.p, .end = e->source.p + e->source.len};
	bool nodes = false, dot = false;
	for (sl_lex_next(&lx); lx.tok != SL_TOK_END && lx.tok != SL_TOK_BAD; sl_lex_next(&lx)) {
		for (size_t i = 0; dot && i < SL_COUNT_OF(words); i++)
			if (sl_str_is(lx.text, words[i])) {
				(void)sl_fail(err, SL_INVALID,
					      "'%s' is a word of Lua: write nodes[\"%s\"] for the node of that name",
					      words[i], words[i]);
				return true;
			}
		dot = nodes && sl_str_is(lx.text, ".");
		nodes = lx.tok == SL_TOK_NAME && sl_str_is(lx.text, "nodes");
	}
	return false;
}

static enum sl_code check_grammar(const struct sl_expr *e, struct sl_error *err)
{
	struct sl_lua *lua = sl_lua_take();
	if (!lua)
		return sl_fail(err, SL_NO_MEMORY, "no memory for an expression");
	enum sl_code rc = sl_lua_run(lua, check_body, (void *)(uintptr_t)e, e->kind == SL_EXPR_BLOCK, err);
	sl_lua_give(lua);
	if (rc != SL_EXPRESSION)
		return rc;
	if (!lua_word_as_node(e, err) && err)
		err->code = SL_INVALID;
	return SL_INVALID;
}

/* ---- the interface ---- */

void sl_expr_free(struct sl_expr *e)
{
	if (!e)
		return;
	sl_arena_fini(&e->arena);
	free(e);
}

enum sl_code sl_expr_compile(struct sl_str source, enum sl_expr_kind kind, struct sl_expr **out, struct sl_error *err)
{
	if (source.len > SOURCE_BYTES)
		return sl_fail(err, SL_INVALID, "it is longer than %d bytes", SOURCE_BYTES);
	SL_AUTO(sl_expr) e = calloc(1, sizeof(*e));
	if (!e)
		return sl_fail(err, SL_NO_MEMORY, "no memory for an expression");
	sl_arena_init(&e->arena, SL_LIMIT_LUA_MEMORY_BYTES);
	e->id = ++last_id;
	e->kind = kind;
	e->source.p = sl_arena_str(&e->arena, source);
	e->source.len = source.len;
	if (!e->source.p)
		return sl_fail(err, SL_NO_MEMORY, "no memory for an expression");
	enum sl_code rc = check_grammar(e, err);
	if (rc == SL_OK)
		rc = sl_expr_read(e, err);
	if (rc != SL_OK)
		return rc;
	e->refs = sl_arena_array(&e->arena, e->n_refs ? e->n_refs : 1, sizeof(*e->refs));
	if (!e->refs)
		return sl_fail(err, SL_NO_MEMORY, "no memory for an expression");
	for (size_t i = 0; i < e->n_refs; i++)
		e->refs[i] = e->mentions[i].ref;
	sl_expr_find_path(e);
	*out = SL_TAKE(e);
	return SL_OK;
}

const struct sl_ref *sl_expr_refs(const struct sl_expr *e, size_t *n)
{
	*n = e->n_refs;
	return e->refs;
}

enum sl_code sl_expr_eval(const struct sl_expr *e, const struct sl_env *env, struct json_object **out,
			  struct sl_error *err)
{
	*out = NULL;
	if (e->is_path) {
		struct json_object *o = NULL;
		enum sl_code rc = walk_path(e, env, &o, err);
		if (rc == SL_OK && o && !(*out = sl_json_dup(o)))
			return sl_fail(err, SL_NO_MEMORY, "no memory for a value");
		return rc;
	}
	struct job job = {.expr = e, .env = env};
	enum sl_code rc = run_job(&job, err);
	*out = job.out;
	return rc;
}

enum sl_code sl_expr_test(const struct sl_expr *e, const struct sl_env *env, bool *out, struct sl_error *err)
{
	if (e->is_path) {
		struct json_object *o = NULL;
		enum sl_code rc = walk_path(e, env, &o, err);
		*out = rc == SL_OK && o && (!json_object_is_type(o, json_type_boolean) || json_object_get_boolean(o));
		return rc;
	}
	struct job job = {.expr = e, .env = env, .test = true};
	enum sl_code rc = run_job(&job, err);
	*out = rc == SL_OK && job.truth;
	return rc;
}

uint64_t sl_expr_aborts(void)
{
	return sl_lua_aborts();
}
