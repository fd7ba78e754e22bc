/* engine/files.c: the files of a run: texts that its nodes write for each other and for people. Each version is an
 * event of the journal (file:written), so nothing is written twice after a crash, and going back is a fork. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "engine/exec_priv.h"

/* "notes/plan.md": parts of visible characters, none of them "." or "..". */
static bool path_ok(struct sl_str path)
{
	size_t part = 0;
	if (!path.len || path.len > SL_LIMIT_FILE_PATH_BYTES || !sl_utf8_valid(path.p, path.len))
		return false;
	for (size_t i = 0; i <= path.len; i++) {
		if (i < path.len && path.p[i] != '/') {
			if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f || path.p[i] == '\\')
				return false;
			continue;
		}
		struct sl_str name = sl_str_n(path.p + part, i - part);
		if (!name.len || sl_str_is(name, ".") || sl_str_is(name, ".."))
			return false;
		part = i + 1;
	}
	return true;
}

enum sl_code sl_files_fold(struct sl_run_state *s, struct sl_event *e, struct sl_error *err)
{
	const char *path = sl_json_get_z(e->data, "path");
	struct json_object *file = json_object_new_object();
	char at[SL_TIME_TEXT_BYTES];
	if (!s->files)
		s->files = json_object_new_object();
	if (!path || !file || !s->files) {
		json_object_put(file);
		return sl_fail(err, path ? SL_NO_MEMORY : SL_INVALID, "event %llu: a file", (unsigned long long)e->seq);
	}
	sl_time_format(e->wall_ms, at);
	sl_json_set_i64(file, "version", sl_json_get_i64(e->data, "version", 1));
	sl_json_set_i64(file, "bytes", sl_json_get_i64(e->data, "bytes", 0));
	sl_json_set_str(file, "by", sl_str(e->path ? e->path : ""));
	sl_json_set_str(file, "at", sl_str(at));
	sl_json_set_i64(file, "seq", (int64_t)e->seq);
	sl_json_set(file, "content", json_object_get(sl_json_get(e->data, "content")));
	sl_json_set(s->files, path, file);
	s->file_versions++;
	return SL_OK;
}

void sl_files_render(const struct sl_run_state *s, struct sl_buf *out)
{
	sl_buf_addc(out, '[');
	json_object_object_foreach (s->files, path, file) {
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "path", path);
		sl_buf_json_ki64(out, "version", sl_json_get_i64(file, "version", 1));
		sl_buf_json_ki64(out, "bytes", sl_json_get_i64(file, "bytes", 0));
		sl_buf_json_kz(out, "by", sl_json_get_z(file, "by"));
		sl_buf_json_kz(out, "at", sl_json_get_z(file, "at"));
		sl_buf_json_ki64(out, "seq", sl_json_get_i64(file, "seq", 0));
		sl_buf_addc(out, '}');
	}
	sl_buf_addc(out, ']');
}

struct json_object *sl_node_files(const struct sl_node *n)
{
	return n->x->run->state.files;
}

struct json_object *sl_node_read_file(const struct sl_node *n, struct sl_str path)
{
	struct json_object *file = NULL;
	char z[SL_LIMIT_FILE_PATH_BYTES + 1];
	if (!path_ok(path))
		return NULL;
	memcpy(z, path.p, path.len);
	z[path.len] = 0;
	return json_object_object_get_ex(n->x->run->state.files, z, &file) ? file : NULL;
}

enum sl_code sl_node_write_file(struct sl_node *n, struct sl_str path, struct sl_str content, uint32_t *version,
				struct sl_error *err)
{
	struct sl_run *r = n->x->run;
	uint64_t losses = sl_json_losses();
	if (!path_ok(path))
		return sl_fail(err, SL_INVALID,
			       "a path is like notes/plan.md, at most %d bytes, without . and .. and backslashes",
			       SL_LIMIT_FILE_PATH_BYTES);
	if (content.len > SL_LIMIT_FILE_BYTES)
		return sl_fail(err, SL_LIMIT, "a file has at most %u bytes, not %zu", SL_LIMIT_FILE_BYTES, content.len);
	struct json_object *there = sl_node_read_file(n, path);
	int64_t latest = sl_json_get_i64(there, "version", 0);
	if (there && sl_str_eq(sl_json_get_str(there, "content"), content)) {
		*version = (uint32_t)latest;
		return SL_OK;
	}
	if (!there && r->state.files && json_object_object_length(r->state.files) >= SL_LIMIT_FILES)
		return sl_fail(err, SL_LIMIT, "a run has at most %d files", SL_LIMIT_FILES);
	if (r->state.file_versions >= SL_LIMIT_FILE_VERSIONS)
		return sl_fail(err, SL_LIMIT, "the files of a run have at most %d versions", SL_LIMIT_FILE_VERSIONS);
	struct sl_event e = {.kind = SL_EV_FILE, .path = sl_z(n->x->path), .data = json_object_new_object()};
	if (!e.path || !e.data) {
		sl_event_fini(&e);
		return sl_fail(err, SL_NO_MEMORY, "no memory for a file");
	}
	sl_json_set_str(e.data, "node_id", sl_str(e.path));
	sl_json_set_str(e.data, "path", path);
	sl_json_set_i64(e.data, "version", latest + 1);
	sl_json_set_i64(e.data, "bytes", (int64_t)content.len);
	sl_json_set_str(e.data, "content", content);
	if (sl_json_losses() != losses) { /* a file without its path or its text is none */
		sl_event_fini(&e);
		return sl_fail(err, SL_NO_MEMORY, "no memory for a file");
	}
	if (!sl_run_emit(r, &e))
		return sl_fail(err, SL_CANCELLED, "the run is over");
	*version = (uint32_t)latest + 1;
	return SL_OK;
}
