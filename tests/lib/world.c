/* tests/lib/world.c: see world.h. The driver: it makes the lives of an engine and ends them, owns the clock, and turns
 * the crank; what it stands on are fake_journal.h and fake_nodes.h. */
#include "tests/lib/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/run_state.h"
#include "tests/lib/fake_journal.h"
#include "tests/lib/fake_nodes.h"
#include "tests/lib/test.h"

/* A server: the one that is alive, or one that was thought dead and is not. */
struct life {
	struct world *world;
	struct fake_writer writer;
	struct sl_engine *engine;
	uint64_t wake; /* when its earliest timer is due */
	struct life *next;
};

struct answer {
	struct answer *next;
	struct world_answer told;
};

struct world {
	struct sl_engine *engine; /* of the life */
	struct life *life, *zombies;
	struct fake_journal *journal;
	struct fake_nodes *nodes;
	uint64_t mono, seed;
	int64_t wall;
	struct answer *answers;
	bool auto_commit, split, muted, paused;
	struct json_object *shown;
	unsigned notices;
	struct sl_admit_limits limits;
	char told[SL_ERROR_TEXT_BYTES];
	enum sl_code submit_rc;
	struct sl_run_id submit_id;
};

/* ---- lives ---- */

static void bus_publish(void *ctx, struct sl_notice *n)
{
	((struct world *)ctx)->notices++;
}

static uint64_t fake_mono(void *ctx)
{
	return ((struct world *)ctx)->mono;
}

static int64_t fake_wall(void *ctx)
{
	return ((struct world *)ctx)->wall;
}

static void wake_at(void *ctx, uint64_t due_ms)
{
	((struct life *)ctx)->wake = due_ms;
}

static const struct sl_middleware *further;
static uint32_t max_recoveries;
static const struct sl_suspect *suspects;
static uint32_t n_suspects;
static const char *const *only_types;
static struct {
	const char *name, *definition;
} library[16];
static size_t n_library;

void world_workflow(const char *name, const char *definition)
{
	assert_true(n_library < SL_COUNT_OF(library));
	library[n_library].name = name;
	library[n_library++].definition = definition;
}

static enum sl_code library_find(void *ctx, struct sl_str name, int32_t version,
				 void (*fn)(void *arg, enum sl_code rc, struct sl_bytes *definition, int32_t version),
				 void *arg)
{
	for (size_t i = n_library; i-- > 0;)
		if (sl_str_is(name, library[i].name) && version < 2) {
			sl_test_spare(1);
			SL_AUTO(sl_bytes) b = sl_bytes_new(library[i].definition, strlen(library[i].definition));
			sl_test_spare(-1);
			fn(arg, SL_OK, b, 1);
			return SL_OK;
		}
	fn(arg, SL_NOT_FOUND, NULL, 0);
	return SL_OK;
}

struct sl_run_id world_child(struct world *w, struct sl_run_id parent)
{
	const struct sl_record *r;
	struct sl_run_id id = {0};
	for (size_t i = 0, n = world_records(w, parent, &r); i < n; i++)
		if (strcmp(r[i].event, "subworkflow:started") == 0) {
			SL_AUTO_JSON o = NULL;
			assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), &o, NULL), SL_OK);
			assert_true(sl_uuid_parse(sl_json_get_str(o, "run_id"), &id.u));
		}
	return id;
}

void world_middleware(const struct sl_middleware *m)
{
	further = m;
}

void world_max_recoveries(uint32_t most)
{
	max_recoveries = most;
}

void world_suspects(const struct sl_suspect *of, uint32_t n)
{
	suspects = of;
	n_suspects = n;
}

void world_only(const char *const *types)
{
	only_types = types;
}

/* To the server that has the run. */
static enum sl_code pass_on(void *ctx, struct sl_run_id id, const struct sl_order *order, sl_command_fn *fn, void *arg)
{
	struct life *from = ctx;
	struct world *w = from->world;
	struct life *to = w->life;
	if (!w->split)
		return SL_CONFLICT;
	if (!fake_journal_has(w->journal, id, &to->writer))
		for (to = w->zombies; to && !fake_journal_has(w->journal, id, &to->writer);)
			to = to->next;
	bool lost = w->muted && sl_str_is(order->by, SL_BY_PARENT);
	if (to && to != from && !lost)
		return sl_engine_command(to->engine, id, order, fn, arg);
	fn(arg, SL_UNAVAILABLE, "", &(struct sl_error){.code = SL_UNAVAILABLE});
	return SL_OK;
}

