/* Names are looked up on threads of their own; the C library's look-up is ours here, and answers when it is let. */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/limits.h"
#include "llm/resolve.h"

#define NAMES (3 * SL_LIMIT_EGRESS_LOOKUPS)

static struct {
	pthread_mutex_t m;
	pthread_cond_t changed;
	bool let;           /* look-ups may end */
	unsigned now, most; /* look-ups in the C library */
	unsigned addresses; /* that a name has */
	unsigned done, wrong;
	size_t n;
	struct sl_address last;
} seen = {.m = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	struct item {
		struct addrinfo info;
		struct sockaddr_in a;
	} * items;
	pthread_mutex_lock(&seen.m);
	if (++seen.now > seen.most)
		seen.most = seen.now;
	pthread_cond_broadcast(&seen.changed);
	while (!seen.let)
		pthread_cond_wait(&seen.changed, &seen.m);
	seen.now--;
	unsigned n = seen.addresses;
	pthread_mutex_unlock(&seen.m);
	items = calloc(n, sizeof(*items));
	if (!items)
		return EAI_MEMORY;
	for (unsigned i = 0; i < n; i++) {
		items[i].a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x01010100 + i)};
		items[i].info = (struct addrinfo){.ai_family = AF_INET,
						  .ai_addr = (struct sockaddr *)&items[i].a,
						  .ai_addrlen = sizeof(items[i].a),
						  .ai_next = i + 1 < n ? &items[i + 1].info : NULL};
	}
	*res = &items->info;
	return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
	free(list); /* the first of its array */
}

static void on_found(void *arg, enum sl_code rc, const struct sl_address *list, size_t n, const struct sl_error *err)
{
	pthread_mutex_lock(&seen.m);
	seen.done++;
	seen.wrong += rc != SL_OK;
	seen.n = n;
	if (n)
		seen.last = list[n - 1];
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.m);
}

/* Asks for so many names, lets them be answered when `busy` are in the C library, and waits for all. */
static void ask(unsigned names, unsigned busy, unsigned addresses)
{
	struct sl_resolver *r = NULL;
	seen.let = false;
	seen.now = seen.most = seen.done = seen.wrong = 0;
	seen.addresses = addresses;
	assert_int_equal(sl_resolver_new(SL_LIMIT_EGRESS_LOOKUPS, &r), SL_OK);
	for (unsigned i = 0; i < names; i++)
		sl_resolver_start(r, "many.example.com", on_found, NULL);
	pthread_mutex_lock(&seen.m);
	while (seen.now < busy)
		pthread_cond_wait(&seen.changed, &seen.m);
	seen.let = true;
	pthread_cond_broadcast(&seen.changed);
	while (seen.done < names)
		pthread_cond_wait(&seen.changed, &seen.m);
	pthread_mutex_unlock(&seen.m);
	sl_resolver_close(r);
	assert_int_equal(seen.wrong, 0);
}

static void so_many_names_are_looked_up_at_once_and_the_others_wait(void **state)
{
	ask(NAMES, SL_LIMIT_EGRESS_LOOKUPS, 1);
	assert_int_equal(seen.most, SL_LIMIT_EGRESS_LOOKUPS);
}

static void of_a_name_with_many_addresses_some_are_looked_at(void **state)
{
	char text[SL_ADDRESS_TEXT_BYTES];
	ask(1, 1, SL_LIMIT_ADDRESSES + 8);
	assert_int_equal(seen.n, SL_LIMIT_ADDRESSES);
	sl_address_text(&seen.last, text);
	assert_string_equal(text, "1.1.1.31"); /* the first of them, in their order */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(so_many_names_are_looked_up_at_once_and_the_others_wait),
		cmocka_unit_test(of_a_name_with_many_addresses_some_are_looked_at),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
