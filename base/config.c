/* base/config.c: see config.h. Every value is kept as text beside what it means, so that printing shows what was
 * written. */
#include "base/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#include "base/json.h"

#define CONFIG_FILE_BYTES (1u << 20)
#define CONFIG_LIST       256 /* values of one list; more is an error */

struct value {
	enum sl_origin origin;
	char *text; /* NULL: unset */
	char **list;
	size_t n;
	bool yes;
	uint64_t u;
	double f;
};

struct sl_config {
	const struct sl_setting *table;
	size_t n;
	struct value *values;
	char **rest;
	size_t n_rest;
	char *file; /* the name of the last file, for origins */
};

static void text_free(char *z)
{
	if (z)
		sodium_memzero(z, strlen(z));
	free(z);
}

static void list_free(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		text_free(list[i]);
	free(list);
}

void sl_config_free(struct sl_config *c)
{
	if (!c)
		return;
	for (size_t i = 0; c->values && i < c->n; i++) {
		text_free(c->values[i].text);
		list_free(c->values[i].list, c->values[i].n);
	}
	free(c->values);
	list_free(c->rest, c->n_rest);
	free(c->file);
	free(c);
}

static enum sl_code push(char ***list, size_t *n, struct sl_str s)
{
	char **more = realloc(*list, (*n + 2) * sizeof(char *));
	if (!more)
		return SL_NO_MEMORY;
	*list = more;
	more[*n] = sl_str_dup(s);
	if (!more[*n])
		return SL_NO_MEMORY;
	more[++*n] = NULL;
	return SL_OK;
}

static bool truth(struct sl_str s, bool *out)
{
	static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};
	for (size_t i = 0; i < SL_COUNT_OF(yes); i++) {
		if (sl_str_is_nocase(s, yes[i]) || sl_str_is_nocase(s, no[i])) {
			*out = sl_str_is_nocase(s, yes[i]);
			return true;
		}
	}
	return false;
}

static bool one_of(struct sl_str s, const char *choices)
{
	struct sl_str left = sl_str(choices), head, tail;
	while (sl_str_cut(left, '|', &head, &tail)) {
		if (sl_str_eq(s, head))
			return true;
		left = tail;
	}
	return sl_str_eq(s, left);
}

static const char *const origins[] = {"default", "file", "environment", "flag"};

/* "--pool-size", "SLUICE_POOL_SIZE" or "pool_size in sluice.json": what the user wrote. */
static void named(const struct sl_config *c, const struct sl_setting *s, enum sl_origin origin, struct sl_buf *out)
{
	switch (origin) {
	case SL_ORIGIN_FLAG:
		sl_buf_adds(out, "--");
		for (const char *p = s->name; *p; p++)
			sl_buf_addc(out, *p == '_' ? '-' : *p);
		break;
	case SL_ORIGIN_ENV:
		sl_buf_adds(out, s->env ? s->env : "");
		break;
	case SL_ORIGIN_FILE:
		sl_buf_addf(out, "%s in %s", s->name, c->file ? c->file : "the file");
		break;
	case SL_ORIGIN_DEFAULT:
		sl_buf_addf(out, "default of %s", s->name);
	}
}

static enum sl_code misfit(const struct sl_config *c, const struct sl_setting *s, enum sl_origin origin,
			   struct sl_str got, const char *want, struct sl_error *err)
{
	SL_BUF(name, 400);
	named(c, s, origin, &name);
	if (s->secret)
		return sl_fail(err, SL_INVALID, "%s: %s", name.data, want);
	return sl_fail(err, SL_INVALID, "%s: %s, not \"" SL_STR_FMT "\"", name.data ? name.data : s->name, want,
		       (int)(got.len > 80 ? 80 : got.len), got.p);
}

static enum sl_code set(struct sl_config *c, size_t i, enum sl_origin origin, struct sl_str text, struct sl_error *err)
{
	const struct sl_setting *s = &c->table[i];
	struct value *v = &c->values[i], fresh = {.origin = origin};
	char want[200];
	bool bounded = s->min != 0 || s->max != 0;

