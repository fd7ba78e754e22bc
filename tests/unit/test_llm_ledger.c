/* The ledger of called-off calls: rows on their way, and what calls enter there. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "llm/chat.h"
#include "llm/ledger.h"
#include "llm/profile.h"
#include "llm/sim.h"
#include "base/json.h"

/* ---- rows on their way: a port that does what the test says ---- */

struct port {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool at_once;
	unsigned writes;
	size_t batch; /* rows of the write under way */
	size_t rows;
	uint32_t first_attempt; /* of the rows written: their order */
	struct sl_call_row last;
	void (*done)(void *arg, enum sl_code rc);
	void *arg;
};

static void port_write(void *ctx, const struct sl_call_row *rows, size_t n, void (*done)(void *arg, enum sl_code rc),
		       void *arg)
{
	struct port *p = ctx;
	pthread_mutex_lock(&p->lock);
	p->writes++;
	p->batch = n;
	p->rows += n;
	p->first_attempt = rows[0].attempt;
	sl_call_row_fini(&p->last);
	p->last = rows[n - 1];
	p->last.path = strdup(rows[n - 1].path ? rows[n - 1].path : "");
	p->last.provider = strdup(rows[n - 1].provider ? rows[n - 1].provider : "");
	p->last.profile = strdup(rows[n - 1].profile ? rows[n - 1].profile : "");
	p->last.model = strdup(rows[n - 1].model ? rows[n - 1].model : "");
	p->done = done;
	p->arg = arg;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	if (p->at_once)
		done(arg, SL_OK);
}

static void port_done(struct port *p, enum sl_code rc)
{
	void (*done)(void *, enum sl_code) = p->done;
	p->done = NULL;
	assert_non_null(done);
	done(p->arg, rc);
}

static struct port port_of(bool at_once)
{
	return (struct port){
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .at_once = at_once};
}

static struct sl_call_ledger *ledger_on(struct port *p)
{
	struct sl_call_ledger *l = NULL;
	const struct sl_call_ledger_port port = {port_write, p};
	assert_int_equal(sl_call_ledger_new(&port, &l), SL_OK);
	return l;
}

static void add(struct sl_call_ledger *l, uint32_t attempt)
{
	struct sl_call_row row = {.id = sl_uuid_new(),
				  .path = strdup("a"),
				  .attempt = attempt,
				  .kind = "llm",
				  .reason = SL_CALL_CANCELLED,
				  .close_us = 300};
	sl_call_ledger_add(l, &row);
	assert_null(row.path); /* taken */
}

static void a_burst_goes_in_one_batch_behind_the_one_under_way(void **state)
{
	struct port p = port_of(false);
	struct sl_call_ledger_stats st;
	SL_AUTO(sl_call_ledger) l = ledger_on(&p);
	for (uint32_t i = 1; i <= 300; i++)
		add(l, i);
	assert_int_equal(p.writes, 1);
	assert_int_equal(p.batch, 1);
	assert_false(sl_call_ledger_drain(l, 1)); /* nothing answers */
	port_done(&p, SL_OK);
	assert_int_equal(p.writes, 2);
	assert_int_equal(p.batch, 299);
	assert_int_equal(p.first_attempt, 2);
	assert_int_equal(p.last.attempt, 300);
	port_done(&p, SL_OK);
	assert_true(sl_call_ledger_drain(l, 1));
	sl_call_ledger_stats(l, &st);
	assert_int_equal(st.rows, 300);
	assert_int_equal(st.written, 300);
	assert_int_equal(st.lost, 0);
	assert_int_equal(st.close.n, 300);
	assert_int_equal(st.close.counts[2], 300); /* up to half a millisecond */
	sl_call_row_fini(&p.last);
}

static void when_nothing_can_be_written_the_oldest_rows_are_lost_and_counted(void **state)
{
	struct port p = port_of(false);
	struct sl_call_ledger_stats st;
	SL_AUTO(sl_call_ledger) l = ledger_on(&p);
	for (uint32_t i = 1; i <= SL_LIMIT_LEDGER_ROWS + 11; i++)
		add(l, i);
	sl_call_ledger_stats(l, &st);
	assert_int_equal(st.waiting, SL_LIMIT_LEDGER_ROWS + 1); /* one is under way */
	assert_int_equal(st.lost, 10);
	port_done(&p, SL_OK);
	assert_int_equal(p.first_attempt, 12); /* 2 to 11 are gone */
	p.at_once = true;
	port_done(&p, SL_OK);
	assert_true(sl_call_ledger_drain(l, 1));
	assert_int_equal(p.rows, SL_LIMIT_LEDGER_ROWS + 1);
	sl_call_row_fini(&p.last);
}

static void rows_the_port_gives_up_are_counted_as_lost(void **state)
{
	struct port p = port_of(false);
	struct sl_call_ledger_stats st;
	SL_AUTO(sl_call_ledger) l = ledger_on(&p);
	add(l, 1);
	port_done(&p, SL_CANCELLED);
	sl_call_ledger_stats(l, &st);
	assert_int_equal(st.lost, 1);
	assert_int_equal(st.written, 0);
	sl_call_row_fini(&p.last);
}

