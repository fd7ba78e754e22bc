/* engine/expr_priv.h: what expr.c and template.c share: Lua's tokens, and the text of a Lua source inside other text.
 */
#pragma once

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
