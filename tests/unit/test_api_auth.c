/* Tokens, sessions, tickets, host names and origins, under a fake clock. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/auth.h"

static uint64_t mono_ms;
static int64_t wall_ms;

static uint64_t fake_mono(void *ctx)
{
	return mono_ms;
}
static int64_t fake_wall(void *ctx)
{
	return wall_ms;
}
static const struct sl_clock clock_ = {fake_mono, fake_wall, NULL};

static const uint8_t secret[SL_AUTH_SECRET_BYTES] = {1, 2, 3};

static int setup(void **state)
{
	struct sl_auth *a = NULL;
	mono_ms = 1000000;
	wall_ms = 1800000000000;
	if (sl_auth_new("an-admin-token", secret, &clock_, &a) != SL_OK)
		return -1;
	*state = a;
	return 0;
}

static int teardown(void **state)
{
	sl_auth_free(*state);
	return 0;
}

static struct sl_auth_token token(const char *text, enum sl_role role)
{
	struct sl_auth_token t = {.id = sl_uuid_new(), .role = role, .name = "someone"};
	sl_auth_hash(sl_str(text), t.hash);
	return t;
}

static void a_known_token_is_its_role(void **state)
{
	struct sl_auth *a = *state;
	struct sl_identity who;
	char text[SL_TOKEN_TEXT_BYTES];
	sl_auth_make_secret(text);
	const struct sl_auth_token t = token(text, SL_ROLE_RUNNER);
	assert_int_equal(sl_auth_bearer(a, sl_str(text), "::1", &who), SL_NOT_FOUND);
	assert_int_equal(sl_auth_add_token(a, &t), SL_OK);
	assert_int_equal(sl_auth_bearer(a, sl_str(text), "::1", &who), SL_OK);
	assert_int_equal(who.role, SL_ROLE_RUNNER);
	assert_string_equal(who.name, "someone");
	sl_auth_drop_token(a, t.id);
	assert_int_equal(sl_auth_bearer(a, sl_str(text), "::1", &who), SL_NOT_FOUND);
	assert_int_equal(sl_auth_bearer(a, SL_STR("an-admin-token"), "::1", &who), SL_OK);
	assert_int_equal(who.role, SL_ROLE_ADMIN);
	assert_int_equal(sl_auth_bearer(a, SL_STR("an-admin-tokem"), "::1", &who), SL_UNAUTHORIZED);
	assert_int_equal(sl_auth_bearer(a, SL_STR(""), "::1", &who), SL_UNAUTHORIZED);
}

static void two_secrets_are_never_the_same(void **state)
{
	char x[SL_TOKEN_TEXT_BYTES], y[SL_TOKEN_TEXT_BYTES];
	sl_auth_make_secret(x);
	sl_auth_make_secret(y);
	assert_string_not_equal(x, y);
	assert_int_equal(strlen(x), SL_TOKEN_TEXT_BYTES - 1);
}

static void a_token_ends_when_it_says(void **state)
{
	struct sl_auth *a = *state;
	struct sl_identity who;
	struct sl_auth_token t = token("slt_x", SL_ROLE_VIEWER);
	t.expires_ms = wall_ms + 1000;
	assert_int_equal(sl_auth_set_tokens(a, &t, 1), SL_OK);
	assert_int_equal(sl_auth_bearer(a, SL_STR("slt_x"), "::1", &who), SL_OK);
	wall_ms += 1000;
	assert_int_equal(sl_auth_bearer(a, SL_STR("slt_x"), "::1", &who), SL_UNAUTHORIZED);
}

static void guessing_a_short_admin_token_is_slowed_down_by_address(void **state)
{
	struct sl_auth *a = *state;
	struct sl_identity who;
	uint32_t wait_ms = 0;
	unsigned free_tries = 0;
	while (free_tries < 1000 && (wait_ms = sl_auth_failed(a, "10.0.0.1")) == 0)
		free_tries++;
	assert_int_equal(free_tries, 20);
	assert_in_range(wait_ms, 1, 60000);
	assert_int_equal(sl_auth_bearer(a, SL_STR("an-admin-token"), "10.0.0.1", &who), SL_RATE_LIMITED);
	assert_int_equal(sl_auth_bearer(a, SL_STR("an-admin-token"), "10.0.0.2", &who), SL_OK);
	mono_ms += 60000;
	assert_int_equal(sl_auth_bearer(a, SL_STR("an-admin-token"), "10.0.0.1", &who), SL_OK);
}

static void a_session_names_its_token_for_twelve_hours(void **state)
{
	struct sl_auth *a = *state;
	struct sl_identity who;
	char session[SL_SESSION_TEXT_BYTES];
	const struct sl_auth_token t = token("slt_y", SL_ROLE_EDITOR);
	assert_int_equal(sl_auth_add_token(a, &t), SL_OK);
	assert_int_equal(sl_auth_bearer(a, SL_STR("slt_y"), "::1", &who), SL_OK);
	sl_auth_session(a, &who, session);
	memset(&who, 0, sizeof(who));
	assert_int_equal(sl_auth_session_check(a, sl_str(session), &who), SL_OK);
	assert_int_equal(who.role, SL_ROLE_EDITOR);
	wall_ms += SL_SESSION_SECONDS * 1000LL - 1000;
	assert_int_equal(sl_auth_session_check(a, sl_str(session), &who), SL_OK);
	wall_ms += 1000;
	assert_int_equal(sl_auth_session_check(a, sl_str(session), &who), SL_UNAUTHORIZED);
}

static void a_session_cannot_be_altered_or_outlive_its_token(void **state)
{
	struct sl_auth *a = *state;
	struct sl_identity who;
	char session[SL_SESSION_TEXT_BYTES];
	const struct sl_auth_token t = token("slt_z", SL_ROLE_VIEWER);
	assert_int_equal(sl_auth_add_token(a, &t), SL_OK);
	assert_int_equal(sl_auth_bearer(a, SL_STR("slt_z"), "::1", &who), SL_OK);
	sl_auth_session(a, &who, session);
	for (size_t i = 0; i < strlen(session); i++) {
		char was = session[i];
		session[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(sl_auth_session_check(a, sl_str(session), &who), SL_UNAUTHORIZED);
		session[i] = was;
	}
	for (size_t n = 0; n < strlen(session); n++)
		assert_int_equal(sl_auth_session_check(a, sl_str_n(session, n), &who), SL_UNAUTHORIZED);
	assert_int_equal(sl_auth_session_check(a, sl_str(session), &who), SL_OK);
	sl_auth_drop_token(a, t.id);
	assert_int_equal(sl_auth_session_check(a, sl_str(session), &who), SL_UNAUTHORIZED);
}

static void a_new_admin_token_or_key_ends_old_sessions(void **state)
{
	struct sl_auth *a = *state;
	SL_AUTO(sl_auth) other_token = NULL;
	SL_AUTO(sl_auth) other_key = NULL;
	const uint8_t key[SL_AUTH_SECRET_BYTES] = {9};
	struct sl_identity who;
	char session[SL_SESSION_TEXT_BYTES];
	assert_int_equal(sl_auth_bearer(a, SL_STR("an-admin-token"), "::1", &who), SL_OK);
	sl_auth_session(a, &who, session);
	assert_int_equal(sl_auth_session_check(a, sl_str(session), &who), SL_OK);
	assert_int_equal(sl_auth_new("another-admin-token", secret, &clock_, &other_token), SL_OK);
	assert_int_equal(sl_auth_session_check(other_token, sl_str(session), &who), SL_UNAUTHORIZED);
	assert_int_equal(sl_auth_new("an-admin-token", key, &clock_, &other_key), SL_OK);
	assert_int_equal(sl_auth_session_check(other_key, sl_str(session), &who), SL_UNAUTHORIZED);
}

static void a_ticket_opens_once_from_its_origin_in_time(void **state)
{
	struct sl_auth *a = *state;
	struct sl_identity admin, who;
	char ticket[SL_TICKET_TEXT_BYTES];
	const struct sl_str origin = SL_STR("http://127.0.0.1:7070");
	assert_int_equal(sl_auth_bearer(a, SL_STR("an-admin-token"), "::1", &admin), SL_OK);

	assert_int_equal(sl_auth_ticket(a, &admin, origin, ticket), SL_OK);
	assert_int_equal(sl_auth_ticket_take(a, sl_str(ticket), origin, &who), SL_OK);
	assert_int_equal(who.role, SL_ROLE_ADMIN);
	assert_int_equal(sl_auth_ticket_take(a, sl_str(ticket), origin, &who), SL_UNAUTHORIZED); /* spent */

	assert_int_equal(sl_auth_ticket(a, &admin, origin, ticket), SL_OK);
	assert_int_equal(sl_auth_ticket_take(a, sl_str(ticket), SL_STR("http://127.0.0.1:7071"), &who),
			 SL_UNAUTHORIZED);
	assert_int_equal(sl_auth_ticket_take(a, sl_str(ticket), origin, &who),
			 SL_UNAUTHORIZED); /* and spent by the attempt */

	assert_int_equal(sl_auth_ticket(a, &admin, SL_STR(""), ticket), SL_OK);
	assert_int_equal(sl_auth_ticket_take(a, sl_str(ticket), origin, &who), SL_UNAUTHORIZED);

	assert_int_equal(sl_auth_ticket(a, &admin, origin, ticket), SL_OK);
	mono_ms += SL_TICKET_MS;
	assert_int_equal(sl_auth_ticket_take(a, sl_str(ticket), origin, &who), SL_UNAUTHORIZED);
	assert_int_equal(sl_auth_ticket_take(a, SL_STR("guess"), origin, &who), SL_UNAUTHORIZED);
}

