/* cmd/follow.c: see follow.h. What was seen is remembered as a seq and, per stream, an offset; so after a reconnect the
 * terminal goes on where it stood. */
#include "cmd/follow.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/cli.h"
#include "cmd/client.h"
#include "cmd/show.h"
#include "llm/sse.h"

#define FOLLOW_RETRY_LEAST_MS 200
#define FOLLOW_RETRY_MOST_MS  3000
#define FOLLOW_QUIET_LEAST_MS                                                                                          \
	4000 /* a stream may say nothing for this long before the run is asked for; doubled each time */
#define FOLLOW_QUIET_MOST_MS 16000
#define FOLLOW_PATIENCE_MS   600000 /* no answer for this long: give up (the run itself does not) */

static volatile sig_atomic_t interrupted;
static volatile int stop;

static void on_interrupt(int sig)
{
	interrupted = sig;
	stop = 1;
}

struct follow {
	struct sl_show *show; /* NULL with --json */
	const char *id;
	uint64_t last_seq;
	bool ended; /* the run's last event was seen */
	bool heard; /* anything since the connection was made */
};

static void to_stdout(void *ctx, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, bytes, len);
		if (n < 0 && errno != EINTR)
			return; /* nobody reads any more; the run's end still decides the exit code */
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
}

static unsigned columns(void)
{
	struct winsize size;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* The data of an event is the wire event: { event, run_id, seq?, ts, data }. */
static enum sl_code on_event(void *ctx, const struct sl_sse_event *e)
{
	struct follow *f = ctx;
	SL_AUTO_JSON wire = NULL;
	struct sl_error err;
	if (e->data.len == 0 || sl_json_parse(e->data, &wire, &err) != SL_OK)
		return SL_OK; /* not for us */
	const char *name = sl_json_get_z(wire, "event");
	int64_t seq = sl_json_get_i64(wire, "seq", 0);
	if (!name)
		return SL_OK;
	f->heard = true;
	if (seq > 0 && (uint64_t)seq > f->last_seq)
		f->last_seq = (uint64_t)seq;
	if (f->show) {
		sl_show_resize(f->show, columns());
		sl_show_event(f->show, name, seq > 0 ? (uint64_t)seq : 0, sl_json_get(wire, "data"));
	}
	if (strcmp(name, "execution:completed") == 0 || strcmp(name, "execution:failed") == 0 ||
	    strcmp(name, "execution:cancelled") == 0) {
		f->ended = true;
		return SL_CONFLICT; /* enough: ends the stream */
	}
	return SL_OK;
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L}, NULL);
}

/* Until the run has ended: *run is then its object. SL_CANCELLED: interrupted.
 *
 * The live events of a run come from the server that has it. Any other one is silent about it for ever, but has its
 * journal: so after a while of silence the run is asked for, and what was written meanwhile. */
static enum sl_code follow_to_end(struct follow *f, struct sl_client *client, struct json_object **run,
				  struct sl_error *err)
{
	unsigned wait_ms = FOLLOW_RETRY_LEAST_MS, quiet_ms = FOLLOW_QUIET_LEAST_MS;
	uint64_t last_good_ms = sl_clock_mono_ms();
	bool told = false, last = false;
	char path[200];

	for (;;) {
		f->heard = false;
		snprintf(path, sizeof(path), "/api/v1/runs/%s/events?after_seq=%llu", f->id,
			 (unsigned long long)f->last_seq);
		enum sl_code rc = sl_client_follow(client, path, on_event, f, quiet_ms, &stop, err);
		if (interrupted)
			return sl_fail(err, SL_CANCELLED, "interrupted");
		if (f->heard) {
			wait_ms = FOLLOW_RETRY_LEAST_MS;
			last_good_ms = sl_clock_mono_ms();
			told = false;
			quiet_ms = FOLLOW_QUIET_LEAST_MS;
		} else if (quiet_ms < FOLLOW_QUIET_MOST_MS) {
			quiet_ms *= 2;
		}
		/* Whatever ended the stream, the run itself says if there is more to come. */
		long status;
		snprintf(path, sizeof(path), "/api/v1/runs/%s", f->id);
		enum sl_code got = sl_client_call_status(client, "GET", path, NULL, NULL, run, &status, err);
		bool final = got == SL_OK && sl_run_is_final(sl_json_get_z(*run, "status"));
		if (final && (rc != SL_TIMEOUT || last))
			return SL_OK;
		last = final; /* how it came to that is in the journal, and read once more */
		if (got == SL_OK) {
			json_object_put(*run);
			*run = NULL;
			last_good_ms = sl_clock_mono_ms();
		} else if (status != 0 && status < 500 && status != 429)
			return got; /* it will not get better: no such run, no right to see it */
		if (sl_clock_mono_ms() - last_good_ms > FOLLOW_PATIENCE_MS)
			return got != SL_OK ? got : rc;
		if (last)
			continue;
		if (got != SL_OK && !told && f->show) {
			sl_show_note(f->show, "the server is away; waiting for it");
			told = true;
		}
		pause_ms(wait_ms);
		if (interrupted)
			return sl_fail(err, SL_CANCELLED, "interrupted");
		wait_ms = wait_ms * 2 > FOLLOW_RETRY_MOST_MS ? FOLLOW_RETRY_MOST_MS : wait_ms * 2;
	}
}

int sl_follow(const struct sl_cli *cli, struct sl_client *client, const char *id)
{
	bool terminal = isatty(STDOUT_FILENO);
	const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
	struct sl_show_config config = {
		.write = to_stdout,
		.terminal = terminal,
		.colour = terminal && !(no_colour && *no_colour) && !(term && strcmp(term, "dumb") == 0),
		.width = columns(),
	};
	SL_AUTO(sl_show) show = cli->json ? NULL : sl_show_new(&config);
	SL_AUTO_JSON run = NULL;
	struct follow f = {.show = show, .id = id};
	struct sigaction on = {.sa_handler = on_interrupt}, before_int, before_term;
	struct sl_error err = {0};

	fflush(stdout);
	if (show)
		sl_show_note(show, "run %s", id);
	sigaction(SIGINT, &on, &before_int);
	sigaction(SIGTERM, &on, &before_term);
	enum sl_code rc = follow_to_end(&f, client, &run, &err);
	sigaction(SIGINT, &before_int, NULL);
	sigaction(SIGTERM, &before_term, NULL);
	if (interrupted) {
		if (show)
			sl_show_note(show, "left; the run goes on.");
		fprintf(stderr, "watch it again:  sluice runs watch %s\ncancel it:       sluice runs cancel %s\n", id,
			id);
		return SL_EXIT_DETACHED;
	}
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	if (show)
		sl_show_end(show, run);
	else
		sl_cli_put_json(run, false);
	return sl_str_is(sl_json_get_str(run, "status"), "succeeded") ? SL_EXIT_DONE : SL_EXIT_FAILED;
}
