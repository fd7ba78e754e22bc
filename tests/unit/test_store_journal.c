/* The journal against a real PostgreSQL: what is promised in store/journal.h, also when processes die. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/embedded.h"
#include "store/journal.h"
#include "tests/lib/pg.h"

static struct sl_pg pg;

/* What the store's thread tells the test. */
static struct {
	pthread_mutex_t m;
	pthread_cond_t changed;
	int done, ok, stale, conflict, invalid, other;
	bool same_request;
	struct sl_run_id existing;
	char order[4096]; /* "seq " of every first record, as the commits came */
	int calls;
	enum sl_code rc;
	struct sl_stored_run **runs;
	size_t n_runs;
	struct sl_stored_run *run;
} seen = {.m = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void on_done(struct sl_batch *b, enum sl_code rc)
{
	pthread_mutex_lock(&seen.m);
	seen.done++;
	*(rc == SL_OK            ? &seen.ok
	  : rc == SL_STALE_EPOCH ? &seen.stale
	  : rc == SL_CONFLICT    ? &seen.conflict
	  : rc == SL_INVALID     ? &seen.invalid
				 : &seen.other) += 1;
	if (rc == SL_CONFLICT) {
		seen.existing = b->existing;
		seen.same_request = b->same_request;
	}
	size_t used = strlen(seen.order);
	if (b->n_records && used + 16 < sizeof(seen.order))
		snprintf(seen.order + used, sizeof(seen.order) - used, "%d ", (int)b->records[0].seq);
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.m);
	sl_batch_free(b);
}

static void on_claim(void *arg, enum sl_code rc, struct sl_stored_run **runs, size_t n)
{
	pthread_mutex_lock(&seen.m);
	seen.calls++;
	seen.rc = rc;
	seen.runs = runs;
	seen.n_runs = n;
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.m);
}

static void on_load(void *arg, enum sl_code rc, struct sl_stored_run *run)
{
	pthread_mutex_lock(&seen.m);
	seen.calls++;
	seen.rc = rc;
	seen.run = run;
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.m);
}

static void forget(void)
{
	pthread_mutex_lock(&seen.m);
	for (size_t i = 0; i < seen.n_runs; i++)
		sl_stored_run_free(seen.runs[i]);
	free(seen.runs);
	sl_stored_run_free(seen.run);
	seen.runs = NULL;
	seen.run = NULL;
	seen.n_runs = 0;
	seen.done = seen.ok = seen.stale = seen.conflict = seen.invalid = seen.other = seen.calls = 0;
	seen.order[0] = 0;
	pthread_mutex_unlock(&seen.m);
}

static void wait_done(int n)
{
	pthread_mutex_lock(&seen.m);
	while (seen.done < n)
		pthread_cond_wait(&seen.changed, &seen.m);
	pthread_mutex_unlock(&seen.m);
}

static void wait_call(void)
{
	pthread_mutex_lock(&seen.m);
	while (!seen.calls)
		pthread_cond_wait(&seen.changed, &seen.m);
	pthread_mutex_unlock(&seen.m);
}

static struct sl_store *open_with(enum sl_store_sharing sharing, uint32_t lease_ms)
{
	struct sl_store_config config;
	struct sl_store *s = NULL;
	struct sl_error err = {0};
	sl_store_config_init(&config);
	config.url = pg.url;
	config.sharing = sharing;
	config.lease_ms = lease_ms;
	if (sl_store_open(&config, &s, &err) != SL_OK || sl_store_wait(s, 20000, &err) != SL_OK)
		fail_msg("%s", err.text);
	return s;
}

static struct sl_store *open_store(void)
{
	return open_with(SL_STORE_SHARED, 15000);
}

static struct sl_run_id new_run(void)
{
	return (struct sl_run_id){sl_uuid_new()};
}

static struct sl_bytes *text(const char *z)
{
	return sl_bytes_new(z, strlen(z));
}

