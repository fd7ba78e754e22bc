/* engine/tool.h: what a tool implements that a model may ask for.
 *
 * A tool is one file in nodes/tools/, named in nodes/meson.build; nothing else knows it. It runs as the node `tool`
 * (engine/node.h), so it has a path, an attempt, a timer and a row in the journal like any other, begins when what
 * led to it is committed, and is repeated under the same idempotency key after a crash. The node checks the arguments
 * against the schema before, and cuts the result after.
 *
 * Thread    start and shape: [run]. The rest is [const], unavailable [any].
 */
#pragma once

#include "engine/node.h"

struct sl_tool {
	const char *name;        /* "memory_search"; as a model is told it, so [a-z0-9_], at most 64 */
	const char *description; /* for the model: what it does, and what comes back */
	const char *args_schema; /* JSON text of an object schema */
	bool off;                /* not to be used unless an agent has it switched on */
	/* Optional. Why this server cannot run it now: a constant sentence; NULL: it can. */
	const char *(*unavailable)(const struct sl_services *services);
	/* As in struct sl_node_type, with the arguments for parameters. It ends with sl_node_complete() of an object.
	 */
	enum sl_step (*start)(struct sl_node *n, struct json_object *args, struct sl_error *err);
	/* Optional: for a start that waits, unless it went on with sl_node_as(). */
	void (*cancel)(struct sl_node *n);
	/* Optional. What a model gets to see of the output, when that is not all of it: takes output, returns the
	 * result. NULL: no memory. */
	struct json_object *(*shape)(struct json_object *output);
};

extern const struct sl_tool *const sl_tools[]; /* NULL-terminated; nodes/meson.build makes it */

/* Stored workflows are tools, too: "workflow:NAME". */
#define SL_TOOL_WORKFLOW "workflow:"

/* [any] In a table, by name, also "workflow:…" (which gives the tool that runs workflows). NULL: there is none. */
static inline const struct sl_tool *sl_tool_find(const struct sl_tool *const *tools, struct sl_str name)
{
	if (sl_str_starts(name, SL_STR(SL_TOOL_WORKFLOW)))
		name = sl_str("workflow");
	else if (sl_str_is(name, "workflow"))
		return NULL; /* which one? */
	for (size_t i = 0; tools[i]; i++)
		if (sl_str_is(name, tools[i]->name))
			return tools[i];
	return NULL;
}
