/* api/follow.c: what this server keeps in memory of the database's tables: read again when another server has changed
 * them, or may have, and after a change of our own.
 *
 * Changes are not heard of in the order of their commits: our own is answered on one connection, that of another server
 * is told on another. So each is followed by a reading that began after it, and what was read before a change of our
 * own was in force is not believed: all servers agree when nobody changes anything any more. A store that is exclusive
 * is read at the start, and nobody else changes it. */
#include "api/api_priv.h"
#include "api/limits_doc.h"
#include "llm/agents.h"
#include "llm/chat.h"
#include "llm/price.h"
#include "llm/profile.h"
#include "memory/memory.h"
#include "store/agents.h"
#include "store/prices.h"
#include "store/profiles.h"
#include "store/settings.h"
#include "store/tokens.h"
#include "ws/conn.h"

#define AGAIN_MS 5000 /* after a reading that failed */

/* ---- rows by name, taken from the store's thread to ours */

struct row {
	char *name;
	struct sl_bytes *body, *secrets;
};
struct rows {
	size_t n;
	struct row items[];
};

static void rows_free(void *more)
{
	struct rows *rows = more;
	for (size_t i = 0; i < rows->n; i++) {
		free(rows->items[i].name);
		sl_bytes_unref(rows->items[i].body);
		sl_bytes_unref(rows->items[i].secrets);
	}
	free(rows);
}

/* NULL: none were read, or there is no memory, and t->rc says so. */
static struct rows *rows_new(struct sl_task *t, enum sl_code rc, size_t n)
{
	t->rc = rc;
	if (rc == SL_OK && !(t->more = calloc(1, sizeof(struct rows) + n * sizeof(struct row))))
		t->rc = SL_NO_MEMORY;
	t->more_free = rows_free;
	return t->more;
}

static struct sl_str *names_of(const struct rows *rows)
{
	struct sl_str *names = calloc(rows->n + 1, sizeof(*names));
	for (size_t i = 0; names && i < rows->n; i++)
		names[i] = sl_str(rows->items[i].name);
	return names;
}

/* ---- profiles */

static void on_profiles(void *arg, enum sl_code rc, const struct sl_stored_profile *items, size_t n)
{
	struct sl_task *t = arg;
	struct rows *rows = rows_new(t, rc, n);
	for (size_t i = 0; rows && i < n; i++) {
		struct row *row = &rows->items[rows->n++];
		*row = (struct row){sl_str_dup(sl_str(items[i].name)), sl_bytes_ref(items[i].config),
				    items[i].secrets ? sl_bytes_ref(items[i].secrets) : NULL};
		if (!row->name)
			t->rc = SL_NO_MEMORY;
	}
	sl_task_back(t);
}

static enum sl_code read_profiles(struct sl_store *s, struct sl_task *t)
{
	return sl_store_profile_list(s, on_profiles, t);
}

static enum sl_code apply_profiles(struct sl_api *a, struct sl_task *t)
{
	struct sl_profiles *profiles = sl_llm_profiles(a->parts.llm);
	struct rows *rows = t->more;
	struct sl_str *names = names_of(rows);
	if (!names)
		return SL_NO_MEMORY;
	for (size_t i = 0; i < rows->n; i++) {
		struct sl_error err = {0};
		const struct row *row = &rows->items[i];
		struct sl_str secrets = row->secrets ? sl_bytes_str(row->secrets) : SL_STR("");
		if (sl_profiles_load(profiles, names[i], sl_bytes_str(row->body), secrets, &err) != SL_OK)
			sl_log(SL_LOG_ERROR, "api", "a stored profile cannot be used as it is",
			       SL_KS("profile", row->name), SL_KS("error", err.text));
	}
	sl_profiles_retain(profiles, names, rows->n);
	free(names);
	SL_AUTO(sl_profile) embedding = a->parts.memory ? sl_profiles_get_embedding(profiles) : NULL;
	if (embedding)
		sl_memory_profiles_changed(a->parts.memory);
	return SL_OK;
}

/* ---- agents */

static void on_agents(void *arg, enum sl_code rc, const struct sl_stored_agent *items, size_t n)
{
	struct sl_task *t = arg;
	struct rows *rows = rows_new(t, rc, n);
	for (size_t i = 0; rows && i < n; i++) {
		struct row *row = &rows->items[rows->n++];
		*row = (struct row){sl_str_dup(sl_str(items[i].name)), sl_bytes_new(items[i].body.p, items[i].body.len),
				    NULL};
		if (!row->name || !row->body)
			t->rc = SL_NO_MEMORY;
	}
	sl_task_back(t);
}

static enum sl_code read_agents(struct sl_store *s, struct sl_task *t)
{
	return sl_store_agent_list(s, on_agents, t);
}