	switch (s->type) {
	case SL_SETTING_BOOL:
		if (!truth(text, &fresh.yes))
			return misfit(c, s, origin, text, "must be true or false", err);
		break;
	case SL_SETTING_U64:
		if (!sl_str_u64(text, &fresh.u) ||
		    (bounded && ((double)fresh.u < s->min || (double)fresh.u > s->max))) {
			if (bounded)
				snprintf(want, sizeof(want), "must be a whole number from %.0f to %.0f", s->min,
					 s->max);
			return misfit(c, s, origin, text, bounded ? want : "must be a whole number", err);
		}
		fresh.f = (double)fresh.u;
		break;
	case SL_SETTING_F64:
		if (!sl_str_f64(text, &fresh.f) || (bounded && (fresh.f < s->min || fresh.f > s->max))) {
			if (bounded)
				snprintf(want, sizeof(want), "must be a number from %g to %g", s->min, s->max);
			return misfit(c, s, origin, text, bounded ? want : "must be a number", err);
		}
		break;
	case SL_SETTING_CHOICE:
		if (!one_of(text, s->arg)) {
			snprintf(want, sizeof(want), "must be one of %s", s->arg);
			return misfit(c, s, origin, text, want, err);
		}
		break;
	case SL_SETTING_TEXT:
	case SL_SETTING_LIST:
		break;
	}
	if (v->text && origin < v->origin)
		return SL_OK; /* checked, but a stronger source has spoken */
	if (s->type == SL_SETTING_LIST) {
		if (v->origin != origin) {
			list_free(v->list, v->n);
			v->list = NULL;
			v->n = 0;
		}
		if (v->n >= CONFIG_LIST)
			return misfit(c, s, origin, text, "is given too often", err);
		if (push(&v->list, &v->n, text) != SL_OK)
			return sl_fail(err, SL_NO_MEMORY, "settings");
		fresh.list = v->list;
		fresh.n = v->n;
	}
	fresh.text = sl_str_dup(text);
	if (!fresh.text)
		return sl_fail(err, SL_NO_MEMORY, "settings");
	text_free(v->text);
	*v = fresh;
	return SL_OK;
}

enum sl_code sl_config_new(const struct sl_setting *table, size_t n, struct sl_config **out)
{
	SL_AUTO(sl_config) c = calloc(1, sizeof(*c));
	struct sl_error err;
	if (!c)
		return SL_NO_MEMORY;
	c->table = table;
	c->n = n;
	c->values = calloc(n ? n : 1, sizeof(*c->values));
	if (!c->values)
		return SL_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		if (!table[i].value)
			continue;
		enum sl_code rc = set(c, i, SL_ORIGIN_DEFAULT, sl_str(table[i].value), &err);
		SL_BUG_ON(rc == SL_INVALID); /* a default that does not fit its own row */
		if (rc != SL_OK)
			return rc;
	}
	*out = SL_TAKE(c);
	return SL_OK;
}

/* Does the flag (without its dashes) mean this name? */
static bool flag_is(struct sl_str flag, const char *name)
{
	if (flag.len != strlen(name))
		return false;
	for (size_t i = 0; i < flag.len; i++)
		if (flag.p[i] != (name[i] == '_' ? '-' : name[i]))
			return false;
	return true;
}

/* The row that is nearest in spelling, or n. */
static size_t nearest(const struct sl_config *c, struct sl_str word, bool in_file)
{
	unsigned best = word.len < 3 ? 2 : word.len < 8 ? 3 : 4; /* this far away is no typing error any more */
	size_t at = c->n;
	for (size_t i = 0; i < c->n; i++) {
		char name[64];
		if ((in_file && c->table[i].flag_only) || !c->table[i].help)
			continue;
		snprintf(name, sizeof(name), "%s", c->table[i].name);
		for (char *p = name; !in_file && *p; p++)
			*p = *p == '_' ? '-' : *p;
		unsigned d = sl_str_distance(word, sl_str(name));
		if (d < best && d < word.len) {
			best = d;
			at = i;
		}
	}
	return at;
}

