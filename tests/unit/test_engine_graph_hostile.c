/* Definitions somebody made to hurt: none may crash the reader or hold it up. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include <time.h>

#include "base/limits.h"
#include "tests/lib/graph_types.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 20
#else
#define SLOWER 2 /* than the machine the cap was set on */
#endif
#define MOST_MS 50

/* Of this thread alone: what else the machine does is not the reader's fault. */
static uint64_t cpu_us(void)
{
	struct timespec t;
	assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static struct sl_registry *registry;

static int setup(void **state)
{
	struct sl_error err;
	return sl_registry_new(types_all, &registry, &err) == SL_OK ? 0 : -1;
}

static int teardown(void **state)
{
	sl_registry_free(registry);
	return 0;
}

/* Reads it, and what is accepted must hold together. Returns whether it was. */
static bool read_one(struct sl_str text, uint64_t *took_us)
{
	struct sl_workflow *w = NULL;
	struct sl_problems problems = {0};
	uint64_t began = cpu_us();
	assert_int_equal(sl_workflow_parse(registry, text, &w, &problems), SL_OK);
	*took_us = cpu_us() - began;
	assert_int_equal(w == NULL, problems.errors > 0);
	assert_true(problems.n <= SL_LIMIT_DEFINITION_ERRORS);
	if (w)
		for (uint32_t i = 0; i < w->root->n_nodes; i++) { /* order: every edge leads forward */
			const struct sl_node_def *d = &w->root->nodes[w->root->order[i]];
			assert_non_null(d->type);
			assert_non_null(d->params);
			for (uint32_t k = 0; k < d->n_in; k++)
				assert_true(sl_graph_is_ancestor(w->root, w->root->edges[d->in[k]].from, d->index));
		}
	bool accepted = w != NULL;
	sl_workflow_unref(w);
	sl_problems_fini(&problems);
	return accepted;
}

static const char *const seeds[] = {
	"{\"sluice\":1,\"name\":\"council\",\"inputs\":{\"type\":\"object\",\"properties\":{\"topic\":{\"type\":"
	"\"string\",\"minLength\":1}},"
	"\"required\":[\"topic\"]},\"limits\":{\"timeout_s\":600},\"nodes\":[{\"id\":\"open\",\"type\":\"fan\","
	"\"params\":{\"open\":2}},"
	"{\"id\":\"pro\",\"type\":\"work\",\"params\":{\"prompt\":\"For {{ input.topic "
	"}}\"},\"retry\":{\"max\":1},\"fallback\":{\"timeout\":\"x\"}},"
	"{\"id\":\"con\",\"type\":\"work\",\"params\":{\"prompt\":\"Against\"},\"cache\":{\"ttl_s\":60,\"key\":\"{{ "
	"input.topic }}\"},\"when\":"
	"\"input.topic ~= "
	"''\"},{\"id\":\"both\",\"type\":\"gather\",\"params\":{\"need\":1}},{\"id\":\"judge\",\"type\":\"work\","
	"\"params\":"
	"{\"prompt\":\"{{ nodes.both.merged "
	"}}\"}}],\"edges\":[{\"from\":\"open\",\"to\":\"pro\"},{\"from\":\"open\",\"to\":\"con\"},{\"from\":"
	"\"pro\",\"to\":\"both\"},{\"from\":\"con\",\"to\":\"both\"},{\"from\":\"both\",\"to\":\"judge\",\"when\":"
	"\"true\"}],\"outputs\":{\"v\":"
	"\"{{ nodes.judge.text }}\"}}",
	"{\"sluice\":1,\"nodes\":[{\"id\":\"a\",\"type\":\"again\",\"params\":{\"max_rounds\":3,\"until\":\"nodes.j.s "
	"> loop.index\",\"body\":"
	"{\"nodes\":[{\"id\":\"j\",\"type\":\"each\",\"params\":{\"items\":\"{{ input.x "
	"}}\",\"body\":{\"nodes\":[{\"id\":\"k\",\"type\":\"calc\","
	"\"params\":{\"code\":\"return "
	"item\",\"list\":[{\"when\":\"loop.index\"}],\"score\":\"item\"}}],\"edges\":[]}}}]}}},{\"id\":\"p\","
	"\"type\":\"pick\",\"params\":{\"cases\":[\"y\",\"n\"]}}],\"edges\":[{\"from\":\"a\",\"to\":\"p\"}]}",
};

static uint64_t random_state = 0x1234567;

static uint32_t rnd(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 33) % below;
}

