#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "engine/run_state.h"

static void an_end_is_reachable_from_everywhere(void **state)
{
	static const struct {
		const struct sl_state *table;
		unsigned n;
	} tables[] = {{sl_run_states, SL_RUN_STATUSES}, {sl_node_states, SL_NODE_STATUSES}};
	for (size_t t = 0; t < SL_COUNT_OF(tables); t++)
		for (unsigned from = 0; from < tables[t].n; from++) {
			uint32_t reach = 1u << from, before = 0;
			while (reach != before) {
				before = reach;
				for (unsigned s = 0; s < tables[t].n; s++)
					if (reach & 1u << s)
						reach |= tables[t].table[s].may_become;
			}
			bool ends = false;
			for (unsigned s = 0; s < tables[t].n; s++)
				ends |= (reach & 1u << s) && tables[t].table[s].may_become == 0;
			assert_true(ends);
			assert_non_null(tables[t].table[from].wire);
		}
}

static void nothing_follows_an_end_but_a_retry(void **state)
{
	const uint32_t again = 1u << SL_RUN_QUEUED;
	for (unsigned s = 0; s < SL_RUN_STATUSES; s++)
		assert_int_equal(sl_run_status_final((enum sl_run_status)s), !(sl_run_states[s].may_become & ~again));
	assert_int_equal(sl_run_states[SL_RUN_SUCCEEDED].may_become, 0);
	for (unsigned s = 0; s < SL_NODE_STATUSES; s++)
		assert_int_equal(sl_node_status_final((enum sl_node_status)s), sl_node_states[s].may_become == 0);
}

static void row(struct sl_buf *b, const struct sl_state *table, unsigned n, unsigned s)
{
	sl_buf_addf(b, "| `%s` |", table[s].wire);
	sl_buf_addc(b, '\n');
	sl_buf_adds(b, "|");
	for (unsigned to = 0; to < n; to++)
		if (table[s].may_become & 1u << to)
			sl_buf_addf(b, " `%s`", table[to].wire);
	sl_buf_adds(b, " |");
}

/* Every row of the page, in order: "| `name` | … | `a` `b` |". */
static void the_page_in_docs_says_the_same(void **state)
{
	char path[4096];
	static char text[1 << 16];
	const char *root = getenv("SLUICE_ROOT");
	snprintf(path, sizeof(path), "%s/docs/STATES.md", root ? root : ".");
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	size_t len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[len] = 0;
	char *at = text;
	for (unsigned t = 0; t < 2; t++) {
		const struct sl_state *table = t ? sl_node_states : sl_run_states;
		unsigned n = t ? SL_NODE_STATUSES : SL_RUN_STATUSES;
		for (unsigned s = 0; s < n; s++) {
			SL_BUF(want, 4096);
			row(&want, table, n, s);
			char *head = want.data, *tail = strchr(want.data, '\n');
			*tail++ = 0;
			at = strstr(at, head);
			if (!at)
				fail_msg("docs/STATES.md has no row %s", head);
			char *end = strchr(at, '\n');
			*end = 0;
			size_t line = strlen(at), want_len = strlen(tail);
			if (line < want_len || strcmp(at + line - want_len, tail) != 0)
				fail_msg("docs/STATES.md: %s ends in %s", at, tail);
			at = end + 1;
		}
	}
}

static void commands_follow_the_table(void **state)
{
	/*                             queued  running paused waiting locked done failed cancelled: k kept, y yes, n no
	 */
	static const char *const want[] = {
		[SL_CMD_PAUSE_DRAIN] = "nykynnnn", [SL_CMD_PAUSE_NOW] = "nykynnnn", [SL_CMD_RESUME] = "nkyknnnn",
		[SL_CMD_CANCEL] = "yyyyynnk",      [SL_CMD_UNLOCK] = "nnnnynnn",    [SL_CMD_REVIEW] = "yyyyynnn",
		[SL_CMD_SIGNAL] = "yyyyynnn",      [SL_CMD_INPUT] = "yyyyynnn",     [SL_CMD_RETRY] = "nnnnnnyy"};
	for (unsigned cmd = 0; cmd < SL_COUNT_OF(want); cmd++)
		for (unsigned s = 0; s < SL_RUN_STATUSES; s++) {
			struct sl_run_state st = {.status = (enum sl_run_status)s};
			struct sl_event e;
			struct sl_error err = {0};
			bool nothing;
			enum sl_code rc = sl_decide(&st, (enum sl_command_kind)cmd, &e, &nothing, &err);
			assert_int_equal(rc == SL_OK ? nothing ? 'k' : 'y' : 'n', want[cmd][s]);
			if (rc != SL_OK) {
				assert_int_equal(rc, SL_CONFLICT);
				assert_non_null(strstr(err.text, sl_run_states[s].wire));
			}
		}
}

/* Of a container only what is in its bodies can be called off; who waits for a person, or for the next attempt, waits.
 */
static void a_pause_now_of_a_paused_run_is_for_what_still_runs(void **state)
{
	struct sl_graph body = {0};
	struct sl_node_def defs[] = {{.id = "a"}, {.id = "c"}};
	struct sl_graph graph = {.nodes = defs, .n_nodes = 2};
	struct sl_node_state nodes[2] = {{0}};
	struct sl_scope scope = {.graph = &graph, .nodes = nodes}, *scopes[] = {&scope};
	struct sl_run_state st = {.status = SL_RUN_PAUSED, .scopes = scopes, .n_scopes = 1};
	defs[1].body = &body;
	nodes[1].status = SL_NODE_RUNNING;
	for (unsigned s = 0; s < SL_NODE_STATUSES; s++)
		for (unsigned cmd = SL_CMD_PAUSE_DRAIN; cmd <= SL_CMD_PAUSE_NOW; cmd++) {
			struct sl_event e;
			struct sl_error err = {0};
			bool nothing;
			nodes[0].status = (enum sl_node_status)s;
			assert_int_equal(sl_decide(&st, (enum sl_command_kind)cmd, &e, &nothing, &err), SL_OK);
			assert_int_equal(nothing, cmd == SL_CMD_PAUSE_DRAIN || s != SL_NODE_RUNNING);
		}
}

