/* The way out: every form of address has its verdict, and whatever is refused never reaches the canary, a listener on
 * all of 127.0.0.0/8 that counts who comes. The pair that the operator allowed lives on the same addresses and works.
 */
#include "tests/lib/test.h"

#include "base/json.h"
#include "llm/url.h"
#include "tests/lib/canary.h"

static struct json_object *read_rows(void)
{
	static char text[256 << 10];
	char path[512];
	struct json_object *doc = NULL;
	struct sl_error err = {0};
	const char *root = getenv("SLUICE_ROOT");
	snprintf(path, sizeof(path), "%s/tests/unit/data/egress-urls.json", root ? root : ".");
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	size_t n = fread(text, 1, sizeof(text), file);
	fclose(file);
	if (sl_json_parse(sl_str_n(text, n), &doc, &err) != SL_OK)
		fail_msg("%s", err.text);
	return doc;
}

/* {P} is the canary's port, {A} the allowed service's. */
static void fill(struct fixture *f, struct sl_str in, struct sl_buf *out)
{
	sl_buf_reset(out);
	for (size_t i = 0; i < in.len; i++) {
		struct sl_str rest = sl_str_n(in.p + i, in.len - i);
		bool p = sl_str_starts(rest, SL_STR("{P}")), a = sl_str_starts(rest, SL_STR("{A}"));
		if (p || a) {
			sl_buf_addu(out, p ? f->canary.port : f->service.port);
			i += 2;
		} else {
			sl_buf_addc(out, in.p[i]);
		}
	}
}

static void every_form_of_address_has_its_verdict(void **state)
{
	struct fixture *f = *state;
	SL_AUTO_JSON rows = read_rows();
	size_t n = json_object_array_length(rows), refused = 0, bad = 0;
	SL_BUF(url, 64 << 10);
	SL_BUF(want, 64 << 10);
	assert_true(n >= 150);
	for (size_t i = 0; i < n; i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		const char *verdict = sl_json_get_z(row, "verdict");
		enum sl_egress_reason reason = SL_EGRESS_REASON_COUNT;
		struct sl_error err = {0};
		fill(f, sl_json_get_str(row, "url"), &url);
		enum sl_code rc = sl_egress_judge(f->egress, sl_buf_str(&url), &reason, &err);
		const char *got = rc == SL_OK ? "ok" : sl_egress_reason_text(reason);
		if (strcmp(got, verdict) != 0 || (rc != SL_OK && (rc != SL_EGRESS || !err.text[0]))) {
			print_error("%s: %s (%s), not %s\n", url.data, got, err.text, verdict);
			bad++;
			continue;
		}
		if (rc == SL_OK) {
			struct sl_url u;
			fill(f, sl_json_get_str(row, "as"), &want);
			assert_int_equal(sl_url_parse(sl_buf_str(&url), &u, &err), SL_URL_FINE);
			assert_string_equal(sl_url_z(&u), want.data);
			sl_url_fini(&u);
		} else { /* and a request is refused where it begins */
			struct note note;
			get(f, url.data ? url.data : "", 0, &note);
			assert_int_equal(note.rc, SL_EGRESS);
			assert_int_equal(note.dones, 0);
			refused++;
		}
	}
	assert_int_equal(bad, 0);
	assert_int_equal(all_denied(f), refused); /* each refusal is counted, once */
	assert_int_equal(atomic_load(&f->lookups), 0);
}

static void an_address_is_as_long_as_it_is_sent(void **state)
{
	struct sl_url u;
	struct sl_error err = {0};
	SL_BUF(text, 4 * SL_LIMIT_URL_BYTES);
	sl_buf_adds(&text, "https://example.com/");
	while (text.len + 3 <= SL_LIMIT_URL_BYTES / 3)
		sl_buf_adds(&text, "^");
	assert_int_equal(sl_url_parse(sl_buf_str(&text), &u, &err), SL_URL_FINE);
	sl_url_fini(&u);
	while (text.len < SL_LIMIT_URL_BYTES / 2)
		sl_buf_adds(&text, "^"); /* three bytes each, encoded */
	assert_int_equal(sl_url_parse(sl_buf_str(&text), &u, &err), SL_URL_FORM);
	sl_url_fini(&u);
}

static void the_allowed_pair_works_beside_the_canary(void **state)
{
	struct fixture *f = *state;
	static const char *const hosts[] = {"127.0.0.1", "service.internal", "SERVICE.Internal"};
	for (size_t i = 0; i < SL_COUNT_OF(hosts); i++) {
		struct note n;
		char url[128];
		snprintf(url, sizeof(url), "http://%s:%u/ok", hosts[i], f->service.port);
		get(f, url, 0, &n);
		if (n.rc != SL_OK)
			print_error("%s: %s\n", url, n.err.text);
		assert_int_equal(n.rc, SL_OK);
		assert_int_equal(n.status, 200);
		assert_int_equal(n.heads, 1);
	}
	assert_int_equal(atomic_load(&f->service.requests), 3);
	/* the same port under another name, or another port of the same host, is not the pair */
	struct note n;
	char url[128];
	snprintf(url, sizeof(url), "http://127.0.0.2:%u/ok", f->service.port);
	get(f, url, 0, &n);
	assert_int_equal(n.rc, SL_EGRESS);
	snprintf(url, sizeof(url), "http://service.internal:%u/ok", f->canary.port);
	get(f, url, 0, &n);
	assert_int_equal(n.rc, SL_EGRESS);
	assert_int_equal(atomic_load(&f->service.requests), 3);
}

