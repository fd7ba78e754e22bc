/* Joins that could starve: what validation says of many shapes, and of random graphs, against what becomes of them. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/lib/dag.h"
#include "tests/lib/world.h"

enum says { FINE, WARNS, REFUSES };

/* Nodes, then edges. s: step · b2: branch of two cases, b2d: with a default · ja, jy, j2: join for all, any, two; j2t:
 * with a deadline · p: parallel, pw: that waits for all; a ? behind it: with a condition. 0.1>2: an edge with case 1;
 * 0?>2: with a condition. */
struct shape {
	const char *text;
	enum says says;
	unsigned join;
	const char *words;
};

static void read_shape(const char *z, struct dag *d)
{
	*d = (struct dag){0};
	for (; *z && *z != '|'; z++) {
		struct dag_node *n = &d->nodes[d->n_nodes];
		if (*z == ' ')
			continue;
		*n = (struct dag_node){.chosen = DAG_NONE, .other = DAG_NONE};
		if (*z == 's') {
			n->kind = DAG_STEP;
		} else if (*z == 'b') {
			n->kind = DAG_BRANCH;
			n->cases = (unsigned)(*++z - '0');
			if (z[1] == 'd')
				n->other = (int)n->cases - 1, z++;
		} else if (*z == 'p') {
			n->kind = DAG_PARALLEL;
			n->wait_all = z[1] == 'w';
			z += n->wait_all;
		} else {
			assert_int_equal(*z, 'j');
			n->kind = DAG_JOIN;
			n->wait = z[1] == 'a' ? DAG_ALL : z[1] == 'y' ? DAG_ANY : DAG_QUORUM;
			n->quorum = n->wait == DAG_QUORUM ? (unsigned)(z[1] - '0') : 1;
			z++;
			if (z[1] == 't')
				n->timeout_ms = 500, z++;
		}
		if (z[1] == '?')
			n->has_when = true, z++;
		d->n_nodes++;
	}
	while (*z == '|' || *z == ' ')
		z++;
	while (*z) {
		struct dag_edge *e = &d->edges[d->n_edges++];
		char *end;
		e->from = (unsigned)strtoul(z, &end, 10);
		e->kase = *end == '.' ? (int)strtoul(end + 1, &end, 10) : DAG_NONE;
		e->has_when = *end == '?';
		end += e->has_when;
		assert_int_equal(*end, '>');
		e->to = (unsigned)strtoul(end + 1, &end, 10);
		for (z = end; *z == ' ';)
			z++;
	}
}

