/* engine/expr_read.c: a small reader of Lua sources.
 *
 * Lua has checked the grammar, so this one may trust it. It follows names through their scopes and finds what an
 * expression mentions: so a reference to a node is known before the run begins, and a misspelled name is an error when
 * the workflow is saved. */
#include "engine/expr_priv.h"

#include <stdlib.h>

#include "base/limits.h"

#define MENTIONS   1000 /* distinct roots, or free names, of one source */
#define MEMBERS    256  /* of one object that are told apart; with more it is converted whole */
#define PATH_STEPS 32
#define NEST       250 /* of our reader; Lua gives up at 200 */

const char *const sl_ref_root_names[] = {"input", "nodes", "loop", "item", "index", "run"}; /* as enum sl_ref_root */
static const char *const known_names[] = {"input", "nodes",    "loop",     "item",  "index",  "run",
					  "json",  "text",     "list",     "math",  "string", "table",
					  "utf8",  "tostring", "tonumber", "type",  "pairs",  "ipairs",
					  "next",  "select",   "error",    "pcall", "assert"};

/* ---- tokens ---- */

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* At "[[" or "[=[": the end of the long bracket. NULL: none opens here, or it does not close. */
static const char *long_bracket(const char *p, const char *end, bool *opens)
{
	size_t level = 0;
	*opens = false;
	if (p == end || *p++ != '[')
		return NULL;
	while (p < end && *p == '=')
		level++, p++;
	if (p == end || *p++ != '[')
		return NULL;
	*opens = true;
	for (; p < end; p++) {
		if (*p != ']')
			continue;
		const char *q = p + 1;
		while (q < end && *q == '=' && (size_t)(q - p - 1) < level)
			q++;
		if ((size_t)(q - p - 1) == level && q < end && *q == ']')
			return q + 1;
	}
	return NULL;
}

static const char *quoted(const char *p, const char *end)
{
	char quote = *p++;
	while (p < end && *p != quote) {
		if (*p == '\n')
			return NULL;
		if (*p == '\\' && p + 1 < end) {
			bool z = p[1] == 'z';
			p += 2;
			while (z && p < end && strchr(" \t\r\n\v\f", *p) && *p)
				p++;
			continue;
		}
		p++;
	}
	return p < end ? p + 1 : NULL;
}

static bool lex_space(struct sl_lexer *lx)
{
	bool opens;
	for (;;) {
		while (lx->p < lx->end && strchr(" \t\r\n\v\f", *lx->p) && *lx->p)
			lx->p++;
		if (lx->end - lx->p < 2 || lx->p[0] != '-' || lx->p[1] != '-')
			return true;
		const char *close = long_bracket(lx->p + 2, lx->end, &opens);
		if (opens && !close)
			return false;
		if (!close) {
			close = memchr(lx->p, '\n', (size_t)(lx->end - lx->p));
			close = close ? close : lx->end;
		}
		lx->p = close;
	}
}

void sl_lex_next(struct sl_lexer *lx)
{
	static const char *const operators[] = {"...", "..", "==", "~=", "<=", ">=", "//", "::", "<<", ">>"};
	bool opens;
	const char *stop;
	lx->tok = SL_TOK_BAD;
	lx->text = sl_str_n(lx->p, 0);
	if (!lex_space(lx))
		return;
	const char *p = lx->p, *end = lx->end;
	if (p == end) {
		lx->tok = SL_TOK_END;
		return;
	}
	stop = p + 1;
	if (name_char(*p) && !(*p >= '0' && *p <= '9')) {
		while (stop < end && name_char(*stop))
			stop++;
		lx->tok = SL_TOK_NAME;
	} else if ((*p >= '0' && *p <= '9') || (*p == '.' && stop < end && *stop >= '0' && *stop <= '9')) {
		bool hex = *p == '0' && stop < end && (*stop | 32) == 'x';
		while (stop < end && (name_char(*stop) || *stop == '.' ||
				      ((*stop == '-' || *stop == '+') && (stop[-1] | 32) == (hex ? 'p' : 'e'))))
			stop++;
		lx->tok = SL_TOK_NUMBER;
	} else if (*p == '"' || *p == '\'') {
		stop = quoted(p, end);
		lx->tok = SL_TOK_STRING;
	} else if (*p == '[' && (stop = long_bracket(p, end, &opens), opens)) {
		lx->tok = SL_TOK_STRING;
	} else {
		stop = p + 1;
		for (size_t i = 0; i < SL_COUNT_OF(operators); i++) {
			size_t n = strlen(operators[i]);
			if ((size_t)(end - p) >= n && memcmp(p, operators[i], n) == 0) {
				stop = p + n;
				break;
			}
		}
		lx->tok = SL_TOK_OP;
	}
	if (!stop) {
		lx->tok = SL_TOK_BAD;
		return;
	}
	lx->text = sl_str_n(p, (size_t)(stop - p));
	lx->p = stop;
}

