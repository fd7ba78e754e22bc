/* Runs that start runs: outputs, failures, steering together, and one child whatever crashes. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "tests/lib/scenario.h"

static const char child[] = "{\"sluice\":1,\"name\":\"child\",\"inputs\":{\"type\":\"object\",\"required\":[\"n\"],"
			    "\"properties\":{\"n\":{\"type\":"
			    "\"number\"}}},\"nodes\":[{\"id\":\"x\",\"type\":\"fake\",\"params\":{\"answer\":\"{{ "
			    "input.n * 2 }}\",\"hold\":\"{{ "
			    "input.n == 7 }}\"}}],\"outputs\":{\"twice\":\"{{ nodes.x.value }}\"}}";
static const char failing[] =
	"{\"sluice\":1,\"name\":\"failing\",\"nodes\":[{\"id\":\"x\",\"type\":\"fake\",\"params\":{"
	"\"answer\":1,\"fail\":\"provider_rejected\"}}]}";
static const char endless[] = "{\"sluice\":1,\"name\":\"endless\",\"nodes\":[{\"id\":\"x\",\"type\":\"subworkflow\","
			      "\"params\":{\"workflow\":\"endless\"}}]}";

static char parent[1024];
static const char *parent_of(const char *params)
{
	(void)snprintf(parent, sizeof(parent),
		       "{\"sluice\":1,\"name\":\"parent\",\"nodes\":[{\"id\":\"sub\",\"type\":\"subworkflow\","
		       "\"params\":{%s}}],"
		       "\"outputs\":{\"v\":\"{{ nodes.sub.twice }}\"}}",
		       params);
	return parent;
}

static int library(void **state)
{
	world_workflow("child", child);
	world_workflow("failing", failing);
	world_workflow("endless", endless);
	return 0;
}

static struct json_object *error_of(struct world *w, struct sl_run_id id)
{
	return sl_json_get(world_run(w, id), "error");
}

static void the_outputs_of_the_child_are_the_node_s(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":21}"), "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(sl_json_get_i64(sl_json_get(world_run(w, id), "outputs"), "v", 0), 42);
	struct sl_run_id sub = world_child(w, id);
	char want[SL_UUID_TEXT_BYTES];
	sl_uuid_format(id.u, want);
	assert_string_equal(world_status(w, sub), "succeeded");
	assert_string_equal(sl_json_get_z(world_run(w, sub), "parent"), want);
	assert_string_equal(sl_json_get_z(world_run(w, sub), "parent_node"), "sub");
}

static void what_is_wrong_with_a_child_is_said_by_its_node(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *params, *code, *words;
	} rows[] = {
		{"\"workflow\":\"failing\"", "provider_rejected", "the child run: "},
		{"\"workflow\":\"nowhere\"", "not_found", "there is no workflow 'nowhere'"},
		{"\"workflow\":\"child\",\"inputs\":{\"n\":\"many\"}", "invalid", "/inputs/n"},
		{"\"workflow\":\"endless\"", "limit_exceeded", "runs start runs more than 10 deep"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_run_id id = world_submit(w, parent_of(rows[i].params), "{}");
		world_settle(w);
		world_settle(w);
		assert_string_equal(world_status(w, id), "failed");
		assert_string_equal(sl_json_get_z(error_of(w, id), "code"), rows[i].code);
		if (i == 2)
			assert_string_equal(sl_json_get_z(error_of(w, id), "message"),
					    "the child run: /inputs/n: must be a number, not a text");
		if (!strstr(sl_json_get_z(error_of(w, id), "message"), rows[i].words))
			fail_msg("row %zu: %s", i, sl_json_get_z(error_of(w, id), "message"));
	}
}

static void a_child_is_steered_with_its_parent(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":7}"), "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	assert_string_equal(world_status(w, id), "running");
	assert_true(world_is_held(w, "x"));
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK);
	assert_string_equal(world_status(w, sub), "paused");
	assert_string_equal(world_node_status(w, id, "sub"), "running");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	assert_string_equal(world_status(w, sub), "running");
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	assert_string_equal(world_status(w, id), "cancelled");
	assert_string_equal(world_status(w, sub), "cancelled");
}

static void a_pause_now_after_a_drain_reaches_the_child(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":7}"), "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	assert_string_equal(world_status(w, sub), "paused");
	assert_string_equal(world_node_status(w, sub, "x"), "running");
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK);
	assert_string_equal(world_status(w, sub), "paused");
	assert_string_equal(world_node_status(w, sub, "x"), "pending");
	assert_int_equal(world_cancels(w, "x"), 1);
	assert_string_equal(world_node_status(w, id, "sub"), "running");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	assert_string_equal(world_node_status(w, sub, "x"), "running");
	world_release(w, "x");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
}

static void a_parent_undoes_only_its_own_pause_of_a_child(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":7}"), "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	assert_int_equal(world_command(w, sub, SL_CMD_PAUSE_NOW), SL_OK); /* a person does */
	world_crash(w);
	world_advance(w, 10000);
	assert_string_equal(world_status(w, id), "running");
	assert_string_equal(world_status(w, sub), "paused");
	world_take_over(w);
	world_advance(w, 10000);
	assert_string_equal(world_status(w, id), "running");
	assert_string_equal(world_status(w, sub), "paused");
	world_bury_zombies(w);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK);
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	assert_string_equal(world_status(w, id), "running");
	assert_string_equal(world_status(w, sub), "paused");
	assert_int_equal(world_command(w, sub, SL_CMD_RESUME), SL_OK);
	assert_string_equal(world_status(w, sub), "running");

	/* its own it does undo, in a later life, too */
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK);
	assert_string_equal(world_status(w, sub), "paused");
	world_crash(w);
	world_advance(w, 10000);
	assert_string_equal(world_status(w, sub), "paused");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	assert_string_equal(world_status(w, sub), "running");
	world_release(w, "x");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
}

