/* base/error.c: see error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

struct code_row {
	enum sl_code code;
	const char *wire;
	int http;
	enum sl_retry_class retry;
};

static const struct code_row rows[] = {
#define SL_X(name, value, wire_, http_, retry_) {name, wire_, http_, SL_RETRY_##retry_},
	SL_CODES(SL_X)
#undef SL_X
};

static const struct code_row *row_of(enum sl_code code)
{
	static const struct code_row unknown = {SL_INTERNAL, "internal", 500, SL_RETRY_NEVER};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].code == code)
			return &rows[i];
	return &unknown;
}

const char *sl_code_wire(enum sl_code code)
{
	return row_of(code)->wire;
}

int sl_code_http(enum sl_code code)
{
	return row_of(code)->http;
}

enum sl_retry_class sl_code_retry(enum sl_code code)
{
	return row_of(code)->retry;
}

bool sl_code_from_wire(const char *wire, size_t len, enum sl_code *out)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strlen(rows[i].wire) == len && memcmp(rows[i].wire, wire, len) == 0) {
			*out = rows[i].code;
			return true;
		}
	return false;
}

/* The text may quote foreign bytes, so it is cut at a character and made valid UTF-8 here, once. */
static void settle(char *text)
{
	size_t len = strlen(text);
	sl_utf8_make_valid(text, &len);
	text[len] = 0;
}

enum sl_code sl_fail(struct sl_error *err, enum sl_code code, const char *fmt, ...)
{
	if (!err)
		return code;
	va_list ap;
	va_start(ap, fmt);
	err->code = code;
	err->retry_after_ms = 0;
	(void)vsnprintf(err->text, sizeof(err->text), fmt, ap); /* a cut text is still a text */
	va_end(ap);
	settle(err->text);
	return code;
}

enum sl_code sl_wrap(struct sl_error *err, enum sl_code code, const char *fmt, ...)
{
	if (!err)
		return code;
	char head[SL_ERROR_TEXT_BYTES];
	char all[2 * SL_ERROR_TEXT_BYTES + 4];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(head, sizeof(head), fmt, ap);
	va_end(ap);
	(void)snprintf(all, sizeof(all), "%s: %s", head, err->text);
	err->code = code;
	memcpy(err->text, all, sizeof(err->text) - 1);
	err->text[sizeof(err->text) - 1] = 0;
	settle(err->text);
	return code;
}

bool sl_expect_aborts;
static _Atomic uint64_t expect_failures;

_Noreturn void sl_bug(const char *what, const char *file, int line)
{
	fprintf(stderr, "sluice: bug: %s at %s:%d\n", what, file, line);
	abort();
}

void sl_expect_failed(_Atomic unsigned *seen, const char *what, const char *file, int line)
{
	atomic_fetch_add_explicit(&expect_failures, 1, memory_order_relaxed);
	if (sl_expect_aborts)
		sl_bug(what, file, line);
	if (atomic_fetch_add_explicit(seen, 1, memory_order_relaxed) == 0)
		fprintf(stderr, "sluice: unexpected, going on: not (%s) at %s:%d\n", what, file, line);
}

uint64_t sl_expect_count(void)
{
	return atomic_load_explicit(&expect_failures, memory_order_relaxed);
}
