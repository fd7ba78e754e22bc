/* llm/runaway.c: see runaway.h. Hashes of units go into short rings: a loop shows as a long run of hashes that are
 * equal to the one `period` places before. */
#include "llm/runaway.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"

#define WORD_MOST          16
#define LETTERLESS(window) (2 * (window)-2 * SL_RUNAWAY_PERIODS)
#define ESTIMATE_LEAST     256 /* three times the estimate of a very short answer is still a short answer */
#define SPEED_SLOT_MS      500

static uint32_t mix(uint32_t h, unsigned char c)
{
	return (h ^ c) * 16777619u;
}

static uint32_t finish(uint32_t h)
{
	h ^= h >> 16;
	h *= 0x85ebca6bu;
	h ^= h >> 13;
	h *= 0xc2b2ae35u;
	return h ^ h >> 16;
}

#define EMPTY 2166136261u

/* ---- repetition ---- */

/* Returns the period when `window` of them repeat, else 0. */
static uint32_t echo_push(struct sl_runaway_echo *e, uint32_t hash, bool lettered, uint32_t window)
{
	uint32_t found = 0;
	if (lettered)
		e->lettered_at = e->n + 1;
	for (uint32_t p = 1; p <= SL_RUNAWAY_PERIODS; p++) {
		bool same = e->n >= p && e->last[(e->n - p) % SL_RUNAWAY_PERIODS] == hash;
		e->run[p - 1] = same ? e->run[p - 1] + 1 : 0;
		bool letters = e->lettered_at && e->n + 1 - e->lettered_at < e->run[p - 1];
		if (!found && e->run[p - 1] >= (letters ? window : LETTERLESS(window)))
			found = p;
	}
	e->last[e->n % SL_RUNAWAY_PERIODS] = hash;
	e->n++;
	return found;
}

static bool repeats(struct sl_runaway_verdict *out, uint32_t period, uint32_t window, const char *what)
{
	if (!period)
		return false;
	out->reason = "LOOP_DETECTED";
	out->measured = window;
	out->limit = window;
	if (period == 1)
		(void)snprintf(out->message, sizeof(out->message),
			       "the answer goes in circles: the same %s over and over, %u of them", what, window);
	else
		(void)snprintf(out->message, sizeof(out->message),
			       "the answer goes in circles: the same %u %ss over and over, %u of them", period, what,
			       window);
	return true;
}

/* ---- units ---- */