static void mutate(struct sl_buf *out, const char *seed)
{
	static const char *const words[] = {"null",
					    "[]",
					    "{}",
					    "\"\"",
					    "-1",
					    "1e308",
					    "true",
					    "\"a\"",
					    "\"open\"",
					    "\"both\"",
					    "{{",
					    "}}",
					    "\"when\":",
					    "\"case\":\"y\",",
					    "\"to\":\"open\",",
					    "\"id\":\"pro\",",
					    "nodes.",
					    "loop",
					    "item",
					    "\\u0000",
					    "\"work\"",
					    "\"each\"",
					    "\"again\"",
					    "[[[[[[[[",
					    "é",
					    "\"x\":{}",
					    "99999999999999999999"};
	size_t len = strlen(seed);
	sl_buf_reset(out);
	sl_buf_add(out, seed, len);
	for (uint32_t k = 0, n = 1 + rnd(4); k < n && out->len > 4; k++) {
		uint32_t at = rnd((uint32_t)out->len), span = 1 + rnd(24);
		if (span > out->len - at)
			span = (uint32_t)(out->len - at);
		SL_BUF(next, 1u << 20);
		sl_buf_add(&next, out->data, at);
		switch (rnd(5)) {
		case 0: /* take something out */
			sl_buf_add(&next, out->data + at + span, out->len - at - span);
			break;
		case 1: /* put a word in */
			sl_buf_adds(&next, words[rnd(SL_COUNT_OF(words))]);
			sl_buf_add(&next, out->data + at, out->len - at);
			break;
		case 2: /* a word instead */
			sl_buf_adds(&next, words[rnd(SL_COUNT_OF(words))]);
			sl_buf_add(&next, out->data + at + span, out->len - at - span);
			break;
		case 3: { /* a piece from elsewhere */
			uint32_t from = rnd((uint32_t)out->len), more = 1 + rnd(80);
			if (more > out->len - from)
				more = (uint32_t)(out->len - from);
			sl_buf_add(&next, out->data + from, more);
			sl_buf_add(&next, out->data + at, out->len - at);
			break;
		}
		default: /* one byte */
			sl_buf_add(&next, out->data + at, out->len - at);
			next.data[at] = (char)(32 + rnd(95));
		}
		sl_buf_reset(out);
		sl_buf_add(out, next.data, next.len);
	}
}

/* Changes the value and leaves the JSON whole, so that what comes after parsing gets its share. */
static void mutate_value(struct json_object *o, unsigned depth)
{
	if (json_object_is_type(o, json_type_object)) {
		const char *keys[64];
		uint32_t n = 0;
		json_object_object_foreach (o, key, value) {
			(void)value;
			if (n < SL_COUNT_OF(keys))
				keys[n++] = key;
		}
		if (!n)
			return;
		const char *chosen = keys[rnd(n)];
		struct json_object *v = sl_json_get(o, chosen);
		if (v && depth < 12 && rnd(4) &&
		    (json_object_is_type(v, json_type_object) || json_object_is_type(v, json_type_array)))
			mutate_value(v, depth + 1);
		else if (rnd(3) == 0)
			json_object_object_del(o, chosen);
		else
			sl_json_set(o, chosen,
				    rnd(2) ? json_object_new_string("open") : json_object_new_int((int)rnd(5) - 1));
	} else if (json_object_is_type(o, json_type_array) && json_object_array_length(o)) {
		size_t n = json_object_array_length(o), i = rnd((uint32_t)n);
		struct json_object *v = json_object_array_get_idx(o, i);
		if (v && depth < 12 && rnd(4))
			mutate_value(v, depth + 1);
		else if (rnd(2))
			json_object_array_del_idx(o, i, 1);
		else
			json_object_array_add(o, sl_json_dup(v));
	}
}

static void ten_thousand_mutations_are_survived(void **state)
{
	SL_BUF(text, 1u << 20);
	uint64_t worst = 0, took;
	unsigned accepted = 0;
	for (int i = 0; i < 10000; i++) {
		const char *seed = seeds[i % SL_COUNT_OF(seeds)];
		if (i % 3 == 2) {
			SL_AUTO_JSON o = NULL;
			struct sl_error err;
			assert_int_equal(sl_json_parse(sl_str(seed), &o, &err), SL_OK);
			for (uint32_t k = 0, n = 1 + rnd(3); k < n; k++)
				mutate_value(o, 0);
			sl_buf_reset(&text);
			sl_json_write(&text, o);
		} else {
			mutate(&text, seed);
		}
		accepted += read_one(sl_buf_str(&text), &took);
		worst = took > worst ? took : worst;
	}
	printf("accepted %u of 10000, the slowest took %llu us\n", accepted, (unsigned long long)worst);
	assert_true(accepted > 100 && accepted < 9900); /* the mutations reach both sides */
	assert_true(worst < MOST_MS * 1000 * SLOWER);
}

