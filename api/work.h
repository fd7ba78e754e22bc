/* api/work.h: what a handler does off the loop: parse a large body, validate a definition, submit a run.
 *
 * Owns      the task it carries. `run` sees only the body's bytes and what it makes itself; json objects stay inside
 * it. Thread    new [front], run [a thread of the pool], then [front].
 */
#pragma once

#include "api/api_priv.h"
#include "engine/engine.h"

struct sl_work {
	struct sl_task *task;
	struct sl_problems problems;
	struct sl_str prefix;        /* put before the pointers of problems: "/definition" */
	char name[65];               /* of the workflow */
	struct sl_bytes *definition; /* compact JSON */
	struct sl_bytes *inputs, *tags, *digest;
	char *description, *project, *key, *by;
	int32_t priority, version;
	bool has_definition, wants_stored;
	enum sl_code rc; /* of `run` */
	struct sl_error err;
	void (*run)(struct sl_work *w);
	void (*then)(struct sl_work *w);
};

/* NULL: the request has been answered. */
struct sl_work *sl_work_new(struct sl_api *a, struct sl_request *r);
/* Runs `run` elsewhere, then `then` here. */
void sl_work_go(struct sl_work *w, void (*run)(struct sl_work *w), void (*then)(struct sl_work *w));
void sl_work_free(struct sl_work *w); /* with its task, unless that has been taken */

/* [any] The body as an object; false: w->rc and w->err say why. */
bool sl_work_parse(struct sl_work *w, struct json_object **out);
/* [any] Notes a problem of the request itself. */
void sl_work_problem(struct sl_work *w, const char *pointer, const char *message);
/* [any] Takes definition, name and description out of `definition`. */
bool sl_work_definition(struct sl_work *w, struct json_object *definition);
/* Answers 422 with all problems, or the error that ended the work. */
void sl_work_answer_problems(struct sl_work *w);
/* "there are 2 things to mend": the detail of an answer with so many errors. */
void sl_things_to_mend(size_t errors, struct sl_error *out);
