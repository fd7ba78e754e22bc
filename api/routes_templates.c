/* api/routes_templates.c: workflows to begin from. Those of the project are the examples, in the binary, and nobody can
 * change them; people's own are in the database. */
#include "api/work.h"
#include "base/embed.h"
#include "store/templates.h"

extern const struct sl_embedded
	sl_embedded_templates[]; /* examples/; titles and categories are in api/templates.json */

#define TITLE_MOST 200
#define ABOUT_MOST 2000

static const struct sl_embedded *system_template(struct sl_str name)
{
	char file[80];
	if (!sl_name_ok(name))
		return NULL;
	(void)snprintf(file, sizeof(file), SL_STR_FMT ".json", SL_STR_ARG(name));
	for (const struct sl_embedded *f = sl_embedded_templates; f->name; f++)
		if (strcmp(f->name, file) == 0)
			return f;
	return NULL;
}

static struct json_object *index_of_templates(void)
{
	const struct sl_embedded *f = sl_api_file("templates.json");
	struct json_object *index = NULL;
	return f && sl_json_parse(sl_str_n(f->data, f->len), &index, NULL) == SL_OK ? index : NULL;
}

/* The members of an array, made of the files once: they never change. */
static struct sl_bytes *system_items(void)
{
	SL_AUTO_JSON index = index_of_templates();
	SL_BUF(out, 8u << 20);
	for (const struct sl_embedded *f = sl_embedded_templates; f->name; f++) {
		SL_AUTO_JSON definition = NULL;
		char name[80];
		if (sl_json_parse(sl_str_n(f->data, f->len), &definition, NULL) != SL_OK)
			continue;
		(void)snprintf(name, sizeof(name), "%.*s", (int)strlen(f->name) - 5, f->name);
		struct json_object *about = sl_json_get(index, name);
		const char *title = sl_json_get_z(about, "title"), *category = sl_json_get_z(about, "category");
		if (out.len)
			sl_buf_addc(&out, ',');
		sl_buf_addc(&out, '{');
		sl_buf_json_kz(&out, "name", name);
		sl_buf_json_kz(&out, "title", title ? title : name);
		sl_buf_json_kstr(&out, "description", sl_json_get_str(definition, "description"));
		sl_buf_json_kz(&out, "category", category ? category : "examples");
		sl_buf_json_kbool(&out, "system", true);
		sl_buf_json_key(&out, "definition");
		sl_json_write(&out, definition);
		sl_buf_addc(&out, '}');
	}
	return sl_buf_bytes(&out);
}

static void listed(struct sl_task *t)
{
	SL_BUF(out, 64u << 20);
	if (t->rc != SL_OK || !t->api->templates) {
		sl_answer_error(t->r, t->rc == SL_OK ? SL_NO_MEMORY : t->rc, NULL);
		sl_task_free(t);
		return;
	}
	struct sl_str own = sl_bytes_str(t->json), ours = sl_bytes_str(t->api->templates);
	sl_buf_adds(&out, "{\"items\":[");
	sl_buf_add(&out, ours.p, ours.len);
	if (own.len && ours.len)
		sl_buf_addc(&out, ',');
	sl_buf_add(&out, own.p, own.len);
	sl_buf_adds(&out, "],\"next_cursor\":null}");
	sl_answer_buf(t->r, 200, &out);
	sl_task_free(t);
}

