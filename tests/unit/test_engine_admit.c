#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/admit.h"

/* ---- a room with a clock that stands, and a note of who was let in */

#define MOST 4000

struct one {
	struct sl_admit_ticket t;
	const char *project, *workflow;
	int priority;
	bool in, away, gone, asked;
	unsigned order; /* the how many-th to get in after waiting */
};

struct room {
	struct sl_admit *a;
	uint64_t now;
	struct one all[MOST];
	unsigned n, goes;
};

static struct room *here; /* go() has no other way to find it */

static uint64_t mono(void *ctx)
{
	return ((struct room *)ctx)->now;
}

static void go(struct sl_admit_ticket *t)
{
	struct one *o = SL_CONTAINER_OF(t, struct one, t);
	assert_false(o->in);
	o->in = true;
	o->order = ++here->goes;
}

static int setup(void **state)
{
	static struct sl_clock clock;
	struct room *r = calloc(1, sizeof(*r));
	here = r;
	r->now = 1000;
	clock = (struct sl_clock){.mono_ms = mono, .ctx = r};
	*state = r;
	return sl_admit_new(&clock, go, &r->a) == SL_OK ? 0 : -1;
}

static int teardown(void **state)
{
	struct room *r = *state;
	for (unsigned i = 0; i < r->n; i++)
		sl_admit_quit(&r->all[i].t);
	sl_admit_free(r->a);
	free(r);
	return 0;
}

static struct one *comes(struct room *r, const char *project, const char *workflow, int priority)
{
	assert_true(r->n < MOST);
	struct one *o = &r->all[r->n++];
	struct sl_uuid id = {0};
	id.b[0] = (uint8_t)(r->n >> 8);
	id.b[1] = (uint8_t)r->n;
	*o = (struct one){.project = project, .workflow = workflow, .priority = priority};
	assert_int_equal(sl_admit_join(r->a, &o->t, id, project, workflow, priority), SL_OK);
	return o;
}

static struct one *asks(struct room *r, const char *project, const char *workflow, int priority)
{
	struct one *o = comes(r, project, workflow, priority);
	o->asked = true;
	o->in = sl_admit_ask(r->a, &o->t);
	return o;
}

static void ends(struct room *r, struct one *o)
{
	assert_true(o->in);
	o->in = false;
	o->gone = true;
	assert_false(sl_admit_leave(r->a, &o->t));
}

static void limit(struct room *r, uint32_t server, uint32_t per_project, uint32_t per_workflow)
{
	struct sl_admit_limits l = {.max_running = server, .per_project = per_project, .per_workflow = per_workflow};
	sl_admit_set(r->a, &l);
}

static const char *why(struct room *r, struct one *o)
{
	static char text[256];
	SL_BUF(b, 250);
	if (!sl_admit_reason(r->a, &o->t, &b))
		return "";
	snprintf(text, sizeof(text), SL_STR_FMT, SL_STR_ARG(sl_buf_str(&b)));
	return text;
}

/* ---- tests */

static void without_limits_nobody_waits(void **state)
{
	struct room *r = *state;
	for (int i = 0; i < 1000; i++)
		assert_true(asks(r, "a", "w", 0)->in);
	struct sl_admit_stats s;
	sl_admit_stats(r->a, &s);
	assert_int_equal(s.inside, 1000);
	assert_int_equal(s.waiting, 0);
	assert_int_equal(s.bounds[0], 1000);
	assert_int_equal(sl_admit_room(r->a, NULL), SL_OK);
}

static void the_highest_priority_goes_first_and_equals_in_order(void **state)
{
	struct room *r = *state;
	limit(r, 1, 0, 0);
	struct one *first = asks(r, "a", "w", -100), *low = asks(r, "a", "w", -5), *mid = asks(r, "a", "w", 0),
		   *mid2 = asks(r, "a", "v", 0), *high = asks(r, "a", "w", 100), *beyond = asks(r, "a", "w", 4000);
	assert_true(first->in);
	assert_string_equal(why(r, low), "the server has 1 of 1 runs at work");
	struct one *want[] = {high, beyond, mid, mid2, low};
	ends(r, first);
	for (size_t i = 0; i < SL_COUNT_OF(want); i++) {
		assert_int_equal(want[i]->order, i + 1);
		ends(r, want[i]);
	}
}

