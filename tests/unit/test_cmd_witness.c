/* What a life of the server leaves to the next one: whom it may have ended for. */
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/witness.h"

struct fixture {
	char dir[64];
	struct sl_witness w;
};

static struct sl_run_id run(uint8_t n)
{
	struct sl_run_id id = {0};
	memset(&id, n, sizeof(id));
	return id;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "/tmp/sluice-witness-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	sl_log_setup(SL_LOG_ERROR, SL_LOG_TEXT, 2);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[100];
	snprintf(path, sizeof(path), "%s/serving", f->dir);
	unlink(path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

/* A life that serves these two (0: nobody) and ends by that signal, of its own hand or of somebody else's. */
static void life(struct fixture *f, uint8_t one, uint8_t other, int sig)
{
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit none = {0};
		setrlimit(RLIMIT_CORE, &none);
		for (int s = 1; s < 32; s++) /* the sanitizers', cmocka's */
			if (s == SIGSEGV || s == SIGABRT || s == SIGBUS || s == SIGFPE || s == SIGILL)
				signal(s, SIG_DFL);
		sl_witness_open(&f->w, f->dir);
		if (one)
			f->w.slots[3] = run(one);
		if (other)
			f->w.slots[9] = run(other);
		if (sig)
			raise(sig);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	if (sig)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == sig);
	else
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static uint32_t times(const struct fixture *f, uint8_t n)
{
	struct sl_run_id id = run(n);
	for (uint32_t i = 0; i < f->w.n_suspects; i++)
		if (sl_run_id_eq(f->w.suspects[i].id, id))
			return f->w.suspects[i].times;
	return 0;
}

static void look(struct fixture *f)
{
	sl_witness_open(&f->w, f->dir);
	sl_witness_close(&f->w);
}

static void nothing_is_known_of_a_life_that_was_not(void **state)
{
	struct fixture *f = *state;
	look(f);
	assert_false(f->w.known);
	assert_int_equal(f->w.n_suspects, 0);
	look(f);
	assert_true(f->w.known);
	assert_int_equal(f->w.n_suspects, 0);
}

static void whoever_was_served_at_each_end_stands_out(void **state)
{
	struct fixture *f = *state;
	for (uint32_t n = 1; n <= 7; n++) {
		life(f, 1, (uint8_t)(10 + n % 3), SIGKILL);
		look(f);
		assert_int_equal(f->w.n_suspects, 2);
		assert_int_equal(times(f, 1), n);
		assert_int_equal(times(f, (uint8_t)(10 + n % 3)), 1);
	}
}

static void two_threads_that_serve_one_run_count_once(void **state)
{
	struct fixture *f = *state;
	life(f, 4, 4, SIGKILL);
	look(f);
	assert_int_equal(f->w.n_suspects, 1);
	assert_int_equal(times(f, 4), 1);
}

static void an_end_while_nobody_was_served_accuses_nobody_and_forgets_nobody(void **state)
{
	struct fixture *f = *state;
	life(f, 1, 2, SIGKILL);
	life(f, 0, 0, SIGKILL);
	look(f);
	assert_true(f->w.known);
	assert_int_equal(f->w.n_suspects, 0);
	life(f, 1, 0, SIGKILL);
	look(f);
	assert_int_equal(times(f, 1), 2);
	assert_int_equal(times(f, 2), 0);
}

/* The thread that crashes serves nobody here: what others serve at that moment has nothing to do with it. */
static void a_thread_that_crashes_speaks_for_itself(void **state)
{
	struct fixture *f = *state;
	static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		life(f, 1, 2, signals[i]);
		look(f);
		assert_true(f->w.known);
		assert_int_equal(f->w.n_suspects, 0);
	}
	life(f, 1, 2, SIGKILL);
	look(f);
	assert_int_equal(f->w.n_suspects, 2);
}

static void a_file_of_another_size_is_begun_anew(void **state)
{
	struct fixture *f = *state;
	char path[100];
	snprintf(path, sizeof(path), "%s/serving", f->dir);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	for (int i = 0; i < 5000; i++)
		fputc('x', file);
	fclose(file);
	look(f);
	assert_false(f->w.known);
	assert_int_equal(f->w.n_suspects, 0);
	look(f);
	assert_true(f->w.known);
	assert_int_equal(f->w.n_suspects, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		T(nothing_is_known_of_a_life_that_was_not),
		T(whoever_was_served_at_each_end_stands_out),
		T(two_threads_that_serve_one_run_count_once),
		T(an_end_while_nobody_was_served_accuses_nobody_and_forgets_nobody),
		T(a_thread_that_crashes_speaks_for_itself),
		T(a_file_of_another_size_is_begun_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
