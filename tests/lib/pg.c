/* tests/lib/pg.c: see pg.h. */
#include "tests/lib/test.h"

#include "tests/lib/pg.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "store/embedded.h"
#include "store/migrate.h"

void sl_pg_temp_dir(char *out, size_t out_bytes)
{
	const char *base = getenv("TMPDIR");
	if ((size_t)snprintf(out, out_bytes, "%s/sluice-test-XXXXXX", base && base[0] ? base : "/tmp") >= out_bytes ||
	    !mkdtemp(out) || chmod(out, 0711) != 0)
		fail_msg("no temporary folder: %s", out);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	return kind == FTW_DP || kind == FTW_DNR ? rmdir(path) : unlink(path);
}

void sl_pg_remove_dir(const char *dir)
{
	if (nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
		fprintf(stderr, "could not remove all of %s\n", dir);
}

void sl_pg_start(struct sl_pg *pg, enum sl_pg_schema schema)
{
	struct sl_error err = {0};
	*pg = (struct sl_pg){0};
	sl_pg_temp_dir(pg->dir, sizeof(pg->dir));
	if (sl_cluster_start(&(struct sl_cluster_config){.data_dir = pg->dir, .quick = true}, &pg->cluster, &err) !=
	    SL_OK)
		fail_msg("%s", err.text);
	pg->url = sl_cluster_url(pg->cluster);
	if (schema == SL_PG_MIGRATED && sl_migrate_up(pg->url, NULL, &err) != SL_OK)
		fail_msg("%s", err.text);
}

void sl_pg_stop(struct sl_pg *pg)
{
	sl_cluster_stop(pg->cluster, 5000);
	if (pg->dir[0])
		sl_pg_remove_dir(pg->dir);
	*pg = (struct sl_pg){0};
}

void sl_pg_kill(struct sl_pg *pg)
{
	assert_int_equal(kill(sl_cluster_pid(pg->cluster), SIGKILL), 0);
}

void sl_pg_revive(struct sl_pg *pg)
{
	struct sl_error err = {0};
	/* A killed process may still be there for a moment. */
	for (int i = 0; kill(sl_cluster_pid(pg->cluster), 0) == 0 && i < 1000; i++) {
		if (sl_cluster_revive(pg->cluster, &err) != SL_OK)
			fail_msg("%s", err.text);
		usleep(1000);
	}
	if (sl_cluster_revive(pg->cluster, &err) != SL_OK)
		fail_msg("%s", err.text);
}

static PGresult *query(struct sl_pg *pg, PGconn **conn, const char *sql)
{
	*conn = PQconnectdb(pg->url);
	if (PQstatus(*conn) != CONNECTION_OK)
		fail_msg("%s", PQerrorMessage(*conn));
	PGresult *r = PQexec(*conn, sql);
	if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(*conn));
	return r;
}

void sl_pg_exec(struct sl_pg *pg, const char *sql)
{
	PGconn *conn;
	PQclear(query(pg, &conn, sql));
	PQfinish(conn);
}

char *sl_pg_text(struct sl_pg *pg, const char *sql, char *out, size_t out_bytes)
{
	PGconn *conn;
	PGresult *r = query(pg, &conn, sql);
	snprintf(out, out_bytes, "%s", PQntuples(r) ? PQgetvalue(r, 0, 0) : "");
	PQclear(r);
	PQfinish(conn);
	return out;
}

long sl_pg_count(struct sl_pg *pg, const char *sql)
{
	char text[64];
	return strtol(sl_pg_text(pg, sql, text, sizeof(text)), NULL, 10);
}

void sl_pg_empty(struct sl_pg *pg)
{
	sl_pg_exec(pg, "SET client_min_messages = error; DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM "
		       "pg_tables WHERE schemaname = 'public' AND tablename "
		       "<> 'schema_migrations' LOOP EXECUTE format('TRUNCATE %I CASCADE', t); END LOOP; END $$");
}