/* A restart hands them over in any order. */
static void who_was_created_first_goes_first_however_they_ask(void **state)
{
	struct room *r = *state;
	struct one *o[5];
	limit(r, 1, 0, 0);
	sl_admit_hold(r->a);
	for (int i = 0; i < 5; i++)
		o[i] = comes(r, "a", "w", 0);
	for (int i = 0; i < 5; i++)
		assert_false(sl_admit_ask(r->a, &o[(i * 3 + 2) % 5]->t));
	assert_string_equal(why(r, o[0]), "the server takes up its unfinished runs first");
	struct one *running = comes(r, "a", "w", 0); /* went on at once; it counts */
	sl_admit_enter(r->a, &running->t);
	running->in = true;
	sl_admit_release(r->a);
	assert_int_equal(r->goes, 0);
	ends(r, running);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(o[i]->order, i + 1);
		ends(r, o[i]);
	}
}

static void a_full_project_or_workflow_holds_up_nobody_else(void **state)
{
	struct room *r = *state;
	struct sl_admit_limits l = {.max_running = 10, .per_project = 4, .n_projects = 1, .n_workflows = 1};
	l.projects = calloc(1, sizeof(*l.projects));
	l.workflows = calloc(1, sizeof(*l.workflows));
	l.projects[0] = (struct sl_admit_named){strdup("small"), 1};
	l.workflows[0] = (struct sl_admit_named){strdup("slow"), 1};
	sl_admit_set(r->a, &l);
	struct one *s1 = asks(r, "small", "w", 0), *s2 = asks(r, "small", "w", 100);
	assert_true(s1->in);
	assert_string_equal(why(r, s2), "project 'small' has 1 of 1 runs at work");
	struct one *w1 = asks(r, "a", "slow", 0), *w2 = asks(r, "b", "slow", 50);
	assert_true(w1->in);
	assert_string_equal(why(r, w2), "workflow 'slow' has 1 of 1 runs at work");
	struct one *b = asks(r, "b", "quick", -100); /* behind w2 in its project, and not held up by it */
	assert_true(b->in);
	for (int i = 0; i < 3; i++)
		assert_true(asks(r, "a", "quick", 0)->in);
	struct one *a5 = asks(r, "a", "quick", 0);
	assert_string_equal(why(r, a5), "project 'a' has 4 of 4 runs at work");
	ends(r, w1);
	assert_true(w2->in && a5->in);
	assert_false(s2->in);
	ends(r, s1);
	assert_true(s2->in);
}

static void one_noisy_project_of_twenty_does_not_delay_the_others(void **state)
{
	struct room *r = *state;
	static char names[20][8];
	struct one *noisy[1000];
	limit(r, 20, 0, 0);
	for (int i = 0; i < 20; i++)
		snprintf(names[i], sizeof(names[i]), "p%d", i);
	for (int i = 0; i < 1000; i++)
		noisy[i] = asks(r, names[0], "w", 0);
	/* Each of the others asks once for every place that becomes free, and has it with the next that does. */
	unsigned at = 0;
	for (int round = 0; round < 10; round++)
		for (int i = 1; i < 20; i++) {
			struct one *o = asks(r, names[i], "w", 0);
			assert_false(o->in);
			ends(r, noisy[at++]);
			assert_true(o->in);
			assert_false(noisy[20 + at - 1]->in && o->order > noisy[20 + at - 1]->order);
			o->in = false;
			assert_false(
				sl_admit_leave(r->a, &o->t)); /* its place goes to the noisy one, who is alone now */
		}
}

static void who_waits_for_a_person_gives_its_place_and_takes_one_without_queueing(void **state)
{
	struct room *r = *state;
	limit(r, 1, 0, 0);
	struct one *a = asks(r, "a", "w", 0), *b = asks(r, "a", "w", 0), *c = asks(r, "a", "w", 0);
	sl_admit_away(r->a, &a->t);
	assert_true(b->in);
	assert_false(c->in);
	sl_admit_enter(r->a, &a->t); /* goes on: two at work, and so nobody new until both are done */
	assert_string_equal(why(r, c), "the server has 2 of 1 runs at work");
	ends(r, b);
	assert_false(c->in);
	ends(r, a);
	assert_true(c->in);
}

static void who_leaves_the_queue_is_not_let_in(void **state)
{
	struct room *r = *state;
	limit(r, 1, 0, 0);
	struct one *a = asks(r, "a", "w", 0), *b = asks(r, "a", "w", 0), *c = asks(r, "b", "w", 0);
	assert_true(sl_admit_leave(r->a, &b->t));
	assert_false(sl_admit_leave(r->a, &b->t));
	ends(r, a);
	assert_false(b->in);
	assert_true(c->in);
}

