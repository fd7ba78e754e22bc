/* cmd/wire.h: the ports between rooms that do not know each other: engine ↔ store, engine ↔ hub, engine ↔ clock.
 *
 * Owns      the timer loop and its one timer. Everything else is lent.
 * Thread    init and fini [main]; what the ports call says its own.
 */
#pragma once

#include <stdatomic.h>

#include "base/loop.h"
#include "engine/engine.h"
#include "store/store.h"
#include "ws/hub.h"

struct sl_api;
struct sl_cache;
struct sl_ws;

struct sl_wire {
	_Atomic(struct sl_engine *) engine; /* NULL until it is there, and after it was stopped */
	struct sl_store *store;
	struct sl_ws *ws;
	_Atomic(struct sl_api *) api;     /* once it is started */
	_Atomic(struct sl_cache *) cache; /* until the store is closed */
	struct sl_loop *loop;             /* for the timer alone, so that a busy front loop cannot make runs late */
	uv_timer_t timer;
	struct sl_post rearm;
	_Atomic bool rearm_posted;
	_Atomic uint64_t deadline_ms;
};

SL_MUST_USE enum sl_code sl_wire_init(struct sl_wire *w);
/* Once the engine is set: begins to turn its clock. */
SL_MUST_USE enum sl_code sl_wire_start(struct sl_wire *w, struct sl_engine *engine);
void sl_wire_stop(struct sl_wire *w); /* no tick is under way any more; idempotent */

void sl_wire_journal(struct sl_wire *w, struct sl_journal *out);
void sl_wire_library(struct sl_wire *w, struct sl_library *out);
void sl_wire_bus(struct sl_wire *w, struct sl_bus *out);
void sl_wire_hub_source(struct sl_wire *w, struct sl_hub_source *out);
void sl_wire_wake_at(void *wire, uint64_t deadline_ms); /* [any] struct sl_engine_config.wake_at */
void sl_wire_elsewhere(struct sl_wire *w, struct sl_elsewhere *out);
void sl_wire_news(void *wire, enum sl_store_news news);             /* [store] .on_news */
void sl_wire_order(void *wire, const struct sl_store_order *order); /* [store] .on_order */
void sl_wire_lapse(void *wire);                                     /* [store] .on_lapse */
void sl_wire_orphans(void *wire);                                   /* [store] struct sl_store_config.on_orphans */
