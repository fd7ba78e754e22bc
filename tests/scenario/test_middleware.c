/* The contract of engine/middleware.h, with a middleware of the test's own: delays that are asked again, refusals that
 * are failed attempts, ways, streams that are watched, trips that lock the run. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/graph.h"
#include "tests/lib/world.h"

static struct {
	unsigned enters, leaves, passes_after; /* enter delays until it was asked so often */
	unsigned refusals;                     /* enter refuses so often */
	uint32_t candidates;                   /* failed goes to the next one while there are any */
	uint64_t recheck_ms;                   /* 0: a waker is kept instead */
	struct sl_waker *waker;
	enum sl_code left_with;
	const char *trip_on; /* a piece of text that trips */
	bool trip_in_leave;
	uint32_t last_candidate;
	struct sl_str answer;
} m;

static bool probe_applies(const struct sl_node_def *def)
{
	return strcmp(def->type->name, "fake") == 0;
}

static enum sl_verdict probe_enter(struct sl_exec *x, struct sl_error *err)
{
	m.enters++;
	m.last_candidate = sl_exec_route(x)->candidate;
	if (m.refusals) {
		m.refusals--;
		(void)sl_fail(err, SL_BREAKER_OPEN, "not now");
		return SL_REFUSE;
	}
	if (m.enters < m.passes_after) {
		sl_exec_reason(x, "waits for the test");
		if (m.recheck_ms)
			sl_exec_recheck_ms(x, m.recheck_ms);
		else if (!m.waker)
			m.waker = sl_exec_waker(x);
		return SL_DELAY;
	}
	return SL_PASS;
}

static void probe_leave(struct sl_exec *x, const struct sl_outcome *o)
{
	m.leaves++;
	m.left_with = o->code;
	if (m.trip_in_leave && o->code == SL_OK) {
		const struct sl_trip trip = {
			.reason = "LOOP_DETECTED", .message = "again and again", .measured = 3, .limit = 2};
		m.trip_in_leave = false;
		sl_exec_trip(x, &trip);
	}
}

static enum sl_again probe_failed(struct sl_exec *x, const struct sl_outcome *o, uint64_t *delay_ms)
{
	struct sl_node_route *route = sl_exec_route(x);
	if (route->candidate + 1 >= m.candidates)
		return SL_AGAIN_NO;
	route->candidate++;
	*delay_ms = 0;
	return SL_AGAIN_AFTER;
}

static enum sl_code probe_see(struct sl_watch *w, enum sl_stream_kind kind, struct sl_str piece, struct sl_trip *trip)
{
	if (!m.trip_on || !memmem(piece.p, piece.len, m.trip_on, strlen(m.trip_on)))
		return SL_OK;
	*trip = (struct sl_trip){.reason = "TOKEN_SURGE", .message = "too much", .measured = 9, .limit = 3};
	return SL_TRIPPED;
}

static void probe_free(struct sl_watch *w)
{
	free(w);
}

static struct sl_watch *probe_watch(struct sl_exec *x)
{
	struct sl_watch *w = calloc(1, sizeof(*w));
	w->see = probe_see;
	w->free = probe_free;
	return w;
}

static const struct sl_middleware probe = {
	.name = "probe",
	.slot = SL_SLOT_RATE_LIMITER,
	.applies = probe_applies,
	.enter = probe_enter,
	.leave = probe_leave,
	.failed = probe_failed,
	.watch = probe_watch,
};

static int setup(void **state)
{
	sl_expect_aborts = true;
	memset(&m, 0, sizeof(m));
	world_middleware(&probe);
	*state = world_new(3);
	return 0;
}

static int teardown(void **state)
{
	sl_waker_unref(m.waker);
	m.waker = NULL;
	world_free(*state);
	world_middleware(NULL);
	return 0;
}

static const char one[] =
	"{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"retry\":{\"max\":0},"
	"\"params\":{\"answer\":1,\"text\":\"some words\"}},{\"id\":\"b\",\"type\":\"template\",\"params\":{"
	"\"text\":\"after\"}}],\"edges\":[{\"from\":\"a\",\"to\":\"b\"}]}";

static struct json_object *node_of(struct world *w, struct sl_run_id id, const char *path)
{
	struct json_object *nodes = sl_json_get(world_run(w, id), "nodes");
	for (size_t i = 0; i < json_object_array_length(nodes); i++)
		if (strcmp(sl_json_get_z(json_object_array_get_idx(nodes, i), "path"), path) == 0)
			return json_object_array_get_idx(nodes, i);
	return NULL;
}

static void a_delay_is_asked_again_when_its_time_has_come(void **state)
{
	struct world *w = *state;
	m.passes_after = 3;
	m.recheck_ms = 100;
	struct sl_run_id id = world_submit(w, one, "{}");
	world_settle(w);
	assert_int_equal(m.enters, 1);
	assert_string_equal(world_node_status(w, id, "a"), "pending");
	assert_string_equal(sl_json_get_z(node_of(w, id, "a"), "reason"), "waits for the test");
	world_advance(w, 100);
	assert_int_equal(m.enters, 2);
	assert_int_equal(world_count(w, id, "a", "pending"), 1); /* the same reason is told once */
	world_advance(w, 100);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(m.enters, 3);
	assert_int_equal(m.leaves, 1); /* one attempt, however often it was asked */
}

