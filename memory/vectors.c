/* memory/vectors.c: see vectors.h. Vectors lie in blocks, so growing copies nothing; a dropped one is replaced by the
 * last.
 *
 * The bound: x = x' + e, where x' is what the bytes stand for, and |e| is kept with x; likewise y = y' + f for the
 * query. Then x·y - x'·y' = x'·f + e·y, so it is at most |x'||f| + |e||y|, and |x'| <= 1 + |e|. SLACK covers the
 * rounding of the float sum itself, which is less than dims * 2^-24 for unit vectors. */
#include "memory/vectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_AVX2 1
#else
#define HAVE_AVX2 0
#endif

#define BLOCK_ROWS 1024
#define SLAB_BLOCKS                                                                                                    \
	16 /* beyond so many blocks, the bytes of so many lie together, in large pages: a quarter faster               \
	    */
#define SLAB_ALIGN (2u << 20)
#define LANES      32

struct key {
	struct sl_uuid id;
	uint32_t n;
};

struct block {
	float *floats; /* BLOCK_ROWS * stride */
	int8_t *bytes; /* likewise; of its own, or a part of a slab */
	int8_t *owned; /* what is to be freed: the bytes, or the slab that begins here; NULL: an earlier block's */
	float *scale;  /* of the bytes */
	float *lost;   /* length of what the bytes do not say */
	struct key *keys;
};

struct sl_vectors {
	uint32_t dims, stride; /* stride: dims in whole LANES, the rest is 0 */
	bool simd;
	struct block *blocks;
	size_t n_blocks, cap_blocks, n;
	uint32_t *table; /* row + 1 by key, open addressing; 0: free */
	size_t table_size;
};

/* ---- sums ---- */

static float sum_scalar(const float *a, const float *b, uint32_t stride)
{
	float acc[LANES] = {0}, s[8];
	for (uint32_t i = 0; i < stride; i += LANES)
		for (uint32_t k = 0; k < LANES; k++)
			acc[k] = fmaf(a[i + k], b[i + k], acc[k]);
	for (int k = 0; k < 8; k++)
		s[k] = (acc[k] + acc[k + 8]) + (acc[k + 16] + acc[k + 24]);
	for (int k = 0; k < 4; k++)
		s[k] += s[k + 4];
	return (s[0] + s[2]) + (s[1] + s[3]);
}

static void dots_scalar(const int8_t *rows, size_t n, const int8_t *query, uint32_t stride, int32_t *out)
{
	for (size_t r = 0; r < n; r++, rows += stride) {
		int32_t sum = 0;
		for (uint32_t i = 0; i < stride; i++)
			sum += rows[i] * query[i];
		out[r] = sum;
	}
}

