/* base/log.h: structured log lines to standard error, as text for people or JSON for machines.
 *
 * Thread    [any]; a line is one write(2).
 * Levels    error: someone must act · warn: coped, and how · info: what an operator follows · debug: the rest.
 * Keys and prompts never reach a level above debug; API keys reach none.
 *
 *     sl_log(SL_LOG_WARN, "llm", "provider answered late", SL_KU("waited_ms", ms), SL_KS("profile", name));
 */
#pragma once

#include "base/str.h"

enum sl_level { SL_LOG_ERROR, SL_LOG_WARN, SL_LOG_INFO, SL_LOG_DEBUG };
enum sl_log_format { SL_LOG_TEXT, SL_LOG_JSON };

struct sl_kv {
	const char *key;
	enum { SL_KV_STR, SL_KV_U64, SL_KV_I64, SL_KV_F64 } kind;
	struct sl_str s;
	uint64_t u;
	double f;
};
#define SL_KS(k, z)   ((struct sl_kv){.key = (k), .kind = SL_KV_STR, .s = sl_str(z)})
#define SL_KSTR(k, v) ((struct sl_kv){.key = (k), .kind = SL_KV_STR, .s = (v)})
#define SL_KU(k, v)   ((struct sl_kv){.key = (k), .kind = SL_KV_U64, .u = (uint64_t)(v)})
#define SL_KI(k, v)   ((struct sl_kv){.key = (k), .kind = SL_KV_I64, .u = (uint64_t)(int64_t)(v)})
#define SL_KF(k, v)   ((struct sl_kv){.key = (k), .kind = SL_KV_F64, .f = (v)})

/* `room` and `sentence` are constants; control characters in values are escaped, so nothing can forge a line. */
#define sl_log(level, room, sentence, ...)                                                                             \
	do {                                                                                                           \
		if (sl_log_on(level)) {                                                                                \
			const struct sl_kv sl_kvs_[] = {{0}, ##__VA_ARGS__};                                           \
			sl_log_write(level, room, sentence, sl_kvs_ + 1, SL_LOG_COUNT_(sl_kvs_) - 1);                  \
		}                                                                                                      \
	} while (0)
#define SL_LOG_COUNT_(a) (sizeof(a) / sizeof((a)[0]))

void sl_log_setup(enum sl_level most, enum sl_log_format format, int fd); /* before threads start; fd 2 is usual */
bool sl_log_on(enum sl_level level);
void sl_log_write(enum sl_level level, const char *room, const char *sentence, const struct sl_kv *kvs, size_t n);
bool sl_level_parse(struct sl_str text, enum sl_level *out);
