/* engine/admit.c: see admit.h. Tickets of one priority, project and workflow are a lane; the lanes of one priority and
 * project with somebody in them are a row; rows lie in a list for each priority. A grant goes down these three. */
#include "engine/admit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1 /* an item that could not be added has hh.tbl NULL */
#include <uthash.h>

#define LEVELS (2 * SL_ADMIT_PRIORITY + 1)

const uint32_t sl_admit_bounds_ms[SL_ADMIT_BOUNDS] = {10, 50, 100, 500, 1000, 5000, 10000, 60000, 300000, 1800000};

/* A project or a workflow. */
struct group {
	UT_hash_handle hh;
	uint32_t refs, inside, most;
	uint64_t served; /* when one of it was admitted last: a count, not a time */
	char name[];
};

/* All that waits of one project at one priority. */
struct row {
	struct sl_list link; /* in its level, while any waits */
	struct sl_list lanes;
	UT_hash_handle hh;
	struct {
		struct group *project;
		int64_t level;
	} key;
	uint32_t refs;
};

struct sl_admit_lane {
	struct sl_list link; /* in its row, while any waits */
	struct sl_list tickets;
	UT_hash_handle hh;
	struct {
		struct row *row;
		struct group *workflow;
	} key;
	struct sl_admit *home;
	uint32_t refs; /* tickets that have joined */
};

struct sl_admit {
	const struct sl_clock *clock;
	sl_admit_fn *go;
	pthread_mutex_t lock; /* of all that follows */
	struct group *projects, *workflows;
	struct row *rows;
	struct sl_admit_lane *lanes;
	struct sl_list levels[LEVELS];
	struct sl_admit_limits limits;
	const char *paused;     /* why; NULL: not */
	bool limited, orphaned; /* orphaned: the last ticket that quits frees it */
	uint32_t held, inside, waiting;
	uint32_t coming; /* joined, and have not asked yet */
	uint64_t turn;
	struct sl_admit_stats stats;
};

void sl_admit_limits_fini(struct sl_admit_limits *l)
{
	for (uint32_t i = 0; i < l->n_projects; i++)
		free(l->projects[i].name);
	for (uint32_t i = 0; i < l->n_workflows; i++)
		free(l->workflows[i].name);
	free(l->projects);
	free(l->workflows);
	*l = (struct sl_admit_limits){0};
}

enum sl_code sl_admit_new(const struct sl_clock *clock, sl_admit_fn *go, struct sl_admit **out)
{
	struct sl_admit *a = calloc(1, sizeof(*a));
	if (!a)
		return SL_NO_MEMORY;
	a->clock = clock;
	a->go = go;
	pthread_mutex_init(&a->lock, NULL);
	for (size_t i = 0; i < LEVELS; i++)
		sl_list_init(&a->levels[i]);
	*out = a;
	return SL_OK;
}

static void destroy(struct sl_admit *a)
{
	sl_admit_limits_fini(&a->limits);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

void sl_admit_free(struct sl_admit *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	bool last = !a->lanes;
	a->orphaned = true;
	pthread_mutex_unlock(&a->lock);
	if (last)
		destroy(a);
}

/* ---- joining: the only place that allocates ---- */

static uint32_t most_of(const struct sl_admit_named *named, uint32_t n, uint32_t otherwise, const char *name)
{
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(named[i].name, name) == 0)
			return named[i].most;
	return otherwise;
}

static uint32_t project_most(const struct sl_admit *a, const char *name)
{
	return most_of(a->limits.projects, a->limits.n_projects, a->limits.per_project, name);
}

static uint32_t workflow_most(const struct sl_admit *a, const char *name)
{
	return most_of(a->limits.workflows, a->limits.n_workflows, a->limits.per_workflow, name);
}

static void group_unref(struct group **table, struct group *g)
{
	if (!g || --g->refs)
		return;
	HASH_DEL(*table, g);
	free(g);
}

