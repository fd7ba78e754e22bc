/* api/runs.c: see runs.h. The digest tells a repeated request from a key that is used for something else: SHA-256 over
 * every field that makes the run, each with its length. */
#include "api/runs.h"

#include <sodium.h>

static struct sl_bytes *text_of(struct json_object *o)
{
	SL_BUF(b, SL_LIMIT_PAYLOAD_BYTES);
	sl_json_write(&b, o);
	return sl_buf_bytes(&b);
}

static bool read_tags(struct sl_work *w, struct json_object *tags)
{
	if (!json_object_is_type(tags, json_type_array) || json_object_array_length(tags) > SL_LIMIT_TAGS) {
		sl_work_problem(w, "/tags", "tags are an array of at most 32 strings");
		return false;
	}
	for (size_t i = 0; i < json_object_array_length(tags); i++) {
		struct sl_str tag = sl_json_str(json_object_array_get_idx(tags, i));
		if (tag.len == 0 || tag.len > SL_LIMIT_TAG_BYTES) {
			sl_work_problem(w, "/tags", "a tag is a string of 1 to 128 bytes");
			return false;
		}
	}
	w->tags = text_of(tags);
	return true;
}

static bool known(const char *key, const char *const *ignore)
{
	static const char *const keys[] = {"workflow", "version",  "definition", "inputs",
					   "project",  "priority", "tags"};
	for (size_t i = 0; i < SL_COUNT_OF(keys); i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	for (; ignore && *ignore; ignore++)
		if (strcmp(key, *ignore) == 0)
			return true;
	return false;
}

static void add(crypto_hash_sha256_state *h, struct sl_str s)
{
	uint64_t len = s.len;
	crypto_hash_sha256_update(h, (const unsigned char *)&len, sizeof(len));
	crypto_hash_sha256_update(h, (const unsigned char *)s.p, s.len);
}

static struct sl_bytes *digest_of(const struct sl_work *w)
{
	crypto_hash_sha256_state h;
	char numbers[64];
	struct sl_bytes *out = sl_bytes_alloc(crypto_hash_sha256_BYTES);
	if (!out)
		return NULL;
	crypto_hash_sha256_init(&h);
	int n = snprintf(numbers, sizeof(numbers), "%d %d %d", w->has_definition, w->version, w->priority);
	add(&h, sl_str_n(numbers, (size_t)n));
	add(&h, sl_str(w->name));
	add(&h, w->has_definition ? sl_bytes_str(w->definition) : SL_STR(""));
	add(&h, sl_bytes_str(w->inputs));
	add(&h, sl_bytes_str(w->tags));
	add(&h, sl_str(w->project));
	crypto_hash_sha256_final(&h, (unsigned char *)out->data);
	return out;
}

void sl_run_request_read(struct sl_work *w, struct json_object *body, const char *const *ignore)
{
	json_object_object_foreach (body, key, value) {
		(void)value;
		if (!known(key, ignore)) {
			SL_BUF(pointer, 512);
			sl_pointer_add(&pointer, sl_str(key));
			sl_work_problem(w, pointer.failed ? "" : pointer.data,
					"is not known here; a run has workflow or definition, version, inputs, "
					"project, priority, tags");
		}
	}
	struct json_object *definition = sl_json_get(body, "definition"), *workflow = sl_json_get(body, "workflow"),
			   *inputs = sl_json_get(body, "inputs"), *tags = sl_json_get(body, "tags"),
			   *project = sl_json_get(body, "project"), *version = sl_json_get(body, "version"),
			   *priority = sl_json_get(body, "priority");
	if (definition) {
		if (workflow)
			sl_work_problem(w, "/workflow", "give a workflow or a definition, not both");
		if (!json_object_is_type(definition, json_type_object))
			sl_work_problem(w, "/definition", "a definition is an object");
		else
			SL_IGNORE(sl_work_definition(w, definition)); /* notes its own failure in w->rc */
	} else if (workflow && sl_name_ok(sl_json_str(workflow))) {
		struct sl_str name = sl_json_str(workflow);
		memcpy(w->name, name.p, name.len);
		w->wants_stored = true;
	} else {
		sl_work_problem(w, "/workflow", "name a stored workflow, or give a definition");
	}
	if (version) {
		int64_t v = sl_json_get_i64(body, "version", 0);
		if (!json_object_is_type(version, json_type_int) || v < 1 || v > INT32_MAX || definition)
			sl_work_problem(w, "/version", "version is a number from 1, of a stored workflow");
		w->version = (int32_t)v;
	}
	if (priority) {
		int64_t p = sl_json_get_i64(body, "priority", 1000);
		if (!json_object_is_type(priority, json_type_int) || p < -100 || p > 100)
			sl_work_problem(w, "/priority", "priority is a whole number from -100 to 100");
		w->priority = (int32_t)p;
	}
	if (project && !sl_name_ok(sl_json_str(project)))
		sl_work_problem(w, "/project", "a project's name has small letters, digits, _ and -, at most 64");
	w->project = sl_str_dup(project ? sl_json_str(project) : SL_STR("default"));
	if (tags)
		SL_IGNORE(read_tags(w, tags)); /* notes its own problems */
	if (inputs && !json_object_is_type(inputs, json_type_object))
		sl_work_problem(w, "/inputs", "inputs are an object");
	w->inputs = inputs ? text_of(inputs) : sl_bytes_new("{}", 2);
	w->digest = w->key ? digest_of(w) : NULL;
	if (definition && w->rc == SL_OK) /* what is found from here on is found in it */
		w->prefix = SL_STR("/definition");
	if (!w->inputs || !w->project || (w->key && !w->digest))
		w->rc = sl_fail(&w->err, SL_NO_MEMORY, "out of memory");
}

void sl_run_submit(struct sl_engine *e, struct sl_work *w, sl_submit_fn *fn, void *arg)
{
	/* The definition first and alone: its problems have pointers of their own, those of the inputs are the
	 * request's. */
	w->rc = sl_engine_validate(e, sl_bytes_str(w->definition), NULL, &w->problems);
	if (w->rc == SL_OK && w->problems.errors)
		w->rc = SL_INVALID;
	if (w->rc != SL_OK)
		return;
	sl_problems_fini(&w->problems);
	memset(&w->problems, 0, sizeof(w->problems));
	w->prefix = SL_STR("");
	SL_AUTO(sl_run_head) head = sl_run_head_new();
	w->rc = SL_NO_MEMORY;
	if (!head)
		return;
	head->workflow = sl_str_dup(sl_str(w->name));
	head->version = w->has_definition ? 0 : w->version;
	head->project = sl_str_dup(sl_str(w->project));
	head->priority = w->priority;
	head->definition = sl_bytes_ref(w->definition);
	head->inputs = sl_bytes_ref(w->inputs);
	head->tags = sl_bytes_ref(w->tags);
	head->created_by = sl_str_dup(sl_str(w->by));
	if (w->key) {
		head->idempotency_key = sl_str_dup(sl_str(w->key));
		head->idempotency_digest = sl_bytes_ref(w->digest);
	}
	if (!head->workflow || !head->project || !head->created_by || (w->key && !head->idempotency_key))
		return;
	w->rc = sl_engine_submit(e, SL_TAKE(head), &w->problems, fn, arg, &w->err);
}

void sl_work_submit(struct sl_work *w, void (*then)(struct sl_task *t))
{
	struct sl_task *t = w->task;
	t->then = then; /* before: the answer may come before the call returns */
	sl_run_submit(t->api->parts.engine, w, sl_task_submitted, t);
	if (w->rc == SL_OK)
		w->task = NULL;
}
