/* store/chunks.c: see chunks_priv.h. */
#include "store/chunks_priv.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "store/cdc.h"
#include "store/journal_priv.h"

/* ---- cutting ---- */

static bool cut_wanted(const struct sl_bytes *text)
{
	/* What begins like a list of pieces must not be taken for one, so it is cut however short it is. */
	return text && (text->len > SL_CHUNK_OVER || (text->len && text->data[0] == '['));
}

static bool cut_data_wanted(const struct sl_record *r)
{
	return cut_wanted(r->data) && strncmp(r->event, SL_CHUNK_NEVER, strlen(SL_CHUNK_NEVER)) != 0;
}

static bool any_wanted(const struct sl_batch *b)
{
	bool any = b->create && (cut_wanted(b->create->inputs) || cut_wanted(b->create->definition));
	for (size_t i = 0; !any && i < b->n_records; i++)
		any = cut_data_wanted(&b->records[i]) || cut_wanted(b->records[i].detail);
	return any;
}

static bool pieces_room(struct sl_cuts *c)
{
	if (c->n < c->cap)
		return true;
	uint32_t cap = c->cap ? c->cap * 2 : 32;
	void *hashes = realloc(c->hashes, cap * sizeof(*c->hashes));
	if (hashes)
		c->hashes = hashes;
	uint32_t *bytes = realloc(c->bytes, cap * sizeof(*bytes));
	if (bytes)
		c->bytes = bytes;
	if (!hashes || !bytes)
		return false;
	c->cap = cap;
	return true;
}

static bool cut(struct sl_cuts *c, const struct sl_bytes *text, struct sl_cut *out)
{
	*out = (struct sl_cut){.first = c->n};
	for (size_t at = 0; at < text->len; out->n++) {
		size_t len = sl_cdc_cut(text->data + at, text->len - at);
		if (!pieces_room(c))
			return false;
		crypto_generichash(c->hashes[c->n], SL_CHUNK_HASH_BYTES, (const unsigned char *)text->data + at, len,
				   NULL, 0);
		c->bytes[c->n++] = (uint32_t)len;
		at += len;
	}
	return true;
}

enum sl_code sl_cuts_make(const struct sl_batch *b, struct sl_cuts **out)
{
	if (!any_wanted(b))
		return SL_OK;
	SL_AUTO(sl_cuts) c = calloc(1, sizeof(*c) + (2 * b->n_records + 2) * sizeof(c->texts[0]));
	struct sl_cut *at = c ? c->texts : NULL;
	bool ok = c;
	if (ok && b->create) {
		ok = !cut_wanted(b->create->inputs) || cut(c, b->create->inputs, &at[0]);
		ok = ok && (!cut_wanted(b->create->definition) || cut(c, b->create->definition, &at[1]));
		at += 2;
	}
	for (size_t i = 0; ok && i < b->n_records; i++, at += 2) {
		const struct sl_record *r = &b->records[i];
		ok = !cut_data_wanted(r) || cut(c, r->data, &at[0]);
		ok = ok && (!cut_wanted(r->detail) || cut(c, r->detail, &at[1]));
	}
	if (!ok)
		return SL_NO_MEMORY;
	*out = SL_TAKE(c);
	return SL_OK;
}

void sl_cuts_free(struct sl_cuts *c)
{
	if (!c)
		return;
	free(c->hashes);
	free(c->bytes);
	free(c);
}

void sl_cut_write(struct sl_buf *b, const struct sl_cuts *c, struct sl_cut cut, size_t text_bytes)
{
	size_t raw = (size_t)cut.n * SL_CHUNK_HASH_BYTES,
	       room = sodium_base64_ENCODED_LEN(raw, sodium_base64_VARIANT_ORIGINAL);
	sl_buf_addf(b, "[%zu,\"", text_bytes);
	if (!sl_buf_reserve(b, room))
		return;
	sodium_bin2base64(b->data + b->len, room, c->hashes[cut.first], raw, sodium_base64_VARIANT_ORIGINAL);
	b->len += room - 1;
	sl_buf_adds(b, "\"]");
}