static void make_engine(struct world *w)
{
	SL_TEST_SPARED;
	static struct sl_clock clock;
	static const struct sl_middleware *middleware[64];
	struct life *l = calloc(1, sizeof(*l));
	size_t k = 0;
	*l = (struct life){.world = w, .writer = {w->journal}, .wake = UINT64_MAX};
	w->life = l;
	for (; sl_middlewares[k] && k < 60; k++)
		middleware[k] = sl_middlewares[k];
	middleware[k++] = further;
	middleware[k] = NULL;
	clock = (struct sl_clock){fake_mono, fake_wall, w};
	struct sl_engine_config c = {
		.clock = &clock,
		.journal = fake_writer_port(&l->writer),
		.library = {library_find, w},
		.elsewhere = {pass_on, l},
		.bus = {bus_publish, w},
		.services = fake_nodes_services(w->nodes),
		.node_types = fake_nodes_types(only_types),
		.middleware = middleware,
		.seed = w->seed,
		.wake_at = wake_at,
		.wake_ctx = l,
		.max_recoveries = max_recoveries,
		.suspects = suspects,
		.n_suspects = n_suspects,
	};
	struct sl_error err = {0};
	if (sl_engine_new(&c, &w->engine, &err) != SL_OK)
		fail_msg("engine: %s", err.text);
	l->engine = w->engine;
	fake_nodes_serve(w->nodes, w->engine);
	struct sl_admit_limits limits = w->limits;
	sl_engine_limit(w->engine, &limits);
	if (w->paused)
		SL_IGNORE(sl_engine_pause(w->engine, true, SL_STR(""), NULL, NULL)); /* nobody is there yet */
}

void world_pause_all(struct world *w, bool on)
{
	w->paused = on;
	assert_int_equal(sl_engine_pause(w->engine, on, SL_STR("tester"), NULL, NULL), SL_OK);
}

void world_zombies_hear(struct world *w)
{
	for (struct life *l = w->zombies; l; l = l->next)
		assert_int_equal(sl_engine_pause(l->engine, w->paused, SL_STR(""), NULL, NULL), SL_OK);
}

void world_limits(struct world *w, const struct sl_admit_limits *l)
{
	struct sl_admit_limits limits = w->limits = *l;
	sl_engine_limit(w->engine, &limits);
}

struct world *world_new(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));
	w->journal = fake_journal_new();
	w->nodes = fake_nodes_new();
	w->seed = seed ? seed : 1;
	w->mono = 1000;
	w->wall = 1700000000000;
	w->auto_commit = true;
	make_engine(w);
	return w;
}

/* Whatever it had is left behind, as it is in the journal. */
static void end_life(struct world *w, struct life *l)
{
	sl_engine_stop(l->engine);
	fake_writer_drop(&l->writer);
	sl_engine_free(l->engine);
	fake_nodes_forget(w->nodes, l->engine);
	fake_writer_gone(&l->writer);
	free(l);
}

static void end_zombies(struct world *w)
{
	while (w->zombies) {
		struct life *l = w->zombies;
		w->zombies = l->next;
		end_life(w, l);
	}
}

static void end_engine(struct world *w)
{
	end_zombies(w);
	end_life(w, w->life);
	w->life = NULL;
	w->engine = NULL;
}

void world_free(struct world *w)
{
	end_engine(w);
	while (w->answers) {
		struct answer *a = w->answers;
		w->answers = a->next;
		free(a);
	}
	json_object_put(w->shown);
	fake_nodes_free(w->nodes);
	fake_journal_free(w->journal);
	free(w);
}

struct sl_engine *world_engine(struct world *w)
{
	return w->engine;
}

void world_set_clock(struct world *w, int64_t by_ms)
{
	w->wall += by_ms;
}

