/* store/embedded_priv.h: the parts of the embedded cluster: where things are, and processes. For embedded*.c only. */
#pragma once

#include <sys/types.h>

#include "store/embedded.h"

#define SL_PG_SOCKET_NAME "/.s.PGSQL.5432"

/* Who PostgreSQL runs as. `drop` is set when we are root and must become somebody else. */
struct sl_pg_user {
	bool drop;
	uid_t uid;
	gid_t gid;
	char name[64];
};

/* The owner of pg_dir when it exists, else `postgres`, else `nobody`; ourselves when we are not root. */
enum sl_code sl_pg_user_choose(const char *pg_dir, struct sl_pg_user *out, struct sl_error *err);

/* Makes data_dir (and its parents), and checks as `user` that every folder above pg_dir may be entered. */
enum sl_code sl_pg_folder_make(const char *data_dir, const struct sl_pg_user *user, struct sl_error *err);

/* Where the socket goes: pg_dir when its name is short enough for sun_path, else a private folder of `user`. */
enum sl_code sl_pg_socket_dir(const char *pg_dir, const struct sl_pg_user *user, char *out, size_t out_bytes,
			      struct sl_error *err);

/* Runs argv[0] as `user` in a session of its own, output appended to log_fd (-1: /dev/null), and returns at once. */
enum sl_pg_fate { SL_PG_OUTLIVES_US, SL_PG_DIES_WITH_US };
enum sl_code sl_pg_spawn(const struct sl_pg_user *user, const char *cwd, const char *const *argv, int log_fd,
			 enum sl_pg_fate fate, pid_t *pid, struct sl_error *err);

bool sl_pg_pid_gone(pid_t pid, int *status); /* reaps it when it is our child; status is -1 when unknown */
bool sl_pg_pid_is_postgres(pid_t pid, const char *pg_dir); /* of this cluster, as far as we may look */
void sl_pg_nap_ms(unsigned ms);
/* The last FATAL or ERROR line behind byte `from`, else the first line there. */
void sl_pg_log_tail(const char *path, long from, char *out, size_t out_bytes);
