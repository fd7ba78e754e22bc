/* Large texts of the journal in pieces, against a real PostgreSQL: what goes in comes out, what is the same is kept
 * once, and a piece that is not what was written is never read as if it were. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "store/cdc.h"
#include "store/journal_priv.h"
#include "store/runs.h"
#include "tests/lib/pg.h"

static struct sl_pg pg;

/* What the store's thread tells the test. */
static struct {
	pthread_mutex_t m;
	pthread_cond_t changed;
	int done, ok, stale, other, calls;
	enum sl_code rc;
	struct sl_stored_run **runs, *run;
	size_t n_runs;
	struct sl_bytes *json;
} seen = {.m = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void on_done(struct sl_batch *b, enum sl_code rc)
{
	sl_batch_free(b);
	pthread_mutex_lock(&seen.m);
	seen.done++;
	*(rc == SL_OK ? &seen.ok : rc == SL_STALE_EPOCH ? &seen.stale : &seen.other) += 1;
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.m);
}

#define ANSWER(...)                                                                                                    \
	do {                                                                                                           \
		pthread_mutex_lock(&seen.m);                                                                           \
		seen.calls++;                                                                                          \
		seen.rc = rc;                                                                                          \
		__VA_ARGS__;                                                                                           \
		pthread_cond_broadcast(&seen.changed);                                                                 \
		pthread_mutex_unlock(&seen.m);                                                                         \
	} while (0)

static void on_claim(void *arg, enum sl_code rc, struct sl_stored_run **runs, size_t n)
{
	ANSWER(seen.runs = runs, seen.n_runs = n);
}

static void on_run(void *arg, enum sl_code rc, struct sl_stored_run *run)
{
	ANSWER(seen.run = run);
}

static void on_json(void *arg, enum sl_code rc, struct sl_bytes *json)
{
	ANSWER(seen.json = sl_bytes_ref(json));
}

static void forget(void)
{
	for (size_t i = 0; i < seen.n_runs; i++)
		sl_stored_run_free(seen.runs[i]);
	free(seen.runs);
	sl_stored_run_free(seen.run);
	sl_bytes_unref(seen.json);
	seen.runs = NULL;
	seen.run = NULL;
	seen.json = NULL;
	seen.n_runs = 0;
	seen.done = seen.ok = seen.stale = seen.other = seen.calls = 0;
}

static void wait_done(int n)
{
	pthread_mutex_lock(&seen.m);
	while (seen.done < n)
		pthread_cond_wait(&seen.changed, &seen.m);
	pthread_mutex_unlock(&seen.m);
}

/* Calls and waits for the answer; its code. */
#define ASK(call)                                                                                                      \
	({                                                                                                             \
		forget();                                                                                              \
		assert_int_equal(call, SL_OK);                                                                         \
		pthread_mutex_lock(&seen.m);                                                                           \
		while (!seen.calls)                                                                                    \
			pthread_cond_wait(&seen.changed, &seen.m);                                                     \
		pthread_mutex_unlock(&seen.m);                                                                         \
		seen.rc;                                                                                               \
	})

static struct sl_store *open_store(void)
{
	struct sl_store_config config;
	struct sl_store *s = NULL;
	struct sl_error err = {0};
	sl_store_config_init(&config);
	config.url = pg.url;
	if (sl_store_open(&config, &s, &err) != SL_OK || sl_store_wait(s, 20000, &err) != SL_OK)
		fail_msg("%s", err.text);
	return s;
}

static struct sl_run_id new_run(void)
{
	return (struct sl_run_id){sl_uuid_new()};
}

static struct sl_bytes *text(const char *z)
{
	return sl_bytes_new(z, strlen(z));
}

/* A JSON object of n bytes whose words follow from `from`; with letters of two and three bytes, so that cuts fall
 * into them, too. */
