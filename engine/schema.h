/* engine/schema.h: the subset of JSON Schema (2020-12) that Sluice checks: inputs, node parameters, structured output.
 *
 * Keywords  type (also a list), properties, required, additionalProperties (bool or schema), patternProperties (a
 * documented subset is fine), items, prefixItems, minItems, maxItems, uniqueItems, enum, const, minimum, maximum,
 * exclusiveMinimum, exclusiveMaximum, multipleOf, minLength, maxLength (characters), pattern (POSIX ERE, anchors as
 * written), anyOf, oneOf, allOf, not, $ref to #/$defs/x (cycles bounded by depth), default, title, description,
 * examples, format (annotation). An unknown keyword is an error in a node type's schema and a warning in a user's.
 *           Keywords of our own, ignored by the check: "x-expr" ("value" | "code": a Lua source, not a template),
 *           "x-graph" (a nested body), "x-constant", "x-provides" (see node.h), "x-ui" (hints for forms).
 * Thread    a compiled schema is [const]; check is [any].
 */
#pragma once

#include "base/json.h"
#include "engine/engine.h"

struct sl_schema;

/* Problems in the schema itself go to `problems` below `pointer`. *out is NULL when there were errors (the code is
 * SL_OK all the same; SL_NO_MEMORY is the only other one). An unknown keyword is added as a warning. */
SL_MUST_USE enum sl_code sl_schema_compile(struct json_object *schema, struct sl_str pointer, struct sl_schema **out,
					   struct sl_problems *problems);
void sl_schema_free(struct sl_schema *s);
SL_DEFINE_AUTO(sl_schema)

enum sl_schema_mode {
	SL_SCHEMA_STRICT,    /* the value is final */
	SL_SCHEMA_TEMPLATES, /* strings with {{ }} pass any check: their value is known later */
};
/* Adds what does not fit to `problems`, below `pointer`, each with a sentence that says what to write instead (for an
 * unknown property: the nearest known name). Returns true when it fits. */
bool sl_schema_check(const struct sl_schema *s, struct json_object *value, enum sl_schema_mode mode,
		     struct sl_str pointer, struct sl_problems *problems);

/* Fills in `default`s of missing properties, in place, also inside of what it filled in. Values of another type stay as
 * they are. */
bool sl_schema_defaults(const struct sl_schema *s, struct json_object *value); /* false: no memory for one of them */