static bool is_letter(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static bool is_word(unsigned char c)
{
	return is_letter(c) || (c >= '0' && c <= '9') || c == '_';
}

struct unit {
	uint32_t hash;
	bool lettered;
};

/* Ends the unit under way. false: there is none. */
static bool unit_take(struct sl_runaway_stream *s, struct unit *u)
{
	if (!s->unit_len)
		return false;
	/* a word of one letter only, again and again (AAAA), tells no more than a figure */
	*u = (struct unit){finish(s->unit), s->lettered && (s->mixed || s->unit_len < 4)};
	s->unit = EMPTY;
	s->unit_len = 0;
	s->lettered = s->mixed = false;
	return true;
}

static void unit_add(struct sl_runaway_stream *s, unsigned char c)
{
	if (!s->unit_len)
		s->first = c;
	s->unit = mix(s->unit, c);
	s->unit_len++;
	s->lettered = s->lettered || is_letter(c);
	s->mixed = s->mixed || c != s->first;
}

/* What a byte brings to an end: at most the unit before it and itself. Returns how many. */
static unsigned units_of(struct sl_runaway_stream *s, unsigned char c, struct unit u[2])
{
	unsigned n = 0;
	if (s->need) { /* the rest of a character */
		unit_add(s, c);
		s->cp = s->cp << 6 | (c & 0x3f);
		if (--s->need == 0)
			n += unit_take(s, &u[n]);
	} else if (c >= 0xe0) { /* a character that stands for itself */
		n += unit_take(s, &u[n]);
		s->need = c >= 0xf0 ? 3 : 2;
		s->cp = c & 0x0f;
		unit_add(s, c);
	} else if (is_word(c)) {
		if (s->unit_len && (!is_word(s->last) || (s->unit_len >= WORD_MOST && (c < 0x80 || c >= 0xc0))))
			n += unit_take(s, &u[n]);
		unit_add(s, c);
	} else if (c <= ' ') {
		n += unit_take(s, &u[n]);
	} else { /* punctuation: as many of the same as there are make one */
		if (s->unit_len && s->last != c)
			n += unit_take(s, &u[n]);
		if (!s->unit_len)
			unit_add(s, c);
	}
	s->last = c;
	return n;
}

static bool take_units(struct sl_runaway_stream *s, const struct unit *u, unsigned n, struct sl_runaway_verdict *out)
{
	bool found = false;
	for (unsigned i = 0; i < n; i++) {
		found = repeats(out, echo_push(&s->units, u[i].hash, u[i].lettered, SL_RUNAWAY_UNITS), SL_RUNAWAY_UNITS,
				"word") ||
			found;
		s->line = s->line * 31 + u[i].hash;
		s->line_any = true;
		s->line_lettered = s->line_lettered || u[i].lettered;
		s->sentence = s->sentence * 31 + u[i].hash;
		s->sentence_units++;
		s->sentence_lettered = s->sentence_lettered || u[i].lettered;
	}
	return found;
}

static bool end_sentence(struct sl_runaway_stream *s, struct sl_runaway_verdict *out)
{
	bool found = false;
	if (s->sentence_units > 1) /* "1." is none */
		found = repeats(out,
				echo_push(&s->sentences, finish(s->sentence), s->sentence_lettered, SL_RUNAWAY_LINES),
				SL_RUNAWAY_LINES, "sentence");
	s->sentence = EMPTY;
	s->sentence_units = 0;
	s->sentence_lettered = false;
	return found;
}

static bool end_line(struct sl_runaway_stream *s, struct sl_runaway_verdict *out)
{
	bool found = false;
	if (s->line_any)
		found = repeats(out, echo_push(&s->lines, finish(s->line), s->line_lettered, SL_RUNAWAY_LINES),
				SL_RUNAWAY_LINES, "line");
	s->line = EMPTY;
	s->line_any = s->line_lettered = false;
	return end_sentence(s, out) || found;
}

static bool loops(struct sl_runaway_stream *s, struct sl_str piece, struct sl_runaway_verdict *out)
{
	for (size_t i = 0; i < piece.len; i++) {
		unsigned char c = (unsigned char)piece.p[i];
		struct unit u[2] = {0};
		bool ended = s->ender; /* the byte before could end a sentence, and does when a blank follows */
		unsigned n = units_of(s, c, u);
		s->ender = c == '.' || c == '!' || c == '?';
		if (take_units(s, u, n, out))
			return true;
		if (c == '\n') {
			if (end_line(s, out))
				return true;
		} else if (ended && c <= ' ') {
			if (end_sentence(s, out))
				return true;
		} else if (c >= 0x80 && s->need == 0 && (s->cp == 0x3002 || s->cp == 0xff01 || s->cp == 0xff1f)) {
			s->cp = 0; /* 。！？ need no blank */
			if (end_sentence(s, out))
				return true;
		}
	}
	return false;
}

/* ---- speed and size ---- */

static bool too_fast(struct sl_runaway_stream *s, uint64_t tokens, uint64_t now_ms, struct sl_runaway_verdict *out)
{
	uint64_t slots = (uint64_t)s->limits.window_s * 1000 / SPEED_SLOT_MS;
	if (!slots || s->limits.velocity_tps <= 0)
		return false;
	if (slots > SL_RUNAWAY_SPEEDS)
		slots = SL_RUNAWAY_SPEEDS;
	uint64_t slot = now_ms > s->began_ms ? (now_ms - s->began_ms) / SPEED_SLOT_MS : 0;
	/* the slots that are complete make the window: the one under way is not in it yet */
	if (slot >= s->slot + slots) {
		memset(s->speed, 0, sizeof(s->speed));
		s->speed_sum = 0;
		s->slot = slot;
	}
	double window_s = (double)slots * SPEED_SLOT_MS / 1000, speed = 0;
	while (s->slot < slot) {
		speed = (double)s->speed_sum / window_s;
		if (s->slot + 1 >= slots && speed > s->limits.velocity_tps)
			break;
		s->slot++;
		s->speed_sum -= s->speed[s->slot % slots];
		s->speed[s->slot % slots] = 0;
		speed = 0;
	}
	s->speed[s->slot % slots] += (uint32_t)tokens; /* of one piece: far below what fits */
	s->speed_sum += tokens;
	if (speed <= s->limits.velocity_tps)
		return false;
	out->reason = "TOKEN_VELOCITY";
	out->measured = speed;
	out->limit = s->limits.velocity_tps;
	(void)snprintf(
		out->message, sizeof(out->message),
		"%.0f tokens a second over %.3g s, more than %.0f: nobody could follow, and no model thinks that "
		"fast",
		speed, window_s, s->limits.velocity_tps);
	return true;
}

static bool too_much(struct sl_runaway_stream *s, struct sl_runaway_verdict *out)
{
	uint64_t thinking = sl_tokens_sum(&s->thinking), sum = sl_tokens_sum(&s->text) + thinking;
	uint64_t expected = s->estimate + (thinking ? SL_RUNAWAY_THINKING : 0);
	if (s->limits.token_surge <= 0 || (double)sum <= s->limits.token_surge * (double)expected)
		return false;
	out->reason = "TOKEN_SURGE";
	out->measured = (double)sum;
	out->limit = s->limits.token_surge * (double)expected;
	(void)snprintf(out->message, sizeof(out->message),
		       "about %llu tokens, more than %.3g times the %llu that were expected", (unsigned long long)sum,
		       s->limits.token_surge, (unsigned long long)expected);
	return true;
}

void sl_runaway_stream_init(struct sl_runaway_stream *s, const struct sl_runaway_limits *limits, uint64_t estimate,
			    uint64_t now_ms)
{
	memset(s, 0, sizeof(*s));
	s->limits = *limits;
	s->estimate = estimate ? estimate : SL_TOKENS_OUTPUT;
	if (s->estimate < ESTIMATE_LEAST)
		s->estimate = ESTIMATE_LEAST;
	s->unit = s->line = s->sentence = EMPTY;
	s->began_ms = now_ms;
}

bool sl_runaway_feed(struct sl_runaway_stream *s, bool thinking, struct sl_str piece, uint64_t now_ms,
		     struct sl_runaway_verdict *out)
{
	struct sl_token_count *c = thinking ? &s->thinking : &s->text;
	uint64_t before = sl_tokens_sum(c);
	sl_tokens_add(c, piece);
	bool looping = s->limits.repeats && loops(s, piece, out);
	return looping || too_much(s, out) || too_fast(s, sl_tokens_sum(c) - before, now_ms, out);
}

/* ---- outputs ---- */

static uint64_t units_each(struct sl_str text, void (*fn)(void *ctx, uint32_t hash), void *ctx)
{
	struct sl_runaway_stream s = {.unit = EMPTY};
	uint64_t sum = 0;
	for (size_t i = 0; i <= text.len; i++) {
		struct unit u[2] = {0};
		unsigned n = i < text.len ? units_of(&s, (unsigned char)text.p[i], u) : unit_take(&s, &u[0]);
		for (unsigned k = 0; k < n; k++)
			fn(ctx, u[k].hash);
		sum += n;
	}
	return sum;
}

struct sketch {
	uint32_t bins[SL_RUNAWAY_BINS]; /* the least hash of each bin; 0: empty */
	uint32_t a, b;
};

static void sketch_add(void *ctx, uint32_t hash)
{
	struct sketch *k = ctx;
	uint32_t h = finish(k->a * 961 + k->b * 31 + hash) | 1;
	uint32_t *bin = &k->bins[(h >> 1) % SL_RUNAWAY_BINS];
	if (!*bin || h < *bin)
		*bin = h;
	k->a = k->b;
	k->b = hash;
}

static double similarity(const uint32_t *a, const uint32_t *b)
{
	unsigned same = 0, used = 0;
	for (int i = 0; i < SL_RUNAWAY_BINS; i++) {
		used += a[i] || b[i];
		same += a[i] && a[i] == b[i];
	}
	return used ? (double)same / used : 1;
}

#define COUNTS 4096
struct counts {
	uint32_t n[COUNTS];
};

static void count_add(void *ctx, uint32_t hash)
{
	((struct counts *)ctx)->n[hash % COUNTS]++;
}

double sl_runaway_entropy(struct sl_str text)
{
	struct counts c = {0};
	double sum = (double)units_each(text, count_add, &c), h = 0;
	if (sum < 8)
		return 1;
	for (int i = 0; i < COUNTS; i++)
		if (c.n[i])
			h -= c.n[i] / sum * log2(c.n[i] / sum);
	return h / log2(sum < COUNTS ? sum : COUNTS);
}

bool sl_runaway_output(struct sl_runaway_outputs *o, const struct sl_runaway_limits *limits, struct sl_str text,
		       struct sl_runaway_verdict *out)
{
	struct sketch k = {0};
	uint32_t most = limits->repeats < SL_COUNT_OF(o->entropies) ? limits->repeats : SL_COUNT_OF(o->entropies);
	if (!limits->repeats)
		return false;
	if (text.len < SL_RUNAWAY_SHORT) {
		*o = (struct sl_runaway_outputs){0};
		return false;
	}
	(void)units_each(text, sketch_add, &k);
	double like = o->any ? similarity(o->bins, k.bins) : 0;
	memcpy(o->bins, k.bins, sizeof(o->bins));
	if (o->any && limits->similarity > 0 && like >= limits->similarity) {
		o->least = o->similar && o->least < like ? o->least : like;
		o->similar++;
	} else {
		o->similar = 0;
	}
	o->any = true;
	o->entropies[o->n++ % most] = sl_runaway_entropy(text);
	if (o->similar + 1 >= limits->repeats && limits->similarity > 0 && o->similar) {
		out->reason = "LOOP_DETECTED";
		out->measured = o->least;
		out->limit = limits->similarity;
		(void)snprintf(out->message, sizeof(out->message),
			       "no progress: %u outputs in a row are nearly the same (similarity %.2f)", o->similar + 1,
			       o->least);
		return true;
	}
	if (limits->entropy > 0 && o->n >= most) {
		double mean = 0;
		for (uint32_t i = 0; i < most; i++)
			mean += o->entropies[i] / most;
		if (mean < limits->entropy) {
			out->reason = "LOOP_DETECTED";
			out->measured = mean;
			out->limit = limits->entropy;
			(void)snprintf(out->message, sizeof(out->message),
				       "no progress: %u outputs in a row say next to nothing (entropy %.3f)", most,
				       mean);
			return true;
		}
	}
	return false;
}