struct shape {
	const char *name;
	void (*write)(struct sl_buf *b);
	bool accepted;
};

static void head(struct sl_buf *b)
{
	sl_buf_adds(b, "{\"sluice\":1,\"nodes\":[");
}

static void write_fan_out(struct sl_buf *b) /* 9,000 edges from one node to 100 */
{
	head(b);
	for (int i = 0; i < 101; i++)
		sl_buf_addf(b, "%s{\"id\":\"n%d\",\"type\":\"work\"}", i ? "," : "", i);
	sl_buf_adds(b, "],\"edges\":[");
	for (int i = 0; i < 9000; i++)
		sl_buf_addf(b, "%s{\"from\":\"n0\",\"to\":\"n%d\"}", i ? "," : "", 1 + i % 100);
	sl_buf_adds(b, "]}");
}

static void write_dense(struct sl_buf *b) /* as many edges as are allowed, in a graph as deep as is allowed */
{
	head(b);
	for (int i = 0; i < 1000; i++)
		sl_buf_addf(b, "%s{\"id\":\"n%d\",\"type\":\"fan\",\"params\":{\"open\":1}}", i ? "," : "", i);
	sl_buf_adds(b, "],\"edges\":[");
	for (int i = 0; i < 3996; i++)
		sl_buf_addf(b, "%s{\"from\":\"n%d\",\"to\":\"n%d\"}", i ? "," : "", i / 4,
			    i / 4 + 1 + i % 4 > 999 ? 999 - i % 4 : i / 4 + 1 + i % 4);
	sl_buf_adds(b, "]}");
}

static void write_chain(struct sl_buf *b) /* every node limits the rest of the chain */
{
	head(b);
	for (int i = 0; i < 1000; i++)
		sl_buf_addf(b, "%s{\"id\":\"n%d\",\"type\":\"fan\",\"params\":{\"open\":1,\"wait_all\":true}}",
			    i ? "," : "", i);
	sl_buf_adds(b, "],\"edges\":[");
	for (int i = 0; i < 999; i++)
		sl_buf_addf(b, "%s{\"from\":\"n%d\",\"to\":\"n%d\"}", i ? "," : "", i, i + 1);
	sl_buf_adds(b, "]}");
}

static void write_into_one(struct sl_buf *b) /* a join with 999 ways in */
{
	head(b);
	for (int i = 0; i < 999; i++)
		sl_buf_addf(b, "{\"id\":\"n%d\",\"type\":\"work\"},", i);
	sl_buf_adds(b, "{\"id\":\"j\",\"type\":\"gather\",\"params\":{\"need\":900}}],\"edges\":[");
	for (int i = 0; i < 999; i++)
		sl_buf_addf(b, "%s{\"from\":\"n%d\",\"to\":\"j\"}", i ? "," : "", i);
	sl_buf_adds(b, "]}");
}

static void write_ring(struct sl_buf *b)
{
	head(b);
	for (int i = 0; i < 1000; i++)
		sl_buf_addf(b, "%s{\"id\":\"n%d\",\"type\":\"work\"}", i ? "," : "", i);
	sl_buf_adds(b, "],\"edges\":[");
	for (int i = 0; i < 4000; i++)
		sl_buf_addf(b, "%s{\"from\":\"n%d\",\"to\":\"n%d\"}", i ? "," : "", i % 1000,
			    (i % 1000 + 1 + i / 1000) % 1000);
	sl_buf_adds(b, "]}");
}

static void write_bodies(struct sl_buf *b) /* 500 containers, each with a body */
{
	head(b);
	for (int i = 0; i < 500; i++)
		sl_buf_addf(b,
			    "%s{\"id\":\"m%d\",\"type\":\"each\",\"params\":{\"items\":[],\"body\":{\"nodes\":[{\"id\":"
			    "\"x\",\"type\":\"work\",\"params\":"
			    "{\"prompt\":\"{{ nodes.nobody.text }}\"}}]}}}",
			    i ? "," : "", i);
	sl_buf_adds(b, "]}");
}

static void write_unknown_keys(struct sl_buf *b)
{
	head(b);
	sl_buf_adds(b, "{\"id\":\"a\",\"type\":\"work\"");
	for (int i = 0; i < 28000; i++)
		sl_buf_addf(b, ",\"paramz%d\":1", i);
	sl_buf_adds(b, ",\"params\":{\"prompt\":\"x\"}}]}");
}

