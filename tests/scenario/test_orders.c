/* What people ask of a run, in any order and at any moment, against a model made from docs/STATES.md: allowed and
 * refused exactly as there, repeats change nothing, a review decides once, and what was acknowledged survives a crash.
 *
 * SLUICE_ORDERS sets how many interleavings of 40 orders (1000), SLUICE_SEED plays one again. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "tests/lib/dag.h"
#include "tests/lib/world.h"

#define WHY 300

static const char flow[] = "{\"sluice\":1,\"name\":\"orders\",\"nodes\":["
			   "{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"answer\":1,\"hold\":true}},"
			   "{\"id\":\"r\",\"type\":\"human_review\",\"params\":{\"draft\":\"a draft\"}},"
			   "{\"id\":\"s\",\"type\":\"wait_signal\",\"params\":{\"signal\":\"go\"}},"
			   "{\"id\":\"b\",\"type\":\"fake\",\"params\":{\"answer\":2,\"hold\":true}},"
			   "{\"id\":\"d\",\"type\":\"delay\",\"params\":{\"seconds\":1}}],"
			   "\"edges\":[{\"from\":\"a\",\"to\":\"r\"},{\"from\":\"r\",\"to\":\"s\"},{\"from\":\"s\","
			   "\"to\":\"b\"},{\"from\":"
			   "\"b\",\"to\":\"d\"}],\"outputs\":{\"v\":\"{{ nodes.a.value + nodes.b.value }}\"}}";

enum { A, R, S, B, D, NODES };
static const char *const ids[NODES] = {"a", "r", "s", "b", "d"};

/* ---- the model ---- */

enum hold { GOES, PAUSED, LOCKED, SUCCEEDED, CANCELLED };

struct model {
	enum hold hold;
	unsigned stage; /* the node whose turn it is; NODES: all are completed */
	bool begun;     /* it is at work, or waits */
	unsigned signals;
	uint64_t due_ms;  /* of the delay that has begun */
	bool was_cut;     /* the node of this stage was cancelled */
	unsigned decided; /* reviews that were */
};

/* Goes as far as it goes by itself. */
static void go(struct model *m, uint64_t now_ms)
{
	while (m->hold == GOES && !m->begun && m->stage < NODES) {
		m->begun = true;
		m->due_ms = now_ms + 1000;
		if (m->stage == S && m->signals) {
			m->signals--;
			m->stage++;
			m->begun = false;
		}
	}
	if (m->hold == GOES && m->stage == NODES)
		m->hold = SUCCEEDED;
}

static void ended(struct model *m, uint64_t now_ms)
{
	m->stage++;
	m->begun = false;
	go(m, now_ms);
}

static bool holds_a_call(const struct model *m)
{
	return m->begun && (m->stage == A || m->stage == B);
}

static const char *status_of(const struct model *m)
{
	static const char *const names[] = {
		[PAUSED] = "paused", [LOCKED] = "locked", [SUCCEEDED] = "succeeded", [CANCELLED] = "cancelled"};
	if (m->hold == GOES)
		return holds_a_call(m) ? "running" : "waiting";
	return names[m->hold];
}

struct order {
	enum sl_command_kind kind;
	const char *node, *payload;
	bool good; /* the payload does */
};

static bool is_over(const struct model *m)
{
	return m->hold == SUCCEEDED || m->hold == CANCELLED;
}

