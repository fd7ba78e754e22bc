/* cmd/witness.c: see witness.h. */
#include "cmd/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

struct sl_witness_file {
	struct sl_run_id slots[SL_WITNESS_SLOTS];     /* all zero: nobody is served */
	struct sl_suspect suspects[SL_WITNESS_SLOTS]; /* of the end before, with their counts */
	uint32_t n_suspects;
	uint32_t crashed;        /* a thread made it end … */
	struct sl_run_id served; /* … while it served this one; zero: none */
};

static const struct sl_run_id nobody;
static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))
static struct sigaction before[SIGNALS];
static struct sl_witness_file *marks; /* where the handlers write */

/* Notes whom this thread serves, and lets the signal do what it would have done. */
static void on_crash(int sig, siginfo_t *info, void *context)
{
	(void)context;
	const struct sl_run_id *served = sl_engine_served_here();
	if (marks && !__atomic_exchange_n(&marks->crashed, 1, __ATOMIC_SEQ_CST) && served)
		marks->served = *served;
	for (size_t i = 0; i < SIGNALS; i++)
		if (signals[i] == sig)
			sigaction(sig, &before[i], NULL);
	if (info->si_code <= 0) /* somebody sent it; else it comes again with the instruction */
		raise(sig);
}

static void watch_signals(struct sl_witness_file *file)
{
	struct sigaction on = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigemptyset(&on.sa_mask);
	marks = file;
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &on, &before[i]);
}

static void unwatch_signals(void)
{
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &before[i], NULL);
	marks = NULL;
}

static void suspect(struct sl_witness *w, struct sl_run_id id)
{
	uint32_t times = 1;
	for (uint32_t i = 0; i < w->file->n_suspects && i < SL_WITNESS_SLOTS; i++)
		if (sl_run_id_eq(w->file->suspects[i].id, id))
			times += w->file->suspects[i].times;
	for (uint32_t i = 0; i < w->n_suspects; i++)
		if (sl_run_id_eq(w->suspects[i].id, id)) /* two threads had to do with it */
			return;
	w->suspects[w->n_suspects++] = (struct sl_suspect){.id = id, .times = times};
}

/* Those who were served when it ended. When nobody was, those of the end before it are kept in mind. */
static void read_file(struct sl_witness *w)
{
	if (w->file->crashed) {
		if (!sl_run_id_eq(w->file->served, nobody))
			suspect(w, w->file->served);
	} else {
		for (uint32_t i = 0; i < SL_WITNESS_SLOTS; i++)
			if (!sl_run_id_eq(w->slots[i], nobody))
				suspect(w, w->slots[i]);
	}
	if (w->n_suspects) {
		memcpy(w->file->suspects, w->suspects, sizeof(w->suspects));
		w->file->n_suspects = w->n_suspects;
	}
}

void sl_witness_open(struct sl_witness *w, const char *data_dir)
{
	char path[PATH_MAX];
	struct stat st;
	memset(w, 0, sizeof(*w));
	(void)snprintf(path, sizeof(path), "%s/serving", data_dir); /* the folder was opened by a longer name */
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p = MAP_FAILED;
	if (fd >= 0 && fstat(fd, &st) == 0) {
		w->known = st.st_size == (off_t)sizeof(*w->file);
		if ((w->known || ftruncate(fd, 0) == 0) && ftruncate(fd, (off_t)sizeof(*w->file)) == 0)
			p = mmap(NULL, sizeof(*w->file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	if (p == MAP_FAILED)
		sl_log(SL_LOG_WARN, "cmd", "what is served is not remembered across a crash", SL_KS("file", path),
		       SL_KS("error", strerror(errno)));
	if (fd >= 0)
		close(fd);
	if (p == MAP_FAILED) {
		w->known = false;
		return;
	}
	w->file = p;
	w->slots = w->file->slots;
	if (w->known)
		read_file(w);
	memset(w->slots, 0, sizeof(w->file->slots));
	w->file->served = nobody;
	w->file->crashed = 0;
	watch_signals(w->file);
}

void sl_witness_close(struct sl_witness *w)
{
	if (!w->file)
		return;
	unwatch_signals();
	munmap(w->file, sizeof(*w->file));
	w->file = NULL;
	w->slots = NULL;
}