/* ---- what calls enter ---- */

struct fixture {
	struct port port;
	struct sl_call_ledger *ledger;
	struct sl_sim *sim;
	struct sl_profiles *profiles;
	struct sl_llm *llm;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t bytes;
	unsigned dones;
	enum sl_code rc, refuse;
	struct sl_chat_usage usage;
};

static int setup(void **state)
{
	static const uint8_t secret[32] = {7};
	struct fixture *f = calloc(1, sizeof(*f));
	struct sl_error err;
	f->port = port_of(true);
	f->ledger = ledger_on(&f->port);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	assert_int_equal(sl_sim_start(&(struct sl_sim_config){.scenario = SL_STR("{\"sim\":1}")}, &f->sim, &err),
			 SL_OK);
	assert_int_equal(sl_profiles_new(secret, &f->profiles), SL_OK);
	assert_int_equal(sl_profiles_add_sim(f->profiles, "sim", sl_sim_url(f->sim)), SL_OK);
	const struct sl_llm_config config = {.profiles = f->profiles, .ledger = f->ledger};
	assert_int_equal(sl_llm_new(&config, &f->llm, &err), SL_OK);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	sl_llm_free(f->llm);
	sl_call_ledger_free(f->ledger);
	sl_profiles_free(f->profiles);
	sl_sim_free(f->sim);
	sl_call_row_fini(&f->port.last);
	free(f);
	return 0;
}

static enum sl_code on_delta(void *ctx, enum sl_chat_kind kind, struct sl_str piece)
{
	struct fixture *f = ctx;
	pthread_mutex_lock(&f->lock);
	f->bytes += piece.len;
	enum sl_code rc = f->refuse;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return rc;
}

