#include "tests/lib/ws_world.h"

#include <stdio.h>

static const char *const texts[] = {"a",
				    "Hällo ",
				    "\xe4\xbd\xa0\xe5\xa5\xbd",
				    "\xf0\x9f\x98\x80 ok",
				    "\"quoted\" \\ \n\t\x01",
				    "the quick brown fox jumps over the lazy dog. "};

static void say(struct fake_run *r, unsigned path, const char *text)
{
	fake_text(r, path, text, strlen(text), false);
}

/* ---- one thing at a time ---- */

static void a_subscriber_gets_a_snapshot_then_every_event_and_token(void **state)
{
	struct fake f;
	struct client c = {0};
	fake_init(&f, 1, 25);
	client_open(&c, &f);
	fake_commit(&f.runs[0], "execution:started", "{}");
	fake_begin(&f.runs[0], 0);
	say(&f.runs[0], 0, "before ");
	fake_publish(&f, &f.runs[0], false);
	client_subscribe(&c, 0);
	fake_settle(&f);
	client_read(&c);
	assert_int_equal(c.snapshots, 1);
	client_check_whole(&c, 0);
	say(&f.runs[0], 0, "and after");
	fake_settle(&f);
	fake_end(&f.runs[0], 0, "completed");
	fake_commit(&f.runs[0], "execution:completed", "{\"outputs\":{}}");
	fake_publish(&f, &f.runs[0], false);
	fake_settle(&f);
	client_read(&c);
	client_check_whole(&c, 0);
	assert_int_equal(client_run(&c, 0)->path[0].text.len, strlen("before and after"));
	client_fini(&c);
	fake_fini(&f);
}

static void a_run_nobody_knows_is_not_found(void **state)
{
	struct fake f;
	struct client c = {0};
	fake_init(&f, 1, 25);
	f.runs[0].missing = true;
	client_open(&c, &f);
	client_subscribe(&c, 0);
	client_say(&c, "{\"cmd\":\"subscribe\",\"run_id\":\"00000000-0000-7000-8000-000000000000\"}");
	fake_settle(&f);
	client_read(&c);
	assert_int_equal(c.errors, 2);
	assert_string_equal(c.error_code, "not_found");
	assert_int_equal(c.closed, 0);
	client_fini(&c);
	fake_fini(&f);
}

static void commands_are_answered_and_bad_ones_do_not_hurt(void **state)
{
	struct fake f;
	struct client c = {0};
	static const char *const bad[] = {"",
					  "{",
					  "[]",
					  "7",
					  "null",
					  "{}",
					  "{\"cmd\":7}",
					  "{\"cmd\":\"fly\"}",
					  "{\"cmd\":\"set\"}",
					  "{\"cmd\":\"set\",\"flush_ms\":1001}",
					  "{\"cmd\":\"set\",\"flush_ms\":-1}",
					  "{\"cmd\":\"subscribe\"}",
					  "{\"cmd\":\"subscribe\",\"run_id\":\"x\"}",
					  "{\"cmd\":\"ping\",\"id\":[]}",
					  "{\"cmd\":\"ping\",\"cmd\":\"ping\"}"};
	fake_init(&f, 2, 25);
	client_open(&c, &f);
	for (size_t i = 0; i < SL_COUNT_OF(bad); i++) {
		sl_hub_message(c.conn, sl_str(bad[i]));
		sl_hub_turn(f.hub);
		client_read(&c);
		assert_int_equal(c.errors, i + 1);
		assert_string_equal(c.error_code, "invalid");
	}
	sl_hub_bad_message(c.conn, "binary");
	client_say(&c, "{\"cmd\":\"ping\",\"id\":\"p\"}");
	client_say(&c, "{\"cmd\":\"set\",\"flush_ms\":100,\"id\":1}");
	client_say(&c, "{\"cmd\":\"pause\",\"run_id\":\"%s\",\"id\":2}", fake_id(&f.runs[0]));
	fake_settle(&f);
	client_read(&c);
	assert_int_equal(c.errors, SL_COUNT_OF(bad) + 2);
	assert_string_equal(c.error_code, "conflict");
	assert_int_equal(c.pongs, 1);
	assert_int_equal(c.acks, 1);
	client_say(&c, "{\"cmd\":\"cancel\",\"run_id\":\"%s\"}", fake_id(&f.runs[0]));
	fake_settle(&f);
	client_read(&c);
	assert_string_equal(c.error_code, "forbidden");
	client_run(&c, 1)->on = true;
	client_say(&c, "{\"cmd\":\"start_run\",\"n\":1,\"id\":3}");
	fake_settle(&f);
	client_read(&c);
	assert_int_equal(c.acks, 2);
	assert_int_equal(c.snapshots, 1); /* it is subscribed to what it started */
	client_fini(&c);
	fake_fini(&f);
}