static void a_delay_can_be_woken_and_not_after_its_end(void **state)
{
	struct world *w = *state;
	m.passes_after = 2;
	struct sl_run_id id = world_submit(w, one, "{}");
	world_settle(w);
	world_advance(w, 100000);
	assert_int_equal(m.enters, 1);
	sl_waker_wake(m.waker);
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	sl_waker_wake(m.waker);
	world_settle(w);
	assert_int_equal(m.enters, 2);
}

static void a_delay_that_is_called_off_is_left(void **state)
{
	struct world *w = *state;
	m.passes_after = 2;
	struct sl_run_id id = world_submit(w, one, "{}");
	world_settle(w);
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	assert_int_equal(m.leaves, 1);
	assert_int_equal(m.left_with, SL_CANCELLED);
	assert_string_equal(world_node_status(w, id, "a"), "cancelled");
	sl_waker_wake(m.waker); /* nobody there */
	world_settle(w);
}

static void a_paused_run_does_not_start_what_was_delayed(void **state)
{
	struct world *w = *state;
	m.passes_after = 2;
	m.recheck_ms = 100;
	struct sl_run_id id = world_submit(w, one, "{}");
	world_settle(w);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	world_advance(w, 1000);
	assert_int_equal(world_calls(w, "a"), 0);
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(world_calls(w, "a"), 1);
}

static void a_refusal_inside_is_a_failed_attempt(void **state)
{
	struct world *w = *state;
	m.refusals = 2;
	m.candidates = 3;
	struct sl_run_id id = world_submit(w, one, "{}");
	world_settle(w);
	world_advance(w, 50);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(m.last_candidate, 2);
	assert_int_equal(world_calls(w, "a"), 1);
	assert_int_equal(m.leaves, 1);
	m = (typeof(m)){.refusals = 2, .candidates = 2};
	id = world_submit(w, one, "{}");
	world_settle(w);
	world_advance(w, 50);
	assert_string_equal(world_status(w, id), "failed");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), "breaker_open");
}

static void a_trip_in_a_stream_locks_the_run_until_somebody_unlocks_it(void **state)
{
	struct world *w = *state;
	m.trip_on = "words";
	struct sl_run_id id = world_submit(w, one, "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "locked");
	assert_string_equal(world_node_status(w, id, "a"), "pending");
	assert_int_equal(m.left_with, SL_CANCELLED);
	const struct sl_record *r;
	size_t n = world_records(w, id, &r);
	assert_string_equal(r[n - 1].event, "circuit_breaker:tripped");
	SL_AUTO_JSON tripped = NULL;
	assert_int_equal(sl_json_parse(sl_bytes_str(r[n - 1].data), &tripped, NULL), SL_OK);
	assert_string_equal(sl_json_get_z(tripped, "reason"), "TOKEN_SURGE");
	assert_string_equal(sl_json_get_z(tripped, "node_id"), "a");
	assert_int_equal(sl_json_get_i64(tripped, "measured", 0), 9);
	world_crash(w);
	world_settle(w);
	assert_string_equal(world_status(w, id), "locked");
	assert_int_equal(world_calls(w, "a"), 1);
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_CONFLICT);
	assert_int_equal(world_order(w, id, SL_CMD_UNLOCK, NULL, "{}"), SL_INVALID);
	assert_int_equal(world_order(w, id, SL_CMD_UNLOCK, NULL, "{\"confirmations\":[true,true,false]}"), SL_INVALID);
	m.trip_on = NULL;
	assert_int_equal(world_order(w, id, SL_CMD_UNLOCK, NULL, "{\"justification\":\"it is a poem\"}"), SL_OK);
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(world_calls(w, "a"), 2);
	assert_int_equal(world_order(w, id, SL_CMD_UNLOCK, NULL, "{\"justification\":\"again\"}"), SL_CONFLICT);
}

static void a_trip_at_the_end_of_an_attempt_keeps_what_ended(void **state)
{
	struct world *w = *state;
	m.trip_in_leave = true;
	struct sl_run_id id = world_submit(w, one, "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "locked");
	assert_string_equal(world_node_status(w, id, "a"), "completed");
	assert_string_equal(world_node_status(w, id, "b"), "pending");
	assert_int_equal(world_order(w, id, SL_CMD_UNLOCK, NULL, "{\"confirmations\":[true,true,true]}"), SL_OK);
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(world_calls(w, "a"), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_delay_is_asked_again_when_its_time_has_come),
		T(a_delay_can_be_woken_and_not_after_its_end),
		T(a_delay_that_is_called_off_is_left),
		T(a_paused_run_does_not_start_what_was_delayed),
		T(a_refusal_inside_is_a_failed_attempt),
		T(a_trip_in_a_stream_locks_the_run_until_somebody_unlocks_it),
		T(a_trip_at_the_end_of_an_attempt_keeps_what_ended),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
