/* api/routes_files.c: the files of a run, as they are and as they were. Each version is an event of its journal. */
#include "api/api_priv.h"
#include "store/runs.h"

#define FILE_EVENT "file:written"

struct wanted {
	bool history, has_path, has_version;
	uint64_t version;
	char path[SL_LIMIT_FILE_PATH_BYTES + 1];
	struct sl_run_id run;
	struct json_object
		*versions; /* those that are wanted so far, the oldest first; one file: the one, with content */
	struct sl_stored_run *page;
};

static void wanted_free(void *more)
{
	struct wanted *w = more;
	sl_stored_run_free(w->page);
	json_object_put(w->versions);
	free(w);
}

static void drop_older(struct json_object *list, struct sl_str path)
{
	for (size_t i = 0; i < json_object_array_length(list); i++)
		if (sl_str_eq(sl_json_get_str(json_object_array_get_idx(list, i), "path"), path)) {
			json_object_array_del_idx(list, i, 1);
			return;
		}
}

static enum sl_code take(struct wanted *w, const struct sl_record *rec)
{
	SL_AUTO_JSON data = NULL;
	struct sl_error err;
	char at[SL_TIME_TEXT_BYTES];
	enum sl_code rc = sl_json_parse(sl_bytes_str(rec->data), &data, &err);
	struct sl_str path = sl_json_get_str(data, "path");
	if (rc != SL_OK || (w->has_path && !sl_str_is(path, w->path)) ||
	    (w->has_version && sl_json_get_i64(data, "version", 0) != (int64_t)w->version))
		return rc;
	struct json_object *v = json_object_new_object();
	if (!v)
		return SL_NO_MEMORY;
	sl_time_format(rec->wall_ms, at);
	sl_json_set_str(v, "path", path);
	sl_json_set_i64(v, "version", sl_json_get_i64(data, "version", 1));
	sl_json_set_i64(v, "bytes", sl_json_get_i64(data, "bytes", 0));
	sl_json_set_str(v, "by", sl_json_get_str(data, "node_id"));
	sl_json_set_str(v, "at", sl_str(at));
	sl_json_set_i64(v, "seq", (int64_t)rec->seq);
	if (w->has_path && !w->history)
		sl_json_set(v, "content", json_object_get(sl_json_get(data, "content")));
	if (!w->history)
		drop_older(w->versions, path);
	sl_json_append(w->versions, v);
	return SL_OK;
}

static void answer_files(struct sl_task *t)
{
	struct wanted *w = t->more;
	size_t n = json_object_array_length(w->versions);
	SL_BUF(out, 8u * SL_LIMIT_FILE_BYTES);
	if (!n && w->has_path) {
		sl_answer_problem(t->r, SL_NOT_FOUND, "the run has no such file, or no such version of it");
		return;
	}
	if (w->has_path && !w->history) {
		sl_json_write(&out, json_object_array_get_idx(w->versions, 0));
	} else {
		sl_buf_adds(&out, "{\"items\":[");
		for (size_t i = n; i-- > 0;) {
			sl_buf_json_comma(&out);
			sl_json_write(&out, json_object_array_get_idx(w->versions, i));
		}
		sl_buf_adds(&out, "],\"next_cursor\":null}");
	}
	sl_answer_buf(t->r, 200, &out);
}

static void on_records(void *arg, enum sl_code rc, struct sl_stored_run *run)
{
	struct sl_task *t = arg;
	struct wanted *w = t->more;
	sl_stored_run_free(w->page);
	w->page = run;
	t->rc = rc;
	sl_task_back(t);
}

static void have_page(struct sl_task *t)
{
	struct wanted *w = t->more;
	enum sl_code rc = t->rc;
	size_t n = rc == SL_OK ? w->page->n_records : 0;
	for (size_t i = 0; rc == SL_OK && i < n; i++)
		rc = take(w, &w->page->records[i]);
	if (rc == SL_OK && n) {
		rc = sl_store_run_records_of(t->api->parts.store, w->run, FILE_EVENT, w->page->records[n - 1].seq,
					     on_records, t);
		if (rc == SL_OK)
			return; /* the next page comes; it may be here already, so the task is not ours any more */
	}
	if (rc == SL_OK)
		answer_files(t);
	else if (rc == SL_NOT_FOUND)
		sl_answer_problem(t->r, rc, "there is no such run");
	else
		sl_answer_error(t->r, rc, NULL);
	sl_task_free(t);
}

static void files(struct sl_api *a, struct sl_request *r, bool history)
{
	struct sl_run_id id;
	struct sl_str path = SL_STR(""), version;
	if (!sl_uuid_parse(r->params[0], &id.u)) {
		sl_answer_problem(r, SL_NOT_FOUND, "there is no such run");
		return;
	}
	struct wanted *w = calloc(1, sizeof(*w));
	struct sl_task *t = w ? sl_task_new(a, r, have_page) : NULL;
	if (!t) {
		if (!w)
			sl_answer_error(r, SL_NO_MEMORY, NULL);
		free(w);
		return;
	}
	t->more = w;
	t->more_free = wanted_free;
	w->run = id;
	w->versions = json_object_new_array();
	w->history = history;
	w->has_path = sl_request_query(r, "path", &path);
	w->has_version = !history && sl_request_query(r, "version", &version);
	if (path.len > SL_LIMIT_FILE_PATH_BYTES || (w->has_version && !sl_str_u64(version, &w->version)) ||
	    (history && !path.len) || (w->has_version && !w->has_path)) {
		sl_answer_problem(r, SL_BAD_REQUEST,
				  history ? "history is of one file: ?path=notes.md"
					  : "?path= names a file, and &version= a number of it");
		sl_task_free(t);
		return;
	}
	memcpy(w->path, path.p, path.len);
	enum sl_code rc =
		w->versions ? sl_store_run_records_of(a->parts.store, id, FILE_EVENT, 0, on_records, t) : SL_NO_MEMORY;
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_run_files(struct sl_api *a, struct sl_request *r)
{
	files(a, r, false);
}

void sl_route_run_file_history(struct sl_api *a, struct sl_request *r)
{
	files(a, r, true);
}
