/* Test points: what the environment arms happens at that pass and no other, and what cannot be meant is refused. Each
 * case is a process of its own, because the environment is read once. */
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"

#define REPORT "/tmp/sluice-test-points.%d"

/* Passes `points` one after the other; exits with the number of those that said "fail". */
static int passes(const char *spec, const char *report, const char *const *points)
{
	int status;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		int failed = 0;
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
		unsetenv("SLUICE_FAILPOINT");
		unsetenv("SLUICE_FAILPOINT_REPORT");
		if (spec)
			setenv("SLUICE_FAILPOINT", spec, 1);
		if (report)
			setenv("SLUICE_FAILPOINT_REPORT", report, 1);
		for (; *points; points++) {
			const char *colon = strchr(*points, ':');
			char name[64] = "";
			memcpy(name, *points, colon ? (size_t)(colon - *points) : strlen(*points));
			failed += sl_point_hit(name, colon ? colon + 1 : NULL);
		}
		_exit(10 + failed);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#define PASSES(spec, ...) passes(spec, NULL, (const char *const[]){__VA_ARGS__, NULL})

static void nothing_happens_where_nothing_is_armed(void **state)
{
	assert_int_equal(PASSES(NULL, "journal.sent", "node.start"), 10);
	assert_int_equal(PASSES("journal.sent:1:error", "node.start", "node.start"), 10);
}

static void the_nth_pass_is_the_one(void **state)
{
	assert_int_equal(PASSES("journal.sent:2:error", "journal.sent", "journal.sent", "journal.sent"), 11);
	assert_int_equal(PASSES("journal.sent:2+:error", "journal.sent", "journal.sent", "journal.sent"), 12);
	assert_int_equal(PASSES("journal.sent:*:error", "journal.sent", "journal.sent", "journal.sent"), 13);
	assert_int_equal(PASSES("journal.sent:1:error,journal.sent:3:error,node.start:1:error", "journal.sent",
				"journal.sent", "journal.sent", "node.start"),
			 13);
}

static void a_point_can_be_told_by_what_it_is_about(void **state)
{
	assert_int_equal(PASSES("node.start@poison:1:exit", "node.start", "node.start:a"), 10);
	assert_int_equal(PASSES("node.start@poison:1:exit", "node.start:a", "node.start:each#2/poison"), 137);
	/* only what it is about is counted */
	assert_int_equal(PASSES("node.start@b:2:error", "node.start:a", "node.start:b", "node.start:a"), 10);
}

static void a_process_can_be_ended_and_held_up(void **state)
{
	uint64_t began = 0, ended = 0;
	struct timespec t;
	assert_int_equal(PASSES("publish.before:1:abort", "publish.before"), -SIGABRT);
	assert_int_equal(PASSES("publish.before:1:exit", "publish.before"), 137);
	clock_gettime(CLOCK_MONOTONIC, &t);
	began = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	assert_int_equal(PASSES("publish.before:*:delay:50", "publish.before", "publish.before"), 10);
	clock_gettime(CLOCK_MONOTONIC, &t);
	ended = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	assert_true(ended - began >= 99);
}

static void what_cannot_be_meant_is_refused(void **state)
{
	static const char *const bad[] = {"journal.snet:1:error",  "journal.sent",         "journal.sent:1",
					  "journal.sent:0:error",  "journal.sent:x:error", "journal.sent:1x:error",
					  "journal.sent:1:errors", "journal.sent:-:abort", "journal.sent:+:abort"};
	for (size_t i = 0; i < SL_COUNT_OF(bad); i++)
		assert_int_equal(PASSES(bad[i], "journal.sent"), 2);
	assert_int_equal(PASSES("journal.sent:9:error", "a point nobody has listed"), 2);
}

static void passes_are_counted_however_the_process_ends(void **state)
{
	char path[64];
	struct sl_point_row row;
	uint64_t sent = 0, before = 0, other = 0;
	snprintf(path, sizeof(path), REPORT, (int)getpid());
	unlink(path);
	const char *const once[] = {"journal.sent", "journal.sent", "publish.before", NULL};
	assert_int_equal(passes("publish.before:1:abort", path, once), -SIGABRT);
	assert_int_equal(passes(NULL, path, once), 10); /* it adds up */
	FILE *f = fopen(path, "rbe");
	assert_non_null(f);
	while (fread(&row, sizeof(row), 1, f) == 1) {
		if (strcmp(row.name, "journal.sent") == 0)
			sent = row.hits;
		else if (strcmp(row.name, "publish.before") == 0)
			before = row.hits;
		else
			other += row.hits;
	}
	fclose(f);
	unlink(path);
	assert_int_equal(sent, 4);
	assert_int_equal(before, 2);
	assert_int_equal(other, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_happens_where_nothing_is_armed),
		cmocka_unit_test(the_nth_pass_is_the_one),
		cmocka_unit_test(a_point_can_be_told_by_what_it_is_about),
		cmocka_unit_test(a_process_can_be_ended_and_held_up),
		cmocka_unit_test(what_cannot_be_meant_is_refused),
		cmocka_unit_test(passes_are_counted_however_the_process_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