static const struct shape shapes[] = {
	/* what is legal, because what was not chosen is not waited for */
	{"b2d s s ja | 0.0>1 0.1>2 1>3 2>3", FINE, 3, NULL},
	{"b2 s s ja | 0.0>1 0.1>2 1>3 2>3", FINE, 3, NULL},
	{"b2d s s s | 0.0>1 0.1>2 1>3 2>3", FINE, 3, NULL},
	{"b3 s s s jy | 0.0>1 0.1>2 0.2>3 1>4 2>4 3>4", FINE, 4, NULL},
	{"s s jy | 0?>2 1?>2", FINE, 2, NULL},
	{"s s ja | 0?>2 1?>2", FINE, 2, NULL},
	{"s s s j2 | 0>3 1>3 2>3", FINE, 3, NULL},
	{"s s s j2 | 0>3 1>3 2?>3", FINE, 3, NULL},
	{"b2d s s s s j2 | 0.0>1 0.0>2 0.1>3 0.1>4 1>5 2>5 3>5 4>5", FINE, 5, NULL},
	{"b2d s s s j2 | 0.0>1 0.1>2 0>3 1>4 2>4 3>4", FINE, 4, NULL},
	{"b2d b2d s s s s j2 s | 0.0>2 0.1>3 1.0>4 1.1>5 2>6 3>6 4>6 5>6 6>7", FINE, 6, NULL},
	{"s s s? j2 | 0>3 1>3 2>3", FINE, 3, NULL},
	{"b2d s b2d s s s j2 | 0.0>1 0.1>2 2.0>3 2.1>4 1>6 3>6 4>6 0>5 5>6", FINE, 6, NULL},
	/* never enough */
	{"b3 s s s j2 | 0.0>1 0.1>2 0.2>3 1>4 2>4 3>4", REFUSES, 4, "never more than 1 of its 3 ways"},
	{"b3d s s s j2 | 0.0>1 0.1>2 0.2>3 1>4 2>4 3>4", REFUSES, 4, "'n0' chooses"},
	{"b4d s s s s j3 | 0.0>1 0.1>2 0.2>3 0.0>4 1>5 2>5 3>5 4>5", REFUSES, 5, "never more than 2 of its 4 ways"},
	{"b2d s s s s j3 | 0.0>1 0.1>2 0.0>3 0.1>4 1>5 2>5 3>5 4>5", REFUSES, 5, "ask for at most 2"},
	{"b2d s b2d s s j2 | 0.0>1 0.1>2 2.0>3 2.1>4 1>5 3>5 4>5", REFUSES, 5, "never more than 1"},
	{"b3 s s s s s j2 | 0.0>1 1>2 0.1>3 3>4 0.2>5 2>6 4>6 5>6", REFUSES, 6, "'n3' → 'n4' → 'n6'"},
	{"b3 s s s ja j2 | 0.0>1 0.1>2 0.2>3 1>4 2>4 3>5 4>5 0.0>5", WARNS, 5, "'n0' chooses 'c1'"},
	{"b2d s s s s j3 s | 0.0>1 0.1>2 0.0>3 0.1>4 1>5 2>5 3>5 4>5 5>6", REFUSES, 5, "can never go on"},
	/* not always enough */
	{"s s s j2 | 0>3 1?>3 2?>3", WARNS, 3, "only 1 comes when the condition of the edge from 'n1' to 'n3'"},
	{"s s? s? j2 | 0>3 1>3 2>3", WARNS, 3, "the condition of 'n1' is false"},
	{"b2 s s s j2 | 0.0>1 0.1>2 0>3 1>4 2>4 3>4", WARNS, 4, "'n0' chooses none of its cases"},
	{"b2d s s s j2 | 0.0>1 0.0>2 0>3 1>4 2>4 3>4", WARNS, 4, "'n0' chooses 'c1'"},
	{"b2d s s s s j2 | 0.0>1 1>2 0.0>3 0>4 2>5 3>5 4>5", WARNS, 5, "'n1' → 'n2' → 'n5'"},
	{"b2d b2d s s s j2 | 0.0>2 1.0>3 0>4 2>5 3>5 4>5", WARNS, 5, "only 1 comes"},
	{"b2d s b2d s s s j2 | 0.0>1 0.1>2 2.0>3 2.1>4 1>6 3>6 4>6 0.0>5 5>6", WARNS, 6, "only 1 comes"},
	{"s s s j2 s s j2 | 0>3 1?>3 2?>3 3>6 4>6 5>6", WARNS, 3, "only 1 comes"},
	{"b3 s s s j2t | 0.0>1 0.1>2 0.2>3 1>4 2>4 3>4", WARNS, 4, "unless the deadline passes"},
	{"s s s j2t | 0>3 1?>3 2?>3", WARNS, 3, "only 1 comes"},
	/* a failure that a join could do without ends the run */
	{"s s jy s | 0>2 1>2 0>3", WARNS, 2, "nothing on the way 'n0' → 'n3' puts up with a failure"},
	{"pw s s ja s s | 0>1 0>2 1>3 2>3 1>4 4>5", WARNS, 3, "'n1' → 'n4' → 'n5'"},
	{"pw s s ja | 0>1 0>2 1>3 2>3", FINE, 3, NULL},
	{"s s jy | 0>2 1>2", FINE, 2, NULL},
};

static bool about(const struct sl_problem *p, unsigned node)
{
	char pointer[32];
	snprintf(pointer, sizeof(pointer), "/nodes/%u", node);
	return strcmp(p->pointer, pointer) == 0;
}

