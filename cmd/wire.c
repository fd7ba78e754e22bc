/* cmd/wire.c: see wire.h. */
#include "cmd/wire.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "api/api.h"
#include "llm/cache.h"
#include "store/journal.h"
#include "store/orders.h"
#include "store/runs.h"
#include "store/workflows.h"
#include "ws/conn.h"

/* ---- the clock: one uv timer at the engine's earliest deadline */

static void on_timer(uv_timer_t *t)
{
	struct sl_wire *w = t->data;
	struct sl_engine *e = atomic_load(&w->engine);
	if (e)
		sl_engine_tick(e);
}

static void on_rearm(struct sl_post *p)
{
	struct sl_wire *w = SL_CONTAINER_OF(p, struct sl_wire, rearm);
	atomic_store(&w->rearm_posted, false); /* before the deadline is read: a later one posts again */
	uint64_t deadline = atomic_load(&w->deadline_ms), now = sl_clock_mono_ms();
	uv_update_time(sl_loop_uv(w->loop));
	if (deadline == UINT64_MAX)
		uv_timer_stop(&w->timer);
	else
		uv_timer_start(&w->timer, on_timer, deadline > now ? deadline - now : 0, 0);
}

void sl_wire_wake_at(void *wire, uint64_t deadline_ms)
{
	struct sl_wire *w = wire;
	atomic_store(&w->deadline_ms, deadline_ms);
	if (!atomic_exchange(&w->rearm_posted, true))
		sl_loop_post(w->loop, &w->rearm);
}

enum sl_code sl_wire_init(struct sl_wire *w)
{
	enum sl_code rc = sl_loop_new("timer", &w->loop);
	if (rc != SL_OK)
		return rc;
	w->rearm.run = on_rearm;
	w->timer.data = w;
	atomic_store(&w->deadline_ms, UINT64_MAX);
	return uv_timer_init(sl_loop_uv(w->loop), &w->timer) == 0 ? SL_OK : SL_NO_MEMORY;
}

enum sl_code sl_wire_start(struct sl_wire *w, struct sl_engine *engine)
{
	atomic_store(&w->engine, engine);
	return sl_loop_start(w->loop);
}

static void on_end(void *arg)
{
	struct sl_wire *w = arg;
	if (!uv_is_closing((uv_handle_t *)&w->timer))
		uv_close((uv_handle_t *)&w->timer, NULL);
}

void sl_wire_stop(struct sl_wire *w)
{
	if (!w->loop)
		return;
	atomic_store(&w->engine, NULL);
	SL_IGNORE(sl_loop_call(w->loop, on_end, w)); /* without memory the loop closes it itself */
	sl_loop_stop(w->loop);
	sl_loop_free(w->loop);
	w->loop = NULL;
}

static void on_adopted(void *arg, enum sl_code rc, size_t runs)
{
	if (rc == SL_OK && runs)
		sl_log(SL_LOG_INFO, "cmd", "runs of another server go on here", SL_KU("runs", runs));
	else if (rc != SL_OK)
		sl_log(SL_LOG_WARN, "cmd", "runs of another server could not be claimed",
		       SL_KS("error", sl_code_wire(rc)));
}

void sl_wire_lapse(void *wire)
{
	struct sl_wire *w = wire;
	struct sl_engine *e = atomic_load(&w->engine);
	if (e)
		sl_engine_prove(e);
}

void sl_wire_orphans(void *wire)
{
	struct sl_wire *w = wire;
	struct sl_engine *e = atomic_load(&w->engine);
	if (e && sl_engine_recover(e, on_adopted, NULL) != SL_OK)
		sl_log(SL_LOG_WARN, "cmd", "runs of another server wait, and could not be claimed now");
}

/* ---- orders to runs that another server has, and from others to ours */

#define ORDER_WAIT_MS 5000

