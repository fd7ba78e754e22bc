/* The memory as a whole: over a real PostgreSQL, with vectors of the simulator, and with both of them failing. */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "llm/sim.h"
#include "tests/lib/memory.h"

static struct sl_memory_rig rig;

static const char bridge[] =
	"The bridge over the river is closed for repairs until late spring, the city council has decided.";
static const char wind[] =
	"Wind turbines in Denmark deliver more than half of the electric energy that the country needs.";
static const char bread[] =
	"Bread dough rises faster in a warm kitchen, because yeast is most active near thirty degrees.";

static struct json_object *found(struct sl_memory_search q)
{
	struct json_object *o = NULL;
	q.project = q.project.len ? q.project : SL_STR("p");
	q.timeout_ms = q.timeout_ms ? q.timeout_ms : 60000; /* these are not about time */
	assert_int_equal(sl_rig_search(&rig, &q, &o), SL_OK);
	return o;
}

static size_t count(struct json_object *o)
{
	return json_object_array_length(sl_json_get(o, "items"));
}

static struct json_object *at(struct json_object *o, size_t i)
{
	return json_object_array_get_idx(sl_json_get(o, "items"), i);
}

static bool has(struct json_object *o, const char *id)
{
	for (size_t i = 0; i < count(o); i++)
		if (strcmp(sl_json_get_z(at(o, i), "id"), id) == 0)
			return true;
	return false;
}

static const char *stored(const struct sl_memory_item *item, char id[SL_UUID_TEXT_BYTES])
{
	static char reason[40];
	SL_AUTO_JSON o = NULL;
	assert_int_equal(sl_rig_store(&rig, item, &o), SL_OK);
	snprintf(reason, sizeof(reason), "%s", sl_json_get_z(o, "reason") ? sl_json_get_z(o, "reason") : "");
	if (id)
		snprintf(id, SL_UUID_TEXT_BYTES, "%s", sl_json_get_z(o, "id") ? sl_json_get_z(o, "id") : "");
	return reason;
}

/* ---- the way in ---- */

static void the_filter_stands_before_working_memory(void **state)
{
	struct sl_memory_item item = {.project = SL_STR("p"), .tier = SL_MEMORY_WORKING, .confidence = 0.9};
	char id[SL_UUID_TEXT_BYTES];
	item.content = SL_STR("short");
	assert_string_equal(stored(&item, NULL), "too_short");
	item.content = sl_str(bridge);
	item.confidence = 0.5;
	assert_string_equal(stored(&item, NULL), "low_confidence");
	item.confidence = NAN;
	assert_string_equal(stored(&item, id), "");
	item.content = SL_STR(
		"The bridge over the river is closed for repairs until late spring, the city council has decided!!");
	assert_string_equal(stored(&item, NULL), "duplicate");
	item.project = SL_STR("other"); /* another project knows nothing of it */
	assert_string_equal(stored(&item, NULL), "");
	item = (struct sl_memory_item){.project = SL_STR("p"), .content = SL_STR("x"), .confidence = 0};
	assert_string_equal(stored(&item, NULL), ""); /* quarantine takes it */
	item.content = SL_STR(" \n ");
	assert_string_equal(stored(&item, NULL), "empty");
	static char large[SL_LIMIT_MEMORY_BYTES + 2];
	memset(large, 'a', sizeof(large) - 1);
	item.content = sl_str_n(large, sizeof(large) - 1);
	assert_int_equal(sl_rig_store(&rig, &item, NULL), SL_TOO_LARGE);
	item.content = sl_str_n("a\0b \xff text that a model sent in pieces", 38);
	assert_string_equal(stored(&item, NULL), ""); /* what PostgreSQL would refuse is mended */
}

static void the_same_call_again_stores_nothing(void **state)
{
	struct sl_memory_item item = {.project = SL_STR("p"),
				      .tier = SL_MEMORY_WORKING,
				      .content = sl_str(bridge),
				      .confidence = 1,
				      .once = SL_STR("run/node")};
	char first[SL_UUID_TEXT_BYTES], second[SL_UUID_TEXT_BYTES];
	assert_string_equal(stored(&item, first), "");
	assert_string_equal(stored(&item, second), "");
	assert_string_equal(first, second);
	item.once = SL_STR("run/other node");
	assert_string_equal(stored(&item, second), "duplicate");
	item.tier = SL_MEMORY_QUARANTINE;
	item.once = SL_STR("k");
	assert_string_equal(stored(&item, first), "");
	assert_string_equal(stored(&item, second), "");
	assert_string_equal(first, second);
	assert_int_equal(sl_pg_count(&rig.pg, "SELECT count(*) FROM memories"), 2);
}