static struct sl_problems validate(struct world *w, const struct dag *d)
{
	struct sl_problems p = {0};
	SL_BUF(text, 1u << 20);
	dag_definition(d, &text);
	assert_int_equal(sl_engine_validate(world_engine(w), sl_buf_str(&text), NULL, &p), SL_OK);
	return p;
}

static const struct sl_problem *said(const struct sl_problems *p, unsigned node, const char *words)
{
	for (size_t i = 0; i < p->n; i++)
		if (about(&p->items[i], node) && strstr(p->items[i].message, words))
			return &p->items[i];
	return NULL;
}

static bool is_liveness(const struct sl_problem *p)
{
	return strstr(p->message, "' waits for ") || strstr(p->message, "it waits for ") ||
	       strstr(p->message, "could do without");
}

/* Whatever is decided: a join that "can never go on" does not, and one that starves had been named. Returns how many of
 * the joins named with a warning did starve. */
static unsigned try_all(const struct dag *drawn, const struct sl_problems *p, uint64_t seed, unsigned rounds,
			unsigned what, unsigned *warned)
{
	struct dag d = *drawn;
	uint64_t s = seed;
	bool starved[DAG_NODES] = {false};
	unsigned n = 0;
	for (unsigned round = 0; round < rounds; round++) {
		struct dag_fate fate;
		dag_redraw(&d, &s, what);
		dag_fate(&d, &fate);
		for (unsigned j = 0; j < d.n_nodes; j++) {
			bool alone = true; /* nothing else has ended the run */
			for (unsigned o = 0; o < j; o++)
				alone &= fate.nodes[o] != SL_NODE_FAILED || fate.absorbed[o];
			if (fate.fired[j] && said(p, j, "can never go on"))
				fail_msg("seed %llu: n%u can never go on, it says, and it does",
					 (unsigned long long)seed, j);
			if (fate.starved[j] && alone && !said(p, j, "waits for"))
				fail_msg("seed %llu: n%u starves, and nothing was said", (unsigned long long)seed, j);
			starved[j] |= fate.starved[j] && alone;
		}
	}
	for (unsigned j = 0; j < d.n_nodes; j++)
		if (said(p, j, "waits for") && !said(p, j, "can never go on")) {
			++*warned;
			n += starved[j];
		}
	return n;
}

static void play(struct world *w, const struct dag *d)
{
	SL_BUF(definition, 1u << 20);
	SL_BUF(inputs, 1u << 16);
	const struct sl_record *r;
	char why[200];
	dag_definition(d, &definition);
	dag_inputs(d, &inputs);
	sl_buf_addc(&definition, '\0');
	sl_buf_addc(&inputs, '\0');
	struct sl_run_id id = world_submit(w, definition.data, inputs.data);
	for (int i = 0; i < 40; i++) {
		world_advance(w, 100);
		for (unsigned k = 0; k < d->n_nodes; k++) {
			char path[16];
			snprintf(path, sizeof(path), "n%u", k);
			if (world_is_held(w, path))
				world_release(w, path);
		}
	}
	size_t n = world_records(w, id, &r);
	if (!dag_follow(d, r, n, true, why))
		fail_msg("%s\n%s\n%s", why, definition.data, inputs.data);
}

static void shapes_are_flagged_or_run_right(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(shapes); i++) {
		const struct shape *shape = &shapes[i];
		struct world *w = world_new(i + 1);
		struct dag d;
		read_shape(shape->text, &d);
		struct sl_problems p = validate(w, &d);
		enum says says = p.errors ? REFUSES : FINE;
		unsigned warned = 0;
		for (size_t k = 0; k < p.n; k++)
			if (says == FINE && is_liveness(&p.items[k]))
				says = WARNS;
		bool right = says == shape->says && (!shape->words || said(&p, shape->join, shape->words));
		if (!right) {
			for (size_t k = 0; k < p.n; k++)
				print_message("%s: %s\n", p.items[k].pointer, p.items[k].message);
			fail_msg("%s", shape->text);
		}
		try_all(&d, &p, i + 1, 1000, 0, &warned);
		uint64_t s = i + 1;
		for (int k = 0; k < 8 && !p.errors; k++) {
			dag_redraw(&d, &s, 0);
			play(w, &d);
		}
		sl_problems_fini(&p);
		world_free(w);
	}
}

