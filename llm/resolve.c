/* llm/resolve.c: see resolve.h. A thread is detached, because it may sit in the C library for half a minute when the
 * server wants to stop; what it touches is counted. */
#include "llm/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/list.h"

#define RESOLVE_STACK_BYTES (512u << 10)

struct lookup {
	struct sl_list link;
	sl_resolve_fn *fn;
	void *arg;
	char host[];
};

struct sl_resolver {
	_Atomic uint32_t refs; /* the owner, each thread */
	pthread_mutex_t lock;
	struct sl_list waiting; /* [lock] */
	uint32_t threads, most; /* [lock] */
	bool closed;            /* [lock] */
};

static void resolver_unref(struct sl_resolver *r)
{
	if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static void fail(struct lookup *l, enum sl_code rc, const char *why)
{
	struct sl_error err;
	l->fn(l->arg, sl_fail(&err, rc, "%s", why), NULL, 0, &err);
	free(l);
}

static void look_up(struct lookup *l) /* blocks */
{
	static const struct addrinfo hints = {
		.ai_flags = AI_ADDRCONFIG, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct sl_address list[SL_LIMIT_ADDRESSES];
	struct addrinfo *found = NULL;
	size_t n = 0;
	int rc = getaddrinfo(l->host, NULL, &hints, &found);
	if (rc != 0) {
		fail(l, SL_CONNECT, rc == EAI_NONAME ? "there is no such host" : gai_strerror(rc));
		return;
	}
	for (struct addrinfo *a = found; a && n < SL_COUNT_OF(list); a = a->ai_next)
		n += sl_address_read(a->ai_addr, a->ai_addrlen, &list[n]);
	freeaddrinfo(found);
	if (n == 0) {
		fail(l, SL_CONNECT, "the host has no address");
		return;
	}
	l->fn(l->arg, SL_OK, list, n, NULL);
	free(l);
}

static void *resolver_main(void *arg)
{
	struct sl_resolver *r = arg;
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL); /* signals are for the main thread */
	pthread_mutex_lock(&r->lock);
	while (!sl_list_empty(&r->waiting)) {
		struct lookup *l = sl_list_entry(r->waiting.next, struct lookup, link);
		sl_list_drop(&l->link);
		pthread_mutex_unlock(&r->lock);
		look_up(l);
		pthread_mutex_lock(&r->lock);
	}
	r->threads--;
	pthread_mutex_unlock(&r->lock);
	resolver_unref(r);
	return NULL;
}

static bool spawn(struct sl_resolver *r)
{
	pthread_attr_t attr;
	pthread_t t;
	if (pthread_attr_init(&attr) != 0)
		return false;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, RESOLVE_STACK_BYTES);
	bool made = pthread_create(&t, &attr, resolver_main, r) == 0;
	pthread_attr_destroy(&attr);
	return made;
}

enum sl_code sl_resolver_new(uint32_t threads, struct sl_resolver **out)
{
	struct sl_resolver *r = calloc(1, sizeof(*r));
	if (!r)
		return SL_NO_MEMORY;
	atomic_init(&r->refs, 1);
	pthread_mutex_init(&r->lock, NULL);
	sl_list_init(&r->waiting);
	r->most = threads ? threads : 1;
	*out = r;
	return SL_OK;
}

void sl_resolver_start(struct sl_resolver *r, const char *host, sl_resolve_fn *fn, void *arg)
{
	struct sl_error err;
	size_t len = strlen(host) + 1;
	struct lookup *l = malloc(sizeof(*l) + len);
	if (!l) {
		fn(arg, sl_fail(&err, SL_NO_MEMORY, "name look-up"), NULL, 0, &err);
		return;
	}
	*l = (struct lookup){.fn = fn, .arg = arg};
	memcpy(l->host, host, len);
	pthread_mutex_lock(&r->lock);
	bool closed = r->closed;
	if (!closed) {
		sl_list_append(&r->waiting, &l->link);
		if (r->threads < r->most) {
			r->threads++;
			atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
			if (!spawn(r)) {
				r->threads--;
				atomic_fetch_sub_explicit(&r->refs, 1, memory_order_relaxed); /* the owner's is left */
				if (r->threads == 0) { /* nobody would ever take it */
					sl_list_drop(&l->link);
					closed = true;
				}
			}
		}
	}
	pthread_mutex_unlock(&r->lock);
	if (closed)
		fail(l, r->closed ? SL_CANCELLED : SL_NO_MEMORY, "the name could not be looked up");
}

void sl_resolver_close(struct sl_resolver *r)
{
	if (!r)
		return;
	struct sl_list waiting;
	sl_list_init(&waiting);
	pthread_mutex_lock(&r->lock);
	r->closed = true;
	while (!sl_list_empty(&r->waiting)) {
		struct sl_list *it = r->waiting.next;
		sl_list_drop(it);
		sl_list_append(&waiting, it);
	}
	pthread_mutex_unlock(&r->lock);
	while (!sl_list_empty(&waiting)) {
		struct lookup *l = sl_list_entry(waiting.next, struct lookup, link);
		sl_list_drop(&l->link);
		fail(l, SL_CANCELLED, "the server is stopping");
	}
	resolver_unref(r);
}