static struct sl_bytes *words(size_t n, uint64_t from)
{
	static const char *const some[] = {"so", "it", "is", "nämlich", "語", "before", "reason", "of", "that", "ünd"};
	SL_BUF(b, 8u << 20);
	uint64_t x = from * 2654435761u + 1;
	sl_buf_adds(&b, "{\"output\":\"");
	while (b.len + 16 < n) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sl_buf_adds(&b, some[x % SL_COUNT_OF(some)]);
		sl_buf_addc(&b, ' ');
	}
	while (b.len + 2 < n)
		sl_buf_addc(&b, '.');
	sl_buf_adds(&b, "\"}");
	return sl_buf_bytes(&b);
}

/* One record; takes data and detail. Creates the run when seq is 1. */
static struct sl_batch *batch(struct sl_run_id run, uint64_t epoch, uint64_t seq, struct sl_bytes *data,
			      struct sl_bytes *detail)
{
	struct sl_batch *b = sl_batch_new(1);
	b->run = run;
	b->epoch = epoch;
	b->done = on_done;
	b->records[0] = (struct sl_record){.seq = seq,
					   .wall_ms = 1763658000000 + (int64_t)seq,
					   .event = "node_state_change",
					   .data = data ? data : text("{}"),
					   .detail = detail};
	b->bytes = b->records[0].data->len + (detail ? detail->len : 0);
	if (seq == 1) {
		b->create = sl_run_head_new();
		b->create->id = run;
		b->create->workflow = sl_str_dup(SL_STR("chat"));
		b->create->project = sl_str_dup(SL_STR("default"));
		b->create->definition = text("{\"sluice\":1}");
		b->create->inputs = text("{\"topic\":\"x\"}");
		b->create->created_ms = 1763657999123;
	}
	return b;
}

static void append(struct sl_store *s, struct sl_batch *b)
{
	assert_int_equal(sl_store_append(s, b), SL_OK);
}

/* Appends and waits: written, or refused as `want` says. */
static void write_one(struct sl_store *s, struct sl_batch *b, enum sl_code want)
{
	forget();
	append(s, b);
	wait_done(1);
	assert_int_equal(want == SL_OK ? seen.ok : want == SL_STALE_EPOCH ? seen.stale : seen.other, 1);
}

static long count(const char *sql)
{
	return sl_pg_count(&pg, sql);
}

static const size_t sizes[] = {13,
			       1024,
			       SL_CHUNK_OVER - 1,
			       SL_CHUNK_OVER,
			       SL_CHUNK_OVER + 1,
			       SL_CHUNK_OVER + 3,
			       5000,
			       8192,
			       SL_CDC_MOST,
			       SL_CDC_MOST + 1,
			       100000,
			       1500000};

static void assert_same(const struct sl_bytes *got, size_t n, uint64_t from)
{
	SL_AUTO(sl_bytes) want = words(n, from);
	assert_non_null(got);
	assert_int_equal(got->len, want->len);
	assert_memory_equal(got->data, want->data, want->len);
}

static void assert_whole(const struct sl_stored_run *run)
{
	assert_false(run->damaged);
	assert_same(run->head->definition, 20000, 1);
	assert_same(run->head->inputs, 30000, 2);
	assert_int_equal(run->n_records, SL_COUNT_OF(sizes));
	for (size_t i = 0; i < SL_COUNT_OF(sizes); i++) {
		assert_same(run->records[i].data, sizes[i], i);
		if (i % 3)
			assert_same(run->records[i].detail, sizes[i] + i, i + 100);
		else
			assert_null(run->records[i].detail);
	}
}

static struct sl_run_id write_all_sizes(struct sl_store *s)
{
	struct sl_run_id run = new_run();
	for (size_t i = 0; i < SL_COUNT_OF(sizes); i++) {
		struct sl_batch *b =
			batch(run, 1, i + 1, words(sizes[i], i), i % 3 ? words(sizes[i] + i, i + 100) : NULL);
		if (i == 0) {
			sl_bytes_unref(b->create->definition);
			sl_bytes_unref(b->create->inputs);
			b->create->definition = words(20000, 1);
			b->create->inputs = words(30000, 2);
		}
		append(s, b);
	}
	wait_done((int)SL_COUNT_OF(sizes));
	assert_int_equal(seen.ok, SL_COUNT_OF(sizes));
	return run;
}

