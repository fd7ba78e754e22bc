/* Random graphs against an oracle: branches, conditions, joins of every kind, failures, retries, deadlines and crashes
 * at random moments. SLUICE_SIM_DAGS sets how many (500), SLUICE_SEED replays one; what fails is made small first. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "tests/lib/dag.h"
#include "tests/lib/scenario.h"

#define WHY 400

static struct {
	unsigned graphs, refused, crashes, succeeded, failed, fired, starved;
} seen; /* so that a reader can tell that the dice are fair */

/* A step that has been committed is not called again, whatever crashes. */
struct called {
	bool known;
	unsigned calls;
};

static bool is_done(struct world *w, struct sl_run_id id, const char *path)
{
	return world_count(w, id, path, "completed") || world_count(w, id, path, "failed");
}

static void note_calls(struct world *w, struct sl_run_id id, const struct dag *d, struct called *called)
{
	for (unsigned i = 0; i < d->n_nodes; i++) {
		char path[16];
		snprintf(path, sizeof(path), "n%u", i);
		if (d->nodes[i].kind == DAG_STEP && !d->nodes[i].gone && !called[i].known && is_done(w, id, path))
			called[i] = (struct called){true, world_calls(w, path)};
	}
}

static void release_one(struct world *w, const struct dag *d, uint64_t *s)
{
	unsigned from = dag_random(s, d->n_nodes);
	for (unsigned k = 0; k < d->n_nodes; k++) {
		char path[16];
		snprintf(path, sizeof(path), "n%u", (from + k) % d->n_nodes);
		if (world_is_held(w, path)) {
			world_release(w, path);
			return;
		}
	}
}

static void count_joins(const struct sl_record *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		SL_AUTO_JSON o = NULL;
		struct sl_error err;
		if (strcmp(r[i].event, "node_state_change") != 0 ||
		    sl_json_parse(sl_bytes_str(r[i].data), &o, &err) != SL_OK ||
		    !sl_str_is(sl_json_get_str(o, "type"), "join"))
			continue;
		seen.fired += sl_str_is(sl_json_get_str(o, "status"), "completed");
		seen.starved += sl_str_is(sl_json_get_str(o, "status"), "failed");
	}
}

/* One graph, one schedule. False: why. */
static bool play(const struct dag *d, uint64_t seed, char *why)
{
	uint64_t s = seed, unexpected = sl_expect_count();
	SL_BUF(definition, 1u << 20);
	SL_BUF(inputs, 1u << 16);
	struct called called[DAG_NODES] = {{false}};
	const struct sl_record *r;
	unsigned crashes = 0, steps = 20 + dag_random(&s, 200);
	bool ok = true;
	dag_definition(d, &definition);
	dag_inputs(d, &inputs);
	struct world *w = world_new(seed);
	struct sl_problems problems = {0};
	struct sl_str text = sl_buf_str(&definition);
	assert_int_equal(sl_engine_validate(world_engine(w), text, NULL, &problems), SL_OK);
	seen.graphs++;
	if (problems.errors) { /* what that must mean is checked in the_check_knows_what_starves */
		seen.refused++;
		sl_problems_fini(&problems);
		world_free(w);
		return true;
	}
	sl_problems_fini(&problems);
	sl_buf_addc(&definition, '\0');
	sl_buf_addc(&inputs, '\0');
	struct sl_run_id id = world_submit(w, definition.data, inputs.data);
	world_auto_commit(w, false);
	for (unsigned step = 0; step < steps; step++) {
		unsigned what = dag_random(&s, 16);
		if (what < 7)
			sl_engine_step(world_engine(w));
		else if (what < 11)
			world_commit_one(w);
		else if (what < 12)
			world_hold(w, 1 + dag_random(&s, 400));
		else if (what < 15)
			release_one(w, d, &s);
		else if (crashes < SL_LIMIT_RECOVERIES - 1 && dag_random(&s, 3) == 0) {
			note_calls(w, id, d, called);
			world_crash(w);
			crashes++;
			seen.crashes++;
		}
	}
	note_calls(w, id, d, called);
	world_auto_commit(w, true);
	for (unsigned i = 0; i < 400 && !is_over(w, id); i++) {
		world_settle(w);
		release_one(w, d, &s);
		world_advance(w, dag_random(&s, 300));
	}
	world_settle(w);
	size_t n = world_records(w, id, &r);
	ok = dag_follow(d, r, n, true, why);
	count_joins(r, n);
	seen.succeeded += n && strcmp(r[n - 1].event, "execution:completed") == 0;
	seen.failed += n && strcmp(r[n - 1].event, "execution:failed") == 0;
	for (unsigned i = 0; ok && i < d->n_nodes; i++) {
		char path[16];

		snprintf(path, sizeof(path), "n%u", i);
		if (called[i].known && world_calls(w, path) != called[i].calls) {
			snprintf(why, WHY, "n%u was finished and was called again", i);
			ok = false;
		}
	}
	if (ok && sl_expect_count() != unexpected) {
		snprintf(why, WHY, "the engine met something it says cannot be");
		ok = false;
	}
	world_free(w);
	return ok;
}

/* Takes out of d what it fails without. */
static void shrink(struct dag *d, uint64_t seed)
{
	char why[WHY];
	for (bool smaller = true; smaller;) {
		smaller = false;
		for (unsigned i = 0; i < d->n_nodes; i++) {
			struct dag t = *d;
			if (t.nodes[i].gone)
				continue;
			t.nodes[i].gone = true;
			for (unsigned e = 0; e < t.n_edges; e++)
				t.edges[e].gone |= t.edges[e].from == i || t.edges[e].to == i;
			if (!play(&t, seed, why)) {
				*d = t;
				smaller = true;
			}
		}
		for (unsigned e = 0; e < d->n_edges; e++) {
			struct dag t = *d;
			if (t.edges[e].gone)
				continue;
			t.edges[e].gone = true;
			if (!play(&t, seed, why)) {
				*d = t;
				smaller = true;
			}
		}
	}
}

static void draw(struct dag *d, uint64_t seed)
{
	uint64_t s = seed * 0x9e3779b97f4a7c15u + 1;
	unsigned what = dag_random(&s, 4);
	dag_draw(d, &s, what);
}

static void every_graph_ends_as_the_oracle_says(void **state)
{
	unsigned first = from_env("SLUICE_SEED", 1),
		 n = getenv("SLUICE_SEED") ? 1 : sl_test_rounds("SLUICE_SIM_DAGS", 500);
	for (uint64_t seed = first; seed < first + n; seed++) {
		struct dag d;
		char why[WHY] = "", small[WHY] = "";
		draw(&d, seed);
		if (play(&d, seed, why))
			continue;
		shrink(&d, seed);
		(void)play(&d, seed, small);
		SL_BUF(text, 1u << 20);
		dag_definition(&d, &text);
		sl_buf_addc(&text, '\n');
		dag_inputs(&d, &text);
		fail_msg("SLUICE_SEED=%llu: %s; made small: %s\n%.*s", (unsigned long long)seed, why, small,
			 SL_STR_ARG(sl_buf_str(&text)));
	}
	print_message("%u graphs (%u refused), %u crashes; %u runs succeeded, %u failed; %u joins fired, %u starved\n",
		      seen.graphs, seen.refused, seen.crashes, seen.succeeded, seen.failed, seen.fired, seen.starved);
	assert_true(n < 500 || (seen.failed && seen.fired && seen.starved && seen.crashes > n / 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_graph_ends_as_the_oracle_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
