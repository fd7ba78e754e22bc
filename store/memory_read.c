/* store/memory_read.c: what retrieval and embedding read. Every retrieval is one transaction that first becomes the
 * retrieval role (for itself only) and names its project; the views show nothing else.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "store/memory_priv.h"

#define QUERY_BYTES    2000 /* of a query that are looked for as words */
#define TRIGRAM_WORDS  3    /* of it that are compared letter by letter, if they are so long */
#define TRIGRAM_LEAST  4
#define TRIGRAM_BYTES  64      /* one of them; what is longer is no word */
#define CONTENT_CHARS  "16000" /* of a memory that a retrieval gives */
#define ALL_WORDS_MOST "500"   /* rows ranked that have all words, and any word: ranking costs by the row */
#define ANY_WORD_MOST  "2000"
#define MEANT_MOST     "6"
#define TRIGRAMS_MOST  "300"
#define NEWEST_MOST    200 /* rows looked at by letters where there is no pg_trgm */

/* The first statement of each job here. */
static struct sl_job *door(struct sl_store *s, const struct sl_memory_rights *rights, struct sl_str project,
			   sl_job_fn *finish)
{
#define TELL   "SELECT set_config('sluice.door', 'retrieval', true), set_config('sluice.project', $1, true)"
#define TYPOS  ", set_config('pg_trgm.similarity_threshold', '0.45', true)" /* one slip in a word of six */
#define BECOME ", set_config('role', 'sluice_retrieval', true)"
	static const char *const doors[2][2] = {{TELL, TELL TYPOS}, {TELL BECOME, TELL TYPOS BECOME}};
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, doors[rights->role][rights->trigrams], finish);
	if (j)
		sl_job_str(j, project);
	return j;
}

static void candidates_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_memory_candidates_fn *fn = (sl_store_memory_candidates_fn *)j->fn;
	const PGresult *r = j->results[1];
	size_t n = rc == SL_OK ? (size_t)PQntuples(r) : 0, kept = 0;
	struct sl_memory_candidate *items = calloc(n + 1, sizeof(*items));
	int64_t version = rc == SL_OK && PQntuples(j->results[2]) ? sl_row_i64(j->results[2], 0, 0) : 0;
	if (!items && rc == SL_OK)
		rc = SL_NO_MEMORY;
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		int32_t leg = sl_row_i32(r, (int)i, 1);
		if (leg >= 0 && leg < SL_MEMORY_LEGS)
			items[kept++] =
				(struct sl_memory_candidate){sl_row_uuid(r, (int)i, 0), (enum sl_memory_leg)leg};
	}
	fn(j->arg, rc, items, kept, version);
	free(items);
}

static void conditions(struct sl_buf *b, const struct sl_memory_query *q)
{
	if (q->working != q->long_term)
		sl_buf_adds(b, q->working ? " AND tier = 'working'" : " AND tier = 'long_term'");
	if (q->since_ms)
		sl_buf_adds(b, " AND created_at >= $1::timestamptz");
	else
		sl_buf_adds(b, " AND $1::timestamptz IS NULL"); /* one shape of parameters */
}

/* The longest words of a query: the ones worth being looked for letter by letter. Without a long one: all of it. */
static void longest_words(struct sl_str text, struct sl_str out[TRIGRAM_WORDS])
{
	for (int i = 0; i < TRIGRAM_WORDS; i++)
		out[i] = sl_str_n(text.p, sl_utf8_cut(text.p, text.len, TRIGRAM_BYTES));
	size_t least[TRIGRAM_WORDS] = {0}, n = 0;
	for (size_t at = 0; at < text.len;) {
		size_t begin = at;
		while (at < text.len &&
		       ((unsigned)((text.p[at] | 0x20) - 'a') < 26 || (unsigned char)text.p[at] >= 0x80))
			at++;
		size_t len = at - begin;
		at += len == 0;
		if (len < TRIGRAM_LEAST || len > TRIGRAM_BYTES)
			continue;
		size_t i = n < TRIGRAM_WORDS ? n++ : TRIGRAM_WORDS;
		for (size_t k = 0; i == TRIGRAM_WORDS && k < TRIGRAM_WORDS; k++)
			if (least[k] < len)
				i = k;
		if (i < TRIGRAM_WORDS) {
			out[i] = sl_str_n(text.p + begin, len);
			least[i] = len;
		}
	}
	for (size_t i = n; n && i < TRIGRAM_WORDS; i++)
		out[i] = out[0];
}