static const struct {
	enum sl_command_kind kind;
	const char *name; /* in the table; servers of two versions may meet there */
} order_names[] = {
	{SL_CMD_PAUSE_DRAIN, "pause"}, {SL_CMD_PAUSE_NOW, "pause_now"}, {SL_CMD_RESUME, "resume"},
	{SL_CMD_CANCEL, "cancel"},     {SL_CMD_UNLOCK, "unlock"},       {SL_CMD_REVIEW, "review"},
	{SL_CMD_SIGNAL, "signal"},     {SL_CMD_INPUT, "user_input"},
};

struct passed {
	sl_command_fn *fn;
	void *arg;
};

/* Statuses are constant texts to the engine, so what comes is looked up. */
static const char *status_of(struct sl_str text)
{
	static const char *const all[] = {"queued", "running",   "paused", "waiting",
					  "locked", "succeeded", "failed", "cancelled"};
	for (size_t i = 0; i < SL_COUNT_OF(all); i++)
		if (sl_str_is(text, all[i]))
			return all[i];
	return "";
}

static void on_passed(void *arg, enum sl_code rc, struct sl_str status, struct sl_str message)
{
	struct passed p = *(struct passed *)arg;
	struct sl_error err = {0};
	free(arg);
	if (rc != SL_OK)
		SL_IGNORE(sl_fail(&err, rc, SL_STR_FMT, SL_STR_ARG(message))); /* fills the text */
	if (rc == SL_UNAVAILABLE)
		err.retry_after_ms = 1000;
	p.fn(p.arg, rc, status_of(status), rc == SL_OK ? NULL : &err);
}

static enum sl_code pass_on(void *ctx, struct sl_run_id id, const struct sl_order *order, sl_command_fn *fn, void *arg)
{
	struct sl_wire *w = ctx;
	struct sl_store_order o = {
		.run = id, .by = order->by, .reason = order->reason, .node = order->node, .payload = order->payload};
	for (size_t i = 0; i < SL_COUNT_OF(order_names); i++)
		if (order_names[i].kind == order->kind)
			o.kind = sl_str(order_names[i].name);
	struct passed *p = o.kind.len ? malloc(sizeof(*p)) : NULL;
	if (!p)
		return o.kind.len ? SL_NO_MEMORY : SL_CONFLICT;
	*p = (struct passed){fn, arg};
	enum sl_code rc = sl_store_order(w->store, &o, ORDER_WAIT_MS, on_passed, p);
	if (rc != SL_OK)
		free(p);
	return rc;
}

void sl_wire_elsewhere(struct sl_wire *w, struct sl_elsewhere *out)
{
	*out = (struct sl_elsewhere){.order = pass_on, .ctx = w};
}

struct came_in {
	struct sl_wire *wire;
	int64_t id;
};

static void on_decided(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct came_in *c = arg;
	sl_store_order_answer(c->wire->store, c->id, rc, status, err ? err->text : "");
	free(c);
}

void sl_wire_order(void *wire, const struct sl_store_order *o)
{
	struct sl_wire *w = wire;
	struct sl_engine *e = atomic_load(&w->engine);
	struct sl_order order = {.by = o->by, .reason = o->reason, .node = o->node, .payload = o->payload};
	bool known = false;
	for (size_t i = 0; i < SL_COUNT_OF(order_names); i++)
		if (sl_str_is(o->kind, order_names[i].name)) {
			order.kind = order_names[i].kind;
			known = true;
		}
	struct came_in *c = e && known ? malloc(sizeof(*c)) : NULL;
	if (!c)
		return; /* who asked is told to ask again */
	*c = (struct came_in){w, o->id};
	enum sl_code rc = sl_engine_command(e, o->run, &order, on_decided, c);
	if (rc != SL_OK)
		on_decided(c, rc, "", NULL);
}

void sl_wire_news(void *wire, enum sl_store_news news)
{
	struct sl_wire *w = wire;
	struct sl_api *api = atomic_load(&w->api);
	struct sl_cache *cache = atomic_load(&w->cache);
	if (cache && news == SL_STORE_NEWS_CACHE)
		sl_cache_forget(cache);
	else if (api)
		sl_api_news(api, news);
}