static enum sl_code apply_agents(struct sl_api *a, struct sl_task *t)
{
	struct rows *rows = t->more;
	struct sl_str *names = names_of(rows);
	if (!names)
		return SL_NO_MEMORY;
	for (size_t i = 0; i < rows->n; i++) {
		struct sl_error err = {0};
		if (sl_agents_load(a->parts.agents, names[i], sl_bytes_str(rows->items[i].body), &err) != SL_OK)
			sl_log(SL_LOG_ERROR, "api", "a stored agent cannot be used",
			       SL_KS("agent", rows->items[i].name), SL_KS("error", err.text));
	}
	sl_agents_retain(a->parts.agents, names, rows->n);
	free(names);
	return SL_OK;
}

/* ---- prices */

static enum sl_code read_prices(struct sl_store *s, struct sl_task *t)
{
	return sl_store_price_list(s, sl_task_json_from_store, t);
}

static enum sl_code apply_prices(struct sl_api *a, struct sl_task *t)
{
	struct sl_error err = {0};
	if (sl_prices_load(sl_llm_prices(a->parts.llm), sl_bytes_str(t->json), &err) != SL_OK)
		sl_log(SL_LOG_ERROR, "api", "the stored prices cannot be used", SL_KS("error", err.text));
	return SL_OK;
}

/* ---- limits, and a pause of all servers */

static enum sl_code read_limits(struct sl_store *s, struct sl_task *t)
{
	return sl_store_setting_get(s, SL_STR("limits"), sl_task_json_from_store, t);
}

static enum sl_code apply_limits(struct sl_api *a, struct sl_task *t)
{
	SL_AUTO_JSON doc = NULL;
	struct sl_error err = {0};
	SL_BUF(before, 2u << 20);
	SL_BUF(after, 2u << 20);
	sl_limits_json(a->parts.governor, a->parts.engine, &before);
	if (sl_json_parse(sl_bytes_str(t->json), &doc, &err) != SL_OK ||
	    sl_limits_apply(a->parts.governor, a->parts.engine, doc, &err) != SL_OK)
		sl_log(SL_LOG_ERROR, "api", "the stored limits cannot be used", SL_KS("error", err.text));
	sl_limits_json(a->parts.governor, a->parts.engine, &after);
	if (!sl_str_eq(sl_buf_str(&before), sl_buf_str(&after)))
		sl_log(SL_LOG_INFO, "api", "limits are in force that another server was given");
	return SL_OK;
}

static enum sl_code read_paused(struct sl_store *s, struct sl_task *t)
{
	return sl_store_setting_get(s, SL_STR(SL_SETTING_PAUSED), sl_task_json_from_store, t);
}

static enum sl_code apply_paused(struct sl_api *a, struct sl_task *t)
{
	SL_AUTO_JSON doc = NULL;
	if (sl_json_parse(sl_bytes_str(t->json), &doc, NULL) == SL_OK)
		sl_admin_follow(a, sl_json_get_bool(doc, "paused", false));
	return SL_OK;
}

/* ---- tokens */

struct token_list {
	struct sl_auth_token *items;
	size_t n;
};

static void token_list_free(void *more)
{
	struct token_list *l = more;
	free(l->items);
	free(l);
}

static void on_tokens(void *arg, enum sl_code rc, const struct sl_stored_token *items, size_t n)
{
	struct sl_task *t = arg;
	t->rc = rc;
	struct token_list *l = rc == SL_OK ? calloc(1, sizeof(*l)) : NULL;
	if (l)
		l->items = calloc(n ? n : 1, sizeof(*l->items));
	if (rc == SL_OK && (!l || !l->items)) {
		free(l);
		l = NULL;
		t->rc = SL_NO_MEMORY;
	}
	for (size_t i = 0; l && i < n; i++) {
		struct sl_auth_token *to = &l->items[l->n];
		if (items[i].revoked_ms || !sl_role_parse(sl_str(items[i].role), &to->role))
			continue;
		to->id = items[i].id;
		to->expires_ms = items[i].expires_ms;
		snprintf(to->name, sizeof(to->name), "%s", items[i].name);
		memcpy(to->hash, items[i].hash, sizeof(to->hash));
		l->n++;
	}
	t->more = l;
	t->more_free = l ? token_list_free : NULL;
	sl_task_back(t);
}

static enum sl_code read_tokens(struct sl_store *s, struct sl_task *t)
{
	return sl_store_token_list(s, on_tokens, t);
}

static bool is_gone(void *ctx, const struct sl_ws_identity *who)
{
	const struct sl_api *a = ctx;
	return !sl_auth_knows(a->auth, who->token);
}

static enum sl_code apply_tokens(struct sl_api *a, struct sl_task *t)
{
	struct token_list *l = t->more;
	enum sl_code rc = sl_auth_set_tokens(a->auth, l->items, l->n);
	if (rc == SL_OK && a->parts.ws) /* revoked at another server */
		sl_hub_close_matching(sl_ws_hub(a->parts.ws), is_gone, a, SL_WS_CLOSE_REVOKED, "the token was revoked");
	return rc;
}

