#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/config.h"
#include "base/json.h"

enum { LISTEN, WORKERS, RATIO, LEVEL, INSECURE, SECRET, INPUT, HELP, ROWS };
static const struct sl_setting table[ROWS] = {
	[LISTEN] = {.name = "listen", .env = "T_LISTEN", .value = "127.0.0.1:7070", .help = "where"},
	[WORKERS] = {.name = "pool_size",
		     .env = "T_WORKERS",
		     .value = "4",
		     .type = SL_SETTING_U64,
		     .min = 1,
		     .max = 64,
		     .help = "how many"},
	[RATIO] = {.name = "ratio", .type = SL_SETTING_F64, .min = 0, .max = 1, .help = "share"},
	[LEVEL] = {.name = "level",
		   .value = "info",
		   .type = SL_SETTING_CHOICE,
		   .arg = "error|warn|info",
		   .help = "how much"},
	[INSECURE] = {.name = "insecure", .env = "T_INSECURE", .type = SL_SETTING_BOOL, .help = "no TLS"},
	[SECRET] = {.name = "secret_key", .env = "T_SECRET", .secret = true, .help = "the key"},
	[INPUT] = {.name = "input", .type = SL_SETTING_LIST, .flag_only = true, .help = "K=V"},
	[HELP] = {.name = "help", .type = SL_SETTING_BOOL, .flag_only = true, .help = "this"},
};

static const char *const *environment;
static const char *from_environment(const char *name)
{
	for (size_t i = 0; environment && environment[i]; i += 2)
		if (strcmp(environment[i], name) == 0)
			return environment[i + 1];
	return NULL;
}

struct fixture {
	struct sl_config *c;
	struct sl_error err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	environment = NULL;
	assert_int_equal(sl_config_new(table, ROWS, &f->c), SL_OK);
	*state = f;
	return 0;
}
static int teardown(void **state)
{
	struct fixture *f = *state;
	sl_config_free(f->c);
	free(f);
	return 0;
}

#define ARGS(f, ...)                                                                                                   \
	sl_config_args((f)->c, (int)SL_COUNT_OF(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__},       \
		       &(f)->err)

static void flags_win_over_environment_over_file_over_default(void **state)
{
	struct fixture *f = *state;
	static const char *const env[] = {"T_LISTEN", "env:1", "T_WORKERS", "8", NULL};
	environment = env;
	assert_int_equal(sl_config_origin(f->c, LISTEN), SL_ORIGIN_DEFAULT);
	assert_string_equal(sl_config_z(f->c, LISTEN), "127.0.0.1:7070");
	/* the strongest first: order of loading does not matter */
	assert_int_equal(ARGS(f, "--listen", "flag:1"), SL_OK);
	assert_int_equal(sl_config_env(f->c, from_environment, &f->err), SL_OK);
	assert_int_equal(sl_config_text(f->c, SL_STR("{\"listen\":\"file:1\",\"pool_size\":16,\"ratio\":0.5}"),
					"t.json", &f->err),
			 SL_OK);
	assert_string_equal(sl_config_z(f->c, LISTEN), "flag:1");
	assert_int_equal(sl_config_origin(f->c, LISTEN), SL_ORIGIN_FLAG);
	assert_int_equal(sl_config_u64(f->c, WORKERS), 8);
	assert_int_equal(sl_config_origin(f->c, WORKERS), SL_ORIGIN_ENV);
	assert_true(sl_config_f64(f->c, RATIO) == 0.5);
	assert_int_equal(sl_config_origin(f->c, RATIO), SL_ORIGIN_FILE);
}