/* By the table; what follows from it happens. */
static enum sl_code ask(struct model *m, const struct order *o, uint64_t now_ms)
{
	switch (o->kind) {
	case SL_CMD_PAUSE_DRAIN:
	case SL_CMD_PAUSE_NOW:
		if (m->hold != GOES && m->hold != PAUSED)
			return SL_CONFLICT;
		m->hold = PAUSED;
		if (o->kind == SL_CMD_PAUSE_NOW && holds_a_call(m))
			m->begun = false;
		return SL_OK;
	case SL_CMD_RESUME:
		if (m->hold == GOES)
			return SL_OK;
		if (m->hold != PAUSED)
			return SL_CONFLICT;
		m->hold = GOES;
		go(m, now_ms);
		return SL_OK;
	case SL_CMD_UNLOCK:
		if (m->hold != LOCKED)
			return SL_CONFLICT;
		if (!o->good)
			return SL_INVALID;
		m->hold = GOES;
		go(m, now_ms);
		return SL_OK;
	case SL_CMD_CANCEL:
		if (m->hold == CANCELLED)
			return SL_OK;
		if (m->hold == SUCCEEDED)
			return SL_CONFLICT;
		m->hold = CANCELLED;
		m->was_cut = m->begun;
		m->begun = false;
		return SL_OK;
	case SL_CMD_REVIEW:
		if (is_over(m))
			return SL_CONFLICT;
		if (strcmp(o->node, "nobody") == 0)
			return SL_NOT_FOUND;
		if (strcmp(o->node, "r") != 0 || m->stage != R || !m->begun)
			return SL_CONFLICT;
		if (!o->good)
			return SL_INVALID;
		m->decided++;
		ended(m, now_ms);
		return SL_OK;
	case SL_CMD_SIGNAL:
		if (is_over(m))
			return SL_CONFLICT;
		if (!o->good)
			return SL_INVALID;
		if (m->stage == S && m->begun)
			ended(m, now_ms);
		else
			m->signals++;
		return SL_OK;
	case SL_CMD_INPUT:
		return is_over(m) ? SL_CONFLICT : o->good ? SL_OK : SL_INVALID;
	case SL_CMD_RETRY: {
		if (m->hold != CANCELLED)
			return SL_CONFLICT;
		unsigned from = m->stage;
		for (unsigned i = 0; o->node && i < NODES; i++)
			if (strcmp(ids[i], o->node) == 0 && i < from)
				from = i;
		m->stage = from;
		m->hold = GOES;
		m->was_cut = false;
		go(m, now_ms);
		return SL_OK;
	}
	}
	return SL_INTERNAL;
}

static void crash(struct model *m, uint64_t now_ms)
{
	if (holds_a_call(m) && (m->hold == PAUSED || m->hold == LOCKED))
		m->begun = false; /* interrupted, will be repeated */
	(void)now_ms;
}

/* ---- the engine beside it ---- */

static bool same(struct world *w, struct sl_run_id id, const struct model *m, char *why)
{
	const char *status = world_status(w, id);
	if (strcmp(status, status_of(m)) != 0) {
		snprintf(why, WHY, "the run is %s, the model %s", status, status_of(m));
		return false;
	}
	for (unsigned i = 0; i < NODES; i++) {
		bool waits = i == R || i == S || i == D;
		const char *want = i < m->stage   ? "completed"
				   : i > m->stage ? "pending"
				   : m->was_cut   ? "cancelled"
				   : !m->begun    ? "pending"
				   : waits        ? "waiting"
						  : "running";
		const char *is = world_node_status(w, id, ids[i]);
		if (strcmp(is, want) != 0) {
			snprintf(why, WHY, "%s is %s, in the model %s (the run is %s)", ids[i], is, want, status_of(m));
			return false;
		}
	}
	return true;
}

static enum sl_code watch_see(struct sl_watch *w, enum sl_stream_kind kind, struct sl_str piece, struct sl_trip *trip)
{
	if (!sl_str_starts(piece, SL_STR("boom")))
		return SL_OK;
	*trip = (struct sl_trip){.reason = "TOKEN_SURGE", .message = "too much", .measured = 9, .limit = 3};
	return SL_TRIPPED;
}

static void watch_free(struct sl_watch *w)
{
	free(w);
}

static struct sl_watch *watch_new(struct sl_exec *x)
{
	struct sl_watch *w = calloc(1, sizeof(*w));
	w->see = watch_see;
	w->free = watch_free;
	return w;
}

static const struct sl_middleware tripper = {.name = "tripper", .slot = SL_SLOT_RATE_LIMITER, .watch = watch_new};