static void a_ticket_dies_with_its_token(void **state)
{
	struct sl_auth *a = *state;
	struct sl_identity who;
	char ticket[SL_TICKET_TEXT_BYTES];
	const struct sl_auth_token t = token("slt_w", SL_ROLE_VIEWER);
	assert_int_equal(sl_auth_add_token(a, &t), SL_OK);
	assert_int_equal(sl_auth_bearer(a, SL_STR("slt_w"), "::1", &who), SL_OK);
	assert_int_equal(sl_auth_ticket(a, &who, SL_STR(""), ticket), SL_OK);
	sl_auth_drop_token(a, t.id);
	assert_int_equal(sl_auth_ticket_take(a, sl_str(ticket), SL_STR(""), &who), SL_UNAUTHORIZED);
}

static void unused_tickets_are_bounded(void **state)
{
	struct sl_auth *a = *state;
	struct sl_identity who = {.role = SL_ROLE_ADMIN};
	char ticket[SL_TICKET_TEXT_BYTES];
	unsigned n = 0;
	while (n < 100000 && sl_auth_ticket(a, &who, SL_STR(""), ticket) == SL_OK)
		n++;
	assert_int_equal(n, 4096);
	mono_ms += SL_TICKET_MS;
	assert_int_equal(sl_auth_ticket(a, &who, SL_STR(""), ticket), SL_OK);
}

