/* The settings table, and docs/CONFIGURATION.md beside it. Run with SLUICE_PRINT_ROWS=1, this prints the rows of that
 * page. */
#include "tests/lib/test.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "cmd/settings.h"

/* "| `SLUICE_X` | `--x` | `default` | help |" */
static void row(const struct sl_setting *s, struct sl_buf *out)
{
	sl_buf_addf(out, "| `%s` | `--", s->env ? s->env : "");
	for (const char *p = s->name; *p; p++)
		sl_buf_addc(out, *p == '_' ? '-' : *p);
	sl_buf_adds(out, "` | ");
	if (s->value)
		sl_buf_addf(out, "`%s`", s->value);
	sl_buf_adds(out, " | ");
	for (const char *p = s->help; *p; p++) { /* a bar would end the cell */
		if (*p == '|')
			sl_buf_addc(out, '\\');
		sl_buf_addc(out, *p);
	}
	if (s->type == SL_SETTING_CHOICE) {
		sl_buf_adds(out, ": ");
		for (const char *p = s->arg; *p; p++)
			if (*p == '|')
				sl_buf_adds(out, ", ");
			else
				sl_buf_addc(out, *p);
	}
	if (s->type == SL_SETTING_U64 || s->type == SL_SETTING_F64)
		sl_buf_addf(out, " (%.15g to %.15g)", s->min, s->max);
	sl_buf_adds(out, " |\n");
}

static void the_page_says_what_the_table_says(void **state)
{
	const char *root = getenv("SLUICE_ROOT");
	char path[4096];
	static char page[1u << 18];
	assert_non_null(root);
	snprintf(path, sizeof(path), "%s/docs/CONFIGURATION.md", root);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
	fclose(f);
	size_t rows = 0, bars = 0;
	for (size_t i = SL_SET_LISTEN; i < SL_SETTINGS; i++, rows++) {
		SL_BUF(want, 4096);
		row(&sl_settings[i], &want);
		if (!strstr(page, want.data))
			fail_msg("docs/CONFIGURATION.md lacks: %s", want.data);
	}
	for (const char *p = page; (p = strstr(p, "\n| `SLUICE_")); p++)
		bars++;
	assert_int_equal(bars, rows + 1); /* and no setting that does not exist: the one more is SLUICE_CONFIG */
}

static void every_row_is_complete_and_none_occurs_twice(void **state)
{
	for (size_t i = 0; i < SL_SETTINGS; i++) {
		const struct sl_setting *s = &sl_settings[i];
		assert_non_null(s->name);
		assert_non_null(s->help);
		if (s->type == SL_SETTING_U64)
			assert_true(s->max > s->min && s->value);
		if (!s->flag_only) {
			/* the variable is the name in capitals, so whoever knows one knows the other */
			char want[100] = "SLUICE_";
			size_t n = 7;
			for (const char *p = s->name; *p; p++)
				want[n++] = (char)toupper((unsigned char)*p);
			want[n] = '\0';
			assert_string_equal(s->env, want);
		}
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(s->name, sl_settings[k].name);
	}
}

static void the_defaults_fit_their_own_bounds(void **state)
{
	struct sl_config *c = NULL;
	assert_int_equal(sl_config_new(sl_settings, SL_SETTINGS, &c), SL_OK); /* it aborts on one that does not */
	assert_int_equal(sl_config_u64(c, SL_SET_POOL_SIZE), 20);
	sl_config_free(c);
}

int main(void)
{
	if (getenv("SLUICE_PRINT_ROWS")) {
		for (size_t i = SL_SET_LISTEN; i < SL_SETTINGS; i++) {
			SL_BUF(out, 4096);
			row(&sl_settings[i], &out);
			fputs(out.data, stdout);
		}
		return 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_page_says_what_the_table_says),
		cmocka_unit_test(every_row_is_complete_and_none_occurs_twice),
		cmocka_unit_test(the_defaults_fit_their_own_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
