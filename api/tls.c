/* api/tls.c: TLS between the socket and the HTTP connection, through two memory BIOs. */
#include <openssl/err.h>

#include "api/server_priv.h"

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
			   unsigned in_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";
	if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, ours, sizeof(ours) - 1, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	return SSL_TLSEXT_ERR_OK;
}

enum sl_code tls_context(const char *cert, const char *key, SSL_CTX **out, struct sl_error *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	if (!ctx)
		return sl_fail(err, SL_NO_MEMORY, "TLS context");
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	const char *what = NULL;
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		what = cert;
	else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		what = key;
	if (what) {
		unsigned long e = ERR_get_error();
		const char *why = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);
		ERR_clear_error();
		SSL_CTX_free(ctx);
		return sl_fail(err, SL_INVALID, "cannot use '%s' for TLS: %s", what, why ? why : "it is no PEM file");
	}
	*out = ctx;
	return SL_OK;
}

bool tls_begin(struct sl_conn *c)
{
	c->ssl = SSL_new(c->server->tls);
	c->rbio = BIO_new(BIO_s_mem());
	c->wbio = BIO_new(BIO_s_mem());
	if (!c->ssl || !c->rbio || !c->wbio) {
		BIO_free(c->rbio);
		BIO_free(c->wbio);
		SSL_free(c->ssl);
		c->ssl = NULL;
		return false;
	}
	SSL_set_bio(c->ssl, c->rbio, c->wbio); /* both belong to ssl now */
	SSL_set_accept_state(c->ssl);
	return true;
}

static bool flush(struct sl_conn *c)
{
	char *p;
	long n = BIO_get_mem_data(c->wbio, &p);
	if (n > 0) {
		conn_write_raw(c, sl_str_n(p, (size_t)n), SL_STR(""), CONN_COPY, NULL);
		SL_IGNORE(BIO_reset(c->wbio)); /* a memory BIO always can */
	}
	return true;
}

void tls_input(struct sl_conn *c, const char *p, size_t len)
{
	char plain[16 << 10];
	if (BIO_write(c->rbio, p, (int)len) != (int)len) {
		conn_close(c);
		return;
	}
	if (!c->tls_ready) {
		int rc = SSL_do_handshake(c->ssl);
		int why = rc == 1 ? 0 : SSL_get_error(c->ssl, rc);
		flush(c);
		if (rc != 1) {
			ERR_clear_error();
			if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
				conn_close(c);
			return;
		}
		c->tls_ready = true;
	}
	for (;;) {
		int n = SSL_read(c->ssl, plain, sizeof(plain));
		if (n <= 0) {
			int why = SSL_get_error(c->ssl, n);
			ERR_clear_error();
			flush(c);
			if (c->state != CONN_CLOSED && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
				conn_close(c); /* also close_notify: TLS has no half-closed clients worth an answer */
			return;
		}
		conn_input(c, plain, (size_t)n);
		if (c->state == CONN_CLOSED)
			return;
	}
}

bool tls_output(struct sl_conn *c, const char *p, size_t len)
{
	if (len == 0)
		return true;
	size_t done = 0;
	int rc = SSL_write_ex(c->ssl, p, len, &done); /* a memory BIO takes everything */
	ERR_clear_error();
	return rc == 1 && done == len && flush(c);
}

void tls_bye(struct sl_conn *c)
{
	if (c->tls_ready) {
		SL_IGNORE(SSL_shutdown(c->ssl)); /* only our half of it: the socket closes soon */
		ERR_clear_error();
		flush(c);
	}
}

void tls_end(struct sl_conn *c)
{
	SSL_free(c->ssl);
	c->ssl = NULL;
}
