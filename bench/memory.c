/* bench/memory.c: searches of memory. Prints one JSON line a measurement.
 *
 *   memory vectors ROWS DIMS QUERIES       exact nearest ten in the process: ours, and a plain AVX2 scan over floats in
 * one array, turn by turn, with the results compared memory fill URL ROWS DIMS              a project of so many
 * long-term memories with vectors (SQL, once) memory search URL SIM_URL QUERIES      what a search takes through the
 * memory room: text alone, and with vectors
 */
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <curl/curl.h>
#include <libpq-fe.h>
#include <sodium.h>

#include "base/clock.h"
#include "base/json.h"
#include "llm/chat.h"
#include "llm/profile.h"
#include "memory/memory.h"
#include "memory/vectors.h"
#include "store/store.h"

#define K 10

static uint64_t seed = 42;

static float noise(void) /* near enough to normal */
{
	float sum = 0;
	for (int i = 0; i < 4; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		sum += (float)(seed >> 40) / (float)(1 << 24) - 0.5f;
	}
	return sum;
}

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Of this thread: what a scan costs, whoever else wants the processor meanwhile. */
static double cpu_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void report(const char *what, const char *how, size_t rows, double *ms, size_t n, const char *more)
{
	qsort(ms, n, sizeof(*ms), by_value);
	printf("{\"what\":\"%s\",\"how\":\"%s\",\"rows\":%zu,\"n\":%zu,\"min_ms\":%.3f,\"p50_ms\":%.3f,\"p90_ms\":%.3f,"
	       "\"max_ms\":%.3f%s}\n",
	       what, how, rows, n, ms[0], ms[n / 2], ms[n * 9 / 10], ms[n - 1], more);
}

/* ---- vectors ---- */

struct hit {
	float score;
	size_t row;
};

__attribute__((target("avx2,fma"))) static float dot(const float *a, const float *b, size_t dims)
{
	__m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
	for (size_t i = 0; i < dims; i += 32) {
		s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
		s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
		s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
		s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
	}
	__m256 all = _mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3));
	__m128 four = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
	__m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
	return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static void plain_scan(const float *all, size_t rows, size_t dims, const float *q, struct hit top[K])
{
	size_t n = 0;
	for (size_t r = 0; r < rows; r++) {
		float s = dot(all + r * dims, q, dims);
		if (n == K && s <= top[K - 1].score)
			continue;
		size_t i = n < K ? n++ : K - 1;
		for (; i && top[i - 1].score < s; i--)
			top[i] = top[i - 1];
		top[i] = (struct hit){s, r};
	}
}

static void to_unit(float *x, size_t dims)
{
	double sum = 0;
	for (size_t i = 0; i < dims; i++)
		sum += (double)x[i] * x[i];
	for (size_t i = 0; i < dims; i++)
		x[i] = (float)(x[i] / sqrt(sum));
}

/* As embeddings are: around a few hundred topics. */
static void topical(float *x, size_t dims, const float *centres, size_t n_centres)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	const float *c = centres + (size_t)((seed >> 33) % n_centres) * dims;
	for (size_t i = 0; i < dims; i++)
		x[i] = c[i] + noise();
	to_unit(x, dims);
}

