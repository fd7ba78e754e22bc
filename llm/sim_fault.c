/* llm/sim_fault.c: the faults that come instead of an answer: refusals, silence, foreign pages. */
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "llm/sim_dialect.h"

/* The variant may be a status: "403", "529". */
static int status_of(const struct sim_settings *s, int otherwise)
{
	uint64_t status;
	if (s->status)
		return s->status;
	return sl_str_u64(sl_str(s->variant), &status) && status >= 300 && status < 600 ? (int)status : otherwise;
}

static void refuse_with(struct sim_conn *c, struct sim_failure f, const char *headers)
{
	struct sim_reply *r = c->reply;
	struct sim_entry *e = sl_sim_entry(c->sim, r->n);
	SL_BUF(b, 4096);
	f.status = status_of(&r->set, f.status);
	f.list = strcmp(r->set.variant, "list") == 0;
	if (e)
		e->status = f.status;
	r->dialect->failure(&f, &b);
	sl_sim_reply_end(c, SIM_FINISHED);
	sl_sim_conn_answer(c, f.status, "application/json", headers, sl_buf_str(&b));
}

static void refuse(struct sim_conn *c, enum sim_kind kind)
{
	refuse_with(c, c->reply->dialect->failures[kind], "");
}

static void reset_headers(const struct sim_reply *r, char *out, size_t size)
{
	uint32_t ms = r->set.retry_ms;
	if (r->dialect == &sl_sim_anthropic) {
		SL_BUF(at, 64);
		sl_buf_json_ktime(&at, "at", sl_clock_wall_ms() + ms); /* "at":"2026-…Z" */
		(void)snprintf(out, size,
			       "anthropic-ratelimit-tokens-limit: 30000\r\nanthropic-ratelimit-tokens-remaining: 0\r\n"
			       "anthropic-ratelimit-tokens-reset: %.*s\r\n",
			       at.len > 7 ? (int)at.len - 7 : 0, at.len > 7 ? at.data + 6 : "");
		return;
	}
	(void)snprintf(out, size,
		       "x-ratelimit-limit-tokens: 30000\r\nx-ratelimit-remaining-tokens: 0\r\n"
		       "x-ratelimit-reset-tokens: %um%.3fs\r\n",
		       ms / 60000, (ms % 60000) / 1000.0);
}

static void refuse_for_rate(struct sim_conn *c)
{
	const struct sim_reply *r = c->reply;
	const struct sim_settings *s = &r->set;
	struct sim_failure f = r->dialect->failures[SIM_RATE];
	char headers[256] = "", message[160];
	bool whole = s->fault == 5; /* seconds only */
	const char *v = !whole && s->variant[0] ? s->variant : r->dialect->rate_hint[whole ? 0 : 1];
	uint32_t ms = whole ? (s->retry_ms + 999) / 1000 * 1000 : s->retry_ms;
	if (strcmp(v, "seconds") == 0)
		(void)snprintf(headers, sizeof(headers), "retry-after: %u\r\n", (ms + 999) / 1000);
	else if (strcmp(v, "ms") == 0)
		(void)snprintf(headers, sizeof(headers), "retry-after-ms: %u\r\n", ms);
	else if (strcmp(v, "float") == 0)
		(void)snprintf(headers, sizeof(headers), "retry-after: %.3f\r\n", ms / 1000.0);
	else if (strcmp(v, "retryinfo") == 0)
		f.retry_ms = ms;
	else if (strcmp(v, "reset") == 0)
		reset_headers(r, headers, sizeof(headers));
	else if (strcmp(v, "body") == 0) {
		(void)snprintf(message, sizeof(message), "%.80s Please try again in %.3fs. See the docs.", f.message,
			       ms / 1000.0);
		f.message = message;
	} else if (strcmp(v, "date") == 0) {
		time_t at = (time_t)((sl_clock_wall_ms() + ms + 999) / 1000);
		struct tm tm;
		gmtime_r(&at, &tm);
		strftime(headers, sizeof(headers), "retry-after: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
	}
	refuse_with(c, f, headers);
}

/* true: the fault took the answer's place. */
bool sl_sim_fault(struct sim_conn *c)
{
	struct sim_reply *r = c->reply;
	const char *v = r->set.variant;
	switch (r->set.fault) {
	case 1:
		refuse(c, SIM_BAD);
		return true;
	case 2:
		refuse(c, strcmp(v, "403") == 0 ? SIM_FORBIDDEN : SIM_KEY);
		return true;
	case 3:
		refuse(c, SIM_MODEL);
		return true;
	case 4: {
		struct sim_failure f = r->dialect->failures[SIM_LENGTH];
		if (v[0])
			f.code = NULL; /* so that the status or the words have to do */
		refuse_with(c, f, "");
		return true;
	}
	case 5:
	case 6:
		refuse_for_rate(c);
		return true;
	case 7:
		refuse(c, strcmp(v, "spend") == 0 ? SIM_SPEND : SIM_QUOTA);
		return true;
	case 8:
		refuse(c, SIM_BROKEN);
		return true;
	case 9:
		refuse(c, SIM_OVERLOADED);
		return true;
	case 10: {
		bool reset = strcmp(v, "close") != 0; /* v dies with the reply */
		sl_sim_reply_end(c, SIM_DROPPED);
		sl_sim_conn_close(c, reset);
		return true;
	}
	case 11:
		r->part = SIM_PART_SILENT;
		return true;
	case 16:
		if (strcmp(v, "type") == 0) {
			sl_sim_reply_end(c, SIM_DROPPED);
			sl_sim_conn_answer(c, 200, "text/plain", "", SL_STR("Welcome to the wrong port."));
			return true;
		}
		if (strcmp(v, "html") == 0 || strcmp(v, "page") == 0) {
			int status = strcmp(v, "page") == 0 ? 502 : 200;
			sl_sim_reply_end(c, SIM_DROPPED);
			sl_sim_conn_answer(c, status, "text/html; charset=utf-8", "",
					   SL_STR("<!doctype html><html><head><title>502 Bad "
						  "Gateway</title><style>body{margin:0}</style></head>"
						  "<body><h1>Bad gateway</h1><p>The proxy did not get an answer in "
						  "time.</p></body></html>"));
			return true;
		}
		return false;
	default:
		return false;
	}
}
