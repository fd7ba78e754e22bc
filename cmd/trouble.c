/* cmd/trouble.c: see trouble.h. */
#include "cmd/trouble.h"

#include "cmd/settings.h"

#define ANY    SL_OK /* of the codes: no start fails with it */
#define NOBODY 0     /* of the settings: --help */

static const struct trouble {
	enum sl_start step;
	enum sl_code code;
	size_t only;        /* only when somebody has set this one */
	size_t settings[3]; /* the first in any case, the others when somebody has set them */
	const char *instead;
} troubles[] = {
	{SL_START_ADDRESS,
	 ANY,
	 NOBODY,
	 {SL_SET_LISTEN, SL_SET_TLS_CERT, SL_SET_TLS_KEY},
	 "--listen HOST:PORT, as in --listen 127.0.0.1:7070; off this machine also --tls-cert FILE and --tls-key FILE "
	 "(both PEM), or "
	 "--insecure behind a proxy that has TLS"},
	{SL_START_LISTEN,
	 SL_UNAVAILABLE,
	 NOBODY,
	 {SL_SET_LISTEN},
	 "stop what listens there, or choose another address of this machine, as in --listen 127.0.0.1:7071; port 0 "
	 "picks a free one"},
	{SL_START_SECRET_KEY,
	 SL_INVALID,
	 SL_SET_SECRET_KEY,
	 {SL_SET_SECRET_KEY},
	 "64 hex digits, as `openssl rand -hex 32` prints them; without the setting a key is made and kept in the data "
	 "folder"},
	{SL_START_SECRET_KEY,
	 SL_INVALID,
	 NOBODY,
	 {SL_SET_DATA},
	 "put the 64 hex digits of a backup into that file; without them the stored keys of providers cannot be read. "
	 "If none are stored, "
	 "remove the file: it is made anew"},
	{SL_START_ADMIN_TOKEN,
	 SL_INVALID,
	 SL_SET_ADMIN_TOKEN,
	 {SL_SET_ADMIN_TOKEN},
	 "a longer one, as `openssl rand -hex 32` prints it; without the setting one is made and kept in the data "
	 "folder"},
	{SL_START_ADMIN_TOKEN, SL_INVALID, NOBODY, {SL_SET_DATA}, "remove that file: it is made anew"},
	{SL_START_SECRET_KEY, ANY, NOBODY, {SL_SET_DATA}, "a folder you may write to, as in --data ./data"},
	{SL_START_ADMIN_TOKEN, ANY, NOBODY, {SL_SET_DATA}, "a folder you may write to, as in --data ./data"},
	{SL_START_CLUSTER,
	 SL_CONFLICT,
	 NOBODY,
	 {SL_SET_DATA},
	 "stop the other server, or choose a folder of its own, as in --data ./data2"},
	{SL_START_CLUSTER,
	 SL_NOT_FOUND,
	 NOBODY,
	 {SL_SET_PG_BIN},
	 "apt-get install postgresql; or --pg-bin DIR, the folder with initdb and postgres; or --database-url URL, a "
	 "PostgreSQL of yours"},
	{SL_START_CLUSTER,
	 ANY,
	 SL_SET_PG_BIN,
	 {SL_SET_PG_BIN, SL_SET_DATA},
	 "the folder with initdb and postgres, as in --pg-bin /usr/lib/postgresql/15/bin; without the setting it is "
	 "looked for"},
	{SL_START_CLUSTER,
	 ANY,
	 NOBODY,
	 {SL_SET_DATA},
	 "another folder, as in --data /var/lib/sluice; or --database-url URL, a PostgreSQL of yours; `sluice doctor` "
	 "looks around"},
	{SL_START_DATABASE,
	 SL_CONFLICT,
	 SL_SET_DATABASE_URL,
	 {SL_SET_DATABASE_URL},
	 "start the version of Sluice that has used this database last, or name another database"},
	{SL_START_DATABASE,
	 SL_CONFLICT,
	 NOBODY,
	 {SL_SET_DATA},
	 "start the version of Sluice that has used this folder last, or choose another, as in --data ./data2"},
	{SL_START_DATABASE,
	 ANY,
	 SL_SET_DATABASE_URL,
	 {SL_SET_DATABASE_URL},
	 "see that PostgreSQL runs there, and that the address has its user, password and name: "
	 "postgresql://USER:PASSWORD@HOST:5432/NAME"},
	{SL_START_SIMULATOR,
	 ANY,
	 SL_SET_SIM_SCENARIO,
	 {SL_SET_SIM_SCENARIO},
	 "`sluice sim --check --scenario FILE` says all that is wrong with one; without the setting the built-in one "
	 "answers"},
	{SL_START_EGRESS,
	 ANY,
	 NOBODY,
	 {SL_SET_EGRESS_ALLOW, SL_SET_EGRESS_PORTS, SL_SET_CA_FILE},
	 "--egress-allow HOST:PORT,… as in service.internal:8080; --egress-ports PORT,… as in 443,8443; --ca-file FILE "
	 "(PEM)"},
};

static bool given(const struct sl_config *c, size_t setting)
{
	return sl_config_origin(c, setting) != SL_ORIGIN_DEFAULT;
}

const char *sl_trouble(const struct sl_config *c, enum sl_start step, enum sl_code code, const char *between,
		       struct sl_buf *settings)
{
	for (size_t i = 0; i < SL_COUNT_OF(troubles); i++) {
		const struct trouble *t = &troubles[i];
		if (t->step != step || (t->code != ANY && t->code != code) || (t->only != NOBODY && !given(c, t->only)))
			continue;
		sl_config_print_one(c, t->settings[0], settings);
		for (size_t k = 1; k < SL_COUNT_OF(t->settings); k++) {
			if (t->settings[k] == NOBODY || !given(c, t->settings[k]))
				continue;
			sl_buf_adds(settings, between);
			sl_config_print_one(c, t->settings[k], settings);
		}
		return t->instead;
	}
	return "`sluice doctor` looks for what keeps the server from running here";
}