static void a_child_does_not_outlive_its_parent(void **state)
{
	struct world *w = *state;
	/* the order to the child is lost with the server, once the cancel of its parent is written */
	struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":7}"), "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	world_auto_commit(w, false);
	world_ask(w, id, SL_CMD_CANCEL, NULL, NULL);
	while (strcmp(world_status(w, id), "cancelled") != 0) {
		sl_engine_step(world_engine(w));
		world_commit_unanswered(w);
	}
	world_auto_commit(w, true);
	world_crash(w);
	world_advance(w, 10000);
	assert_string_equal(world_status(w, sub), "cancelled");

	/* its node is at rest, because the parent was paused when the server went away */
	id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":7}"), "{}");
	world_settle(w);
	sub = world_child(w, id);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	world_crash(w);
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "sub"), "pending");
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	world_advance(w, 10000);
	assert_string_equal(world_status(w, sub), "cancelled");
}

/* As above, and so much waits for PostgreSQL that it takes no more: refused when it is asked for, or in the answer. */
static void a_parent_that_cannot_be_read_now_is_asked_for_again(void **state)
{
	struct world *w = *state;
	for (unsigned busy = 3; busy <= 4; busy++) {
		struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":7}"), "{}");
		world_settle(w);
		struct sl_run_id sub = world_child(w, id);
		world_auto_commit(w, false);
		world_ask(w, id, SL_CMD_CANCEL, NULL, NULL);
		while (strcmp(world_status(w, id), "cancelled") != 0) {
			sl_engine_step(world_engine(w));
			world_commit_unanswered(w);
		}
		world_auto_commit(w, true);
		world_busy(w, busy);
		world_crash(w);
		world_advance(w, 1000);
		assert_string_equal(world_status(w, sub), "running");
		world_advance(w, 60000);
		assert_string_equal(world_status(w, sub), "cancelled");
	}
}

static enum sl_code boom_see(struct sl_watch *w, enum sl_stream_kind kind, struct sl_str piece, struct sl_trip *trip)
{
	if (!sl_str_starts(piece, SL_STR("boom")))
		return SL_OK;
	*trip = (struct sl_trip){.reason = "TOKEN_SURGE", .message = "too much", .measured = 9, .limit = 3};
	return SL_TRIPPED;
}

static void boom_free(struct sl_watch *w)
{
	free(w);
}

static struct sl_watch *boom_watch(struct sl_exec *x)
{
	struct sl_watch *w = calloc(1, sizeof(*w));
	w->see = boom_see;
	w->free = boom_free;
	return w;
}

static const struct sl_middleware boom = {.name = "boom", .slot = SL_SLOT_RATE_LIMITER, .watch = boom_watch};

static bool is_written(struct world *w, struct sl_run_id id, const char *event)
{
	const struct sl_record *r;
	for (size_t n = world_records(w, id, &r); n > 0; n--)
		if (strcmp(r[n - 1].event, event) == 0)
			return true;
	return false;
}