/* n records from seq on; a create when seq is 1. */
static struct sl_batch *batch(struct sl_run_id run, uint64_t epoch, uint64_t seq, size_t n)
{
	struct sl_batch *b = sl_batch_new(n);
	b->run = run;
	b->epoch = epoch;
	b->done = on_done;
	for (size_t i = 0; i < n; i++) {
		b->records[i] = (struct sl_record){.seq = seq + i,
						   .wall_ms = 1763658000000 + (int64_t)seq,
						   .event = "node_state_change",
						   .data = text("{\"node_id\":\"a\",  \"b\":\"\xc3\xa4\"}"),
						   .detail = i % 2 ? NULL : text("{\"output\":{\"text\":\"hi\"}}")};
		b->bytes += 60;
	}
	if (seq == 1) {
		b->create = sl_run_head_new();
		b->create->id = run;
		b->create->workflow = sl_str_dup(SL_STR("debate"));
		b->create->project = sl_str_dup(SL_STR("default"));
		b->create->definition = text("{\"sluice\":1}");
		b->create->inputs = text("{\"topic\":\"x\"}");
		b->create->created_ms = 1763657999123;
	}
	return b;
}

static void project(struct sl_batch *b, const char *status, bool done)
{
	b->has_projection = true;
	b->projection = (struct sl_projection){.status = status,
					       .started_ms = 1763658000001,
					       .nodes_total = 3,
					       .nodes_done = 1,
					       .input_tokens = 10,
					       .output_tokens = 20,
					       .cost_microusd = 1234,
					       .done = done};
}

static void append(struct sl_store *s, struct sl_batch *b)
{
	assert_int_equal(sl_store_append(s, b), SL_OK);
}

static long count(const char *sql)
{
	return sl_pg_count(&pg, sql);
}

static void what_was_appended_is_loaded_again_to_the_byte(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	struct sl_batch *b = batch(run, 1, 1, 3);
	b->records[2].once = text("a/b");
	b->create->tags = text("[\"t\"]");
	b->create->created_by = sl_str_dup(SL_STR("me"));
	project(b, "running", false);
	append(s, b);
	append(s, batch(run, 1, 4, 2));
	wait_done(2);
	assert_int_equal(seen.ok, 2);
	assert_int_equal(sl_store_load(s, run, on_load, NULL), SL_OK);
	wait_call();
	assert_int_equal(seen.rc, SL_OK);
	assert_int_equal(seen.run->n_records, 5);
	assert_int_equal(seen.run->epoch, 1);
	assert_string_equal(seen.run->head->workflow, "debate");
	assert_string_equal(seen.run->head->definition->data, "{\"sluice\":1}");
	assert_string_equal(seen.run->head->inputs->data, "{\"topic\":\"x\"}");
	assert_string_equal(seen.run->head->tags->data, "[\"t\"]");
	assert_string_equal(seen.run->head->created_by, "me");
	assert_int_equal(seen.run->head->created_ms, 1763657999123);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(seen.run->records[i].seq, i + 1);
		assert_string_equal(seen.run->records[i].event, "node_state_change");
		assert_string_equal(seen.run->records[i].data->data, "{\"node_id\":\"a\",  \"b\":\"\xc3\xa4\"}");
	}
	assert_int_equal(seen.run->records[0].wall_ms, 1763658000001);
	assert_string_equal(seen.run->records[2].once->data, "a/b");
	assert_null(seen.run->records[1].detail);
	assert_string_equal(seen.run->records[3].detail->data, "{\"output\":{\"text\":\"hi\"}}");
	assert_int_equal(count("SELECT cost_microusd FROM runs"), 1234);
	assert_int_equal(count("SELECT last_seq FROM runs"), 5);
	forget();
	assert_int_equal(sl_store_load(s, new_run(), on_load, NULL), SL_OK);
	wait_call();
	assert_int_equal(seen.rc, SL_NOT_FOUND);
	sl_store_close(s, 5000);
}

