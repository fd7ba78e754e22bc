/* llm/profile_priv.h: what the files of the profiles share. */
#pragma once

#include <pthread.h>

#include "llm/profile.h"
#include "llm/provider.h"

struct sl_sealed_key {
	char *sealed;
	char last4[5]; /* "" when the key is too short to show any of it */
};

struct sl_profiles {
	pthread_mutex_t lock;
	struct sl_profile **items; /* [lock] by name, a stored one before another of the same name */
	size_t n, cap;
	uint8_t *secret; /* guarded memory */
};

struct sl_profile *sl_profile_new(struct sl_str name);                          /* with defaults; NULL: no memory */
enum sl_code sl_profile_publish(struct sl_profiles *p, struct sl_profile *one); /* takes it, also on failure */
enum sl_code sl_profile_add_key(struct sl_profiles *p, struct sl_profile *one, struct sl_str key);

/* Reads a body into `one`; problems as sl_profiles_put(). api_keys are not looked at but for their type. */
enum sl_code sl_profile_read(struct sl_profile *one, struct json_object *body, struct sl_buf *problems,
			     struct sl_error *err);
void sl_profile_write_body(const struct sl_profile *one,
			   struct sl_buf *out); /* the members a PUT takes, without keys */
bool sl_profile_name_ok(struct sl_str name);