/* That the parent stands still is written, and the order to the child is lost with the server. */
static void a_child_does_not_go_on_under_a_parent_that_stands_still(void **state)
{
	static const char both[] =
		"{\"sluice\":1,\"name\":\"both\",\"nodes\":[{\"id\":\"sub\",\"type\":\"subworkflow\","
		"\"params\":{\"workflow\":\"child\",\"inputs\":{\"n\":7}}},{\"id\":\"y\",\"type\":\"fake\","
		"\"params\":{\"answer\":1,\"hold\":true}}]}";
	static const struct {
		enum sl_command_kind by;
		const char *event, *status, *payload;
		enum sl_command_kind undo;
	} rows[] = {
		{SL_CMD_PAUSE_DRAIN, "execution:paused", "paused", NULL, SL_CMD_RESUME},
		{SL_CMD_PAUSE_NOW, "execution:paused", "paused", NULL, SL_CMD_RESUME},
		{SL_CMD_UNLOCK, "circuit_breaker:tripped", "locked", "{\"justification\":\"fine\"}", SL_CMD_UNLOCK},
	};
	world_middleware(&boom);
	struct world *w = world_new(5);
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_run_id id = world_submit(w, both, "{}");
		world_settle(w);
		struct sl_run_id sub = world_child(w, id);
		world_auto_commit(w, false);
		if (rows[i].by == SL_CMD_UNLOCK)
			assert_int_equal(world_say(w, "y", "boom"), SL_TRIPPED);
		else
			world_ask(w, id, rows[i].by, NULL, NULL);
		while (!is_written(w, id, rows[i].event)) {
			sl_engine_step(world_engine(w));
			world_commit_unanswered(w);
		}
		assert_false(is_written(w, sub, "execution:paused"));
		world_auto_commit(w, true);
		for (unsigned lives = 0; lives < 2; lives++) {
			world_crash(w);
			world_advance(w, 10000);
			assert_string_equal(world_status(w, id), rows[i].status);
			assert_string_equal(world_status(w, sub), "paused");
			assert_string_equal(world_node_status(w, sub, "x"), "pending");
			assert_false(world_is_held(w, "x"));
		}
		assert_int_equal(world_order(w, id, rows[i].undo, NULL, rows[i].payload), SL_OK);
		assert_string_equal(world_status(w, sub), "running");
		world_release(w, "x");
		world_release(w, "y");
		world_settle(w);
		assert_string_equal(world_status(w, id), "succeeded");
	}
	world_free(w);
	world_middleware(NULL);
}

/* ---- parent and child in two servers ---- */

static void go(struct world *w, uint64_t ms)
{
	for (uint64_t end = world_now(w) + ms; world_now(w) < end;) {
		world_advance(w, 250);
		while (world_zombies_step(w))
			world_settle(w);
	}
}

static void expect_both(struct world *w, struct sl_run_id id, struct sl_run_id sub, const char *status)
{
	expect_status(w, id, status);
	expect_status(w, sub, status);
}

/* All is paused, the child like the others, and its parent for a reason of its own besides: that is not over when the
 * pause of all is. */
static void the_end_of_a_pause_of_all_is_none_for_a_child_whose_parent_stands_still(void **state)
{
	static const char both[] =
		"{\"sluice\":1,\"name\":\"both\",\"nodes\":[{\"id\":\"sub\",\"type\":\"subworkflow\","
		"\"params\":{\"workflow\":\"child\",\"inputs\":{\"n\":7}}},{\"id\":\"y\",\"type\":\"fake\","
		"\"params\":{\"answer\":1,\"hold\":true}}]}";
	world_middleware(&boom);
	for (unsigned locked = 0; locked < 2; locked++) {
		struct world *w = world_new(5);
		struct sl_run_id id = world_submit(w, both, "{}");
		world_settle(w);
		struct sl_run_id sub = world_child(w, id);
		if (locked) { /* the breaker trips over what the pause has left to end */
			world_pause_all(w, true);
			world_settle(w);
			expect_both(w, id, sub, "paused");
			assert_int_equal(world_say(w, "y", "boom"), SL_TRIPPED);
			world_settle(w);
		} else { /* a person has paused it, and the order to the child is lost with the server */
			world_auto_commit(w, false);
			world_ask(w, id, SL_CMD_PAUSE_DRAIN, NULL, NULL);
			while (!is_written(w, id, "execution:paused")) {
				sl_engine_step(world_engine(w));
				world_commit_unanswered(w);
			}
			assert_false(is_written(w, sub, "execution:paused"));
			world_pause_all(w, true);
			world_auto_commit(w, true);
			world_crash(w);
			world_settle(w);
		}
		expect_status(w, id, locked ? "locked" : "paused");
		expect_status(w, sub, "paused");
		world_pause_all(w, false);
		world_advance(w, 60000);
		expect_status(w, id, locked ? "locked" : "paused");
		expect_status(w, sub, "paused");
		assert_int_equal(world_order(w, id, locked ? SL_CMD_UNLOCK : SL_CMD_RESUME, NULL,
					     locked ? "{\"justification\":\"fine\"}" : NULL),
				 SL_OK);
		expect_both(w, id, sub, "running");
		/* and with the parent it goes on, by whatever it was paused */
		world_pause_all(w, true);
		world_settle(w);
		expect_both(w, id, sub, "paused");
		world_pause_all(w, false);
		world_settle(w);
		expect_both(w, id, sub, "running");
		world_release(w, "x");
		world_release(w, "y");
		world_settle(w);
		expect_both(w, id, sub, "succeeded");
		world_free(w);
	}
	world_middleware(NULL);
}