static void capacity_and_time_bound_working_memory(void **state)
{
	char first[SL_UUID_TEXT_BYTES], id[SL_UUID_TEXT_BYTES];
	struct sl_memory_stats st = {0};
	sl_memory_rig_open(&rig, 3600, 2);
	sl_rig_put(&rig, SL_MEMORY_WORKING, bridge, first);
	sl_rig_put(&rig, SL_MEMORY_WORKING, wind, id);
	sl_rig_put(&rig, SL_MEMORY_WORKING, bread, id);
	SL_AUTO_JSON o = found((struct sl_memory_search){.max_results = 10});
	assert_int_equal(count(o), 2);
	assert_false(has(o, first));
	sl_memory_rig_clean(&rig);
	sl_memory_rig_open(&rig, 1, 50);
	sl_rig_put(&rig, SL_MEMORY_WORKING, wind, id);
	sl_rig_put(&rig, SL_MEMORY_WORKING, bread, id);
	/* the sweeper's one timer is the only thing that can bring these away */
	for (int i = 0; i < 10000 && st.expired < 2; i++) {
		usleep(1000);
		sl_memory_stats(rig.memory, &st);
	}
	assert_int_equal(st.expired, 2);
	assert_int_equal(sl_pg_count(&rig.pg, "SELECT count(*) FROM memories"), 0);
	sl_memory_rig_open(&rig, 3600, 50);
}

/* ---- search ---- */

static void text_alone_finds_without_any_model(void **state)
{
	char a[SL_UUID_TEXT_BYTES], b[SL_UUID_TEXT_BYTES], c[SL_UUID_TEXT_BYTES];
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, wind, a);
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, bridge, b);
	sl_rig_put(&rig, SL_MEMORY_WORKING, bread, c);
	SL_AUTO_JSON o = found((struct sl_memory_search){.query = SL_STR("When does the bridge repair end?"),
							 .relevance_threshold = 0.5});
	assert_int_equal(count(o), 1);
	assert_string_equal(sl_json_get_z(at(o, 0), "id"), b);
	assert_null(sl_json_get(o, "degraded"));
	assert_true(sl_json_get_f64(at(o, 0), "score", 0) >= 0.5);
	SL_AUTO_JSON typo =
		found((struct sl_memory_search){.query = SL_STR("turbnes in denmrk"), .relevance_threshold = 0.4});
	assert_true(has(typo, a));
	SL_AUTO_JSON newest = found((struct sl_memory_search){.max_results = 2});
	assert_int_equal(count(newest), 2);
	assert_string_equal(sl_json_get_z(at(newest, 0), "id"), c);
	SL_AUTO_JSON tier = found((struct sl_memory_search){.long_term = true, .max_results = 10});
	assert_false(has(tier, c));
	SL_AUTO_JSON other = found((struct sl_memory_search){.project = SL_STR("other"), .query = SL_STR("bridge")});
	assert_int_equal(count(other), 0);
}

static void vectors_come_when_a_profile_appears(void **state)
{
	char a[SL_UUID_TEXT_BYTES], b[SL_UUID_TEXT_BYTES];
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, wind, a);
	sl_rig_put(&rig, SL_MEMORY_QUARANTINE, bridge, b);
	assert_int_equal(sl_pg_count(&rig.pg, "SELECT count(*) FROM embeddings"), 0);
	sl_memory_rig_profile(&rig, "one", NULL);
	sl_memory_profiles_changed(rig.memory);
	sl_rig_wait_embedded(&rig, 1);
	SL_AUTO_JSON o = found((struct sl_memory_search){.query = SL_STR("wind turbines of Denmark")});
	assert_true(has(o, a));
	assert_non_null(strstr(sl_json_get_z(at(o, 0), "why"), "meaning #1"));
	assert_int_equal(sl_rig_promote(&rig, b, SL_MEMORY_LONG_TERM, "", NULL), SL_OK);
	sl_rig_wait_embedded(&rig, 2);
	SL_AUTO_JSON later = found((struct sl_memory_search){.query = SL_STR("closed bridge repairs")});
	assert_true(has(later, b));
	assert_non_null(strstr(sl_json_get_z(at(later, 0), "why"), "meaning"));
	/* another model: all of it again, and the first one's vectors are still there */
	sl_memory_rig_profile(&rig, "two", NULL);
	sl_memory_profiles_changed(rig.memory);
	sl_rig_wait_embedded(&rig, 4);
	assert_int_equal(sl_pg_count(&rig.pg, "SELECT count(*) FROM embeddings"), 4);
	SL_AUTO_JSON two = found((struct sl_memory_search){.query = SL_STR("closed bridge repairs")});
	assert_non_null(strstr(sl_json_get_z(at(two, 0), "why"), "meaning"));
	assert_null(sl_json_get(two, "degraded"));
}