bool sl_expr_find_close(struct sl_str text, size_t *len)
{
	struct sl_lexer lx = {.p = text.p, .end = text.p + text.len};
	size_t depth = 0;
	for (;;) {
		sl_lex_next(&lx);
		if (lx.tok == SL_TOK_END || lx.tok == SL_TOK_BAD)
			return false;
		if (lx.tok != SL_TOK_OP)
			continue;
		if (lx.text.p[0] == '{') {
			depth++;
		} else if (lx.text.p[0] == '}') {
			if (depth) {
				depth--;
			} else if (lx.p < lx.end && *lx.p == '}') {
				*len = (size_t)(lx.text.p - text.p);
				return true;
			}
		}
	}
}

/* ---- the reader: scopes and mentions ---- */

struct names {
	struct sl_str *items;
	size_t n, cap;
};

struct reader {
	struct sl_lexer lx;
	struct sl_expr *expr;
	struct names locals, reads, writes;
	unsigned depth;
	struct sl_error *err;
	enum sl_code rc; /* first failure; later ones are ignored */
};

static enum sl_code reader_fail(struct reader *r, enum sl_code rc)
{
	if (r->rc == SL_OK)
		r->rc = rc;
	r->lx.p = r->lx.end; /* everything below ends at the end of the text */
	r->lx.tok = SL_TOK_END;
	r->lx.text.len = 0;
	return rc;
}

static void no_memory(struct reader *r)
{
	if (r->rc == SL_OK)
		reader_fail(r, sl_fail(r->err, SL_NO_MEMORY, "no memory for an expression"));
}

static void add_name(struct reader *r, struct names *to, struct sl_str name)
{
	if (to->n == to->cap) {
		size_t cap = to->cap ? to->cap * 2 : 16;
		struct sl_str *items = realloc(to->items, cap * sizeof(*items));
		if (!items) {
			no_memory(r);
			return;
		}
		to->items = items;
		to->cap = cap;
	}
	to->items[to->n++] = name;
}

static bool in_names(const struct names *names, struct sl_str name)
{
	for (size_t i = names->n; i-- > 0;)
		if (sl_str_eq(names->items[i], name))
			return true;
	return false;
}

static void add_global(struct reader *r, struct names *to, struct sl_str name)
{
	if (in_names(to, name))
		return;
	if (to->n >= MENTIONS)
		reader_fail(r, sl_fail(r->err, SL_INVALID, "it uses more than %d names", MENTIONS));
	else
		add_name(r, to, name);
}

static void next(struct reader *r)
{
	sl_lex_next(&r->lx);
	if (r->lx.tok == SL_TOK_BAD) /* Lua took it, so this does not happen */
		reader_fail(r, sl_fail(r->err, SL_INVALID, "a text or comment does not end"));
	if (r->lx.tok == SL_TOK_NAME && sl_str_is(r->lx.text, "_ENV")) /* it would hide names from us */
		reader_fail(r, sl_fail(r->err, SL_INVALID, "'_ENV' is not available in expressions"));
}

static bool at(const struct reader *r, const char *word)
{
	return r->lx.tok != SL_TOK_STRING && r->lx.tok != SL_TOK_END && sl_str_is(r->lx.text, word);
}

static bool eat(struct reader *r, const char *word)
{
	if (!at(r, word))
		return false;
	next(r);
	return true;
}

/* A text token without escapes: what is between the quotes. */
static bool plain_text(const struct sl_lexer *lx, struct sl_str *out)
{
	if (lx->tok != SL_TOK_STRING || lx->text.len < 2 || lx->text.p[0] == '[' ||
	    memchr(lx->text.p, '\\', lx->text.len))
		return false;
	*out = sl_str_n(lx->text.p + 1, lx->text.len - 2);
	return memchr(out->p, 0, out->len) == NULL;
}

