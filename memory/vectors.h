/* memory/vectors.h: unit vectors in memory, and the exact best of them for a query.
 *
 * Every vector is kept as floats and as bytes. A search goes over the bytes first. Each byte dot product comes with a
 * bound of its error (from the exact length of what rounding to bytes took away), so that whoever could be among the
 * best k is known for sure; only these are compared as floats. The result is what a scan over all floats gives, to the
 * last bit, on any machine: the float sum has one fixed order, with and without SIMD.
 *
 * Owns      its vectors.
 * Thread    put and drop: one thread, while nobody searches. search: any number of threads.
 * Cost      5 bytes a dimension and vector; a search reads one of them, and floats of the few that are close.
 */
#pragma once

#include "base/id.h"
#include "base/own.h"

#define SL_VECTORS_DIMS 4096 /* at most */

struct sl_vectors;

struct sl_vector_hit {
	struct sl_uuid id;
	uint32_t n;  /* which piece of it */
	float score; /* cosine */
};

enum sl_vectors_path { SL_VECTORS_BEST, SL_VECTORS_SCALAR }; /* BEST: AVX2 and FMA where the processor has them */

/* 1 … SL_VECTORS_DIMS. SL_NO_MEMORY is the only failure. */
SL_MUST_USE enum sl_code sl_vectors_new(uint32_t dims, enum sl_vectors_path path, struct sl_vectors **out);
void sl_vectors_free(struct sl_vectors *v); /* NULL is fine */
SL_DEFINE_AUTO(sl_vectors)

/* Adds or replaces; x has `dims` floats of any length but 0. SL_INVALID: it has none, or a part is no number. */
SL_MUST_USE enum sl_code sl_vectors_put(struct sl_vectors *v, struct sl_uuid id, uint32_t n, const float *x);
size_t sl_vectors_drop(struct sl_vectors *v, struct sl_uuid id); /* all pieces; how many there were */
uint32_t sl_vectors_dims(const struct sl_vectors *v);
size_t sl_vectors_count(const struct sl_vectors *v);
size_t sl_vectors_bytes(const struct sl_vectors *v); /* of memory */
size_t sl_vectors_bytes_each(uint32_t dims);         /* what one more takes */

/* The best k, best first; of equal ones the smaller (id, n) first. Returns how many there are. query: `dims` floats. 0
 * when the query has no length. */
size_t sl_vectors_search(const struct sl_vectors *v, const float *query, size_t k, struct sl_vector_hit *hits);
/* The same by comparing every float: what the other must be equal to. */
size_t sl_vectors_scan(const struct sl_vectors *v, const float *query, size_t k, struct sl_vector_hit *hits);

/* Little-endian float32, as they are stored. False: a part is no number. */
bool sl_vectors_read(const char *bytes, uint32_t dims, float *out);