/* A frame holds a command or an array of them: what is wrong with one is no affair of the others. */
static void many_commands_come_in_one_frame(void **state)
{
	struct fake f;
	struct client c = {0};
	SL_BUF(most, 1u << 16);
	fake_init(&f, 1, 25);
	client_open(&c, &f);
	client_say(&c,
		   "[{\"cmd\":\"ping\",\"id\":1},{\"cmd\":\"fly\"},7,[],{\"cmd\":\"set\",\"flush_ms\":100,\"id\":2},"
		   "{\"cmd\":\"ping\",\"id\":3}]");
	sl_hub_turn(f.hub);
	client_read(&c);
	assert_int_equal(c.pongs, 2);
	assert_int_equal(c.acks, 1);
	assert_int_equal(c.errors, 3);
	for (int over = 0; over < 2; over++) { /* no more than the runs it may watch */
		sl_buf_reset(&most);
		for (int i = 0; i < SL_LIMIT_WS_SUBSCRIPTIONS + over; i++)
			sl_buf_addf(&most, "%s{\"cmd\":\"ping\",\"id\":1}", i ? "," : "[");
		sl_buf_addc(&most, ']');
		sl_hub_message(c.conn, sl_buf_str(&most));
		sl_hub_turn(f.hub);
		client_read(&c);
		assert_int_equal(c.pongs, 2 + SL_LIMIT_WS_SUBSCRIPTIONS);
		assert_int_equal(c.errors, 3 + over);
	}
	assert_int_equal(c.closed, 0);
	client_fini(&c);
	fake_fini(&f);
}

static void the_first_event_goes_at_once_later_ones_are_gathered(void **state)
{
	struct fake f;
	struct client c = {0};
	fake_init(&f, 1, 25);
	struct fake_run *r = &f.runs[0];
	fake_begin(r, 0);
	client_open(&c, &f);
	client_subscribe(&c, 0);
	fake_settle(&f);
	client_read(&c);
	size_t before = c.frames;
	say(r, 0, "first");
	sl_hub_turn(f.hub);
	client_read(&c);
	assert_int_equal(c.frames, before + 1);
	for (int i = 0; i < 24; i++) { /* a token each millisecond */
		f.now++;
		say(r, 0, "x");
		sl_hub_turn(f.hub);
	}
	client_read(&c);
	assert_int_equal(c.frames, before + 1); /* still within the interval */
	assert_true(f.wake_at <= f.now + 1);    /* and it knows when to go on */
	f.now++;
	sl_hub_turn(f.hub);
	client_read(&c);
	assert_int_equal(c.frames, before + 2);
	client_check_whole(&c, 0);
	client_fini(&c);
	fake_fini(&f);
}

static void text_that_flows_wakes_nobody_and_leaves_together(void **state)
{
	struct fake f;
	struct client c = {0};
	struct sl_hub_stats a, b;
	fake_init(&f, 8, 25);
	client_open(&c, &f);
	for (size_t run = 0; run < 8; run++) {
		fake_begin(&f.runs[run], 0);
		client_subscribe(&c, run);
	}
	fake_settle(&f);
	sl_hub_stats(f.hub, &a);
	unsigned wakes = f.wakes;
	for (int ms = 0; ms < 1000; ms++) {
		f.now++;
		if (ms % 2 == 0 && ms / 2 % 10 < 8) /* eight runs, a token each 20 ms, one after the other */
			say(&f.runs[ms / 2 % 10], 0, "token ");
		sl_hub_turn(f.hub);
	}
	sl_hub_stats(f.hub, &b);
	assert_in_range(f.wakes - wakes, 8, 8 * 4);        /* of 400 tokens */
	assert_in_range(b.writes - a.writes, 40, 40 + 16); /* once an interval, after the first of each */
	fake_settle(&f);
	wakes = f.wakes;
	say(&f.runs[3], 0, "after a pause: at once");
	assert_int_equal(f.wakes, wakes + 1);
	sl_hub_turn(f.hub);
	client_read(&c);
	for (size_t run = 0; run < 8; run++)
		client_check_whole(&c, run);
	client_fini(&c);
	fake_fini(&f);
}

static void an_interval_of_its_own_begins_in_the_middle_of_text(void **state)
{
	struct fake f;
	struct client c = {0};
	fake_init(&f, 1, 25);
	fake_begin(&f.runs[0], 0);
	client_open(&c, &f);
	client_subscribe(&c, 0);
	fake_settle(&f);
	for (int i = 0; i < 20; i++, f.now += 10) {
		say(&f.runs[0], 0, "flows ");
		sl_hub_turn(f.hub);
	}
	client_say(&c, "{\"cmd\":\"set\",\"flush_ms\":0}");
	sl_hub_turn(f.hub);
	say(&f.runs[0], 0, "the last for a long while");
	fake_settle(&f);
	client_read(&c);
	client_check_whole(&c, 0);
	client_fini(&c);
	fake_fini(&f);
}

/* Writing takes so long that what was flushed first is due again before the last has had its turn. */
static struct {
	struct fake *f;
	const struct sl_hub_sink_ops *real;
	unsigned writes, flowing; /* flowing: writes during which text still comes */
} tedious;

