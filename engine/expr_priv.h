/* engine/expr_priv.h: what expr.c, expr_read.c and template.c share: Lua's tokens, what a source mentions, and the text
 * of a Lua source inside other text. */
#pragma once

#include "base/arena.h"
#include "engine/expr.h"

enum sl_tok { SL_TOK_END, SL_TOK_BAD, SL_TOK_NAME, SL_TOK_STRING, SL_TOK_NUMBER, SL_TOK_OP };

struct sl_lexer {
	const char *p, *end;
	enum sl_tok tok;
	struct sl_str text; /* of the token */
};
void sl_lex_next(struct sl_lexer *lx);

/* Where the Lua source at the beginning of `text` ends: at the first }} outside of strings, comments and braces.
 * false: there is none. */
bool sl_expr_find_close(struct sl_str text, size_t *len);

/* A member that the source names. */
struct sl_expr_part {
	const char *key;
	bool whole; /* used as a value, not only looked into */
	unsigned n_children;
	struct sl_expr_part *children, *next;
};

struct sl_mention {
	struct sl_ref ref;
	struct sl_expr_part part;
};

struct sl_path_step {
	const char *key; /* NULL: index */
	int64_t index;
};

struct sl_expr {
	uint64_t id; /* of its compiled form in the caches of the states */
	enum sl_expr_kind kind;
	struct sl_arena arena;
	struct sl_str source;
	struct sl_mention *mentions;
	struct sl_ref *refs;
	size_t n_refs;
	bool is_path;
	size_t n_steps;
	struct sl_path_step *steps;
};

/* expr_read.c: fills mentions, refs' count and the path of a source whose grammar Lua has accepted. SL_INVALID: it
 * mentions what it may not. */
SL_MUST_USE enum sl_code sl_expr_read(struct sl_expr *e, struct sl_error *err);
void sl_expr_find_path(struct sl_expr *e);