#if HAVE_AVX2
__attribute__((target("avx2,fma"))) static float sum_avx2(const float *a, const float *b, uint32_t stride)
{
	__m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
	for (uint32_t i = 0; i < stride; i += LANES) {
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

/* |query| times the row with the query's signs: maddubs wants one side unsigned. No pair of products reaches 2^15,
 * because no byte is -128. Four rows at a time share what is read of the query. */
__attribute__((target("avx2"))) static int32_t across(__m256i v)
{
	__m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
	four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
	four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
	return _mm_cvtsi128_si32(four);
}

#define STEP(sum, row)                                                                                                 \
	sum = _mm256_add_epi32(                                                                                        \
		sum,                                                                                                   \
		_mm256_madd_epi16(                                                                                     \
			_mm256_maddubs_epi16(                                                                          \
				abs_q, _mm256_sign_epi8(_mm256_load_si256((const __m256i *)(const void *)(row)), q)),  \
			ones))

__attribute__((target("avx2"))) static void dots_avx2(const int8_t *rows, size_t n, const int8_t *query,
						      uint32_t stride, int32_t *out)
{
	const __m256i ones = _mm256_set1_epi16(1);
	size_t r = 0;
	for (; r + 4 <= n; r += 4, rows += 4 * (size_t)stride) {
		__m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
		for (uint32_t i = 0; i < stride; i += 32) {
			const __m256i q = _mm256_load_si256((const __m256i *)(const void *)(query + i));
			const __m256i abs_q = _mm256_abs_epi8(q);
			/* Eight rows ahead, across pages, where the processor's own look-ahead stops: a fifth faster.
			 * What is behind the last row is asked for in vain, which does no harm. */
			_mm_prefetch((const char *)rows + 8 * (size_t)stride + 4 * (size_t)i, _MM_HINT_T0);
			_mm_prefetch((const char *)rows + 8 * (size_t)stride + 4 * (size_t)i + 64, _MM_HINT_T0);
			STEP(s0, rows + i);
			STEP(s1, rows + stride + i);
			STEP(s2, rows + 2 * (size_t)stride + i);
			STEP(s3, rows + 3 * (size_t)stride + i);
		}
		out[r] = across(s0);
		out[r + 1] = across(s1);
		out[r + 2] = across(s2);
		out[r + 3] = across(s3);
	}
	for (; r < n; r++, rows += stride) {
		__m256i sum = _mm256_setzero_si256();
		for (uint32_t i = 0; i < stride; i += 32) {
			const __m256i q = _mm256_load_si256((const __m256i *)(const void *)(query + i));
			const __m256i abs_q = _mm256_abs_epi8(q);
			STEP(sum, rows + i);
		}
		out[r] = across(sum);
	}
}
#undef STEP
#endif

static float sum_of(const struct sl_vectors *v, const float *a, const float *b)
{
#if HAVE_AVX2
	if (v->simd)
		return sum_avx2(a, b, v->stride);
#endif
	return sum_scalar(a, b, v->stride);
}

static void dots_of(const struct sl_vectors *v, const int8_t *rows, size_t n, const int8_t *query, int32_t *out)
{
#if HAVE_AVX2
	if (v->simd) {
		dots_avx2(rows, n, query, v->stride, out);
		return;
	}
#endif
	dots_scalar(rows, n, query, v->stride, out);
}

/* ---- one vector ---- */

/* Unit length into out (stride floats). false: there is no direction. */
static bool unit(const struct sl_vectors *v, const float *x, float *out)
{
	double sum = 0;
	for (uint32_t i = 0; i < v->dims; i++)
		sum += (double)x[i] * x[i];
	if (!isfinite(sum) || sum < 1e-60)
		return false;
	double by = 1 / sqrt(sum);
	for (uint32_t i = 0; i < v->dims; i++)
		out[i] = (float)(x[i] * by);
	for (uint32_t i = v->dims; i < v->stride; i++)
		out[i] = 0;
	return true;
}

static void to_bytes(const struct sl_vectors *v, const float *x, int8_t *bytes, float *scale, float *lost)
{
	float most = 0;
	double sum = 0;
	for (uint32_t i = 0; i < v->dims; i++)
		most = fmaxf(most, fabsf(x[i]));
	float by = most / 127;
	for (uint32_t i = 0; i < v->stride; i++) {
		long q = i < v->dims ? lrintf(x[i] / by) : 0;
		q = q > 127 ? 127 : q < -127 ? -127 : q;
		bytes[i] = (int8_t)q;
		double e = (double)x[i] - (double)by * (double)q;
		sum += e * e;
	}
	*scale = by;
	*lost = (float)(sqrt(sum) * 1.000001);
}

/* ---- the table of keys ---- */

static struct key *key_at(const struct sl_vectors *v, size_t row)
{
	return &v->blocks[row / BLOCK_ROWS].keys[row % BLOCK_ROWS];
}

static int key_order(const struct key *a, const struct key *b)
{
	int by_id = memcmp(a->id.b, b->id.b, sizeof(a->id.b));
	return by_id ? by_id : (a->n > b->n) - (a->n < b->n);
}

static size_t home_of(const struct sl_vectors *v, const struct key *k)
{
	uint64_t a, b;
	memcpy(&a, k->id.b, 8);
	memcpy(&b, k->id.b + 8, 8);
	a = (a ^ (b + k->n) * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
	return (a ^ a >> 31) & (v->table_size - 1);
}

/* Where the key is, or the free place where it would be. */
static size_t place_of(const struct sl_vectors *v, const struct key *k)
{
	size_t i = home_of(v, k);
	while (v->table[i] && key_order(key_at(v, v->table[i] - 1), k) != 0)
		i = (i + 1) & (v->table_size - 1);
	return i;
}

static void forget(struct sl_vectors *v, size_t place)
{
	size_t hole = place, i = place, mask = v->table_size - 1;
	v->table[hole] = 0;
	for (;;) { /* those behind it that could have been nearer to their home move up */
		i = (i + 1) & mask;
		if (!v->table[i])
			return;
		size_t home = home_of(v, key_at(v, v->table[i] - 1));
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			v->table[hole] = v->table[i];
			v->table[i] = 0;
			hole = i;
		}
	}
}

static bool table_grow(struct sl_vectors *v)
{
	size_t size = v->table_size ? v->table_size * 2 : 1024;
	uint32_t *table = calloc(size, sizeof(*table));
	if (!table)
		return false;
	free(v->table);
	v->table = table;
	v->table_size = size;
	for (size_t row = 0; row < v->n; row++)
		v->table[place_of(v, key_at(v, row))] = (uint32_t)row + 1;
	return true;
}

/* ---- blocks ---- */

static void block_fini(struct block *b)
{
	free(b->floats);
	free(b->owned);
	free(b->scale);
	free(b->lost);
	free(b->keys);
}

static bool block_add(struct sl_vectors *v)
{
	if (v->n_blocks == v->cap_blocks) {
		size_t cap = v->cap_blocks ? v->cap_blocks * 2 : 16;
		struct block *blocks = realloc(v->blocks, cap * sizeof(*blocks));
		if (!blocks)
			return false;
		v->blocks = blocks;
		v->cap_blocks = cap;
	}
	size_t bytes = BLOCK_ROWS * (size_t)v->stride, n = v->n_blocks;
	struct block b = {
		.floats = aligned_alloc(64, bytes * sizeof(float)),
		.scale = calloc(BLOCK_ROWS, sizeof(float)),
		.lost = calloc(BLOCK_ROWS, sizeof(float)),
		.keys = calloc(BLOCK_ROWS, sizeof(struct key)),
	};
	if (n < SLAB_BLOCKS) {
		b.bytes = b.owned = aligned_alloc(64, bytes);
	} else if (n % SLAB_BLOCKS == 0) {
		size_t slab = (SLAB_BLOCKS * bytes + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;
		b.bytes = b.owned = aligned_alloc(SLAB_ALIGN, slab);
		if (b.owned) /* refused, it is only slower */
			(void)madvise(b.owned, slab, MADV_HUGEPAGE);
	} else {
		b.bytes = v->blocks[n - n % SLAB_BLOCKS].owned + n % SLAB_BLOCKS * bytes;
	}
	if (!b.floats || !b.bytes || !b.scale || !b.lost || !b.keys) {
		block_fini(&b);
		return false;
	}
	v->blocks[v->n_blocks++] = b;
	return true;
}

enum sl_code sl_vectors_new(uint32_t dims, enum sl_vectors_path path, struct sl_vectors **out)
{
	struct sl_vectors *v = calloc(1, sizeof(*v));
	SL_BUG_ON(dims == 0 || dims > SL_VECTORS_DIMS);
	if (!v)
		return SL_NO_MEMORY;
	v->dims = dims;
	v->stride = (dims + LANES - 1) / LANES * LANES;
#if HAVE_AVX2
	v->simd = path == SL_VECTORS_BEST && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
	if (!table_grow(v)) {
		free(v);
		return SL_NO_MEMORY;
	}
	*out = v;
	return SL_OK;
}

void sl_vectors_free(struct sl_vectors *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->n_blocks; i++)
		block_fini(&v->blocks[i]);
	free(v->blocks);
	free(v->table);
	free(v);
}

enum sl_code sl_vectors_put(struct sl_vectors *v, struct sl_uuid id, uint32_t n, const float *x)
{
	_Alignas(64) float y[SL_VECTORS_DIMS];
	struct key k = {id, n};
	if (!unit(v, x, y))
		return SL_INVALID;
	if ((v->n + 1) * 2 > v->table_size && !table_grow(v))
		return SL_NO_MEMORY;
	size_t place = place_of(v, &k), row = v->table[place] ? v->table[place] - 1 : v->n;
	if (row == v->n_blocks * BLOCK_ROWS && !block_add(v))
		return SL_NO_MEMORY;
	struct block *b = &v->blocks[row / BLOCK_ROWS];
	size_t at = row % BLOCK_ROWS;
	memcpy(b->floats + at * v->stride, y, v->stride * sizeof(float));
	to_bytes(v, y, b->bytes + at * v->stride, &b->scale[at], &b->lost[at]);
	b->keys[at] = k;
	if (row == v->n) {
		v->table[place] = (uint32_t)row + 1;
		v->n++;
	}
	return SL_OK;
}

static void drop_row(struct sl_vectors *v, size_t row)
{
	size_t last = v->n - 1;
	forget(v, place_of(v, key_at(v, row)));
	if (row != last) {
		struct block *to = &v->blocks[row / BLOCK_ROWS], *from = &v->blocks[last / BLOCK_ROWS];
		size_t i = row % BLOCK_ROWS, k = last % BLOCK_ROWS;
		v->table[place_of(v, &from->keys[k])] = (uint32_t)row + 1;
		memcpy(to->floats + i * v->stride, from->floats + k * v->stride, v->stride * sizeof(float));
		memcpy(to->bytes + i * v->stride, from->bytes + k * v->stride, v->stride);
		to->scale[i] = from->scale[k];
		to->lost[i] = from->lost[k];
		to->keys[i] = from->keys[k];
	}
	v->n--;
	if ((v->n_blocks - 1) * BLOCK_ROWS >= v->n) /* the last block is empty */
		block_fini(&v->blocks[--v->n_blocks]);
}

size_t sl_vectors_drop(struct sl_vectors *v, struct sl_uuid id)
{
	size_t dropped = 0;
	for (size_t row = 0; row < v->n;)
		if (sl_uuid_eq(key_at(v, row)->id, id)) {
			drop_row(v, row);
			dropped++;
		} else {
			row++;
		}
	return dropped;
}

uint32_t sl_vectors_dims(const struct sl_vectors *v)
{
	return v->dims;
}

size_t sl_vectors_count(const struct sl_vectors *v)
{
	return v->n;
}

size_t sl_vectors_bytes_each(uint32_t dims)
{
	size_t stride = (dims + LANES - 1) / LANES * LANES;
	return stride * (sizeof(float) + 1) + 2 * sizeof(float) + sizeof(struct key) + 4 * sizeof(uint32_t);
}

size_t sl_vectors_bytes(const struct sl_vectors *v)
{
	size_t slab_ahead = v->n_blocks > SLAB_BLOCKS ? (SLAB_BLOCKS - v->n_blocks % SLAB_BLOCKS) % SLAB_BLOCKS : 0;
	return v->n_blocks * BLOCK_ROWS * sl_vectors_bytes_each(v->dims) + slab_ahead * BLOCK_ROWS * v->stride +
	       v->table_size * sizeof(uint32_t) + sizeof(*v);
}

/* ---- search ---- */

static bool before(const struct sl_vector_hit *a, const struct sl_vector_hit *b)
{
	struct key x = {a->id, a->n}, y = {b->id, b->n};
	return a->score != b->score ? a->score > b->score : key_order(&x, &y) < 0;
}

/* Into the best k so far; returns how many there are. */
static size_t keep(struct sl_vector_hit *hits, size_t n, size_t k, const struct sl_vector_hit *one)
{
	if (n == k && !before(one, &hits[n - 1]))
		return n;
	size_t i = n < k ? n : k - 1;
	for (; i > 0 && before(one, &hits[i - 1]); i--)
		hits[i] = hits[i - 1];
	hits[i] = *one;
	return n < k ? n + 1 : k;
}

static struct sl_vector_hit hit_of(const struct sl_vectors *v, size_t row, const float *y)
{
	const struct block *b = &v->blocks[row / BLOCK_ROWS];
	size_t at = row % BLOCK_ROWS;
	return (struct sl_vector_hit){b->keys[at].id, b->keys[at].n, sum_of(v, b->floats + at * v->stride, y)};
}

static size_t scan(const struct sl_vectors *v, const float *y, size_t k, struct sl_vector_hit *hits)
{
	size_t n = 0;
	for (size_t row = 0; row < v->n; row++) {
		struct sl_vector_hit one = hit_of(v, row, y);
		n = keep(hits, n, k, &one);
	}
	return n;
}

size_t sl_vectors_scan(const struct sl_vectors *v, const float *query, size_t k, struct sl_vector_hit *hits)
{
	_Alignas(64) float y[SL_VECTORS_DIMS];
	return k && unit(v, query, y) ? scan(v, y, k, hits) : 0;
}

/* The k largest lower bounds so far, the smallest of them at [0] (a heap). */
static void raise_floor(float *heap, size_t k, float value)
{
	size_t i = 0;
	for (;;) {
		size_t child = 2 * i + 1;
		if (child + 1 < k && heap[child + 1] < heap[child])
			child++;
		if (child >= k || value <= heap[child])
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = value;
}

struct maybe {
	uint32_t row;
	float most; /* its score is not above this */
};

size_t sl_vectors_search(const struct sl_vectors *v, const float *query, size_t k, struct sl_vector_hit *hits)
{
	_Alignas(64) float y[SL_VECTORS_DIMS];
	_Alignas(64) int8_t q[SL_VECTORS_DIMS];
	int32_t dots[BLOCK_ROWS];
	float scale, lost;
	size_t n = 0, n_maybe = 0, cap = 4096;

	if (k == 0 || !unit(v, query, y))
		return 0;
	if (k >= v->n)
		return scan(v, y, k, hits);
	float *floor = malloc(k * sizeof(*floor));
	struct maybe *maybe = malloc(cap * sizeof(*maybe));
	if (!floor || !maybe)
		goto plainly;
	for (size_t i = 0; i < k; i++)
		floor[i] = -INFINITY;
	to_bytes(v, y, q, &scale, &lost);
	const float slack = (float)(v->dims + 16) * 0x1p-24f + 2e-6f;
	for (size_t at = 0; at < v->n; at += BLOCK_ROWS) {
		const struct block *b = &v->blocks[at / BLOCK_ROWS];
		size_t rows = v->n - at < BLOCK_ROWS ? v->n - at : BLOCK_ROWS;
		dots_of(v, b->bytes, rows, q, dots);
		for (size_t i = 0; i < rows; i++) {
			float about = (float)dots[i] * (b->scale[i] * scale);
			float bound = (1.000001f + b->lost[i]) * lost + b->lost[i] * 1.000001f + slack;
			if (about + bound < floor[0])
				continue;
			if (n_maybe == cap) {
				struct maybe *more = realloc(maybe, 2 * cap * sizeof(*maybe));
				if (!more)
					goto plainly;
				maybe = more;
				cap *= 2;
			}
			maybe[n_maybe++] = (struct maybe){(uint32_t)(at + i), about + bound};
			if (about - bound > floor[0])
				raise_floor(floor, k, about - bound);
		}
	}
	for (size_t i = 0; i < n_maybe; i++)
		if (maybe[i].most >= floor[0]) {
			struct sl_vector_hit one = hit_of(v, maybe[i].row, y);
			n = keep(hits, n, k, &one);
		}
	free(floor);
	free(maybe);
	return n;
plainly: /* no memory for the short way; the long one needs none */
	free(floor);
	free(maybe);
	return scan(v, y, k, hits);
}

bool sl_vectors_read(const char *bytes, uint32_t dims, float *out)
{
	for (uint32_t i = 0; i < dims; i++) {
		const unsigned char *p = (const unsigned char *)bytes + 4 * (size_t)i;
		uint32_t u = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
		memcpy(&out[i], &u, 4);
		if (!isfinite(out[i]))
			return false;
	}
	return true;
}
