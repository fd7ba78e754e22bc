/* store/orders.c: see orders.h. The table is read when somebody says that there is something in it, and never else. */
#include "store/orders.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "store/store_priv.h"

struct asked {
	struct sl_list link;
	struct sl_post post;
	struct sl_store *s;
	struct sl_job *job;
	int64_t id;
	uint64_t due_ms;
	uint32_t wait_ms;
	sl_store_order_fn *fn;
	void *arg;
};

/* ---- the asker */

static void asked_end(struct asked *a, enum sl_code rc, struct sl_str status, struct sl_str message)
{
	sl_list_drop(&a->link);
	sl_job_free(a->job); /* NULL once it was submitted */
	a->fn(a->arg, rc, status, message);
	free(a);
}

static struct asked *asked_of(struct sl_store *s, int64_t id)
{
	sl_list_each (it, &s->asked) {
		struct asked *a = SL_CONTAINER_OF(it, struct asked, link);
		if (a->id == id)
			return a;
	}
	return NULL;
}

static void written(struct sl_job *j, enum sl_code rc)
{
	struct sl_store *s = j->s;
	struct asked *a = asked_of(s, (int64_t)j->number);
	if (!a) /* it has been answered, or given up */
		return;
	if (rc != SL_OK) {
		asked_end(a, rc, SL_STR(""), SL_STR("the order could not be passed on to the server that has the run"));
	} else if (PQntuples(j->results[0]) == 0) {
		asked_end(a, SL_UNAVAILABLE, SL_STR(""),
			  SL_STR("the run is on its way from one server to another; ask again"));
		if (s->config.on_orphans)
			s->config.on_orphans(s->config.ctx);
	}
}

static void order_arrives(struct sl_post *p)
{
	struct asked *a = SL_CONTAINER_OF(p, struct asked, post);
	struct sl_store *s = a->s;
	struct sl_job *j = SL_TAKE(a->job);
	j->number = (uint64_t)a->id;
	a->due_ms = sl_clock_mono_ms() + a->wait_ms;
	sl_list_append(&s->asked, &a->link);
	sl_store_wake_at(s, a->due_ms);
	enum sl_code rc = sl_job_submit(j, NULL, NULL);
	if (rc != SL_OK)
		asked_end(a, rc, SL_STR(""), SL_STR("the order could not be passed on"));
}

enum sl_code sl_store_order(struct sl_store *s, const struct sl_store_order *o, uint32_t wait_ms, sl_store_order_fn *fn,
			    void *arg)
{
	if (atomic_load(&s->closing))
		return SL_CANCELLED;
	struct asked *a = calloc(1, sizeof(*a));
	if (!a)
		return SL_NO_MEMORY;
	*a = (struct asked){.s = s, .wait_ms = wait_ms, .fn = fn, .arg = arg, .post.run = order_arrives};
	sl_list_init(&a->link);
	randombytes_buf(&a->id, sizeof(a->id));
	a->id = (a->id & INT64_MAX) | 1;
	struct sl_job *j = a->job = sl_job_new(
		s, SL_JOB_WRITE,
		"INSERT INTO run_orders (id, run_id, asked_by, kind, by, reason, node, payload) SELECT $1::bigint, "
		"r.id, "
		"$3::bigint, $4, $5, $6, $7, $8 FROM runs r WHERE r.id = $2 AND NOT r.done AND r.owner <> $3::bigint "
		"RETURNING id",
		written);
	if (j) {
		sl_job_i64(j, a->id);
		sl_job_uuid(j, o->run.u);
		sl_job_i64(j, s->instance);
		sl_job_str(j, o->kind);
		sl_job_str(j, o->by);
		sl_job_str(j, o->reason);
		sl_job_str(j, o->node);
		sl_job_str(j, o->payload);
		sl_job_statement(j, "SELECT pg_notify('sluice', 'order ' || r.owner) FROM runs r WHERE r.id = $1 AND "
				    "r.owner IS NOT NULL");
		sl_job_uuid(j, o->run.u);
	}
	if (!j || j->no_memory) {
		sl_job_free(j);
		free(a);
		return SL_NO_MEMORY;
	}
	sl_loop_post(s->loop, &a->post);
	return SL_OK;
}

static void read_done(struct sl_job *j, enum sl_code rc)
{
	struct sl_store *s = j->s;
	const PGresult *r = j->results[0];
	s->orders_reading = false;
	for (int i = 0; rc == SL_OK && i < PQntuples(r); i++) {
		struct asked *a = asked_of(s, sl_row_i64(r, i, 0));
		struct sl_str code = sl_row_str(r, i, 1);
		enum sl_code said = SL_INTERNAL;
		if (!a) /* too late: it was told to ask again */
			continue;
		if (sl_str_is(code, "ok"))
			said = SL_OK;
		else
			SL_IGNORE(sl_code_from_wire(code.p, code.len, &said)); /* of a newer server: internal */
		asked_end(a, said, sl_row_str(r, i, 2), sl_row_str(r, i, 3));
	}
	if (s->orders_read_again)
		sl_orders_read(s);
}