static void texts_of_all_sizes_come_back_byte_for_byte(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id run = write_all_sizes(s), small = new_run();
	write_one(s, batch(small, 1, 1, text("{\"a\":1}"), NULL), SL_OK);
	assert_int_equal(count("SELECT count(*) FROM run_events WHERE data LIKE '[%' OR detail LIKE '[%'"), 10);
	assert_int_equal(count("SELECT max(octet_length(data)) FROM run_events WHERE data NOT LIKE '[%'"),
			 SL_CHUNK_OVER);
	assert_in_range(count("SELECT max(length(data)) FROM run_chunks"), SL_CDC_LEAST, SL_CDC_MOST);

	assert_int_equal(ASK(sl_store_load(s, run, on_run, NULL)), SL_OK);
	assert_whole(seen.run);
	for (size_t i = 0; i < SL_COUNT_OF(sizes); i++) { /* and to who reads the tables by hand */
		static char whole[2000000];
		char sql[120];
		snprintf(sql, sizeof(sql),
			 "SELECT sluice_whole(run_id, data) FROM run_events WHERE data <> '{\"a\":1}' AND seq = %zu",
			 i + 1);
		sl_pg_text(&pg, sql, whole, sizeof(whole));
		SL_AUTO(sl_bytes) want = words(sizes[i], i);
		assert_int_equal(strlen(whole), want->len);
		assert_memory_equal(whole, want->data, want->len);
	}

	assert_int_equal(ASK(sl_store_run_records(s, run, 2, 5, on_run, NULL)), SL_OK);
	assert_int_equal(seen.run->n_records, 5);
	for (size_t i = 0; i < 5; i++)
		assert_same(seen.run->records[i].data, sizes[i + 2], i + 2);

	assert_int_equal(ASK(sl_store_run_events(s, run, 0, 1000, on_json, NULL)), SL_OK);
	SL_AUTO_JSON page = NULL;
	struct sl_error err = {0};
	assert_int_equal(sl_json_parse(sl_bytes_str(seen.json), &page, &err), SL_OK);
	struct json_object *items = sl_json_get(page, "items");
	assert_int_equal(json_object_array_length(items), SL_COUNT_OF(sizes));
	for (size_t i = 0; i < SL_COUNT_OF(sizes); i++) {
		SL_AUTO(sl_bytes) want = words(sizes[i], i);
		struct sl_str got = sl_json_get_str(sl_json_get(json_object_array_get_idx(items, i), "data"), "output");
		assert_int_equal(got.len, want->len - strlen("{\"output\":\"\"}"));
		assert_memory_equal(got.p, want->data + strlen("{\"output\":\""), got.len);
	}

	sl_store_close(s, 5000); /* gives its runs back */
	s = open_store();
	assert_int_equal(ASK(sl_store_claim(s, 10, on_claim, NULL)), SL_OK);
	assert_int_equal(seen.n_runs, 2);
	assert_true(sl_run_id_eq(seen.runs[0]->head->id, run));
	assert_whole(seen.runs[0]);
	assert_string_equal(seen.runs[1]->records[0].data->data, "{\"a\":1}");
	sl_store_close(s, 5000);
}

