/* ws/client.c: what one connection says: commands, and the life of its subscriptions. */
#include <stdlib.h>

#include "base/utf8.h"
#include "ws/hub_priv.h"

struct reply_post {
	struct post post;
	struct sl_hub *hub;
	uint64_t conn; /* looked up: it may be gone by then */
	struct json_object *id;
	enum sl_code rc;
	bool has_started;
	struct sl_run_id started;
	char *result;
	struct sl_error err;
};

/* ---- subscriptions ---- */

enum sl_code sub_new(struct sl_hub_conn *c, struct topic *t, struct sub **out)
{
	struct sub *s = calloc(1, sizeof(*s));
	if (!s)
		return SL_NO_MEMORY;
	*s = (struct sub){.topic = t, .conn = c, .tokens = true};
	sl_list_append(&t->behind, &s->in_topic);
	sl_list_append(&c->subs, &s->in_conn);
	sl_list_init(&s->in_due);
	c->n_subs++;
	c->hub->stats.subscriptions++;
	c->hub->stats.subscribed++;
	*out = s;
	return SL_OK;
}

/* The topic stays, even when nobody is left: topic_drop_if_idle() is the caller's. */
void sub_free(struct sub *s)
{
	struct topic *t = s->topic;
	if (s->state == SUB_LEVEL) {
		t->n_level--;
		if (s->pos < log_head(&t->log))
			t->n_unread--;
	}
	sl_list_drop(&s->in_topic);
	sl_list_drop(&s->in_conn);
	sl_list_drop(&s->in_due);
	log_reset_if_read(t);
	s->conn->n_subs--;
	t->hub->stats.subscriptions--;
	cursor_fini(&s->cur);
	json_object_put(s->streams);
	json_object_put(s->ack);
	free(s);
}

void sub_refused(struct sub *s, enum sl_code rc)
{
	struct sl_hub_conn *c = s->conn;
	conn_error(c, s->ack, &s->topic->run, rc,
		   rc == SL_NOT_FOUND ? "there is no such run" : "the run cannot be shown now", 0);
	sub_free(s);
	if (c->format == SL_HUB_SSE)
		conn_end(c, SL_WS_CLOSE_NO_RUN, "there is no such run", &c->hub->stats.closed_other);
}

static bool take_offsets(struct sub *s)
{
	if (!s->streams)
		return true;
	if (!cursor_grow(&s->cur, s->topic->n_paths))
		return false;
	json_object_object_foreach (s->streams, name, entry) {
		struct path *p;
		HASH_FIND_STR(s->topic->by_name, name, p);
		if (p) {
			struct mark *m = &s->cur.marks[p->index];
			sl_ws_stream_offset(entry, &m->attempt, &m->offset);
		}
	}
	json_object_put(s->streams);
	s->streams = NULL;
	return true;
}

void sub_ready(struct sub *s)
{
	struct topic *t = s->topic;
	struct sl_hub_conn *c = s->conn;

	if (t->state != TOPIC_READY)
		return;                            /* it is called again */
	if (t->view_seq < s->least && !s->asked) { /* once is enough: what a view lacks comes as events */
		enum sl_code rc = topic_refresh(t);
		s->asked = true;
		if (rc != SL_OK)
			sub_refused(s, rc);
		return;
	}
	if (s->resume && s->least > t->view_seq && s->least > t->last) {
		s->resume = false; /* it says it has more than there is: what it has is not from here */
		json_object_put(s->streams);
		s->streams = NULL;
	}
	if (!take_offsets(s)) {
		sub_refused(s, SL_NO_MEMORY);
		return;
	}
	s->state = SUB_BEHIND;
	s->snapshot_due = !s->resume;
	s->cur.order = s->resume ? s->least : t->view_seq;
	if (s->ack) {
		conn_ack(c, s->ack, sl_str(NULL));
		json_object_put(s->ack);
		s->ack = NULL;
	}
	c->may_flush = true;
	sub_touch(s);
}

static struct sub *find_sub(struct sl_hub_conn *c, const struct sl_run_id *run) /* NULL: the one of all runs */
{
	sl_list_each (it, &c->subs) {
		struct sub *s = sl_list_entry(it, struct sub, in_conn);
		if (run ? !s->topic->all && sl_run_id_eq(s->topic->run, *run) : s->topic->all)
			return s;
	}
	return NULL;
}

/* Subscribing to all and to one run share events: then the frames of all are made for this connection alone. */
static void company_changed(struct sl_hub_conn *c)
{
	struct sub *all = find_sub(c, NULL);
	if (all && all->state == SUB_LEVEL && !sub_joinable(all)) {
		sub_leave_log(all);
		log_reset_if_read(all->topic);
	}
}

static enum sl_code subscribe(struct sl_hub_conn *c, const struct sl_hub_want *want, struct json_object *streams,
			      struct json_object *ack, struct sl_error *err)
{
	const struct sl_ws_commands *cmds = &c->hub->config.commands;
	struct topic *t;
	struct sub *old = find_sub(c, &want->run), *s;
	enum sl_code rc;