int64_t world_wall(struct world *w)
{
	return w->wall;
}

void world_auto_commit(struct world *w, bool on)
{
	w->auto_commit = on;
}

enum sl_code world_say(struct world *w, const char *path, const char *text)
{
	return fake_nodes_say(w->nodes, path, text);
}

struct sl_services *world_services(struct world *w)
{
	return fake_nodes_services(w->nodes);
}

bool world_await(struct world *w, struct sl_run_id id, const char *path, const char *status)
{
	for (unsigned ms = 0; ms < 20000; ms++) {
		world_settle(w);
		if (strcmp(path ? world_node_status(w, id, path) : world_status(w, id), status) == 0)
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* for threads that the world does not turn */
	}
	return false;
}

void world_elsewhere(struct world *w, struct sl_run_id id)
{
	fake_journal_elsewhere(w->journal, id);
}

void world_busy(struct world *w, unsigned loads)
{
	fake_journal_busy(w->journal, loads);
}

void world_damage(struct world *w, struct sl_run_id id)
{
	fake_journal_damage(w->journal, id);
}

void world_delete(struct world *w, struct sl_run_id id)
{
	fake_journal_delete(w->journal, id);
}

bool world_commit_one(struct world *w)
{
	return fake_journal_commit(w->journal);
}

bool world_commit_unanswered(struct world *w)
{
	return fake_journal_commit_unanswered(w->journal);
}

void world_settle(struct world *w)
{
	bool moved = true;
	for (unsigned i = 0; moved; i++) {
		assert_true(i < 1000000);
		moved = sl_engine_step(w->engine);
		if (!moved && w->auto_commit)
			moved = world_commit_one(w);
	}
}

void world_advance(struct world *w, uint64_t ms)
{
	world_settle(w);
	for (uint64_t end = w->mono + ms; w->mono < end;) {
		uint64_t to = w->life->wake <= w->mono ? w->mono + 1 : w->life->wake < end ? w->life->wake : end;
		w->wall += (int64_t)(to - w->mono);
		w->mono = to;
		sl_engine_tick(w->engine);
		world_settle(w);
	}
}

uint64_t world_now(struct world *w)
{
	return w->mono;
}

void world_hold(struct world *w, uint64_t ms)
{
	w->wall += (int64_t)ms;
	w->mono += ms;
	sl_engine_tick(w->engine);
}

static void recovered(void *arg, enum sl_code rc, size_t runs)
{
	assert_int_equal(rc, SL_OK);
}

static void recover(struct world *w)
{
	enum sl_code rc = sl_engine_recover(w->engine, recovered, w);
	if (rc == SL_NO_MEMORY && sl_test_has_failed())
		rc = sl_engine_recover(w->engine, recovered, w); /* as a server does, a little later */
	assert_int_equal(rc, SL_OK);
}

void world_crash(struct world *w)
{
	end_engine(w);
	make_engine(w);
	recover(w);
}

void world_take_over(struct world *w)
{
	w->life->next = w->zombies;
	w->zombies = w->life;
	fake_journal_disown(w->journal);
	make_engine(w);
	recover(w);
}

void world_split(struct world *w, struct sl_run_id id)
{
	w->split = true;
	w->life->next = w->zombies;
	w->zombies = w->life;
	fake_journal_disown_one(w->journal, id);
	make_engine(w);
	recover(w);
}

void world_zombies_lapse(struct world *w)
{
	for (struct life *l = w->zombies; l; l = l->next)
		sl_engine_prove(l->engine);
}

void world_mute(struct world *w, bool on)
{
	w->muted = on;
}

bool world_zombies_step(struct world *w)
{
	bool moved = false;
	for (struct life *l = w->zombies; l; l = l->next) {
		fake_nodes_serve(w->nodes, l->engine);
		sl_engine_tick(l->engine);
		moved |= sl_engine_step(l->engine);
	}
	fake_nodes_serve(w->nodes, w->engine);
	return moved;
}

void world_bury_zombies(struct world *w)
{
	end_zombies(w);
	recover(w);
}

static void submitted(void *arg, enum sl_code rc, struct sl_run_id id, bool same)
{
	struct world *w = arg;
	w->submit_rc = rc;
	w->submit_id = id;
}