/* ---- what a lane knows to be written ---- */

#define SLOTS     16384 /* 900 KiB a lane that has ever cut something: the pieces of 60 MB of text */
#define COMMITTED UINT64_MAX

struct sl_known_slot {
	struct sl_run_id run;
	uint8_t hash[SL_CHUNK_HASH_BYTES];
	uint64_t epoch;
	uint64_t group; /* that sent it; COMMITTED; 0: free */
};

struct sl_known_sent {
	uint32_t slot, entry;
};

void sl_known_begin(struct sl_known *k)
{
	k->group++;
	k->n_sent = 0;
}

bool sl_known_wants(struct sl_known *k, struct sl_run_id run, uint64_t epoch, const uint8_t *hash, uint32_t entry)
{
	uint32_t at;
	if (!k->slots)
		k->slots = calloc(SLOTS, sizeof(*k->slots));
	if (!k->slots)
		return true;
	memcpy(&at, hash, sizeof(at));
	at = (at ^ run.u.b[15] ^ (uint32_t)run.u.b[14] << 8) % SLOTS;
	struct sl_known_slot *s = &k->slots[at];
	if (s->group && s->epoch == epoch && sl_run_id_eq(s->run, run) && memcmp(s->hash, hash, sizeof(s->hash)) == 0 &&
	    (s->group == COMMITTED || s->group == k->group))
		return false;
	if (k->n_sent == k->sent_cap) {
		size_t cap = k->sent_cap ? k->sent_cap * 2 : 256;
		struct sl_known_sent *sent = realloc(k->sent, cap * sizeof(*sent));
		if (!sent)
			return true;
		k->sent = sent;
		k->sent_cap = cap;
	}
	k->sent[k->n_sent++] = (struct sl_known_sent){.slot = at, .entry = entry};
	*s = (struct sl_known_slot){.run = run, .epoch = epoch, .group = k->group};
	memcpy(s->hash, hash, sizeof(s->hash));
	return true;
}

void sl_known_committed(struct sl_known *k, const struct sl_group *g)
{
	for (size_t i = 0; i < k->n_sent; i++) {
		const struct sl_entry *e = &g->entries[k->sent[i].entry];
		struct sl_known_slot *s = &k->slots[k->sent[i].slot];
		/* the slot may belong to a later piece of the group, of another entry */
		if (e->accepted && s->group == k->group && s->epoch == e->epoch && sl_run_id_eq(s->run, e->run))
			s->group = COMMITTED;
	}
	k->n_sent = 0;
}

void sl_known_fini(struct sl_known *k)
{
	free(k->slots);
	free(k->sent);
	*k = (struct sl_known){0};
}

/* ---- reading ---- */

void sl_pieces_init(struct sl_pieces *p, const PGresult *r)
{
	*p = (struct sl_pieces){.r = r, .seen = calloc((size_t)PQntuples(r) + 1, sizeof(bool))};
}

void sl_pieces_fini(struct sl_pieces *p)
{
	free(p->seen);
}

/* Whether the piece is what was written. */
static bool sound(struct sl_pieces *p, int row)
{
	uint8_t is[SL_CHUNK_HASH_BYTES];
	if (p->seen && p->seen[row])
		return true;
	crypto_generichash(is, sizeof(is), (const unsigned char *)PQgetvalue(p->r, row, 2),
			   (unsigned long long)PQgetlength(p->r, row, 2), NULL, 0);
	bool same = memcmp(is, PQgetvalue(p->r, row, 1), sizeof(is)) == 0; /* find_piece() saw that it is so long */
	if (p->seen)
		p->seen[row] = same;
	return same;
}

