/* store/migrate.c: see migrate.h. Blocking libpq on purpose: it runs before there is a loop, and from the CLI. */
#include "store/migrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "base/embed.h"
#include "base/log.h"
#include "base/str.h"

/* Any constant: servers that migrate at the same time take turns by it. */
#define MIGRATION_LOCK "7237971053094471"

static void conn_auto(PGconn **pg)
{
	PQfinish(*pg);
}
static void result_auto(PGresult **r)
{
	PQclear(*r);
}
#define AUTO_CONN   __attribute__((cleanup(conn_auto))) PGconn *
#define AUTO_RESULT __attribute__((cleanup(result_auto))) PGresult *

static enum sl_code connect_to(const char *url, PGconn **out, struct sl_error *err)
{
	const char *keys[] = {"dbname", "application_name", "connect_timeout", "options", NULL};
	const char *values[] = {url, "sluice migrate", "15", "-c client_min_messages=warning", NULL};
	char *why = NULL;
	PQconninfoOption *parsed = PQconninfoParse(url, &why);
	if (!parsed) {
		enum sl_code rc = sl_fail(err, SL_INVALID, "the database url does not parse: %.*s",
					  why ? (int)strcspn(why, "\n") : 9, why ? why : "no memory");
		PQfreemem(why);
		return rc;
	}
	PQconninfoFree(parsed);
	*out = PQconnectdbParams(keys, values, 1);
	if (PQstatus(*out) == CONNECTION_OK)
		return SL_OK;
	char text[300];
	snprintf(text, sizeof(text), "%s", PQerrorMessage(*out));
	text[strcspn(text, "\n")] = 0;
	return sl_fail(err, SL_UNAVAILABLE, "cannot connect to PostgreSQL: %s", text);
}

static enum sl_code run(PGconn *pg, const char *sql, struct sl_error *err)
{
	AUTO_RESULT r = PQexec(pg, sql);
	ExecStatusType st = PQresultStatus(r);
	if (st == PGRES_COMMAND_OK || st == PGRES_TUPLES_OK)
		return SL_OK;
	const char *message = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY),
		   *at = PQresultErrorField(r, PG_DIAG_STATEMENT_POSITION);
	return sl_fail(err, PQstatus(pg) == CONNECTION_OK ? SL_INTERNAL : SL_UNAVAILABLE, "%s%s%s",
		       message ? message : PQerrorMessage(pg), at ? ", at character " : "", at ? at : "");
}

static uint32_t version_of(const char *name)
{
	return (uint32_t)strtoul(name, NULL, 10);
}

static uint32_t newest(const struct sl_embedded *files)
{
	uint32_t v = 0;
	for (; files->name; files++)
		if (version_of(files->name) > v)
			v = version_of(files->name);
	return v;
}

uint32_t sl_migrate_wanted(void)
{
	return newest(sl_embedded_migrations);
}

const char *sl_migration_status_name(enum sl_migration_status status)
{
	static const char *const names[] = {"applied", "pending", "changed", "unknown"};
	return names[status];
}

void sl_migrations_fini(struct sl_migrations *m)
{
	free(m->items);
	*m = (struct sl_migrations){0};
}

/* Compares the table with the files. */
static enum sl_code read_state(PGconn *pg, const struct sl_embedded *files, struct sl_migrations *out,
			       struct sl_error *err)
{
	size_t n_files = 0, rows = 0;
	while (files[n_files].name)
		n_files++;
	AUTO_RESULT there = PQexec(pg, "SELECT to_regclass('schema_migrations') IS NOT NULL");
	if (PQntuples(there) != 1)
		return sl_fail(err, SL_UNAVAILABLE, "cannot ask for the schema: %s", PQerrorMessage(pg));
	AUTO_RESULT r = NULL;
	if (PQgetvalue(there, 0, 0)[0] == 't') {
		r = PQexec(pg, "SELECT version, name, sha256, (extract(epoch FROM applied_at) * 1000)::bigint"
			       " FROM schema_migrations ORDER BY version");
		if (PQresultStatus(r) != PGRES_TUPLES_OK)
			return sl_fail(err, SL_INTERNAL, "cannot read schema_migrations: %s", PQerrorMessage(pg));
		rows = (size_t)PQntuples(r);
	}
	out->items = calloc(n_files + rows + 1, sizeof(*out->items));
	if (!out->items)
		return sl_fail(err, SL_NO_MEMORY, "migrations");
	for (size_t i = 0; i < n_files; i++) {
		struct sl_migration *m = &out->items[out->n++];
		m->version = version_of(files[i].name);
		m->status = SL_MIGRATION_PENDING;
		snprintf(m->name, sizeof(m->name), "%s", files[i].name);
	}
	for (size_t row = 0; row < rows; row++) {
		struct sl_migration *m = NULL;
		uint32_t version = (uint32_t)strtoul(PQgetvalue(r, (int)row, 0), NULL, 10);
		size_t i = 0;
		while (i < n_files && out->items[i].version != version)
			i++;
		if (i < n_files) {
			m = &out->items[i];
			m->status = strcmp(PQgetvalue(r, (int)row, 2), files[i].sha256) == 0 ? SL_MIGRATION_APPLIED
											     : SL_MIGRATION_CHANGED;
		} else {
			m = &out->items[out->n++];
			m->version = version;
			m->status = SL_MIGRATION_UNKNOWN;
			snprintf(m->name, sizeof(m->name), "%s", PQgetvalue(r, (int)row, 1));
		}
		m->applied_ms = strtoll(PQgetvalue(r, (int)row, 3), NULL, 10);
	}
	for (size_t i = 0; i < out->n; i++)
		out->pending += out->items[i].status == SL_MIGRATION_PENDING;
	return SL_OK;
}