static void flags_come_in_every_spelling(void **state)
{
	struct fixture *f = *state;
	size_t n;
	assert_int_equal(
		ARGS(f, "file", "--pool-size=9", "--insecure", "--input", "a=1", "--input=b=2", "--", "--level"),
		SL_OK);
	assert_int_equal(sl_config_u64(f->c, WORKERS), 9);
	assert_true(sl_config_bool(f->c, INSECURE));
	const char *const *list = sl_config_list(f->c, INPUT, &n);
	assert_int_equal(n, 2);
	assert_string_equal(list[0], "a=1");
	assert_string_equal(list[1], "b=2");
	const char *const *rest = sl_config_rest(f->c, &n);
	assert_int_equal(n, 2);
	assert_string_equal(rest[0], "file");
	assert_string_equal(rest[1], "--level");
	assert_int_equal(ARGS(f, "--no-insecure"), SL_OK);
	assert_false(sl_config_bool(f->c, INSECURE));
	assert_int_equal(ARGS(f, "-h"), SL_OK);
	assert_true(sl_config_bool(f->c, HELP));
}

static void what_is_unknown_names_its_nearest(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(ARGS(f, "--lisen", "x"), SL_INVALID);
	assert_non_null(strstr(f->err.text, "did you mean --listen?"));
	assert_int_equal(ARGS(f, "--pool_sizes=1"), SL_INVALID);
	assert_non_null(strstr(f->err.text, "--pool-size"));
	assert_int_equal(ARGS(f, "--entirely-else"), SL_INVALID);
	assert_null(strstr(f->err.text, "did you mean"));
	assert_int_equal(ARGS(f, "-x"), SL_INVALID);
	assert_int_equal(sl_config_text(f->c, SL_STR("{\"pool_sise\":1}"), "t.json", &f->err), SL_INVALID);
	assert_string_equal(f->err.text, "t.json: there is no setting \"pool_sise\"; did you mean \"pool_size\"?");
	/* what is a flag only is no key */
	assert_int_equal(sl_config_text(f->c, SL_STR("{\"input\":\"a=1\"}"), "t.json", &f->err), SL_INVALID);
}

static void values_that_do_not_fit_say_where_they_came_from(void **state)
{
	struct fixture *f = *state;
	static const char *const env[] = {"T_WORKERS", "none", NULL};
	assert_int_equal(ARGS(f, "--pool-size", "65"), SL_INVALID);
	assert_string_equal(f->err.text, "--pool-size: must be a whole number from 1 to 64, not \"65\"");
	assert_int_equal(ARGS(f, "--pool-size"), SL_INVALID);
	assert_non_null(strstr(f->err.text, "needs a value"));
	assert_int_equal(ARGS(f, "--level", "loud"), SL_INVALID);
	assert_int_equal(ARGS(f, "--insecure=maybe"), SL_INVALID);
	environment = env;
	assert_int_equal(sl_config_env(f->c, from_environment, &f->err), SL_INVALID);
	assert_non_null(strstr(f->err.text, "T_WORKERS"));
	assert_int_equal(sl_config_text(f->c, SL_STR("{\"ratio\":2}"), "t.json", &f->err), SL_INVALID);
	assert_non_null(strstr(f->err.text, "ratio in t.json"));
	assert_int_equal(sl_config_text(f->c, SL_STR("{\"listen\":[]}"), "t.json", &f->err), SL_INVALID);
	assert_int_equal(sl_config_text(f->c, SL_STR("[]"), "t.json", &f->err), SL_INVALID);
	/* nothing of it stuck */
	assert_int_equal(sl_config_u64(f->c, WORKERS), 4);
	assert_string_equal(sl_config_z(f->c, LEVEL), "info");
}

static void a_weaker_source_is_checked_even_when_it_loses(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(ARGS(f, "--pool-size", "5"), SL_OK);
	assert_int_equal(sl_config_text(f->c, SL_STR("{\"pool_size\":\"many\"}"), "t.json", &f->err), SL_INVALID);
}

static void comments_are_allowed_outside_strings_only(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(sl_config_text(f->c,
					SL_STR("// first\n{ /* a * b */ \"listen\": \"http://x/*y*/\" // end\n, "
					       "\"level\":\"a\\\"//b\" }"),
					"t.json", &f->err),
			 SL_INVALID); /* for the level only: */
	assert_non_null(strstr(f->err.text, "level in t.json"));
	assert_string_equal(sl_config_z(f->c, LISTEN), "http://x/*y*/");
	assert_int_equal(sl_config_text(f->c, SL_STR("{} /* no end"), "t.json", &f->err), SL_INVALID);
	assert_int_equal(sl_config_text(f->c, SL_STR("{}/*/"), "t.json", &f->err), SL_INVALID);
	/* places in messages stay right */
	assert_int_equal(sl_config_text(f->c, SL_STR("/* two\nlines */ {x}"), "t.json", &f->err), SL_INVALID);
	assert_non_null(strstr(f->err.text, "line 2"));
	assert_int_equal(sl_config_file(f->c, "/nonexistent/x.json", &f->err), SL_NOT_FOUND);
}