/* The parent is paused, which is written; before the child is told, its server goes down, and another one takes it. */
static void a_child_asks_for_a_parent_elsewhere_as_it_is_taken_up(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":7}"), "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	world_auto_commit(w, false);
	world_ask(w, id, SL_CMD_PAUSE_DRAIN, NULL, NULL);
	while (!is_written(w, id, "execution:paused")) {
		sl_engine_step(world_engine(w));
		world_commit_unanswered(w);
	}
	assert_false(is_written(w, sub, "execution:paused"));
	world_auto_commit(w, true);
	world_elsewhere(w, id);
	world_crash(w);
	world_settle(w);
	expect_both(w, id, sub, "paused");
	assert_string_equal(world_node_status(w, sub, "x"), "pending");
	world_crash(w);
	world_advance(w, 60000);
	expect_status(w, sub, "paused");
	world_take_over(w); /* both, by one server */
	world_settle(w);
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	expect_both(w, id, sub, "running");
	world_release(w, "x");
	world_settle(w);
	expect_status(w, id, "succeeded");
}

/* Orders from one server to the other are lost, or come in another order: what is in the journals decides. */
static void a_child_follows_a_parent_elsewhere_whatever_messages_are_lost(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":7}"), "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	world_split(w, sub);
	go(w, 40000); /* the child asks for its parent as seldom as it ever does */
	expect_both(w, id, sub, "running");
	world_mute(w, true);
	const struct world_answer *a = world_ask(w, id, SL_CMD_PAUSE_DRAIN, NULL, NULL);
	go(w, 1000);
	assert_int_equal(a->rc, SL_OK);
	expect_status(w, id, "paused");
	go(w, 20000); /* it sees that for itself */
	expect_status(w, sub, "paused");
	world_ask(w, id, SL_CMD_RESUME, NULL, NULL);
	go(w, 20000);
	expect_status(w, id, "running");
	expect_status(w, sub, "paused"); /* that it goes on is for its parent to say */
	world_mute(w, false);
	go(w, 3000);
	expect_status(w, sub, "running");

	/* the order to go on finds a child that does, as far as is written, and the one to pause arrives after it */
	world_ask(w, id, SL_CMD_PAUSE_DRAIN, NULL, NULL);
	for (unsigned i = 0; i < 2; i++) {
		while (world_zombies_step(w))
			while (world_commit_one(w)) {
			}
		if (i == 0)
			world_ask(w, id, SL_CMD_RESUME, NULL, NULL);
	}
	expect_status(w, id, "running");
	go(w, 5000);
	expect_both(w, id, sub, "running");

	/* one that a person has paused is left alone */
	assert_int_equal(world_command(w, sub, SL_CMD_PAUSE_NOW), SL_OK);
	go(w, 10000);
	expect_status(w, sub, "paused");
	assert_int_equal(world_command(w, sub, SL_CMD_RESUME), SL_OK);

	world_mute(w, true);
	world_ask(w, id, SL_CMD_CANCEL, NULL, NULL);
	go(w, 20000);
	expect_both(w, id, sub, "cancelled");
}

/* The parent's server goes down, too, and it is taken up where the child is not: it says how it stands. */
static void a_parent_that_is_taken_up_tells_a_child_elsewhere_that_it_stands_still(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":7}"), "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	world_split(w, sub);
	go(w, 40000);
	world_mute(w, true);
	world_ask(w, id, SL_CMD_PAUSE_DRAIN, NULL, NULL);
	go(w, 250);
	expect_status(w, id, "paused");
	expect_status(w, sub, "running");
	world_mute(w, false);
	world_split(w, id);
	go(w, 250);
	expect_both(w, id, sub, "paused");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	go(w, 250);
	expect_both(w, id, sub, "running");
}