static void write_unknown_params(struct sl_buf *b)
{
	head(b);
	sl_buf_adds(b, "{\"id\":\"a\",\"type\":\"work\",\"params\":{\"prompt\":\"x\"");
	for (int i = 0; i < 28000; i++)
		sl_buf_addf(b, ",\"promp%d\":1", i);
	sl_buf_adds(b, "}}]}");
}

static void write_long_key(struct sl_buf *b)
{
	head(b);
	sl_buf_adds(b, "{\"id\":\"a\",\"type\":\"work\",\"params\":{\"");
	for (int i = 0; i < 900000; i++)
		sl_buf_addc(b, 'k');
	sl_buf_adds(b, "\":{\"a\":1}}}]}");
}

static void write_long_string(struct sl_buf *b)
{
	head(b);
	sl_buf_adds(b, "{\"id\":\"a\",\"type\":\"work\",\"params\":{\"prompt\":\"");
	for (int i = 0; i < 1000000; i++)
		sl_buf_addc(b, 'x');
	sl_buf_adds(b, "\"}}]}");
}

static void write_bad_names(struct sl_buf *b) /* each one compared with each other, if nobody counted */
{
	head(b);
	for (int i = 0; i < 1000; i++)
		sl_buf_addf(
			b,
			"%s{\"id\":\"node_with_quite_a_long_name_that_takes_time_to_compare_%04d\",\"type\":\"work\"}",
			i ? "," : "", i);
	sl_buf_adds(b, "],\"edges\":[");
	for (int i = 0; i < 4000; i++)
		sl_buf_addf(b,
			    "%s{\"from\":\"node_with_quite_a_long_name_that_takes_time_to_compare_%04d\",\"to\":"
			    "\"nobody_with_quite_a_long_name_that_"
			    "takes_time_to_compare_%03d\"}",
			    i ? "," : "", i % 1000, i % 1000);
	sl_buf_adds(b, "]}");
}

static void write_many_templates(struct sl_buf *b)
{
	head(b);
	sl_buf_adds(b, "{\"id\":\"a\",\"type\":\"work\",\"params\":{\"prompt\":\"");
	for (int i = 0; i < 200000; i++)
		sl_buf_adds(b, "{{1}}");
	sl_buf_adds(b, "\"}}]}");
}

static void write_allowed_templates(struct sl_buf *b)
{
	head(b);
	sl_buf_adds(b, "{\"id\":\"a\",\"type\":\"work\",\"params\":{\"prompt\":\"");
	for (int i = 0; i < SL_LIMIT_DEFINITION_EXPRS; i++)
		sl_buf_addf(b, "{{ input.x%d }}", i);
	sl_buf_adds(b, "\"}}]}");
}

static void write_whens(struct sl_buf *b) /* a condition on every node and edge */
{
	head(b);
	for (int i = 0; i < 1000; i++)
		sl_buf_addf(b, "%s{\"id\":\"n%d\",\"type\":\"work\",\"when\":\"input.x%d > %d\"}", i ? "," : "", i, i,
			    i);
	sl_buf_adds(b, "],\"edges\":[");
	for (int i = 0; i < 1990; i++)
		sl_buf_addf(b, "%s{\"from\":\"n%d\",\"to\":\"n%d\",\"when\":\"input.y%d == %d\"}", i ? "," : "",
			    i / 4 % 995, i / 4 % 995 + 1 + i % 4, i, i);
	sl_buf_adds(b, "]}");
}

static void write_long_code(struct sl_buf *b)
{
	head(b);
	sl_buf_adds(b, "{\"id\":\"a\",\"type\":\"calc\",\"params\":{\"code\":\"");
	for (int i = 0; i < 60000; i++)
		sl_buf_addf(b, "x%d = 1 ", i);
	sl_buf_adds(b, "return 1\"}}]}");
}

static void write_deep_code(struct sl_buf *b)
{
	head(b);
	sl_buf_adds(b, "{\"id\":\"a\",\"type\":\"calc\",\"params\":{\"expr\":\"");
	for (int i = 0; i < 500000; i++)
		sl_buf_addc(b, '(');
	sl_buf_adds(b, "\"}}]}");
}

static void write_depth_bomb(struct sl_buf *b)
{
	head(b);
	for (int i = 0; i < 500000; i++)
		sl_buf_addc(b, '[');
}