static void a_query_is_embedded_once(void **state)
{
	char a[SL_UUID_TEXT_BYTES];
	struct sl_sim_stats before, after;
	sl_memory_rig_profile(&rig, "m", NULL);
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, wind, a);
	sl_rig_wait_embedded(&rig, 1);
	sl_sim_stats(rig.sim, &before);
	for (int i = 0; i < 5; i++) {
		SL_AUTO_JSON o = found((struct sl_memory_search){.query = SL_STR("how much wind power is there")});
		assert_true(has(o, a));
	}
	sl_sim_stats(rig.sim, &after);
	assert_int_equal(after.embeddings - before.embeddings, 1);
}

static void a_model_that_fails_leaves_text(void **state)
{
	char a[SL_UUID_TEXT_BYTES];
	sl_memory_rig_profile(&rig, "m", NULL);
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, wind, a);
	sl_rig_wait_embedded(&rig, 1);
	sl_memory_rig_profile(&rig, "m",
			      "http://127.0.0.1:1/v1"); /* nobody listens there; the same provider and model */
	SL_AUTO_JSON o = found((struct sl_memory_search){.query = SL_STR("wind turbines elsewhere")});
	assert_true(has(o, a));
	assert_string_equal(sl_json_get_z(o, "degraded"), "embedding_failed");
	assert_null(strstr(sl_json_get_z(at(o, 0), "why"), "meaning"));
	sl_memory_rig_profile(&rig, "m", NULL);
	SL_AUTO_JSON again = found((struct sl_memory_search){.query = SL_STR("wind turbines elsewhere")});
	assert_null(sl_json_get(again, "degraded")); /* a failure is not remembered */
}

static void a_model_that_is_silent_costs_a_search_three_seconds(void **state)
{
	char a[SL_UUID_TEXT_BYTES], url[64];
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* takes connections, and nobody answers */
	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 8) == 0 &&
		    getsockname(fd, (struct sockaddr *)&at, &len) == 0);
	rig.as_it_is = true;
	sl_memory_rig_open(&rig, 3600, 50);
	sl_memory_rig_profile(&rig, "m", NULL);
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, wind, a);
	sl_rig_wait_embedded(&rig, 1);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/v1", ntohs(at.sin_port));
	sl_memory_rig_profile(&rig, "m", url);
	uint64_t began = sl_clock_mono_ms();
	SL_AUTO_JSON o = found((struct sl_memory_search){.query = SL_STR("wind turbines in silence")});
	uint64_t took = sl_clock_mono_ms() - began;
	assert_in_range(took, 2900, 30000); /* three seconds; the search itself has sixty */
	assert_true(has(o, a));
	assert_string_equal(sl_json_get_z(o, "degraded"), "embedding_failed");
	close(fd);
	rig.as_it_is = false;
	sl_memory_rig_open(&rig, 3600, 50);
}

static void what_another_server_does_is_seen(void **state)
{
	char a[SL_UUID_TEXT_BYTES], b[SL_UUID_TEXT_BYTES];
	struct sl_error err = {0};
	struct sl_memory *mine = rig.memory, *others = NULL;
	const struct sl_memory_config config = {.store = rig.store, .llm = rig.llm};
	sl_memory_rig_profile(&rig, "m", NULL);
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, wind, a);
	sl_rig_wait_embedded(&rig, 1);
	SL_AUTO_JSON before =
		found((struct sl_memory_search){.query = SL_STR("wind turbines")}); /* loads the vectors here */
	assert_true(has(before, a));
	assert_int_equal(sl_memory_new(&config, &others, &err), SL_OK);
	rig.memory = others;
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, bridge, b);
	sl_rig_wait_embedded(&rig, 1);
	assert_int_equal(sl_rig_invalidate(&rig, a), SL_OK);
	rig.memory = mine;
	SL_AUTO_JSON o = found((struct sl_memory_search){.query = SL_STR("wind turbines and bridge repairs")});
	assert_false(has(o, a));
	assert_true(has(o, b));
	assert_non_null(strstr(sl_json_get_z(at(o, 0), "why"), "meaning #1"));
	sl_memory_free(others);
}