/* ---- a parent that goes on without its child ---- */

/* The child is in a race that `y` decides; then the parent goes on with `z`. */
static const char race[] = "{\"sluice\":1,\"name\":\"race\",\"nodes\":[{\"id\":\"sub\",\"type\":\"subworkflow\","
			   "\"params\":{\"workflow\":\"child\",\"inputs\":{\"n\":7}}},"
			   "{\"id\":\"y\",\"type\":\"fake\",\"params\":{\"answer\":1,\"hold\":true}},"
			   "{\"id\":\"first\",\"type\":\"join\",\"params\":{\"wait\":\"any\",\"cancel_rest\":true}},"
			   "{\"id\":\"z\",\"type\":\"fake\",\"params\":{\"answer\":1,\"hold\":true}}],"
			   "\"edges\":[{\"from\":\"sub\",\"to\":\"first\"},{\"from\":\"y\",\"to\":\"first\"},"
			   "{\"from\":\"first\",\"to\":\"z\"}]}";

static void expect_left(struct world *w, struct sl_run_id id, struct sl_run_id sub)
{
	expect_status(w, id, "running");
	assert_string_equal(world_node_status(w, id, "sub"), "cancelled");
	expect_status(w, sub, "cancelled");
	while (world_is_held(w, "z"))
		world_release(w, "z");
	go(w, 1000);
	expect_status(w, id, "succeeded");
}

/* That the parent does not want it any more is written, and the order to the child is lost with the server. */
static void a_child_nobody_wants_does_not_go_on_because_its_cancel_was_lost(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, race, "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	world_auto_commit(w, false);
	world_release(w, "y");
	while (world_count(w, id, "sub", "cancelled") == 0) {
		sl_engine_step(world_engine(w));
		world_commit_unanswered(w);
	}
	assert_false(is_written(w, sub, "execution:cancelled"));
	world_auto_commit(w, true);
	world_crash(w);
	world_settle(w);
	expect_left(w, id, sub);
}

/* The same in two servers, and in three, which the parent has seen one after the other. */
static void a_child_elsewhere_that_nobody_wants_does_not_go_on(void **state)
{
	for (unsigned moves = 0; moves < 2; moves++) {
		struct world *w = world_new(moves);
		struct sl_run_id id = world_submit(w, race, "{}");
		world_settle(w);
		struct sl_run_id sub = world_child(w, id);
		world_split(w, sub);
		go(w, 40000); /* it asks for its parent as seldom as it ever does */
		world_mute(w, true);
		world_release(w, "y");
		go(w, 500);
		assert_string_equal(world_node_status(w, id, "sub"), "cancelled");
		expect_status(w, sub, "running");
		if (moves)
			world_split(w, id);
		go(w, 20000); /* it finds out for itself */
		expect_left(w, id, sub);
		world_free(w);
	}
	(void)state;
}

/* Its node is at rest, because the parent was paused when the server went away, and the race is decided before it
 * begins again. */
static void a_child_whose_node_is_at_rest_is_cancelled_with_it(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, race, "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	world_release(w, "y");
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "y"), "completed");
	world_crash(w);
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "sub"), "pending");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	expect_left(w, id, sub);
}

static enum sl_verdict gate_says;

static bool gate_applies(const struct sl_node_def *def)
{
	return strcmp(def->id, "sub") == 0;
}

static enum sl_verdict gate_enter(struct sl_exec *x, struct sl_error *err)
{
	if (gate_says == SL_REFUSE)
		(void)sl_fail(err, SL_INVALID, "not this time");
	if (gate_says == SL_DELAY)
		sl_exec_recheck_ms(x, 1000);
	return gate_says;
}

static const struct sl_middleware gate = {
	.name = "gate", .slot = SL_SLOT_RATE_LIMITER, .applies = gate_applies, .enter = gate_enter};

/* After a crash its node is not let through at once: it still waits when the race is decided, or fails. */
static void a_child_whose_node_does_not_come_to_begin_again_ends_with_it(void **state)
{
	world_middleware(&gate);
	for (unsigned fails = 0; fails < 2; fails++) {
		gate_says = SL_PASS;
		struct world *w = world_new(fails);
		struct sl_run_id id = world_submit(w, race, "{}");
		world_settle(w);
		struct sl_run_id sub = world_child(w, id);
		gate_says = SL_DELAY;
		world_crash(w);
		world_settle(w);
		expect_both(w, id, sub, "running");
		if (fails)
			gate_says = SL_REFUSE;
		while (!fails && world_is_held(w, "y"))
			world_release(w, "y");
		world_advance(w, 2000);
		assert_string_equal(world_node_status(w, id, "sub"), fails ? "failed" : "cancelled");
		expect_status(w, id, "running");
		expect_status(w, sub, "cancelled");
		world_free(w);
	}
	world_middleware(NULL);
	(void)state;
}

