/* tests/fuzz/fuzz_expression.c: bytes as an expression, a block and a template. What compiles ends with a value or
 * SL_EXPRESSION; what comes out can be written and read back; an expression inside {{ }} refers to the same nodes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/expr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct json_object *world_get(void *ctx, const struct sl_ref *ref)
{
	static const char *const roots[] = {"input", "nodes", "loop", "item", "index", "run"};
	struct json_object *o = sl_json_get(ctx, roots[ref->root]);
	return ref->node ? sl_json_get(o, ref->node) : o;
}

static void evaluate(const struct sl_expr *e, const struct sl_env *env)
{
	SL_AUTO_JSON out = NULL;
	SL_AUTO_JSON back = NULL;
	struct sl_error err = {0};
	bool truth = false;
	SL_BUF(text, 64u << 20);
	enum sl_code rc = sl_expr_eval(e, env, &out, &err);
	SL_BUG_ON(rc != SL_OK && rc != SL_EXPRESSION);
	SL_BUG_ON(rc != SL_OK && (out || !err.text[0]));
	if (rc != SL_OK)
		return;
	sl_json_write(&text, out);
	rc = sl_json_parse(sl_buf_str(&text), &back, &err);
	SL_BUG_ON(rc != SL_OK && !strstr(err.text, "nested deeper")); /* a member of the world, wrapped */
	rc = sl_expr_test(e, env, &truth, &err);
	SL_BUG_ON(rc != SL_OK && rc != SL_EXPRESSION);
}

static bool same_refs(const struct sl_ref *a, size_t n, const struct sl_ref *b, size_t m)
{
	for (size_t i = 0; n == m && i < n; i++)
		if (a[i].root != b[i].root || (a[i].root == SL_REF_NODE && strcmp(a[i].node, b[i].node) != 0))
			return false;
	return n == m;
}

static void in_a_template(struct sl_str source, const struct sl_expr *e, const struct sl_env *env)
{
	SL_BUF(text, 1 << 20);
	SL_AUTO(sl_template) t = NULL;
	SL_AUTO_JSON out = NULL;
	struct sl_error err = {0};
	size_t n, m;
	sl_buf_adds(&text, "a {{ ");
	sl_buf_add(&text, source.p, source.len);
	sl_buf_adds(&text, "\n}} b"); /* the line break ends a comment */
	SL_AUTO_JSON v = json_object_new_string_len(text.data, (int)text.len);
	if (!e || sl_template_compile(v, &t, &err) != SL_OK)
		return;
	const struct sl_ref *a = sl_expr_refs(e, &n), *b = sl_template_refs(t, &m);
	SL_BUG_ON(!same_refs(a, n, b, m));
	enum sl_code rc = sl_template_eval(t, env, &out, &err);
	SL_BUG_ON(rc != SL_OK && rc != SL_EXPRESSION);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct json_object *world;
	struct sl_error err = {0};
	struct sl_str source = sl_str_n((const char *)data, size);
	struct sl_env env = {world_get, NULL};
	if (!world && sl_json_parse(SL_STR("{\"input\":{\"topic\":\"cats\",\"n\":null,\"l\":[1,2,null]},\"nodes\":{"
					   "\"a\":{\"text\":\"x y\",\"score\":9},"
					   "\"b-c\":{\"json\":{\"k\":[{\"x\":1}]}}},\"loop\":{\"index\":1},\"item\":3,"
					   "\"index\":2,\"run\":{\"id\":\"r\"}}"),
				    &world, &err) != SL_OK)
		abort();
	env.ctx = world;
	for (int kind = SL_EXPR_VALUE; kind <= SL_EXPR_BLOCK; kind++) {
		SL_AUTO(sl_expr) e = NULL;
		enum sl_code rc = sl_expr_compile(source, (enum sl_expr_kind)kind, &e, &err);
		SL_BUG_ON(rc != SL_OK && rc != SL_INVALID);
		if (rc == SL_OK)
			evaluate(e, &env);
		if (kind == SL_EXPR_VALUE)
			in_a_template(source, e, &env);
	}
	SL_AUTO(sl_template) t = NULL;
	SL_AUTO_JSON out = NULL;
	SL_AUTO_JSON v = size < INT32_MAX ? json_object_new_string_len(source.p, (int)size) : NULL;
	if (sl_template_compile(v, &t, &err) == SL_OK) {
		enum sl_code rc = sl_template_eval(t, &env, &out, &err);
		SL_BUG_ON(rc != SL_OK && rc != SL_EXPRESSION);
	}
	return 0;
}