static int vectors(size_t rows, uint32_t dims, size_t queries)
{
	enum { TOPICS = 300 };
	struct sl_vectors *v = NULL;
	float *all = aligned_alloc(64, rows * dims * sizeof(float)), *centres = malloc(TOPICS * dims * sizeof(float));
	float *q = aligned_alloc(64, dims * sizeof(float));
	double *ours = calloc(queries, sizeof(double)), *plain = calloc(queries, sizeof(double));
	size_t different = 0;
	if (dims % 32 || !all || !centres || !q || !ours || !plain ||
	    sl_vectors_new(dims, SL_VECTORS_BEST, &v) != SL_OK)
		return 1;
	for (size_t i = 0; i < TOPICS * dims; i++)
		centres[i] = noise();
	double t = now_ms();
	for (size_t r = 0; r < rows; r++) {
		struct sl_uuid id = {0};
		topical(all + r * dims, dims, centres, TOPICS);
		memcpy(id.b, &r, sizeof(r));
		if (sl_vectors_put(v, id, 0, all + r * dims) != SL_OK)
			return 1;
	}
	fprintf(stderr, "filled in %.0f ms\n", now_ms() - t);
	for (size_t i = 0; i < queries; i++) {
		struct hit top[K];
		struct sl_vector_hit hits[K];
		topical(q, dims, centres, TOPICS);
		t = cpu_ms();
		size_t n = sl_vectors_search(v, q, K, hits);
		ours[i] = cpu_ms() - t;
		t = cpu_ms();
		plain_scan(all, rows, dims, q, top);
		plain[i] = cpu_ms() - t;
		for (size_t k = 0; k < K; k++) {
			size_t row;
			memcpy(&row, hits[k].id.b, sizeof(row));
			/* unit length is computed anew on our side, so a last bit may differ; places may not, but for
			 * ties */
			different += n != K || (row != top[k].row && fabsf(hits[k].score - top[k].score) > 1e-6f);
		}
	}
	char more[100];
	snprintf(more, sizeof(more), ",\"dims\":%u,\"different\":%zu,\"bytes\":%zu", dims, different,
		 sl_vectors_bytes(v));
	report("vectors", "ours", rows, ours, queries, more);
	snprintf(more, sizeof(more), ",\"dims\":%u", dims);
	report("vectors", "plain AVX2 float scan", rows, plain, queries, more);
	sl_vectors_free(v);
	return different != 0;
}

/* ---- searches ---- */

static bool sql(PGconn *c, const char *text)
{
	PGresult *r = PQexec(c, text);
	bool ok = PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;
	if (!ok)
		fprintf(stderr, "%s\n", PQerrorMessage(c));
	PQclear(r);
	return ok;
}

enum { WORDS = 20000, WORDS_EACH = 25 };

/* Word n of a made-up language; common ones often: what falls with the cube of a random number. */
static void text_of(char *out)
{
	static const char syllables[] = "bakedimofunaporilesotuwexyzi";
	size_t at = 0;
	for (int k = 0; k < WORDS_EACH; k++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		double r = (double)(seed >> 11) / (double)(1ull << 53);
		unsigned n = (unsigned)(WORDS * r * r * r) * 37 + 11;
		if (k)
			out[at++] = ' ';
		for (int i = 0; i < 4; i++, n /= 14) {
			memcpy(out + at, syllables + 2 * ((n + (unsigned)i * 5) % 14), 2);
			at += 2;
		}
	}
	out[at] = 0;
}

struct memory {
	char id[SL_UUID_TEXT_BYTES], text[300], hash[65];
};

static bool copy(PGconn *c, const char *into, size_t rows, size_t (*line)(char *out, size_t row, const void *arg),
		 const void *arg)
{
	static char text[200 + SL_VECTORS_DIMS * 8];
	bool ok = true;
	PQclear(PQexec(c, into));
	for (size_t i = 0; ok && i < rows; i++)
		ok = PQputCopyData(c, text, (int)line(text, i, arg)) == 1;
	ok = PQputCopyEnd(c, NULL) == 1 && ok;
	for (PGresult *r; (r = PQgetResult(c)); PQclear(r))
		ok = ok && PQresultStatus(r) == PGRES_COMMAND_OK;
	if (!ok)
		fprintf(stderr, "%s\n", PQerrorMessage(c));
	return ok;
}

static size_t memory_line(char *out, size_t row, const void *arg)
{
	const struct memory *m = (const struct memory *)arg + row;
	return (size_t)snprintf(out, 1000, "%s\tlong_term\tbench\t%s\t\\\\x%s\t%zu\t1\t{}\n", m->id, m->text, m->hash,
				row);
}

static size_t chunk_line(char *out, size_t row, const void *arg)
{
	const struct memory *m = (const struct memory *)arg + row;
	return (size_t)snprintf(out, 1000, "%s\t0\tbench\t1\t\\\\x%s\t%s\n", m->id, m->hash, m->text);
}

static uint32_t vector_dims;

