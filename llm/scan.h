/* llm/scan.h: reads the common streaming chunk without building a tree.
 *
 * A strict walk over one JSON text that finds the content of choices[0].delta, and gives up, without a verdict, on
 * anything that is not plain: then the caller parses properly. So a fast answer is always the one json-c would have
 * given. Thread    [any]. Cost about 1 ns a byte, no allocation.
 */
#pragma once

#include "base/buf.h"

enum sl_scan_kind { SL_SCAN_OTHER, SL_SCAN_TEXT, SL_SCAN_THINKING };

/* SL_SCAN_OTHER: parse it. Else *escaped is the string's inside, still with its escapes (has_escapes), and the chunk
 * says nothing more: no finish_reason, usage, error, tool call, second choice. */
enum sl_scan_kind sl_scan_chunk(struct sl_str json, struct sl_str *escaped, bool *has_escapes);

/* Appends the text of a JSON string's inside. Lone surrogates become U+FFFD. */
void sl_scan_unescape(struct sl_str escaped, struct sl_buf *out);