static void write_empty_objects(struct sl_buf *b)
{
	head(b);
	for (int i = 0; i < 300000; i++)
		sl_buf_adds(b, "{},");
	sl_buf_adds(b, "{}]}");
}

static void write_schema_bomb(struct sl_buf *b)
{
	sl_buf_adds(b, "{\"sluice\":1,\"inputs\":{\"type\":\"object\",\"$defs\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/"
		       "a\"},{\"$ref\":\"#/$defs/a\"}]}},"
		       "\"properties\":{");
	for (int i = 0; i < 10000; i++)
		sl_buf_addf(b, "%s\"p%d\":{\"tpye\":\"string\"}", i ? "," : "", i);
	sl_buf_adds(b, "}},\"nodes\":[{\"id\":\"a\",\"type\":\"work\"}]}");
}

static void write_keys_twice(struct sl_buf *b)
{
	head(b);
	sl_buf_adds(b, "{\"id\":\"a\",\"type\":\"work\",\"params\":{");
	for (int i = 0; i < 29000; i++)
		sl_buf_addf(b, "\"k%d\":1,", i);
	sl_buf_adds(b, "\"k0\":2}}]}");
}

static void shapes_made_to_hurt_are_read_in_time(void **state)
{
	static const struct shape shapes[] = {
		{"fan out", write_fan_out, false},
		{"dense", write_dense, false}, /* a few edges twice, near the end */
		{"chain", write_chain, true},
		{"into one", write_into_one, true},
		{"ring", write_ring, false},
		{"bodies", write_bodies, false},
		{"unknown keys", write_unknown_keys, false},
		{"unknown params", write_unknown_params, false},
		{"long key", write_long_key, false},
		{"long string", write_long_string, true},
		{"bad names", write_bad_names, false},
		{"many templates", write_many_templates, false},
		{"allowed templates", write_allowed_templates, true},
		{"conditions", write_whens, true},
		{"long code", write_long_code, false},
		{"deep code", write_deep_code, false},
		{"depth bomb", write_depth_bomb, false},
		{"empty objects", write_empty_objects, false},
		{"schema bomb", write_schema_bomb, true},
		{"keys twice", write_keys_twice, false},
	};
	SL_BUF(text, 4u << 20);
	bool late = false;
	for (size_t i = 0; i < SL_COUNT_OF(shapes); i++) {
		uint64_t took = 0;
		sl_buf_reset(&text);
		shapes[i].write(&text);
		bool accepted = read_one(sl_buf_str(&text), &took);
		printf("%-18s %7zu bytes %6llu us %s\n", shapes[i].name, text.len, (unsigned long long)took,
		       accepted ? "accepted" : "refused");
		if (accepted != shapes[i].accepted)
			fail_msg("%s: accepted %d", shapes[i].name, accepted);
		late |= took > MOST_MS * 1000 * SLOWER;
	}
	assert_false(late);
}

static void every_cut_of_a_definition_is_survived(void **state)
{
	uint64_t took;
	for (size_t s = 0; s < SL_COUNT_OF(seeds); s++)
		for (size_t len = 0; len < strlen(seeds[s]); len++)
			assert_false(read_one(sl_str_n(seeds[s], len), &took));
}

static void a_usual_definition_takes_well_below_a_millisecond(void **state)
{
	uint64_t took, least = UINT64_MAX;
	SL_BUF(b, 100000);
	head(&b);
	for (int i = 0; i < 12; i++)
		sl_buf_addf(&b,
			    "%s{\"id\":\"n%d\",\"type\":\"work\",\"params\":{\"prompt\":\"Write about {{ input.topic "
			    "}}, point %d\"}}",
			    i ? "," : "", i, i);
	sl_buf_adds(&b, "],\"edges\":[");
	for (int i = 0; i < 11; i++)
		sl_buf_addf(&b, "%s{\"from\":\"n%d\",\"to\":\"n%d\"}", i ? "," : "", i, i + 1);
	sl_buf_adds(&b, "],\"outputs\":{\"text\":\"{{ nodes.n11.text }}\"}}");
	for (int i = 0; i < 50; i++) {
		assert_true(read_one(sl_buf_str(&b), &took));
		least = took < least ? took : least;
	}
	printf("12 nodes in %llu us\n", (unsigned long long)least);
	assert_true(least < 500 * SLOWER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_thousand_mutations_are_survived),
		cmocka_unit_test(shapes_made_to_hurt_are_read_in_time),
		cmocka_unit_test(every_cut_of_a_definition_is_survived),
		cmocka_unit_test(a_usual_definition_takes_well_below_a_millisecond),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