static void what_is_said_of_random_graphs_is_true(void **state)
{
	const char *one = getenv("SLUICE_SEED");
	unsigned n = (unsigned)sl_test_rounds("SLUICE_SIM_DAGS", 500), refused = 0, warned = 0, true_ones = 0;
	uint64_t first = one ? strtoull(one, NULL, 10) : 1;
	struct world *w = world_new(1);
	for (uint64_t seed = first; seed < first + (one ? 1 : n); seed++) {
		uint64_t s = seed * 0x9e3779b97f4a7c15u + 7;
		struct dag d;
		unsigned what = dag_random(&s, 2) * DAG_WITH_FAILURES;
		dag_draw(&d, &s, what);
		for (unsigned i = 0; i < d.n_nodes; i++) /* where most of them want several */
			if (d.nodes[i].kind == DAG_JOIN && d.nodes[i].quorum > 1)
				d.nodes[i].wait = DAG_QUORUM;
		struct sl_problems p = validate(w, &d);
		for (size_t k = 0; k < p.n; k++)
			if (!p.items[k].warning && !is_liveness(&p.items[k]))
				fail_msg("seed %llu: %s", (unsigned long long)seed, p.items[k].message);
		refused += p.errors > 0;
		true_ones += try_all(&d, &p, seed, 1000, what, &warned);
		sl_problems_fini(&p);
	}
	world_free(w);
	print_message("%u graphs, 1000 times each: %u refused; %u warnings, %u of them seen to come true\n", n, refused,
		      warned, true_ones);
	assert_true(n < 500 || one || (refused && true_ones * 100 >= warned * 95));
}

/* Hundreds of joins behind hundreds of choices: it gives up in time, and says less. */
static void a_graph_too_large_to_play_through_is_read_quickly(void **state)
{
	SL_BUF(text, 1u << 20);
	struct world *w = world_new(1);
	sl_buf_adds(&text, "{\"sluice\":1,\"name\":\"large\",\"nodes\":[{\"id\":\"s\",\"type\":\"fake\"}");
	for (int k = 0; k < 14; k++) {
		for (int i = 0; i < 30; i++)
			sl_buf_addf(&text,
				    ",{\"id\":\"a%d_%d\",\"type\":\"fake\",\"when\":\"input.x\"},"
				    "{\"id\":\"m%d_%d\",\"type\":\"fake\"}",
				    k, i, k, i);
		sl_buf_addf(&text, ",{\"id\":\"j%d\",\"type\":\"join\",\"params\":{\"wait\":{\"quorum\":5}}}", k);
	}
	sl_buf_adds(&text, "],\"edges\":[{\"from\":\"s\",\"to\":\"a0_0\"}");
	for (int k = 0; k < 14; k++)
		for (int i = 0; i < 30; i++) {
			for (int n = 0; n < 3; n++)
				sl_buf_addf(&text, ",{\"from\":\"a%d_%d\",\"to\":\"m%d_%d\"}", k, (i + n * 7) % 30, k,
					    i);
			sl_buf_addf(&text, ",{\"from\":\"m%d_%d\",\"to\":\"j%d\"}", k, i, k);
		}
	sl_buf_adds(&text, "]}");
	struct sl_problems p = {0};
	struct timespec a, b;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	assert_int_equal(sl_engine_validate(world_engine(w), sl_buf_str(&text), NULL, &p), SL_OK);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	double ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
	print_message("%zu problems, %zu errors, %.1f ms\n", p.n, p.errors, ms);
	assert_int_equal(p.errors, 0);
	bool gave_up = false;
	for (size_t i = 0; i < p.n; i++)
		gave_up |= strstr(p.items[i].message, "are sure to come") != NULL;
	assert_true(gave_up);
	assert_true(ms < 5000); /* 20 to 40; under a sanitizer ten times that, on a slow machine more */
	sl_problems_fini(&p);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shapes_are_flagged_or_run_right),
		cmocka_unit_test(what_is_said_of_random_graphs_is_true),
		cmocka_unit_test(a_graph_too_large_to_play_through_is_read_quickly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
