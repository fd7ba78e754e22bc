#include "tests/lib/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "engine/stream.h"

static const char sample[] = "plain, \xc3\xa9t\xc3\xa9, \xe6\xb0\xb4\xe9\x97\xb8, \xf0\x9f\x98\x80 and the end";

static struct sl_stream *fresh(void)
{
	return sl_stream_new((struct sl_run_id){0}, SL_STR("a/b"), 3);
}

static void any_split_gives_the_same_text_cut_between_characters(void **state)
{
	for (size_t cut = 0; cut < sizeof(sample) - 1; cut++)
		for (size_t cut2 = cut; cut2 < sizeof(sample) - 1; cut2++) {
			SL_AUTO(sl_stream) s = fresh();
			size_t ends[3] = {cut, cut2, sizeof(sample) - 1}, at = 0;
			for (int i = 0; i < 3; i++) {
				assert_int_equal(
					sl_stream_append(s, SL_STREAM_TEXT, sl_str_n(sample + at, ends[i] - at)),
					SL_OK);
				at = ends[i];
				enum sl_stream_kind k;
				for (size_t o = 0; o < sl_stream_length(s);) {
					struct sl_str piece = sl_stream_read(s, o, &k);
					assert_true(piece.len && sl_utf8_valid(piece.p, piece.len));
					o += piece.len;
				}
			}
			SL_AUTO(sl_bytes) all = sl_stream_collect(s, SL_STREAM_TEXT);
			assert_string_equal(all->data, sample);
		}
}

static void broken_bytes_become_replacement_characters(void **state)
{
	SL_AUTO(sl_stream) s = fresh();
	assert_int_equal(sl_stream_append(s, SL_STREAM_TEXT, SL_STR("a\xff\xc3")), SL_OK);
	assert_int_equal(sl_stream_append(s, SL_STREAM_TEXT, SL_STR("b\xf0\x9f")), SL_OK);
	sl_stream_end(s);
	SL_AUTO(sl_bytes) all = sl_stream_collect(s, SL_STREAM_TEXT);
	assert_string_equal(all->data, "a\xef\xbf\xbd\xef\xbf\xbd"
				       "b\xef\xbf\xbd");
	assert_int_equal(sl_stream_append(s, SL_STREAM_TEXT, SL_STR("late")), SL_CANCELLED);
}

static void thinking_and_text_are_rebuilt_in_their_order(void **state)
{
	SL_AUTO(sl_stream) s = fresh();
	static const struct {
		enum sl_stream_kind kind;
		const char *text;
	} pieces[] = {{SL_STREAM_THINKING, "hmm "},
		      {SL_STREAM_THINKING, "so"},
		      {SL_STREAM_TEXT, "yes"},
		      {SL_STREAM_THINKING, "or"},
		      {SL_STREAM_TEXT, " and no"}};
	for (size_t i = 0; i < SL_COUNT_OF(pieces); i++)
		assert_int_equal(sl_stream_append(s, pieces[i].kind, sl_str(pieces[i].text)), SL_OK);
	sl_stream_end(s);
	SL_BUF(seg, 1000);
	sl_stream_segments(s, &seg);
	assert_string_equal(seg.data, "[[\"thinking\",6],[\"text\",3],[\"thinking\",2],[\"text\",7]]");
	SL_AUTO_JSON json = NULL;
	assert_int_equal(sl_json_parse(sl_buf_str(&seg), &json, NULL), SL_OK);
	SL_AUTO(sl_bytes) text = sl_stream_collect(s, SL_STREAM_TEXT);
	SL_AUTO(sl_bytes) thinking = sl_stream_collect(s, SL_STREAM_THINKING);
	SL_AUTO(sl_stream)
	again = sl_stream_rebuild((struct sl_run_id){0}, SL_STR("a/b"), 3, json, sl_bytes_str(text),
				  sl_bytes_str(thinking));
	assert_int_equal(sl_stream_length(again), sl_stream_length(s));
	SL_BUF(seg2, 1000);
	sl_stream_segments(again, &seg2);
	assert_string_equal(seg.data, seg2.data);
	assert_true(sl_stream_ended(again));
}

static void the_cap_refuses_whole_pieces(void **state)
{
	SL_AUTO(sl_stream) s = fresh();
	static char kilo[1000];
	memset(kilo, 'x', sizeof(kilo));
	enum sl_code rc = SL_OK;
	size_t n = 0;
	while ((rc = sl_stream_append(s, SL_STREAM_TEXT, sl_str_n(kilo, sizeof(kilo)))) == SL_OK)
		n += sizeof(kilo);
	assert_int_equal(rc, SL_TOO_LARGE);
	assert_int_equal(sl_stream_length(s), n);
	assert_true(n > SL_LIMIT_STREAM_BYTES - 1000 && n <= SL_LIMIT_STREAM_BYTES);
}

struct reading {
	struct sl_stream *s;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool dirty; /* [lock] */
};

static void on_dirty(struct sl_stream *s, void *ctx)
{
	struct reading *r = ctx;
	pthread_mutex_lock(&r->lock);
	r->dirty = true;
	pthread_cond_signal(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

enum { PIECES = 20000 };

static void *write_all(void *arg)
{
	struct reading *r = arg;
	char piece[32];
	for (int i = 0; i < PIECES; i++) {
		int n = snprintf(piece, sizeof(piece), "%d\xc3\xa9,", i);
		if (sl_stream_append(r->s, i % 7 ? SL_STREAM_TEXT : SL_STREAM_THINKING, sl_str_n(piece, (size_t)n)) !=
		    SL_OK)
			abort();
	}
	sl_stream_end(r->s);
	return NULL;
}

/* The reader only looks when it was woken: a lost wake-up would hang it. */
static void a_watcher_misses_nothing(void **state)
{
	struct reading r = {.s = fresh(), .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	struct sl_stream_watcher w = {on_dirty, &r};
	pthread_t t;
	size_t at = 0;
	enum sl_stream_kind k;
	sl_stream_watch(r.s, &w);
	assert_int_equal(pthread_create(&t, NULL, write_all, &r), 0);
	for (;;) {
		pthread_mutex_lock(&r.lock);
		while (!r.dirty)
			pthread_cond_wait(&r.cond, &r.lock);
		r.dirty = false;
		pthread_mutex_unlock(&r.lock);
		sl_stream_rearm(r.s);
		bool ended = sl_stream_ended(r.s);
		struct sl_str piece;
		while ((piece = sl_stream_read(r.s, at, &k)).len)
			at += piece.len;
		if (ended && at == sl_stream_length(r.s))
			break;
	}
	pthread_join(t, NULL);
	sl_stream_watch(r.s, NULL);
	size_t want = 0;
	for (int i = 0; i < PIECES; i++)
		want += (size_t)snprintf(NULL, 0, "%d", i) + 3;
	assert_int_equal(at, want);
	sl_stream_unref(r.s);
}

int main(void)
{
	sl_expect_aborts = true;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_split_gives_the_same_text_cut_between_characters),
		cmocka_unit_test(broken_bytes_become_replacement_characters),
		cmocka_unit_test(thinking_and_text_are_rebuilt_in_their_order),
		cmocka_unit_test(the_cap_refuses_whole_pieces),
		cmocka_unit_test(a_watcher_misses_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