static struct order draw(uint64_t *s)
{
	static const struct order orders[] = {
		{SL_CMD_PAUSE_DRAIN, NULL, NULL, true},
		{SL_CMD_PAUSE_NOW, NULL, NULL, true},
		{SL_CMD_RESUME, NULL, NULL, true},
		{SL_CMD_RESUME, NULL, NULL, true},
		{SL_CMD_RESUME, NULL, NULL, true},
		{SL_CMD_UNLOCK, NULL, "{\"justification\":\"looked at\"}", true},
		{SL_CMD_UNLOCK, NULL, "{\"confirmations\":[true,true,true]}", true},
		{SL_CMD_UNLOCK, NULL, "{\"confirmations\":[true,false,true]}", false},
		{SL_CMD_REVIEW, "r", "{\"action\":\"approve\"}", true},
		{SL_CMD_REVIEW, "r", "{\"action\":\"modify\",\"content\":\"better\"}", true},
		{SL_CMD_REVIEW, "r", "{\"action\":\"dance\"}", false},
		{SL_CMD_REVIEW, "b", "{\"action\":\"approve\"}", true},
		{SL_CMD_REVIEW, "nobody", "{\"action\":\"approve\"}", true},
		{SL_CMD_SIGNAL, NULL, "{\"signal\":\"go\",\"payload\":1}", true},
		{SL_CMD_SIGNAL, NULL, "{\"payload\":1}", false},
		{SL_CMD_INPUT, NULL, "{\"text\":\"a word\"}", true},
		{SL_CMD_INPUT, NULL, "{\"text\":\" \"}", false},
		{SL_CMD_CANCEL, NULL, NULL, true},
		{SL_CMD_RETRY, NULL, NULL, true},
		{SL_CMD_RETRY, "r", NULL, true},
		{SL_CMD_RETRY, NULL, NULL, true},
	};
	return orders[dag_random(s, SL_COUNT_OF(orders))];
}

static struct {
	unsigned interleavings, orders, refused, crashes, unanswered, succeeded, cancelled, forks, no_forks;
} seen;

static bool tell(struct world *w, struct sl_run_id id, struct model *m, uint64_t *s, char *why)
{
	struct order o = draw(s);
	if (dag_random(s, 3) == 0) /* what helps it on */
		o = m->hold == PAUSED      ? (struct order){SL_CMD_RESUME, NULL, NULL, true}
		    : m->hold == LOCKED    ? (struct order){SL_CMD_UNLOCK, NULL, "{\"justification\":\"fine\"}", true}
		    : m->hold == CANCELLED ? (struct order){SL_CMD_RETRY, NULL, NULL, true}
		    : m->stage == R        ? (struct order){SL_CMD_REVIEW, "r", "{\"action\":\"approve\"}", true}
		    : m->stage == S        ? (struct order){SL_CMD_SIGNAL, NULL, "{\"signal\":\"go\"}", true}
					   : o;
	if (o.kind == SL_CMD_CANCEL && dag_random(s, 3)) /* or little else happened */
		o = (struct order){SL_CMD_RESUME, NULL, NULL, true};
	struct model before = *m;
	enum sl_code want = ask(m, &o, world_now(w));
	seen.orders++;
	seen.refused += want != SL_OK;
	if (dag_random(s, 4)) {
		enum sl_code rc = world_order(w, id, o.kind, o.node, o.payload);
		if (rc == want)
			return same(w, id, m, why);
		snprintf(why, WHY, "order %d of a run that is %s: %s, by the table %s", o.kind, status_of(&before),
			 sl_code_wire(rc), sl_code_wire(want));
		return false;
	}
	/* the server dies somewhere on the way */
	world_auto_commit(w, false);
	const struct world_answer *a = world_ask(w, id, o.kind, o.node, o.payload);
	for (unsigned n = dag_random(s, 8); n > 0; n--)
		switch (dag_random(s, 3)) {
		case 0:
			world_commit_one(w);
			break;
		case 1:
			world_commit_unanswered(w);
			break;
		default:
			sl_engine_step(world_engine(w));
		}
	bool given = a->given;
	enum sl_code rc = a->rc;
	world_crash(w);
	world_auto_commit(w, true);
	world_settle(w);
	seen.crashes++;
	seen.unanswered += !given;
	crash(m, world_now(w));
	crash(&before, world_now(w));
	if (given && rc != want) {
		snprintf(why, WHY, "order %d before a crash: %s, by the table %s", o.kind, sl_code_wire(rc),
			 sl_code_wire(want));
		return false;
	}
	if (same(w, id, m, why)) /* a signal that was kept shows only when it is taken: the journal knows */
		return true;
	if (given && rc == SL_OK)
		return false;
	*m = before;
	return same(w, id, m, why);
}

