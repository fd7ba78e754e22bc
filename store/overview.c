/* store/overview.c: see overview.h. */
#include "store/overview.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "store/store_priv.h"

#define REVIEWS_MOST     200
#define REVIEW_KEY_BYTES 96 /* of a page's last: microseconds, run, seq */

static void instances_done(struct sl_job *j, enum sl_code rc)
{
	const PGresult *r = j->results[0];
	SL_BUF(b, 1u << 20);
	sl_buf_adds(&b, "{\"items\":[");
	for (int i = 0; rc == SL_OK && i < PQntuples(r); i++) {
		char id[24];
		(void)snprintf(id, sizeof(id), "%lld", (long long)sl_row_i64(r, i, 0));
		sl_buf_adds(&b, i ? ",{" : "{");
		sl_buf_json_kz(&b, "id", id); /* 64 bits: more than a number of JavaScript holds */
		sl_row_json_str(&b, "host", r, i, 1);
		sl_buf_json_ki64(&b, "pid", sl_row_i32(r, i, 2));
		sl_row_json_str(&b, "version", r, i, 3);
		sl_buf_json_ktime(&b, "started_at", sl_row_ms(r, i, 4));
		sl_buf_json_ktime(&b, "expires_at", sl_row_ms(r, i, 5));
		sl_buf_json_kbool(&b, "self", sl_row_bool(r, i, 6));
		sl_buf_json_kbool(&b, "alive", sl_row_bool(r, i, 7));
		sl_buf_json_ki64(&b, "runs", sl_row_i64(r, i, 8));
		sl_buf_addc(&b, '}');
	}
	sl_buf_adds(&b, "],\"next_cursor\":null}");
	sl_job_end_json(j, rc, &b);
}