/* After a value: .name or ["text"]. Takes it and returns the key. */
static bool static_key(struct reader *r, struct sl_str *key)
{
	struct sl_lexer ahead = r->lx;
	if (ahead.tok != SL_TOK_OP)
		return false;
	if (sl_str_is(ahead.text, ".")) {
		sl_lex_next(&ahead);
		*key = ahead.text;
		if (ahead.tok != SL_TOK_NAME)
			return false;
	} else if (sl_str_is(ahead.text, "[")) {
		sl_lex_next(&ahead);
		if (!plain_text(&ahead, key))
			return false;
		sl_lex_next(&ahead);
		if (ahead.tok != SL_TOK_OP || !sl_str_is(ahead.text, "]"))
			return false;
	} else {
		return false;
	}
	r->lx = ahead;
	next(r);
	return true;
}

static struct sl_expr_part *add_part(struct reader *r, struct sl_expr_part *to, struct sl_str key)
{
	for (struct sl_expr_part *c = to->children; c; c = c->next)
		if (sl_str_is(key, c->key))
			return c;
	if (to->n_children >= MEMBERS) {
		to->whole = true;
		return NULL;
	}
	struct sl_expr_part *c = sl_arena_alloc(&r->expr->arena, sizeof(*c));
	if (c)
		c->key = sl_arena_str(&r->expr->arena, key);
	if (!c || !c->key) {
		no_memory(r);
		return NULL;
	}
	c->next = to->children;
	to->children = c;
	to->n_children++;
	return c;
}

static struct sl_mention *add_mention(struct reader *r, enum sl_ref_root root, struct sl_str node)
{
	struct sl_expr *e = r->expr;
	for (size_t i = 0; i < e->n_refs; i++)
		if (e->mentions[i].ref.root == root &&
		    (root != SL_REF_NODE || sl_str_is(node, e->mentions[i].ref.node)))
			return &e->mentions[i];
	if (e->n_refs >= MENTIONS) {
		reader_fail(r, sl_fail(r->err, SL_INVALID, "it refers to more than %d nodes", MENTIONS));
		return NULL;
	}
	if ((e->n_refs & (e->n_refs - 1)) == 0) { /* full at every power of two */
		struct sl_mention *more = sl_arena_array(&e->arena, e->n_refs ? e->n_refs * 2 : 1, sizeof(*more));
		if (!more) {
			no_memory(r);
			return NULL;
		}
		if (e->n_refs)
			memcpy(more, e->mentions, e->n_refs * sizeof(*more));
		e->mentions = more;
	}
	struct sl_mention *m = &e->mentions[e->n_refs];
	m->ref.root = root;
	m->ref.node = root == SL_REF_NODE ? sl_arena_str(&e->arena, node) : NULL;
	if (root == SL_REF_NODE && !m->ref.node) {
		no_memory(r);
		return NULL;
	}
	e->n_refs++;
	return m;
}

/* The current token is behind a free name that is a root. */
static void read_mention(struct reader *r, enum sl_ref_root root)
{
	struct sl_str key = {"", 0};
	if (root == SL_REF_NODE && !static_key(r, &key)) {
		reader_fail(r, sl_fail(r->err, SL_INVALID,
				       "say which node: write nodes.<id> or nodes[\"<id>\"]; an id that is computed "
				       "cannot be checked"));
		return;
	}
	struct sl_mention *m = add_mention(r, root, key);
	struct sl_expr_part *p = m ? &m->part : NULL;
	while (p && static_key(r, &key)) {
		struct sl_expr_part *c = add_part(r, p, key);
		if (!c)
			return;
		p = c;
	}
	if (p)
		p->whole = true;
}

static void read_free_name(struct reader *r, struct sl_str name)
{
	for (size_t i = 0; i < SL_COUNT_OF(sl_ref_root_names); i++)
		if (sl_str_is(name, sl_ref_root_names[i])) {
			read_mention(r, (enum sl_ref_root)i);
			return;
		}
	add_global(r, &r->reads, name);
}

static void write_free_name(struct reader *r, struct sl_str name)
{
	for (size_t i = 0; i < SL_COUNT_OF(known_names); i++)
		if (sl_str_is(name, known_names[i])) {
			reader_fail(r, sl_fail(r->err, SL_INVALID,
					       "'%s' cannot be assigned to; use a local variable of another name",
					       known_names[i]));
			return;
		}
	add_global(r, &r->writes, name);
}

static void read_expr(struct reader *r);
static void read_block(struct reader *r);

