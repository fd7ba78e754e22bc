/* llm/sim_scenario.h: what the simulator answers, how fast, and which fault it injects: settings, rules, the scenario
 * file.
 *
 * The file (JSON, unknown keys are errors):
 *   { "sim": 1, "description"?: text, "defaults"?: {settings}, "rules": [ {rule} ] }
 * A rule:
 *   "name"?        text
 *   "match"?       { "model" | "system" | "user" | "tool": text that must occur (any case),
 *                    "model_re" | "system_re" | "user_re" | "tool_re": POSIX extended expression (any case),
 *                    "turn": n: the how-manieth answer of its conversation it will be, from 1
 *                    "json": whether JSON is asked for,
 *                    "call": n | { "from"?: n, "to"?: n } }: the how-manieth request this rule matched, from 1
 *   "per"?         "topic": count the requests of each {topic} by themselves
 *   "answer"?      text, or a list: the n-th request gets the n-th (texts; other values as their JSON)
 *   "then"?        when the list is used up: "again" (default: from the beginning) or "stay" (the last one)
 *   "json"?        any value, sent as the text
 *   "verbatim"?    true: send it also when it is not the JSON that was asked for
 *   "thinking"?    text
 *   "tool_calls"?  [{"name", "arguments": {…}}]
 *   settings …
 * The first rule whose matches all hold answers; a rule without "answer", "json" and "tool_calls" only changes
 * settings, and the search goes on. "tool" is what the last tool said. In texts and the arguments of tool calls, {gist}
 * stands for the beginning of the user's last message, {topic} for its first line without a "Word: " in front, {tool}
 * for what the last tool said and {tool.KEY} for a member of it, {model} for the model asked for, {call} for the count.
 * Who asks for JSON (response_format) gets JSON: an answer that is none goes into the first text of a value that fits
 * the schema, or chooses among its words; an object is completed with what the schema has and it has not. Unless the
 * rule says "verbatim", or the answer comes from the request itself.
 *
 * Settings (also as header x-sim-KEY, "+KEY=VALUE,…" behind the model's name, and in the body's "sim" object):
 *   tps       tokens a second, 0: as fast as it goes      jitter    0 to 1, how much of the pause varies
 *   first_ms  before the first token                      tokens    generate that many words instead of an answer
 *   seed      for jitter and generated words              stamps    true: tokens are send times, "t<16 digits> "
 *   fault     F1 … F16, see below, "none"                 variant   which form of it
 *   after     tokens before a fault in the middle         retry_ms  the wait that F5 and F6 hint at
 *   answer    the text                                    thinking  likewise
 *   usage     false: sends none                           status    HTTP status of an error answer
 *   times     the fault comes only for so many requests with the same messages, then none (0: always)
 *
 * The faults, each in the words and forms of the protocol that is spoken; in brackets its variants:
 *   F1  a bad request             F2  the key (403: may not use it)      F3  no such model
 *   F4  context too long (413, 422)
 *   F5  a rate limit, hint in whole seconds                              F6  the same, hint as the provider gives it
 *       (seconds, ms, float, date, body, reset, retryinfo)
 *   F7  a quota that waiting does not lift (spend)                       F8  500
 *   F9  overloaded, no hint (503, 529)                                   F10 reset before an answer (close)
 *   F11 no headers ever           F12 stall after `after` tokens
 *   F13 an error in the middle (string, line, list, overloaded, limit)
 *   F14 the connection ends in the middle (half_close, rst), or the stream without its marker (no_marker), or the
 *       transfer right behind it (late)
 *   F15 an end with a reason (length, content_filter, refusal, pause, window, recitation; what a protocol does not know
 *       is its plain end, or the word itself)
 *   F16 not what it should be (json, utf8, nul, type, html, page: an HTML page with status 502)
 * F1 to F9 also take a number as variant (the status) and "list" (Gemini's array of one).
 */
#pragma once

#include <regex.h>

#include "base/buf.h"

struct json_object;

#define SIM_VARIANT_BYTES 24

struct sim_settings {
	double tps, jitter;
	uint32_t first_ms, tokens;
	uint64_t seed;
	bool stamps, no_usage;
	uint8_t fault; /* 0: none */
	char variant[SIM_VARIANT_BYTES];
	uint32_t after, retry_ms, times;
	int status;              /* 0: the fault's own */
	char *answer, *thinking; /* owned; NULL: none */
};
void sl_sim_settings_fini(struct sim_settings *s);
bool sl_sim_settings_copy(struct sim_settings *to, const struct sim_settings *from);
/* What `from` says goes over what `to` says: applied key by key from text. false: unknown key or bad value. */
bool sl_sim_settings_set(struct sim_settings *s, struct sl_str key, struct sl_str value);
/* "fault=F12,after=3": unknown keys are ignored, this comes from a request. */
void sl_sim_settings_set_list(struct sim_settings *s, struct sl_str list);
void sl_sim_settings_set_object(struct sim_settings *s, struct json_object *o);

#define SIM_COUNTS 2048u /* different things counted at a time */
#define SIM_WAYS   8u

struct sim_counts { /* how often each of many things came; of those that share a place the longest unseen is forgotten
		     */
	uint64_t turn;
	struct {
		uint64_t digest, seen;
		uint32_t calls;
	} slots[SIM_COUNTS / SIM_WAYS][SIM_WAYS];
};
uint32_t sl_sim_count(struct sim_counts *c, uint64_t digest); /* this time included */
uint64_t sl_sim_digest(struct sl_str s, uint64_t from);       /* FNV-1a; from SIM_DIGEST */
#define SIM_DIGEST 14695981039346656037ull

struct sim_rule;
struct sim_scenario {
	struct sim_rule *rules;
	size_t n;
	struct json_object *defaults; /* owned; NULL: none */
	struct sim_counts topics;     /* of the rules that count by topic */
};
enum sl_code sl_sim_scenario_read(struct sl_str text, struct sim_scenario *out, struct sl_buf *problems,
				  struct sl_error *err);
void sl_sim_scenario_fini(struct sim_scenario *s);

struct sim_ask {
	struct sl_str model, system, user, topic;
	struct sl_str tool; /* what the last one said; empty: none has */
	uint32_t turns;     /* of the model so far */
	uint64_t digest;    /* of the whole conversation */
	bool json;          /* JSON is asked for */
};
struct sim_match {
	const char *rule;               /* name, or "" */
	struct sl_str answer;           /* empty: none */
	struct sl_str thinking;         /* likewise */
	struct json_object *tool_calls; /* borrowed; NULL: none */
	bool verbatim;
	uint64_t call;
};
/* Applies the rules that match to `settings`; *m says what to answer. */
void sl_sim_scenario_match(struct sim_scenario *s, const struct sim_ask *ask, struct sim_settings *settings,
			   struct sim_match *m);