static struct group *group_ref(struct group **table, const char *name)
{
	struct group *g;
	size_t n = strlen(name);
	HASH_FIND(hh, *table, name, n, g);
	if (!g) {
		g = calloc(1, sizeof(*g) + n + 1);
		if (!g)
			return NULL;
		memcpy(g->name, name, n + 1);
		HASH_ADD_KEYPTR(hh, *table, g->name, n, g);
		if (!g->hh.tbl) {
			free(g);
			return NULL;
		}
	}
	g->refs++;
	return g;
}

static void row_unref(struct sl_admit *a, struct row *r)
{
	if (--r->refs)
		return;
	HASH_DEL(a->rows, r);
	group_unref(&a->projects, r->key.project);
	free(r);
}

/* Takes a reference to the project, as long as the row is there. */
static struct row *row_ref(struct sl_admit *a, struct group *project, int32_t priority)
{
	struct row *r, look = {.key = {.project = project, .level = priority + SL_ADMIT_PRIORITY}};
	HASH_FIND(hh, a->rows, &look.key, sizeof(look.key), r);
	if (!r) {
		r = calloc(1, sizeof(*r));
		if (!r)
			return NULL;
		r->key.project = project;
		r->key.level = look.key.level;
		sl_list_init(&r->link);
		sl_list_init(&r->lanes);
		HASH_ADD(hh, a->rows, key, sizeof(r->key), r);
		if (!r->hh.tbl) {
			free(r);
			return NULL;
		}
		project->refs++;
	}
	r->refs++;
	return r;
}

static void lane_unref(struct sl_admit *a, struct sl_admit_lane *l)
{
	if (--l->refs)
		return;
	HASH_DEL(a->lanes, l);
	group_unref(&a->workflows, l->key.workflow);
	row_unref(a, l->key.row);
	free(l);
}

/* Takes references to both, as long as the lane is there. */
static struct sl_admit_lane *lane_ref(struct sl_admit *a, struct row *row, struct group *workflow)
{
	struct sl_admit_lane *l, look = {.key = {.row = row, .workflow = workflow}};
	HASH_FIND(hh, a->lanes, &look.key, sizeof(look.key), l);
	if (!l) {
		l = calloc(1, sizeof(*l));
		if (!l)
			return NULL;
		l->home = a;
		l->key.row = row;
		l->key.workflow = workflow;
		sl_list_init(&l->link);
		sl_list_init(&l->tickets);
		HASH_ADD(hh, a->lanes, key, sizeof(l->key), l);
		if (!l->hh.tbl) {
			free(l);
			return NULL;
		}
		row->refs++;
		workflow->refs++;
	}
	l->refs++;
	return l;
}

enum sl_code sl_admit_join(struct sl_admit *a, struct sl_admit_ticket *t, struct sl_uuid id, const char *project,
			   const char *workflow, int32_t priority)
{
	if (priority > SL_ADMIT_PRIORITY)
		priority = SL_ADMIT_PRIORITY;
	if (priority < -SL_ADMIT_PRIORITY)
		priority = -SL_ADMIT_PRIORITY;
	*t = (struct sl_admit_ticket){.id = id};
	sl_list_init(&t->link);
	pthread_mutex_lock(&a->lock);
	struct group *p = group_ref(&a->projects, project), *w = group_ref(&a->workflows, workflow);
	struct row *row = p && w ? row_ref(a, p, priority) : NULL;
	t->lane = row ? lane_ref(a, row, w) : NULL;
	if (t->lane) {
		if (p->refs == 2) /* this call and the row: it is new */
			p->most = project_most(a, p->name);
		if (w->refs == 2)
			w->most = workflow_most(a, w->name);
		a->coming++;
	}
	/* from here on the lane holds the row and the workflow, the row its project */
	if (row)
		row_unref(a, row);
	group_unref(&a->workflows, w);
	group_unref(&a->projects, p);
	pthread_mutex_unlock(&a->lock);
	return t->lane ? SL_OK : SL_NO_MEMORY;
}