static enum sl_sink_result tedious_write(struct sl_hub_sink *s, const char *bytes, size_t len)
{
	tedious.f->now += 5;
	for (size_t run = 0; tedious.writes < tedious.flowing && run < tedious.f->n_runs; run++)
		say(&tedious.f->runs[run], 0, "meanwhile ");
	tedious.writes++;
	return tedious.real->write(s, bytes, len);
}

static void a_turn_ends_even_when_text_flows_faster_than_it_is_written(void **state)
{
	struct fake f;
	struct client c[6] = {0};
	fake_init(&f, 6, 25);
	for (size_t i = 0; i < 6; i++) {
		fake_begin(&f.runs[i], 0);
		client_open(&c[i], &f);
		client_subscribe(&c[i], i);
	}
	fake_settle(&f);
	struct sl_hub_sink_ops slow = *c[0].sink.ops;
	for (int ms = 0; ms < 100; ms++, f.now++) {
		for (size_t i = 0; i < 6; i++)
			say(&f.runs[i], 0, "flows ");
		sl_hub_turn(f.hub);
	}
	tedious.f = &f;
	tedious.real = c[0].sink.ops;
	tedious.writes = 0;
	tedious.flowing = 300;
	slow.write = tedious_write;
	for (size_t i = 0; i < 6; i++)
		c[i].sink.ops = &slow;
	f.now = f.wake_at;
	sl_hub_turn(f.hub);
	assert_in_range(tedious.writes, 1, 6); /* each once; others of the loop have their turn, too */
	assert_true(f.wake_at <= f.now);       /* and this one comes back at once */
	tedious.flowing = 0;
	for (size_t i = 0; i < 6; i++)
		c[i].sink.ops = tedious.real;
	fake_settle(&f);
	for (size_t i = 0; i < 6; i++) {
		client_read(&c[i]);
		client_check_whole(&c[i], i);
		client_fini(&c[i]);
	}
	fake_fini(&f);
}

static void level_subscribers_share_frames(void **state)
{
	struct fake f;
	struct client c[20] = {0};
	struct sl_hub_stats a, b;
	fake_init(&f, 1, 25);
	struct fake_run *r = &f.runs[0];
	fake_begin(r, 0);
	for (int i = 0; i < 20; i++) {
		client_open(&c[i], &f);
		client_subscribe(&c[i], 0);
	}
	fake_settle(&f);
	assert_true(f.views <= 3); /* not one for each */
	sl_hub_stats(f.hub, &a);
	assert_int_equal(a.catching_up, 0);
	for (int i = 0; i < 50; i++) {
		say(r, 0, "some text ");
		fake_commit(r, "progress", "{\"i\":%d}", i);
		fake_publish(&f, r, false);
		f.now += 30;
		sl_hub_turn(f.hub);
	}
	sl_hub_stats(f.hub, &b);
	assert_int_equal(b.frames_encoded - a.frames_encoded, 50);
	assert_int_equal(b.catch_up_frames, a.catch_up_frames);
	assert_int_equal(b.writes - a.writes, 50 * 20);
	for (int i = 0; i < 20; i++) {
		client_read(&c[i]);
		client_check_whole(&c[i], 0);
		client_fini(&c[i]);
	}
	fake_fini(&f);
}

static void a_slow_reader_gets_fewer_larger_chunks_and_all_of_it(void **state)
{
	struct fake f;
	struct client slow = {.slow = true}, fast = {0};
	fake_init(&f, 1, 25);
	struct fake_run *r = &f.runs[0];
	fake_begin(r, 0);
	client_open(&slow, &f);
	client_open(&fast, &f);
	client_subscribe(&slow, 0);
	client_subscribe(&fast, 0);
	for (int i = 0; i < 10; i++) {
		fake_settle(&f);
		client_writable(&slow);
	}
	client_read(&slow);
	client_read(&fast);
	size_t tokens = slow.tokens;
	for (int i = 0; i < 20000; i++) {
		say(r, 0, texts[i % SL_COUNT_OF(texts)]);
		if (i % 100 == 0) {
			fake_commit(r, "progress", "{\"i\":%d}", i);
			fake_publish(&f, r, false);
		}
		f.now += 26;
		sl_hub_turn(f.hub);
		client_read(&fast);
		if (i % 4000 == 3999) {
			client_read(&slow);
			client_writable(&slow);
		}
		sl_hub_heard(fast.conn);
		sl_hub_heard(slow.conn);
		if (slow.full && i % 900 == 0)
			f.now += 0;
	}
	assert_true(slow.closed == 0 || slow.closed == SL_WS_CLOSE_STALLED);
	assert_int_equal(slow.closed, SL_WS_CLOSE_STALLED); /* 4,000 turns are 104 seconds */
	client_check_whole(&fast, 0);
	assert_true(fast.tokens > 15000);
	client_read(&slow);
	client_close(&slow);
	client_open(&slow, &f); /* and it may come back */
	client_subscribe(&slow, 0);
	for (int i = 0; i < 100; i++) {
		fake_settle(&f);
		client_read(&slow);
		client_writable(&slow);
	}
	client_check_whole(&slow, 0);
	assert_true(slow.tokens - tokens < 100);
	assert_true(slow.most_wire <= SL_HUB_PIECE_BYTES + 1024);
	assert_int_equal(slow.snapshots, 1);
	client_fini(&slow);
	client_fini(&fast);
	fake_fini(&f);
}