static const struct {
	const char *host;
	bool allowed;
} hosts[] = {
	{"127.0.0.1", true},
	{"127.0.0.1:7070", true},
	{"localhost", true},
	{"LOCALHOST:1", true},
	{"[::1]:7070", true},
	{"10.1.2.3:80", true},
	{"sluice.example.org", true},
	{"sluice.example.org:443", true},
	{"Sluice.Example.Org", true},
	{"with.port:8443", true},
	{"with.port", false},
	{"with.port:1", false},
	{"", false},
	{"evil.example", false},
	{"localhost.evil.example", false},
	{"evil.example:7070", false},
	{"127.0.0.1.evil.example", false},
	{"sluice.example.org.evil", false},
	{"xsluice.example.org", false},
	{"127.0.0.1:", false},
	{"127.0.0.1:x", false},
	{"[::1", false},
	{"[::1]x", false},
	{"localhost:7070@evil", false},
	{"1.2.3", false},
};

static void only_our_names_are_answered(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(hosts); i++)
		if (sl_auth_host_allowed(sl_str(hosts[i].host), "sluice.example.org, with.port:8443") !=
		    hosts[i].allowed)
			fail_msg("host '%s' should be %s", hosts[i].host, hosts[i].allowed ? "allowed" : "refused");
}

