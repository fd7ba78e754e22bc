/* llm/chat.h: one model call, whatever the provider: start it, get its tokens, cancel it.
 *
 * Owns      the HTTP client and its I/O threads; a call until its `done` has run.
 * Thread    start, cancel, ref, unref [any]; callbacks [io], never from inside start or cancel.
 * Not for   retries, fallbacks, rate limits, caches: those are middleware. One call here is one attempt at one
 * provider.
 */
#pragma once

#include "base/bytes.h"
#include "llm/http.h"
#include "llm/ledger.h"

struct sl_llm;
struct sl_chat; /* a call; atomically counted */
struct sl_governor;
struct sl_profile;
struct sl_profiles;
struct sl_prices;
struct sl_stats;

struct sl_llm_config {
	struct sl_profiles *profiles;  /* lent; must outlive the sl_llm */
	struct sl_prices *prices;      /* likewise; NULL: the built-in ones */
	struct sl_governor *governor;  /* likewise; is told what providers say of their limits; NULL: nobody is */
	struct sl_call_ledger *ledger; /* likewise; gets a row of each call that is called off; NULL: nobody does */
	uint32_t total_ms;             /* no call takes longer, whatever its profile says; 0: as the profile says */
	struct sl_http_config http;
};
SL_MUST_USE enum sl_code sl_llm_new(const struct sl_llm_config *config, struct sl_llm **out, struct sl_error *err);
void sl_llm_stop(
	struct sl_llm *l); /* [not io] every running call gets its `done` (SL_CANCELLED), then the threads end */
void sl_llm_free(struct sl_llm *l); /* stops first; NULL is fine */
SL_DEFINE_AUTO(sl_llm)
struct sl_http *sl_llm_http(struct sl_llm *l);          /* lends; for other transfers and for statistics */
struct sl_profiles *sl_llm_profiles(struct sl_llm *l);  /* lends */
struct sl_prices *sl_llm_prices(struct sl_llm *l);      /* lends; may be NULL */
struct sl_stats *sl_llm_stats(struct sl_llm *l);        /* lends: of the calls that have ended */
struct sl_call_ledger *sl_llm_ledger(struct sl_llm *l); /* lends; may be NULL */

enum sl_chat_kind { SL_CHAT_TEXT, SL_CHAT_THINKING };
enum sl_chat_mode { SL_CHAT_STREAM, SL_CHAT_WHOLE }; /* WHOLE: one answer, no stream; text arrives in one delta */

/* All slices are read during sl_chat_start() only. Start from SL_CHAT_REQUEST. An empty slice: not set. */
struct sl_chat_request {
	struct sl_str profile;  /* name; empty: `provider`'s, or else the default profile */
	struct sl_str provider; /* any profile of that provider; only read when `profile` is empty */
	struct sl_profile *via; /* lent for sl_chat_start(): this very one, chosen before; goes before both */
	uint32_t lane;          /* which of its keys */
	/* Goes before the profile's. Alone, without profile and provider, it also chooses: see sl_profiles_choose(). */
	struct sl_str model;
	struct sl_str system;                       /* put in front of the messages */
	struct sl_str messages;                     /* JSON array of {role, content, …} in the OpenAI shape */
	double temperature, top_p;                  /* NAN: not set, then the profile's */
	double frequency_penalty, presence_penalty; /* NAN: not set */
	int64_t max_tokens;                         /* 0: not set */
	bool has_seed;
	int64_t seed;
	struct sl_str stop;            /* JSON: string or array of strings */
	struct sl_str thinking;        /* effort: minimal, low, medium, high */
	struct sl_str response_format; /* JSON: {"type":"json_object"} or {"type":"json_schema","schema":{…},"name"?} */
	struct sl_str tools;           /* JSON array, OpenAI shape */
	struct sl_str tool_choice;     /* JSON */
	enum sl_chat_mode mode;
	struct sl_str idempotency_key;        /* sent as Idempotency-Key; the same on every repeat of one node's call */
	const struct sl_http_header *headers; /* further ones */
	size_t n_headers;
	struct sl_http_timeouts timeouts; /* fields that are not 0 go before the profile's */
	struct sl_call_of of;             /* on whose behalf, for the ledger */
	uint64_t input_tokens;            /* estimate of what is sent; 0: of the request as it is written */
};
#define SL_CHAT_REQUEST                                                                                                \
	((struct sl_chat_request){.temperature = __builtin_nan(""),                                                    \
				  .top_p = __builtin_nan(""),                                                          \
				  .frequency_penalty = __builtin_nan(""),                                              \
				  .presence_penalty = __builtin_nan("")})