static void everything_that_happened_meanwhile_comes_from_the_journal(void **state)
{
	struct fake f;
	struct client c = {0}, d = {0};
	fake_init(&f, 1, 25);
	struct fake_run *r = &f.runs[0];
	client_open(&c, &f);
	client_subscribe(&c, 0);
	fake_settle(&f);
	client_read(&c);
	client_close(&c); /* nobody watches any more */
	assert_int_equal(r->watched, 0);
	for (int i = 0; i < 3000; i++) {
		fake_commit(r, "progress", "{\"i\":%d}", i);
		if (i == 1000)
			fake_begin(r, 1);
		if (i == 1500)
			say(r, 1, "lost text of the first attempt");
		if (i == 2000)
			fake_retry(r, 1);
		if (i == 2500)
			say(r, 1, "the second");
		if (i == 2600)
			fake_end(r, 1, "completed");
	}
	fake_publish(&f, r, false);
	client_open(&c, &f);
	client_subscribe(&c, 0);
	client_open(&d, &f);
	client_run(&d, 0)->began = true; /* holds the first few */
	client_subscribe(&d, 0);
	unsigned pages = f.pages;
	fake_settle(&f);
	client_read(&c);
	client_read(&d);
	client_check_whole(&c, 0);
	client_check_whole(&d, 0);
	assert_int_equal(c.snapshots, 1);
	assert_true(f.pages - pages <= 10); /* 3,000 records in pages of 512, shared */
	client_fini(&c);
	client_fini(&d);
	fake_fini(&f);
}

static void a_lost_notice_is_read_from_the_journal(void **state)
{
	struct fake f;
	struct client c = {0};
	struct sl_hub_stats s;
	fake_init(&f, 1, 25);
	struct fake_run *r = &f.runs[0];
	client_open(&c, &f);
	client_subscribe(&c, 0);
	fake_settle(&f);
	fake_begin(r, 0);
	fake_publish(&f, r, true);
	say(r, 0, "text");
	fake_settle(&f);
	fake_commit(r, "progress", "{}");
	fake_publish(&f, r, false);
	fake_settle(&f);
	client_read(&c);
	client_check_whole(&c, 0);
	sl_hub_stats(f.hub, &s);
	assert_int_equal(s.gaps, 1);
	client_fini(&c);
	fake_fini(&f);
}

static void a_position_that_cannot_be_is_corrected(void **state)
{
	struct fake f;
	struct client c = {0};
	fake_init(&f, 1, 25);
	struct fake_run *r = &f.runs[0];
	fake_begin(r, 0);
	say(r, 0, "h\xc3\xa9llo");
	fake_publish(&f, r, false);
	static const char *const offsets[] = {"2", "7", "{\"attempt\":9,\"offset\":1}", "4503599627370495"};
	for (size_t i = 0; i < SL_COUNT_OF(offsets); i++) {
		client_open(&c, &f);
		struct watching *w = client_run(&c, 0);
		w->on = w->began = true;
		w->last_seq = 1;
		client_say(&c, "{\"cmd\":\"subscribe\",\"run_id\":\"%s\",\"after_seq\":1,\"streams\":{\"pro\":%s}}",
			   fake_id(r), offsets[i]);
		fake_settle(&f);
		client_read(&c);
		assert_int_equal(c.resets_without_seq, i + 1);
		client_check_whole(&c, 0);
		client_close(&c);
	}
	client_open(&c, &f); /* more events than there are: what it holds is from elsewhere */
	client_run(&c, 0)->last_seq = 17;
	client_subscribe(&c, 0);
	fake_settle(&f);
	client_read(&c);
	assert_int_equal(c.snapshots, 1);
	client_check_whole(&c, 0);
	client_fini(&c);
	fake_fini(&f);
}