static const struct {
	const char *origin, *host;
	bool tls, allowed;
} origins[] = {
	{"http://127.0.0.1:7070", "127.0.0.1:7070", false, true},
	{"https://127.0.0.1:7070", "127.0.0.1:7070", true, true},
	{"https://app.example.org", "127.0.0.1:7070", false, true},
	{"https://127.0.0.1:7070", "127.0.0.1:7070", false, false},
	{"http://127.0.0.1:7070", "127.0.0.1:7070", true, false},
	{"http://127.0.0.1:7071", "127.0.0.1:7070", false, false},
	{"http://127.0.0.1", "127.0.0.1:7070", false, false},
	{"http://localhost:7070", "127.0.0.1:7070", false, false},
	{"http://127.0.0.1:7070.evil.example", "127.0.0.1:7070", false, false},
	{"http://127.0.0.1:7070/", "127.0.0.1:7070", false, false},
	{"http://evil.example", "127.0.0.1:7070", false, false},
	{"https://app.example.org.evil", "127.0.0.1:7070", false, false},
	{"https://xapp.example.org", "127.0.0.1:7070", false, false},
	{"null", "127.0.0.1:7070", false, false},
	{"", "127.0.0.1:7070", false, false},
	{"file://", "127.0.0.1:7070", false, false},
	{"127.0.0.1:7070", "127.0.0.1:7070", false, false},
};

static void only_our_origin_is_ours(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(origins); i++)
		if (sl_auth_origin_allowed(sl_str(origins[i].origin), sl_str(origins[i].host), origins[i].tls,
					   "https://app.example.org") != origins[i].allowed)
			fail_msg("origin '%s' at '%s'", origins[i].origin, origins[i].host);
}

static void without_memory(void *arg)
{
	struct sl_auth *a = NULL;
	struct sl_identity who = {.role = SL_ROLE_ADMIN, .name = "admin"};
	struct sl_auth_token token = {.role = SL_ROLE_VIEWER, .id = {{1}}};
	char ticket[SL_TICKET_TEXT_BYTES];
	(void)setup((void **)&a);
	if (!a)
		return;
	enum sl_code added = sl_auth_add_token(a, &token);
	assert_true(added == SL_OK || added == SL_NO_MEMORY);
	assert_int_equal(sl_auth_knows(a, token.id), added == SL_OK);
	SL_IGNORE(sl_auth_set_tokens(a, &token, 1)); /* or the ones there were stay */
	SL_IGNORE(sl_auth_failed(a, "192.0.2.1"));   /* or it is forgotten */
	if (sl_auth_ticket(a, &who, SL_STR("o"), ticket) == SL_OK)
		assert_int_equal(sl_auth_ticket_take(a, sl_str(ticket), SL_STR("o"), &who), SL_OK);
	sl_auth_free(a);
}

static void a_door_without_memory_refuses_and_stands(void **state)
{
	unsigned failed = sl_test_torture(without_memory, NULL);
	assert_true(!sl_test_can_torture() || failed > 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_known_token_is_its_role, setup, teardown),
		cmocka_unit_test_setup_teardown(two_secrets_are_never_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(a_token_ends_when_it_says, setup, teardown),
		cmocka_unit_test_setup_teardown(guessing_a_short_admin_token_is_slowed_down_by_address, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_session_names_its_token_for_twelve_hours, setup, teardown),
		cmocka_unit_test_setup_teardown(a_session_cannot_be_altered_or_outlive_its_token, setup, teardown),
		cmocka_unit_test_setup_teardown(a_new_admin_token_or_key_ends_old_sessions, setup, teardown),
		cmocka_unit_test_setup_teardown(a_ticket_opens_once_from_its_origin_in_time, setup, teardown),
		cmocka_unit_test_setup_teardown(a_ticket_dies_with_its_token, setup, teardown),
		cmocka_unit_test_setup_teardown(unused_tickets_are_bounded, setup, teardown),
		cmocka_unit_test(a_door_without_memory_refuses_and_stands),
		cmocka_unit_test(only_our_names_are_answered),
		cmocka_unit_test(only_our_origin_is_ours),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
