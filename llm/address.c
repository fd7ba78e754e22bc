/* llm/address.c: see address.h. The tables are IANA's special-purpose registries, most special first. */
#include "llm/address.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/own.h"

struct block {
	uint8_t head[16];
	uint8_t bits;
	enum sl_address_kind kind;
};

static const struct block v4_blocks[] = {
	{{0, 0, 0, 0}, 32, SL_ADDRESS_UNSPECIFIED},
	{{0}, 8, SL_ADDRESS_THIS_NETWORK},
	{{10}, 8, SL_ADDRESS_PRIVATE},
	{{100, 64}, 10, SL_ADDRESS_SHARED},
	{{127}, 8, SL_ADDRESS_LOOPBACK},
	{{169, 254}, 16, SL_ADDRESS_LINK_LOCAL}, /* clouds keep their metadata here */
	{{172, 16}, 12, SL_ADDRESS_PRIVATE},
	{{192, 0, 0}, 24, SL_ADDRESS_PROTOCOL},
	{{192, 0, 2}, 24, SL_ADDRESS_DOCUMENTATION},
	{{192, 31, 196}, 24, SL_ADDRESS_PROTOCOL},
	{{192, 52, 193}, 24, SL_ADDRESS_PROTOCOL},
	{{192, 88, 99}, 24, SL_ADDRESS_SIX_TO_FOUR},
	{{192, 168}, 16, SL_ADDRESS_PRIVATE},
	{{192, 175, 48}, 24, SL_ADDRESS_PROTOCOL},
	{{198, 18}, 15, SL_ADDRESS_BENCHMARKING},
	{{198, 51, 100}, 24, SL_ADDRESS_DOCUMENTATION},
	{{203, 0, 113}, 24, SL_ADDRESS_DOCUMENTATION},
	{{224}, 4, SL_ADDRESS_MULTICAST},
	{{240}, 4, SL_ADDRESS_RESERVED}, /* broadcast included */
};

static const struct block v6_blocks[] = {
	{{0}, 128, SL_ADDRESS_UNSPECIFIED},
	{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128, SL_ADDRESS_LOOPBACK},
	{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, SL_ADDRESS_MAPPED},
	{{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0}, 96, SL_ADDRESS_MAPPED}, /* translated, RFC 2765 */
	{{0}, 96, SL_ADDRESS_MAPPED},                                        /* compatible, RFC 4291 */
	{{0, 0x64, 0xff, 0x9b}, 96, SL_ADDRESS_NAT64},
	{{0, 0x64, 0xff, 0x9b, 0, 1}, 48, SL_ADDRESS_NAT64},
	{{0x01, 0}, 64, SL_ADDRESS_RESERVED}, /* discard only */
	{{0x20, 0x01, 0, 0}, 32, SL_ADDRESS_TEREDO},
	{{0x20, 0x01, 0, 2, 0, 0}, 48, SL_ADDRESS_BENCHMARKING},
	{{0x20, 0x01, 0, 0}, 23, SL_ADDRESS_PROTOCOL},
	{{0x20, 0x01, 0x0d, 0xb8}, 32, SL_ADDRESS_DOCUMENTATION},
	{{0x20, 0x02}, 16, SL_ADDRESS_SIX_TO_FOUR},
	{{0x26, 0x20, 0, 0x4f, 0x80, 0}, 48, SL_ADDRESS_PROTOCOL}, /* AS112 */
	{{0x3f, 0xff, 0x00}, 20, SL_ADDRESS_DOCUMENTATION},
	{{0xfc}, 7, SL_ADDRESS_PRIVATE},
	{{0xfe, 0x80}, 10, SL_ADDRESS_LINK_LOCAL},
	{{0xfe, 0xc0}, 10, SL_ADDRESS_SITE_LOCAL},
	{{0xff}, 8, SL_ADDRESS_MULTICAST},
	{{0x20}, 3, SL_ADDRESS_GLOBAL}, /* the only space that is handed out; the rest is reserved */
};

static bool inside(const uint8_t *address, const struct block *b)
{
	size_t whole = b->bits / 8;
	unsigned rest = b->bits % 8;
	if (memcmp(address, b->head, whole) != 0)
		return false;
	return rest == 0 || ((address[whole] ^ b->head[whole]) & (uint8_t)(0xff << (8 - rest))) == 0;
}

enum sl_address_kind sl_address_kind(const struct sl_address *a)
{
	if (a->any.sa_family == AF_INET) {
		uint8_t bytes[4];
		memcpy(bytes, &a->v4.sin_addr, sizeof(bytes));
		for (size_t i = 0; i < SL_COUNT_OF(v4_blocks); i++)
			if (inside(bytes, &v4_blocks[i]))
				return v4_blocks[i].kind;
		return SL_ADDRESS_GLOBAL;
	}
	if (a->any.sa_family == AF_INET6) {
		uint8_t bytes[16];
		memcpy(bytes, &a->v6.sin6_addr, sizeof(bytes));
		for (size_t i = 0; i < SL_COUNT_OF(v6_blocks); i++)
			if (inside(bytes, &v6_blocks[i]))
				return v6_blocks[i].kind;
		return SL_ADDRESS_RESERVED;
	}
	return SL_ADDRESS_OTHER;
}

const char *sl_address_kind_text(enum sl_address_kind kind)
{
	static const char *const texts[] = {
#define SL_X(name, text) [SL_ADDRESS_##name] = text,
		SL_ADDRESS_KINDS(SL_X)
#undef SL_X
	};
	return texts[kind];
}

bool sl_address_parse(const char *text, uint16_t port, struct sl_address *out)
{
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
		out->v4.sin_family = AF_INET;
		out->v4.sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1) {
		out->v6.sin6_family = AF_INET6;
		out->v6.sin6_port = htons(port);
		return true;
	}
	return false;
}

bool sl_address_read(const struct sockaddr *sa, size_t len, struct sl_address *out)
{
	memset(out, 0, sizeof(*out));
	if (sa->sa_family == AF_INET && len >= sizeof(out->v4))
		memcpy(&out->v4, sa, sizeof(out->v4));
	else if (sa->sa_family == AF_INET6 && len >= sizeof(out->v6))
		memcpy(&out->v6, sa, sizeof(out->v6));
	else
		return false;
	return true;
}

uint16_t sl_address_port(const struct sl_address *a)
{
	return ntohs(a->any.sa_family == AF_INET6 ? a->v6.sin6_port : a->v4.sin_port);
}

void sl_address_text(const struct sl_address *a, char out[SL_ADDRESS_TEXT_BYTES])
{
	const void *p = a->any.sa_family == AF_INET6 ? (const void *)&a->v6.sin6_addr : (const void *)&a->v4.sin_addr;
	if (!inet_ntop(a->any.sa_family, p, out, SL_ADDRESS_TEXT_BYTES))
		out[0] = 0;
}

bool sl_address_same_host(const struct sl_address *a, const struct sl_address *b)
{
	if (a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
	return a->any.sa_family == AF_INET6 && memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 16) == 0;
}
