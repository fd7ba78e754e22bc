/* api/commands.c: what WebSocket clients may ask for besides watching: the same as over REST, with the same rights.
 *
 * A command that needs work off the loop is a small copy of the request's path: text in, answer through `reply`. */
#include "api/fork.h"
#include "api/orders.h"
#include "api/runs.h"
#include "store/workflows.h"
#include "ws/hub.h"

struct command {
	struct sl_post post;
	struct sl_api *api;
	sl_ws_reply_fn *reply;
	void *arg;
	struct sl_work *work;
	struct sl_bytes *text; /* the command, for the pool */
	struct sl_stored_workflow *workflow;
	enum sl_code rc;
	/* of an order to a run; text is the detail of its line in the audit trail then */
	const struct sl_order_row *row;
	struct sl_run_id run;
	char by[64];
};

static void command_free(struct command *c)
{
	sl_work_free(c->work);
	sl_bytes_unref(c->text);
	sl_stored_workflow_free(c->workflow);
	free(c);
}

/* ---- start_run ---- */

static void refuse_start(struct command *c)
{
	struct sl_work *w = c->work;
	struct sl_error err = w->err;
	if (w->problems.errors) {
		const struct sl_problem *first = &w->problems.items[0];
		for (size_t i = 0; i < w->problems.n && first->warning; i++)
			first = &w->problems.items[i];
		SL_IGNORE(sl_fail(&err, SL_INVALID, SL_STR_FMT "%s: %s%s", SL_STR_ARG(w->prefix), first->pointer,
				  first->message, w->problems.errors > 1 ? " (and more)" : "")); /* fills the text */
	} else if (!err.text[0]) {
		SL_IGNORE(sl_fail(&err, w->rc, "the run could not be started"));
	}
	c->reply(c->arg, w->rc, SL_STR(""), NULL, &err);
	command_free(c);
}

static void on_submitted(void *arg, enum sl_code rc, struct sl_run_id id, bool same_request)
{
	struct command *c = arg;
	struct sl_error err = {0};
	char text[SL_UUID_TEXT_BYTES];
	SL_BUF(result, 256);
	if (rc == SL_CONFLICT && same_request)
		rc = SL_OK;
	if (rc == SL_OK) {
		sl_uuid_format(id.u, text);
		sl_buf_addc(&result, '{');
		sl_buf_json_kz(&result, "run_id", text);
		sl_buf_addc(&result, '}');
	} else if (rc == SL_CONFLICT) {
		rc = sl_fail(&err, SL_IDEMPOTENCY, "this key was used for another run");
	} else {
		SL_IGNORE(sl_fail(&err, rc, "the run could not be started"));
	}
	c->reply(c->arg, rc, sl_buf_str(&result), rc == SL_OK ? &id : NULL, &err);
	command_free(c);
}

static void job_submit(void *arg)
{
	struct command *c = arg;
	/* On SL_OK c belongs to on_submitted, which may have run already: nothing of it is touched after the call. */
	struct sl_work *w = c->work;
	c->work = NULL;
	sl_run_submit(c->api->parts.engine, w, on_submitted, c);
	if (w->rc == SL_OK) {
		sl_work_free(w);
		return;
	}
	c->work = w;
	refuse_start(c);
}

static void job_nothing(void *arg)
{
}

static void workflow_came(struct sl_post *p)
{
	struct command *c = SL_CONTAINER_OF(p, struct command, post);
	struct sl_work *w = c->work;
	if (c->rc == SL_NOT_FOUND || (c->rc == SL_OK && c->workflow->archived && !w->version))
		sl_work_problem(w, "/workflow", "there is no such workflow, or not in that version");
	else
		w->rc = c->rc;
	if (w->rc != SL_OK) {
		refuse_start(c);
		return;
	}
	w->version = c->workflow->version;
	w->definition = sl_bytes_ref(c->workflow->definition);
	const struct sl_server_job job = {.run = job_submit, .done = job_nothing, .arg = c};
	w->rc = sl_server_job(c->api->server, &job);
	if (w->rc != SL_OK)
		refuse_start(c);
}

static void on_workflow(void *arg, enum sl_code rc, struct sl_stored_workflow *workflow)
{
	struct command *c = arg;
	c->rc = rc;
	c->workflow = workflow;
	c->post.run = workflow_came;
	sl_loop_post(c->api->loop, &c->post);
}

