/* base/id.h: UUIDv7 (RFC 9562 §5.7), as structs of their own so that ids cannot be swapped.
 * Thread    [any]. Ids made by one process are strictly increasing (12 bits of counter under the millisecond).
 */
#pragma once

#include "base/str.h"

#define SL_UUID_TEXT_BYTES 37

struct sl_uuid {
	uint8_t b[16];
};
struct sl_run_id {
	struct sl_uuid u;
};

struct sl_uuid sl_uuid_new(void);
void sl_uuid_format(struct sl_uuid u, char out[SL_UUID_TEXT_BYTES]); /* lower case, NUL-terminated */
bool sl_uuid_parse(struct sl_str text, struct sl_uuid *out);         /* 8-4-4-4-12 hex, any case */
static inline bool sl_uuid_eq(struct sl_uuid a, struct sl_uuid b)
{
	return memcmp(a.b, b.b, 16) == 0;
}
static inline bool sl_run_id_eq(struct sl_run_id a, struct sl_run_id b)
{
	return sl_uuid_eq(a.u, b.u);
}
int64_t sl_uuid_wall_ms(struct sl_uuid u); /* the time inside a version 7 id */
