/* The server with TLS, under a certificate of its own: the same is answered, and who is one too many is closed. */
#include "tests/lib/test.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "tests/lib/server_rig.h"

static char cert_path[64], key_path[64];

static bool write_pair(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	snprintf(cert_path, sizeof(cert_path), "/tmp/sluice-test-cert-XXXXXX");
	snprintf(key_path, sizeof(key_path), "/tmp/sluice-test-key-XXXXXX");
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"test", -1,
				   -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	FILE *c = fdopen(mkstemp(cert_path), "w"), *k = fdopen(mkstemp(key_path), "w");
	bool ok = X509_sign(cert, key, EVP_sha256()) && c && k && PEM_write_X509(c, cert) &&
		  PEM_write_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL);
	if (c)
		fclose(c);
	if (k)
		fclose(k);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

static int setup_of(void **state, uint32_t most)
{
	if (!write_pair())
		return -1;
	return start(state,
		     (struct sl_server_config){.tls_cert = cert_path, .tls_key = key_path, .max_connections = most});
}

static int setup_any(void **state)
{
	return setup_of(state, 0);
}

static int setup_one(void **state)
{
	return setup_of(state, 1);
}

static int teardown_tls(void **state)
{
	int rc = teardown(state);
	unlink(cert_path);
	unlink(key_path);
	return rc;
}

/* As sl_test_recv: what was interrupted is tried again. */
static bool again(SSL *ssl, int rc)
{
	return errno == EINTR && SSL_get_error(ssl, rc) == SSL_ERROR_WANT_READ;
}

static bool read_tls(SSL *ssl, char *to, size_t len, size_t *n)
{
	int rc;
	while ((rc = SSL_read_ex(ssl, to, len, n)) != 1 && again(ssl, rc))
		;
	return rc == 1;
}

static void with_tls_more_connections_than_may_be_open_are_closed(void **state)
{
	int first = dial(*state), second = dial(*state); /* they are taken in this order */
	assert_true(closed(second));
	close(first);
	close(second);
}

static void over_tls_the_same_is_answered(void **state)
{
	struct rig *g = *state;
	int fd = dial(g);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	char got[4096];
	size_t n;
	SSL_set_fd(ssl, fd);
	int rc;
	while ((rc = SSL_connect(ssl)) != 1 && again(ssl, rc))
		;
	assert_int_equal(rc, 1);
	const char text[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello";
	for (int round = 0; round < 3; round++) {
		assert_int_equal(SSL_write_ex(ssl, text, sizeof(text) - 1, &n), 1);
		size_t at = 0;
		while (at < 5 || memcmp(got + at - 5, "hello", 5) != 0) {
			assert_true(read_tls(ssl, got + at, sizeof(got) - at, &n));
			at += n;
		}
		assert_int_equal(strncmp(got, "HTTP/1.1 200 OK", 15), 0);
		assert_non_null(memmem(got, at, "Strict-Transport-Security", 25));
	}
	const char big[] = "GET /big?n=4000000 HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n";
	assert_int_equal(SSL_write_ex(ssl, big, sizeof(big) - 1, &n), 1);
	size_t all = 0;
	while (read_tls(ssl, got, sizeof(got), &n))
		all += n;
	assert_true(all > 4000000);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);

	fd = dial(g); /* plain text at a TLS port */
	say(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
	SL_AUTO_MEM char *none = hear(fd);
	assert_null(strstr(none, "HTTP/1.1"));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(with_tls_more_connections_than_may_be_open_are_closed, setup_one,
						teardown_tls),
		cmocka_unit_test_setup_teardown(over_tls_the_same_is_answered, setup_any, teardown_tls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