enum sl_code sl_migrate_state(const char *url, struct sl_migrations *out, struct sl_error *err)
{
	AUTO_CONN pg = NULL;
	*out = (struct sl_migrations){0};
	enum sl_code rc = connect_to(url, &pg, err);
	if (rc == SL_OK)
		rc = read_state(pg, sl_embedded_migrations, out, err);
	if (rc != SL_OK)
		sl_migrations_fini(out);
	return rc;
}

static enum sl_code refuse(const struct sl_migrations *m, struct sl_error *err)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->items[i].status == SL_MIGRATION_CHANGED)
			return sl_fail(err, SL_CONFLICT,
				       "migration %s was applied with another content than this binary has: a released "
				       "migration never changes, so binary and database do not belong together",
				       m->items[i].name);
		if (m->items[i].status == SL_MIGRATION_UNKNOWN)
			return sl_fail(err, SL_CONFLICT,
				       "the database is newer than this binary (it has migration %s): start the newer "
				       "version of Sluice",
				       m->items[i].name);
	}
	return SL_OK;
}

static enum sl_code apply_one(PGconn *pg, const struct sl_embedded *file, struct sl_error *err)
{
	char version[16];
	snprintf(version, sizeof(version), "%u", version_of(file->name));
	const char *values[] = {version, file->name, file->sha256};
	enum sl_code rc = run(pg, "BEGIN", err);
	if (rc == SL_OK)
		rc = run(pg, file->data, err);
	if (rc == SL_OK) {
		AUTO_RESULT r =
			PQexecParams(pg, "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)", 3,
				     NULL, values, NULL, NULL, 0);
		if (PQresultStatus(r) != PGRES_COMMAND_OK)
			rc = sl_fail(err, SL_INTERNAL, "%s", PQerrorMessage(pg));
	}
	if (rc == SL_OK)
		return run(pg, "COMMIT", err);
	SL_IGNORE(run(pg, "ROLLBACK",
		      NULL)); /* the first failure is the one to tell; a lost connection rolls back by itself */
	return sl_wrap(err, rc, "migration %s", file->name);
}

enum sl_code sl_migrate_up_files(const char *url, const struct sl_embedded *files, uint32_t *applied,
				 struct sl_error *err)
{
	AUTO_CONN pg = NULL;
	struct sl_migrations state = {0};
	uint32_t count = 0;
	enum sl_code rc = connect_to(url, &pg, err);
	if (rc == SL_OK)
		rc = run(pg, "SELECT pg_advisory_lock(" MIGRATION_LOCK ")", err); /* goes with the connection */
	if (rc == SL_OK)
		rc = run(pg,
			 "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, name text NOT "
			 "NULL, "
			 "sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
			 err);
	if (rc == SL_OK)
		rc = read_state(pg, files, &state, err);
	if (rc == SL_OK)
		rc = refuse(&state, err);
	for (size_t i = 0; rc == SL_OK && files[i].name; i++)
		if (state.items[i].status == SL_MIGRATION_PENDING) {
			rc = apply_one(pg, &files[i], err);
			if (rc == SL_OK) {
				count++;
				sl_log(SL_LOG_INFO, "store", "migration applied", SL_KS("name", files[i].name));
			}
		}
	sl_migrations_fini(&state);
	if (applied)
		*applied = count;
	return rc;
}

enum sl_code sl_migrate_up(const char *url, uint32_t *applied, struct sl_error *err)
{
	return sl_migrate_up_files(url, sl_embedded_migrations, applied, err);
}