static void read_expr_list(struct reader *r)
{
	do
		read_expr(r);
	while (eat(r, ","));
}

/* Parameters and body, up to and with `end`. */
static void read_function(struct reader *r, bool method)
{
	size_t scope = r->locals.n;
	if (method)
		add_name(r, &r->locals, SL_STR("self"));
	SL_IGNORE(eat(r, "(")); /* the grammar has been checked */
	while (r->lx.tok != SL_TOK_END && !eat(r, ")")) {
		if (r->lx.tok == SL_TOK_NAME)
			add_name(r, &r->locals, r->lx.text);
		next(r);
	}
	read_block(r);
	SL_IGNORE(eat(r, "end"));
	r->locals.n = scope;
}

static void read_table(struct reader *r)
{
	next(r);
	while (r->lx.tok != SL_TOK_END && !eat(r, "}")) {
		struct sl_lexer ahead = r->lx;
		if (eat(r, "[")) {
			read_expr(r);
			SL_IGNORE(eat(r, "]"));
			SL_IGNORE(eat(r, "="));
		} else if (r->lx.tok == SL_TOK_NAME) {
			sl_lex_next(&ahead);
			if (ahead.tok == SL_TOK_OP && sl_str_is(ahead.text, "=")) {
				next(r);
				next(r);
			}
		}
		read_expr(r);
		if (!eat(r, ","))
			SL_IGNORE(eat(r, ";"));
	}
}

/* A name or a parenthesis with what follows it. In a statement, a lone name may turn out to be the target of an
 * assignment. */
static void read_suffixed(struct reader *r, bool statement)
{
	if (r->lx.tok == SL_TOK_NAME) {
		struct sl_str name = r->lx.text;
		next(r);
		if (!in_names(&r->locals, name)) {
			if (statement && (at(r, "=") || at(r, ",")))
				write_free_name(r, name);
			else
				read_free_name(r, name);
		}
	} else {
		next(r); /* ( */
		read_expr(r);
		SL_IGNORE(eat(r, ")"));
	}
	for (;;) {
		if (eat(r, ".")) {
			next(r);
		} else if (at(r, "[")) {
			next(r);
			read_expr(r);
			SL_IGNORE(eat(r, "]"));
		} else if (eat(r, ":")) {
			next(r);
		} else if (eat(r, "(")) {
			if (!at(r, ")"))
				read_expr_list(r);
			SL_IGNORE(eat(r, ")"));
		} else if (at(r, "{")) {
			read_table(r);
		} else if (r->lx.tok == SL_TOK_STRING) {
			next(r);
		} else {
			return;
		}
	}
}

static bool binary_operator(const struct reader *r)
{
	static const char *const ops[] = {"+",  "-", "*",  "/",   "//", "%", "^", "..", "==", "~=", "<",
					  "<=", ">", ">=", "and", "or", "&", "|", "~",  "<<", ">>"};
	for (size_t i = 0; i < SL_COUNT_OF(ops); i++)
		if (at(r, ops[i]))
			return true;
	return false;
}

static bool enter(struct reader *r)
{
	if (++r->depth <= NEST)
		return true;
	reader_fail(r, sl_fail(r->err, SL_INVALID, "it is nested too deeply"));
	return false;
}

static void read_expr(struct reader *r)
{
	if (enter(r)) {
		for (;;) {
			while (at(r, "not") || at(r, "-") || at(r, "#") || at(r, "~"))
				next(r);
			if (eat(r, "function"))
				read_function(r, false);
			else if (at(r, "{"))
				read_table(r);
			else if (r->lx.tok == SL_TOK_STRING || r->lx.tok == SL_TOK_NUMBER || at(r, "nil") ||
				 at(r, "true") || at(r, "false") || at(r, "..."))
				next(r);
			else if (r->lx.tok == SL_TOK_NAME || at(r, "("))
				read_suffixed(r, false);
			else
				reader_fail(r,
					    r->rc == SL_OK ? sl_fail(r->err, SL_INVALID, "it cannot be read") : r->rc);
			if (!binary_operator(r))
				break;
			next(r);
		}
	}
	r->depth--;
}

static void read_scope(struct reader *r)
{
	size_t scope = r->locals.n;
	read_block(r);
	r->locals.n = scope;
}

