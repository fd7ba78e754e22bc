/* engine/expr.h: Lua expressions, blocks and templates, compiled once and evaluated in a sandbox.
 *
 * Owns      a compiled thing owns its source and what it refers to; immutable and shared [const] after compiling.
 * Thread    compile and eval [any]; each evaluation runs in a state no other evaluation can see into.
 * Budgets   instructions, heap, pattern-matcher steps and time (base/limits.h; time of the processor, so that a busy
 *           machine fails nobody). Breaking one is SL_EXPRESSION with a sentence that names the budget; the process and
 * the other evaluations do not notice. Sandbox   no io, os (but os.date/os.time are absent too: time comes from `run`),
 * debug, load, require, string.dump, collectgarbage, getmetatable/setmetatable/rawset on strings, coroutines. Text
 * chunks only. Names seen: input, nodes, loop, item, index, run; json.encode/decode/array/null,
 * text.trim/lower/upper/split/join/ truncate/lines/len/contains (lower and upper: ASCII),
 * list.map/filter/sort/len/sum/contains/keys, math.* (nothing random), string.* (no dump, no pack), table.*, utf8.*,
 * tostring, tonumber, type, pairs, ipairs, next, select, error, pcall, assert. pcall cannot catch a broken budget. Any
 * other name that is not assigned is an error at compile time. Repeats   pairs and next go in the order of keys
 * (numbers, then texts), and nothing shows an address: the same source and values give the same result in every state
 * and process.
 */
#pragma once

#include "base/json.h"
#include "base/own.h"

enum sl_expr_kind {
	SL_EXPR_VALUE, /* an expression: `nodes.judge.score >= 90` */
	SL_EXPR_BLOCK, /* statements that return a value */
};

struct sl_expr;
struct sl_template;

/* What an expression mentions. Only literal references can be checked, so `nodes[x]` with a computed x is refused. */
enum sl_ref_root { SL_REF_INPUT, SL_REF_NODE, SL_REF_LOOP, SL_REF_ITEM, SL_REF_INDEX, SL_REF_RUN };
extern const char *const sl_ref_root_names[]; /* by enum sl_ref_root: "input", … */
struct sl_ref {
	enum sl_ref_root root;
	const char *node; /* id, for SL_REF_NODE */
};

/* SL_INVALID with a sentence that does not repeat the source (a block's begins with its line), or SL_NO_MEMORY. */
SL_MUST_USE enum sl_code sl_expr_compile(struct sl_str source, enum sl_expr_kind kind, struct sl_expr **out,
					 struct sl_error *err);
void sl_expr_free(struct sl_expr *e);
SL_DEFINE_AUTO(sl_expr)
const struct sl_ref *sl_expr_refs(const struct sl_expr *e, size_t *n); /* each once */

/* Where values come from: borrowed objects, asked for only when the expression mentions them. NULL is JSON null. */
struct sl_env {
	struct json_object *(*get)(void *ctx, const struct sl_ref *ref);
	void *ctx;
};

/* *out is the caller's (NULL for null), a copy. A function, a library or a cycle is SL_EXPRESSION. A Lua table with
 * keys 1..n becomes an array, an empty one an object unless it came from a JSON array or json.array(), any other an
 * object with sorted keys. A member that is null is absent in Lua, so that `loop.last and …` works, but comes out again
 * when the object is handed on whole; a null inside an array is json.null, so that places stay. Integers stay integers.
 */
SL_MUST_USE enum sl_code sl_expr_eval(const struct sl_expr *e, const struct sl_env *env, struct json_object **out,
				      struct sl_error *err);
/* nil, false and json.null are false, all else true. */
SL_MUST_USE enum sl_code sl_expr_test(const struct sl_expr *e, const struct sl_env *env, bool *out,
				      struct sl_error *err);

/* A JSON value whose strings may hold {{ expression }}: alone (but for spaces) it yields the typed value, inside text
 * it is interpolated (strings as they are, null as nothing, other values as JSON; numbers without a trailing .0).
 * `{{{{` writes a literal `{{`. The value is copied. Errors say where: "/messages/0: in {{ … }} at column 5: …". */
SL_MUST_USE enum sl_code sl_template_compile(struct json_object *value, struct sl_template **out, struct sl_error *err);
void sl_template_free(struct sl_template *t);
SL_DEFINE_AUTO(sl_template)
const struct sl_ref *sl_template_refs(const struct sl_template *t, size_t *n); /* each once */
bool sl_template_is_constant(const struct sl_template *t);
SL_MUST_USE enum sl_code sl_template_eval(const struct sl_template *t, const struct sl_env *env,
					  struct json_object **out, struct sl_error *err);

/* True when the string has a {{ in it, so its type is known only after evaluation. */
bool sl_template_in(struct sl_str text);

uint64_t sl_expr_aborts(void); /* evaluations that broke a budget, since start */
