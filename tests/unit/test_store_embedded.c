/* The embedded cluster: made, adopted after a SIGKILL of the server, revived after one of PostgreSQL, one server a
 * folder. */
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "store/embedded.h"
#include "tests/lib/pg.h"

static char dir[256];

static int setup(void **state)
{
	sl_pg_temp_dir(dir, sizeof(dir));
	return 0;
}

static int teardown(void **state)
{
	sl_pg_remove_dir(dir);
	return 0;
}

static struct sl_cluster *start(const char *where)
{
	struct sl_cluster *c = NULL;
	struct sl_error err = {0};
	if (sl_cluster_start(&(struct sl_cluster_config){.data_dir = where}, &c, &err) != SL_OK)
		fail_msg("%s", err.text);
	return c;
}

static bool answers(const struct sl_cluster *c)
{
	PGconn *pg = PQconnectdb(sl_cluster_url(c));
	bool ok = PQstatus(pg) == CONNECTION_OK;
	PQfinish(pg);
	return ok;
}

/* Another process starts the cluster and dies by SIGKILL; returns the postmaster's process id. */
static int start_in_a_process_that_is_killed(void)
{
	int fd[2], pid = 0;
	assert_int_equal(pipe(fd), 0);
	pid_t child = fork();
	if (child == 0) {
		struct sl_cluster *c = NULL;
		struct sl_error err = {0};
		if (sl_cluster_start(&(struct sl_cluster_config){.data_dir = dir}, &c, &err) == SL_OK)
			pid = sl_cluster_pid(c);
		else
			fprintf(stderr, "%s\n", err.text);
		if (write(fd[1], &pid, sizeof(pid)) < 0)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	close(fd[1]);
	assert_int_equal(read(fd[0], &pid, sizeof(pid)), sizeof(pid));
	close(fd[0]);
	waitpid(child, NULL, 0);
	assert_true(pid > 0);
	return pid;
}

static void starts_answers_and_stops_cleanly(void **state)
{
	struct stat st;
	char path[300];
	struct sl_cluster *c = start(dir);
	int pid = sl_cluster_pid(c);
	assert_true(answers(c));
	assert_false(sl_cluster_adopted(c));
	snprintf(path, sizeof(path), "%s/pg", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	if (geteuid() == 0)
		assert_int_not_equal(st.st_uid, 0);
	sl_cluster_stop(c, 10000);
	assert_int_equal(kill(pid, 0), -1);
	snprintf(path, sizeof(path), "%s/pg/postmaster.pid", dir);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_second_server_is_refused_and_told_why(void **state)
{
	struct sl_cluster *c = start(dir), *second = NULL;
	struct sl_error err = {0};
	char mine[32];
	snprintf(mine, sizeof(mine), "process %d", (int)getpid());
	assert_int_equal(sl_cluster_start(&(struct sl_cluster_config){.data_dir = dir}, &second, &err), SL_CONFLICT);
	assert_non_null(strstr(err.text, "another server uses the data folder"));
	assert_non_null(strstr(err.text, mine));
	sl_cluster_stop(c, 10000);
}

static void a_postmaster_left_behind_is_adopted(void **state)
{
	int pid = start_in_a_process_that_is_killed();
	struct sl_cluster *c = start(dir);
	assert_true(sl_cluster_adopted(c));
	assert_int_equal(sl_cluster_pid(c), pid);
	assert_true(answers(c));
	char url[1024];
	snprintf(url, sizeof(url), "%s", sl_cluster_url(c));
	sl_cluster_stop(c, 10000); /* though it was never our child */
	PGconn *pg = PQconnectdb(url);
	assert_int_not_equal(PQstatus(pg), CONNECTION_OK);
	PQfinish(pg);
}

static void a_dead_postmaster_is_started_again(void **state)
{
	int pid = start_in_a_process_that_is_killed();
	kill(pid, SIGKILL);
	struct sl_cluster *c = start(dir);
	assert_false(sl_cluster_adopted(c));
	assert_int_not_equal(sl_cluster_pid(c), pid);
	assert_true(answers(c));
	sl_cluster_stop(c, 10000);
}

static void a_stale_pid_file_that_names_a_stranger_is_no_obstacle(void **state)
{
	char path[300];
	struct sl_cluster *c = start(dir);
	snprintf(path, sizeof(path), "%s/pg/postmaster.pid", dir);
	sl_cluster_stop(c, 10000);
	/* The number is that of a living process of the same user, as after a restart of a container. */
	pid_t stranger = fork();
	if (stranger == 0) {
		struct stat st;
		char pg[300];
		snprintf(pg, sizeof(pg), "%s/pg", dir);
		if (stat(pg, &st) == 0 && geteuid() == 0 && setuid(st.st_uid) != 0)
			_exit(1);
		for (;;)
			pause();
	}
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%d\n%s/pg\n1700000000\n5432\n%s/pg\n\n  1234567 9999999\nready   \n", (int)stranger, dir, dir);
	fclose(f);
	assert_int_equal(chmod(path, 0644), 0);
	c = start(dir);
	assert_true(answers(c));
	kill(stranger, SIGKILL);
	waitpid(stranger, NULL, 0);
	sl_cluster_stop(c, 10000);
}

static void the_watcher_starts_a_killed_postgres_again(void **state)
{
	struct sl_cluster *c = start(dir);
	int pid = sl_cluster_pid(c);
	assert_int_equal(sl_cluster_watch(c), SL_OK);
	kill(pid, SIGKILL);
	while (sl_cluster_pid(c) == pid || sl_cluster_pid(c) == 0 || !answers(c))
		usleep(2000); /* the test's time limit ends this */
	sl_cluster_stop(c, 10000);
}

static void a_long_folder_name_gets_its_socket_elsewhere(void **state)
{
	char deep[600];
	snprintf(deep, sizeof(deep), "%s/%0120d", dir, 1);
	struct sl_cluster *c = start(deep);
	assert_true(answers(c));
	assert_null(strstr(sl_cluster_url(c), deep));
	sl_cluster_stop(c, 10000);
}

static void a_folder_that_may_not_be_entered_is_named(void **state)
{
	char closed[300], data[320];
	struct sl_cluster *c = NULL;
	struct sl_error err = {0};
	if (geteuid() != 0)
		skip();
	snprintf(closed, sizeof(closed), "%s/closed", dir);
	snprintf(data, sizeof(data), "%s/data", closed);
	assert_int_equal(mkdir(closed, 0700), 0);
	assert_int_equal(sl_cluster_start(&(struct sl_cluster_config){.data_dir = data}, &c, &err), SL_FORBIDDEN);
	assert_non_null(strstr(err.text, closed));
	assert_non_null(strstr(err.text, "chmod o+x"));
}

static void a_link_below_a_closed_folder_leads_to_an_open_one(void **state)
{
	char closed[300], link[320], open[300];
	snprintf(closed, sizeof(closed), "%s/closed", dir);
	snprintf(link, sizeof(link), "%s/data", closed);
	snprintf(open, sizeof(open), "%s/open", dir);
	assert_int_equal(mkdir(open, 0711), 0);
	assert_int_equal(mkdir(closed, 0700), 0);
	assert_int_equal(symlink(open, link), 0);
	struct sl_cluster *c = start(link);
	assert_true(answers(c));
	assert_null(strstr(sl_cluster_url(c), closed));
	sl_cluster_stop(c, 10000);
}

static void a_missing_postgres_is_named_with_its_package(void **state)
{
	char path[512];
	struct sl_error err = {0};
	assert_int_equal(sl_cluster_find(99, path, sizeof(path), NULL, &err), SL_NOT_FOUND);
	assert_non_null(strstr(err.text, "postgresql-99"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(starts_answers_and_stops_cleanly, setup, teardown),
		cmocka_unit_test_setup_teardown(a_second_server_is_refused_and_told_why, setup, teardown),
		cmocka_unit_test_setup_teardown(a_postmaster_left_behind_is_adopted, setup, teardown),
		cmocka_unit_test_setup_teardown(a_dead_postmaster_is_started_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stale_pid_file_that_names_a_stranger_is_no_obstacle, setup, teardown),
		cmocka_unit_test_setup_teardown(the_watcher_starts_a_killed_postgres_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_long_folder_name_gets_its_socket_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(a_folder_that_may_not_be_entered_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(a_link_below_a_closed_folder_leads_to_an_open_one, setup, teardown),
		cmocka_unit_test(a_missing_postgres_is_named_with_its_package),
	};
	return cmocka_run_group_tests_name("store/embedded", tests, NULL, NULL);
}