/* ---- when */

static const struct kind {
	const char *name;
	enum sl_store_news news; /* that tell of it */
	enum sl_code (*read)(struct sl_store *s, struct sl_task *t);
	enum sl_code (*apply)(struct sl_api *a, struct sl_task *t); /* after a reading that found something */
} kinds[SL_FOLLOW_KINDS] = {
	[SL_FOLLOW_LIMITS] = {"limits", SL_STORE_NEWS_SETTINGS, read_limits, apply_limits},
	[SL_FOLLOW_PAUSED] = {"pause", SL_STORE_NEWS_SETTINGS, read_paused, apply_paused},
	[SL_FOLLOW_PROFILES] = {"profiles", SL_STORE_NEWS_PROFILES, read_profiles, apply_profiles},
	[SL_FOLLOW_AGENTS] = {"agents", SL_STORE_NEWS_AGENTS, read_agents, apply_agents},
	[SL_FOLLOW_PRICES] = {"prices", SL_STORE_NEWS_PRICES, read_prices, apply_prices},
	[SL_FOLLOW_TOKENS] = {"tokens", SL_STORE_NEWS_TOKENS, read_tokens, apply_tokens},
};

static void later(struct sl_api *a, enum sl_follow what, enum sl_code rc)
{
	if (rc == SL_CANCELLED) /* the server stops */
		return;
	sl_log(SL_LOG_WARN, "api", "what is stored could not be read; what is known stays, and it is tried again",
	       SL_KS("what", kinds[what].name), SL_KS("code", sl_code_wire(rc)));
	a->following[what].again_ms = sl_clock_mono(a->clock) + AGAIN_MS;
}

static void read_done(struct sl_task *t)
{
	struct sl_api *a = t->api;
	enum sl_follow what = t->follow;
	struct sl_following *f = &a->following[what];
	enum sl_code rc = t->rc == SL_NOT_FOUND ? SL_OK : t->rc; /* nobody has said anything yet */
	f->reading = false;
	if (t->rc == SL_OK && !f->doubted) {
		rc = kinds[what].apply(a, t);
		sl_log(SL_LOG_DEBUG, "api", "read what is stored", SL_KS("what", kinds[what].name));
	}
	if (rc != SL_OK)
		later(a, what, rc);
	else if (f->doubted || f->again)
		sl_follow_read(a, what);
	sl_task_free(t);
}

void sl_follow_read(struct sl_api *a, enum sl_follow what)
{
	struct sl_following *f = &a->following[what];
	if (f->reading || !a->parts.store)
		return;
	struct sl_task *t = sl_task_new(a, NULL, read_done);
	enum sl_code rc = t ? SL_OK : SL_NO_MEMORY;
	*f = (struct sl_following){.reading = true};
	if (t) {
		t->follow = what;
		rc = kinds[what].read(a->parts.store, t);
	}
	if (rc == SL_OK)
		return;
	f->reading = false;
	if (t)
		sl_task_free(t);
	later(a, what, rc);
}

void sl_follow_doubt(struct sl_api *a, enum sl_follow what)
{
	a->following[what].doubted = a->following[what].reading;
}

void sl_follow_own(struct sl_api *a, enum sl_follow what)
{
	sl_follow_doubt(a, what);
	if (a->parts.store && sl_store_sharing(a->parts.store) == SL_STORE_SHARED)
		sl_follow_read(a, what);
}

void sl_follow_tick(struct sl_api *a)
{
	struct sl_store_health h = {.state = SL_STORE_CONNECTING};
	uint64_t now = sl_clock_mono(a->clock);
	for (int what = 0; what < SL_FOLLOW_KINDS; what++) {
		if (!a->following[what].again_ms || now < a->following[what].again_ms)
			continue;
		if (h.state == SL_STORE_CONNECTING)
			sl_store_health(a->parts.store, &h);
		if (h.state == SL_STORE_OK) /* else it would only wait there */
			sl_follow_read(a, (enum sl_follow)what);
	}
}

static void on_news(struct sl_post *p)
{
	struct sl_api *a = SL_CONTAINER_OF(p, struct sl_api, news_post);
	atomic_store(&a->news_posted, false); /* before they are taken: later ones post again */
	uint32_t news = atomic_exchange(&a->news, 0);
	for (int what = 0; what < SL_FOLLOW_KINDS; what++) {
		if (!(news & 1u << kinds[what].news))
			continue;
		a->following[what].again = a->following[what].reading;
		sl_follow_read(a, (enum sl_follow)what);
	}
}

void sl_api_news(struct sl_api *a, enum sl_store_news news)
{
	atomic_fetch_or(&a->news, 1u << news);
	if (atomic_exchange(&a->news_posted, true))
		return;
	a->news_post.run = on_news;
	sl_loop_post(a->loop, &a->news_post);
}
