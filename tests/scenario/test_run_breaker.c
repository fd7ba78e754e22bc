/* What puts a stop to a run that goes wrong: circles, surges, too long a time; and the person who lets it go on. */
#include "tests/lib/test.h"

#include "tests/lib/limited.h"

static const char *trip_of(struct limited *f, struct sl_run_id id)
{
	static char why[64];
	const struct sl_record *r;
	size_t n = world_records(f->w, id, &r);
	why[0] = 0;
	for (size_t i = 0; i < n; i++) {
		SL_AUTO_JSON data = NULL;
		if (strcmp(r[i].event, "circuit_breaker:tripped") == 0 && r[i].data &&
		    sl_json_parse(sl_bytes_str(r[i].data), &data, NULL) == SL_OK)
			snprintf(why, sizeof(why), "%s", sl_json_get_z(data, "reason"));
	}
	return why;
}

static void a_stream_that_goes_in_circles_is_cut_within_two_windows(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = ask(f, "\"profile\":\"main\",\"hold\":true");
	unsigned said = 0;
	world_settle(f->w);
	enum sl_code rc = world_say(f->w, "a", "Let me think about this. ");
	while (rc == SL_OK && said < 2 * 256 / 4)
		rc = world_say(f->w, "a", "I should look again "), said++;
	assert_int_equal(rc, SL_TRIPPED);
	assert_in_range(said * 4, 256, 2 * 256);
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "locked");
	assert_string_equal(trip_of(f, id), "LOOP_DETECTED");
	/* a person lets it go on: the call is made again */
	assert_int_equal(world_order(f->w, id, SL_CMD_UNLOCK, NULL, "{\"justification\":\"it is a mantra\"}"), SL_OK);
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 2);
	assert_int_equal(world_say(f->w, "a", "A sentence."), SL_OK);
	world_release(f->w, "a");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "succeeded");
}

static void more_than_three_times_the_estimate_is_cut(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = ask(f, "\"profile\":\"main\",\"max_tokens\":300,\"hold\":true");
	uint32_t x = 7;
	unsigned bytes = 0;
	enum sl_code rc = SL_OK;
	world_settle(f->w);
	while (rc == SL_OK && bytes < 20000) {
		char word[16];
		x = x * 1664525u + 1013904223u;
		bytes += (unsigned)snprintf(word, sizeof(word), "%c%c%c ", 'a' + (x >> 8) % 26, 'a' + (x >> 16) % 26,
					    'a' + (x >> 24) % 26);
		rc = world_say(f->w, "a", word);
	}
	assert_int_equal(rc, SL_TRIPPED);
	assert_in_range(bytes, 3600, 3700);
	world_settle(f->w);
	assert_string_equal(trip_of(f, id), "TOKEN_SURGE");
}

static void a_run_that_takes_too_long_is_locked_and_may_go_on_as_long_again(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = world_submit(
		f->w,
		"{\"sluice\":1,\"name\":\"n\",\"limits\":{\"timeout_s\":100000,\"breaker\":{\"run_s\":100}},\"nodes\":["
		"{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"prompt\":\"p\",\"profile\":\"main\",\"hold\":true}},"
		"{\"id\":\"b\",\"type\":\"fake\",\"params\":{\"prompt\":\"p\",\"profile\":\"main\",\"hold\":true}},"
		"{\"id\":\"c\",\"type\":\"fake\",\"params\":{\"prompt\":\"p\",\"profile\":\"main\",\"text\":\"end\"}}],"
		"\"edges\":[{\"from\":\"a\",\"to\":\"b\"},{\"from\":\"b\",\"to\":\"c\"}]}",
		"{}");
	world_settle(f->w);
	world_advance(f->w, 101000);
	world_release(f->w, "a");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "locked");
	assert_string_equal(trip_of(f, id), "TIMEOUT");
	assert_string_equal(world_node_status(f->w, id, "a"), "completed");
	assert_int_equal(world_order(f->w, id, SL_CMD_UNLOCK, NULL, "{\"justification\":\"long document\"}"), SL_OK);
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "running");
	assert_int_equal(world_say(f->w, "b", "still at work"), SL_OK);
	world_advance(f->w, 99000); /* as long again */
	assert_int_equal(world_say(f->w, "b", "still at work"), SL_OK);
	world_advance(f->w, 3000);
	assert_int_equal(world_say(f->w, "b", "still at work"), SL_TRIPPED);
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "locked");
	assert_int_equal(world_order(f->w, id, SL_CMD_UNLOCK, NULL, "{\"justification\":\"once more\"}"), SL_OK);
	world_settle(f->w);
	assert_true(world_is_held(f->w, "b"));
	world_release(f->w, "b");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "succeeded");
	assert_int_equal(events(f->w, id, "circuit_breaker:tripped"), 2);
}

#define ROUNDS(limits, text)                                                                                           \
	"{\"sluice\":1,\"name\":\"n\",\"limits\":{" limits                                                             \
	"},\"nodes\":[{\"id\":\"refine\",\"type\":\"loop\",\"params\":{"                                               \
	"\"max_rounds\":5,\"body\":{\"nodes\":[{\"id\":\"judge\",\"type\":\"fake\",\"params\":{\"prompt\":\"p\","      \
	"\"profile\":\"main\",\"text\":\"" text "\",\"output_tokens\":5}}],\"edges\":[]}}}],\"edges\":[]}"

static void three_rounds_with_the_same_output_lock_the_run(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = world_submit(
		f->w, ROUNDS("", "The draft is fine as it is, but the third paragraph could be clearer."), "{}");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "locked");
	assert_string_equal(trip_of(f, id), "LOOP_DETECTED");
	assert_string_equal(world_node_status(f->w, id, "refine#3/judge"), "completed");
	assert_int_equal(world_calls(f->w, "refine#4/judge"), 0);
	assert_int_equal(world_order(f->w, id, SL_CMD_UNLOCK, NULL, "{\"confirmations\":[true,true,true]}"), SL_OK);
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "succeeded"); /* two more are no third */
}

static void outputs_that_differ_or_are_short_do_not(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = world_submit(f->w, ROUNDS("", "no"), "{}");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "succeeded");
	id = world_submit(f->w, ROUNDS("\"breaker\":false", "The draft is fine as it is, and this is said five times."),
			  "{}");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "succeeded");
	/* the items of a map may be alike */
	id = world_submit(f->w,
			  "{\"sluice\":1,\"name\":\"n\",\"nodes\":[{\"id\":\"each\",\"type\":\"map\",\"params\":{"
			  "\"items\":[1,2,3,4,5],"
			  "\"body\":{\"nodes\":[{\"id\":\"ask\",\"type\":\"fake\",\"params\":{\"prompt\":\"p\","
			  "\"profile\":\"main\","
			  "\"text\":\"Nothing of note was found in this one.\"}}],\"edges\":[]}}}],\"edges\":[]}",
			  "{}");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "succeeded");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIMITED_TEST(a_stream_that_goes_in_circles_is_cut_within_two_windows),
		LIMITED_TEST(more_than_three_times_the_estimate_is_cut),
		LIMITED_TEST(a_run_that_takes_too_long_is_locked_and_may_go_on_as_long_again),
		LIMITED_TEST(three_rounds_with_the_same_output_lock_the_run),
		LIMITED_TEST(outputs_that_differ_or_are_short_do_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