enum sl_code sl_store_memory_candidates(struct sl_store *s, const struct sl_memory_query *q,
					sl_store_memory_candidates_fn *fn, void *arg)
{
	static const char all[] = "plainto_tsquery('english', $2::text)";
	/* A lexeme may hold an ampersand; it then becomes another lexeme, which finds nothing, and no other query. */
	static const char any[] = "replace(plainto_tsquery('english', $2::text)::text, '&', '|')::tsquery";
	static const char meant[] =
		"(SELECT string_agg(plainto_tsquery('english', word)::text, ' | ')::tsquery FROM (SELECT word FROM "
		"memory_retrievable_words WHERE (word % $3::text OR word % $4::text OR word % $5::text) AND word <> "
		"ALL "
		"(ARRAY[lower($3), "
		"lower($4), lower($5)]) ORDER BY greatest(similarity(word, $3), similarity(word, $4), similarity(word, "
		"$5)) DESC, "
		"word LIMIT " MEANT_MOST ") m)";
	struct sl_str text = q->text;
	struct sl_job *j = door(s, q->rights, q->project, candidates_done);
	if (!j)
		return SL_NO_MEMORY;
	struct sl_buf *b = &j->text;
	size_t words = sl_utf8_cut(text.p, text.len, QUERY_BYTES);
	struct sl_str letters[TRIGRAM_WORDS];
	longest_words(sl_str_n(text.p, words), letters);
	uint32_t hot = text.len ? q->hot : q->each;
	sl_buf_addf(b, "(SELECT id, %d AS leg FROM memory_retrievable WHERE true", SL_MEMORY_HOT);
	if (text.len)
		sl_buf_adds(b, " AND tier = 'working'");
	conditions(b, q);
	sl_buf_addf(b,
		    " AND $2::text IS NOT NULL AND $3::text || $4::text || $5::text IS NOT NULL ORDER BY created_at "
		    "DESC, id DESC LIMIT %u)",
		    hot);
	if (text.len) {
		sl_buf_addf(b,
			    " UNION ALL (SELECT id, %d FROM (SELECT id, max(rank) AS rank FROM ("
			    "SELECT id, 1 + ts_rank_cd(words, %s) AS rank FROM (SELECT id, words FROM "
			    "memory_retrievable WHERE "
			    "words @@ %s",
			    SL_MEMORY_WORDS, all, all);
		conditions(b, q);
		sl_buf_addf(b,
			    " LIMIT " ALL_WORDS_MOST
			    ") x UNION ALL SELECT id, ts_rank(words, %s) FROM (SELECT id, words FROM "
			    "memory_retrievable WHERE words @@ %s",
			    any, any);
		conditions(b, q);
		sl_buf_addf(b, " LIMIT " ANY_WORD_MOST ") y) z GROUP BY id) w ORDER BY rank DESC, id DESC LIMIT %u)",
			    q->each);
		if (q->rights->trigrams) {
			/* Which words were meant, then the memories that have these. */
			sl_buf_addf(b,
				    " UNION ALL (SELECT id, %d FROM (SELECT id, words FROM memory_retrievable WHERE "
				    "words @@ %s",
				    SL_MEMORY_TRIGRAMS, meant);
			conditions(b, q);
			sl_buf_addf(b,
				    " LIMIT " TRIGRAMS_MOST ") t ORDER BY ts_rank(words, %s) DESC, id DESC LIMIT %u)",
				    meant, q->each);
		} else {
			sl_buf_addf(b, " UNION ALL (SELECT id, %d FROM memory_retrievable WHERE true",
				    SL_MEMORY_TRIGRAMS);
			conditions(b, q);
			sl_buf_addf(b, " ORDER BY created_at DESC, id DESC LIMIT %u)", NEWEST_MOST);
		}
	}
	sl_job_statement(j, b->data ? b->data : "");
	sl_job_ms(j, q->since_ms);
	sl_job_str(j, sl_str_n(text.p, words));
	for (int i = 0; i < TRIGRAM_WORDS; i++)
		sl_job_str(j, letters[i]);
	sl_job_statement(j, "SELECT coalesce((SELECT version FROM memory_projects WHERE project = $1), 0)");
	sl_job_str(j, q->project);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_memory_fetch(struct sl_store *s, const struct sl_memory_query *q, struct sl_str ids,
				   sl_store_memory_rows_fn *fn, void *arg)
{
	struct sl_job *j = door(s, q->rights, q->project, sl_memory_rows_end);
	if (!j)
		return SL_NO_MEMORY;
	sl_buf_adds(&j->text, "SELECT id, tier, left(content, " CONTENT_CHARS
			      "), 0::bigint, verified, (confidence * 1000)::integer, "
			      "created_at, expires_at, reuse_count, run_id, metadata FROM memory_retrievable "
			      "WHERE id = ANY (string_to_array($2, ',')::uuid[])");
	conditions(&j->text, q);
	sl_job_statement(j, j->text.data ? j->text.data : "");
	sl_job_ms(j, q->since_ms);
	sl_job_str(j, ids);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void vectors_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_memory_vectors_fn *fn = (sl_store_memory_vectors_fn *)j->fn;
	const PGresult *r = j->results[1];
	size_t n = rc == SL_OK ? (size_t)PQntuples(r) : 0;
	struct sl_memory_vector *items = calloc(n + 1, sizeof(*items));
	if (!items && rc == SL_OK)
		rc = SL_NO_MEMORY;
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		items[i] = (struct sl_memory_vector){
			sl_row_uuid(r, (int)i, 0),
			(uint32_t)sl_row_i32(r, (int)i, 1),
			sl_row_str(r, (int)i, 2),
			(uint32_t)sl_row_i32(r, (int)i, 3),
		};
		if (items[i].vector.len != (size_t)items[i].dims * 4) /* our own rows are input, too */
			items[i].dims = 0;
	}
	fn(j->arg, rc, items, rc == SL_OK ? n : 0);
	free(items);
}