static void an_invalidated_memory_is_gone_at_once(void **state)
{
	char a[SL_UUID_TEXT_BYTES];
	sl_memory_rig_profile(&rig, "m", NULL);
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, wind, a);
	sl_rig_wait_embedded(&rig, 1);
	SL_AUTO_JSON before = found((struct sl_memory_search){.query = SL_STR("wind turbines")});
	assert_true(has(before, a));
	assert_int_equal(sl_rig_invalidate(&rig, a), SL_OK);
	SL_AUTO_JSON after = found((struct sl_memory_search){.query = SL_STR("wind turbines")});
	assert_int_equal(count(after), 0);
	assert_int_equal(sl_rig_invalidate(&rig, a), SL_OK); /* twice is once */
	assert_int_equal(sl_rig_promote(&rig, a, SL_MEMORY_LONG_TERM, "", NULL), SL_CONFLICT);
	assert_int_equal(sl_rig_invalidate(&rig, "01a2185c-0000-7000-8000-000000000000"), SL_NOT_FOUND);
	assert_int_equal(sl_rig_promote(&rig, "01a2185c-0000-7000-8000-000000000000", SL_MEMORY_WORKING, "", NULL),
			 SL_NOT_FOUND);
}

static void a_prompt_is_never_flooded(void **state)
{
	char id[SL_UUID_TEXT_BYTES];
	size_t seen = 0;
	static const char *const things[] = {"apples from the north", "barley of last autumn",
					     "copper out of old cables", "diesel for the ferries",
					     "engines without covers"};
	for (size_t i = 0; i < SL_COUNT_OF(things); i++) {
		char text[300];
		snprintf(text, sizeof(text),
			 "The harbour master counted %s, and wrote the number %zu into the great book.", things[i],
			 i * 7919);
		sl_rig_put(&rig, SL_MEMORY_LONG_TERM, text, id);
	}
	SL_AUTO_JSON o = found((struct sl_memory_search){.query = SL_STR("harbour master book"), .max_tokens = 50});
	assert_int_equal(count(o), 2);
	assert_true(sl_json_get_i64(o, "tokens", 1000) <= 50);
	assert_int_equal(sl_json_get_i64(o, "next_offset", 0), 2);
	SL_AUTO_JSON cut = found((struct sl_memory_search){.query = SL_STR("harbour master book"), .max_tokens = 10});
	assert_int_equal(count(cut), 1);
	assert_true(sl_json_get_bool(at(cut, 0), "truncated", false));
	assert_int_equal(strlen(sl_json_get_z(at(cut, 0), "content")), 40);
	/* pages join to the whole */
	struct sl_memory_search q = {.query = SL_STR("harbour master book"), .max_results = 2};
	char ids[400] = "";
	for (int page = 0; page < 5; page++) {
		SL_AUTO_JSON p = found(q);
		for (size_t i = 0; i < count(p); i++) {
			assert_null(strstr(ids, sl_json_get_z(at(p, i), "id")));
			strncat(ids, sl_json_get_z(at(p, i), "id"), sizeof(ids) - strlen(ids) - 1);
			seen++;
		}
		if (!sl_json_get(p, "next_offset"))
			break;
		q.offset = (uint32_t)sl_json_get_i64(p, "next_offset", 0);
	}
	assert_int_equal(seen, 5);
}

