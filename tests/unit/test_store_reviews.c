/* Reviews that wait for a person, against a real PostgreSQL. */
#include "tests/lib/store_world.h"

#include <stdio.h>
#include <string.h>

#include "store/overview.h"

#define RUN(id, more)                                                                                                  \
	"INSERT INTO runs (id, created_at, epoch, last_seq, version, priority, status, workflow, project, owner, "     \
	"done, "                                                                                                       \
	"reason, cost_microusd) VALUES ('" id "', now(), 1, 1, 1, 0, " more ");"
#define A "01000000-0000-7000-8000-000000000001"
#define B "01000000-0000-7000-8000-000000000002"
#define C "01000000-0000-7000-8000-000000000003"

#define EVENT(id, seq, event, node)                                                                                    \
	"INSERT INTO run_events (run_id, at, seq, epoch, event, data) VALUES ('" id "', now(), " seq ", 1, '" event    \
	"', '{\"node_id\":\"" node "\",\"draft\":{\"a\":1},\"allow_skip\":true,\"deadline_at\":null}');"

static void open_reviews_are_those_without_an_end_in_unfinished_runs(void **state)
{
	sl_pg_exec(&pg, RUN(A, "'waiting', 'wf', 'kitchen', NULL, false, NULL, 0")
				RUN(B, "'succeeded', 'wf', 'kitchen', NULL, true, NULL, 0")
					RUN(C, "'waiting', 'wf2', 'garden', NULL, false, NULL, 0"));
	sl_pg_exec(&pg, EVENT(A, "1", "human_review:requested", "r#1/x") EVENT(A, "2", "human_review:resolved", "r#1/x")
				EVENT(A, "3", "human_review:requested", "r#2/x")
					EVENT(A, "4", "human_review:requested", "other")
						EVENT(B, "1", "human_review:requested", "r")
							EVENT(C, "1", "human_review:requested", "r"));
	assert_int_equal(ASK(sl_store_reviews(s, SL_STR(""), SL_STR(""), 2, on_json, NULL)), SL_OK);
	SL_AUTO_JSON page = json();
	struct json_object *items = sl_json_get(page, "items"), *one = json_object_array_get_idx(items, 0);
	assert_int_equal(json_object_array_length(items), 2);
	assert_string_equal(sl_json_get_z(one, "run_id"), A);
	assert_string_equal(sl_json_get_z(one, "node"), "r#2/x");
	assert_string_equal(sl_json_get_z(one, "workflow"), "wf");
	assert_int_equal(sl_json_get_i64(sl_json_get(one, "draft"), "a", 0), 1);
	assert_true(sl_json_get_bool(one, "allow_skip", false));
	assert_string_equal(sl_json_get_z(json_object_array_get_idx(items, 1), "node"), "other");
	assert_int_equal(ASK(sl_store_reviews(s, SL_STR(""), sl_json_get_str(page, "next_cursor"), 2, on_json, NULL)),
			 SL_OK);
	SL_AUTO_JSON rest = json();
	items = sl_json_get(rest, "items");
	assert_int_equal(json_object_array_length(items), 1);
	assert_string_equal(sl_json_get_z(json_object_array_get_idx(items, 0), "run_id"), C);
	assert_null(sl_json_get(rest, "next_cursor"));
	assert_int_equal(ASK(sl_store_reviews(s, SL_STR("garden"), SL_STR(""), 0, on_json, NULL)), SL_OK);
	SL_AUTO_JSON garden = json();
	assert_int_equal(json_object_array_length(sl_json_get(garden, "items")), 1);
	assert_int_equal(sl_store_reviews(s, SL_STR(""), SL_STR("zz"), 2, on_json, NULL), SL_BAD_REQUEST);
}

#define EVENT_AT(id, at, seq, event, data)                                                                             \
	"INSERT INTO run_events (run_id, at, seq, epoch, event, data) VALUES ('" id "', '" at "', " seq ", 1, '" event \
	"', '" data "');"
#define ENDED(seq, node, status)                                                                                       \
	EVENT_AT(A, "2026-01-01 00:00:09Z", seq, "node_state_change",                                                  \
		 "{\"node_id\":\"" node "\",\"status\":\"" status "\"}")
#define ASKED(id, at, seq, node) EVENT_AT(id, at, seq, "human_review:requested", "{\"node_id\":\"" node "\"}")

