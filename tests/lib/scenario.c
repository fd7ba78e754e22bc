/* tests/lib/scenario.c: see scenario.h. */
#include "tests/lib/scenario.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/test.h"

int world_setup(void **state)
{
	sl_expect_aborts = true;
	*state = world_new(5);
	return 0;
}

int world_teardown(void **state)
{
	world_free(*state);
	return 0;
}

const char *q(const char *fmt, ...)
{
	static char bufs[4][8192];
	static unsigned turn;
	char *b = bufs[turn++ % 4];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(b, sizeof(bufs[0]), fmt, ap);
	va_end(ap);
	assert_in_range(n, 0, sizeof(bufs[0]) - 1);
	for (char *c = b; *c; c++)
		if (*c == '\'')
			*c = '"';
	return b;
}

const char *text_of(struct json_object *o)
{
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

struct json_object *output(struct world *w, struct sl_run_id id, const char *key)
{
	return sl_json_get(sl_json_get(world_run(w, id), "outputs"), key);
}

void expect_status(struct world *w, struct sl_run_id id, const char *status)
{
	if (strcmp(world_status(w, id), status) != 0)
		fail_msg("%s", text_of(world_run(w, id)));
}

void expect_v(struct world *w, struct sl_run_id id, const char *v)
{
	expect_status(w, id, "succeeded");
	assert_string_equal(text_of(output(w, id, "v")), v);
}

struct json_object *event(struct world *w, struct sl_run_id id, const char *name, unsigned n)
{
	const struct sl_record *r;
	size_t all = world_records(w, id, &r);
	for (size_t i = 0; i < all; i++)
		if (strcmp(r[i].event, name) == 0 && n-- == 0) {
			struct json_object *o = NULL;
			struct sl_error err;
			assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), &o, &err), SL_OK);
			return o;
		}
	return NULL;
}

unsigned events(struct world *w, struct sl_run_id id, const char *name)
{
	const struct sl_record *r;
	unsigned n = 0;
	for (size_t i = 0, all = world_records(w, id, &r); i < all; i++)
		n += strcmp(r[i].event, name) == 0;
	return n;
}

bool is_over(struct world *w, struct sl_run_id id)
{
	const struct sl_record *r;
	size_t n = world_records(w, id, &r);
	const char *e = n ? r[n - 1].event : "";
	return strcmp(e, "execution:completed") == 0 || strcmp(e, "execution:failed") == 0 ||
	       strcmp(e, "execution:cancelled") == 0;
}

unsigned rnd(uint64_t *s)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*s >> 33);
}

unsigned long from_env(const char *name, unsigned long otherwise)
{
	const char *z = getenv(name);
	return z ? strtoul(z, NULL, 10) : otherwise;
}