static void a_search_that_takes_too_long_ends(void **state)
{
	char id[SL_UUID_TEXT_BYTES];
	SL_AUTO_JSON none = NULL;
	sl_rig_put(&rig, SL_MEMORY_WORKING, bridge, id);
	PGconn *lock = PQconnectdb(rig.pg.url);
	PQclear(PQexec(lock, "BEGIN; LOCK TABLE memories_working IN ACCESS EXCLUSIVE MODE"));
	struct sl_memory_search q = {.project = SL_STR("p"), .query = SL_STR("bridge"), .timeout_ms = 50};
	assert_int_equal(sl_rig_search(&rig, &q, NULL), SL_TIMEOUT);
	q.on_timeout = SL_MEMORY_EMPTY;
	assert_int_equal(sl_rig_search(&rig, &q, &none), SL_OK);
	assert_int_equal(count(none), 0);
	assert_string_equal(sl_json_get_z(none, "degraded"), "timeout");
	q.on_timeout = SL_MEMORY_RECENT; /* the newest cannot be had either */
	SL_AUTO_JSON recent = NULL;
	assert_int_equal(sl_rig_search(&rig, &q, &recent), SL_OK);
	assert_int_equal(count(recent), 0);
	PQclear(PQexec(lock, "ROLLBACK"));
	PQfinish(lock);
	q.timeout_ms = 20000;
	SL_AUTO_JSON o = found(q);
	assert_true(has(o, id)); /* what came too late did no harm */
}

/* ---- promotion, digest ---- */

static void a_promotion_takes_its_twins_along(void **state)
{
	char a[SL_UUID_TEXT_BYTES], b[SL_UUID_TEXT_BYTES], c[SL_UUID_TEXT_BYTES], d[SL_UUID_TEXT_BYTES];
	SL_AUTO_JSON digest = NULL;
	SL_AUTO_JSON out = NULL;
	sl_rig_put(&rig, SL_MEMORY_QUARANTINE, bridge, a);
	sl_rig_put(&rig, SL_MEMORY_QUARANTINE, wind, b);
	sl_rig_put(&rig, SL_MEMORY_QUARANTINE,
		   "The bridge over the river is closed for repairs until late spring, as the council decided.", c);
	sl_rig_put(&rig, SL_MEMORY_QUARANTINE, bridge, d);
	assert_int_equal(sl_rig_digest(&rig, "p", &digest), SL_OK);
	assert_int_equal(sl_json_get_i64(digest, "memories", 0), 4);
	assert_int_equal(count(digest), 2);
	assert_int_equal(sl_json_get_i64(at(digest, 0), "count", 0), 3);
	char twins[200];
	struct json_object *ids = sl_json_get(at(digest, 0), "ids");
	assert_int_equal(json_object_array_length(ids), 3);
	const char *best = sl_json_get_z(at(digest, 0), "id");
	twins[0] = 0;
	for (size_t i = 0; i < 3; i++) {
		const char *one = json_object_get_string(json_object_array_get_idx(ids, i));
		if (strcmp(one, best) != 0)
			snprintf(twins + strlen(twins), sizeof(twins) - strlen(twins), "%s%s", twins[0] ? "," : "",
				 one);
	}
	assert_int_equal(sl_rig_promote(&rig, best, SL_MEMORY_LONG_TERM, twins, &out), SL_OK);
	assert_true(sl_json_get_bool(out, "moved", false));
	SL_AUTO_JSON rest = NULL;
	assert_int_equal(sl_rig_digest(&rig, "p", &rest), SL_OK);
	assert_int_equal(count(rest), 1);
	assert_string_equal(sl_json_get_z(at(rest, 0), "id"), b);
	SL_AUTO_JSON o = found((struct sl_memory_search){.query = SL_STR("bridge repairs"), .max_results = 10});
	assert_int_equal(count(o), 1);
	assert_true(sl_json_get_bool(at(o, 0), "verified", false));
	SL_AUTO_JSON working = NULL;
	assert_int_equal(sl_rig_promote(&rig, b, SL_MEMORY_WORKING, "", &working), SL_OK);
	assert_string_equal(sl_json_get_z(working, "tier"), "working");
}

static void long_texts_are_found_by_each_of_their_pieces(void **state)
{
	static char text[12000];
	static const char *const subjects[] = {"volcanoes",  "violins",    "glaciers",
					       "harvesters", "submarines", "tapestries"};
	char id[SL_UUID_TEXT_BYTES], other[SL_UUID_TEXT_BYTES];
	size_t n = 0;
	for (size_t i = 0; i < SL_COUNT_OF(subjects); i++)
		for (int k = 0; k < 12; k++)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
					      "Sentence %d says something about %s in a few words. ", k, subjects[i]);
	sl_memory_rig_profile(&rig, "m", NULL);
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, text, id);
	sl_rig_put(&rig, SL_MEMORY_LONG_TERM, bread, other);
	long pieces = sl_pg_count(&rig.pg, "SELECT count(*) FROM memory_chunks");
	assert_true(pieces > 7);
	sl_rig_wait_embedded(&rig, (uint64_t)pieces);
	for (size_t i = 0; i < SL_COUNT_OF(subjects); i++) {
		char query[60];
		snprintf(query, sizeof(query), "something about %s", subjects[i]);
		SL_AUTO_JSON o = found((struct sl_memory_search){.query = sl_str(query), .long_term = true});
		assert_string_equal(sl_json_get_z(at(o, 0), "id"), id);
		assert_non_null(strstr(sl_json_get_z(at(o, 0), "why"), "meaning #1"));
	}
}