/* ---- journal and bus */

void sl_wire_journal(struct sl_wire *w, struct sl_journal *out)
{
	*out = (struct sl_journal){
		.append = sl_store_port_append,
		.claim = sl_store_port_claim,
		.load = sl_store_port_load,
		.reopen = sl_store_port_reopen,
		.ctx = w->store,
	};
}

struct look_up {
	void (*fn)(void *arg, enum sl_code rc, struct sl_bytes *definition, int32_t version);
	void *arg;
};

static void on_workflow(void *arg, enum sl_code rc, struct sl_stored_workflow *w)
{
	struct look_up l = *(struct look_up *)arg;
	free(arg);
	l.fn(l.arg, rc, w ? w->definition : NULL, w ? w->version : 0);
	sl_stored_workflow_free(w);
}

static enum sl_code find_workflow(void *ctx, struct sl_str name, int32_t version,
				  void (*fn)(void *arg, enum sl_code rc, struct sl_bytes *definition, int32_t version),
				  void *arg)
{
	struct sl_wire *w = ctx;
	struct look_up *l = malloc(sizeof(*l));
	if (!l)
		return SL_NO_MEMORY;
	*l = (struct look_up){fn, arg};
	enum sl_code rc = sl_store_workflow_get(w->store, name, version, on_workflow, l);
	if (rc != SL_OK)
		free(l);
	return rc;
}

void sl_wire_library(struct sl_wire *w, struct sl_library *out)
{
	*out = (struct sl_library){.find = find_workflow, .ctx = w};
}

static void publish(void *ctx, struct sl_notice *n)
{
	struct sl_wire *w = ctx;
	sl_ws_publish(w->ws, n);
}

void sl_wire_bus(struct sl_wire *w, struct sl_bus *out)
{
	*out = (struct sl_bus){.publish = publish, .ctx = w};
}

/* ---- what the hub wants to know of runs */

static enum sl_code view(void *ctx, struct sl_run_id run, enum sl_view_watch watch, sl_view_fn *fn, void *arg)
{
	struct sl_wire *w = ctx;
	struct sl_engine *e = atomic_load(&w->engine);
	return e ? sl_engine_view(e, run, watch, fn, arg) : SL_DRAINING;
}

static void unwatch(void *ctx, struct sl_run_id run)
{
	struct sl_wire *w = ctx;
	struct sl_engine *e = atomic_load(&w->engine);
	if (e)
		sl_engine_unwatch(e, run);
}

static void watch_all(void *ctx, bool on)
{
	struct sl_wire *w = ctx;
	struct sl_engine *e = atomic_load(&w->engine);
	if (e)
		sl_engine_bus_all(e, on);
}

struct page {
	sl_hub_page_fn *fn;
	void *arg;
};

static void on_page(void *arg, enum sl_code rc, struct sl_stored_run *run)
{
	struct page p = *(struct page *)arg;
	free(arg);
	p.fn(p.arg, rc, run ? run->records : NULL, run ? run->n_records : 0);
	sl_stored_run_free(run);
}

static enum sl_code events_after(void *ctx, struct sl_run_id run, uint64_t after_seq, size_t limit, sl_hub_page_fn *fn,
				 void *arg)
{
	struct sl_wire *w = ctx;
	struct page *p = malloc(sizeof(*p));
	if (!p)
		return SL_NO_MEMORY;
	*p = (struct page){fn, arg};
	enum sl_code rc =
		sl_store_run_records(w->store, run, after_seq, (uint32_t)(limit > 1000 ? 1000 : limit), on_page, p);
	if (rc != SL_OK)
		free(p);
	return rc;
}

void sl_wire_hub_source(struct sl_wire *w, struct sl_hub_source *out)
{
	*out = (struct sl_hub_source){
		.view = view, .unwatch = unwatch, .events_after = events_after, .watch_all = watch_all, .ctx = w};
}