static void limits_are_in_force_at_once(void **state)
{
	struct room *r = *state;
	struct one *o[10];
	limit(r, 2, 0, 0);
	for (int i = 0; i < 10; i++)
		o[i] = asks(r, "a", "w", 0);
	assert_int_equal(r->goes, 0);
	limit(r, 5, 0, 0);
	assert_int_equal(r->goes, 3);
	limit(r, 1, 0, 0); /* nobody is sent away, and nobody comes in before there is room */
	ends(r, o[0]);
	ends(r, o[1]);
	ends(r, o[2]);
	ends(r, o[3]);
	assert_int_equal(r->goes, 3);
	ends(r, o[4]);
	assert_int_equal(r->goes, 4);
	sl_admit_set(r->a, NULL);
	assert_int_equal(r->goes, 8);
}

static void more_than_may_wait_are_refused(void **state)
{
	struct room *r = *state;
	struct sl_error err = {0};
	struct sl_admit_limits l = {.max_running = 2, .max_queued = 3};
	sl_admit_set(r->a, &l);
	struct one *first = NULL;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(sl_admit_room(r->a, &err), SL_OK);
		struct one *o = asks(r, "a", "w", 0);
		first = first ? first : o;
	}
	assert_int_equal(sl_admit_room(r->a, &err), SL_BUSY);
	assert_string_equal(err.text, "3 runs wait for a place, and no more may");
	ends(r, first);
	assert_int_equal(sl_admit_room(r->a, &err), SL_OK);
	(void)comes(r, "a", "w", 0); /* created, and not yet in the queue: it counts all the same */
	assert_int_equal(sl_admit_room(r->a, &err), SL_BUSY);
}

static void waits_are_measured(void **state)
{
	struct room *r = *state;
	struct sl_admit_stats s;
	limit(r, 1, 0, 0);
	struct one *a = asks(r, "a", "w", 0), *b = asks(r, "a", "w", 0);
	r->now += 700;
	ends(r, a);
	assert_true(b->in);
	sl_admit_stats(r->a, &s);
	assert_int_equal(s.admitted, 2);
	assert_int_equal(s.waited_ms, 700);
	for (size_t i = 0; i < SL_ADMIT_BOUNDS; i++)
		assert_int_equal(s.bounds[i], sl_admit_bounds_ms[i] >= 700 ? 2 : 1);
}

static void without_having_joined_nobody_is_counted(void **state)
{
	struct room *r = *state;
	struct sl_admit_ticket none = {0};
	limit(r, 1, 0, 0);
	(void)asks(r, "a", "w", 0);
	assert_true(sl_admit_ask(r->a, &none)); /* the child of a run that is at work */
	sl_admit_away(r->a, &none);
	sl_admit_enter(r->a, &none);
	assert_false(sl_admit_leave(r->a, &none));
	sl_admit_quit(&none);
}

/* ---- a model: the same rules, written without any structure, over the plain list of all */

