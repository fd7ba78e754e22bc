/* llm/runaway.h: is this model running away? Detectors for one stream, O(1) a byte, and for the outputs of a node that
 * is run again and again.
 *
 * Units     a word (at most 16 characters of it; longer ones are several), one character of a script without blanks, or
 * a run of one punctuation mark. Blanks only separate. Windows   SL_RUNAWAY_UNITS units; SL_RUNAWAY_LINES lines, and as
 * many sentences. A stream repeats itself when a whole window of units (or lines, or sentences) is equal to what stood
 * 1 to 8 of them before. What has no letters in it (figures, rules of a table) or only ever the same one (AAAA…) is
 * given almost two windows, because tables of zeros are no accident. So a loop of period 1 to 8 is found within two
 * windows of its beginning. Outputs   consecutive ones of one node are compared by their sets of three units in a row
 * (minhash, 256 places); entropy is that of their units, as a part of what as many different units would have. Texts
 * under SL_RUNAWAY_SHORT bytes are not looked at: a judge may well say "no" three times. Thread    whoever owns the
 * struct. No memory is allocated.
 */
#pragma once

#include "base/str.h"
#include "llm/tokens.h"

#define SL_RUNAWAY_UNITS    256
#define SL_RUNAWAY_LINES    32
#define SL_RUNAWAY_PERIODS  8
#define SL_RUNAWAY_SHORT    24
#define SL_RUNAWAY_THINKING 16384 /* tokens on top of the estimate when the model thinks */
#define SL_RUNAWAY_SPEEDS   64    /* places for the speed: half seconds, so the window is at most 32 s */

/* 0 turns one off. */
struct sl_runaway_limits {
	double token_surge;  /* times the estimate */
	double velocity_tps; /* tokens a second, over window_s */
	uint32_t window_s;
	double similarity; /* of consecutive outputs, 0 … 1 */
	double entropy;    /* mean of `repeats` outputs, 0 … 1 */
	uint32_t repeats;
	uint32_t depth;
	uint32_t run_s; /* active time of the run */
};
#define SL_RUNAWAY_DEFAULTS ((struct sl_runaway_limits){3, 1000, 5, 0.95, 0.1, 3, 10, 600})

struct sl_runaway_verdict {
	const char *reason; /* "TOKEN_SURGE", "LOOP_DETECTED", "TOKEN_VELOCITY" */
	char message[200];
	double measured, limit;
};

/* Private: how often the last ones are what stood `period` before. */
struct sl_runaway_echo {
	uint32_t last[SL_RUNAWAY_PERIODS];
	uint32_t run[SL_RUNAWAY_PERIODS];
	uint64_t n, lettered_at; /* how many so far; the last one with letters */
};

struct sl_runaway_stream {
	struct sl_runaway_limits limits;
	uint64_t estimate;
	struct sl_token_count text, thinking;
	/* the unit, line and sentence under way */
	uint32_t unit, line, sentence, cp;
	uint32_t unit_len;
	unsigned char first, last, need;
	bool lettered, mixed, line_lettered, sentence_lettered, line_any, ender;
	uint32_t sentence_units;
	struct sl_runaway_echo units, lines, sentences;
	/* speed */
	uint64_t began_ms, slot, speed_sum;
	uint32_t speed[SL_RUNAWAY_SPEEDS];
};

/* estimate: tokens of the answer as they were expected; 0: SL_TOKENS_OUTPUT. */
void sl_runaway_stream_init(struct sl_runaway_stream *s, const struct sl_runaway_limits *limits, uint64_t estimate,
			    uint64_t now_ms);
/* true: it runs away, *out says how. now_ms is monotonic. */
bool sl_runaway_feed(struct sl_runaway_stream *s, bool thinking, struct sl_str piece, uint64_t now_ms,
		     struct sl_runaway_verdict *out);

#define SL_RUNAWAY_BINS 256
struct sl_runaway_outputs { /* of one node; zeroed at first */
	uint32_t bins[SL_RUNAWAY_BINS];
	bool any;
	uint32_t similar; /* in a row */
	double least;     /* the least similarity of that row */
	double entropies[8];
	uint32_t n;
};
/* The next output of the node. */
bool sl_runaway_output(struct sl_runaway_outputs *o, const struct sl_runaway_limits *limits, struct sl_str text,
		       struct sl_runaway_verdict *out);

double sl_runaway_entropy(struct sl_str text); /* 0 … 1 of its units; 1 when there are fewer than 8 */