static struct sl_run_id submit(struct world *w, struct sl_run_head *head, enum sl_code *out)
{
	struct sl_problems problems = {0};
	struct sl_error err = {0};
	w->submit_rc = SL_INTERNAL;
	enum sl_code rc = sl_engine_submit(w->engine, head, &problems, submitted, w, &err);
	for (size_t i = 0; i < problems.n; i++)
		if (rc != SL_OK)
			print_message("%s: %s\n", problems.items[i].pointer, problems.items[i].message);
	sl_problems_fini(&problems);
	if (rc != SL_OK)
		fail_msg("submit: %s", err.text);
	for (unsigned i = 0; w->submit_rc == SL_INTERNAL && i < 1000; i++)
		if (!sl_engine_step(w->engine))
			world_commit_one(w);
	if (out)
		*out = w->submit_rc;
	else
		assert_int_equal(w->submit_rc, SL_OK);
	return w->submit_id;
}

static struct sl_run_head *head_of(const char *definition, const char *inputs)
{
	struct sl_run_head *head = sl_run_head_new();
	head->definition = sl_bytes_new(definition, strlen(definition));
	head->inputs = sl_bytes_new(inputs, strlen(inputs));
	return head;
}

struct sl_run_id world_submit_keyed(struct world *w, const char *definition, const char *inputs, const char *key,
				    enum sl_code *out)
{
	struct sl_run_head *head = head_of(definition, inputs);
	head->idempotency_key = key ? strdup(key) : NULL;
	return submit(w, head, out);
}

struct sl_run_id world_submit_as(struct world *w, const char *definition, const char *project, int32_t priority)
{
	struct sl_run_head *head = head_of(definition, "{}");
	head->project = strdup(project);
	head->priority = priority;
	return submit(w, head, NULL);
}

struct sl_run_id world_submit(struct world *w, const char *definition, const char *inputs)
{
	return world_submit_keyed(w, definition, inputs, NULL, NULL);
}

void world_release(struct world *w, const char *path)
{
	fake_nodes_release(w->nodes, path);
}

const char *world_held(struct world *w, size_t i)
{
	return fake_nodes_held(w->nodes, i);
}

void world_cut(struct world *w, struct sl_run_id id, size_t records)
{
	end_engine(w);
	fake_journal_cut(w->journal, id, records);
	make_engine(w);
	recover(w);
}

struct sl_run_head *world_head(struct world *w, struct sl_run_id id)
{
	return fake_journal_head(w->journal, id);
}

size_t world_runs(struct world *w, struct sl_run_id *ids, size_t max)
{
	return fake_journal_runs(w->journal, ids, max);
}

bool world_is_held(struct world *w, const char *path)
{
	return fake_nodes_is_held(w->nodes, path);
}

unsigned world_calls(struct world *w, const char *path)
{
	return fake_nodes_calls(w->nodes, path);
}

unsigned world_cancels(struct world *w, const char *path)
{
	return fake_nodes_cancels(w->nodes, path);
}

struct told {
	struct world *world;
	enum sl_code rc;
};

static void commanded(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct told *t = arg;
	t->rc = rc;
	(void)snprintf(t->world->told, sizeof(t->world->told), "%s", err ? err->text : "");
}

enum sl_code world_order(struct world *w, struct sl_run_id id, enum sl_command_kind kind, const char *node,
			 const char *payload)
{
	static struct told t; /* the answer may come later, when the commits are the test's */
	t = (struct told){w, SL_INTERNAL};
	const struct sl_order order = {.kind = kind,
				       .by = SL_STR("tester"),
				       .node = sl_str(node ? node : ""),
				       .payload = sl_str(payload ? payload : "")};
	assert_int_equal(sl_engine_command(w->engine, id, &order, commanded, &t), SL_OK);
	world_settle(w);
	return t.rc;
}

static void answered(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct answer *a = arg;
	assert_false(a->told.given); /* once */
	a->told.given = true;
	a->told.rc = rc;
	(void)snprintf(a->told.status, sizeof(a->told.status), "%s", status);
}

