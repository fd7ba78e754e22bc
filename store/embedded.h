/* store/embedded.h: a private PostgreSQL cluster under the data folder, on a Unix socket only.
 *
 * Owns      DATA/lock (flock: one server a folder), DATA/pg (the cluster), DATA/pg.log, and the postmaster it started.
 * Thread    blocks: for start-up and shutdown, never on a loop. One thread at a time.
 * Survives  a SIGKILL of the server: the postmaster goes on and is adopted by the next start; a dead one's leftovers
 * are recognised. As root PostgreSQL runs as `postgres` (else `nobody`), and DATA/pg belongs to that user.
 */
#pragma once

#include "base/own.h"

struct sl_cluster;

struct sl_cluster_config {
	const char *data_dir;      /* made when missing */
	const char *bin_dir;       /* NULL: looked for (PATH, pg_config, /usr/lib/postgresql/N/bin) */
	uint32_t start_timeout_ms; /* 0: 60 s; crash recovery may take a while */
	bool quick;                /* tests only: fsync off, and it ends with this process */
};

/* Locks the folder, makes the cluster when there is none, starts or adopts it, and waits until it takes connections.
 * SL_CONFLICT: another server holds the folder. SL_NOT_FOUND: PostgreSQL is not installed; err names the package.
 * SL_FORBIDDEN: folders or users do not allow it; err says which. SL_TIMEOUT, SL_INTERNAL: err has the log's last line.
 */
SL_MUST_USE enum sl_code sl_cluster_start(const struct sl_cluster_config *config, struct sl_cluster **out,
					  struct sl_error *err);
const char *sl_cluster_url(const struct sl_cluster *c); /* for sl_store_open() and sl_migrate_up(); lends */
const char *sl_cluster_log_path(const struct sl_cluster *c);
int sl_cluster_pid(const struct sl_cluster *c); /* of the postmaster; it may have changed hands: see adopted */
bool sl_cluster_adopted(const struct sl_cluster *c);

/* [not a loop] Starts it again after it died; SL_OK at once when it lives. */
SL_MUST_USE enum sl_code sl_cluster_revive(struct sl_cluster *c, struct sl_error *err);

/* From now on a thread of its own waits for the postmaster's end and starts it again. SL_NO_MEMORY: no thread. */
SL_MUST_USE enum sl_code sl_cluster_watch(struct sl_cluster *c);

/* Fast shutdown (open transactions are rolled back), waits at most wait_ms, then an immediate one; frees c. NULL is
 * fine. */
void sl_cluster_stop(struct sl_cluster *c, uint32_t wait_ms);
/* Lets go of the folder and leaves the postmaster running; frees c. */
void sl_cluster_leave(struct sl_cluster *c);

/* Where PostgreSQL's programs are: `initdb` and `postgres` of the same, newest major version >= 14, or of `major` when
 * that is not 0. SL_NOT_FOUND: err says what to install. */
SL_MUST_USE enum sl_code sl_cluster_find(int major, char *dir, size_t dir_bytes, int *found_major,
					 struct sl_error *err);

/* DATA/lock alone, for a server with its own data folder and a PostgreSQL elsewhere; close(*fd) lets go.
 * sl_cluster_start() takes it by itself. SL_CONFLICT: another server holds it; SL_FORBIDDEN: it cannot be written. */
SL_MUST_USE enum sl_code sl_data_lock(const char *data_dir, int *fd, struct sl_error *err);
