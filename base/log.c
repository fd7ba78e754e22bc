/* base/log.c: see log.h. */
#include "base/log.h"

#include <stdatomic.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

static const char *const names[] = {"error", "warn", "info", "debug"};
static _Atomic int most = SL_LOG_INFO;
static enum sl_log_format format = SL_LOG_TEXT;
static int out_fd = 2;

void sl_log_setup(enum sl_level most_, enum sl_log_format format_, int fd)
{
	atomic_store(&most, (int)most_);
	format = format_;
	out_fd = fd;
}

bool sl_log_on(enum sl_level level)
{
	return (int)level <= atomic_load_explicit(&most, memory_order_relaxed);
}

bool sl_level_parse(struct sl_str text, enum sl_level *out)
{
	for (int i = 0; i < 4; i++)
		if (sl_str_is(text, names[i])) {
			*out = (enum sl_level)i;
			return true;
		}
	return false;
}

static void value(struct sl_buf *b, const struct sl_kv *kv)
{
	bool plain = kv->s.len > 0;
	switch (kv->kind) {
	case SL_KV_U64:
		sl_buf_addu(b, kv->u);
		break;
	case SL_KV_I64:
		sl_buf_addi(b, (int64_t)kv->u);
		break;
	case SL_KV_F64:
		sl_buf_addf(b, "%.6g", kv->f);
		break;
	case SL_KV_STR:
		for (size_t i = 0; i < kv->s.len && plain; i++)
			plain = (unsigned char)kv->s.p[i] > 0x20 && !strchr("\"\\=", kv->s.p[i]) &&
				(unsigned char)kv->s.p[i] < 0x7f;
		if (format == SL_LOG_TEXT && plain)
			sl_buf_add(b, kv->s.p, kv->s.len);
		else
			sl_buf_json_str(b, kv->s);
	}
}

void sl_log_write(enum sl_level level, const char *room, const char *sentence, const struct sl_kv *kvs, size_t n)
{
	char now[SL_TIME_TEXT_BYTES];
	SL_BUF(b, 16 * 1024);
	sl_time_format(sl_clock_wall_ms(), now);
	if (format == SL_LOG_JSON) {
		sl_buf_addc(&b, '{');
		sl_buf_json_kz(&b, "ts", now);
		sl_buf_json_kz(&b, "level", names[level]);
		sl_buf_json_kz(&b, "room", room);
		sl_buf_json_kz(&b, "msg", sentence);
		for (size_t i = 0; i < n; i++) {
			sl_buf_json_key(&b, kvs[i].key);
			value(&b, &kvs[i]);
		}
		sl_buf_adds(&b, "}\n");
	} else {
		sl_buf_addf(&b, "%s %-5s %s: %s", now, names[level], room, sentence);
		for (size_t i = 0; i < n; i++) {
			sl_buf_addf(&b, " %s=", kvs[i].key);
			value(&b, &kvs[i]);
		}
		sl_buf_addc(&b, '\n');
	}
	if (!b.failed && write(out_fd, b.data, b.len) < 0) { /* a full or closed log must not stop the server */
	}
}