const struct world_answer *world_ask(struct world *w, struct sl_run_id id, enum sl_command_kind kind, const char *node,
				     const char *payload)
{
	sl_test_spare(1);
	struct answer *a = calloc(1, sizeof(*a));
	sl_test_spare(-1);
	const struct sl_order order = {.kind = kind,
				       .by = SL_STR("tester"),
				       .node = sl_str(node ? node : ""),
				       .payload = sl_str(payload ? payload : "")};
	a->next = w->answers;
	w->answers = a;
	a->told.asked = sl_engine_command(w->engine, id, &order, answered, a);
	assert_true(a->told.asked == SL_OK || sl_test_has_failed());
	return &a->told;
}

enum sl_code world_command(struct world *w, struct sl_run_id id, enum sl_command_kind kind)
{
	return world_order(w, id, kind, NULL, NULL);
}

static void forked(void *arg, enum sl_code rc, struct sl_run_id id, bool same, const struct sl_problems *problems,
		   const struct sl_error *err)
{
	struct world *w = arg;
	w->submit_rc = rc;
	w->submit_id = id;
	(void)snprintf(w->told, sizeof(w->told), "%s", rc == SL_OK ? "" : err->text);
	for (size_t i = 0; i < problems->n; i++)
		(void)snprintf(w->told, sizeof(w->told), "%.100s: %.300s", problems->items[i].pointer,
			       problems->items[i].message);
}

enum sl_code world_fork(struct world *w, struct sl_run_id of, const struct sl_fork *f, struct sl_run_id *out)
{
	w->submit_rc = SL_INTERNAL;
	enum sl_code rc = sl_engine_fork(w->engine, of, f, forked, w);
	if (rc != SL_OK)
		return rc;
	world_settle(w);
	*out = w->submit_id;
	return w->submit_rc;
}

const char *world_told(struct world *w)
{
	return w->told;
}

static void viewed(void *arg, enum sl_code rc, struct sl_view *v)
{
	SL_TEST_SPARED;
	struct world *w = arg;
	struct sl_error err;
	json_object_put(w->shown);
	w->shown = NULL;
	if (rc == SL_OK)
		assert_int_equal(sl_json_parse(sl_bytes_str(v->json), &w->shown, &err), SL_OK);
	sl_view_free(v);
}

struct json_object *world_run(struct world *w, struct sl_run_id id)
{
	json_object_put(w->shown);
	w->shown = NULL;
	assert_int_equal(sl_engine_view(w->engine, id, SL_VIEW_ONCE, viewed, w), SL_OK);
	for (unsigned i = 0; !w->shown && i < 1000; i++)
		if (!sl_engine_step(w->engine))
			world_commit_one(w);
	return w->shown;
}

const char *world_status(struct world *w, struct sl_run_id id)
{
	const char *z = sl_json_get_z(world_run(w, id), "status");
	return z ? z : "";
}

const char *world_node_status(struct world *w, struct sl_run_id id, const char *path)
{
	struct json_object *nodes = sl_json_get(world_run(w, id), "nodes");
	for (size_t i = 0; i < json_object_array_length(nodes); i++) {
		struct json_object *n = json_object_array_get_idx(nodes, i);
		if (strcmp(sl_json_get_z(n, "path"), path) == 0)
			return sl_json_get_z(n, "status");
	}
	return "";
}

size_t world_records(struct world *w, struct sl_run_id id, const struct sl_record **out)
{
	return fake_journal_records(w->journal, id, out);
}

unsigned world_count(struct world *w, struct sl_run_id id, const char *path, const char *status)
{
	const struct sl_record *r;
	unsigned n = 0;
	for (size_t i = 0, k = world_records(w, id, &r); i < k; i++) {
		struct json_object *o = NULL;
		if (strcmp(r[i].event, "node_state_change") != 0)
			continue;
		assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), &o, NULL), SL_OK);
		n += sl_str_is(sl_json_get_str(o, "node_id"), path) && sl_str_is(sl_json_get_str(o, "status"), status);
		json_object_put(o);
	}
	return n;
}

unsigned world_notices(struct world *w)
{
	return w->notices;
}