static size_t vector_line(char *out, size_t row, const void *arg)
{
	static const char hex[] = "0123456789abcdef";
	const struct memory *m = (const struct memory *)arg + row;
	size_t at = (size_t)snprintf(out, 200, "openai-compatible/bench\t\\\\x%s\t%u\t\\\\x", m->hash, vector_dims);
	for (uint32_t k = 0; k < vector_dims; k++) {
		float x = noise();
		unsigned char b[4];
		memcpy(b, &x, 4);
		for (int i = 0; i < 4; i++) {
			out[at++] = hex[b[i] >> 4];
			out[at++] = hex[b[i] & 15];
		}
	}
	out[at++] = '\n';
	return at;
}

static int fill(const char *url, size_t rows, uint32_t dims)
{
	PGconn *c = PQconnectdb(url);
	struct memory *all = calloc(rows, sizeof(*all));
	if (PQstatus(c) != CONNECTION_OK || !all)
		return 1;
	vector_dims = dims;
	for (size_t i = 0; i < rows; i++) {
		unsigned char hash[32];
		text_of(all[i].text);
		sl_uuid_format(sl_uuid_new(), all[i].id);
		crypto_hash_sha256(hash, (const unsigned char *)all[i].text, strlen(all[i].text));
		sodium_bin2hex(all[i].hash, sizeof(all[i].hash), hash, sizeof(hash));
	}
	bool ok = sql(c, "SET sluice.transition = 'on'; INSERT INTO memory_projects VALUES ('bench', 1)") &&
		  copy(c, "COPY memories (id, tier, project, content, hash, simhash, confidence, metadata) FROM STDIN",
		       rows, memory_line, all) &&
		  copy(c, "COPY memory_chunks (memory_id, n, project, version, hash, content) FROM STDIN", rows,
		       chunk_line, all) &&
		  copy(c, "COPY embeddings (model, hash, dims, vector) FROM STDIN", rows, vector_line, all) &&
		  sql(c, "INSERT INTO memory_words SELECT DISTINCT 'bench', w FROM memories_long_term, "
			 "regexp_split_to_table(content, "
			 "' ') AS t(w)") &&
		  sql(c, "VACUUM ANALYZE");
	PQfinish(c);
	free(all);
	printf("{\"what\":\"fill\",\"rows\":%zu}\n", rows);
	return ok ? 0 : 1;
}

static struct {
	pthread_mutex_t lock;
	pthread_cond_t came;
	bool here;
	enum sl_code rc;
	size_t items;
	char degraded[40];
} got = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};

static void on_found(void *arg, enum sl_code rc, const struct sl_error *err, struct sl_bytes *json)
{
	struct json_object *o = NULL;
	if (rc == SL_OK)
		SL_IGNORE(sl_json_parse(sl_bytes_str(json), &o, NULL)); /* then nothing was found */
	pthread_mutex_lock(&got.lock);
	got.rc = rc;
	got.items = o ? json_object_array_length(sl_json_get(o, "items")) : 0;
	snprintf(got.degraded, sizeof(got.degraded), "%s",
		 sl_json_get_z(o, "degraded") ? sl_json_get_z(o, "degraded") : "");
	got.here = true;
	pthread_cond_signal(&got.came);
	pthread_mutex_unlock(&got.lock);
	json_object_put(o);
}

static double search_once(struct sl_memory *m, const char *query)
{
	const struct sl_memory_search q = {
		.project = SL_STR("bench"), .query = sl_str(query), .max_results = 5, .timeout_ms = 60000};
	double t = now_ms();
	got.here = false;
	if (sl_memory_search(m, &q, on_found, NULL) != SL_OK)
		return -1;
	pthread_mutex_lock(&got.lock);
	while (!got.here)
		pthread_cond_wait(&got.came, &got.lock);
	pthread_mutex_unlock(&got.lock);
	return now_ms() - t;
}