static void events_larger_than_a_frame_travel_in_fragments(void **state)
{
	struct fake f;
	struct client c[3] = {[1] = {.slow = true}};
	fake_init(&f, 1, 25);
	struct fake_run *r = &f.runs[0];
	fake_begin(r, 0);
	for (int i = 0; i < 2; i++) {
		client_open(&c[i], &f);
		client_subscribe(&c[i], 0);
	}
	fake_settle(&f);
	for (int i = 0; i < 3; i++) {
		static char large[300000];
		memset(large, 'x', sizeof(large) - 1);
		memcpy(large, "{\"outputs\":\"", 12);
		memcpy(large + sizeof(large) - 3, "\"}", 2);
		fake_commit(r, "progress", "{}");
		sl_bytes_unref(r->records[r->n - 1].data);
		r->records[r->n - 1].data = sl_bytes_new(large, sizeof(large) - 1);
		say(r, 0, "and text");
		fake_commit(r, "progress", "{}");
		fake_publish(&f, r, false);
		for (int k = 0; k < 30; k++) {
			fake_settle(&f);
			for (int j = 0; j < 2; j++)
				if (c[j].want || c[j].full)
					client_writable(&c[j]);
		}
	}
	client_open(&c[2], &f);
	client_run(&c[2], 0)->began = true;
	client_subscribe(&c[2], 0);
	for (int k = 0; k < 30; k++) {
		fake_settle(&f);
		if (c[2].want)
			client_writable(&c[2]);
	}
	for (int i = 0; i < 3; i++) {
		client_read(&c[i]);
		client_check_whole(&c[i], 0);
		assert_true(c[i].most_wire <= SL_HUB_PIECE_BYTES + 1024);
		client_fini(&c[i]);
	}
	fake_fini(&f);
}

static void all_runs_are_watched_without_tokens_and_nothing_twice(void **state)
{
	struct fake f;
	struct client c = {0};
	fake_init(&f, 3, 25);
	client_open(&c, &f);
	c.all = true;
	client_say(&c, "{\"cmd\":\"subscribe_all\",\"id\":1}");
	client_subscribe(&c, 2);
	fake_settle(&f);
	assert_true(f.all);
	for (int i = 0; i < 50; i++) {
		struct fake_run *r = &f.runs[i % 3];
		if (i < 3)
			fake_begin(r, 0);
		say(r, 0, "token");
		fake_commit(r, "progress", "{}");
		fake_publish(&f, r, false);
		f.now += 7;
		sl_hub_turn(f.hub);
	}
	fake_settle(&f);
	client_read(&c);
	client_check_whole(&c, 2);
	assert_int_equal(c.n_all, f.runs[0].n + f.runs[1].n);
	client_say(&c, "{\"cmd\":\"unsubscribe_all\"}");
	assert_false(f.all);
	client_fini(&c);
	fake_fini(&f);
}

static void silent_and_stalled_clients_are_closed_others_are_pinged(void **state)
{
	struct fake f;
	struct client quiet = {0}, stalled = {.slow = true}, alive = {0};
	fake_init(&f, 1, 25);
	client_open(&quiet, &f);
	client_open(&stalled, &f);
	client_open(&alive, &f);
	client_subscribe(&stalled, 0);
	uint64_t began = f.now, stalled_at = 0, quiet_at = 0;
	while (f.now < began + 70000) {
		sl_hub_turn(f.hub);
		assert_true(f.wake_at <= f.now + 1000);
		f.now = f.wake_at > f.now ? f.wake_at : f.now + 1;
		client_read(&alive);
		if (alive.pings)
			sl_hub_heard(alive.conn);
		if (!stalled_at && stalled.closed)
			stalled_at = f.now - began;
		if (!quiet_at && quiet.closed)
			quiet_at = f.now - began;
	}
	client_read(&quiet);
	assert_int_equal(quiet.closed, SL_WS_CLOSE_SILENT);
	assert_true(quiet_at >= 60000 && quiet_at < 63000);
	assert_int_equal(stalled.closed, SL_WS_CLOSE_STALLED);
	assert_true(stalled_at >= 30000 && stalled_at < 33000);
	assert_int_equal(alive.closed, 0);
	assert_int_equal(alive.pings, 3);
	assert_true(quiet.pings >= 2);
	client_fini(&quiet);
	client_fini(&stalled);
	client_fini(&alive);
	fake_fini(&f);
}

static void limits_are_kept(void **state)
{
	struct fake f;
	struct client c = {.slow = true};
	fake_init(&f, 1, 25);
	client_open(&c, &f);
	client_writable(&c);
	sl_hub_turn(f.hub);
	for (int i = 0; i < 5000 && !c.closed; i++) { /* it talks and does not listen */
		client_say(&c, "{\"cmd\":\"ping\"}");
		sl_hub_turn(f.hub);
	}
	assert_int_equal(c.closed, 1008);
	client_fini(&c);
	fake_fini(&f);

	struct client many = {0};
	fake_init(&f, SL_LIMIT_WS_SUBSCRIPTIONS + 1, 25);
	client_open(&many, &f);
	for (size_t i = 0; i <= SL_LIMIT_WS_SUBSCRIPTIONS; i++)
		client_say(&many, "{\"cmd\":\"subscribe\",\"run_id\":\"%s\"}", fake_id(&f.runs[i]));
	sl_hub_turn(f.hub);
	struct sl_hub_stats s;
	sl_hub_stats(f.hub, &s);
	assert_int_equal(s.subscriptions, SL_LIMIT_WS_SUBSCRIPTIONS);
	client_fini(&many);
	fake_fini(&f);
}

static bool is_tester(void *ctx, const struct sl_ws_identity *who)
{
	return strcmp(who->name, "tester") == 0;
}