/* How many signals are kept cannot be seen from outside; after a crash the journal says it. */
static unsigned kept(struct world *w, struct sl_run_id id)
{
	const struct sl_record *r;
	unsigned n = 0;
	for (size_t i = 0, k = world_records(w, id, &r); i < k; i++)
		n += strcmp(r[i].event, "signal:received") == 0;
	return n;
}

/* How many nodes are completed after the first so many records. */
static unsigned stage_at(const struct sl_record *r, size_t n)
{
	unsigned stage = 0;
	for (size_t i = 0; i < n; i++) {
		SL_AUTO_JSON o = NULL;
		bool node = strcmp(r[i].event, "node_state_change") == 0;
		bool retried = strcmp(r[i].event, "execution:retried") == 0;
		if (!node && !retried)
			continue;
		assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), &o, NULL), SL_OK);
		struct sl_str id = sl_json_get_str(o, node ? "node_id" : "from");
		for (unsigned k = 0; k < NODES; k++) {
			if (!sl_str_is(id, ids[k]))
				continue;
			if (node && sl_str_is(sl_json_get_str(o, "status"), "completed"))
				stage = k + 1;
			else if (retried && k < stage)
				stage = k;
		}
	}
	return stage;
}

static bool same_bytes(const struct sl_bytes *a, const struct sl_bytes *b)
{
	return sl_str_eq(sl_bytes_str(a), sl_bytes_str(b));
}

/* A fork at any event, from any node, with or without an output in place of a's: the source stays what it was, the new
 * run has its journal up to there, does again what it was asked to and nothing that was done before. */
static bool fork_it(struct world *w, struct sl_run_id id, const struct model *m, uint64_t *s, char *why)
{
	const struct sl_record *r, *copy;
	size_t n = world_records(w, id, &r), at = 1 + dag_random(s, (unsigned)n + 1);
	unsigned from = dag_random(s, NODES + 3); /* NODES: nobody; above: it does not say */
	bool edit = dag_random(s, 4) == 0;
	struct sl_fork f = {.at_seq = at, .by = SL_STR("tester")};
	struct sl_run_id fork;
	if (from <= NODES)
		f.from = sl_str(from < NODES ? ids[from] : "nobody");
	if (edit)
		f.outputs = SL_STR("{\"a\":{\"value\":9}}");
	unsigned stage = at <= n ? stage_at(r, at) : 0;
	if (from < stage)
		stage = from;
	if (edit) /* what follows from it is done again; it itself is given, unless it is not kept */
		stage = 1;
	unsigned calls[NODES];
	for (unsigned i = 0; i < NODES; i++)
		calls[i] = world_calls(w, ids[i]);
	enum sl_code want = at > n || from == NODES ? SL_INVALID : SL_OK, rc = world_fork(w, id, &f, &fork);
	bool good = rc == want;
	if (!good)
		snprintf(why, WHY, "a fork at %zu of %zu from %u: %s instead of %s: %.100s", at, n, from,
			 sl_code_wire(rc), sl_code_wire(want), world_told(w));
	if (good && world_records(w, id, &r) != n) {
		snprintf(why, WHY, "a fork changed its source");
		good = false;
	}
	if (!good || !same(w, id, m, why))
		return false;
	seen.forks += rc == SL_OK;
	seen.no_forks += rc != SL_OK;
	if (rc != SL_OK)
		return true;
	size_t copied = world_records(w, fork, &copy);
	good = copied > at && strcmp(copy[at].event, "execution:forked") == 0;
	for (size_t i = 1; i < at && good; i++) /* the first says whose fork it is */
		good = strcmp(r[i].event, copy[i].event) == 0 && r[i].seq == copy[i].seq &&
		       r[i].wall_ms == copy[i].wall_ms && same_bytes(r[i].data, copy[i].data) &&
		       same_bytes(r[i].detail, copy[i].detail) && same_bytes(r[i].once, copy[i].once);
	if (!good)
		snprintf(why, WHY, "a fork at %zu has another journal than its source", at);
	for (unsigned i = 0; i < NODES && good; i++) {
		const char *is = world_node_status(w, fork, ids[i]);
		good = i < stage ? strcmp(is, "completed") == 0 && calls[i] == world_calls(w, ids[i])
				 : i > stage || strcmp(is, "pending") != 0;
		if (!good)
			snprintf(why, WHY, "a fork at %zu from %u: %s is %s at stage %u, called %u times more", at,
				 from, ids[i], is, stage, world_calls(w, ids[i]) - calls[i]);
	}
	/* it has a life of its own */
	rc = world_command(w, fork, SL_CMD_CANCEL);
	want = strcmp(world_status(w, fork), "succeeded") == 0 ? SL_CONFLICT : SL_OK;
	if (good && rc != want) {
		snprintf(why, WHY, "the cancel of a fork: %s", sl_code_wire(rc));
		good = false;
	}
	return good && same(w, id, m, why);
}