static void a_stale_epoch_is_refused_with_all_that_follows(void **state)
{
	struct sl_store *s = open_store();
	struct sl_store_stats stats;
	struct sl_run_id run = new_run(), other = new_run();
	append(s, batch(run, 3, 1, 1));
	append(s, batch(other, 1, 1, 1));
	wait_done(2);
	sl_pg_exec(&pg, "UPDATE runs SET epoch = 4 WHERE epoch = 3");
	append(s, batch(run, 3, 2, 2));
	append(s, batch(run, 3, 4, 1));
	append(s, batch(other, 1, 2, 1));
	append(s, batch(run, 4, 2, 1));       /* the new owner's goes on */
	append(s, batch(new_run(), 1, 7, 1)); /* a run that is not there */
	wait_done(7);
	assert_int_equal(seen.stale, 3);
	assert_int_equal(seen.ok, 4);
	assert_int_equal(count("SELECT count(*) FROM run_events WHERE seq > 0"), 4);
	sl_store_stats(s, &stats);
	assert_int_equal(stats.stale, 3);
	sl_store_close(s, 5000);
}

static void a_gap_or_a_repeat_is_a_conflict(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	append(s, batch(run, 1, 1, 2));
	wait_done(1);
	append(s, batch(run, 1, 4, 1));
	wait_done(2);
	append(s, batch(run, 1, 2, 1));
	wait_done(3);
	assert_int_equal(seen.conflict, 2);
	append(s, batch(run, 1, 3, 1));
	wait_done(4);
	assert_int_equal(seen.ok, 2);
	sl_store_close(s, 5000);
}

static void a_taken_once_key_fails_its_batch_and_no_other(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id runs[20];
	for (int i = 0; i < 20; i++) {
		runs[i] = new_run();
		struct sl_batch *b = batch(runs[i], 1, 1, 1);
		b->records[0].once = text("judge");
		append(s, b);
	}
	wait_done(20);
	for (int i = 0; i < 20; i++) {
		struct sl_batch *b = batch(runs[i], 1, 2, 1);
		b->records[0].once = text(i == 7 ? "judge" : "other");
		append(s, b);
	}
	struct sl_batch *bad = batch(runs[8], 1, 3, 1); /* a zero byte is no text */
	sl_bytes_unref(bad->records[0].data);
	bad->records[0].data = sl_bytes_new("{\"a\0b\":1}", 9);
	append(s, bad);
	append(s, batch(runs[9], 1, 3, 1));
	wait_done(42);
	assert_int_equal(seen.conflict, 1);
	assert_int_equal(seen.invalid, 1);
	assert_int_equal(seen.ok, 40);
	assert_int_equal(count("SELECT count(*) FROM run_events WHERE seq > 0"), 40);
	sl_store_close(s, 5000);
}

static struct sl_batch *keyed(struct sl_run_id run, const char *key, const char *digest)
{
	struct sl_batch *b = batch(run, 1, 1, 1);
	b->create->idempotency_key = sl_str_dup(sl_str(key));
	b->create->idempotency_digest = text(digest);
	return b;
}

static void an_idempotency_key_stands_for_one_run(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id first = new_run();
	append(s, keyed(first, "k", "same"));
	wait_done(1);
	append(s, keyed(new_run(), "k", "same"));
	wait_done(2);
	assert_int_equal(seen.conflict, 1);
	assert_true(seen.same_request);
	assert_true(sl_run_id_eq(seen.existing, first));
	append(s, keyed(new_run(), "k", "different"));
	wait_done(3);
	assert_int_equal(seen.conflict, 2);
	assert_false(seen.same_request);
	forget();
	for (int i = 0; i < 50; i++) /* all at once: one wins */
		append(s, keyed(new_run(), "race", "same"));
	wait_done(50);
	assert_int_equal(seen.ok, 1);
	assert_int_equal(seen.conflict, 49);
	assert_int_equal(count("SELECT count(*) FROM runs"), 2);
	assert_int_equal(count("SELECT count(*) FROM run_events WHERE seq = 1"), 2);
	sl_store_close(s, 5000);
}