static void drain_and_revocation_close_with_a_reason(void **state)
{
	struct fake f;
	struct client c = {0}, d = {0};
	fake_init(&f, 1, 25);
	client_open(&c, &f);
	sl_hub_close_matching(f.hub, is_tester, NULL, SL_WS_CLOSE_REVOKED, "revoked");
	assert_int_equal(c.closed, SL_WS_CLOSE_REVOKED);
	client_fini(&c);
	client_open(&d, &f);
	client_subscribe(&d, 0);
	fake_settle(&f);
	fake_commit(&f.runs[0], "progress", "{}");
	fake_publish(&f, &f.runs[0], false);
	sl_hub_drain(f.hub);
	client_read(&d);
	client_check_whole(&d, 0); /* what could go at once went */
	assert_int_equal(d.closed, SL_WS_CLOSE_RESTART);
	client_fini(&d);
	fake_fini(&f);
}

/* ---- server-sent events ---- */

static void the_same_run_as_server_sent_events(void **state)
{
	struct fake f;
	struct client c = {0};
	struct sl_ws_identity who = {.name = "tester"};
	fake_init(&f, 1, 25);
	struct fake_run *r = &f.runs[0];
	fake_begin(r, 0);
	client_open(&c, &f);
	sl_hub_conn_close(c.conn);
	c.conn = sl_hub_conn_open(f.hub, &c.sink, SL_HUB_SSE, &who);
	struct sl_hub_want want = {.run = r->id, .tokens = true};
	assert_int_equal(sl_hub_subscribe(c.conn, &want), SL_OK);
	fake_settle(&f);
	say(r, 0, "to\nken");
	fake_commit(r, "progress", "{ \"a\":\n1}");
	fake_publish(&f, r, false);
	fake_settle(&f);
	sl_buf_addc(&c.wire, '\0');
	assert_non_null(strstr(c.wire.data, "id: 1\nevent: snapshot\ndata: {\"event\":\"snapshot\""));
	assert_non_null(strstr(c.wire.data, "\n\nid: 2\nevent: progress\ndata: {\"event\":\"progress\""));
	assert_non_null(strstr(c.wire.data, "\"data\":{ \"a\": 1}}\n\n"));
	assert_non_null(strstr(c.wire.data, "\n\nevent: token_stream\ndata: {"));
	assert_non_null(strstr(c.wire.data, "\"chunk\":\"to\\nken\""));
	client_fini(&c);
	fake_fini(&f);
}

/* ---- everything at once, against the model in the client ---- */

struct dice {
	uint64_t s;
};
static unsigned roll(struct dice *d, unsigned n)
{
	d->s ^= d->s << 13;
	d->s ^= d->s >> 7;
	d->s ^= d->s << 17;
	return (unsigned)((d->s >> 11) % n);
}

#define CLIENTS 6
#define RUNS    3

static void run_step(struct fake *f, struct dice *d)
{
	struct fake_run *r = &f->runs[roll(d, RUNS)];
	unsigned p = roll(d, FAKE_PATHS);
	switch (roll(d, 12)) {
	case 0:
		if (!r->open[p])
			fake_begin(r, p);
		break;
	case 1:
		if (roll(d, 3) == 0)
			fake_end(r, p, roll(d, 4) ? "completed" : "failed");
		break;
	case 2:
		if (roll(d, 3) == 0)
			fake_retry(r, p);
		break;
	case 3:
		fake_commit(r, "progress", "{\"note\":%u}", roll(d, 1000));
		break;
	default: {
		const char *t = texts[roll(d, SL_COUNT_OF(texts))];
		size_t len = strlen(t), cut = roll(d, (unsigned)len + 1); /* also inside a character */
		bool thinking = roll(d, 4) == 0;
		for (unsigned n = roll(d, 40) == 0 ? 3000 : 1; n; n--) {
			fake_text(r, p, t, cut, thinking);
			fake_text(r, p, t + cut, len - cut, thinking);
		}
	}
	}
	if (roll(d, 3) == 0)
		fake_publish_some(f, r, roll(d, 2) ? SIZE_MAX : roll(d, 3), roll(d, 50) == 0);
}

static void client_step(struct client *c, struct dice *d)
{
	size_t run = roll(d, RUNS);
	if (c->conn)
		sl_hub_heard(c->conn);
	switch (roll(d, 40)) {
	case 0:
		client_read(c);
		client_close(c);
		break;
	case 1: /* it goes without reading what is under way */
		client_close(c);
		break;
	case 2:
		c->slow = roll(d, 2);
		break;
	case 3:
		client_say(c, "{\"cmd\":\"set\",\"flush_ms\":%u}", roll(d, 3) ? 25 : roll(d, 1000));
		break;
	case 4:
		client_say(c, "{\"cmd\":\"ping\"}");
		break;
	default:
		if (c->full || c->want) {
			if (roll(d, 4) == 0)
				client_writable(c);
		} else {
			client_read(c);
		}
	}
	if (!c->conn) {
		client_open(c, c->fake);
		client_subscribe(c, run);
	} else if (!client_run(c, run)->on && roll(d, 10) == 0) {
		client_subscribe(c, run);
	}
}