static void a_page_of_large_records_is_as_long_as_its_bytes_allow(void **state)
{
	static const int lengths[] = {5, 4, 1, 2}; /* of the pages: by bytes, by bytes and one large, alone, the rest */
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	size_t mib = 1 << 20, bytes[12];
	uint64_t after = 0;
	for (uint64_t seq = 1; seq <= 12; seq++) {
		bytes[seq - 1] = seq == 9 || seq == 10 ? 5 * mib : seq <= 5 ? mib - (seq == 1) : seq > 10 ? 100 : mib;
		append(s, batch(run, 1, seq, words(bytes[seq - 1], seq), NULL));
	}
	wait_done(12);
	for (size_t i = 0; i < SL_COUNT_OF(lengths); i++) {
		assert_int_equal(ASK(sl_store_run_records(s, run, after, 1000, on_run, NULL)), SL_OK);
		assert_int_equal(seen.run->n_records, lengths[i]);
		for (int k = 0; k < lengths[i]; k++) {
			assert_int_equal(seen.run->records[k].seq, ++after);
			assert_same(seen.run->records[k].data, bytes[after - 1], after);
		}
	}
	assert_int_equal(ASK(sl_store_run_records(s, run, 12, 1000, on_run, NULL)), SL_OK);
	assert_int_equal(seen.run->n_records, 0);

	/* and as the pages clients turn, by number, too */
	static const char *const cursors[] = {"2", "4", "6", "8", "9", "10", NULL};
	SL_AUTO(sl_bytes) cursor = text("0");
	for (size_t i = 0; i < SL_COUNT_OF(cursors); i++) {
		uint64_t from = strtoull(cursor->data, NULL, 10);
		SL_AUTO_JSON page = NULL;
		struct sl_error err = {0};
		assert_int_equal(ASK(sl_store_run_events(s, run, from, 2, on_json, NULL)), SL_OK);
		assert_int_equal(sl_json_parse(sl_bytes_str(seen.json), &page, &err), SL_OK);
		struct json_object *items = sl_json_get(page, "items");
		assert_int_equal(sl_json_get_i64(json_object_array_get_idx(items, 0), "seq", 0), from + 1);
		const char *next = sl_json_get_z(page, "next_cursor");
		if (!cursors[i]) {
			assert_null(next);
			break;
		}
		assert_string_equal(next, cursors[i]);
		sl_bytes_unref(cursor);
		cursor = text(next);
	}
	sl_store_close(s, 5000);
}

static void small_texts_leave_no_pieces(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	write_one(s, batch(run, 1, 1, words(SL_CHUNK_OVER, 1), words(SL_CHUNK_OVER, 2)), SL_OK);
	assert_int_equal(count("SELECT count(*) FROM run_chunks"), 0);
	sl_store_close(s, 5000);
}

static void what_begins_like_a_list_of_pieces_is_not_taken_for_one(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	write_one(s, batch(run, 1, 1, text("[3,\"AAAA\"]"), text("[]")), SL_OK);
	assert_int_equal(ASK(sl_store_load(s, run, on_run, NULL)), SL_OK);
	assert_string_equal(seen.run->records[0].data->data, "[3,\"AAAA\"]");
	assert_string_equal(seen.run->records[0].detail->data, "[]");
	sl_store_close(s, 5000);
}

/* Reviews are found by what their data says, in SQL. */
static void the_data_of_a_review_stays_readable_for_sql(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	SL_BUF(b, 1u << 20);
	sl_buf_adds(&b, "{\"node_id\":\"ask\",\"draft\":\"");
	for (int i = 0; i < 20000; i++)
		sl_buf_addc(&b, (char)('a' + i % 26));
	sl_buf_adds(&b, "\"}");
	struct sl_batch *ask = batch(run, 1, 1, sl_buf_bytes(&b), words(9000, 1));
	ask->records[0].event = "human_review:requested";
	write_one(s, ask, SL_OK);
	assert_int_equal(count("SELECT count(*) FROM run_events WHERE data::json->>'node_id' = 'ask'"), 1);
	assert_int_equal(count("SELECT count(*) FROM run_events WHERE detail LIKE '[%'"), 1);
	sl_store_close(s, 5000);
}