static void on_done(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_chat_result *r)
{
	struct fixture *f = ctx;
	pthread_mutex_lock(&f->lock);
	f->dones++;
	f->rc = rc;
	f->usage = r->usage;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static const struct sl_chat_callbacks callbacks = {on_delta, on_done};
static const char path[] = "refine#2/judge";

static struct sl_chat *ask(struct fixture *f, const char *model, struct sl_http_timeouts timeouts)
{
	struct sl_chat *c = NULL;
	struct sl_error err;
	struct sl_chat_request r = SL_CHAT_REQUEST;
	r.model = sl_str(model);
	r.messages = SL_STR("[{\"role\":\"user\",\"content\":\"go on for ever\"}]");
	r.timeouts = timeouts;
	r.input_tokens = 1234;
	r.of = (struct sl_call_of){.run = {sl_uuid_new()}, .path = sl_str(path), .attempt = 3};
	assert_int_equal(sl_chat_start(f->llm, &r, &callbacks, f, &c, &err), SL_OK);
	return c;
}

static void wait_bytes(struct fixture *f, size_t want)
{
	pthread_mutex_lock(&f->lock);
	while (f->bytes < want && !f->dones)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static void wait_done(struct fixture *f, unsigned want)
{
	pthread_mutex_lock(&f->lock);
	while (f->dones < want)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

#define ENDLESS "sim+tps=300,tokens=100000"

static void a_cancelled_call_leaves_one_row_with_what_had_come(void **state)
{
	struct fixture *f = *state;
	struct sl_chat_spent spent, later;
	struct sl_chat *c = ask(f, ENDLESS, (struct sl_http_timeouts){0});
	wait_bytes(f, 400);
	uint64_t ordered = sl_clock_mono_us() - 2000; /* it took 2 ms to come here */
	int64_t wall = sl_clock_wall_ms();
	sl_chat_call_off(c, "paused", ordered);
	assert_true(sl_chat_spent(c, &spent));
	sl_chat_cancel(c); /* the first reason counts */
	wait_done(f, 1);
	const struct sl_call_row *row = &f->port.last;
	assert_int_equal(f->rc, SL_CANCELLED);
	assert_int_equal(f->port.rows, 1);
	assert_string_equal(row->path, path);
	assert_int_equal(row->attempt, 3);
	assert_string_equal(row->kind, "llm");
	assert_string_equal(row->reason, "paused");
	assert_string_equal(row->profile, "sim");
	assert_string_equal(row->model, ENDLESS);
	assert_int_equal(row->http_status, 200);
	assert_true(row->close_us > 2000 && row->close_us < 30000000);
	assert_true(row->closed_ms >= row->ordered_ms && row->closed_ms - row->ordered_ms < 30000);
	assert_true(row->ordered_ms >= wall - 30000 && row->ordered_ms <= wall);
	assert_false(row->multiplexed);
	assert_true(row->bytes > f->bytes); /* the events around the text */
	assert_true(row->chunks > 3);
	assert_int_equal(row->input_tokens, 1234);
	assert_true(row->output_tokens > f->bytes / 10 && row->output_tokens < f->bytes);
	assert_true(row->estimated);
	/* who called it off could book the same, but for a piece that was under way */
	assert_true(spent.usage.estimated);
	assert_int_equal(spent.usage.input_tokens, 1234);
	assert_true(spent.usage.output_tokens > 0 && spent.usage.output_tokens <= row->output_tokens);
	assert_true(sl_chat_spent(c, &later));
	assert_int_equal(later.usage.output_tokens, row->output_tokens);
	assert_true(f->usage.estimated && f->usage.output_tokens == row->output_tokens);
	sl_chat_unref(c);
}

static void a_call_that_came_to_its_end_leaves_none_and_is_booked_as_the_provider_says(void **state)
{
	struct fixture *f = *state;
	struct sl_chat_spent spent;
	struct sl_chat *c = ask(f, "sim+tps=0,tokens=40", (struct sl_http_timeouts){0});
	wait_done(f, 1);
	assert_int_equal(f->rc, SL_OK);
	sl_chat_cancel(c); /* too late */
	assert_true(sl_chat_spent(c, &spent));
	assert_true(spent.usage.known && !spent.usage.estimated);
	assert_int_equal(spent.usage.output_tokens, f->usage.output_tokens);
	sl_llm_stop(f->llm);
	assert_int_equal(f->port.rows, 0);
	sl_chat_unref(c);
}

static void deadlines_trips_and_the_stop_are_called_by_their_names(void **state)
{
	static const struct {
		const char *model;
		struct sl_http_timeouts timeouts;
		enum sl_code refuse;
		bool stop;
		enum sl_code rc;
		const char *reason;
		bool has_text;
	} cases[] = {
		{"sim+fault=F11", {.first_byte_ms = 50}, SL_OK, false, SL_TIMEOUT, "timeout", false},
		{"sim+fault=F12,after=5,tps=1000", {.idle_ms = 3000}, SL_OK, false, SL_TIMEOUT, "timeout", true},
		{"sim+tps=300,tokens=100000,first_ms=0", {.total_ms = 4000}, SL_OK, false, SL_TIMEOUT, "timeout", true},
		{ENDLESS, {0}, SL_TRIPPED, false, SL_TRIPPED, "locked", true},
		{ENDLESS, {0}, SL_TOO_LARGE, false, SL_TOO_LARGE, "too_large", true},
		{ENDLESS, {0}, SL_OK, true, SL_CANCELLED, "stopping", true},
	};
	struct fixture *f = *state;
	for (unsigned i = 0; i < SL_COUNT_OF(cases); i++) {
		f->bytes = 0;
		f->refuse = cases[i].refuse;
		struct sl_chat *c = ask(f, cases[i].model, cases[i].timeouts);
		if (cases[i].stop) {
			pthread_mutex_lock(&f->lock);
			while (!f->bytes)
				pthread_cond_wait(&f->changed, &f->lock);
			pthread_mutex_unlock(&f->lock);
			sl_llm_stop(f->llm);
		}
		wait_done(f, i + 1);
		assert_int_equal(f->rc, cases[i].rc);
		assert_int_equal(f->port.rows, i + 1);
		assert_string_equal(f->port.last.reason, cases[i].reason);
		assert_true(f->port.last.close_us > 0 && f->port.last.close_us < 30000000);
		assert_int_equal(f->port.last.output_tokens > 0, cases[i].has_text);
		assert_int_equal(f->port.last.input_tokens, 1234); /* it was sent */
		sl_chat_unref(c);
	}
}

static void nothing_is_owed_for_what_was_never_sent(void **state)
{
	struct fixture *f = *state;
	struct sl_chat_spent spent;
	struct sl_profile_row row = {0};
	struct sl_error err;
	SL_AUTO_JSON doc = NULL;
	/* an address of TEST-NET-1, that nobody answers at */
	assert_int_equal(
		sl_json_parse(SL_STR("{\"provider\":\"openai\",\"model\":\"m\",\"api_keys\":[\"sk-nobody-1234\"],"
				     "\"base_url\":\"http://192.0.2.1:9/v1\",\"default\":true}"),
			      &doc, &err),
		SL_OK);
	assert_int_equal(sl_profiles_put(f->profiles, SL_STR("nobody"), doc, &row, NULL, &err), SL_OK);
	sl_profile_row_fini(&row);
	struct sl_chat *c = ask(f, "", (struct sl_http_timeouts){0});
	sl_chat_cancel(c);
	assert_false(sl_chat_spent(c, &spent));
	wait_done(f, 1);
	assert_false(sl_chat_spent(c, &spent));
	assert_int_equal(f->port.rows, 1);
	assert_int_equal(f->port.last.input_tokens, 0);
	assert_int_equal(f->port.last.http_status, 0);
	sl_chat_unref(c);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_goes_in_one_batch_behind_the_one_under_way),
		cmocka_unit_test(when_nothing_can_be_written_the_oldest_rows_are_lost_and_counted),
		cmocka_unit_test(rows_the_port_gives_up_are_counted_as_lost),
		T(a_cancelled_call_leaves_one_row_with_what_had_come),
		T(a_call_that_came_to_its_end_leaves_none_and_is_booked_as_the_provider_says),
		T(deadlines_trips_and_the_stop_are_called_by_their_names),
		T(nothing_is_owed_for_what_was_never_sent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