/* The race is decided by a failure in the body around it, and the map goes on without that item. */
static void a_child_at_rest_in_a_body_that_fails_is_cancelled(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'m','nodes':[{'id':'each','type':'map','params':{'items':'{{ {1} "
		  "}}','on_item_error':"
		  "'continue','body':{'nodes':[{'id':'sub','type':'subworkflow','params':{'workflow':'child','inputs':{"
		  "'n':"
		  "7}}},{'id':'y','type':'fake','params':{'answer':1,'hold':true}},{'id':'bad','type':'transform','"
		  "params':{"
		  "'expr':'nil + "
		  "1'}}],'edges':[{'from':'y','to':'bad'}]}}},{'id':'z','type':'fake','params':{'answer':1,"
		  "'hold':true}}],'edges':[{'from':'each','to':'z'}]}"),
		"{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	expect_status(w, sub, "running");
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	world_release(w, "each#1/y");
	world_settle(w);
	world_crash(w);
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "each#1/sub"), "pending");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	go(w, 250);
	assert_string_equal(world_node_status(w, id, "each"), "completed");
	expect_status(w, id, "running");
	expect_status(w, sub, "cancelled");
}

/* The parent has ended, the child elsewhere was not told, and a retry of the parent begins another one. */
static void a_child_whose_parent_has_another_one_does_not_go_on(void **state)
{
	static const char other[] = "{\"sluice\":1,\"name\":\"child\",\"nodes\":[{\"id\":\"x\",\"type\":\"fake\","
				    "\"params\":{\"answer\":1,\"hold\":true}}]}";
	struct world *w = *state;
	world_workflow("varied", child);
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'two','nodes':[{'id':'sub','type':'subworkflow','params':{'workflow':'varied','"
		  "inputs':{"
		  "'n':7}}},{'id':'y','type':'fake','params':{'answer':1,'hold':true}},{'id':'bad','type':'fake','"
		  "params':{"
		  "'answer':1,'fail':'provider_rejected','fail_times':1}}],'edges':[{'from':'y','to':'bad'}]}"),
		"{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	world_split(w, sub);
	go(w, 40000);
	world_mute(w, true);
	world_release(w, "y");
	go(w, 250);
	expect_status(w, id, "failed");
	expect_status(w, sub, "running");
	world_workflow("varied", other);
	const struct world_answer *a = world_ask(w, id, SL_CMD_RETRY, NULL, NULL);
	go(w, 250);
	assert_true(a->given);
	assert_int_equal(a->rc, SL_OK);
	world_mute(w, false);
	struct sl_run_id now = world_child(w, id);
	assert_false(sl_run_id_eq(now, sub));
	expect_status(w, sub, "running");
	go(w, 20000);
	expect_status(w, sub, "cancelled");
	expect_both(w, id, now, "running");
}

/* A paused parent is taken up again, with a race that is decided as soon as it goes on: its node begins again and is
 * called off in one turn, before it has looked for the child it had. */
static void a_child_whose_node_only_just_begins_again_ends_with_it(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, race, "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	world_ask(w, id, SL_CMD_PAUSE_DRAIN, NULL, NULL);
	go(w, 1000);
	while (world_is_held(w, "y"))
		world_release(w, "y");
	go(w, 1000);
	expect_status(w, id, "paused");
	world_crash(w);
	go(w, 1000);
	expect_both(w, id, sub, "paused");
	world_ask(w, id, SL_CMD_RESUME, NULL, NULL);
	go(w, 5000);
	assert_string_equal(world_node_status(w, id, "sub"), "cancelled");
	expect_status(w, id, "running");
	expect_status(w, sub, "cancelled");
}

/* One that its parent has begun but not told of yet, or waits for again after a crash, is wanted. */
static void a_child_that_is_waited_for_goes_on_whatever_crashes(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, race, "{}");
	world_auto_commit(w, false);
	struct sl_run_id ids[2];
	while (world_runs(w, ids, 2) < 2) {
		while (sl_engine_step(world_engine(w))) {
		}
		world_commit_one(w);
	}
	struct sl_run_id sub = ids[0];
	assert_false(is_written(w, id, "subworkflow:started"));
	world_auto_commit(w, true);
	for (unsigned lives = 0; lives < 2; lives++) {
		world_crash(w);
		go(w, 5000);
		world_split(w, sub);
		go(w, 20000);
		expect_both(w, id, sub, "running");
	}
	while (world_is_held(w, "x"))
		world_release(w, "x");
	go(w, 5000);
	expect_status(w, sub, "succeeded");
	assert_string_equal(world_node_status(w, id, "sub"), "completed");
}

/* Orders, lost messages, servers that change and crash: 150 steps; `y`, if there is one, ends at any of them. */
static void play(struct world *w, uint64_t *s, struct sl_run_id id, struct sl_run_id sub)
{
	unsigned crashes = 0;
	world_auto_commit(w, false);
	for (unsigned step = 0; step < 150; step++) {
		unsigned what = rnd(s) % 34;
		if (what < 10)
			sl_engine_step(world_engine(w));
		else if (what < 18)
			world_zombies_step(w);
		else if (what < 25)
			world_commit_one(w);
		else if (what < 26)
			world_hold(w, rnd(s) % 3000);
		else if (what < 28)
			world_ask(w, id, rnd(s) % 2 ? SL_CMD_PAUSE_DRAIN : SL_CMD_PAUSE_NOW, NULL, NULL);
		else if (what < 30)
			world_ask(w, id, SL_CMD_RESUME, NULL, NULL);
		else if (what < 31)
			world_mute(w, rnd(s) % 2);
		else if (what < 32)
			world_pause_all(w, rnd(s) % 2);
		else if (what < 33)
			world_zombies_hear(w);
		else if (rnd(s) % 4 == 0 && world_is_held(w, "y"))
			world_release(w, "y");
		else if (crashes < SL_LIMIT_RECOVERIES - 1) {
			crashes++;
			if (rnd(s) % 3)
				world_split(w, rnd(s) % 2 ? id : sub);
			else
				world_crash(w);
		}
	}
	world_auto_commit(w, true);
	world_mute(w, false);
	world_pause_all(w, false);
	world_zombies_hear(w);
	world_zombies_lapse(w);
	go(w, 40000);
}

static uint64_t first_seed(void)
{
	return from_env("SLUICE_SIM_FROM", 1);
}

/* Whatever is ordered, lost, taken over and crashes when: in the end the child is as its parent is. */
static void parent_and_child_agree_in_the_end(void **state)
{
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 100);
	for (uint64_t seed = first_seed(); seed < first_seed() + rounds; seed++) {
		struct world *w = world_new(seed);
		uint64_t s = seed;
		struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":7}"), "{}");
		world_settle(w);
		struct sl_run_id sub = world_child(w, id);
		play(w, &s, id, sub);
		char status[16];
		(void)snprintf(status, sizeof(status), "%s", world_status(w, id));
		if (strcmp(world_status(w, sub), status) != 0)
			fail_msg("seed %llu: the parent is %s, its child %s", (unsigned long long)seed, status,
				 world_status(w, sub));
		world_ask(w, id, SL_CMD_RESUME, NULL, NULL);
		go(w, 5000);
		expect_both(w, id, sub, "running");
		if (seed % 2) {
			world_ask(w, id, SL_CMD_CANCEL, NULL, NULL);
			go(w, 20000);
			expect_both(w, id, sub, "cancelled");
		} else {
			while (world_is_held(w, "x"))
				world_release(w, "x");
			go(w, 10000);
			expect_both(w, id, sub, "succeeded");
		}
		world_free(w);
	}
}