static bool play(uint64_t seed, char *why)
{
	uint64_t s = seed * 0x9e3779b97f4a7c15u + 11;
	struct world *w = world_new(seed);
	struct sl_run_id id = world_submit(w, flow, "{}");
	struct model m = {0};
	unsigned taken = 0;
	bool ok = true;
	world_settle(w);
	go(&m, world_now(w));
	ok = same(w, id, &m, why);
	for (unsigned i = 0; i < 40 && ok; i++) {
		unsigned what = dag_random(&s, 10), stage = m.stage;
		if (what < 3 && holds_a_call(&m) && world_is_held(w, ids[m.stage])) {
			world_release(w, ids[m.stage]);
			ended(&m, world_now(w));
			world_settle(w);
			ok = same(w, id, &m, why);
		} else if (what == 3 && holds_a_call(&m)) {
			assert_int_equal(world_say(w, ids[m.stage], "boom"), SL_TRIPPED);
			m.hold = LOCKED;
			m.begun = false;
			world_settle(w);
			ok = same(w, id, &m, why);
		} else if (what == 4) {
			world_advance(w, 300);
			if (m.stage == D && m.begun && m.due_ms <= world_now(w))
				ended(&m, world_now(w));
			ok = same(w, id, &m, why);
		} else if (what == 5 && dag_random(&s, 2)) {
			world_crash(w);
			world_settle(w);
			crash(&m, world_now(w));
			ok = same(w, id, &m, why);
		} else {
			ok = tell(w, id, &m, &s, why);
		}
		if (ok && dag_random(&s, 40) == 0)
			ok = fork_it(w, id, &m, &s, why);
		taken += stage <= S && m.stage > S; /* in one step it may pass by */
		m.signals = kept(w, id) - taken;
		if (!ok) {
			size_t at = strlen(why);
			snprintf(why + at, WHY - at, "; step %u", i);
		}
	}
	unsigned decided = 0;
	const struct sl_record *r;
	for (size_t i = 0, k = world_records(w, id, &r); i < k; i++)
		decided += strcmp(r[i].event, "human_review:resolved") == 0;
	if (ok && decided != m.decided) {
		snprintf(why, WHY, "%u decisions, %u in the model", decided, m.decided);
		ok = false;
	}
	seen.interleavings++;
	seen.succeeded += m.hold == SUCCEEDED;
	seen.cancelled += m.hold == CANCELLED;
	world_free(w);
	return ok;
}

static void orders_do_what_the_table_says(void **state)
{
	const char *one = getenv("SLUICE_SEED");
	unsigned long first = one ? strtoul(one, NULL, 10) : 1, n = one ? 1 : sl_test_rounds("SLUICE_ORDERS", 1000);
	static const char *const types[] = {"human_review", "wait_signal", "delay", NULL};
	char why[WHY];
	sl_log_setup(SL_LOG_ERROR, SL_LOG_TEXT, 2);
	sl_expect_aborts = true;
	world_middleware(&tripper);
	world_only(types);
	world_max_recoveries(1000);
	for (unsigned long seed = first; seed < first + n; seed++)
		if (!play(seed, why))
			fail_msg("SLUICE_SEED=%lu: %s", seed, why);
	world_middleware(NULL);
	world_only(NULL);
	print_message(
		"%u interleavings, %u orders (%u refused), %u of them in a crash (%u without an answer), %u forks (%u "
		"refused); at their end %u runs had succeeded, %u were cancelled\n",
		seen.interleavings, seen.orders, seen.refused, seen.crashes, seen.unanswered,
		seen.forks + seen.no_forks, seen.no_forks, seen.succeeded, seen.cancelled);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(orders_do_what_the_table_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
