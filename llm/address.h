/* llm/address.h: IP addresses, and which of them are the public internet's.
 *
 * Thread    [any], pure.
 * Rule      what is not known to be global is not global: IPv6 outside of 2000::/3, and every form that carries another
 *           address inside (IPv4-mapped, NAT64, 6to4, Teredo), because what is carried may be anything.
 */
#pragma once

#include <netinet/in.h>

#include "base/str.h"

struct sl_address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};
};
#define SL_ADDRESS_TEXT_BYTES 64

#define SL_ADDRESS_KINDS(X)                                                                                            \
	X(GLOBAL, "global")                                                                                            \
	X(UNSPECIFIED, "unspecified")                                                                                  \
	X(THIS_NETWORK, "this network")                                                                                \
	X(LOOPBACK, "loopback")                                                                                        \
	X(PRIVATE, "private")                                                                                          \
	X(SHARED, "shared (carrier-grade NAT)")                                                                        \
	X(LINK_LOCAL, "link-local")                                                                                    \
	X(SITE_LOCAL, "site-local")                                                                                    \
	X(PROTOCOL, "reserved for protocols")                                                                          \
	X(DOCUMENTATION, "documentation")                                                                              \
	X(BENCHMARKING, "benchmarking")                                                                                \
	X(MULTICAST, "multicast")                                                                                      \
	X(RESERVED, "reserved")                                                                                        \
	X(MAPPED, "IPv4 inside IPv6")                                                                                  \
	X(NAT64, "NAT64")                                                                                              \
	X(SIX_TO_FOUR, "6to4")                                                                                         \
	X(TEREDO, "Teredo")                                                                                            \
	X(OTHER, "of no family we speak")

enum sl_address_kind {
#define SL_X(name, text) SL_ADDRESS_##name,
	SL_ADDRESS_KINDS(SL_X)
#undef SL_X
};

enum sl_address_kind sl_address_kind(const struct sl_address *a);
const char *sl_address_kind_text(enum sl_address_kind kind);

/* Strict: four decimal parts, or IPv6 without brackets and zone. false: it is neither. */
bool sl_address_parse(const char *text, uint16_t port, struct sl_address *out);
bool sl_address_read(const struct sockaddr *sa, size_t len, struct sl_address *out); /* false: neither family */
uint16_t sl_address_port(const struct sl_address *a);
void sl_address_text(const struct sl_address *a, char out[SL_ADDRESS_TEXT_BYTES]); /* without the port */
bool sl_address_same_host(const struct sl_address *a, const struct sl_address *b);