static void one_schedule(uint64_t seed, unsigned steps)
{
	struct dice d = {seed * 0x9e3779b97f4a7c15u + 1};
	struct fake f;
	struct client c[CLIENTS] = {0};

	fake_init(&f, RUNS, 25);
	f.defer = true;
	for (int i = 0; i < CLIENTS; i++)
		client_open(&c[i], &f);
	for (unsigned step = 0; step < steps; step++) {
		run_step(&f, &d);
		client_step(&c[roll(&d, CLIENTS)], &d);
		if (f.n_calls && roll(&d, 3) == 0)
			fake_call_back(&f, roll(&d, (unsigned)f.n_calls));
		if (roll(&d, 2))
			sl_hub_turn(f.hub);
		f.now += roll(&d, 8);
	}
	for (size_t i = 0; i < RUNS; i++) {
		fake_commit(&f.runs[i], "execution:completed", "{}"); /* shows what was lost before */
		fake_publish(&f, &f.runs[i], false);
	}
	for (int i = 0; i < CLIENTS; i++)
		c[i].slow = false;
	for (int k = 0; k < 60; k++) {
		fake_settle(&f);
		for (int i = 0; i < CLIENTS; i++) {
			client_read(&c[i]);
			sl_hub_heard(c[i].conn);
			if (c[i].full || c[i].want)
				client_writable(&c[i]);
		}
	}
	for (int i = 0; i < CLIENTS; i++) {
		assert_int_equal(c[i].closed, 0);
		for (size_t run = 0; run < RUNS; run++)
			if (client_run(&c[i], run)->on)
				client_check_whole(&c[i], run);
	}
	for (int i = 0; i < CLIENTS; i++)
		client_fini(&c[i]);
	f.defer = false;
	while (f.n_calls)
		fake_call_back(&f, 0);
	fake_fini(&f);
}

static void any_schedule_leaves_every_client_with_the_whole_run(void **state)
{
	const char *seed = getenv("SL_SEED");
	if (seed) {
		one_schedule(strtoull(seed, NULL, 10), 1500);
		return;
	}
	for (uint64_t s = 1, n = sl_test_rounds("SLUICE_HUB_SCHEDULES", 60); s <= n; s++)
		one_schedule(s, 1500);
}

/* Nothing is lost here, so nothing may wait for the next thing to happen: whenever it is quiet, all have everything. */
static void quiet(struct fake *f, struct client *c)
{
	for (size_t i = 0; i < RUNS; i++)
		fake_publish(f, &f->runs[i], false);
	for (int k = 0; k < 3; k++) {
		fake_settle(f);
		for (int i = 0; i < CLIENTS; i++) {
			client_read(&c[i]);
			if (c[i].full || c[i].want)
				client_writable(&c[i]);
		}
	}
	for (int i = 0; i < CLIENTS; i++)
		for (size_t run = 0; run < RUNS; run++)
			client_check_whole(&c[i], run);
}

static void tell_something(struct fake *f, struct dice *d)
{
	struct fake_run *r = &f->runs[roll(d, RUNS)];
	unsigned p = roll(d, 2);
	if (roll(d, 6) == 0)
		fake_commit(r, "progress", "{}");
	else
		for (unsigned n = roll(d, 30) == 0 ? 2000 : 1; n; n--)
			say(r, p, texts[roll(d, SL_COUNT_OF(texts))]);
	if (roll(d, 2))
		fake_publish(f, r, false);
}

static void and_take_it_or_not(struct client *c, struct dice *d)
{
	unsigned what = roll(d, 30);
	sl_hub_heard(c->conn);
	if (what == 0)
		c->slow = !c->slow;
	else if (what == 1)
		client_say(c, "{\"cmd\":\"set\",\"flush_ms\":%u}", roll(d, 2) ? 25 : roll(d, 100));
	else if (what == 2 && (c->full || c->want))
		client_writable(c);
	else if (what > 2)
		client_read(c);
}

static void whenever_it_is_quiet_everyone_has_everything(void **state)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct dice d = {seed * 0x9e3779b97f4a7c15u + 7};
		struct fake f;
		struct client c[CLIENTS] = {0};
		fake_init(&f, RUNS, seed % 5 ? 25 : 0);
		for (int i = 0; i < CLIENTS; i++)
			client_open(&c[i], &f);
		for (size_t run = 0; run < RUNS; run++) {
			fake_begin(&f.runs[run], 0);
			fake_begin(&f.runs[run], 1);
			for (int i = 0; i < CLIENTS; i++)
				client_subscribe(&c[i], run);
		}
		for (unsigned step = 0; step < 600; step++) {
			tell_something(&f, &d);
			and_take_it_or_not(&c[roll(&d, CLIENTS)], &d);
			if (roll(&d, 2))
				sl_hub_turn(f.hub);
			f.now += roll(&d, 12);
			if (roll(&d, 60) == 0) {
				for (int i = 0; i < CLIENTS; i++)
					c[i].slow = false;
				quiet(&f, c);
			}
		}
		for (int i = 0; i < CLIENTS; i++)
			client_fini(&c[i]);
		fake_fini(&f);
	}
}

