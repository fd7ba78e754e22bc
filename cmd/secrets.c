/* cmd/secrets.c: see secrets.h. */
#include "cmd/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "base/log.h"
#include "base/str.h"

static enum sl_code failed(struct sl_error *err, const char *what, const char *path)
{
	return sl_fail(err, SL_FORBIDDEN, "%s %s: %s", what, path, strerror(errno));
}

/* *out is the file's text without its line end; SL_NOT_FOUND: there is no file. */
static enum sl_code read_secret(const char *path, char *out, size_t bytes, struct sl_error *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? sl_fail(err, SL_NOT_FOUND, "%s is not there", path)
				       : failed(err, "cannot read", path);
	if (fstat(fd, &st) == 0 && (st.st_mode & 077) != 0) {
		sl_log(SL_LOG_WARN, "cmd", "a secret file was open to others and is closed now", SL_KS("path", path));
		if (fchmod(fd, 0600) != 0) {
			close(fd);
			return failed(err, "others can read, and it cannot be closed to them:", path);
		}
	}
	ssize_t n = read(fd, out, bytes - 1);
	close(fd);
	if (n < 0)
		return failed(err, "cannot read", path);
	while (n > 0 && (out[n - 1] == '\n' || out[n - 1] == '\r' || out[n - 1] == ' '))
		n--;
	out[n] = '\0';
	return SL_OK;
}

/* Makes the file with this text, unless somebody else was faster. */
static enum sl_code write_secret(const char *dir, const char *path, const char *text, struct sl_error *err)
{
	char temporary[4200];
	size_t len = strlen(text);
	snprintf(temporary, sizeof(temporary), "%s.%08x", path, randombytes_random());
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return failed(err, "cannot write", temporary);
	bool ok = write(fd, text, len) == (ssize_t)len && write(fd, "\n", 1) == 1 && fsync(fd) == 0;
	ok = close(fd) == 0 && ok;
	if (ok)
		ok = link(temporary, path) == 0 || errno == EEXIST;
	int why = errno;
	unlink(temporary);
	errno = why;
	if (!ok)
		return failed(err, "cannot write", path);
	int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder >= 0) {
		fsync(folder);
		close(folder);
	}
	return SL_OK;
}

static enum sl_code folder(const char *dir, struct sl_error *err)
{
	/* Passable: the embedded PostgreSQL may run as another user below it. The files in it are closed. */
	if (mkdir(dir, 0711) != 0 && errno != EEXIST)
		return failed(err, "cannot make the data folder", dir);
	return SL_OK;
}

/* The file's text, made by `make` when there is no file yet. */
static enum sl_code secret(const char *dir, const char *name, void (*make)(char *out, size_t bytes), char *out,
			   size_t bytes, struct sl_error *err)
{
	char path[4096], fresh[128];
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return sl_fail(err, SL_INVALID, "the data folder's name is too long");
	enum sl_code rc = folder(dir, err);
	if (rc == SL_OK)
		rc = read_secret(path, out, bytes, err);
	if (rc != SL_NOT_FOUND)
		return rc;
	make(fresh, sizeof(fresh));
	rc = write_secret(dir, path, fresh, err);
	sodium_memzero(fresh, sizeof(fresh));
	if (rc != SL_OK)
		return rc;
	sl_log(SL_LOG_INFO, "cmd", "made a secret", SL_KS("path", path));
	return read_secret(path, out, bytes, err); /* ours, or that of who was faster */
}

static void make_key(char *out, size_t bytes)
{
	uint8_t raw[32];
	randombytes_buf(raw, sizeof(raw));
	sodium_bin2hex(out, bytes, raw, sizeof(raw));
	sodium_memzero(raw, sizeof(raw));
}

static void make_token(char *out, size_t bytes)
{
	uint8_t raw[32];
	randombytes_buf(raw, sizeof(raw));
	snprintf(out, bytes, "sluice_");
	sodium_bin2base64(out + 7, bytes - 7, raw, sizeof(raw), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	sodium_memzero(raw, sizeof(raw));
}

enum sl_code sl_secret_key(const char *data_dir, const char *configured, uint8_t out[32], struct sl_error *err)
{
	char text[200];
	size_t n = 0;
	const char *end = NULL;
	enum sl_code rc = SL_OK;
	if (sodium_init() < 0)
		return sl_fail(err, SL_INTERNAL, "libsodium has no source of random numbers");
	if (!configured) {
		rc = secret(data_dir, "secret-key", make_key, text, sizeof(text), err);
		if (rc != SL_OK)
			return rc;
	}
	const char *hex = configured ? configured : text;
	if (strlen(hex) != 64 || sodium_hex2bin(out, 32, hex, 64, NULL, &n, &end) != 0 || n != 32)
		rc = sl_fail(err, SL_INVALID, "%s must be 64 hex digits (openssl rand -hex 32)",
			     configured ? "SLUICE_SECRET_KEY" : "the file secret-key in the data folder");
	sodium_memzero(text, sizeof(text));
	return rc;
}

enum sl_code sl_admin_token(const char *data_dir, const char *configured, char out[SL_ADMIN_TOKEN_BYTES],
			    struct sl_error *err)
{
	if (sodium_init() < 0)
		return sl_fail(err, SL_INTERNAL, "libsodium has no source of random numbers");
	if (configured)
		snprintf(out, SL_ADMIN_TOKEN_BYTES, "%s", configured);
	else {
		enum sl_code rc = secret(data_dir, "admin-token", make_token, out, SL_ADMIN_TOKEN_BYTES, err);
		if (rc != SL_OK)
			return rc;
	}
	/* RFC 6750's characters, so that it fits into a header as it is */
	size_t len = strlen(out);
	if (len < 16 || len >= SL_ADMIN_TOKEN_BYTES - 1 ||
	    len != strspn(out, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="))
		return sl_fail(err, SL_INVALID, "%s must be 16 to 254 characters of A-Z a-z 0-9 - . _ ~ + / =",
			       configured ? "SLUICE_ADMIN_TOKEN" : "the file admin-token in the data folder");
	return SL_OK;
}
