/* nodes/tools/calculate.c: arithmetic. What a model writes is data, so it is read here before the sandbox computes it:
 * numbers, operators, parentheses and the functions below, and nothing else. */
#include <ctype.h>
#include <math.h>

#include "engine/expr.h"
#include "engine/tool.h"

#define EXPRESSION_BYTES 2000

static const char *const functions[] = {"abs",  "acos", "asin", "atan", "ceil", "cos", "deg", "exp",  "floor", "fmod",
					"huge", "log",  "max",  "min",  "pi",   "rad", "sin", "sqrt", "tan"};

static bool is_function(struct sl_str name)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (sl_str_is(name, functions[i]))
			return true;
	return false;
}

/* The same with math. in front of the names, for the sandbox. */
static enum sl_code read_expression(struct sl_str text, struct sl_buf *out, struct sl_error *err)
{
	for (size_t i = 0; i < text.len;) {
		unsigned char c = (unsigned char)text.p[i];
		size_t n = 1;
		if (isalpha(c)) {
			while (i + n < text.len && isalnum((unsigned char)text.p[i + n]))
				n++;
			struct sl_str name = sl_str_n(text.p + i, n);
			if (sl_str_is(name, "math") && i + n < text.len && text.p[i + n] == '.') {
				i += n + 1;
				continue;
			}
			if (!is_function(name))
				return sl_fail(err, SL_INVALID,
					       "'" SL_STR_FMT
					       "' is no function of the calculator; there are abs, ceil, "
					       "exp, floor, log, max, min, pi, sqrt, sin, cos, tan and the like",
					       SL_STR_ARG(name));
			sl_buf_adds(out, "math.");
		} else if (isdigit(c) || (c == '.' && i + 1 < text.len && isdigit((unsigned char)text.p[i + 1]))) {
			while (i + n < text.len &&
			       (isdigit((unsigned char)text.p[i + n]) || text.p[i + n] == '.' ||
				((text.p[i + n] == 'e' || text.p[i + n] == 'E') && i + n + 1 < text.len &&
				 (isdigit((unsigned char)text.p[i + n + 1]) || strchr("+-", text.p[i + n + 1]))) ||
				(strchr("+-", text.p[i + n]) && (text.p[i + n - 1] | 32) == 'e')))
				n++;
		} else if (!strchr("+-*/%^(),<>=~ \t\r\n", c) || !c) {
			return sl_fail(err, SL_INVALID, "the calculator does not know '%c'", isprint(c) ? c : '?');
		}
		if (c == '-' && out->len && out->data[out->len - 1] == '-')
			sl_buf_addc(out, ' '); /* two of them begin a comment in Lua, and are a sign here */
		sl_buf_add(out, text.p + i, n);
		if (isdigit(c) && !memchr(text.p + i, '.', n) && !memchr(text.p + i, 'e', n) &&
		    !memchr(text.p + i, 'E', n))
			sl_buf_adds(out, ".0"); /* whole numbers of Lua begin again when they get too large */
		i += n;
	}
	return out->failed ? sl_fail(err, SL_NO_MEMORY, "no memory for a sum") : SL_OK;
}

static struct json_object *nothing(void *ctx, const struct sl_ref *ref)
{
	return NULL;
}

static enum sl_step calculate_start(struct sl_node *n, struct json_object *args, struct sl_error *err) /* [run] */
{
	const struct sl_env env = {nothing, NULL};
	struct json_object *value = NULL, *out = NULL;
	SL_AUTO(sl_expr) e = NULL;
	SL_BUF(text, 8 * EXPRESSION_BYTES);
	if (read_expression(sl_json_get_str(args, "expression"), &text, err) != SL_OK ||
	    sl_expr_compile(sl_buf_str(&text), SL_EXPR_VALUE, &e, err) != SL_OK ||
	    sl_expr_eval(e, &env, &value, err) != SL_OK)
		return SL_FAILED;
	double d = json_object_get_double(value);
	if (json_object_is_type(value, json_type_double) && d == floor(d) && fabs(d) < 9007199254740992.0) { /* 2^53 */
		json_object_put(value);
		value = json_object_new_int64((int64_t)d); /* 42, not 42.0 */
	}
	if ((out = json_object_new_object()))
		sl_json_set(out, "value", value);
	else
		json_object_put(value);
	sl_node_complete(n, out);
	return SL_DONE;
}

const struct sl_tool sl_tool_calculate = {
	.name = "calculate",
	.description = "Computes an arithmetic expression in double precision, such as (17.5 * 12) / 3 or sqrt(2) ^ 3. "
		       "Returns { value }.",
	.args_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"expression\"], "
		"\"properties\": {"
		"  \"expression\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 2000,"
		"    \"description\": \"Numbers, + - * / // % ^, parentheses, and abs, ceil, exp, floor, log, max, "
		"min, pi, sqrt, sin, cos, tan.\" } } }",
	.start = calculate_start,
};
