/* cmd/stop.c: see stop.h. */
#include "cmd/stop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

static sigset_t ending(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	return set;
}

void sl_stop_block(void)
{
	sigset_t set = ending();
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* What was ignored for us stays so: nohup, or a shell's background job, means it. */
}

int sl_stop_wait(void)
{
	sigset_t set = ending();
	int sig = 0;
	while (sigwait(&set, &sig) != 0)
		;
	return sig;
}

int sl_stop_wait_ms(unsigned ms)
{
	sigset_t set = ending();
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};
	int sig = sigtimedwait(&set, NULL, &t);
	return sig > 0 ? sig : 0;
}