static void batches_of_a_run_stay_in_order_under_load(void **state)
{
	struct sl_store *s = open_store();
	struct sl_store_stats stats;
	struct sl_run_id runs[40];
	for (int i = 0; i < 40; i++)
		runs[i] = new_run();
	for (uint64_t seq = 1; seq <= 50; seq++)
		for (int i = 0; i < 40; i++) {
			struct sl_batch *b = batch(runs[i], 1, seq, 1);
			project(b, "running", seq == 50);
			append(s, b);
		}
	wait_done(2000);
	assert_int_equal(seen.ok, 2000);
	assert_int_equal(count("SELECT count(*) FROM runs WHERE last_seq = 50 AND done AND owner IS NULL"), 40);
	assert_int_equal(count("SELECT count(*) FROM run_events WHERE seq > 0"), 2000);
	sl_store_stats(s, &stats);
	assert_true(stats.commits < 1000); /* shared commits */
	assert_int_equal(stats.queued, 0);
	assert_int_equal(stats.queued_bytes, 0);
	sl_store_close(s, 5000);
}

/* Another server process: makes runs, then waits to be killed. */
static pid_t other_server(int n, enum sl_store_sharing sharing, uint32_t lease_ms)
{
	int fd[2];
	char c = 0;
	assert_int_equal(pipe(fd), 0);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		struct sl_store *s = open_with(sharing, lease_ms);
		for (int i = 0; i < n; i++)
			append(s, batch(new_run(), 1, 1, 2));
		wait_done(n);
		c = seen.ok == n ? 'y' : 'n';
		if (write(fd[1], &c, 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	close(fd[1]);
	assert_int_equal(read(fd[0], &c, 1), 1);
	close(fd[0]);
	assert_int_equal(c, 'y');
	return pid;
}

static void claim(struct sl_store *s, size_t max)
{
	forget();
	assert_int_equal(sl_store_claim(s, max, on_claim, NULL), SL_OK);
	wait_call();
	assert_int_equal(seen.rc, SL_OK);
}

static void runs_of_a_killed_server_are_claimed_at_once_and_counted(void **state)
{
	pid_t other = other_server(5, SL_STORE_SHARED, 60000);
	struct sl_store *s = open_store();
	claim(s, 100);
	assert_int_equal(seen.n_runs, 0); /* it lives */
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	/* far below its lease: PostgreSQL only has to see the sockets close */
	uint64_t deadline = sl_clock_mono_ms() + 30000;
	for (claim(s, 3); seen.n_runs == 0 && sl_clock_mono_ms() < deadline; claim(s, 3))
		usleep(2000);
	assert_int_equal(seen.n_runs, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(seen.runs[i]->epoch, 2);
		assert_int_equal(seen.runs[i]->recoveries, 1);
		assert_int_equal(seen.runs[i]->n_records, 2);
		assert_string_equal(seen.runs[i]->head->definition->data, "{\"sluice\":1}");
	}
	claim(s, 100);
	assert_int_equal(seen.n_runs, 2);
	claim(s, 100);
	assert_int_equal(seen.n_runs, 0);
	sl_store_close(s, 5000);
}

static void a_frozen_server_loses_its_runs_with_its_lease(void **state)
{
	pid_t other = other_server(2, SL_STORE_SHARED, 300);
	kill(other, SIGSTOP); /* its connections live on, as across a network that fell silent */
	struct sl_store *s = open_store();
	do
		claim(s, 10);
	while (seen.n_runs == 0);
	assert_int_equal(seen.n_runs, 2);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	sl_store_close(s, 5000);
}

static void a_clean_close_hands_runs_over_without_counting_a_crash(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	append(s, batch(run, 1, 1, 1));
	sl_store_close(s, 5000); /* drains first */
	assert_int_equal(seen.ok, 1);
	assert_int_equal(count("SELECT count(*) FROM instances"), 0);
	s = open_store();
	claim(s, 10);
	assert_int_equal(seen.n_runs, 1);
	assert_int_equal(seen.runs[0]->recoveries, 0);
	assert_int_equal(seen.runs[0]->epoch, 2);
	forget();
	append(s, batch(run, 1, 2, 1));
	wait_done(1);
	assert_int_equal(seen.stale, 1);
	sl_store_close(s, 5000);
}

static void reopen(struct sl_store *s, struct sl_run_id run)
{
	forget();
	assert_int_equal(sl_store_reopen(s, run, on_load, NULL), SL_OK);
	wait_call();
}

static void a_run_that_failed_is_opened_again_by_one_at_a_time(void **state)
{
	struct sl_store *s = open_store();
	struct sl_run_id run = new_run();
	struct sl_batch *b = batch(run, 1, 1, 1);
	append(s, b);
	wait_done(1);
	reopen(s, run); /* it goes on */
	assert_int_equal(seen.rc, SL_CONFLICT);
	reopen(s, new_run());
	assert_int_equal(seen.rc, SL_NOT_FOUND);
	forget();
	b = batch(run, 1, 2, 1);
	project(b, "failed", true);
	append(s, b);
	wait_done(1);
	sl_pg_exec(&pg, "UPDATE runs SET recoveries = 5");
	reopen(s, run);
	assert_int_equal(seen.rc, SL_OK);
	assert_int_equal(seen.run->epoch, 2);
	assert_int_equal(seen.run->recoveries, 0);
	assert_int_equal(seen.run->n_records, 2);
	assert_string_equal(seen.run->head->definition->data, "{\"sluice\":1}");
	assert_int_equal(count("SELECT count(*) FROM runs WHERE done AND status = 'failed' AND owner IS NOT NULL"), 1);
	claim(s, 10); /* as long as nothing was written it has ended */
	assert_int_equal(seen.n_runs, 0);
	reopen(s, run); /* somebody else, at the same time */
	assert_int_equal(seen.run->epoch, 3);
	forget();
	b = batch(run, 2, 3, 1);
	project(b, "queued", false);
	append(s, b);
	wait_done(1);
	assert_int_equal(seen.stale, 1);
	b = batch(run, 3, 3, 1);
	project(b, "queued", false);
	append(s, b);
	wait_done(2);
	assert_int_equal(seen.ok, 1);
	assert_int_equal(count("SELECT count(*) FROM runs WHERE NOT done AND status = 'queued' AND owner IS NOT NULL"),
			 1);
	reopen(s, run);
	assert_int_equal(seen.rc, SL_CONFLICT);
	sl_store_close(s, 5000);
}

static void an_exclusive_store_claims_whatever_is_left(void **state)
{
	pid_t other = other_server(2, SL_STORE_EXCLUSIVE, 1000000);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	sl_pg_kill(&pg); /* the machine's power went, say */
	sl_pg_revive(&pg);
	struct sl_store *s = open_with(SL_STORE_EXCLUSIVE, 15000);
	claim(s, 10);
	assert_int_equal(seen.n_runs, 2);
	sl_store_close(s, 5000);
}

/* 1,000 batches over 20 runs, while `disturb` happens in the middle. */
static void storm(void (*disturb)(void))
{
	struct sl_store *s = open_store();
	struct sl_run_id runs[20];
	for (int i = 0; i < 20; i++)
		runs[i] = new_run();
	for (uint64_t seq = 1; seq <= 50; seq++) {
		for (int i = 0; i < 20; i++)
			append(s, batch(runs[i], 1, seq, 1));
		if (seq % 5 == 0)
			wait_done((int)(seq - 5) * 20); /* a window of 100 is on its way */
		if (seq == 15 || seq == 25 || seq == 35)
			disturb();
	}
	wait_done(1000);
	assert_int_equal(seen.ok, 1000);
	assert_int_equal(count("SELECT count(*) FROM run_events WHERE seq > 0"), 1000);
	assert_int_equal(count("SELECT count(*) FROM runs WHERE last_seq = 50"), 20);
	assert_int_equal(count("SELECT count(*) FROM (SELECT run_id, count(*) n, max(seq) m FROM run_events WHERE seq "
			       "> 0 GROUP BY 1) x "
			       "WHERE n <> m"),
			 0);
	sl_store_close(s, 5000);
}

static void kill_postmaster(void)
{
	sl_pg_kill(&pg);
	sl_pg_revive(&pg);
}

static void a_killed_and_restarted_postgres_loses_and_doubles_nothing(void **state)
{
	storm(kill_postmaster);
}

static void terminate_backends(void)
{
	sl_pg_exec(&pg,
		   "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sluice journal'");
}

static void terminated_backends_lose_and_double_nothing(void **state)
{
	storm(terminate_backends);
}

/* What the process below does: a run in three batches, each of which must be written in spite of the test point. */
static int three_batches(const char *url)
{
	struct sl_store_stats stats;
	struct sl_run_id run = new_run();
	pg.url = url;
	struct sl_store *s = open_store();
	append(s, keyed(run, "p", "d"));
	wait_done(1);
	append(s, batch(run, 1, 2, 2));
	wait_done(2);
	append(s, batch(run, 1, 4, 1));
	wait_done(3);
	sl_store_stats(s, &stats);
	sl_store_close(s, 5000);
	return seen.ok != 3 ? 1 : stats.reconnects == 0 ? 2 : 0;
}

/* In a program of its own, because a test point is read from the environment once. */
static void with_point(const char *point)
{
	int status;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		setenv("SLUICE_FAILPOINT", point, 1);
		execl("/proc/self/exe", "test_store_journal", pg.url, (char *)NULL);
		_exit(3);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(count("SELECT count(*) FROM run_events WHERE seq > 0"), 4);
	sl_pg_empty(&pg);
}

static void a_lost_reply_is_resolved_at_every_point(void **state)
{
	with_point("journal.before_send:1:error");
	with_point("journal.before_send:2:error");
	with_point("journal.sent:1:error"); /* the create, with its idempotency key */
	with_point("journal.sent:2:error");
	with_point("journal.committed:1:error");
	with_point("journal.committed:2:error");
}

static void postgres_away_keeps_batches_and_fails_queries_in_time(void **state)
{
	struct sl_store_config config;
	struct sl_store_health health;
	struct sl_store *s = NULL;
	struct sl_error err = {0};
	struct sl_run_id run = new_run();
	sl_store_config_init(&config);
	config.url = pg.url;
	config.query_timeout_ms = 300;
	config.journal_connections = 1; /* one goes before the other, and the other would still write */
	assert_int_equal(sl_store_open(&config, &s, &err), SL_OK);
	assert_int_equal(sl_store_wait(s, 20000, &err), SL_OK);
	append(s, batch(run, 1, 1, 1));
	wait_done(1);
	sl_pg_kill(&pg);
	do { /* its backends serve on until they notice */
		usleep(1000);
		sl_store_health(s, &health);
	} while (health.state != SL_STORE_FAILING);
	append(s, batch(run, 1, 2, 1));
	for (;;) { /* likewise the one that reads; one after the other */
		pthread_mutex_lock(&seen.m);
		seen.calls = 0;
		pthread_mutex_unlock(&seen.m);
		assert_int_equal(sl_store_load(s, run, on_load, NULL), SL_OK);
		wait_call();
		if (seen.rc == SL_UNAVAILABLE)
			break;
		assert_true(seen.rc == SL_OK || seen.rc == SL_BUSY); /* busy: its time was over before its turn came */
		sl_stored_run_free(seen.run);
		seen.run = NULL;
	}
	assert_int_equal(seen.rc, SL_UNAVAILABLE);
	assert_true(health.since_ms > 0);
	assert_int_equal(seen.done, 1);
	sl_pg_revive(&pg);
	wait_done(2);
	assert_int_equal(seen.ok, 2);
	assert_int_equal(sl_store_wait(s, 20000, &err), SL_OK);
	sl_store_close(s, 5000);
}

static void a_read_only_postgres_is_told_and_waited_for(void **state)
{
	struct sl_store *s = open_store();
	struct sl_store_health health;
	struct sl_run_id run = new_run();
	struct sl_error err = {0};
	sl_pg_exec(&pg, "ALTER SYSTEM SET default_transaction_read_only = on");
	sl_pg_exec(&pg, "SELECT pg_reload_conf()");
	while (count("SELECT (current_setting('default_transaction_read_only') = 'on')::int") != 1)
		usleep(1000);
	terminate_backends();
	append(s, batch(run, 1, 1, 1));
	do {
		usleep(1000);
		sl_store_health(s, &health);
	} while (health.state != SL_STORE_READ_ONLY);
	sl_pg_exec(&pg, "SET default_transaction_read_only = off; ");
	sl_pg_exec(&pg, "ALTER SYSTEM RESET default_transaction_read_only");
	sl_pg_exec(&pg, "SELECT pg_reload_conf()");
	wait_done(1);
	assert_int_equal(seen.ok, 1);
	assert_int_equal(sl_store_wait(s, 20000, &err), SL_OK);
	sl_store_close(s, 5000);
}

static void closing_ends_what_cannot_be_written(void **state)
{
	struct sl_store_config config;
	struct sl_store *s = NULL;
	struct sl_error err = {0};
	sl_store_config_init(&config);
	config.url = "host=/nonexistent dbname=x";
	assert_int_equal(sl_store_open(&config, &s, &err), SL_OK);
	assert_int_equal(sl_store_wait(s, 50, &err), SL_TIMEOUT);
	append(s, batch(new_run(), 1, 1, 1));
	assert_int_equal(sl_store_load(s, new_run(), on_load, NULL), SL_OK);
	assert_int_equal(sl_store_claim(s, 5, on_claim, NULL), SL_OK);
	sl_store_close(s, 50);
	assert_int_equal(seen.other, 1);
	assert_int_equal(seen.calls, 2);
	assert_int_equal(seen.rc, SL_CANCELLED);
}

static void new_runs_are_refused_while_too_much_waits(void **state)
{
	struct sl_store_config config;
	struct sl_store *s = NULL;
	struct sl_error err = {0};
	struct sl_run_id run = new_run();
	enum sl_code rc = SL_OK;
	int taken = 0;
	sl_store_config_init(&config);
	config.url = "host=/nonexistent dbname=x";
	assert_int_equal(sl_store_open(&config, &s, &err), SL_OK);
	while (rc == SL_OK && taken < 100) {
		struct sl_batch *b = batch(new_run(), 1, 1, 1);
		b->bytes = 1 << 20; /* says so, at least */
		rc = sl_store_append(s, b);
		taken += rc == SL_OK;
	}
	assert_int_equal(rc, SL_BUSY);
	assert_int_equal(taken, 64);
	append(s, batch(run, 1, 2, 1)); /* what runs already goes on */
	sl_store_close(s, 10);
	assert_int_equal(seen.other, taken + 1);
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

static int tidy(void **state)
{
	forget();
	return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, clean, tidy)
int main(int argc, char **argv)
{
	if (argc == 2)
		return three_batches(argv[1]);
	const struct CMUnitTest tests[] = {
		TEST(what_was_appended_is_loaded_again_to_the_byte),
		TEST(a_stale_epoch_is_refused_with_all_that_follows),
		TEST(a_gap_or_a_repeat_is_a_conflict),
		TEST(a_taken_once_key_fails_its_batch_and_no_other),
		TEST(an_idempotency_key_stands_for_one_run),
		TEST(batches_of_a_run_stay_in_order_under_load),
		TEST(runs_of_a_killed_server_are_claimed_at_once_and_counted),
		TEST(a_frozen_server_loses_its_runs_with_its_lease),
		TEST(a_clean_close_hands_runs_over_without_counting_a_crash),
		TEST(a_run_that_failed_is_opened_again_by_one_at_a_time),
		TEST(an_exclusive_store_claims_whatever_is_left),
		TEST(a_killed_and_restarted_postgres_loses_and_doubles_nothing),
		TEST(terminated_backends_lose_and_double_nothing),
		TEST(a_lost_reply_is_resolved_at_every_point),
		TEST(postgres_away_keeps_batches_and_fails_queries_in_time),
		TEST(a_read_only_postgres_is_told_and_waited_for),
		TEST(closing_ends_what_cannot_be_written),
		TEST(new_runs_are_refused_while_too_much_waits),
	};
	return cmocka_run_group_tests_name("store/journal", tests, group_setup, group_teardown);
}
