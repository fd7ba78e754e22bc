/* llm/sim_fault.c: the faults that come instead of an answer: refusals in every dialect, silence, foreign pages. */
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "llm/sim_priv.h"

static void refuse(struct sim_conn *c, int status, const char *type, const char *code, const char *message,
		   const char *headers)
{
	struct sim_reply *r = c->reply;
	struct sim_entry *e = sl_sim_entry(c->sim, r->n);
	SL_BUF(b, 4096);
	if (r->set.status)
		status = r->set.status;
	if (e)
		e->status = status;
	sl_buf_adds(&b, "{\"error\":{");
	sl_buf_json_kz(&b, "message", message);
	sl_buf_json_kz(&b, "type", type);
	sl_buf_json_kz(&b, "param", NULL);
	sl_buf_json_kz(&b, "code", code);
	if (r->set.fault == 6 && strcmp(r->set.variant, "retryinfo") == 0)
		sl_buf_addf(&b,
			    ",\"details\":[{\"@type\":\"type.googleapis.com/"
			    "google.rpc.RetryInfo\",\"retryDelay\":\"%.3fs\"}]",
			    r->set.retry_ms / 1000.0);
	sl_buf_adds(&b, "}}");
	sl_sim_reply_end(c, SIM_FINISHED);
	sl_sim_conn_answer(c, status, "application/json", headers, sl_buf_str(&b));
}

static void refuse_for_rate(struct sim_conn *c)
{
	struct sim_settings *s = &c->reply->set;
	char headers[256] = "", message[160];
	const char *v = s->fault == 5 ? "seconds" : s->variant[0] ? s->variant : "ms";
	double sec = s->retry_ms / 1000.0;
	(void)snprintf(message, sizeof(message), "Rate limit reached for requests.");
	if (strcmp(v, "seconds") == 0)
		(void)snprintf(headers, sizeof(headers), "retry-after: %u\r\n", (s->retry_ms + 999) / 1000);
	else if (strcmp(v, "ms") == 0)
		(void)snprintf(headers, sizeof(headers), "retry-after-ms: %u\r\n", s->retry_ms);
	else if (strcmp(v, "float") == 0)
		(void)snprintf(headers, sizeof(headers), "retry-after: %.3f\r\n", sec);
	else if (strcmp(v, "body") == 0)
		(void)snprintf(message, sizeof(message),
			       "Rate limit reached for requests. Please try again in %.3fs. See the docs.", sec);
	else if (strcmp(v, "reset") == 0)
		(void)snprintf(headers, sizeof(headers),
			       "x-ratelimit-limit-tokens: 30000\r\nx-ratelimit-remaining-tokens: "
			       "0\r\nx-ratelimit-reset-tokens: %um%.3fs\r\n",
			       s->retry_ms / 60000, (s->retry_ms % 60000) / 1000.0);
	else if (strcmp(v, "date") == 0) {
		time_t at = (time_t)((sl_clock_wall_ms() + s->retry_ms + 999) / 1000);
		struct tm tm;
		gmtime_r(&at, &tm);
		strftime(headers, sizeof(headers), "retry-after: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
	}
	refuse(c, 429, "requests", "rate_limit_exceeded", message, headers);
}

/* true: the fault took the answer's place. */
bool sl_sim_fault(struct sim_conn *c)
{
	struct sim_reply *r = c->reply;
	const char *v = r->set.variant;
	switch (r->set.fault) {
	case 1:
		refuse(c, 400, "invalid_request_error", NULL, "The simulator was told to find this request bad.", "");
		return true;
	case 2:
		if (strcmp(v, "403") == 0)
			refuse(c, 403, "permission_error", NULL, "The key may not use this model.", "");
		else
			refuse(c, 401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided.", "");
		return true;
	case 3:
		refuse(c, 404, "invalid_request_error", "model_not_found",
		       "The model does not exist or you do not have access to it.", "");
		return true;
	case 4:
		refuse(c,
		       strcmp(v, "413") == 0   ? 413
		       : strcmp(v, "422") == 0 ? 422
					       : 400,
		       "invalid_request_error", v[0] ? NULL : "context_length_exceeded",
		       "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 "
		       "tokens.",
		       "");
		return true;
	case 5:
	case 6:
		refuse_for_rate(c);
		return true;
	case 7:
		if (strcmp(v, "spend") == 0)
			refuse(c, 429, "requests", "organization_spend_limit_exceeded",
			       "The organization's spend limit is reached.", "");
		else
			refuse(c, 429, "insufficient_quota", "insufficient_quota",
			       "You exceeded your current quota, please check your plan and billing details.", "");
		return true;
	case 8:
		refuse(c, 500, "server_error", NULL,
		       "The server had an error while processing your request. Sorry about that!", "");
		return true;
	case 9:
		if (strcmp(v, "529") == 0)
			refuse(c, 529, "overloaded_error", NULL, "Overloaded", "");
		else
			refuse(c, 503, "server_error", "server_is_overloaded", "That model is currently overloaded.",
			       "");
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