static enum sl_code unknown(const struct sl_config *c, struct sl_str word, bool in_file, struct sl_error *err)
{
	size_t near = nearest(c, word, in_file);
	SL_BUF(hint, 200);
	if (near < c->n) {
		sl_buf_adds(&hint, "; did you mean ");
		if (in_file)
			sl_buf_addf(&hint, "\"%s\"", c->table[near].name);
		else
			named(c, &c->table[near], SL_ORIGIN_FLAG, &hint);
		sl_buf_addc(&hint, '?');
	}
	int shown = (int)(word.len > 80 ? 80 : word.len);
	if (in_file)
		return sl_fail(err, SL_INVALID, "%s: there is no setting \"%.*s\"%s", c->file, shown, word.p,
			       hint.data ? hint.data : "");
	return sl_fail(err, SL_INVALID, "there is no option --%.*s%s", shown, word.p, hint.data ? hint.data : "");
}

enum sl_code sl_config_args(struct sl_config *c, int argc, const char *const *argv, struct sl_error *err)
{
	bool flags = true;
	for (int a = 0; a < argc; a++) {
		struct sl_str arg = sl_str(argv[a]), name, value;
		if (!flags || arg.len < 2 || arg.p[0] != '-') {
			if (push(&c->rest, &c->n_rest, arg) != SL_OK)
				return sl_fail(err, SL_NO_MEMORY, "arguments");
			continue;
		}
		if (sl_str_is(arg, "--")) {
			flags = false;
			continue;
		}
		if (sl_str_is(arg, "-h"))
			arg = SL_STR("--help");
		if (arg.p[1] != '-')
			return sl_fail(err, SL_INVALID, "there is no option " SL_STR_FMT "; options begin with --",
				       SL_STR_ARG(arg));
		arg = sl_str_n(arg.p + 2, arg.len - 2);
		bool has_value = sl_str_cut(arg, '=', &name, &value), negated = false;
		size_t i;
		if (!has_value)
			name = arg;
		for (i = 0; i < c->n; i++) {
			if (flag_is(name, c->table[i].name))
				break;
			negated = !has_value && c->table[i].type == SL_SETTING_BOOL &&
				  sl_str_starts(name, SL_STR("no-")) &&
				  flag_is(sl_str_n(name.p + 3, name.len - 3), c->table[i].name);
			if (negated)
				break;
		}
		if (i == c->n)
			return unknown(c, name, false, err);
		if (!has_value && c->table[i].type == SL_SETTING_BOOL)
			value = negated ? SL_STR("false") : SL_STR("true");
		else if (!has_value) {
			if (a + 1 >= argc)
				return sl_fail(err, SL_INVALID, "--" SL_STR_FMT " needs a value", SL_STR_ARG(name));
			value = sl_str(argv[++a]);
		}
		enum sl_code rc = set(c, i, SL_ORIGIN_FLAG, value, err);
		if (rc != SL_OK)
			return rc;
	}
	return SL_OK;
}

enum sl_code sl_config_env(struct sl_config *c, const char *(*get)(const char *name), struct sl_error *err)
{
	for (size_t i = 0; i < c->n; i++) {
		const char *z = c->table[i].env ? get(c->table[i].env) : NULL;
		if (!z || !*z)
			continue;
		enum sl_code rc = set(c, i, SL_ORIGIN_ENV, sl_str(z), err);
		if (rc != SL_OK)
			return rc;
	}
	return SL_OK;
}

bool sl_json_blank_comments(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"') {
			for (i++; i < len && text[i] != '"'; i++)
				if (text[i] == '\\')
					i++;
		} else if (text[i] == '/' && i + 1 < len && text[i + 1] == '/') {
			for (; i < len && text[i] != '\n'; i++)
				text[i] = ' ';
		} else if (text[i] == '/' && i + 1 < len && text[i + 1] == '*') {
			size_t end = i + 2;
			while (end + 1 < len && !(text[end] == '*' && text[end + 1] == '/'))
				end++;
			if (end + 1 >= len)
				return false;
			for (; i < end + 2; i++)
				if (text[i] != '\n')
					text[i] = ' ';
			i--;
		}
	}
	return true;
}

