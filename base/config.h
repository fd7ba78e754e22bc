/* base/config.h: settings from a table: flags over environment over file over default, each with its origin.
 *
 * Owns      the values. The table is the caller's, constant.
 * Thread    one thread until everything is loaded, then [const].
 * Order     sources may be loaded in any order; the stronger one wins, whichever came first.
 * File      one JSON object, // and slash-star comments allowed, keys are the settings' names. An unknown key or flag
 * is an error that names the nearest one; a value that does not fit is an error that says where it came from.
 *
 *     static const struct sl_setting table[] = { { .name = "listen", .env = "SLUICE_LISTEN", .value = "127.0.0.1:7070"
 * } };
 */
#pragma once

#include "base/buf.h"
#include "base/own.h"

enum sl_setting_type {
	SL_SETTING_TEXT,
	SL_SETTING_BOOL,   /* true/false, 1/0, yes/no, on/off; as a flag without a value: true, and --no-NAME: false */
	SL_SETTING_U64,    /* min..max */
	SL_SETTING_F64,    /* min..max */
	SL_SETTING_CHOICE, /* one of `arg`, separated by | */
	SL_SETTING_LIST,   /* text; as a flag it may be repeated, in a file it is an array of strings */
};

struct sl_setting {
	const char *name;  /* "pool_size"; the flag is --pool-size */
	const char *env;   /* NULL: not from the environment. Set but empty counts as unset */
	const char *value; /* the default, as text; NULL: unset (0, false, NULL) */
	enum sl_setting_type type;
	double min, max;  /* of numbers; both 0: any */
	const char *arg;  /* what help shows for the value: "HOST:PORT" */
	const char *help; /* NULL: works, but --help does not show it */
	bool secret;      /* printed as its last four characters */
	bool flag_only;   /* not a key of the file */
};

enum sl_origin { SL_ORIGIN_DEFAULT, SL_ORIGIN_FILE, SL_ORIGIN_ENV, SL_ORIGIN_FLAG };

struct sl_config;

/* `table` has n rows and outlives the config. SL_NO_MEMORY is the only failure. */
SL_MUST_USE enum sl_code sl_config_new(const struct sl_setting *table, size_t n, struct sl_config **out);
void sl_config_free(struct sl_config *c); /* NULL is fine; wipes secrets */
SL_DEFINE_AUTO(sl_config)

/* Flags: --name value, --name=value. What is no flag is kept in order (sl_config_rest), everything after "--" is. */
SL_MUST_USE enum sl_code sl_config_args(struct sl_config *c, int argc, const char *const *argv, struct sl_error *err);
SL_MUST_USE enum sl_code sl_config_env(struct sl_config *c, const char *(*get)(const char *name), struct sl_error *err);
SL_MUST_USE enum sl_code sl_config_file(struct sl_config *c, const char *path, struct sl_error *err);
/* The same from memory; `name` is what messages call it. */
SL_MUST_USE enum sl_code sl_config_text(struct sl_config *c, struct sl_str text, const char *name,
					struct sl_error *err);

/* By index in the table. */
const char *sl_config_z(const struct sl_config *c, size_t i); /* lends; NULL: unset */
bool sl_config_bool(const struct sl_config *c, size_t i);
uint64_t sl_config_u64(const struct sl_config *c, size_t i);
double sl_config_f64(const struct sl_config *c, size_t i);
const char *const *sl_config_list(const struct sl_config *c, size_t i, size_t *n);
const char *const *sl_config_rest(const struct sl_config *c, size_t *n);
enum sl_origin sl_config_origin(const struct sl_config *c, size_t i);

/* Every setting with its value and where it came from: a table for people, or one JSON object. Secrets are masked. */
void sl_config_print(const struct sl_config *c, struct sl_buf *out);
void sl_config_print_json(const struct sl_config *c, struct sl_buf *out);
/* One of them: "listen = 127.0.0.1:7070 (flag --listen)". */
void sl_config_print_one(const struct sl_config *c, size_t i, struct sl_buf *out);
/* The lines of --help. */
void sl_settings_help(const struct sl_setting *table, size_t n, struct sl_buf *out);

/* Blanks // and slash-star comments outside strings, in place; lines and columns stay. False: a comment without an end.
 */
bool sl_json_blank_comments(char *text, size_t len);