void sl_route_template_list(struct sl_api *a, struct sl_request *r)
{
	if (!a->templates)
		a->templates = system_items();
	struct sl_task *t = sl_task_new(a, r, listed);
	if (!t)
		return;
	enum sl_code rc = sl_store_template_list(a->parts.store, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* ---- save as template ---- */

/* A template's texts and definition, as far as they have been read; more_free of the task. */
struct fresh {
	char name[65], *title, *about, *category;
	struct sl_bytes *definition;
};

static void fresh_free(void *more)
{
	struct fresh *f = more;
	free(f->title);
	free(f->about);
	free(f->category);
	sl_bytes_unref(f->definition);
	free(f);
}

static char *text(struct sl_work *w, struct json_object *body, const char *key, const char *pointer, size_t most,
		  const char *otherwise)
{
	struct json_object *v = sl_json_get(body, key);
	struct sl_str s = v ? sl_json_str(v) : sl_str(otherwise);
	if ((v && !json_object_is_type(v, json_type_string)) || s.len > most)
		sl_work_problem(w, pointer, "is a text, and not that long");
	return sl_str_dup(s);
}

/* [pool] */
static void check(struct sl_work *w)
{
	struct fresh *f = w->task->more;
	SL_AUTO_JSON body = NULL;
	if (!sl_work_parse(w, &body))
		return;
	json_object_object_foreach (body, key, value) {
		(void)value;
		if (strcmp(key, "name") && strcmp(key, "title") && strcmp(key, "description") &&
		    strcmp(key, "category") && strcmp(key, "definition"))
			sl_work_problem(w, "", "a template has name, title, description, category and definition");
	}
	struct sl_str name = sl_json_get_str(body, "name");
	struct json_object *definition = sl_json_get(body, "definition");
	if (!sl_name_ok(name))
		sl_work_problem(w, "/name", "a name of small letters, digits, _ and -, at most 64");
	else
		memcpy(f->name, name.p, name.len);
	f->title = text(w, body, "title", "/title", TITLE_MOST, f->name);
	f->about = text(w, body, "description", "/description", ABOUT_MOST, sl_json_get_z(definition, "description"));
	f->category = text(w, body, "category", "/category", 64, "own");
	if (!json_object_is_type(definition, json_type_object)) {
		sl_work_problem(w, "/definition", "a definition is an object");
		return;
	}
	w->prefix = SL_STR("/definition");
	if (w->rc != SL_OK || !sl_work_definition(w, definition))
		return;
	f->definition = sl_bytes_ref(w->definition);
	w->rc = sl_engine_validate(w->task->api->parts.engine, sl_bytes_str(w->definition), NULL, &w->problems);
	if (w->rc == SL_OK && (!f->title || !f->about || !f->category))
		w->rc = SL_NO_MEMORY;
	if (w->problems.errors)
		w->rc = SL_INVALID;
}

static void stored(struct sl_task *t)
{
	const struct fresh *f = t->more;
	if (t->rc == SL_OK) {
		sl_counts_audit(t->api, "template.create");
		SL_BUF(out, SL_LIMIT_BODY_BYTES * 2);
		sl_buf_addc(&out, '{');
		sl_buf_json_kz(&out, "name", f->name);
		sl_buf_json_kz(&out, "title", f->title);
		sl_buf_json_kz(&out, "description", f->about);
		sl_buf_json_kz(&out, "category", f->category);
		sl_buf_json_kbool(&out, "system", false);
		sl_buf_json_kraw(&out, "definition", sl_bytes_str(f->definition));
		sl_buf_addc(&out, '}');
		sl_answer_buf(t->r, 201, &out);
	} else if (t->rc == SL_CONFLICT) {
		sl_answer_problem(t->r, SL_CONFLICT, "there is a template named '%s'", f->name);
	} else {
		sl_answer_error(t->r, t->rc, NULL);
	}
	sl_task_free(t);
}

static void checked(struct sl_work *w)
{
	struct sl_task *t = w->task;
	struct fresh *f = t->more;
	if (w->rc != SL_OK) {
		sl_work_answer_problems(w);
		sl_work_free(w);
		return;
	}
	if (system_template(sl_str(f->name))) {
		sl_answer_problem(t->r, SL_FORBIDDEN, "'%s' is a template of the system, which nobody can change",
				  f->name);
		sl_work_free(w);
		return;
	}
	w->task = NULL;
	sl_work_free(w);
	t->then = stored;
	const struct sl_template_row row = {.name = sl_str(f->name),
					    .title = sl_str(f->title),
					    .about = sl_str(f->about),
					    .category = sl_str(f->category),
					    .created_by = sl_str(t->r->by),
					    .definition = f->definition};
	const struct sl_audit_by by = sl_request_audit(t->r, "template.create", row.name);
	enum sl_code rc = sl_store_template_add(t->api->parts.store, &by, &row, sl_task_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_template_create(struct sl_api *a, struct sl_request *r)
{
	struct sl_work *w = sl_work_new(a, r);
	if (!w)
		return;
	w->task->more = calloc(1, sizeof(struct fresh));
	w->task->more_free = fresh_free;
	if (!w->task->more) {
		sl_answer_problem(r, SL_NO_MEMORY, "out of memory");
		sl_work_free(w);
		return;
	}
	sl_work_go(w, check, checked);
}

static void deleted(struct sl_task *t)
{
	if (t->rc == SL_OK)
		sl_counts_audit(t->api, "template.delete");
	if (t->rc == SL_OK)
		sl_answer_empty(t->r, 204);
	else if (t->rc == SL_NOT_FOUND)
		sl_answer_problem(t->r, SL_NOT_FOUND, "there is no such template");
	else
		sl_answer_error(t->r, t->rc, NULL);
	sl_task_free(t);
}

void sl_route_template_delete(struct sl_api *a, struct sl_request *r)
{
	if (system_template(r->params[0])) {
		sl_answer_problem(r, SL_FORBIDDEN, "this is a template of the system, which nobody can change");
		return;
	}
	if (!sl_name_ok(r->params[0])) {
		sl_answer_problem(r, SL_NOT_FOUND, "there is no such template");
		return;
	}
	struct sl_task *t = sl_task_new(a, r, deleted);
	if (!t)
		return;
	const struct sl_audit_by by = sl_request_audit(r, "template.delete", r->params[0]);
	enum sl_code rc = sl_store_template_delete(a->parts.store, &by, r->params[0], sl_task_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}