/* One allocation of the hub fails, and memory is back: whoever watches has everything in the end, what came while
 * there was none and what comes later, or was told that it does not, and has it after coming back. */
static void tortured_turn(struct fake *f)
{
	while (f->n_calls)
		fake_call_back(f, 0);
	sl_test_spare(-1);
	sl_hub_turn(f->hub);
	sl_test_spare(1);
	f->now += 30;
}

static void come_back(struct client *c)
{
	struct fake *f = c->fake;
	client_read(c);
	if (c->closed) {
		client_close(c);
		client_open(c, f);
	} else if (!c->errors) {
		return;
	}
	c->errors = 0;
	client_subscribe(c, 0);
	fake_settle(f);
	client_read(c);
}

static bool survives(unsigned nth)
{
	struct fake f;
	struct client c = {0}, all = {.all = true};
	struct fake_run *r;
	SL_TEST_SPARED;
	fake_init(&f, 1, 25);
	client_open(&all, &f);
	client_say(&all, "{\"cmd\":\"subscribe_all\"}");
	sl_hub_turn(f.hub);
	f.defer = true; /* so that the ports' answers are made here, with memory */
	r = &f.runs[0];
	client_open(&c, &f);
	fake_begin(r, 0);
	say(r, 0, "before ");
	fake_publish(&f, r, false);
	client_subscribe(&c, 0);
	sl_test_fail_nth(nth);
	for (unsigned round = 0; round < 12; round++) {
		tortured_turn(&f);
		say(r, 0, "some text ");
		if (round % 3 == 0)
			fake_commit(r, "progress", "{\"round\":%u}", round);
		if (round == 2 || round == 5)
			fake_begin(r, 1); /* and its next attempt */
		if (round == 7)
			for (unsigned i = 0; i < 40; i++)
				fake_commit(r, round % 2 ? "odd" : "even", "{\"i\":%u}", i);
		if (round > 2)
			say(r, 1, "and other ");
		fake_publish(&f, r, false);
	}
	bool failed = sl_test_has_failed();
	sl_test_fail_nth(0);
	fake_settle(&f);
	come_back(&c);
	say(r, 0, "much later");
	say(r, 1, "this, too");
	fake_settle(&f);
	come_back(&c);
	client_check_whole(&c, 0);
	client_read(&all);
	if (!all.closed)
		assert_int_equal(all.n_all, r->n);
	client_fini(&all);
	client_fini(&c);
	fake_fini(&f);
	return failed;
}

static void a_hub_that_was_out_of_memory_for_a_moment_loses_nothing(void **state)
{
	unsigned n = 1;
	if (!sl_test_can_torture())
		skip();
	(void)survives(1); /* what libraries keep for ever is there now */
	long before = sl_test_blocks();
	while (survives(n)) {
		assert_int_equal(sl_test_blocks(), before); /* nothing is kept of it */
		n++;
	}
	assert_in_range(n, 30, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_subscriber_gets_a_snapshot_then_every_event_and_token),
		cmocka_unit_test(a_run_nobody_knows_is_not_found),
		cmocka_unit_test(commands_are_answered_and_bad_ones_do_not_hurt),
		cmocka_unit_test(many_commands_come_in_one_frame),
		cmocka_unit_test(the_first_event_goes_at_once_later_ones_are_gathered),
		cmocka_unit_test(text_that_flows_wakes_nobody_and_leaves_together),
		cmocka_unit_test(an_interval_of_its_own_begins_in_the_middle_of_text),
		cmocka_unit_test(a_turn_ends_even_when_text_flows_faster_than_it_is_written),
		cmocka_unit_test(level_subscribers_share_frames),
		cmocka_unit_test(a_slow_reader_gets_fewer_larger_chunks_and_all_of_it),
		cmocka_unit_test(everything_that_happened_meanwhile_comes_from_the_journal),
		cmocka_unit_test(a_lost_notice_is_read_from_the_journal),
		cmocka_unit_test(a_position_that_cannot_be_is_corrected),
		cmocka_unit_test(events_larger_than_a_frame_travel_in_fragments),
		cmocka_unit_test(all_runs_are_watched_without_tokens_and_nothing_twice),
		cmocka_unit_test(silent_and_stalled_clients_are_closed_others_are_pinged),
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(drain_and_revocation_close_with_a_reason),
		cmocka_unit_test(the_same_run_as_server_sent_events),
		cmocka_unit_test(any_schedule_leaves_every_client_with_the_whole_run),
		cmocka_unit_test(whenever_it_is_quiet_everyone_has_everything),
		cmocka_unit_test(a_hub_that_was_out_of_memory_for_a_moment_loses_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