enum sl_code sl_store_memory_vectors(struct sl_store *s, const struct sl_memory_rights *rights, struct sl_str project,
				     struct sl_str model, int64_t since, struct sl_uuid after, int32_t after_n,
				     uint32_t limit, sl_store_memory_vectors_fn *fn, void *arg)
{
	struct sl_job *j = door(s, rights, project, vectors_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_statement(
		j, "SELECT c.memory_id, c.n, e.vector, e.dims FROM memory_retrievable_chunks c "
		   "JOIN embeddings e ON e.model = $1 AND e.hash = c.hash WHERE c.version > $2::bigint "
		   "AND (c.memory_id, c.n) < ($3, $4::integer) ORDER BY c.memory_id DESC, c.n DESC LIMIT $5::integer");
	sl_job_str(j, model);
	sl_job_i64(j, since);
	sl_job_uuid(j, after);
	sl_job_i64(j, after_n);
	sl_job_i64(j, limit);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_memory_unembedded(struct sl_store *s, struct sl_str model, uint32_t limit,
					sl_store_memory_rows_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_READ,
		"SELECT c.memory_id, 'long_term'::text, c.content, 0::bigint FROM memory_chunks c WHERE NOT EXISTS "
		"(SELECT FROM "
		"embeddings e WHERE e.model = $1 AND e.hash = c.hash) ORDER BY c.memory_id, c.n LIMIT $2::integer",
		sl_memory_rows_end);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, model);
	sl_job_i64(j, limit);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_memory_embed(struct sl_store *s, struct sl_str model, uint32_t dims, struct sl_str hashes,
				   struct sl_str vectors, sl_store_fn *fn, void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_IDEMPOTENT, "SELECT sluice_memory_embed($1, $2::integer, $3::bytea, $4::bytea)",
			   sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, model);
	sl_job_i64(j, dims);
	sl_job_bytea(j, hashes.p, hashes.len);
	sl_job_bytea(j, vectors.p, vectors.len);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}