/* The nodes of a page, as "a b c"; the next cursor goes into `cursor`. */
static void reviews_are(char *cursor, size_t bytes, uint32_t limit, const char *nodes)
{
	char text[200] = "";
	assert_int_equal(ASK(sl_store_reviews(s, SL_STR(""), sl_str(cursor), limit, on_json, NULL)), SL_OK);
	SL_AUTO_JSON page = json();
	struct json_object *items = sl_json_get(page, "items");
	for (size_t i = 0; i < json_object_array_length(items); i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "",
			       sl_json_get_z(json_object_array_get_idx(items, i), "node"));
	assert_string_equal(text, nodes);
	(void)snprintf(cursor, bytes, SL_STR_FMT, SL_STR_ARG(sl_json_get_str(page, "next_cursor")));
}

static void a_review_that_was_called_off_does_not_wait(void **state)
{
	char cursor[256] = "";
	sl_pg_exec(&pg, RUN(A, "'waiting', 'wf', 'kitchen', NULL, false, NULL, 0"));
	sl_pg_exec(&pg,
		   ASKED(A, "2026-01-01 00:00:01Z", "1", "cancelled") ASKED(A, "2026-01-01 00:00:01Z", "2", "failed")
			   ASKED(A, "2026-01-01 00:00:01Z", "3", "skipped")
				   ASKED(A, "2026-01-01 00:00:01Z", "4", "completed")
					   ASKED(A, "2026-01-01 00:00:01Z", "5", "again")
						   ASKED(A, "2026-01-01 00:00:01Z", "6", "paused")
							   ASKED(A, "2026-01-01 00:00:01Z", "7", "waits"));
	reviews_are(cursor, sizeof(cursor), 50, "cancelled failed skipped completed again paused waits");
	sl_pg_exec(&pg, ENDED("11", "cancelled", "cancelled") ENDED("12", "failed", "failed")
				ENDED("13", "skipped", "skipped") ENDED("14", "completed", "completed")
					ENDED("15", "again", "retrying") ENDED("16", "paused", "pending")
						ENDED("17", "waits", "waiting") ENDED("18", "other", "cancelled"));
	reviews_are(cursor, sizeof(cursor), 50, "again paused waits");
}

static void who_has_waited_longest_for_a_person_comes_first(void **state)
{
	char cursor[256] = "", old[200] = "";
	sl_pg_exec(&pg, RUN(A, "'waiting', 'wf', 'kitchen', NULL, false, NULL, 0")
				RUN(B, "'waiting', 'wf', 'kitchen', NULL, false, NULL, 0")
					RUN(C, "'waiting', 'wf', 'kitchen', NULL, false, NULL, 0"));
	sl_pg_exec(&pg, ASKED(A, "2026-01-01 00:00:03Z", "1", "third") ASKED(A, "2026-01-01 00:00:05Z", "2", "sixth")
				ASKED(B, "2026-01-01 00:00:04.000001Z", "1", "fourth")
					ASKED(B, "2026-01-01 00:00:04.000002Z", "2", "fifth")
						ASKED(C, "2026-01-01 00:00:01Z", "1", "first")
							ASKED(C, "2026-01-01 00:00:01Z", "2", "second"));
	reviews_are(cursor, sizeof(cursor), 1, "first");
	reviews_are(cursor, sizeof(cursor), 2, "second third");
	reviews_are(cursor, sizeof(cursor), 1, "fourth");
	/* whoever is asked while somebody turns the pages is found further on */
	sl_pg_exec(&pg, ASKED(A, "2026-01-01 00:00:09Z", "3", "last"));
	reviews_are(cursor, sizeof(cursor), 2, "fifth sixth");
	reviews_are(cursor, sizeof(cursor), 2, "last");
	assert_string_equal(cursor, "");
	for (const char *c = A ":1"; *c; c++) /* a page of a server that sorted by run */
		(void)snprintf(old + strlen(old), sizeof(old) - strlen(old), "%02x", (unsigned char)*c);
	assert_int_equal(sl_store_reviews(s, SL_STR(""), sl_str(old), 2, on_json, NULL), SL_BAD_REQUEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(open_reviews_are_those_without_an_end_in_unfinished_runs),
		STORE_TEST(a_review_that_was_called_off_does_not_wait),
		STORE_TEST(who_has_waited_longest_for_a_person_comes_first),
	};
	return cmocka_run_group_tests_name("store/reviews", tests, store_world_open, store_world_close);
}