static enum sl_code from_json(struct sl_config *c, size_t i, struct json_object *v, struct sl_error *err)
{
	const struct sl_setting *s = &c->table[i];
	if (s->type == SL_SETTING_LIST && json_object_is_type(v, json_type_array)) {
		for (size_t k = 0; k < json_object_array_length(v); k++) {
			struct json_object *one = json_object_array_get_idx(v, k);
			if (!json_object_is_type(one, json_type_string))
				return misfit(c, s, SL_ORIGIN_FILE, SL_STR("another type"),
					      "must be an array of strings", err);
			enum sl_code rc = set(c, i, SL_ORIGIN_FILE, sl_json_str(one), err);
			if (rc != SL_OK)
				return rc;
		}
		return SL_OK;
	}
	switch (json_object_get_type(v)) {
	case json_type_null: /* as if it were not there */
		return SL_OK;
	case json_type_string:
		return set(c, i, SL_ORIGIN_FILE, sl_json_str(v), err);
	case json_type_boolean:
	case json_type_int:
	case json_type_double: {
		SL_BUF(text, 100);
		sl_json_write(&text, v);
		return set(c, i, SL_ORIGIN_FILE, sl_buf_str(&text), err);
	}
	default:
		return misfit(c, s, SL_ORIGIN_FILE, sl_str(sl_json_type_name(v)), "must be a single value", err);
	}
}

enum sl_code sl_config_text(struct sl_config *c, struct sl_str text, const char *name, struct sl_error *err)
{
	SL_AUTO_MEM char *copy = sl_str_dup(text);
	SL_AUTO_JSON doc = NULL;
	free(c->file);
	c->file = sl_str_dup(sl_str(name));
	if (!copy || !c->file)
		return sl_fail(err, SL_NO_MEMORY, "settings");
	if (!sl_json_blank_comments(copy, text.len))
		return sl_fail(err, SL_INVALID, "%s: a comment has no end", name);
	enum sl_code rc = sl_json_parse(sl_str_n(copy, text.len), &doc, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc, "%s", name);
	if (!json_object_is_type(doc, json_type_object))
		return sl_fail(err, SL_INVALID, "%s: must hold one object", name);
	json_object_object_foreach (doc, key, v) {
		size_t i = 0;
		while (i < c->n && (c->table[i].flag_only || strcmp(c->table[i].name, key) != 0))
			i++;
		if (i == c->n)
			return unknown(c, sl_str(key), true, err);
		rc = from_json(c, i, v, err);
		if (rc != SL_OK)
			return rc;
	}
	return SL_OK;
}

enum sl_code sl_config_file(struct sl_config *c, const char *path, struct sl_error *err)
{
	SL_BUF(text, CONFIG_FILE_BYTES);
	char piece[4096];
	FILE *f = fopen(path, "re");
	if (!f)
		return sl_fail(err, SL_NOT_FOUND, "%s: %s", path, strerror(errno));
	for (size_t n; (n = fread(piece, 1, sizeof(piece), f)) > 0;)
		sl_buf_add(&text, piece, n);
	bool broken = ferror(f) != 0;
	fclose(f);
	if (broken)
		return sl_fail(err, SL_INVALID, "%s cannot be read", path);
	if (text.failed)
		return sl_fail(err, SL_TOO_LARGE, "%s is larger than %u bytes", path, CONFIG_FILE_BYTES);
	return sl_config_text(c, sl_buf_str(&text), path, err);
}

const char *sl_config_z(const struct sl_config *c, size_t i)
{
	return c->values[i].text;
}
bool sl_config_bool(const struct sl_config *c, size_t i)
{
	return c->values[i].yes;
}
uint64_t sl_config_u64(const struct sl_config *c, size_t i)
{
	return c->values[i].u;
}
double sl_config_f64(const struct sl_config *c, size_t i)
{
	return c->values[i].f;
}
const char *const *sl_config_list(const struct sl_config *c, size_t i, size_t *n)
{
	*n = c->values[i].n;
	return (const char *const *)c->values[i].list;
}
const char *const *sl_config_rest(const struct sl_config *c, size_t *n)
{
	*n = c->n_rest;
	return (const char *const *)c->rest;
}
enum sl_origin sl_config_origin(const struct sl_config *c, size_t i)
{
	return c->values[i].origin;
}