	if (cmds->may_see && !cmds->may_see(cmds->ctx, &c->who, want->run))
		return sl_fail(err, SL_NOT_FOUND, "there is no such run"); /* as if there were none */
	if (!old && c->n_subs >= SL_LIMIT_WS_SUBSCRIPTIONS)
		return sl_fail(err, SL_LIMIT, "a connection watches at most %d runs", SL_LIMIT_WS_SUBSCRIPTIONS);
	rc = topic_get(c->hub, want->run, &t);
	if (rc != SL_OK)
		return sl_fail(err, rc, rc == SL_NOT_FOUND ? "there is no such run" : "the run cannot be shown now");
	if (old)
		sub_free(old);
	rc = sub_new(c, t, &s);
	if (rc != SL_OK) {
		topic_drop_if_idle(t);
		return sl_fail(err, rc, "out of memory");
	}
	s->tokens = want->tokens;
	s->resume = want->resume;
	s->streams = json_object_get(streams);
	s->ack = json_object_get(ack);
	/* A snapshot is to be as new as what others have seen. Who comes back needs none, unless it is ahead of us. */
	s->least = want->resume ? want->after_seq : t->last;
	s->asked = want->resume && t->state == TOPIC_READY && want->after_seq <= t->last;
	if (want->resume)
		c->hub->stats.recoveries++;
	company_changed(c);
	sub_ready(s);
	return SL_OK;
}

enum sl_code sl_hub_subscribe(struct sl_hub_conn *c, const struct sl_hub_want *want)
{
	return subscribe(c, want, NULL, NULL, NULL);
}

static enum sl_code subscribe_all(struct sl_hub_conn *c, struct sl_error *err)
{
	struct topic *t;
	struct sub *s;
	if (find_sub(c, NULL))
		return SL_OK;
	if (c->n_subs >= SL_LIMIT_WS_SUBSCRIPTIONS)
		return sl_fail(err, SL_LIMIT, "a connection watches at most %d runs", SL_LIMIT_WS_SUBSCRIPTIONS);
	enum sl_code rc = topic_all(c->hub, &t);
	if (rc == SL_OK) {
		rc = sub_new(c, t, &s);
		if (rc != SL_OK)
			topic_drop_if_idle(t);
	}
	if (rc != SL_OK)
		return sl_fail(err, rc, "out of memory");
	s->state = SUB_BEHIND;
	s->cur.order = t->last; /* what happens from now on */
	sub_touch(s);
	return SL_OK;
}

static void unsubscribe(struct sl_hub_conn *c, const struct sl_run_id *run)
{
	struct sub *s = find_sub(c, run);
	if (!s)
		return;
	struct topic *t = s->topic;
	sub_free(s);
	topic_drop_if_idle(t);
	struct sub *all = find_sub(c, NULL);
	if (all)
		sub_touch(all); /* it may share frames again */
}

/* ---- commands for others ---- */

static void on_reply(void *arg, enum sl_code rc, struct sl_str result, const struct sl_run_id *started,
		     const struct sl_error *err) /* [any] */
{
	struct reply_post *p = arg;
	p->rc = rc;
	if (result.len)
		p->result = sl_str_dup(result); /* no memory: acknowledged without it */
	if (started) {
		p->started = *started;
		p->has_started = true;
	}
	if (err)
		p->err = *err;
	hub_post(p->hub, &p->post);
}

void client_replied(struct post *post)
{
	struct reply_post *p = SL_CONTAINER_OF(post, struct reply_post, post);
	struct sl_hub_conn *c;
	HASH_FIND(hh, p->hub->conns, &p->conn, sizeof(p->conn), c);
	if (c && p->rc == SL_OK) {
		if (p->id)
			conn_ack(c, p->id, sl_str(p->result));
		if (p->has_started) {
			struct sl_hub_want want = {.run = p->started, .tokens = true};
			struct sl_error err = {0};
			enum sl_code rc = subscribe(c, &want, NULL, NULL, &err);
			if (rc != SL_OK)
				conn_error(c, p->id, &p->started, rc, err.text, err.retry_after_ms);
		}
	} else if (c) {
		conn_error(c, p->id, NULL, p->rc, p->err.text[0] ? p->err.text : sl_code_wire(p->rc),
			   p->err.retry_after_ms);
	}
	json_object_put(p->id);
	free(p->result);
	free(p);
}

static enum sl_code forward(struct sl_hub_conn *c, const struct sl_ws_command *cmd, struct sl_error *err)
{
	const struct sl_ws_commands *port = &c->hub->config.commands;
	struct reply_post *p = port->command ? calloc(1, sizeof(*p)) : NULL;
	if (!port->command)
		return sl_fail(err, SL_UNAVAILABLE, "'%s' is not served here", cmd->name);
	if (!p)
		return sl_fail(err, SL_NO_MEMORY, "out of memory");
	*p = (struct reply_post){.post.kind = POST_REPLY, .hub = c->hub, .conn = c->id, .id = json_object_get(cmd->id)};
	enum sl_code rc = port->command(port->ctx, &c->who, cmd->name, cmd->object, on_reply, p, err);
	if (rc != SL_OK) {
		json_object_put(p->id);
		free(p);
	}
	return rc;
}