/* The one of a command, by the rules of the header. False: w->rc or w->problems say what is wrong with it. */
static bool read_key(struct sl_work *w, struct json_object *body, struct sl_str *key)
{
	struct json_object *v = sl_json_get(body, "idempotency_key");
	*key = sl_json_str(v);
	if (v && (!json_object_is_type(v, json_type_string) || !sl_key_ok(*key))) {
		sl_work_problem(w, "/idempotency_key", "a text of at most 255 visible characters");
		return false;
	}
	return true;
}

/* [pool] */
static void job_start(void *arg)
{
	static const char *const around[] = {"cmd", "id", "idempotency_key", NULL};
	struct command *c = arg;
	struct sl_work *w = c->work;
	SL_AUTO_JSON body = NULL;
	w->rc = sl_json_parse(sl_bytes_str(c->text), &body, &w->err);
	if (w->rc == SL_OK) {
		struct sl_str key;
		bool with_key = read_key(w, body, &key) && key.len;
		if (with_key && !(w->key = sl_str_dup(key))) /* without it the run could be started twice */
			w->rc = sl_fail(&w->err, SL_NO_MEMORY, "out of memory");
		else
			sl_run_request_read(w, body, around);
	}
	if (w->rc == SL_OK && w->has_definition) {
		job_submit(c);
		return;
	}
	enum sl_code rc = w->rc;
	if (rc == SL_OK) /* the answer may come before the call returns, and c is its then */
		rc = sl_store_workflow_get(c->api->parts.store, sl_str(w->name), w->version, on_workflow, c);
	if (rc != SL_OK) {
		w->rc = rc;
		refuse_start(c);
	}
}

static void job_fork(void *arg);

static enum sl_code start_run(struct sl_api *a, const struct sl_ws_identity *who, void (*run)(void *arg),
			      struct json_object *args, sl_ws_reply_fn *reply, void *arg, struct sl_error *err)
{
	struct sl_run_id id = {0};
	enum sl_code rc = sl_api_takes_runs(a, err);
	if (rc != SL_OK)
		return rc;
	if (run == job_fork && !sl_uuid_parse(sl_json_get_str(args, "run_id"), &id.u))
		return sl_fail(err, SL_INVALID, "run_id is missing or no id");
	struct command *c = calloc(1, sizeof(*c));
	SL_BUF(text, SL_LIMIT_WS_MESSAGE_BYTES * 2);
	sl_json_write(&text, args);
	if (c) {
		c->api = a;
		c->reply = reply;
		c->arg = arg;
		c->run = id;
		(void)snprintf(c->by, sizeof(c->by), "%s", who->name);
		c->text = sl_buf_bytes(&text);
		c->work = calloc(1, sizeof(*c->work));
		if (c->work)
			c->work->by = sl_str_dup(sl_str(who->name));
	}
	const struct sl_server_job job = {.run = run, .done = job_nothing, .arg = c};
	if (!c || !c->text || !c->work || !c->work->by || sl_server_job(a->server, &job) != SL_OK) {
		if (c)
			command_free(c);
		return sl_fail(err, SL_NO_MEMORY, "out of memory");
	}
	return SL_OK;
}

/* ---- fork ---- */

static void on_forked(void *arg, enum sl_code rc, struct sl_run_id id, bool same_request,
		      const struct sl_problems *problems, const struct sl_error *err)
{
	struct command *c = arg;
	if (rc == SL_OK) {
		char text[SL_UUID_TEXT_BYTES];
		SL_BUF(detail, 128);
		sl_uuid_format(id.u, text);
		sl_buf_addc(&detail, '{');
		sl_buf_json_kz(&detail, "run", text);
		sl_buf_addc(&detail, '}');
		SL_AUTO(sl_bytes) made = sl_buf_bytes(&detail);
		sl_uuid_format(c->run.u, text);
		sl_api_audit_by(c->api, sl_str(c->by), "run.fork", sl_str(text), made);
	} else if (problems->errors) {
		SL_IGNORE(sl_fail(&c->work->err, rc, "%s: %s", problems->items[0].pointer,
				  problems->items[0].message)); /* fills the text */
	} else if (err) {
		c->work->err = *err;
	}
	if (rc == SL_OK || rc == SL_CONFLICT) {
		on_submitted(c, rc, id, same_request);
		return;
	}
	c->reply(c->arg, rc, SL_STR(""), NULL, &c->work->err);
	command_free(c);
}

