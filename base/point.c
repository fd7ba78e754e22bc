/* base/point.c: see point.h. Nothing is locked: a spec's count is over all threads, so "the 3rd pass" is the third in
 * the process, whoever makes it. */
#include "base/point.h"

#if SL_DEBUG
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SPECS 32

#define NAME(name, what) name,
static const char *const names[] = {SL_POINTS(NAME)};
#undef NAME
#define POINTS (sizeof(names) / sizeof(names[0]))

enum action { ABORT, EXIT, ERROR, DELAY };

static struct spec {
	size_t point;
	char about[64];
	unsigned from, to;
	enum action action;
	unsigned ms;
	_Atomic unsigned hits;
} specs[SPECS];
static size_t n_specs;
static struct sl_point_row *report; /* mapped; NULL: nobody counts */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic int ready; /* 0 unread, 1 nothing to do, 2 armed or counting */

static void refuse(const char *spec, const char *why)
{
	fprintf(stderr, "SLUICE_FAILPOINT: '%s': %s\n", spec, why);
	_exit(2);
}

static size_t point_of(const char *name)
{
	size_t i = 0;
	while (i < POINTS && strcmp(names[i], name) != 0)
		i++;
	return i;
}

static void read_spec(const char *text)
{
	char name[64], about[64] = "", nth[16], action[16], more[16] = "", *end, *at;
	if (n_specs == SPECS)
		refuse(text, "too many of them");
	if (sscanf(text, "%63[^:]:%15[^:]:%15[^:]:%15s", name, nth, action, more) < 3)
		refuse(text, "write name:nth:action");
	at = strchr(name, '@');
	if (at) {
		memcpy(about, at + 1, strlen(at + 1) + 1);
		*at = 0;
	}
	struct spec *s = &specs[n_specs];
	memcpy(s->about, about, sizeof(about));
	s->point = point_of(name);
	if (s->point == POINTS)
		refuse(text, "there is no such point");
	s->from = (unsigned)strtoul(nth, &end, 10);
	s->to = s->from;
	if (strcmp(nth, "*") == 0 || (s->from && strcmp(end, "+") == 0)) {
		s->from = s->from ? s->from : 1;
		s->to = UINT32_MAX;
	} else if (!s->from || *end) {
		refuse(text, "nth is a number from 1, a number with + behind it, or *");
	}
	if (strcmp(action, "abort") == 0)
		s->action = ABORT;
	else if (strcmp(action, "exit") == 0)
		s->action = EXIT;
	else if (strcmp(action, "error") == 0)
		s->action = ERROR;
	else if (strcmp(action, "delay") == 0)
		s->action = DELAY;
	else
		refuse(text, "the action is abort, exit, error or delay");
	s->ms = more[0] ? (unsigned)strtoul(more, NULL, 10) : 200;
	n_specs++;
}

static void map_report(const char *path)
{
	size_t bytes = POINTS * sizeof(*report);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	void *p = fd >= 0 && ftruncate(fd, (off_t)bytes) == 0
			  ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
			  : MAP_FAILED;
	if (p == MAP_FAILED) {
		perror(path);
		_exit(2);
	}
	close(fd);
	report = p;
	for (size_t i = 0; i < POINTS; i++)
		(void)snprintf(report[i].name, sizeof(report[i].name), "%s", names[i]); /* names are short */
}

static void read_environment(void)
{
	const char *spec = getenv("SLUICE_FAILPOINT"), *path = getenv("SLUICE_FAILPOINT_REPORT");
	char *copy = spec ? strdup(spec) : NULL, *save = NULL;
	for (char *one = copy ? strtok_r(copy, ",", &save) : NULL; one; one = strtok_r(NULL, ",", &save))
		read_spec(one);
	free(copy);
	if (path && *path)
		map_report(path);
	atomic_store_explicit(&ready, n_specs || report ? 2 : 1, memory_order_release);
}

void sl_points_start(void)
{
	pthread_once(&once, read_environment);
}

bool sl_point_hit(const char *name, const char *about)
{
	int state = atomic_load_explicit(&ready, memory_order_acquire);
	bool failed = false;
	if (state == 0) {
		sl_points_start();
		state = atomic_load_explicit(&ready, memory_order_acquire);
	}
	if (state == 1)
		return false;
	size_t point = point_of(name);
	if (point == POINTS)
		refuse(name, "has no row in base/point.h");
	if (report)
		__atomic_fetch_add(&report[point].hits, 1, __ATOMIC_RELAXED);
	for (size_t i = 0; i < n_specs; i++) {
		struct spec *s = &specs[i];
		if (s->point != point || (s->about[0] && !(about && strstr(about, s->about))))
			continue;
		unsigned hit = atomic_fetch_add(&s->hits, 1) + 1;
		if (hit < s->from || hit > s->to)
			continue;
		switch (s->action) {
		case ABORT:
			abort();
		case EXIT:
			_exit(137);
		case ERROR:
			failed = true;
			break;
		case DELAY:
			nanosleep(&(struct timespec){.tv_sec = s->ms / 1000, .tv_nsec = (long)(s->ms % 1000) * 1000000},
				  NULL);
			break;
		}
	}
	return failed;
}
#endif
