/* llm/gate.c: see gate.h. Who is woken is the first in the queue; a place that is free stays free until it has come for
 * it, so a newcomer cannot slip in between. */
#include "llm/named.h"

#include "llm/gate.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"

struct sl_gate {
	char *name;
	UT_hash_handle hh;
	struct sl_list queue;
	uint32_t most, inside, waiting;
};

struct sl_gates {
	pthread_mutex_t lock;
	struct sl_gate *gates; /* [lock] and all in them; one goes when nobody is in it */
};

struct woken {
	const struct sl_wake *wake;
	void *handle;
};

enum sl_code sl_gates_new(struct sl_gates **out)
{
	struct sl_gates *g = calloc(1, sizeof(*g));
	if (!g)
		return SL_NO_MEMORY;
	pthread_mutex_init(&g->lock, NULL);
	*out = g;
	return SL_OK;
}

void sl_gates_free(struct sl_gates *g)
{
	if (!g)
		return;
	SL_BUG_ON(g->gates != NULL);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static struct sl_gate *gate_get(struct sl_gates *g, struct sl_str name)
{
	struct sl_gate *one;
	HASH_FIND(hh, g->gates, name.p, name.len, one);
	if (one)
		return one;
	one = calloc(1, sizeof(*one));
	if (one && (one->name = sl_str_dup(name)) != NULL) {
		sl_list_init(&one->queue);
		HASH_ADD_KEYPTR(hh, g->gates, one->name, name.len, one);
		if (one->hh.tbl)
			return one;
	}
	if (one)
		free(one->name);
	free(one);
	return NULL;
}

static void gate_put(struct sl_gates *g, struct sl_gate *one)
{
	if (one->inside || one->waiting)
		return;
	HASH_DEL(g->gates, one);
	free(one->name);
	free(one);
}

static struct woken next_of(const struct sl_gate *one)
{
	if (sl_list_empty(&one->queue) || one->inside >= one->most)
		return (struct woken){0};
	struct sl_pass *p = sl_list_entry(one->queue.next, struct sl_pass, link);
	return p->wake ? (struct woken){p->wake, p->wake->ref(p->handle)} : (struct woken){0};
}

static void wake(struct woken w) /* without the lock */
{
	if (!w.wake)
		return;
	w.wake->wake(w.handle);
	w.wake->unref(w.handle);
}

enum sl_code sl_gate_enter(struct sl_gates *g, struct sl_str name, uint32_t most, struct sl_pass *p,
			   const struct sl_wake *w, void *handle, uint64_t *ahead)
{
	struct woken next = {0};
	enum sl_code rc = SL_OK;
	*ahead = 0;
	if (p->state == SL_PASS_INSIDE)
		return SL_OK;
	pthread_mutex_lock(&g->lock);
	struct sl_gate *one = p->state == SL_PASS_WAITING ? p->gate : gate_get(g, name);
	if (!one)
		rc = SL_NO_MEMORY;
	else if (p->state == SL_PASS_NONE && one->waiting >= SL_GATE_WAITERS)
		rc = SL_BUSY;
	if (rc == SL_OK) {
		one->most = most ? most : 1;
		if (p->state == SL_PASS_NONE) {
			*p = (struct sl_pass){.gate = one, .wake = w, .handle = handle, .state = SL_PASS_WAITING};
			sl_list_append(&one->queue, &p->link);
			one->waiting++;
		}
		if (one->queue.next == &p->link && one->inside < one->most) {
			sl_list_drop(&p->link);
			one->waiting--;
			one->inside++;
			p->state = SL_PASS_INSIDE;
			next = next_of(one); /* there may be room for more than one */
		} else {
			*ahead = one->waiting; /* at most: exact for whoever came last */
		}
	}
	pthread_mutex_unlock(&g->lock);
	wake(next);
	return rc;
}

void sl_gate_leave(struct sl_gates *g, struct sl_pass *p)
{
	struct woken next = {0};
	if (p->state == SL_PASS_NONE)
		return;
	pthread_mutex_lock(&g->lock);
	struct sl_gate *one = p->gate;
	if (p->state == SL_PASS_INSIDE) {
		one->inside--;
	} else {
		sl_list_drop(&p->link);
		one->waiting--;
	}
	p->state = SL_PASS_NONE;
	next = next_of(one);
	gate_put(g, one);
	pthread_mutex_unlock(&g->lock);
	wake(next);
}

uint32_t sl_gate_inside(struct sl_gates *g, struct sl_str name)
{
	struct sl_gate *one;
	pthread_mutex_lock(&g->lock);
	HASH_FIND(hh, g->gates, name.p, name.len, one);
	uint32_t n = one ? one->inside : 0;
	pthread_mutex_unlock(&g->lock);
	return n;
}

void sl_gates_json(struct sl_gates *g, struct sl_buf *out)
{
	struct sl_gate *one, *tmp;
	pthread_mutex_lock(&g->lock);
	HASH_ITER (hh, g->gates, one, tmp) {
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "name", one->name);
		sl_buf_json_ku64(out, "most", one->most);
		sl_buf_json_ku64(out, "inside", one->inside);
		sl_buf_json_ku64(out, "waiting", one->waiting);
		sl_buf_addc(out, '}');
	}
	pthread_mutex_unlock(&g->lock);
}