static void events_come_back_from_the_journal_as_they_went(void **state)
{
	struct sl_event e = {.kind = SL_EV_NODE,
			     .seq = 7,
			     .wall_ms = 1700000000123,
			     .status = SL_NODE_COMPLETED,
			     .type = "llm",
			     .attempt = 2,
			     .started_ms = 1700000000001};
	e.path = strdup("judge");
	e.reason = strdup("a \"reason\"\n");
	e.output = json_object_new_object();
	sl_json_set_str(e.output, "text", SL_STR("caf\xc3\xa9"));
	e.taken = calloc(2, sizeof(*e.taken));
	e.taken[0] = 3;
	e.taken[1] = 9;
	e.n_taken = 2;
	struct sl_record r = {0};
	struct sl_event back;
	struct sl_error err;
	assert_int_equal(sl_event_encode(&e, &r), SL_OK);
	assert_string_equal(r.once->data, "judge");
	assert_null(strstr(r.data->data, "caf")); /* outputs are not in what every client gets */
	assert_int_equal(sl_event_decode(&r, &back, &err), SL_OK);
	assert_int_equal(back.kind, e.kind);
	assert_int_equal(back.seq, e.seq);
	assert_int_equal(back.status, e.status);
	assert_int_equal(back.attempt, 2);
	assert_int_equal(back.started_ms, e.started_ms);
	assert_string_equal(back.reason, e.reason);
	assert_int_equal(back.n_taken, 2);
	assert_int_equal(back.taken[1], 9);
	assert_true(sl_json_equal(back.output, e.output));
	sl_event_fini(&back);
	sl_record_fini(&r);
	e.generation = 2; /* a node is completed once in each life of its run */
	assert_int_equal(sl_event_encode(&e, &r), SL_OK);
	assert_string_equal(r.once->data, "judge@2");
	sl_record_fini(&r);
	e.kind = SL_EV_USAGE;
	e.cost_microusd = 1234567;
	e.input_tokens = 5;
	assert_int_equal(sl_event_encode(&e, &r), SL_OK);
	assert_int_equal(sl_event_decode(&r, &back, &err), SL_OK);
	assert_int_equal(back.cost_microusd, 1234567);
	sl_event_fini(&back);
	sl_event_fini(&e);
	sl_record_fini(&r);
}

static void what_a_child_took_comes_back_from_the_journal_as_it_went(void **state)
{
	const struct sl_run_id left[2] = {{sl_uuid_new()}, {sl_uuid_new()}}, child = {sl_uuid_new()};
	const struct sl_figures f = {
		.input_tokens = 12, .output_tokens = 345, .cost_microusd = 6789, .open = left, .n_open = 2};
	struct sl_event e = {.kind = SL_EV_NODE, .seq = 9, .status = SL_NODE_FAILED, .code = SL_TIMEOUT}, back;
	struct sl_record r = {0};
	struct sl_error err;
	char id[SL_UUID_TEXT_BYTES];
	e.path = sl_str_dup(SL_STR("sub"));
	e.child = sl_figures_json(child, &f);
	assert_int_equal(sl_event_encode(&e, &r), SL_OK);
	assert_int_equal(sl_event_decode(&r, &back, &err), SL_OK);
	assert_true(sl_json_equal(back.child, e.child));
	assert_int_equal(sl_json_get_i64(back.child, "output_tokens", 0), 345);
	assert_int_equal((int)(sl_json_get_f64(back.child, "cost_usd", 0) * 1e6 + 0.5), 6789);
	sl_uuid_format(left[1].u, id);
	assert_true(sl_str_is(sl_json_str(json_object_array_get_idx(sl_json_get(back.child, "open"), 1)), id));
	sl_event_fini(&back);
	sl_event_fini(&e);
	sl_record_fini(&r);
	/* a node that tells of a run it has started is understood, other events of nodes are only counted */
	e = (struct sl_event){
		.kind = SL_EV_CUSTOM, .seq = 9, .name = sl_child_started, .data = json_object_new_object()};
	sl_json_set_str(e.data, "run_id", sl_str(id));
	assert_int_equal(sl_event_encode(&e, &r), SL_OK);
	assert_int_equal(sl_event_decode(&r, &back, &err), SL_OK);
	assert_true(sl_str_is(sl_json_get_str(back.data, "run_id"), id));
	sl_event_fini(&back);
	sl_event_fini(&e);
	sl_record_fini(&r);
}

int main(void)
{
	sl_expect_aborts = true;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_end_is_reachable_from_everywhere),
		cmocka_unit_test(nothing_follows_an_end_but_a_retry),
		cmocka_unit_test(the_page_in_docs_says_the_same),
		cmocka_unit_test(commands_follow_the_table),
		cmocka_unit_test(a_pause_now_of_a_paused_run_is_for_what_still_runs),
		cmocka_unit_test(events_come_back_from_the_journal_as_they_went),
		cmocka_unit_test(what_a_child_took_comes_back_from_the_journal_as_it_went),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