struct sl_chat_usage {
	uint64_t input_tokens;  /* cached ones included */
	uint64_t output_tokens; /* reasoning ones included */
	uint64_t cached_tokens, reasoning_tokens;
	bool known;     /* the provider said so, all of it */
	bool estimated; /* the call was cut: what the provider had said so far, else our estimate of what had come.
			 * Neither of the two: all are 0 */
};

/* Valid during `done`. Filled as far as the call came, also when it failed. */
struct sl_chat_result {
	const char *profile;       /* that answered */
	const char *model;         /* as the provider names it, else as asked */
	const char *finish_reason; /* "stop", "length", "tool_calls", "content_filter", "refusal"…; "" when it failed
				      before */
	struct sl_str
		tool_calls;    /* JSON array [{"id","type":"function","function":{"name","arguments"}}]; empty: none */
	struct sl_str refusal; /* what the model said instead; empty: none */
	/* Empty when a delta callback is set: whoever gets the deltas keeps them. */
	struct sl_str text, thinking;
	struct sl_chat_usage usage;
	int64_t cost_microusd;
	bool cost_known; /* false: no price for this model, cost_microusd is 0 */
	bool simulated;
	int http_status;                     /* 0: no answer came */
	uint64_t text_bytes, thinking_bytes; /* handed to delta */
	uint64_t received_bytes;             /* of the answer's body */
	uint64_t first_token_ms, total_ms;   /* since the start; 0: none came */
	uint64_t closed_us;                  /* of a call that was called off: from the order to the closed socket */
};

struct sl_chat_callbacks {
	/* [io] A piece of the answer, whole bytes of UTF-8 text (a character may be split over two pieces). Anything
	 * but SL_OK closes the socket and ends the call with that code. May be NULL: then the result holds the text. */
	enum sl_code (*delta)(void *ctx, enum sl_chat_kind kind, struct sl_str piece);
	/* [io] Exactly once when sl_chat_start() returned SL_OK, and last. SL_OK only when the provider's terminal
	 * marker came. Otherwise a code of base/error.h with err->retry_after_ms as the provider hinted. */
	void (*done)(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_chat_result *result);
};

/* Chooses and pins the profile, builds the request here, on the caller's thread, and sends it. *out is set before any
 * callback; the caller owns one reference: sl_chat_unref(), at any time. *cb is copied.
 * SL_NOT_FOUND: no such profile. SL_INVALID: messages or another JSON slice do not parse. SL_DRAINING: stopping. */
SL_MUST_USE enum sl_code sl_chat_start(struct sl_llm *l, const struct sl_chat_request *req,
				       const struct sl_chat_callbacks *cb, void *ctx, struct sl_chat **out,
				       struct sl_error *err);
void sl_chat_cancel(struct sl_chat *call); /* closes the provider's socket at once; `done` says SL_CANCELLED unless it
					      ended before. Idempotent */
/* The same, with the reason for the ledger (a constant) and when the order came (monotonic; 0: now). */
void sl_chat_call_off(struct sl_chat *call, const char *reason, uint64_t ordered_at_us);
/* [any] What a call has taken so far, for the books of whoever calls it off and will not hear its `done`: after that,
 * what came later changes it no more. false: nothing was sent. */
struct sl_chat_spent {
	struct sl_chat_usage usage;
	int64_t cost_microusd;
	const char *model; /* lives as long as the call */
	bool simulated;
};
bool sl_chat_spent(struct sl_chat *call, struct sl_chat_spent *out);
struct sl_chat *sl_chat_ref(struct sl_chat *call);
void sl_chat_unref(struct sl_chat *call); /* NULL is fine */