/* The same of one that its parent may have to do without: it ends with its node, and goes on as long as that waits.
 * True: the parent does without it. */
static bool ends_as_its_node(uint64_t seed)
{
	struct world *w = world_new(seed);
	uint64_t s = seed;
	struct sl_run_id id = world_submit(w, race, "{}");
	world_settle(w);
	struct sl_run_id sub = world_child(w, id);
	play(w, &s, id, sub);
	world_ask(w, id, SL_CMD_RESUME, NULL, NULL);
	go(w, 40000);
	expect_status(w, id, "running");
	char node[16];
	(void)snprintf(node, sizeof(node), "%s", world_node_status(w, id, "sub"));
	if (strcmp(world_status(w, sub), node) != 0)
		fail_msg("seed %llu: the node is %s, its child %s", (unsigned long long)seed, node,
			 world_status(w, sub));
	while (world_is_held(w, "x"))
		world_release(w, "x");
	while (world_is_held(w, "z"))
		world_release(w, "z");
	go(w, 10000);
	while (world_is_held(w, "z"))
		world_release(w, "z");
	go(w, 10000);
	expect_status(w, id, "succeeded");
	expect_status(w, sub, strcmp(node, "running") == 0 ? "succeeded" : node);
	world_free(w);
	return strcmp(node, "cancelled") == 0;
}