static void a_name_that_leads_astray_is_refused_at_each_of_fifty_flips(void **state)
{
	struct fixture *f = *state;
	unsigned denied = 0;
	for (unsigned i = 0; i < 50; i++) {
		struct note n;
		char url[128];
		snprintf(url, sizeof(url), "http://flip.example.com:%u/%u", f->canary.port, i);
		get(f, url, 3, &n);
		if (n.rc != SL_EGRESS)
			print_error("flip %u: %s\n", i, n.err.text);
		assert_int_equal(n.rc, SL_EGRESS);
		assert_int_equal(n.dones, 1);
		denied++;
	}
	assert_int_equal(atomic_load(&f->lookups), 50); /* one look-up a request, and nobody looked again */
	assert_int_equal(sl_egress_denied(f->egress, SL_EGRESS_ADDRESS), denied);
}

static void a_missing_name_is_no_refusal(void **state)
{
	struct fixture *f = *state;
	struct note n;
	get(f, "https://missing.example.com/", 0, &n);
	assert_int_equal(n.rc, SL_CONNECT);
	assert_int_equal(all_denied(f), 0);
}

static void the_server_does_not_call_itself(void **state)
{
	struct fixture *f = *state;
	struct note n;
	char url[128];
	sl_egress_own_port(f->egress, f->canary.port);
	sl_egress_own_port(f->egress, f->canary.port);
	snprintf(url, sizeof(url), "http://flip.example.com:%u/", f->canary.port);
	get(f, url, 0, &n); /* leads to 127.0.0.1, an address of this machine */
	assert_int_equal(n.rc, SL_EGRESS);
	assert_int_equal(sl_egress_denied(f->egress, SL_EGRESS_OWN), 1);
	atomic_store(&f->first_answer, 4);
	get(f, url, 0, &n); /* to 169.254.169.254, which is none */
	assert_int_equal(n.rc, SL_EGRESS);
	assert_int_equal(sl_egress_denied(f->egress, SL_EGRESS_OWN), 1);
	assert_int_equal(sl_egress_denied(f->egress, SL_EGRESS_ADDRESS), 1);
}

static void a_policy_that_cannot_be_read_is_refused(void **state)
{
	static const char *const bad[] = {"example.com", "example.com:", "example.com:0", "example.com:65536", ":80",
					  "127.1:80",    "::1:80",       "a_b",           "http://a:80",       "*:80"};
	for (size_t i = 0; i < SL_COUNT_OF(bad); i++) {
		struct sl_egress *e = NULL;
		struct sl_error err = {0};
		const struct sl_egress_config config = {.allow = bad[i]};
		assert_int_equal(sl_egress_new(&config, &e, &err), SL_INVALID);
		assert_non_null(strstr(err.text, bad[i]));
		const struct sl_egress_config ports = {.ports = bad[i]};
		assert_int_equal(sl_egress_new(&ports, &e, &err), SL_INVALID);
	}
}

static void by_default_only_https_goes_out_and_with_a_list_only_what_is_on_it(void **state)
{
	static const char *const pair = "api.example.com:8443";
	const struct sl_egress_config strict = {0}, listed = {.allow = pair, .only_allowed = true};
	struct sl_egress *e = NULL;
	struct sl_error err = {0};
	enum sl_egress_reason reason;
	assert_int_equal(sl_egress_new(&strict, &e, &err), SL_OK);
	assert_int_equal(sl_egress_judge(e, SL_STR("https://example.com/"), &reason, &err), SL_OK);
	assert_int_equal(sl_egress_judge(e, SL_STR("http://example.com/"), &reason, &err), SL_EGRESS);
	assert_int_equal(reason, SL_EGRESS_SCHEME);
	assert_int_equal(sl_egress_judge(e, SL_STR("https://example.com:8443/"), &reason, &err), SL_EGRESS);
	assert_int_equal(reason, SL_EGRESS_PORT);
	sl_egress_free(e);
	assert_int_equal(sl_egress_new(&listed, &e, &err), SL_OK);
	assert_int_equal(sl_egress_judge(e, SL_STR("https://api.example.com:8443/"), &reason, &err), SL_OK);
	assert_int_equal(sl_egress_judge(e, SL_STR("https://example.com/"), &reason, &err), SL_EGRESS);
	assert_int_equal(reason, SL_EGRESS_PAIR);
	sl_egress_free(e);
}

int main(void)
{
	canary_begin();
	const struct CMUnitTest tests[] = {
		TEST(every_form_of_address_has_its_verdict),
		cmocka_unit_test(an_address_is_as_long_as_it_is_sent),
		TEST(the_allowed_pair_works_beside_the_canary),
		TEST(a_name_that_leads_astray_is_refused_at_each_of_fifty_flips),
		TEST(a_missing_name_is_no_refusal),
		TEST(the_server_does_not_call_itself),
		TEST(a_policy_that_cannot_be_read_is_refused),
		TEST(by_default_only_https_goes_out_and_with_a_list_only_what_is_on_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