/* ---- commands served here ---- */

static void set_flush(struct sl_hub_conn *c, uint32_t flush_ms)
{
	struct sl_hub *h = c->hub;
	uint32_t own = flush_ms == h->config.flush_ms ? FLUSH_OF_HUB : flush_ms;
	if ((own == FLUSH_OF_HUB) != (c->flush_ms == FLUSH_OF_HUB))
		h->n_private += own == FLUSH_OF_HUB ? (uint32_t)-1 : 1;
	c->flush_ms = own;
	wheel_drop(&h->wheel, &c->due);
	c->may_flush = true;
	sl_list_each (it, &c->subs) {
		struct sub *s = sl_list_entry(it, struct sub, in_conn);
		if (s->state == SUB_LEVEL && own != FLUSH_OF_HUB) {
			sub_leave_log(s);
			log_reset_if_read(s->topic);
		}
		topic_touched(s->topic);
		sub_touch(s);
	}
}

static void pong(struct sl_hub_conn *c, struct json_object *id)
{
	SL_BUF(b, 1024);
	sl_buf_adds(&b, "{\"event\":\"pong\"");
	sl_buf_json_ktime(&b, "ts", sl_clock_wall(c->hub->config.clock));
	sl_buf_json_key(&b, "data");
	sl_buf_addc(&b, '{');
	if (id) {
		sl_buf_json_key(&b, "id");
		sl_json_write(&b, id);
	}
	sl_buf_adds(&b, "}}");
	conn_say(c, sl_buf_str(&b));
}

static enum sl_code serve(struct sl_hub_conn *c, const struct sl_ws_command *cmd, struct sl_error *err)
{
	enum sl_code rc = SL_OK;
	switch (cmd->cmd) {
	case SL_WS_SUBSCRIBE: {
		struct sl_hub_want want = {cmd->run, cmd->after_seq, cmd->has_after_seq, true};
		return subscribe(c, &want, cmd->streams, cmd->id, err); /* acknowledged when the run is found */
	}
	case SL_WS_UNSUBSCRIBE:
		unsubscribe(c, &cmd->run);
		break;
	case SL_WS_SUBSCRIBE_ALL:
		rc = subscribe_all(c, err);
		break;
	case SL_WS_UNSUBSCRIBE_ALL:
		unsubscribe(c, NULL);
		break;
	case SL_WS_SET:
		set_flush(c, cmd->flush_ms);
		break;
	case SL_WS_PING:
		pong(c, cmd->id);
		return SL_OK;
	case SL_WS_FORWARD:
		return forward(c, cmd, err); /* acknowledged when it is done */
	}
	if (rc == SL_OK && cmd->id)
		conn_ack(c, cmd->id, sl_str(NULL));
	return rc;
}

static void take_command(struct sl_hub_conn *c, struct json_object *o)
{
	struct sl_ws_command cmd;
	struct sl_error err = {0};

	c->hub->stats.commands++;
	enum sl_code rc = sl_ws_command_read(o, &cmd, &err);
	if (rc != SL_OK)
		c->hub->stats.bad_commands++;
	else
		rc = c->hub->draining ? sl_fail(&err, SL_DRAINING, "the server is going down") : serve(c, &cmd, &err);
	if (rc != SL_OK) {
		struct json_object *id = cmd.id;
		conn_error(c, id, cmd.has_run ? &cmd.run : NULL, rc, err.text, err.retry_after_ms);
	}
	sl_ws_command_fini(&cmd);
}

/* One command, or an array of them, which are served in their order. */
void sl_hub_message(struct sl_hub_conn *c, struct sl_str text)
{
	SL_AUTO_JSON doc = NULL;
	struct sl_error err = {0};

	if (c->closing)
		return;
	sl_hub_heard(c);
	enum sl_code rc = sl_json_parse(text, &doc, &err);
	bool many = rc == SL_OK && json_object_is_type(doc, json_type_array);
	size_t n = many ? json_object_array_length(doc) : 1;
	if (n < 1 || n > SL_LIMIT_WS_SUBSCRIPTIONS)
		rc = sl_fail(&err, SL_INVALID, "an array has 1 to %d commands", SL_LIMIT_WS_SUBSCRIPTIONS);
	if (rc != SL_OK) {
		c->hub->stats.commands++;
		c->hub->stats.bad_commands++;
		conn_error(c, NULL, NULL, rc, err.text, 0);
		return;
	}
	for (size_t i = 0; i < n && !c->closing; i++)
		take_command(c, many ? json_object_array_get_idx(doc, i) : doc);
}

void sl_hub_bad_message(struct sl_hub_conn *c, const char *why)
{
	sl_hub_heard(c);
	c->hub->stats.bad_commands++;
	conn_error(c, NULL, NULL, SL_INVALID, why, 0);
}
