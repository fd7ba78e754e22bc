/* store/rows.c: reading binary results, and the small encodings around them. */
#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"

#define CURSOR_BYTES 256
#define PG_EPOCH_MS  946684800000 /* 2000-01-01 in ms since 1970; a timestamptz counts microseconds since then */

static uint64_t read_be(const char *p, int n)
{
	uint64_t v = 0;
	for (int i = 0; i < n; i++)
		v = v << 8 | (uint8_t)p[i];
	return v;
}

bool sl_row_null(const PGresult *r, int row, int col)
{
	return PQgetisnull(r, row, col);
}

int32_t sl_row_i32(const PGresult *r, int row, int col)
{
	return PQgetlength(r, row, col) == 4 ? (int32_t)read_be(PQgetvalue(r, row, col), 4) : 0;
}

int64_t sl_row_i64(const PGresult *r, int row, int col)
{
	return PQgetlength(r, row, col) == 8 ? (int64_t)read_be(PQgetvalue(r, row, col), 8) : 0;
}

bool sl_row_bool(const PGresult *r, int row, int col)
{
	return PQgetlength(r, row, col) == 1 && PQgetvalue(r, row, col)[0];
}

int64_t sl_row_ms(const PGresult *r, int row, int col)
{
	if (PQgetisnull(r, row, col))
		return 0;
	int64_t us = sl_row_i64(r, row, col);
	return (us >= 0 ? us / 1000 : -((-us + 999) / 1000)) + PG_EPOCH_MS;
}

int64_t sl_pg_time(int64_t wall_ms)
{
	return (wall_ms - PG_EPOCH_MS) * 1000;
}

struct sl_str sl_row_str(const PGresult *r, int row, int col)
{
	return sl_str_n(PQgetvalue(r, row, col), (size_t)PQgetlength(r, row, col));
}

struct sl_uuid sl_row_uuid(const PGresult *r, int row, int col)
{
	struct sl_uuid u = {0};
	if (PQgetlength(r, row, col) == 16)
		memcpy(u.b, PQgetvalue(r, row, col), 16);
	return u;
}

struct sl_bytes *sl_row_bytes(const PGresult *r, int row, int col)
{
	return PQgetisnull(r, row, col) ? NULL
					: sl_bytes_new(PQgetvalue(r, row, col), (size_t)PQgetlength(r, row, col));
}

void sl_row_json_str(struct sl_buf *b, const char *key, const PGresult *r, int row, int col)
{
	if (PQgetisnull(r, row, col))
		sl_buf_json_kz(b, key, NULL);
	else
		sl_buf_json_kstr(b, key, sl_row_str(r, row, col));
}

void sl_put_i32(char *p, int32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (char)((uint32_t)v >> (24 - 8 * i));
}

void sl_put_i64(char *p, int64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (char)((uint64_t)v >> (56 - 8 * i));
}

/* Hex keeps a cursor free of characters that a URL would change. */
bool sl_cursor_read(struct sl_str cursor, char *out, size_t out_bytes)
{
	size_t n = cursor.len / 2;
	if (cursor.len % 2 || n == 0 || n >= out_bytes)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned v = 0;
		for (size_t k = 0; k < 2; k++) {
			char ch = cursor.p[i * 2 + k];
			int digit = ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
			if (digit < 0)
				return false;
			v = v << 4 | (unsigned)digit;
		}
		if (v < 0x20)
			return false;
		out[i] = (char)v;
	}
	out[n] = 0;
	return true;
}

static void write_cursor(struct sl_buf *b, struct sl_str key)
{
	sl_buf_addc(b, '"');
	for (size_t i = 0; i < key.len; i++)
		sl_buf_addf(b, "%02x", (unsigned char)key.p[i]);
	sl_buf_addc(b, '"');
}

void sl_row_uuid_text(struct sl_buf *b, const PGresult *r, int row)
{
	char id[SL_UUID_TEXT_BYTES];
	sl_uuid_format(sl_row_uuid(r, row, 0), id);
	sl_buf_adds(b, id);
}

void sl_job_end_page(struct sl_job *j, enum sl_code rc, sl_row_writer *item, sl_row_writer *key)
{
	const PGresult *r = j->results[0];
	int n = rc == SL_OK ? PQntuples(r) : 0, limit = (int)j->number;
	SL_BUF(b, SL_LIMIT_RUN_BYTES);
	sl_buf_adds(&b, "{\"items\":[");
	for (int i = 0; i < n && i < limit; i++) {
		sl_buf_adds(&b, i ? ",{" : "{");
		item(&b, r, i);
		sl_buf_addc(&b, '}');
	}
	sl_buf_adds(&b, "],\"next_cursor\":");
	if (n > limit) {
		SL_BUF(last, CURSOR_BYTES);
		key(&last, r, limit - 1);
		write_cursor(&b, sl_buf_str(&last));
	} else {
		sl_buf_adds(&b, "null");
	}
	sl_buf_addc(&b, '}');
	sl_job_end_json(j, rc, &b);
}