static void read_local(struct reader *r)
{
	struct names fresh = {0};
	if (eat(r, "function")) {
		add_name(r, &r->locals, r->lx.text);
		next(r);
		read_function(r, false);
		return;
	}
	do {
		add_name(r, &fresh, r->lx.text);
		next(r);
		if (eat(r, "<")) { /* <const>, <close> */
			next(r);
			SL_IGNORE(eat(r, ">"));
		}
	} while (eat(r, ","));
	if (eat(r, "="))
		read_expr_list(r); /* does not see the new names yet */
	for (size_t i = 0; i < fresh.n; i++)
		add_name(r, &r->locals, fresh.items[i]);
	free(fresh.items);
}

static void read_for(struct reader *r)
{
	struct names fresh = {0};
	size_t scope = r->locals.n;
	do {
		add_name(r, &fresh, r->lx.text);
		next(r);
	} while (eat(r, ","));
	if (!eat(r, "="))
		SL_IGNORE(eat(r, "in"));
	read_expr_list(r);
	for (size_t i = 0; i < fresh.n; i++)
		add_name(r, &r->locals, fresh.items[i]);
	free(fresh.items);
	SL_IGNORE(eat(r, "do"));
	read_block(r);
	SL_IGNORE(eat(r, "end"));
	r->locals.n = scope;
}

static void read_if(struct reader *r)
{
	do {
		read_expr(r);
		SL_IGNORE(eat(r, "then"));
		read_scope(r);
	} while (eat(r, "elseif"));
	if (eat(r, "else"))
		read_scope(r);
	SL_IGNORE(eat(r, "end"));
}

static void read_function_statement(struct reader *r)
{
	struct sl_str name = r->lx.text;
	bool method = false;
	next(r);
	if (!in_names(&r->locals, name)) {
		if (at(r, ".") || at(r, ":"))
			read_free_name(r, name);
		else
			write_free_name(r, name);
	}
	for (;;) {
		if (eat(r, ":"))
			method = true;
		else if (!eat(r, "."))
			break;
		next(r);
	}
	read_function(r, method);
}

static void read_statement(struct reader *r)
{
	if (eat(r, ";") || eat(r, "break"))
		return;
	if (eat(r, "if")) {
		read_if(r);
	} else if (eat(r, "while")) {
		read_expr(r);
		SL_IGNORE(eat(r, "do"));
		read_scope(r);
		SL_IGNORE(eat(r, "end"));
	} else if (eat(r, "do")) {
		read_scope(r);
		SL_IGNORE(eat(r, "end"));
	} else if (eat(r, "for")) {
		read_for(r);
	} else if (eat(r, "repeat")) {
		size_t scope = r->locals.n;
		read_block(r);
		SL_IGNORE(eat(r, "until"));
		read_expr(r); /* sees the locals of the body */
		r->locals.n = scope;
	} else if (eat(r, "function")) {
		read_function_statement(r);
	} else if (eat(r, "local")) {
		read_local(r);
	} else if (eat(r, "return")) {
		if (r->lx.tok != SL_TOK_END && !at(r, ";") && !at(r, "end") && !at(r, "else") && !at(r, "elseif") &&
		    !at(r, "until"))
			read_expr_list(r);
	} else if (eat(r, "goto")) {
		next(r);
	} else if (eat(r, "::")) {
		next(r);
		SL_IGNORE(eat(r, "::"));
	} else if (r->lx.tok == SL_TOK_NAME || at(r, "(")) {
		do
			read_suffixed(r, true);
		while (eat(r, ","));
		if (eat(r, "="))
			read_expr_list(r);
	} else {
		reader_fail(r, r->rc == SL_OK ? sl_fail(r->err, SL_INVALID, "it cannot be read") : r->rc);
	}
}

static void read_block(struct reader *r)
{
	if (enter(r))
		while (r->lx.tok != SL_TOK_END && !at(r, "end") && !at(r, "else") && !at(r, "elseif") &&
		       !at(r, "until"))
			read_statement(r);
	r->depth--;
}

