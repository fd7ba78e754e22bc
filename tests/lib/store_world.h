/* tests/lib/store_world.h: a store over a throw-away PostgreSQL, asked one question at a time.
 *
 * Thread    the test's main thread; answers come on the store's and are handed over.
 * Each test begins with empty tables; the store stays open.
 */
#pragma once

#include "tests/lib/test.h"

#include <pthread.h>

#include "base/json.h"
#include "store/audit.h"
#include "store/journal.h"
#include "store/store.h"
#include "store/tokens.h"
#include "tests/lib/pg.h"

struct sl_stored_workflow;

extern struct sl_pg pg;
extern struct sl_store *s;

/* The last answer; each call of the store is followed by answer_of(). */
extern struct store_got {
	pthread_mutex_t m;
	pthread_cond_t changed;
	int calls;
	enum sl_code rc;
	struct sl_bytes *json;
	int32_t version;
	struct sl_stored_workflow *workflow;
	struct sl_stored_run *run;
	struct sl_stored_token token;
	size_t n;
	char name[64], config[256], secrets[64];
} got;

/* In a callback that has `rc`: notes what else it brought, and wakes the test. */
#define ANSWER(...)                                                                                                    \
	do {                                                                                                           \
		pthread_mutex_lock(&got.m);                                                                            \
		got.rc = rc;                                                                                           \
		got.calls++;                                                                                           \
		__VA_ARGS__;                                                                                           \
		pthread_cond_broadcast(&got.changed);                                                                  \
		pthread_mutex_unlock(&got.m);                                                                          \
	} while (0)

void on_plain(void *arg, enum sl_code rc);
void on_json(void *arg, enum sl_code rc, struct sl_bytes *json); /* keeps it as got.json */

void forget(void); /* what was answered before */
enum sl_code answer_of(enum sl_code called);
/* Makes the call, waits, yields its code. */
#define ASK(call) (forget(), answer_of(call))

extern const struct sl_audit_by someone;
struct sl_bytes *text(const char *z); /* the caller's */
struct json_object *json(void);       /* got.json, parsed; the caller's */

/* A run with `n` records in the journal; `tags` JSON or NULL, `first`: the data of its first record. */
struct sl_run_id make_run(const char *workflow, const char *status, const char *tags, int n);
void make_run_with(struct sl_run_id id, const char *workflow, const char *status, const char *tags, int n,
		   const char *first);

int store_world_open(void **state); /* of a group: PostgreSQL and the store, alone on it */
int store_world_close(void **state);
int store_world_clean(void **state); /* before each test: empty tables */
#define STORE_TEST(f) cmocka_unit_test_setup(f, store_world_clean)