/* ---- many at once ---- */

static _Atomic int running, wrong;

static void on_crowd(void *arg, enum sl_code rc, const struct sl_error *err, struct sl_bytes *json)
{
	/* SL_CONFLICT: an invalidation overtook the promotion */
	if (rc != SL_OK && rc != SL_CANCELLED && rc != SL_BUSY && rc != SL_CONFLICT)
		atomic_store(&wrong, rc);
	atomic_fetch_sub(&running, 1);
}

static void searches_and_moves_run_side_by_side(void **state)
{
	char ids[8][SL_UUID_TEXT_BYTES];
	sl_memory_rig_profile(&rig, "m", NULL);
	for (int i = 0; i < 8; i++) {
		char text[200];
		snprintf(text, sizeof(text),
			 "Side by side number %d: a memory about the %d most beautiful lakes of the country.", i,
			 i * 13 + 5);
		sl_rig_put(&rig, SL_MEMORY_QUARANTINE, text, ids[i]);
	}
	for (int round = 0; round < 60; round++) {
		char query[64];
		snprintf(query, sizeof(query), "beautiful lakes %d", round % 7);
		const struct sl_memory_search q = {.project = SL_STR("p"), .query = sl_str(query), .max_results = 10};
		struct sl_uuid id;
		sl_uuid_parse(sl_str(ids[round % 8]), &id);
		for (int k = 0; k < 3; k++) {
			atomic_fetch_add(&running, 1);
			if (sl_memory_search(rig.memory, &q, on_crowd, NULL) != SL_OK)
				atomic_fetch_sub(&running, 1);
		}
		if (round < 8) {
			atomic_fetch_add(&running, 1);
			if (sl_memory_promote(rig.memory, id, SL_MEMORY_LONG_TERM, SL_STR(""), SL_STR(""), SL_STR(""),
					      on_crowd, NULL) != SL_OK)
				atomic_fetch_sub(&running, 1);
		} else if (round >= 40 && round < 44) {
			atomic_fetch_add(&running, 1);
			if (sl_memory_invalidate(rig.memory, id, SL_STR(""), SL_STR(""), on_crowd, NULL) != SL_OK)
				atomic_fetch_sub(&running, 1);
		}
		usleep(1000);
	}
	/* closing in the middle: everything that was owed comes */
	sl_memory_rig_open(&rig, 3600, 50);
	assert_int_equal(atomic_load(&running), 0);
	assert_int_equal(atomic_load(&wrong), 0);
}

static int group_setup(void **state)
{
	sl_memory_rig_start(&rig);
	return 0;
}

static int group_teardown(void **state)
{
	sl_memory_rig_stop(&rig);
	return 0;
}

static int clean(void **state)
{
	sl_memory_free(rig.memory);
	rig.memory = NULL;
	sl_memory_rig_no_profile(&rig);
	sl_memory_rig_clean(&rig);
	sl_memory_rig_open(&rig, 3600, 50);
	return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, clean)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_filter_stands_before_working_memory),
		TEST(the_same_call_again_stores_nothing),
		TEST(capacity_and_time_bound_working_memory),
		TEST(text_alone_finds_without_any_model),
		TEST(vectors_come_when_a_profile_appears),
		TEST(a_query_is_embedded_once),
		TEST(a_model_that_fails_leaves_text),
		TEST(a_model_that_is_silent_costs_a_search_three_seconds),
		TEST(what_another_server_does_is_seen),
		TEST(an_invalidated_memory_is_gone_at_once),
		TEST(a_prompt_is_never_flooded),
		TEST(a_search_that_takes_too_long_ends),
		TEST(a_promotion_takes_its_twins_along),
		TEST(long_texts_are_found_by_each_of_their_pieces),
		TEST(searches_and_moves_run_side_by_side),
	};
	return cmocka_run_group_tests_name("memory", tests, group_setup, group_teardown);
}