enum sl_code sl_store_instances(struct sl_store *s, sl_store_json_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_READ,
				      "SELECT i.id, i.host, i.pid, i.version, i.started_at, i.expires_at, i.id = "
				      "$1::bigint, i.id = $1::bigint "
				      "OR NOT " SL_SQL_INSTANCE_IS_DEAD
				      ", (SELECT count(*) FROM runs r WHERE r.owner = i.id AND NOT r.done) "
				      "FROM instances i ORDER BY i.started_at DESC LIMIT 200",
				      instances_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_i64(j, s->instance);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

/* ---- reviews ---- */

static void member(struct sl_buf *b, struct json_object *data, const char *key)
{
	sl_buf_json_key(b, key);
	sl_json_write(b, sl_json_get(data, key));
}

static void review(struct sl_buf *b, const PGresult *r, int i)
{
	SL_AUTO_JSON data = NULL;
	char id[SL_UUID_TEXT_BYTES];
	if (sl_json_parse(sl_row_str(r, i, 5), &data, NULL) != SL_OK) /* ours: only a torn database has such */
		data = NULL;
	sl_uuid_format(sl_row_uuid(r, i, 0), id);
	sl_buf_json_kz(b, "run_id", id);
	sl_buf_json_key(b, "node");
	sl_json_write(b, sl_json_get(data, "node_id"));
	sl_row_json_str(b, "workflow", r, i, 2);
	sl_row_json_str(b, "project", r, i, 3);
	sl_buf_json_ktime(b, "requested_at", sl_row_ms(r, i, 4));
	member(b, data, "deadline_at");
	member(b, data, "draft");
	member(b, data, "instructions");
	member(b, data, "fields");
	sl_buf_json_kbool(b, "allow_skip", sl_json_get_bool(data, "allow_skip", false));
}

static void review_key(struct sl_buf *b, const PGresult *r, int i)
{
	sl_buf_addi(b, sl_row_i64(r, i, 6));
	sl_buf_addc(b, ':');
	sl_row_uuid_text(b, r, i);
	sl_buf_addf(b, ":%d", (int)sl_row_i32(r, i, 1));
}

static void reviews_done(struct sl_job *j, enum sl_code rc)
{
	sl_job_end_page(j, rc, review, review_key);
}

/* A request is over with its decision, with the end of its node, and when its run is done again from some node. A node
 * that is tried again has said before that its request is over. Sorted before that is looked at, so that a page costs
 * what it shows. The data of a node_state_change is never cut into pieces: its texts are short. */
#define REQUESTS                                                                                                       \
	"SELECT e.run_id, e.seq, r.workflow, r.project, e.at, e.data, (extract(epoch FROM e.at) * 1000000)::bigint "   \
	"AS us FROM runs r JOIN run_events e ON e.run_id = r.id WHERE NOT r.done AND e.event = "                       \
	"'human_review:requested' AND ($1 = '' OR r.project = $1) AND ((extract(epoch FROM e.at) * "                   \
	"1000000)::bigint, e.run_id, e.seq) > ($2::bigint, $3, $4::integer) ORDER BY us, e.run_id, e.seq"
#define IS_OVER                                                                                                        \
	"EXISTS (SELECT 1 FROM run_events x WHERE x.run_id = q.run_id AND x.seq > q.seq AND CASE x.event "             \
	"WHEN 'execution:retried' THEN true WHEN 'execution:forked' THEN true "                                        \
	"WHEN 'human_review:resolved' THEN x.data::json->>'node_id' = q.data::json->>'node_id' "                       \
	"WHEN 'node_state_change' THEN x.data::json->>'status' IN ('completed', 'failed', 'skipped', 'cancelled') "    \
	"AND x.data::json->>'node_id' = q.data::json->>'node_id' ELSE false END)"

enum sl_code sl_store_reviews(struct sl_store *s, struct sl_str project, struct sl_str cursor, uint32_t limit,
			      sl_store_json_fn *fn, void *arg)
{
	char text[REVIEW_KEY_BYTES];
	struct sl_uuid run = {0};
	struct sl_str us_text, id, seq_text, rest;
	int64_t us = INT64_MIN, seq = 0;
	if (cursor.len &&
	    (!sl_cursor_read(cursor, text, sizeof(text)) || !sl_str_cut(sl_str(text), ':', &us_text, &rest) ||
	     !sl_str_cut(rest, ':', &id, &seq_text) || !sl_str_i64(us_text, &us) || !sl_uuid_parse(id, &run) ||
	     !sl_str_i64(seq_text, &seq) || seq > INT32_MAX || seq < 0))
		return SL_BAD_REQUEST;
	struct sl_job *j = sl_job_new(s, SL_JOB_READ,
				      "SELECT * FROM (" REQUESTS ") q WHERE NOT " IS_OVER
				      " ORDER BY us, run_id, seq LIMIT $5::integer + 1",
				      reviews_done);
	if (!j)
		return SL_NO_MEMORY;
	j->number = limit < 1 ? 50 : limit > REVIEWS_MOST ? REVIEWS_MOST : limit;
	sl_job_str(j, project);
	sl_job_i64(j, us);
	sl_job_uuid(j, run);
	sl_job_i64(j, seq);
	sl_job_i64(j, (int64_t)j->number);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

/* ---- today ---- */

static void today_done(struct sl_job *j, enum sl_code rc)
{
	const PGresult *r = j->results[0];
	struct sl_store_today today = {0};
	if (rc == SL_OK && PQntuples(r) == 1)
		today = (struct sl_store_today){.cost_microusd = sl_row_i64(r, 0, 0),
						.input_tokens = sl_row_i64(r, 0, 1),
						.output_tokens = sl_row_i64(r, 0, 2),
						.runs = (uint64_t)sl_row_i64(r, 0, 3)};
	((sl_store_today_fn *)j->fn)(j->arg, rc, &today);
}

enum sl_code sl_store_today(struct sl_store *s, sl_store_today_fn *fn, void *arg)
{
	return sl_job_submit(
		sl_job_new(s, SL_JOB_READ,
			   "SELECT coalesce(sum(cost_microusd), 0)::bigint, coalesce(sum(input_tokens), 0)::bigint, "
			   "coalesce(sum(output_tokens), 0)::bigint, count(*) FROM runs WHERE id >= "
			   "sluice_uuid_at(date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')",
			   today_done),
		(void (*)(void))fn, arg);
}