static uint64_t seed;
static unsigned dice(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

struct model {
	uint32_t server, project, workflow;
	uint64_t served[4], turn;
};

static const char *const projects[] = {"p0", "p1", "p2", "p3"}, *const workflows[] = {"w0", "w1", "w2"};

static unsigned inside(const struct room *r, const char *project, const char *workflow)
{
	unsigned n = 0;
	for (unsigned i = 0; i < r->n; i++)
		n += r->all[i].in && !r->all[i].away && (!project || r->all[i].project == project) &&
		     (!workflow || r->all[i].workflow == workflow);
	return n;
}

static bool waits(const struct one *o)
{
	return o->asked && !o->in && !o->gone;
}

/* Who of those that wait should be next; NULL: nobody. */
static struct one *expected(struct room *r, const struct model *m)
{
	struct one *best = NULL;
	if (m->server && inside(r, NULL, NULL) >= m->server)
		return NULL;
	for (unsigned i = 0; i < r->n; i++) {
		struct one *o = &r->all[i];
		if (!waits(o) || (m->project && inside(r, o->project, NULL) >= m->project) ||
		    (m->workflow && inside(r, NULL, o->workflow) >= m->workflow))
			continue;
		if (!best || o->priority > best->priority) {
			best = o;
			continue;
		}
		if (o->priority < best->priority || o->project == best->project)
			continue;
		unsigned mine = inside(r, o->project, NULL), its = inside(r, best->project, NULL);
		uint64_t my_turn = m->served[o->project[1] - '0'], its_turn = m->served[best->project[1] - '0'];
		if (mine < its || (mine == its && my_turn < its_turn))
			best = o;
	}
	return best;
}

/* Replays on the model who was let in since `goes`, in that order; each must have been the one whose turn it was, and
 * at the end nobody who may come in is left outside. */
static void check(struct room *r, struct model *m, unsigned goes)
{
	struct one *fresh[MOST];
	unsigned n = r->goes - goes;
	for (unsigned i = 0; i < r->n; i++)
		if (r->all[i].in && r->all[i].order > goes) {
			r->all[i].in = false;
			fresh[r->all[i].order - goes - 1] = &r->all[i];
		}
	for (unsigned i = 0; i < n; i++) {
		struct one *o = expected(r, m);
		assert_ptr_equal(o, fresh[i]);
		o->in = true;
		m->served[o->project[1] - '0'] = ++m->turn;
	}
	assert_null(expected(r, m));
}

static void a_thousand_random_days_follow_the_rules(void **state)
{
	assert_int_equal(teardown(state), 0); /* each day has a room of its own */
	for (unsigned day = 1; day <= 1000; day++) {
		struct model m = {.server = dice(6), .project = dice(4), .workflow = dice(4)};
		struct room *r;
		seed = day;
		assert_int_equal(setup(state), 0);
		r = *state;
		limit(r, m.server, m.project, m.workflow);
		for (unsigned step = 0; step < 120; step++) {
			unsigned goes = r->goes, what = dice(10);
			struct one *o = r->n ? &r->all[dice(r->n)] : NULL;
			r->now += dice(50);
			if (what < 4 || !o) {
				o = comes(r, projects[dice(4)], workflows[dice(3)], (int)dice(3) - 1);
				o->asked = true;
				bool in = sl_admit_ask(r->a, &o->t);
				assert_ptr_equal(expected(r, &m), in ? o : NULL);
				if (in) {
					o->in = true;
					m.served[o->project[1] - '0'] = ++m.turn;
				}
			} else if (what < 7 && (o->in || waits(o))) {
				bool waited = waits(o);
				o->in = false;
				o->away = false;
				o->gone = true;
				assert_int_equal(sl_admit_leave(r->a, &o->t), waited);
			} else if (what == 7 && o->in && !o->away) {
				o->away = true;
				sl_admit_away(r->a, &o->t);
			} else if (what == 8 && o->in && o->away) {
				o->away = false;
				sl_admit_enter(r->a, &o->t);
			} else if (what == 9 && dice(10) == 0) {
				m.server = dice(6);
				limit(r, m.server, m.project, m.workflow);
			}
			check(r, &m, goes);
			struct sl_admit_stats s;
			sl_admit_stats(r->a, &s);
			assert_int_equal(s.inside, inside(r, NULL, NULL));
		}
		/* No starvation: when all that work end, all that wait have their turn. */
		for (unsigned i = 0, left = 1; left; i = (i + 1) % r->n) {
			if (r->all[i].in) {
				unsigned goes = r->goes;
				r->all[i].in = r->all[i].away = false;
				r->all[i].gone = true;
				assert_false(sl_admit_leave(r->a, &r->all[i].t));
				check(r, &m, goes);
			}
			left = 0;
			for (unsigned k = 0; k < r->n; k++)
				left += r->all[k].asked && !r->all[k].gone;
		}
		assert_int_equal(teardown(state), 0);
	}
	assert_int_equal(setup(state), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(without_limits_nobody_waits),
		TEST(the_highest_priority_goes_first_and_equals_in_order),
		TEST(who_was_created_first_goes_first_however_they_ask),
		TEST(a_full_project_or_workflow_holds_up_nobody_else),
		TEST(one_noisy_project_of_twenty_does_not_delay_the_others),
		TEST(who_waits_for_a_person_gives_its_place_and_takes_one_without_queueing),
		TEST(who_leaves_the_queue_is_not_let_in),
		TEST(limits_are_in_force_at_once),
		TEST(more_than_may_wait_are_refused),
		TEST(waits_are_measured),
		TEST(without_having_joined_nobody_is_counted),
		TEST(a_thousand_random_days_follow_the_rules),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