/* What may be shown of a value: a secret's last four characters, and those only when they give little away. */
static void shown(const struct sl_setting *s, const struct value *v, struct sl_buf *out)
{
	if (!v->text)
		return;
	if (!s->secret) {
		for (size_t i = 0; s->type == SL_SETTING_LIST && i < v->n; i++)
			sl_buf_addf(out, "%s%s", i ? ", " : "", v->list[i]);
		if (s->type != SL_SETTING_LIST)
			sl_buf_adds(out, v->text);
		return;
	}
	size_t len = strlen(v->text);
	sl_buf_adds(out, "***");
	if (len >= 16)
		sl_buf_add(out, v->text + len - 4, 4);
}

static void origin_text(const struct sl_config *c, size_t i, struct sl_buf *out)
{
	enum sl_origin o = c->values[i].origin;
	if (o == SL_ORIGIN_FILE)
		sl_buf_addf(out, "file %s", c->file);
	else if (o == SL_ORIGIN_DEFAULT)
		sl_buf_adds(out, origins[o]);
	else {
		sl_buf_addf(out, "%s ", origins[o]);
		named(c, &c->table[i], o, out);
	}
}

void sl_config_print_one(const struct sl_config *c, size_t i, struct sl_buf *out)
{
	sl_buf_addf(out, "%s = ", c->table[i].name);
	if (c->values[i].text)
		shown(&c->table[i], &c->values[i], out);
	else
		sl_buf_adds(out, "(unset)");
	sl_buf_adds(out, " (");
	origin_text(c, i, out);
	sl_buf_addc(out, ')');
}

void sl_config_print(const struct sl_config *c, struct sl_buf *out)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->table[i].flag_only)
			continue;
		SL_BUF(value, CONFIG_FILE_BYTES);
		shown(&c->table[i], &c->values[i], &value);
		sl_buf_addf(out, "%-24s %-40s ", c->table[i].name, value.len ? value.data : "(unset)");
		origin_text(c, i, out);
		sl_buf_addc(out, '\n');
	}
}

void sl_config_print_json(const struct sl_config *c, struct sl_buf *out)
{
	sl_buf_addc(out, '{');
	for (size_t i = 0; i < c->n; i++) {
		if (c->table[i].flag_only)
			continue;
		SL_BUF(value, CONFIG_FILE_BYTES);
		SL_BUF(origin, CONFIG_FILE_BYTES);
		shown(&c->table[i], &c->values[i], &value);
		origin_text(c, i, &origin);
		sl_buf_json_key(out, c->table[i].name);
		sl_buf_addc(out, '{');
		if (c->values[i].text)
			sl_buf_json_kstr(out, "value", sl_buf_str(&value));
		else
			sl_buf_json_kz(out, "value", NULL);
		sl_buf_json_kstr(out, "origin", sl_buf_str(&origin));
		sl_buf_addc(out, '}');
	}
	sl_buf_adds(out, "}\n");
}

void sl_settings_help(const struct sl_setting *table, size_t n, struct sl_buf *out)
{
	for (size_t i = 0; i < n; i++) {
		const struct sl_setting *s = &table[i];
		if (!s->help)
			continue;
		SL_BUF(left, 200);
		sl_buf_adds(&left, "--");
		for (const char *p = s->name; *p; p++)
			sl_buf_addc(&left, *p == '_' ? '-' : *p);
		if (s->type != SL_SETTING_BOOL)
			sl_buf_addf(&left, " %s",
				    s->arg                                                     ? s->arg
				    : s->type == SL_SETTING_TEXT || s->type == SL_SETTING_LIST ? "TEXT"
											       : "N");
		sl_buf_addf(out, left.len > 26 ? "  %s\n%28s  %s" : "  %-26s%s  %s", left.data ? left.data : "", "",
			    s->help);
		if (s->env || (s->value && *s->value && s->type != SL_SETTING_BOOL)) {
			sl_buf_adds(out, " (");
			if (s->value && s->type != SL_SETTING_BOOL)
				sl_buf_addf(out, "%s%s", s->value, s->env ? "; " : "");
			sl_buf_addf(out, "%s)", s->env ? s->env : "");
		}
		sl_buf_addc(out, '\n');
	}
}
