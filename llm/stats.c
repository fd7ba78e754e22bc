/* llm/stats.c: see stats.h. A minute's slot is its number modulo the ring; it is emptied by the first call of a minute.
 */
#include "llm/stats.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MINUTE_MS 60000
#define CODES     64 /* as many as base/error.h could have: -code is the index */

struct sl_stats {
	pthread_mutex_t lock;
	struct sl_stats_model *models[SL_STATS_MODELS + 1]; /* [lock] the last one is "other" */
	size_t n;
	struct sl_stats_minute minutes[SL_STATS_MINUTES];
	uint64_t errors[CODES];
	struct sl_stats_totals totals;
};

enum sl_code sl_stats_new(struct sl_stats **out)
{
	struct sl_stats *s = calloc(1, sizeof(*s));
	if (!s)
		return SL_NO_MEMORY;
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return SL_OK;
}

void sl_stats_free(struct sl_stats *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		free(s->models[i]);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* [lock] NULL: no memory, then the call is in the minutes only. */
static struct sl_stats_model *model_of(struct sl_stats *s, const struct sl_stats_call *c)
{
	for (size_t i = 0; i < s->n && i < SL_STATS_MODELS; i++)
		if (strncmp(s->models[i]->profile, c->profile, sizeof(s->models[i]->profile) - 1) == 0 &&
		    strncmp(s->models[i]->model, c->model, sizeof(s->models[i]->model) - 1) == 0)
			return s->models[i];
	if (s->n == SL_STATS_MODELS + 1)
		return s->models[SL_STATS_MODELS];
	struct sl_stats_model *m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	bool other = s->n == SL_STATS_MODELS;
	(void)snprintf(m->profile, sizeof(m->profile), "%s", other ? "other" : c->profile);
	(void)snprintf(m->provider, sizeof(m->provider), "%s", other ? "other" : c->provider);
	(void)snprintf(m->model, sizeof(m->model), "%s", other ? "other" : c->model);
	s->models[s->n++] = m;
	return m;
}

const struct sl_bounds sl_bounds_time = {
	14, {.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}};
const struct sl_bounds sl_bounds_tokens = {
	14, {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}};
const struct sl_bounds sl_bounds_first_token = {
	16, {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}};
const struct sl_bounds sl_bounds_http = {14, {.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}};

void sl_stats_spread_add(struct sl_stats_spread *d, const struct sl_bounds *bounds, double value)
{
	unsigned i = 0;
	while (i < bounds->n && value > bounds->at[i])
		i++;
	d->counts[i]++;
	d->n++;
	d->sum += value;
}

static void add_time(struct sl_stats_spread *d, double seconds)
{
	sl_stats_spread_add(d, &sl_bounds_time, seconds);
}

static void add_tokens(struct sl_stats_spread *d, uint64_t tokens)
{
	sl_stats_spread_add(d, &sl_bounds_tokens, (double)tokens);
}

/* [lock] */
static struct sl_stats_minute *minute_of(struct sl_stats *s, int64_t now_ms)
{
	int64_t number = now_ms / MINUTE_MS;
	struct sl_stats_minute *m = &s->minutes[number % SL_STATS_MINUTES];
	if (m->at_ms != number * MINUTE_MS) {
		memset(m, 0, sizeof(*m));
		m->at_ms = number * MINUTE_MS;
	}
	return m;
}

void sl_stats_call(struct sl_stats *s, int64_t now_ms, const struct sl_stats_call *c)
{
	bool failed = c->rc != SL_OK && c->rc != SL_CANCELLED;
	pthread_mutex_lock(&s->lock);
	struct sl_stats_minute *t = minute_of(s, now_ms);
	struct sl_stats_model *m = model_of(s, c);
	t->calls++;
	t->errors += failed;
	t->input_tokens += c->input_tokens;
	t->output_tokens += c->output_tokens;
	t->cost_microusd += c->cost_microusd;
	s->totals.calls++;
	s->totals.errors += failed;
	s->totals.input_tokens += c->input_tokens;
	s->totals.output_tokens += c->output_tokens;
	s->totals.cost_microusd += c->cost_microusd;
	if (failed && -(int)c->rc < CODES)
		s->errors[-(int)c->rc]++;
	if (c->rc == SL_OK) {
		sl_hist_add(&t->latency, c->total_ms);
		if (c->first_ms)
			sl_hist_add(&t->first, c->first_ms);
	}
	if (m) {
		m->calls++;
		m->errors += failed;
		m->input_tokens += c->input_tokens;
		m->output_tokens += c->output_tokens;
		m->cost_microusd += c->cost_microusd;
		if (failed)
			add_time(&m->failed, (double)c->total_ms / 1000);
		if (c->rc == SL_OK) {
			sl_hist_add(&m->latency, c->total_ms);
			add_time(&m->duration, (double)c->total_ms / 1000);
			if (c->first_ms) {
				sl_hist_add(&m->first, c->first_ms);
				add_time(&m->first_s, (double)c->first_ms / 1000);
			}
			if (c->first_ms && c->pieces > 1)
				add_time(&m->piece_s,
					 (double)(c->total_ms - c->first_ms) / 1000 / (double)(c->pieces - 1));
		}
		if (c->input_tokens || c->output_tokens) {
			add_tokens(&m->input, c->input_tokens);
			add_tokens(&m->output, c->output_tokens);
		}
	}
	pthread_mutex_unlock(&s->lock);
}

size_t sl_stats_models(struct sl_stats *s, struct sl_stats_model *out, size_t most)
{
	pthread_mutex_lock(&s->lock);
	size_t n = s->n;
	for (size_t i = 0; i < n && i < most; i++)
		out[i] = *s->models[i];
	pthread_mutex_unlock(&s->lock);
	return n;
}

void sl_stats_minutes(struct sl_stats *s, int64_t now_ms, struct sl_stats_minute out[SL_STATS_MINUTES])
{
	int64_t last = now_ms / MINUTE_MS;
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < SL_STATS_MINUTES; i++) {
		int64_t number = last - (SL_STATS_MINUTES - 1) + i;
		const struct sl_stats_minute *m = &s->minutes[number % SL_STATS_MINUTES];
		if (m->at_ms == number * MINUTE_MS)
			out[i] = *m;
		else
			out[i] = (struct sl_stats_minute){.at_ms = number * MINUTE_MS};
	}
	pthread_mutex_unlock(&s->lock);
}

void sl_stats_totals(struct sl_stats *s, struct sl_stats_totals *out)
{
	pthread_mutex_lock(&s->lock);
	*out = s->totals;
	pthread_mutex_unlock(&s->lock);
}

void sl_stats_errors(struct sl_stats *s, void (*fn)(void *arg, enum sl_code rc, uint64_t n), void *arg)
{
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < CODES; i++)
		if (s->errors[i])
			fn(arg, (enum sl_code) - i, s->errors[i]);
	pthread_mutex_unlock(&s->lock);
}