/* A chat to which each round adds a message; the whole of it in every record. */
static void write_chat(struct sl_store *s, struct sl_run_id run, int rounds, size_t *total)
{
	SL_BUF(chat, 8u << 20);
	forget();
	*total = 0;
	sl_buf_adds(&chat, "{\"output\":{\"messages\":[");
	for (int i = 1; i <= rounds; i++) {
		SL_AUTO(sl_bytes) message = words(2000, (uint64_t)i);
		if (i > 1)
			sl_buf_addc(&chat, ',');
		sl_buf_add(&chat, message->data, message->len);
		size_t len = chat.len;
		sl_buf_addf(&chat, "]},\"took\":%d}", i);
		append(s, batch(run, 1, (uint64_t)i, NULL, sl_bytes_new(chat.data, chat.len)));
		*total += chat.len;
		chat.len = len;
	}
	wait_done(rounds);
	assert_int_equal(seen.ok, rounds);
	forget();
}

static void what_rounds_share_is_kept_once(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	size_t total = 0;
	write_chat(s, run, 50, &total);
	assert_true(total > 2500000);
	long bytes = count("SELECT sum(length(data)) FROM run_chunks"), rows = count("SELECT count(*) FROM run_chunks");
	assert_in_range(bytes, 100000, 450000); /* the chat has 100,000; each round keeps its last piece, too */
	assert_in_range(rows, 25, 150);
	assert_int_equal(ASK(sl_store_load(s, run, on_run, NULL)), SL_OK);
	assert_int_equal(seen.run->n_records, 50);
	write_one(s, batch(run, 1, 51, NULL, sl_bytes_ref(seen.run->records[49].detail)), SL_OK); /* once more */
	assert_int_equal(count("SELECT count(*) FROM run_chunks"), rows);
	write_chat(s, new_run(), 50, &total); /* another run shares nothing with it */
	assert_int_equal(count("SELECT count(*) FROM run_chunks"), 2 * rows);
	sl_store_close(s, 5000);
}

static void a_stale_owner_leaves_no_pieces(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	write_one(s, batch(run, 1, 1, NULL, words(20000, 1)), SL_OK);
	long rows = count("SELECT count(*) FROM run_chunks");
	sl_pg_exec(&pg, "UPDATE runs SET epoch = 2");
	write_one(s, batch(run, 1, 2, NULL, words(50000, 2)), SL_STALE_EPOCH);
	write_one(s, batch(run, 1, 2, words(50000, 3), NULL), SL_STALE_EPOCH);
	write_one(s, batch(new_run(), 1, 7, NULL, words(50000, 4)), SL_STALE_EPOCH);
	assert_int_equal(count("SELECT count(*) FROM run_chunks"), rows);
	/* and the next one's pieces are written, though the stale one sent the same */
	write_one(s, batch(run, 2, 2, NULL, words(50000, 2)), SL_OK);
	assert_int_equal(ASK(sl_store_load(s, run, on_run, NULL)), SL_OK);
	assert_same(seen.run->records[1].detail, 50000, 2);
	sl_store_close(s, 5000);
}

static void a_piece_counts_as_written_only_after_its_commit(void **state)
{
	struct sl_known k = {0};
	struct sl_run_id a = new_run(), b = new_run();
	uint8_t hash[SL_CHUNK_HASH_BYTES] = "fifteen letters";
	struct sl_entry entries[2] = {{.run = a, .epoch = 1, .accepted = true}, {.run = b, .epoch = 1}};
	struct sl_group g = {.entries = entries, .n_entries = 2};
	sl_known_begin(&k);
	assert_true(sl_known_wants(&k, a, 1, hash, 0));
	assert_false(sl_known_wants(&k, a, 1, hash, 0)); /* goes with this group already */
	sl_known_begin(&k);                              /* that one was lost */
	assert_true(sl_known_wants(&k, a, 1, hash, 0));
	assert_true(sl_known_wants(&k, b, 1, hash, 1));
	sl_known_committed(&k, &g);
	sl_known_begin(&k);
	assert_false(sl_known_wants(&k, a, 1, hash, 0));
	assert_true(sl_known_wants(&k, a, 2, hash, 0)); /* what another epoch wrote is not ours to know */
	assert_true(sl_known_wants(&k, b, 1, hash, 1)); /* was refused */
	sl_known_fini(&k);
}