static void a_child_is_as_its_node_is_in_the_end(void **state)
{
	/* Called off when it had begun again, and had not yet found the child it had. */
	static const uint64_t found[] = {901189};
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 100), left = 0;
	for (size_t i = 0; i < SL_COUNT_OF(found); i++)
		(void)ends_as_its_node(found[i]);
	for (uint64_t seed = first_seed(); seed < first_seed() + rounds; seed++)
		left += ends_as_its_node(seed);
	assert_true(rounds < 100 || (left > rounds / 10 && left < rounds * 9 / 10)); /* there were both */
}

static void there_is_one_child_whatever_crashes(void **state)
{
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 300);
	for (uint64_t seed = first_seed(); seed < first_seed() + rounds; seed++) {
		struct world *w = world_new(seed);
		uint64_t s = seed;
		struct sl_run_id id = world_submit(w, parent_of("\"workflow\":\"child\",\"inputs\":{\"n\":4}"), "{}");
		unsigned crashes = 0;
		world_auto_commit(w, false);
		for (unsigned step = 0; step < 120; step++) {
			unsigned what = rnd(&s) % 12;
			if (what < 6)
				sl_engine_step(world_engine(w));
			else if (what < 10)
				world_commit_one(w);
			else if (crashes < SL_LIMIT_RECOVERIES - 1 && rnd(&s) % 4 == 0) {
				world_crash(w);
				crashes++;
			}
		}
		world_auto_commit(w, true);
		world_advance(w, 10000);
		if (strcmp(world_status(w, id), "succeeded") != 0)
			fail_msg("seed %llu: %s", (unsigned long long)seed,
				 json_object_to_json_string(world_run(w, id)));
		assert_int_equal(sl_json_get_i64(sl_json_get(world_run(w, id), "outputs"), "v", 0), 8);
		struct sl_run_id sub = world_child(w, id);
		if (world_count(w, sub, "x", "completed") != 1)
			fail_msg("seed %llu: the child's node completed %u times", (unsigned long long)seed,
				 world_count(w, sub, "x", "completed"));
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(the_outputs_of_the_child_are_the_node_s),
		WORLD_TEST(what_is_wrong_with_a_child_is_said_by_its_node),
		WORLD_TEST(a_child_is_steered_with_its_parent),
		WORLD_TEST(a_pause_now_after_a_drain_reaches_the_child),
		WORLD_TEST(a_parent_undoes_only_its_own_pause_of_a_child),
		WORLD_TEST(a_child_does_not_outlive_its_parent),
		WORLD_TEST(a_parent_that_cannot_be_read_now_is_asked_for_again),
		cmocka_unit_test(a_child_does_not_go_on_under_a_parent_that_stands_still),
		cmocka_unit_test(the_end_of_a_pause_of_all_is_none_for_a_child_whose_parent_stands_still),
		WORLD_TEST(a_child_asks_for_a_parent_elsewhere_as_it_is_taken_up),
		WORLD_TEST(a_child_follows_a_parent_elsewhere_whatever_messages_are_lost),
		WORLD_TEST(a_parent_that_is_taken_up_tells_a_child_elsewhere_that_it_stands_still),
		WORLD_TEST(a_child_nobody_wants_does_not_go_on_because_its_cancel_was_lost),
		cmocka_unit_test(a_child_elsewhere_that_nobody_wants_does_not_go_on),
		WORLD_TEST(a_child_whose_node_is_at_rest_is_cancelled_with_it),
		cmocka_unit_test(a_child_whose_node_does_not_come_to_begin_again_ends_with_it),
		WORLD_TEST(a_child_at_rest_in_a_body_that_fails_is_cancelled),
		WORLD_TEST(a_child_whose_parent_has_another_one_does_not_go_on),
		WORLD_TEST(a_child_whose_node_only_just_begins_again_ends_with_it),
		WORLD_TEST(a_child_that_is_waited_for_goes_on_whatever_crashes),
		cmocka_unit_test(parent_and_child_agree_in_the_end),
		cmocka_unit_test(a_child_is_as_its_node_is_in_the_end),
		cmocka_unit_test(there_is_one_child_whatever_crashes),
	};
	return cmocka_run_group_tests(tests, library, NULL);
}
