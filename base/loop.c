/* base/loop.c: see loop.h. The async handle is sent once per burst: only the push that finds the queue empty wakes. */
#include "base/loop.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct sl_loop {
	uv_loop_t uv;
	uv_async_t wake;
	uv_prepare_t before_poll;
	pthread_t thread;
	_Atomic int started; /* 0 not yet, 1 running, 2 joined */
	_Atomic bool stopping;
	struct sl_mpsc queue;
	char name[16];
	uint64_t last_us, last_idle_ns; /* at the last turn's end */
	uint64_t window_began_us, window_most_us;
	_Atomic uint64_t lag_us;
};

static void drain(struct sl_loop *l)
{
	struct sl_link *it;
	while ((it = sl_mpsc_take(&l->queue)))
		while (it) {
			struct sl_post *p = SL_CONTAINER_OF(it, struct sl_post, link);
			it = it->next; /* before run: p may be freed there */
			p->run(p);
		}
}

static void on_wake(uv_async_t *h)
{
	struct sl_loop *l = h->data;
	drain(l);
	if (atomic_load(&l->stopping))
		uv_stop(&l->uv);
}

/* A turn is what lies between two waits. I/O callbacks run inside libuv's poll phase, so no pair of hooks encloses
 * them; but libuv counts the time it was idle there, and the rest was work. */
static void on_before_poll(uv_prepare_t *h)
{
	struct sl_loop *l = h->data;
	uint64_t now = sl_clock_mono_us(), idle = uv_metrics_idle_time(&l->uv);
	uint64_t all = now - l->last_us, idled = (idle - l->last_idle_ns) / 1000u;
	uint64_t took = all > idled ? all - idled : 0;
	l->last_us = now;
	l->last_idle_ns = idle;
	if (took > l->window_most_us)
		l->window_most_us = took;
	if (took > atomic_load_explicit(&l->lag_us, memory_order_relaxed)) /* a long one is told at once */
		atomic_store_explicit(&l->lag_us, took, memory_order_relaxed);
	if (now - l->window_began_us > 1000000) {
		atomic_store_explicit(&l->lag_us, l->window_most_us, memory_order_relaxed);
		l->window_began_us = now;
		l->window_most_us = 0;
	}
}

enum sl_code sl_loop_new(const char *name, struct sl_loop **out)
{
	struct sl_loop *l = calloc(1, sizeof(*l));
	if (!l)
		return SL_NO_MEMORY;
	if (uv_loop_init(&l->uv) != 0) {
		free(l);
		return SL_NO_MEMORY;
	}
	SL_BUG_ON(uv_loop_configure(&l->uv, UV_METRICS_IDLE_TIME) != 0); /* the one option of every libuv >= 1.39 */
	sl_mpsc_init(&l->queue);
	strncpy(l->name, name, sizeof(l->name) - 1);
	SL_BUG_ON(uv_async_init(&l->uv, &l->wake, on_wake) != 0);
	l->wake.data = l;
	uv_prepare_init(&l->uv, &l->before_poll);
	l->before_poll.data = l;
	uv_prepare_start(&l->before_poll, on_before_poll);
	uv_unref((uv_handle_t *)&l->before_poll);
	l->last_us = l->window_began_us = sl_clock_mono_us();
	*out = l;
	return SL_OK;
}

static void *loop_main(void *arg)
{
	struct sl_loop *l = arg;
	sigset_t pipe;
	(void)pthread_setname_np(pthread_self(), l->name); /* a name is a nicety */
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE); /* libuv and OpenSSL write without MSG_NOSIGNAL; a gone peer is an error code here */
	pthread_sigmask(SIG_BLOCK, &pipe, NULL);
	l->last_us = sl_clock_mono_us();
	(void)uv_run(&l->uv, UV_RUN_DEFAULT); /* ends by uv_stop; open handles are closed in sl_loop_stop */
	return NULL;
}

enum sl_code sl_loop_start(struct sl_loop *l)
{
	if (pthread_create(&l->thread, NULL, loop_main, l) != 0)
		return SL_NO_MEMORY;
	atomic_store(&l->started, 1);
	return SL_OK;
}

void sl_loop_post(struct sl_loop *l, struct sl_post *p)
{
	if (sl_mpsc_push(&l->queue, &p->link))
		uv_async_send(&l->wake);
}

struct call {
	struct sl_post post;
	void (*fn)(void *);
	void *arg;
};

static void call_run(struct sl_post *p)
{
	struct call *c = SL_CONTAINER_OF(p, struct call, post);
	void (*fn)(void *) = c->fn;
	void *arg = c->arg;
	free(c);
	fn(arg);
}

enum sl_code sl_loop_call(struct sl_loop *l, void (*fn)(void *), void *arg)
{
	struct call *c = malloc(sizeof(*c));
	if (!c)
		return SL_NO_MEMORY;
	*c = (struct call){.post.run = call_run, .fn = fn, .arg = arg};
	sl_loop_post(l, &c->post);
	return SL_OK;
}

static void close_one(uv_handle_t *h, void *arg)
{
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

void sl_loop_stop(struct sl_loop *l)
{
	if (atomic_load(&l->started) == 1) {
		atomic_store(&l->stopping, true);
		uv_async_send(&l->wake);
		pthread_join(l->thread, NULL);
		atomic_store(&l->started, 2);
	}
	drain(l);
}

void sl_loop_free(struct sl_loop *l)
{
	if (!l)
		return;
	sl_loop_stop(l);
	uv_walk(&l->uv, close_one, NULL);
	while (uv_run(&l->uv, UV_RUN_DEFAULT) != 0) {
	}
	SL_BUG_ON(uv_loop_close(&l->uv) != 0);
	free(l);
}

uv_loop_t *sl_loop_uv(struct sl_loop *l)
{
	return &l->uv;
}

bool sl_loop_is_here(const struct sl_loop *l)
{
	return atomic_load(&((struct sl_loop *)(uintptr_t)l)->started) != 1 || pthread_equal(l->thread, pthread_self());
}

uint64_t sl_loop_lag_us(const struct sl_loop *l)
{
	return atomic_load_explicit(&((struct sl_loop *)(uintptr_t)l)->lag_us, memory_order_relaxed);
}

#ifdef __SANITIZE_THREAD__
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

/* libuv closes by a bare system call, which thread sanitizer does not see: it would take a descriptor that another
 * thread opens next for the one that was closed, and the two for a race. So that call comes through here. What the
 * descriptor was used for until now is not compared: libuv's own waiting for its users is not seen either. */
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
long syscall(long number, ...);

__attribute__((no_sanitize("thread"))) long syscall(long number, ...)
{
	static long (*real)(long, ...);
	long a[6];
	va_list ap;
	va_start(ap, number);
	for (int i = 0; i < 6; i++) /* the C library's takes six as well, whatever it was given */
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_close) {
		AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
		int rc = close((int)a[0]);
		AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
		return rc;
	}
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
#endif