static void a_bad_neighbour_takes_no_pieces_with_it(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id runs[12];
	for (int i = 0; i < 12; i++) {
		runs[i] = new_run();
		append(s, batch(runs[i], 1, 1, NULL, words(9000, 1)));
	}
	wait_done(12);
	forget();
	for (int i = 0; i < 12; i++) /* a zero byte is no text: the group fails, and is sent again one by one */
		append(s, batch(runs[i], 1, 2, i == 5 ? sl_bytes_new("{\"a\0b\":1}", 9) : NULL, words(30000, 2)));
	wait_done(12);
	assert_int_equal(seen.ok, 11);
	assert_int_equal(seen.other, 1);
	for (int i = 0; i < 12; i++) {
		assert_int_equal(ASK(sl_store_load(s, runs[i], on_run, NULL)), SL_OK);
		assert_int_equal(seen.run->n_records, i == 5 ? 1 : 2);
		if (i != 5)
			assert_same(seen.run->records[1].detail, 30000, 2);
	}
	sl_store_close(s, 5000);
}

/* What the process below does: three batches over one growing text, each written in spite of the test point. */
static int three_batches(const char *url)
{
	pg.url = url;
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	int ok = 0;
	for (uint64_t seq = 1; seq <= 3; seq++) {
		append(s, batch(run, 1, seq, NULL, words(20000 * seq, 1)));
		wait_done((int)seq);
	}
	ok = seen.ok == 3;
	if (ok) {
		ok = ASK(sl_store_load(s, run, on_run, NULL)) == SL_OK && seen.run->n_records == 3;
		for (size_t i = 0; ok && i < 3; i++) {
			SL_AUTO(sl_bytes) want = words(20000 * (i + 1), 1);
			ok = sl_str_eq(sl_bytes_str(seen.run->records[i].detail), sl_bytes_str(want));
		}
	}
	sl_store_close(s, 5000);
	return ok ? 0 : 1;
}

static void a_lost_reply_loses_no_pieces(void **state)
{
	static const char *const points[] = {"journal.before_send:1:error", "journal.before_send:2:error",
					     "journal.sent:1:error",        "journal.sent:2:error",
					     "journal.sent:3:error",        "journal.committed:1:error",
					     "journal.committed:2:error"};
	for (size_t i = 0; i < SL_COUNT_OF(points); i++) {
		int status;
		fflush(NULL);
		pid_t pid = fork();
		if (pid == 0) { /* a program of its own: a test point is read from the environment once */
			setenv("SLUICE_FAILPOINT", points[i], 1);
			execl("/proc/self/exe", "test_store_chunks", pg.url, (char *)NULL);
			_exit(3);
		}
		waitpid(pid, &status, 0);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			fail_msg("%s: %d", points[i], status);
		sl_pg_empty(&pg);
	}
}