static enum sl_code unknown_name(struct sl_str name, struct sl_error *err)
{
	static const char *const removed[] = {
		"os",           "io",           "load",   "loadstring", "dofile",   "loadfile",
		"require",      "package",      "debug",  "coroutine",  "print",    "collectgarbage",
		"getmetatable", "setmetatable", "rawset", "rawget",     "rawequal", "rawlen",
		"xpcall",       "warn",         "_G",     "_ENV",       "_VERSION"};
	const char *near = NULL;
	unsigned best = 3;
	for (size_t i = 0; i < SL_COUNT_OF(removed); i++)
		if (sl_str_is(name, removed[i]))
			return sl_fail(err, SL_INVALID, "'%s' is not available in expressions", removed[i]);
	for (size_t i = 0; i < SL_COUNT_OF(known_names); i++) {
		unsigned d = sl_str_distance(name, sl_str(known_names[i]));
		if (d < best && d < name.len) {
			best = d;
			near = known_names[i];
		}
	}
	if (near)
		return sl_fail(err, SL_INVALID, "unknown name '" SL_STR_FMT "', did you mean '%s'?", SL_STR_ARG(name),
			       near);
	return sl_fail(err, SL_INVALID,
		       "unknown name '" SL_STR_FMT
		       "': values come from input, nodes.<id>, loop, item, index and run; texts stand in quotes",
		       SL_STR_ARG(name));
}

enum sl_code sl_expr_read(struct sl_expr *e, struct sl_error *err)
{
	struct reader r = {.lx = {.p = e->source.p, .end = e->source.p + e->source.len}, .expr = e, .err = err};
	next(&r);
	if (r.lx.tok == SL_TOK_END && r.rc == SL_OK)
		return sl_fail(err, SL_INVALID, "it is empty");
	if (e->kind == SL_EXPR_BLOCK) {
		read_block(&r);
	} else {
		read_expr(&r);
		if (r.rc == SL_OK && at(&r, ","))
			reader_fail(&r, sl_fail(err, SL_INVALID,
						"an expression has one value; write a table {a, b} for several"));
		if (r.rc == SL_OK && at(&r, ";"))
			reader_fail(&r, sl_fail(err, SL_INVALID,
						"an expression holds no statements; ';' has no place in it"));
	}
	if (r.rc == SL_OK && r.lx.tok != SL_TOK_END)
		reader_fail(&r, sl_fail(err, SL_INVALID, "unexpected '" SL_STR_FMT "'", SL_STR_ARG(r.lx.text)));
	for (size_t i = 0; r.rc == SL_OK && i < r.reads.n; i++) {
		bool known = in_names(&r.writes, r.reads.items[i]);
		for (size_t k = 0; k < SL_COUNT_OF(known_names) && !known; k++)
			known = sl_str_is(r.reads.items[i], known_names[k]);
		if (!known)
			r.rc = unknown_name(r.reads.items[i], err);
	}
	free(r.locals.items);
	free(r.reads.items);
	free(r.writes.items);
	return r.rc;
}

/* ---- paths ---- */

static bool path_index(struct reader *r, int64_t *index)
{
	struct sl_lexer ahead = r->lx;
	if (!at(r, "["))
		return false;
	sl_lex_next(&ahead);
	if (ahead.tok != SL_TOK_NUMBER || !sl_str_i64(ahead.text, index))
		return false;
	sl_lex_next(&ahead);
	if (ahead.tok != SL_TOK_OP || !sl_str_is(ahead.text, "]"))
		return false;
	r->lx = ahead;
	sl_lex_next(&r->lx);
	return true;
}

/* Sets is_path when the source is one mention followed by nothing but keys. It has been read: its refs are known. */
void sl_expr_find_path(struct sl_expr *e)
{
	struct sl_path_step steps[PATH_STEPS];
	struct reader r = {.lx = {.p = e->source.p, .end = e->source.p + e->source.len}, .expr = e};
	struct sl_str key = {"", 0};
	size_t n = 0;
	if (e->kind != SL_EXPR_VALUE || e->n_refs != 1)
		return;
	sl_lex_next(&r.lx);
	if (!at(&r, sl_ref_root_names[e->mentions[0].ref.root]))
		return;
	sl_lex_next(&r.lx);
	if (e->mentions[0].ref.root == SL_REF_NODE && !static_key(&r, &key))
		return;
	for (; r.lx.tok != SL_TOK_END; n++) {
		if (n == PATH_STEPS)
			return;
		steps[n].key = NULL;
		if (path_index(&r, &steps[n].index))
			continue;
		if (!static_key(&r, &key) || !(steps[n].key = sl_arena_str(&e->arena, key)))
			return;
	}
	e->steps = sl_arena_array(&e->arena, n ? n : 1, sizeof(*steps));
	if (!e->steps)
		return;
	memcpy(e->steps, steps, n * sizeof(*steps));
	e->n_steps = n;
	e->is_path = true;
}