/* The row of a piece, -1: it is not there. */
static int find_piece(const PGresult *r, struct sl_run_id run, const uint8_t *hash)
{
	int low = 0, high = PQntuples(r);
	while (low < high) {
		int mid = low + (high - low) / 2;
		int d = memcmp(sl_row_uuid(r, mid, 0).b, run.u.b, sizeof(run.u.b));
		if (d == 0)
			d = PQgetlength(r, mid, 1) == SL_CHUNK_HASH_BYTES
				    ? memcmp(PQgetvalue(r, mid, 1), hash, SL_CHUNK_HASH_BYTES)
				    : -1;
		if (d == 0)
			return mid;
		if (d < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return -1;
}

/* Reads '[bytes,"hashes"]'. NULL: it is none, or no memory; *rc tells which. The caller frees. */
static uint8_t *read_list(struct sl_str text, size_t *text_bytes, size_t *n, enum sl_code *rc)
{
	struct sl_str number, list;
	int64_t bytes = 0;
	size_t raw = 0;
	*rc = SL_INTERNAL;
	if (!sl_str_cut(sl_str_n(text.p + 1, text.len - 1), ',', &number, &list) || !sl_str_i64(number, &bytes) ||
	    bytes < 0 || list.len < 3 || list.p[0] != '"' || memcmp(list.p + list.len - 2, "\"]", 2) != 0)
		return NULL;
	uint8_t *hashes = malloc(list.len);
	if (!hashes) {
		*rc = SL_NO_MEMORY;
		return NULL;
	}
	if (sodium_base642bin(hashes, list.len, list.p + 1, list.len - 3, NULL, &raw, NULL,
			      sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    raw % SL_CHUNK_HASH_BYTES) {
		free(hashes);
		return NULL;
	}
	*text_bytes = (size_t)bytes;
	*n = raw / SL_CHUNK_HASH_BYTES;
	*rc = SL_OK;
	return hashes;
}

static enum sl_code put_together(struct sl_str list, struct sl_pieces *p, struct sl_run_id run, struct sl_bytes **out)
{
	size_t bytes = 0, n = 0, sum = 0;
	enum sl_code rc;
	SL_AUTO(sl_bytes) text = NULL;
	uint8_t *hashes = read_list(list, &bytes, &n, &rc);
	/* Twice over the pieces: what the list says of the length is believed when the pieces say it, too. */
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		int row = find_piece(p->r, run, hashes + i * SL_CHUNK_HASH_BYTES);
		if (row < 0 || !sound(p, row))
			rc = SL_INTERNAL;
		else
			sum += (size_t)PQgetlength(p->r, row, 2);
	}
	if (rc == SL_OK && sum != bytes)
		rc = SL_INTERNAL;
	if (rc == SL_OK) {
		text = sl_bytes_alloc(bytes);
		rc = text ? SL_OK : SL_NO_MEMORY;
	}
	for (size_t i = 0, at = 0; rc == SL_OK && i < n; i++) {
		int row = find_piece(p->r, run, hashes + i * SL_CHUNK_HASH_BYTES);
		size_t len = (size_t)PQgetlength(p->r, row, 2);
		memcpy(text->data + at, PQgetvalue(p->r, row, 2), len);
		at += len;
	}
	free(hashes);
	if (rc == SL_OK)
		*out = SL_TAKE(text);
	return rc;
}

enum sl_code sl_text_read(const PGresult *r, int row, int col, struct sl_pieces *pieces, struct sl_run_id run,
			  int32_t seq, struct sl_bytes **out)
{
	*out = NULL;
	if (sl_row_null(r, row, col))
		return SL_OK;
	struct sl_str text = sl_row_str(r, row, col);
	if (!text.len || text.p[0] != '[') {
		*out = sl_row_bytes(r, row, col);
		return *out ? SL_OK : SL_NO_MEMORY;
	}
	enum sl_code rc = put_together(text, pieces, run, out);
	if (rc == SL_INTERNAL) {
		char id[SL_UUID_TEXT_BYTES];
		sl_uuid_format(run.u, id);
		sl_log(SL_LOG_ERROR, "store", "a piece of a journal record is missing or is not what was written",
		       SL_KS("run", id), SL_KI("seq", seq));
	}
	return rc;
}
