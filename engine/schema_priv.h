/* engine/schema_priv.h: the rules a schema is compiled to, for schema_compile.c and schema.c. */
#pragma once

#include <regex.h>

#include "base/arena.h"
#include "base/limits.h"
#include "engine/schema.h"

#define DEPTH         (2 * SL_LIMIT_JSON_DEPTH) /* of rules applied inside of rules */
#define POINTER_BYTES 4096                      /* longer places are cut */

enum type_bit { T_NULL = 1, T_BOOLEAN = 2, T_INTEGER = 4, T_NUMBER = 8, T_STRING = 16, T_ARRAY = 32, T_OBJECT = 64 };
struct sl_type_name {
	const char *name, *text;
	unsigned bits;
};
extern const struct sl_type_name sl_type_names[7];

enum bound { B_MINIMUM, B_MAXIMUM, B_EXCLUSIVE_MINIMUM, B_EXCLUSIVE_MAXIMUM, B_MULTIPLE_OF, B_NUMBERS };
enum count { C_MIN_ITEMS, C_MAX_ITEMS, C_MIN_LENGTH, C_MAX_LENGTH, C_MIN_PROPERTIES, C_MAX_PROPERTIES, C_COUNTS };
enum group { G_ANY_OF, G_ONE_OF, G_ALL_OF, G_PREFIX_ITEMS, G_GROUPS };
enum single { S_ITEMS, S_ADDITIONAL, S_NOT, S_SINGLES };

struct rule;
struct member {
	const char *key;
	struct rule *rule;
};
struct pattern {
	regex_t regex;
	const char *text;
	struct rule *rule; /* of patternProperties */
	struct pattern *next_of_all;
};

struct rule {
	bool never;     /* the schema `false` */
	unsigned types; /* 0: any */
	struct member *members;
	size_t n_members;
	const char **required;
	size_t n_required;
	struct pattern **patterns; /* of patternProperties */
	size_t n_patterns;
	struct pattern *pattern;
	struct rule *singles[S_SINGLES];
	struct rule **groups[G_GROUPS];
	size_t n_groups[G_GROUPS];
	unsigned has_number, has_count;
	double numbers[B_NUMBERS];
	uint64_t counts[C_COUNTS];
	bool unique;
	struct json_object *choices; /* of enum; borrowed from the schema's copy, as the two below */
	bool has_constant, has_default;
	struct json_object *constant, *fallback;
	const char *ref; /* name in $defs, "" for the whole */
	struct rule *target;
	struct rule *next_ref;
};

struct sl_schema {
	struct sl_arena arena;
	struct json_object *source; /* our copy: rules point into it */
	struct rule *root;
	struct member *defs;
	size_t n_defs;
	struct pattern *all_patterns;
	struct rule *all_refs;
};

/* A place in a document, as it is walked. One that is too long is cut, and the walk goes on. */
void sl_place_push(struct sl_buf *pointer, struct sl_str key);
void sl_place_pop(struct sl_buf *pointer, size_t len);
/* The nearest of n names to a misspelled one; NULL: none is near. `name` gives the i-th. */
const char *sl_schema_nearest(struct sl_str word, const char *(*name)(const void *arg, size_t i), const void *arg,
			      size_t n);
const char *sl_member_name(const void *arg, size_t i); /* arg: an array of struct member */
bool sl_json_is_number(struct json_object *v);