static void every_short_text_survives_the_comment_blanker(void **state)
{
	static const char alphabet[] = {'/', '*', '"', '\\', '\n', 'x'};
	for (unsigned n = 0; n < 6 * 6 * 6 * 6 * 6; n++) {
		unsigned v = n;
		char *text = malloc(5); /* exact size, so that an overrun is seen */
		for (unsigned i = 0; i < 5; i++, v /= 6)
			text[i] = alphabet[v % 6];
		sl_json_blank_comments(text, 5);
		free(text);
	}
}

static void secrets_are_masked_and_origins_shown(void **state)
{
	struct fixture *f = *state;
	static const char *const env[] = {"T_SECRET", "abcdefghijklmnopqrstuvwx", "T_LISTEN", "", NULL};
	SL_BUF(out, 10000);
	SL_AUTO_JSON doc = NULL;
	environment = env;
	assert_int_equal(sl_config_env(f->c, from_environment, &f->err), SL_OK);
	assert_int_equal(ARGS(f, "--pool-size", "7"), SL_OK);
	sl_config_print(f->c, &out);
	assert_null(strstr(out.data, "abcdef"));
	assert_non_null(strstr(out.data, "***uvwx"));
	assert_non_null(strstr(out.data, "flag --pool-size"));
	assert_non_null(strstr(out.data, "environment T_SECRET"));
	assert_null(strstr(out.data, "input")); /* no setting of the server */
	sl_buf_reset(&out);
	sl_config_print_json(f->c, &out);
	assert_int_equal(sl_json_parse(sl_buf_str(&out), &doc, &f->err), SL_OK);
	assert_string_equal(sl_json_get_z(sl_json_get(doc, "listen"), "origin"), "default"); /* empty is unset */
	assert_string_equal(sl_json_get_z(sl_json_get(doc, "pool_size"), "value"), "7");
	assert_null(sl_json_get(sl_json_get(doc, "ratio"), "value"));
	assert_null(strstr(out.data, "abcdef"));
}

static void help_lists_what_has_help(void **state)
{
	SL_BUF(out, 10000);
	sl_settings_help(table, ROWS, &out);
	assert_non_null(strstr(out.data, "--pool-size N"));
	assert_non_null(strstr(out.data, "(4; T_WORKERS)"));
	assert_non_null(strstr(out.data, "--level error|warn|info"));
}

static void survive(void *arg)
{
	struct sl_config *c = NULL;
	struct sl_error err;
	if (sl_config_new(table, ROWS, &c) == SL_OK) {
		const char *argv[] = {"--input", "a", "--input", "b", "rest", "--listen=x"};
		SL_IGNORE(sl_config_args(c, SL_COUNT_OF(argv), argv, &err)); /* any allocation may have failed */
		SL_BUF(out, 1000);
		sl_config_print(c, &out);
	}
	sl_config_free(c);
}
static void no_failed_allocation_hurts(void **state)
{
	sl_test_torture(survive, NULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(flags_win_over_environment_over_file_over_default),
		CASE(flags_come_in_every_spelling),
		CASE(what_is_unknown_names_its_nearest),
		CASE(values_that_do_not_fit_say_where_they_came_from),
		CASE(a_weaker_source_is_checked_even_when_it_loses),
		CASE(comments_are_allowed_outside_strings_only),
		CASE(every_short_text_survives_the_comment_blanker),
		CASE(secrets_are_masked_and_origins_shown),
		CASE(help_lists_what_has_help),
		CASE(no_failed_allocation_hurts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