void sl_orders_read(struct sl_store *s)
{
	s->orders_read_again = s->orders_reading;
	if (s->orders_reading || atomic_load(&s->closing))
		return;
	struct sl_job *j = sl_job_new(s, SL_JOB_WRITE,
				      "DELETE FROM run_orders WHERE asked_by = $1::bigint AND answered RETURNING id, "
				      "code, status, message",
				      read_done);
	if (!j)
		return; /* who waits is told to ask again */
	j->first = true;
	sl_job_i64(j, s->instance);
	s->orders_reading = sl_job_submit(j, NULL, NULL) == SL_OK;
}

static void withdrawn(struct sl_job *j, enum sl_code rc)
{
	struct asked *a = asked_of(j->s, (int64_t)j->number);
	if (a) /* else the answer came after all */
		asked_end(a, SL_UNAVAILABLE, SL_STR(""),
			  SL_STR("the server that has the run did not answer in time; ask again"));
}

/* When nobody has begun with it, nobody shall, before it is said that it was not answered. */
static void withdraw(struct asked *a)
{
	struct sl_job *j = sl_job_new(a->s, SL_JOB_IDEMPOTENT,
				      "DELETE FROM run_orders WHERE id = $1::bigint AND taken_by IS NULL", withdrawn);
	a->due_ms = UINT64_MAX;
	if (j) {
		j->number = (uint64_t)a->id;
		sl_job_i64(j, a->id);
	}
	enum sl_code rc = sl_job_submit(j, NULL, NULL);
	if (rc != SL_OK) /* an owner takes none that is old */
		asked_end(a, rc, SL_STR(""), SL_STR("the order could not be withdrawn; ask how the run stands"));
}

void sl_orders_tick(struct sl_store *s, uint64_t now)
{
	sl_list_each_safe (it, tmp, &s->asked) {
		struct asked *a = SL_CONTAINER_OF(it, struct asked, link);
		if (now >= a->due_ms)
			withdraw(a);
		else
			sl_store_wake_at(s, a->due_ms);
	}
}

void sl_orders_stop(struct sl_store *s)
{
	while (!sl_list_empty(&s->asked))
		asked_end(SL_CONTAINER_OF(s->asked.next, struct asked, link), SL_CANCELLED, SL_STR(""),
			  SL_STR("the server is stopping"));
}

/* ---- the owner */

static void taken(struct sl_job *j, enum sl_code rc)
{
	struct sl_store *s = j->s;
	const PGresult *r = j->results[0];
	s->orders_taking = false;
	for (int i = 0; rc == SL_OK && i < PQntuples(r) && s->config.on_order; i++) {
		const struct sl_store_order o = {.id = sl_row_i64(r, i, 0),
						 .run.u = sl_row_uuid(r, i, 1),
						 .kind = sl_row_str(r, i, 2),
						 .by = sl_row_str(r, i, 3),
						 .reason = sl_row_str(r, i, 4),
						 .node = sl_row_str(r, i, 5),
						 .payload = sl_row_str(r, i, 6)};
		s->config.on_order(s->config.ctx, &o);
	}
	if (s->orders_take_again)
		sl_orders_take(s);
}

void sl_orders_take(struct sl_store *s)
{
	s->orders_take_again = s->orders_taking;
	if (s->orders_taking || atomic_load(&s->closing))
		return;
	struct sl_job *j = sl_job_new(
		s, SL_JOB_WRITE,
		"WITH mine AS (UPDATE run_orders o SET taken_by = $1::bigint FROM runs r WHERE r.id = o.run_id AND "
		"r.owner = $1::bigint AND o.taken_by IS NULL AND o.created_at > clock_timestamp() - interval '30 s' "
		"RETURNING o.*) SELECT id, run_id, kind, by, reason, node, payload FROM mine ORDER BY created_at, id",
		taken);
	if (!j)
		return; /* who asked is told to ask again */
	j->first = true;
	sl_job_i64(j, s->instance);
	s->orders_taking = sl_job_submit(j, NULL, NULL) == SL_OK;
}

void sl_store_order_answer(struct sl_store *s, int64_t id, enum sl_code rc, const char *status, const char *message)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_WRITE,
		"WITH done AS (UPDATE run_orders SET answered = true, code = $2, status = $3, message = $4 WHERE id = "
		"$1::bigint RETURNING asked_by) SELECT pg_notify('sluice', 'answer ' || asked_by) FROM done",
		sl_job_end_plain);
	if (!j)
		return; /* who asked is told to ask again */
	sl_job_i64(j, id);
	sl_job_str(j, sl_str(rc == SL_OK ? "ok" : sl_code_wire(rc)));
	sl_job_str(j, sl_str(status ? status : ""));
	sl_job_str(j, sl_str(message ? message : ""));
	SL_IGNORE(sl_job_submit(j, NULL, NULL)); /* likewise */
}

void sl_orders_look(struct sl_store *s)
{
	sl_orders_take(s);
	sl_orders_read(s);
}
