/* api/fork.c: see fork.h. The digest tells a repeated request from a key that is used for something else. */
#include "api/fork.h"

#include <sodium.h>
#include <string.h>

#include "base/limits.h"

static void add(crypto_hash_sha256_state *h, struct sl_str s)
{
	uint64_t len = s.len;
	crypto_hash_sha256_update(h, (const unsigned char *)&len, sizeof(len));
	crypto_hash_sha256_update(h, (const unsigned char *)s.p, s.len);
}

static struct sl_bytes *digest_of(struct sl_run_id run, const struct sl_fork *f)
{
	crypto_hash_sha256_state h;
	struct sl_bytes *out = sl_bytes_alloc(crypto_hash_sha256_BYTES);
	if (!out)
		return NULL;
	crypto_hash_sha256_init(&h);
	add(&h, SL_STR("fork"));
	add(&h, sl_str_n((const char *)run.u.b, sizeof(run.u.b)));
	add(&h, sl_str_n((const char *)&f->at_seq, sizeof(f->at_seq)));
	add(&h, f->from);
	add(&h, f->inputs);
	add(&h, f->outputs);
	crypto_hash_sha256_final(&h, (unsigned char *)out->data);
	return out;
}

static bool known(const char *key, const char *const *ignore)
{
	static const char *const keys[] = {"at_seq", "from", "inputs", "outputs"};
	for (size_t i = 0; i < SL_COUNT_OF(keys); i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	for (; ignore && *ignore; ignore++)
		if (strcmp(key, *ignore) == 0)
			return true;
	return false;
}

static void read_object(struct json_object *o, const char *pointer, const char *what, struct sl_buf *out,
			struct sl_problems *problems)
{
	if (!o)
		return;
	if (json_object_is_type(o, json_type_object))
		sl_json_write(out, o);
	else
		sl_problems_add(problems, false, sl_str(pointer), "%s", what);
}

enum sl_code sl_fork_read(struct json_object *body, struct sl_run_id run, const char *const *ignore,
			  struct sl_fork_text *out, struct sl_problems *problems)
{
	struct json_object *at_seq = sl_json_get(body, "at_seq"), *from = sl_json_get(body, "from");
	*out = (struct sl_fork_text){0};
	sl_buf_init(&out->inputs, SL_LIMIT_PAYLOAD_BYTES);
	sl_buf_init(&out->outputs, SL_LIMIT_GATHERED_BYTES);
	json_object_object_foreach (body, key, value) {
		(void)value;
		if (!known(key, ignore)) {
			SL_BUF(pointer, 512);
			sl_pointer_add(&pointer, sl_str(key));
			sl_problems_add(problems, false, pointer.failed ? SL_STR("") : sl_buf_str(&pointer),
					"is not known here; a fork has at_seq, from, inputs, outputs");
		}
	}
	if (at_seq && (!json_object_is_type(at_seq, json_type_int) || json_object_get_int64(at_seq) < 1))
		sl_problems_add(problems, false, SL_STR("/at_seq"), "is the seq of an event of the run, from 1");
	else if (at_seq)
		out->f.at_seq = (uint64_t)json_object_get_int64(at_seq);
	out->f.from = sl_json_str(from);
	if (from && !out->f.from.len)
		sl_problems_add(problems, false, SL_STR("/from"), "is the path of a node");
	read_object(sl_json_get(body, "inputs"), "/inputs", "inputs are an object", &out->inputs, problems);
	read_object(sl_json_get(body, "outputs"), "/outputs", "is an object: { path: output }", &out->outputs,
		    problems);
	if (out->inputs.failed || out->outputs.failed)
		sl_problems_add(problems, false, SL_STR(""), "inputs or outputs are too large");
	if (problems->errors)
		return SL_INVALID;
	out->f.inputs = sl_buf_str(&out->inputs);
	out->f.outputs = sl_buf_str(&out->outputs);
	out->digest = out->f.idempotency_digest = digest_of(run, &out->f);
	return out->digest ? SL_OK : SL_NO_MEMORY;
}

void sl_fork_text_fini(struct sl_fork_text *t)
{
	sl_buf_fini(&t->inputs);
	sl_buf_fini(&t->outputs);
	sl_bytes_unref(t->digest);
}