static int search(const char *url, const char *sim, size_t queries)
{
	static const uint8_t secret[SL_SECRET_KEY_BYTES] = {1};
	struct sl_store_config store_config;
	struct sl_error err = {0};
	struct sl_store *store = NULL;
	struct sl_profiles *profiles = NULL;
	struct sl_llm *llm = NULL;
	int rc = 0;
	PGconn *c = PQconnectdb(url);
	PGresult *texts = PQexec(c, "SELECT content, (SELECT count(*) FROM memories_long_term) FROM memories_long_term "
				    "TABLESAMPLE SYSTEM (1) "
				    "LIMIT 1000");
	size_t n = (size_t)PQntuples(texts), rows = n ? strtoull(PQgetvalue(texts, 0, 1), NULL, 10) : 0;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	sl_store_config_init(&store_config);
	store_config.url = url;
	store_config.retention_days = 0;
	if (!n || sl_store_open(&store_config, &store, &err) != SL_OK || sl_store_wait(store, 20000, &err) != SL_OK ||
	    sl_profiles_new(secret, &profiles) != SL_OK)
		return 1;
	const struct sl_llm_config llm_config = {.profiles = profiles};
	if (sl_llm_new(&llm_config, &llm, &err) != SL_OK)
		return 1;
	for (int with = 0; with < 2; with++) {
		struct sl_memory *m = NULL;
		if (with) {
			char body[400];
			struct sl_profile_row row = {0};
			struct json_object *o = NULL;
			snprintf(body, sizeof(body),
				 "{\"provider\":\"openai-compatible\",\"kind\":\"embedding\",\"model\":\"bench\","
				 "\"base_url\":\"%s\"}",
				 sim);
			if (sl_json_parse(sl_str(body), &o, NULL) != SL_OK ||
			    sl_profiles_put(profiles, SL_STR("bench"), o, &row, NULL, &err) != SL_OK)
				return 1;
			json_object_put(o);
			sl_profile_row_fini(&row);
		}
		const struct sl_memory_config config = {.store = store, .llm = llm, .embed_timeout_ms = 30000};
		if (sl_memory_new(&config, &m, &err) != SL_OK)
			return 1;
		double first = search_once(m, "loads whatever it needs");
		for (int tries = 0; with && tries < 100 && strcmp(got.degraded, "vectors_loading") == 0; tries++)
			first += search_once(m, "loads whatever it needs");
		static const int lengths[] = {2, 3, 12};
		for (size_t l = 0; l < SL_COUNT_OF(lengths); l++) {
			double *ms = calloc(queries, sizeof(double));
			size_t found = 0, degraded = 0;
			for (size_t i = 0; i < queries; i++) {
				/* words of a memory, a few letters of them wrong in every third query */
				char query[600];
				int words = 0;
				snprintf(query, sizeof(query), "%s", PQgetvalue(texts, (int)(i * 7 % n), 0));
				for (char *p = query; *p; p++)
					if (*p == ' ' && ++words == lengths[l])
						*p-- = 0, p += strlen(p) - 1;
				if (i % 3 == 0)
					query[3] = 'q';
				if (with) /* the vector of a query that was asked before costs nothing; half of them
					     were */
					search_once(m, query);
				ms[i] = search_once(m, query);
				found += got.items > 0;
				degraded += got.degraded[0] != 0;
				rc |= got.rc != SL_OK;
			}
			char more[160], how[60];
			snprintf(how, sizeof(how), "%s, %d words", with ? "text and vectors" : "text", lengths[l]);
			snprintf(more, sizeof(more), ",\"found\":%zu,\"degraded\":%zu,\"first_ms\":%.1f", found,
				 degraded, first);
			report("search", how, rows, ms, queries, more);
			fflush(stdout);
			free(ms);
		}
		if (with)
			sl_llm_stop(llm);
		sl_memory_free(m);
	}
	sl_store_close(store, 1000);
	sl_llm_free(llm);
	sl_profiles_free(profiles);
	PQclear(texts);
	PQfinish(c);
	return rc;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "vectors") == 0)
		return vectors(strtoull(argv[2], NULL, 10), (uint32_t)strtoul(argv[3], NULL, 10),
			       strtoull(argv[4], NULL, 10));
	if (argc == 5 && strcmp(argv[1], "fill") == 0)
		return fill(argv[2], strtoull(argv[3], NULL, 10), (uint32_t)strtoul(argv[4], NULL, 10));
	if (argc == 5 && strcmp(argv[1], "search") == 0)
		return search(argv[2], argv[3], strtoull(argv[4], NULL, 10));
	fprintf(stderr, "usage: memory vectors ROWS DIMS QUERIES | fill URL ROWS DIMS | search URL SIM_URL QUERIES\n");
	return 2;
}
