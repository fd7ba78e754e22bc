/* llm/agents.h: personas: a name that stands for a system prompt, a profile and parameters of a model call.
 *
 * Owns      the set; each entry is immutable and counted, a change publishes a new one, so a call that has begun keeps
 *           what it began with.
 * Thread    everything [any]; the set is behind a lock that is held for a look-up only.
 * Not for   storage: rows go out and come in as text, the caller keeps them.
 */
#pragma once

#include "base/buf.h"
#include "base/bytes.h"

struct json_object;
struct sl_agents;

#define SL_AGENT_NAME_BYTES   65 /* with the NUL */
#define SL_AGENT_SYSTEM_BYTES (256u << 10)

/* [const] once published. */
struct sl_agent {
	_Atomic uint32_t refs;
	char name[SL_AGENT_NAME_BYTES];
	char *profile; /* NULL: the default one */
	char *system, *description;
	struct sl_bytes *params; /* JSON object: what a call does not say itself */
	struct sl_bytes *tools;  /* JSON object: { tool: on }; NULL: every tool is as it is by itself */
};

SL_MUST_USE enum sl_code sl_agents_new(struct sl_agents **out);
void sl_agents_free(struct sl_agents *a); /* NULL is fine; entries in use live on */
SL_DEFINE_AUTO(sl_agents)

/* Checks the body of a PUT, { "profile"?, "system", "description"?, "params"?, "tools"? }, and gives the text to store.
 * Which tools there are is the caller's to know.
 * SL_INVALID: `problems` gets the members of an errors array, err the first of them. */
SL_MUST_USE enum sl_code sl_agents_check(struct sl_str name, struct json_object *body, struct sl_bytes **row,
					 struct sl_buf *problems, struct sl_error *err);
/* A stored row is in force from now on. SL_INVALID: it does not parse. */
SL_MUST_USE enum sl_code sl_agents_load(struct sl_agents *a, struct sl_str name, struct sl_str row,
					struct sl_error *err);
void sl_agents_drop(struct sl_agents *a, struct sl_str name); /* no-op when it is not there */
/* Those that are none of these names are there no more. */
void sl_agents_retain(struct sl_agents *a, const struct sl_str *names, size_t n);

struct sl_agent *sl_agents_get(struct sl_agents *a, struct sl_str name); /* a reference; NULL: none */
struct sl_agent *sl_agent_ref(struct sl_agent *one);
void sl_agent_unref(struct sl_agent *one); /* NULL is fine */
static inline void sl_agent_free(struct sl_agent *one)
{
	sl_agent_unref(one);
}
SL_DEFINE_AUTO(sl_agent)

/* The parameters of a model call with what its `agent` says put under them: the persona's system prompt in front of the
 * call's own, its profile and params where the call names none. `params` stays as it is; *out is the caller's, without
 * the member `agent`. NULL in *out with SL_OK: the call names no agent. SL_NOT_FOUND: there is no such agent. */
SL_MUST_USE enum sl_code sl_agents_apply(struct sl_agents *a, struct json_object *params, struct json_object **out,
					 struct sl_error *err);

/* What its `tools` say of a tool ("workflow" speaks for all "workflow:…" that are not named); UNSAID, too, when there
 * is no such agent. */
enum sl_agent_tool { SL_AGENT_TOOL_UNSAID, SL_AGENT_TOOL_ON, SL_AGENT_TOOL_OFF };
enum sl_agent_tool sl_agents_tool(struct sl_agents *a, struct sl_str agent, struct sl_str tool);

void sl_agents_list_json(struct sl_agents *a, struct sl_buf *out);  /* the members of an array, by name */
void sl_agent_json(const struct sl_agent *one, struct sl_buf *out); /* {"name","profile","system",…} */