static void a_piece_that_is_missing_or_changed_is_never_read_as_if_it_were_right(void **state)
{
	static const char *const harm[] = {
		"DELETE FROM run_chunks WHERE hash = (SELECT hash FROM run_chunks ORDER BY hash LIMIT 1)",
		"UPDATE run_chunks SET data = set_byte(data, 5, get_byte(data, 5) # 1) WHERE hash = (SELECT hash FROM "
		"run_chunks ORDER BY hash DESC LIMIT 1)",
		"UPDATE run_events SET data = replace(data, '[50000,', '[50001,')",
		"UPDATE run_events SET data = '[50000,\"AAAA\"]' WHERE data LIKE '[%'",
		"UPDATE run_events SET data = '[50000' WHERE data LIKE '[%'",
		"UPDATE run_events SET data = '[' WHERE data LIKE '[%'",
	};
	for (size_t i = 0; i < SL_COUNT_OF(harm); i++) {
		struct sl_store *s = open_store();
		struct sl_run_id run = new_run(), sound = new_run();
		write_one(s, batch(run, 1, 1, words(50000, 1), NULL), SL_OK);
		sl_pg_exec(&pg, harm[i]);
		if (i == 0)
			assert_int_equal(
				count("SELECT count(*) FROM run_events WHERE seq = 1 AND sluice_whole(run_id, data) IS "
				      "NULL"),
				1);
		write_one(s, batch(sound, 1, 1, words(50000, 2), NULL), SL_OK);
		assert_int_equal(ASK(sl_store_load(s, run, on_run, NULL)), SL_INTERNAL);
		assert_null(seen.run);
		/* an answer that SQL itself could not make is an error, too */
		assert_int_not_equal(ASK(sl_store_run_events(s, run, 0, 10, on_json, NULL)), SL_OK);
		assert_int_not_equal(ASK(sl_store_run_records(s, run, 0, 10, on_run, NULL)), SL_OK);
		sl_store_close(s, 5000);
		s = open_store();
		assert_int_equal(ASK(sl_store_claim(s, 10, on_claim, NULL)), SL_OK); /* the other one goes on */
		assert_int_equal(seen.n_runs, 2);
		assert_true(seen.runs[0]->damaged);
		assert_false(seen.runs[1]->damaged);
		assert_same(seen.runs[1]->records[0].data, 50000, 2);
		sl_store_close(s, 5000);
		sl_pg_empty(&pg);
	}
}

static void torture_body(void *arg)
{
	struct sl_cuts *c = NULL;
	enum sl_code rc = sl_cuts_make(arg, &c);
	assert_true((rc == SL_OK && c) || (rc == SL_NO_MEMORY && !c));
	sl_cuts_free(c);
}

static void cutting_survives_every_failing_allocation(void **state)
{
	struct sl_batch *b = batch(new_run(), 1, 1, words(400000, 1), words(5000, 2));
	(void)sl_test_torture(torture_body, b); /* none fails under a sanitizer */
	sl_batch_free(b);
}

static int group_setup(void **state)
{
	sl_pg_start(&pg, SL_PG_MIGRATED);
	return 0;
}

static int group_teardown(void **state)
{
	sl_pg_stop(&pg);
	return 0;
}

static int clean(void **state)
{
	forget();
	sl_pg_empty(&pg);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return three_batches(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(texts_of_all_sizes_come_back_byte_for_byte, clean),
		cmocka_unit_test_setup(a_page_of_large_records_is_as_long_as_its_bytes_allow, clean),
		cmocka_unit_test_setup(small_texts_leave_no_pieces, clean),
		cmocka_unit_test_setup(what_begins_like_a_list_of_pieces_is_not_taken_for_one, clean),
		cmocka_unit_test_setup(the_data_of_a_review_stays_readable_for_sql, clean),
		cmocka_unit_test_setup(what_rounds_share_is_kept_once, clean),
		cmocka_unit_test_setup(a_stale_owner_leaves_no_pieces, clean),
		cmocka_unit_test(a_piece_counts_as_written_only_after_its_commit),
		cmocka_unit_test_setup(a_bad_neighbour_takes_no_pieces_with_it, clean),
		cmocka_unit_test_setup(a_lost_reply_loses_no_pieces, clean),
		cmocka_unit_test_setup(a_piece_that_is_missing_or_changed_is_never_read_as_if_it_were_right, clean),
		cmocka_unit_test(cutting_survives_every_failing_allocation),
	};
	int failed = cmocka_run_group_tests(tests, group_setup, group_teardown);
	forget();
	return failed;
}