/* ---- the order ---- */

static struct sl_admit_ticket *ticket_of(struct sl_list *l)
{
	return sl_list_entry(l, struct sl_admit_ticket, link);
}

static bool full(const struct group *g)
{
	return g->most && g->inside >= g->most;
}

static bool server_full(const struct sl_admit *a)
{
	if (a->paused)
		return true;
	return a->limited && (a->held || (a->limits.max_running && a->inside >= a->limits.max_running));
}

static bool fits(const struct sl_admit *a, const struct sl_admit_lane *l)
{
	return !server_full(a) && !full(l->key.row->key.project) && !full(l->key.workflow);
}

static bool older(const struct sl_admit_ticket *t, const struct sl_admit_ticket *than)
{
	return memcmp(t->id.b, than->id.b, sizeof(t->id.b)) < 0; /* ids of runs are ordered by time */
}

static void count(struct sl_admit *a, struct sl_admit_ticket *t, int by)
{
	a->inside += (uint32_t)by;
	t->lane->key.row->key.project->inside += (uint32_t)by;
	t->lane->key.workflow->inside += (uint32_t)by;
}

static void take_place(struct sl_admit *a, struct sl_admit_ticket *t)
{
	uint64_t waited = sl_clock_mono(a->clock) - t->asked_ms;
	t->place = SL_PLACE_INSIDE;
	count(a, t, 1);
	t->lane->key.row->key.project->served = ++a->turn;
	a->stats.admitted++;
	a->stats.waited_ms += waited;
	for (size_t i = 0; i < SL_ADMIT_BOUNDS; i++)
		a->stats.bounds[i] += waited <= sl_admit_bounds_ms[i];
}

static void queue(struct sl_admit *a, struct sl_admit_ticket *t)
{
	struct sl_admit_lane *l = t->lane;
	struct row *r = l->key.row;
	struct sl_list *after = l->tickets.prev;
	while (after != &l->tickets && older(t, ticket_of(after))) /* nearly always the last one is the place */
		after = after->prev;
	sl_list_append(after->next, &t->link);
	if (sl_list_empty(&l->link))
		sl_list_append(&r->lanes, &l->link);
	if (sl_list_empty(&r->link))
		sl_list_append(&a->levels[r->key.level], &r->link);
	t->place = SL_PLACE_WAITS;
	a->waiting++;
}

static void unqueue(struct sl_admit *a, struct sl_admit_ticket *t)
{
	struct sl_admit_lane *l = t->lane;
	struct row *r = l->key.row;
	sl_list_drop(&t->link);
	if (sl_list_empty(&l->tickets))
		sl_list_drop(&l->link);
	if (sl_list_empty(&r->lanes))
		sl_list_drop(&r->link);
	a->waiting--;
}

/* The oldest of a row whose workflow has room; NULL: none has. */
static struct sl_admit_ticket *first_of(struct row *r)
{
	struct sl_admit_ticket *best = NULL;
	sl_list_each (it, &r->lanes) {
		struct sl_admit_lane *l = sl_list_entry(it, struct sl_admit_lane, link);
		struct sl_admit_ticket *t = ticket_of(l->tickets.next);
		if (!full(l->key.workflow) && (!best || older(t, best)))
			best = t;
	}
	return best;
}

static bool before(const struct group *p, const struct group *than)
{
	return p->inside != than->inside ? p->inside < than->inside : p->served < than->served;
}

static struct sl_admit_ticket *next(struct sl_admit *a)
{
	if (!a->waiting || server_full(a))
		return NULL;
	for (size_t level = LEVELS; level-- > 0;) {
		struct sl_admit_ticket *best = NULL;
		const struct group *of = NULL;
		sl_list_each (it, &a->levels[level]) {
			struct row *r = sl_list_entry(it, struct row, link);
			const struct group *p = r->key.project;
			if (full(p) || (best && before(of, p)))
				continue;
			struct sl_admit_ticket *t = first_of(r);
			if (t && (!best || before(p, of) || older(t, best))) { /* the last: neither was ever served */
				best = t;
				of = p;
			}
		}
		if (best)
			return best;
	}
	return NULL;
}

