/* base/json.h: json-c behind our rules: strict, UTF-8 only, depth-capped, one value and nothing after it.
 * Thread    a json_object belongs to one thread (its counts are not atomic); pass text between threads.
 */
#pragma once

#include <json-c/json.h>

#include "base/buf.h"
#include "base/own.h"

/* *out is the caller's, also when it is JSON null (then *out is NULL and the code SL_OK). SL_INVALID says line and
 * column. A key that occurs twice in one object is refused: two parsers could disagree about it. */
SL_MUST_USE enum sl_code sl_json_parse(struct sl_str text, struct json_object **out, struct sl_error *err);

struct json_object *sl_json_get(struct json_object *o,
				const char *key);                      /* borrowed; NULL: no object, no key, or null */
const char *sl_json_get_z(struct json_object *o, const char *key);     /* borrowed; NULL unless it is a string */
struct sl_str sl_json_get_str(struct json_object *o, const char *key); /* borrowed; empty unless it is a string */
int64_t sl_json_get_i64(struct json_object *o, const char *key, int64_t otherwise);
double sl_json_get_f64(struct json_object *o, const char *key, double otherwise);
bool sl_json_get_bool(struct json_object *o, const char *key, bool otherwise);
struct sl_str sl_json_str(struct json_object *o); /* the text of a string object; empty otherwise */

/* Adds, taking the reference of v (NULL adds null). Without memory, also when o is NULL, v is dropped and that is
 * counted: v is not to be used afterwards unless it is held otherwise. */
void sl_json_set(struct json_object *o, const char *key, struct json_object *v);
void sl_json_set_str(struct json_object *o, const char *key, struct sl_str v);
void sl_json_set_i64(struct json_object *o, const char *key, int64_t v);
void sl_json_set_f64(struct json_object *o, const char *key, double v);
void sl_json_set_bool(struct json_object *o, const char *key, bool v);
void sl_json_append(struct json_object *list, struct json_object *v); /* the same for a list */
void sl_json_append_z(struct json_object *list, const char *z);
void sl_json_set_z(struct json_object *o, const char *key, const char *z); /* NULL adds null */
/* [any] How often something was dropped on this thread: who builds an object compares before and after. */
uint64_t sl_json_losses(void);
/* Counts one: what could not be built at all, by somebody who has nobody to tell. */
void sl_json_lost(void);

void sl_json_write(struct sl_buf *b, struct json_object *o); /* compact; NULL writes null */
struct json_object *sl_json_dup(struct json_object *o);      /* deep copy; NULL: null or no memory, counted */
bool sl_json_equal(struct json_object *a, struct json_object *b);
const char *sl_json_type_name(struct json_object *o); /* "object", "string", "integer", … */

/* Appends /token to a JSON Pointer (RFC 6901 escaping). */
void sl_pointer_add(struct sl_buf *pointer, struct sl_str token);
void sl_pointer_add_index(struct sl_buf *pointer, size_t index);
/* Appends {"pointer": …, "message": …} to a list, with a comma where it needs one. */
void sl_buf_json_problem(struct sl_buf *list, struct sl_str pointer, const char *message);
