#include "tests/lib/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/secrets.h"

struct fixture {
	char dir[64], path[200];
	struct sl_error err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "/tmp/sluice-secrets-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	sl_log_setup(SL_LOG_ERROR, SL_LOG_TEXT, 2);
	*state = f;
	return 0;
}
static int teardown(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = {"secret-key", "admin-token"};
	for (size_t i = 0; i < 2; i++) {
		snprintf(f->path, sizeof(f->path), "%s/%s", f->dir, names[i]);
		unlink(f->path);
	}
	assert_int_equal(rmdir(f->dir), 0); /* nothing temporary was left */
	free(f);
	return 0;
}

static void write_file(struct fixture *f, const char *name, const char *text, mode_t mode)
{
	snprintf(f->path, sizeof(f->path), "%s/%s", f->dir, name);
	int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, mode) == 0);
	close(fd);
}

static void secrets_are_made_once_and_closed_to_others(void **state)
{
	struct fixture *f = *state;
	uint8_t first[32], again[32];
	char token[SL_ADMIN_TOKEN_BYTES], token_again[SL_ADMIN_TOKEN_BYTES];
	struct stat st;
	assert_int_equal(sl_secret_key(f->dir, NULL, first, &f->err), SL_OK);
	assert_int_equal(sl_secret_key(f->dir, NULL, again, &f->err), SL_OK);
	assert_memory_equal(first, again, 32);
	assert_int_equal(sl_admin_token(f->dir, NULL, token, &f->err), SL_OK);
	assert_int_equal(sl_admin_token(f->dir, NULL, token_again, &f->err), SL_OK);
	assert_string_equal(token, token_again);
	assert_true(strlen(token) >= 43);
	snprintf(f->path, sizeof(f->path), "%s/secret-key", f->dir);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	snprintf(f->path, sizeof(f->path), "%s/admin-token", f->dir);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_setting_goes_before_the_file_and_writes_none(void **state)
{
	struct fixture *f = *state;
	uint8_t key[32];
	char token[SL_ADMIN_TOKEN_BYTES];
	assert_int_equal(
		sl_secret_key(f->dir, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", key, &f->err),
		SL_OK);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(key[i], i);
	assert_int_equal(sl_admin_token(f->dir, "chosen-by-a-person", token, &f->err), SL_OK);
	assert_string_equal(token, "chosen-by-a-person");
}

static void what_is_no_secret_is_refused_without_showing_it(void **state)
{
	struct fixture *f = *state;
	uint8_t key[32];
	char token[SL_ADMIN_TOKEN_BYTES], longest[400];
	static const char *const keys[] = {"", "12", "zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
					   "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00"};
	static const char *const tokens[] = {"", "short", "has a space in it!", "line\nbreak-0123456789"};
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(sl_secret_key(f->dir, keys[i], key, &f->err), SL_INVALID);
		assert_int_equal(sl_admin_token(f->dir, tokens[i], token, &f->err), SL_INVALID);
		assert_true(strlen(tokens[i]) < 5 || !strstr(f->err.text, tokens[i]));
	}
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(sl_admin_token(f->dir, longest, token, &f->err), SL_INVALID);
	write_file(f, "secret-key", "not hex\n", 0600);
	assert_int_equal(sl_secret_key(f->dir, NULL, key, &f->err), SL_INVALID);
}

static void a_file_open_to_others_is_closed(void **state)
{
	struct fixture *f = *state;
	char token[SL_ADMIN_TOKEN_BYTES];
	struct stat st;
	write_file(f, "admin-token", "0123456789abcdef\n", 0644);
	assert_int_equal(sl_admin_token(f->dir, NULL, token, &f->err), SL_OK);
	assert_string_equal(token, "0123456789abcdef");
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_link_in_place_of_the_file_is_not_followed(void **state)
{
	struct fixture *f = *state;
	char token[SL_ADMIN_TOKEN_BYTES];
	snprintf(f->path, sizeof(f->path), "%s/admin-token", f->dir);
	assert_int_equal(symlink("/etc/hostname", f->path), 0);
	assert_int_equal(sl_admin_token(f->dir, NULL, token, &f->err), SL_FORBIDDEN);
}

struct racer {
	pthread_t thread;
	const char *dir;
	char token[SL_ADMIN_TOKEN_BYTES];
	enum sl_code rc;
};
static void *race(void *arg)
{
	struct racer *r = arg;
	struct sl_error err;
	r->rc = sl_admin_token(r->dir, NULL, r->token, &err);
	return NULL;
}
static void all_who_start_at_once_agree(void **state)
{
	struct fixture *f = *state;
	struct racer r[4];
	struct sl_error err;
	char token[SL_ADMIN_TOKEN_BYTES];
	for (size_t i = 0; i < 4; i++) {
		r[i] = (struct racer){.dir = f->dir};
		assert_int_equal(pthread_create(&r[i].thread, NULL, race, &r[i]), 0);
	}
	for (size_t i = 0; i < 4; i++)
		pthread_join(r[i].thread, NULL);
	assert_int_equal(sl_admin_token(f->dir, NULL, token, &err), SL_OK);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(r[i].rc, SL_OK);
		assert_string_equal(r[i].token, token);
	}
}

static void a_folder_that_cannot_be_made_is_said(void **state)
{
	struct fixture *f = *state;
	uint8_t key[32];
	assert_int_equal(sl_secret_key("/proc/no/such", NULL, key, &f->err), SL_FORBIDDEN);
	assert_non_null(strstr(f->err.text, "/proc/no/such"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(secrets_are_made_once_and_closed_to_others),
		CASE(a_setting_goes_before_the_file_and_writes_none),
		CASE(what_is_no_secret_is_refused_without_showing_it),
		CASE(a_file_open_to_others_is_closed),
		CASE(a_link_in_place_of_the_file_is_not_followed),
		CASE(all_who_start_at_once_agree),
		CASE(a_folder_that_cannot_be_made_is_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