/* Who has got a place goes on `out`: go() is called for them without the lock. */
static void refill(struct sl_admit *a, struct sl_list *out)
{
	struct sl_admit_ticket *t;
	while ((t = next(a))) {
		unqueue(a, t);
		take_place(a, t);
		sl_list_append(out, &t->link);
	}
}

static void let_go(struct sl_admit *a, struct sl_list *out)
{
	while (!sl_list_empty(out)) {
		struct sl_admit_ticket *t = ticket_of(out->next);
		sl_list_drop(&t->link);
		a->go(t);
	}
}

/* ---- the calls ---- */

enum sl_code sl_admit_room(struct sl_admit *a, struct sl_error *err)
{
	enum sl_code rc = SL_OK;
	pthread_mutex_lock(&a->lock);
	uint32_t most = a->limits.max_queued, places = 0;
	if (a->limits.max_running > a->inside)
		places = a->limits.max_running - a->inside;
	if (most && a->limited && a->waiting + a->coming >= most + places)
		rc = sl_fail(err, SL_BUSY, "%u runs wait for a place, and no more may", a->waiting);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

bool sl_admit_ask(struct sl_admit *a, struct sl_admit_ticket *t)
{
	bool in = !t->lane;
	if (in)
		return true;
	pthread_mutex_lock(&a->lock);
	if (t->place == SL_PLACE_NONE) {
		a->coming--;
		t->asked_ms = sl_clock_mono(a->clock);
		/* whoever waits does not fit, or it would not wait; so nobody is overtaken */
		in = fits(a, t->lane);
		if (in)
			take_place(a, t);
		else
			queue(a, t);
	}
	pthread_mutex_unlock(&a->lock);
	return in;
}

void sl_admit_enter(struct sl_admit *a, struct sl_admit_ticket *t)
{
	if (!t->lane)
		return;
	pthread_mutex_lock(&a->lock);
	if (t->place == SL_PLACE_NONE)
		a->coming--;
	if (t->place == SL_PLACE_NONE || t->place == SL_PLACE_AWAY) {
		t->place = SL_PLACE_INSIDE;
		count(a, t, 1);
	}
	pthread_mutex_unlock(&a->lock);
}

void sl_admit_away(struct sl_admit *a, struct sl_admit_ticket *t)
{
	struct sl_list out;
	sl_list_init(&out);
	if (!t->lane)
		return;
	pthread_mutex_lock(&a->lock);
	if (t->place == SL_PLACE_NONE)
		a->coming--;
	if (t->place == SL_PLACE_INSIDE)
		count(a, t, -1);
	if (t->place == SL_PLACE_NONE || t->place == SL_PLACE_INSIDE) {
		t->place = SL_PLACE_AWAY;
		refill(a, &out);
	}
	pthread_mutex_unlock(&a->lock);
	let_go(a, &out);
}

bool sl_admit_leave(struct sl_admit *a, struct sl_admit_ticket *t)
{
	struct sl_list out;
	sl_list_init(&out);
	if (!t->lane)
		return false;
	pthread_mutex_lock(&a->lock);
	bool waited = t->place == SL_PLACE_WAITS;
	if (t->place == SL_PLACE_NONE)
		a->coming--;
	if (waited)
		unqueue(a, t);
	if (t->place == SL_PLACE_INSIDE)
		count(a, t, -1);
	if (t->place != SL_PLACE_GONE) {
		t->place = SL_PLACE_GONE;
		refill(a, &out);
	}
	pthread_mutex_unlock(&a->lock);
	let_go(a, &out);
	return waited;
}

void sl_admit_quit(struct sl_admit_ticket *t)
{
	struct sl_admit *a = t->lane ? t->lane->home : NULL;
	if (!a)
		return;
	(void)sl_admit_leave(a, t); /* whoever waits has a reference and cannot be here */
	pthread_mutex_lock(&a->lock);
	lane_unref(a, t->lane);
	bool last = a->orphaned && !a->lanes;
	pthread_mutex_unlock(&a->lock);
	t->lane = NULL;
	if (last)
		destroy(a);
}

void sl_admit_set(struct sl_admit *a, struct sl_admit_limits *l)
{
	struct sl_list out;
	struct group *g, *tmp;
	sl_list_init(&out);
	pthread_mutex_lock(&a->lock);
	struct sl_admit_limits old = a->limits;
	a->limits = l ? *l : (struct sl_admit_limits){0};
	if (l)
		*l = (struct sl_admit_limits){0};
	a->limited = a->limits.max_running || a->limits.per_project || a->limits.per_workflow || a->limits.n_projects ||
		     a->limits.n_workflows;
	HASH_ITER (hh, a->projects, g, tmp)
		g->most = project_most(a, g->name);
	HASH_ITER (hh, a->workflows, g, tmp)
		g->most = workflow_most(a, g->name);
	refill(a, &out);
	pthread_mutex_unlock(&a->lock);
	sl_admit_limits_fini(&old);
	let_go(a, &out);
}

void sl_admit_limits(struct sl_admit *a, struct sl_buf *out)
{
	pthread_mutex_lock(&a->lock);
	sl_admit_limits_json(&a->limits, out);
	pthread_mutex_unlock(&a->lock);
}

void sl_admit_hold(struct sl_admit *a)
{
	pthread_mutex_lock(&a->lock);
	a->held++;
	pthread_mutex_unlock(&a->lock);
}

void sl_admit_release(struct sl_admit *a)
{
	struct sl_list out;
	sl_list_init(&out);
	pthread_mutex_lock(&a->lock);
	SL_BUG_ON(!a->held);
	a->held--;
	refill(a, &out);
	pthread_mutex_unlock(&a->lock);
	let_go(a, &out);
}

void sl_admit_pause(struct sl_admit *a, const char *reason)
{
	struct sl_list out;
	sl_list_init(&out);
	pthread_mutex_lock(&a->lock);
	a->paused = reason;
	refill(a, &out);
	pthread_mutex_unlock(&a->lock);
	let_go(a, &out);
}

/* ---- for people ---- */

bool sl_admit_reason(struct sl_admit *a, struct sl_admit_ticket *t, struct sl_buf *out)
{
	if (!t->lane)
		return false;
	pthread_mutex_lock(&a->lock);
	bool waits = t->place == SL_PLACE_WAITS;
	const struct group *p = waits ? t->lane->key.row->key.project : NULL;
	const struct group *w = waits ? t->lane->key.workflow : NULL;
	if (waits && a->paused)
		sl_buf_adds(out, a->paused);
	else if (waits && a->limited && a->held)
		sl_buf_adds(out, "the server takes up its unfinished runs first");
	else if (waits && full(p))
		sl_buf_addf(out, "project '%s' has %u of %u runs at work", p->name, p->inside, p->most);
	else if (waits && full(w))
		sl_buf_addf(out, "workflow '%s' has %u of %u runs at work", w->name, w->inside, w->most);
	else if (waits && server_full(a))
		sl_buf_addf(out, "the server has %u of %u runs at work", a->inside, a->limits.max_running);
	else if (waits)
		sl_buf_adds(out, "its turn comes in a moment");
	pthread_mutex_unlock(&a->lock);
	return waits;
}

void sl_admit_stats(struct sl_admit *a, struct sl_admit_stats *out)
{
	pthread_mutex_lock(&a->lock);
	*out = a->stats;
	out->waiting = a->waiting;
	out->inside = a->inside;
	pthread_mutex_unlock(&a->lock);
}
