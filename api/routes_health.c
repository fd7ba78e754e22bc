/* api/routes_health.c: alive, ready, and in numbers. */
#include "api/api_priv.h"
#include "engine/engine.h"
#include "llm/breaker.h"
#include "llm/chat.h"
#include "llm/governor.h"
#include "store/store.h"
#include "ws/conn.h"

/* That this is answered is the whole statement: the loop turns. */
void sl_route_livez(struct sl_api *a, struct sl_request *r)
{
	sl_answer_header(r, "Cache-Control", SL_STR("no-store"));
	sl_answer_bytes(r, 200, "application/json", SL_STR("{\"status\":\"ok\"}"), SL_BYTES_STABLE);
}

static void reason(struct sl_buf *b, struct sl_str text)
{
	sl_buf_json_comma(b);
	sl_buf_json_str(b, text);
}

void sl_route_readyz(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(reasons, 4096);
	SL_BUF(out, 8192);
	sl_buf_addc(&reasons, '[');
	if (atomic_load(&a->leaving) || atomic_load(&a->drained)) {
		struct sl_engine_stats e = {0};
		char text[64];
		if (a->parts.engine)
			sl_engine_stats(a->parts.engine, &e);
		snprintf(text, sizeof(text), "draining, %u runs left", e.runs_active);
		reason(&reasons, sl_str(text));
	}
	if (a->parts.store) {
		struct sl_store_health h;
		sl_store_health(a->parts.store, &h);
		if (h.state != SL_STORE_OK) {
			char text[320], since[SL_TIME_TEXT_BYTES];
			sl_time_format(h.since_ms, since);
			const char *what = h.state == SL_STORE_READ_ONLY    ? "postgres read-only"
					   : h.state == SL_STORE_SCHEMA     ? "schema version"
					   : h.state == SL_STORE_CONNECTING ? "postgres connecting"
									    : "postgres failing";
			if (h.state == SL_STORE_SCHEMA)
				snprintf(text, sizeof(text), "schema version %u, this server needs %u",
					 h.schema_version, h.schema_wanted);
			else
				snprintf(text, sizeof(text), "%s since %s%s%s", what, since, h.reason[0] ? ": " : "",
					 h.reason);
			reason(&reasons, sl_str(text));
		}
	}
	sl_buf_addc(&reasons, ']');
	bool ready = reasons.len == 2;
	sl_buf_addc(&out, '{');
	sl_buf_json_kz(&out, "status", ready ? "ok" : "unavailable");
	sl_buf_json_kraw(&out, "reasons", sl_buf_str(&reasons));
	uint32_t open = a->parts.governor ? sl_breakers_open(a->parts.governor->breakers) : 0;
	if (open || atomic_load(&a->paused)) { /* takes traffic all the same */
		sl_buf_adds(&out, ",\"degraded\":[");
		if (open)
			sl_buf_addf(&out, "\"breakers open: %u\"", open);
		if (atomic_load(&a->paused))
			sl_buf_addf(&out, "%s\"paused by an operator\"", open ? "," : "");
		sl_buf_addc(&out, ']');
	}
	sl_buf_addc(&out, '}');
	sl_answer_header(r, "Cache-Control", SL_STR("no-store"));
	if (!ready)
		sl_answer_header(r, "Retry-After", SL_STR("1"));
	sl_answer_buf(r, ready ? 200 : 503, &out);
}
