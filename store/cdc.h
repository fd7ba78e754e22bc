/* store/cdc.h: where to cut a text, so that what two texts have in common is cut alike in both.
 *
 * Owns      nothing. Pure: the place of a cut depends on the bytes before it and on nothing else.
 * Thread    [any].
 * Cost      one shift, one addition and one look into a table for each byte: about a gigabyte a second.
 * Not for   telling whether two pieces are the same; that takes a hash of the whole piece.
 *
 * The algorithm is FastCDC (Xia, Zhou, Jiang, Feng, Hua, Hu, Zhang, Liu: "FastCDC: a Fast and Efficient Content-Defined
 * Chunking Approach for Data Deduplication", USENIX ATC 2016) on the gear hash of "Ddelta" (Xia and others, Performance
 * Evaluation 79, 2014): a hash of the last 64 bytes rolls over the text, and a cut is where its top bits are all zero.
 * More bits are asked for before the average size and fewer behind it, so sizes stay near the average. A change moves
 * the cuts near it only: a few pieces later both texts are cut at the same places again.
 */
#pragma once

#include <stddef.h>

#define SL_CDC_LEAST   1024  /* a piece is at least so long, unless the text ends */
#define SL_CDC_AVERAGE 4096  /* about */
#define SL_CDC_MOST    16384 /* and never longer than this */

/* The length of the first piece of p[0 … len): len when it is at most SL_CDC_LEAST, else SL_CDC_LEAST … SL_CDC_MOST. */
size_t sl_cdc_cut(const char *p, size_t len);
