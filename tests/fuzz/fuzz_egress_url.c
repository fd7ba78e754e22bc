/* tests/fuzz/fuzz_egress_url.c: whatever is taken for an address is written in one form, that form means the same to
 * libcurl's own parser, and no address that is not global passes the policy. A second line is a redirect from the
 * first. */
#include <curl/curl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llm/address.h"
#include "llm/egress.h"
#include "llm/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			abort();                                                                                       \
	} while (0)

static void part_is(CURLU *u, CURLUPart part, const char *want)
{
	char *got = NULL;
	MUST(curl_url_get(u, part, &got, part == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) == CURLUE_OK);
	MUST(strcmp(got, want) == 0);
	curl_free(got);
}

static void check(struct sl_egress *e, const struct sl_url *u)
{
	struct sl_url again;
	struct sl_address a;
	enum sl_egress_reason reason;
	char port[8], host[SL_URL_HOST_BYTES + 2];
	char *none = NULL;
	struct sl_str text = sl_str(sl_url_z(u));

	MUST(text.len == u->text.len);
	MUST(sl_url_parse(text, &again, NULL) == SL_URL_FINE);
	MUST(strcmp(sl_url_z(&again), sl_url_z(u)) == 0 && sl_url_same_origin(&again, u));
	sl_url_fini(&again);

	CURLU *c = curl_url();
	MUST(c);
	MUST(curl_url_set(c, CURLUPART_URL, text.p, CURLU_DISALLOW_USER) == CURLUE_OK);
	snprintf(port, sizeof(port), "%u", u->port);
	snprintf(host, sizeof(host), u->v6 ? "[%s]" : "%s", u->host);
	part_is(c, CURLUPART_SCHEME, u->tls ? "https" : "http");
	part_is(c, CURLUPART_HOST, host);
	part_is(c, CURLUPART_PORT, port);
	MUST(curl_url_get(c, CURLUPART_USER, &none, 0) == CURLUE_NO_USER);
	MUST(curl_url_get(c, CURLUPART_ZONEID, &none, 0) == CURLUE_NO_ZONEID);
	curl_url_cleanup(c);

	bool literal = sl_address_parse(u->host, u->port, &a);
	MUST(literal == u->literal);
	if (sl_egress_judge(e, text, &reason, NULL) == SL_OK) {
		MUST(!literal || sl_address_kind(&a) == SL_ADDRESS_GLOBAL);
		MUST(literal || strchr(u->host, '.'));
		MUST(u->port == (u->tls ? 443 : 80));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sl_egress *e;
	struct sl_str text = sl_str_n((const char *)data, size), first = text, second = {0};
	struct sl_url a, b;
	if (!e) {
		const struct sl_egress_config config = {.plain_http = true};
		MUST(sl_egress_new(&config, &e, NULL) == SL_OK);
	}
	bool two = sl_str_cut(text, '\n', &first, &second);
	if (sl_url_parse(first, &a, NULL) != SL_URL_FINE)
		return 0;
	check(e, &a);
	if (two && sl_url_follow(&a, second, &b, NULL) == SL_URL_FINE) {
		check(e, &b);
		sl_url_fini(&b);
	}
	sl_url_fini(&a);
	return 0;
}