/* [pool] */
static void job_fork(void *arg)
{
	static const char *const around[] = {"cmd", "id", "run_id", "idempotency_key", NULL};
	struct command *c = arg;
	struct sl_work *w = c->work;
	struct sl_fork_text text = {0};
	SL_AUTO_JSON body = NULL;
	enum sl_code rc = sl_json_parse(sl_bytes_str(c->text), &body, &w->err);
	if (rc == SL_OK)
		rc = sl_fork_read(body, c->run, around, &text, &w->problems);
	if (rc == SL_OK) {
		text.f.by = sl_str(c->by);
		bool fine = read_key(w, body, &text.f.idempotency_key);
		if (!text.f.idempotency_key.len)
			text.f.idempotency_digest = NULL;
		/* the answer may come before the call returns, and c is its then */
		rc = fine ? sl_engine_fork(c->api->parts.engine, c->run, &text.f, on_forked, c) : SL_INVALID;
	}
	sl_fork_text_fini(&text);
	if (rc != SL_OK) {
		w->rc = rc;
		refuse_start(c);
	}
}

/* ---- orders to a run ---- */

static void on_commanded(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct command *c = arg;
	SL_BUF(result, 128);
	struct sl_error none = {0};
	if (rc == SL_OK) {
		char id[SL_UUID_TEXT_BYTES];
		sl_uuid_format(c->run.u, id);
		sl_api_audit_by(c->api, sl_str(c->by), c->row->audit, sl_str(id), c->text);
		sl_buf_addc(&result, '{');
		sl_buf_json_kz(&result, "status", status);
		sl_buf_addc(&result, '}');
	} else if (!err) {
		SL_IGNORE(
			sl_fail(&none, rc,
				rc == SL_NOT_FOUND ? "there is no such run" : "not possible now")); /* fills the text */
		err = &none;
	}
	c->reply(c->arg, rc, sl_buf_str(&result), NULL, err ? err : &none);
	command_free(c);
}

static enum sl_code steer(struct sl_api *a, const struct sl_ws_identity *who, const struct sl_order_row *row,
			  struct json_object *args, sl_ws_reply_fn *reply, void *arg, struct sl_error *err)
{
	static const char *const around[] = {"cmd", "id", "run_id", NULL};
	struct sl_run_id id;
	struct sl_order_text text;
	SL_BUF(errors, 4096);
	if (row->kind == SL_CMD_RETRY && sl_api_takes_runs(a, err) != SL_OK) /* it is a start, too */
		return err->code;
	if (!sl_uuid_parse(sl_json_get_str(args, "run_id"), &id.u))
		return sl_fail(err, SL_INVALID, "run_id is missing or no id");
	struct command *c = calloc(1, sizeof(*c));
	if (!c)
		return sl_fail(err, SL_NO_MEMORY, "out of memory");
	c->api = a;
	c->reply = reply;
	c->arg = arg;
	c->row = row;
	c->run = id;
	(void)snprintf(c->by, sizeof(c->by), "%s", who->name);
	enum sl_code rc = sl_order_read(row, args, around, sl_str(c->by), &text, &errors, err);
	if (rc == SL_OK) {
		c->text = text.detail.len ? sl_bytes_new(text.detail.data, text.detail.len) : NULL;
		rc = sl_engine_command(a->parts.engine, id, &text.order, on_commanded, c);
		if (rc != SL_OK)
			rc = sl_fail(err, rc, "the command could not be given");
	}
	sl_order_text_fini(&text);
	if (rc != SL_OK)
		command_free(c);
	return rc;
}

static enum sl_code command(void *ctx, const struct sl_ws_identity *who, const char *cmd, struct json_object *args,
			    sl_ws_reply_fn *reply, void *arg, struct sl_error *err)
{
	struct sl_api *a = ctx;
	const struct sl_order_row *row = sl_order_find_ws(cmd);
	bool fork = strcmp(cmd, "fork") == 0, start = fork || strcmp(cmd, "start_run") == 0;
	if (!start && !row)
		return sl_fail(err, SL_BAD_REQUEST, "this server does not know the command %s", cmd);
	enum sl_role least = start ? SL_ROLE_RUNNER : row->role;
	if (who->role < (int)least)
		return sl_fail(err, SL_FORBIDDEN, "this needs the role %s, and the token has %s", sl_role_name(least),
			       sl_role_name((enum sl_role)who->role));
	struct sl_rate_answer q;
	sl_rates_take(a->rates, start ? SL_RATE_RUNS : SL_RATE_REQUESTS, who->token, &q);
	if (q.wait_ms)
		return sl_fail(err, SL_RATE_LIMITED,
			       "this token may send %u such commands a minute; try again in %u ms", q.limit, q.wait_ms);
	return start ? start_run(a, who, fork ? job_fork : job_start, args, reply, arg, err)
		     : steer(a, who, row, args, reply, arg, err);
}

void sl_api_ws_commands(struct sl_api *a, struct sl_ws_commands *out)
{
	*out = (struct sl_ws_commands){.command = command, .ctx = a};
}
