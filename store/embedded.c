/* store/embedded.c: the private cluster's life: lock, make, start or adopt, watch, stop.
 *
 * The folder's flock says that no other server is here, so whatever is left of the cluster is ours to adopt or clear
 * away. Whether a postmaster lives is decided by talking to it; its pid file only says whom to wait for.
 */
#include "store/embedded_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

struct sl_cluster {
	char data[PATH_MAX], pg[PATH_MAX], bin[PATH_MAX], log[PATH_MAX], socket[PATH_MAX], url[PATH_MAX * 2 + 64];
	struct sl_pg_user user;
	int lock_fd;
	long log_from; /* where the last program we started began to write in the log */
	uint32_t start_timeout_ms;
	bool quick, adopted, watched;
	_Atomic int pid;
	pthread_mutex_t m; /* start and stop against the watcher */
	_Atomic bool leaving;
	int leave_fd; /* eventfd: wakes the watcher */
	pthread_t watcher;
};

enum sl_code sl_data_lock(const char *data_dir, int *fd, struct sl_error *err)
{
	char path[PATH_MAX], who[32] = "";
	if (mkdir(data_dir, 0700) != 0 && errno != EEXIST)
		return sl_fail(err, SL_FORBIDDEN, "cannot make the folder %s: %s", data_dir, strerror(errno));
	if (snprintf(path, sizeof(path), "%s/lock", data_dir) >= (int)sizeof(path))
		return sl_fail(err, SL_TOO_LARGE, "the data folder's path is too long");
	int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (f < 0)
		return sl_fail(err, SL_FORBIDDEN, "cannot open %s: %s", path, strerror(errno));
	if (flock(f, LOCK_EX | LOCK_NB) != 0) {
		bool taken = errno == EWOULDBLOCK;
		const char *why = strerror(errno);
		ssize_t n = read(f, who, sizeof(who) - 1);
		who[n > 0 ? n : 0] = 0;
		who[strcspn(who, "\n")] = 0;
		close(f);
		if (taken)
			return sl_fail(err, SL_CONFLICT,
				       "another server uses the data folder %s (process %s): stop it, or give this one "
				       "a folder of its own (SLUICE_DATA)",
				       data_dir, who[0] ? who : "unknown");
		return sl_fail(err, SL_FORBIDDEN, "cannot lock %s: %s", path, why);
	}
	int n = snprintf(who, sizeof(who), "%d\n", (int)getpid());
	if (ftruncate(f, 0) != 0 || pwrite(f, who, (size_t)n, 0) != n)
		sl_log(SL_LOG_WARN, "store", "cannot note our process id in the lock file", SL_KS("file", path));
	*fd = f;
	return SL_OK;
}

/* Line n (from 1) of DATA/pg/postmaster.pid; false when there is none. */
static bool pid_file_line(const struct sl_cluster *c, int n, char *out, size_t out_bytes)
{
	char path[PATH_MAX + 32];
	bool found = false;
	snprintf(path, sizeof(path), "%s/postmaster.pid", c->pg);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	while (n > 0 && fgets(out, (int)out_bytes, f))
		found = --n == 0;
	fclose(f);
	if (found)
		out[strcspn(out, "\r\n")] = 0;
	return found;
}

static pid_t pid_file_pid(const struct sl_cluster *c)
{
	char line[32];
	int64_t pid;
	return pid_file_line(c, 1, line, sizeof(line)) && sl_str_i64(sl_str(line), &pid) && pid > 1 ? (pid_t)pid : 0;
}

enum contact {
	CONTACT_OK,
	CONTACT_WAIT /* up, but starting or stopping */,
	CONTACT_NONE,
	CONTACT_FOREIGN,
	CONTACT_BROKEN
};

static void conninfo(const struct sl_cluster *c, const char *dbname, char *out, size_t out_bytes)
{
	char quoted[PATH_MAX * 2];
	size_t n = 0;
	for (const char *p = c->socket; *p && n + 3 < sizeof(quoted); p++) {
		if (*p == '\'' || *p == '\\')
			quoted[n++] = '\\';
		quoted[n++] = *p;
	}
	quoted[n] = 0;
	snprintf(out, out_bytes, "host='%s' port=5432 user=sluice dbname=%s", quoted, dbname);
}

static bool run_sql(PGconn *pg, const char *sql)
{
	PGresult *r = PQexec(pg, sql);
	ExecStatusType st = PQresultStatus(r);
	PQclear(r);
	return st == PGRES_COMMAND_OK || st == PGRES_TUPLES_OK;
}

/* One attempt to talk to the cluster; makes the database when it is missing. `why` gets the failure. */
static enum contact contact(const struct sl_cluster *c, char *why, size_t why_bytes)
{
	char info[sizeof(c->url)];
	enum contact found = CONTACT_NONE;
	why[0] = 0;
	conninfo(c, "sluice", info, sizeof(info));
	strncat(info, " connect_timeout=5", sizeof(info) - strlen(info) - 1);
	PGconn *pg = PQconnectdb(info);
	if (PQstatus(pg) == CONNECTION_OK) {
		PGresult *r = PQexec(pg, "SHOW data_directory");
		bool ours = PQntuples(r) == 1 && strcmp(PQgetvalue(r, 0, 0), c->pg) == 0;
		PQclear(r);
		PQfinish(pg);
		return ours ? CONTACT_OK : CONTACT_FOREIGN;
	}
	/* libpq keeps no SQLSTATE for a refused connection, only the text; the cluster's messages are English
	 * (lc_messages C). */
	snprintf(why, why_bytes, "%s", PQerrorMessage(pg));
	if (strstr(why, "starting up") || strstr(why, "shutting down") || strstr(why, "not yet accepting") ||
	    strstr(why, "recovery mode"))
		found = CONTACT_WAIT;
	else if (strstr(why, "database \"sluice\" does not exist")) {
		PQfinish(pg);
		conninfo(c, "postgres", info, sizeof(info));
		pg = PQconnectdb(info);
		bool made = PQstatus(pg) == CONNECTION_OK && run_sql(pg, "CREATE DATABASE sluice");
		if (!made)
			snprintf(why, why_bytes, "%s", PQerrorMessage(pg));
		found = made ? CONTACT_WAIT : CONTACT_BROKEN; /* then ask again */
	} else if (strstr(why, "FATAL:"))
		found = CONTACT_BROKEN;
	PQfinish(pg);
	why[strcspn(why, "\n")] = 0;
	return found;
}

static enum sl_code run_initdb(struct sl_cluster *c, const char *dir, const char *locale, int log_fd,
			       struct sl_error *err)
{
	char initdb[PATH_MAX + 16], locale_arg[64];
	pid_t pid;
	int status = 0;
	snprintf(initdb, sizeof(initdb), "%s/initdb", c->bin);
	snprintf(locale_arg, sizeof(locale_arg), "--locale=%s", locale);
	/* Anyone who can reach the socket may log in: it lies in a folder of mode 0700. */
	const char *argv[] = {initdb,
			      "-D",
			      dir,
			      "-U",
			      "sluice",
			      "--auth=trust",
			      "--encoding=UTF8",
			      locale_arg,
			      "--lc-messages=C",
			      c->quick ? "--no-sync" : "--no-instructions",
			      NULL};
	enum sl_code rc = sl_pg_spawn(&c->user, "/", argv, log_fd, SL_PG_DIES_WITH_US, &pid, err);
	if (rc != SL_OK)
		return rc;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return SL_OK;
	char tail[300];
	sl_pg_log_tail(c->log, c->log_from, tail, sizeof(tail));
	return sl_fail(err, SL_INTERNAL, "initdb failed: %s (see %s)", tail, c->log);
}

/* Makes the cluster aside and moves it into place, so that a crash leaves a whole one or none. */
static enum sl_code make_cluster(struct sl_cluster *c, int log_fd, struct sl_error *err)
{
	char aside[PATH_MAX + 8], rm[] = "/bin/rm";
	pid_t pid;
	snprintf(aside, sizeof(aside), "%s.new", c->pg);
	const char *argv[] = {rm, "-rf", aside, NULL};
	struct sl_pg_user self = {0};
	enum sl_code rc;
	for (int attempt = 0; attempt < 2; attempt++) {
		rc = sl_pg_spawn(&self, "/", argv, -1, SL_PG_DIES_WITH_US, &pid, err);
		if (rc != SL_OK)
			return rc;
		waitpid(pid, NULL, 0);
		if (mkdir(aside, 0700) != 0 || (c->user.drop && chown(aside, c->user.uid, c->user.gid) != 0))
			return sl_fail(err, SL_FORBIDDEN, "cannot make %s: %s", aside, strerror(errno));
		rc = run_initdb(c, aside, attempt ? "C" : "C.UTF-8", log_fd, err); /* C.UTF-8 is not everywhere */
		if (rc == SL_OK)
			break;
	}
	if (rc == SL_OK && rename(aside, c->pg) != 0)
		rc = sl_fail(err, SL_FORBIDDEN, "cannot move %s into place: %s", aside, strerror(errno));
	return rc;
}

static enum sl_code launch(struct sl_cluster *c, int log_fd, struct sl_error *err)
{
	char postgres[PATH_MAX + 16], dirs[PATH_MAX + 64];
	pid_t pid;
	snprintf(postgres, sizeof(postgres), "%s/postgres", c->bin);
	/* A name in this list is quoted, because a comma would begin the next folder. */
	snprintf(dirs, sizeof(dirs), "unix_socket_directories=\"%s\"", c->socket);
	const char *argv[] = {postgres, "-D", c->pg, "-p", "5432", "-c", "listen_addresses=", "-c", dirs, "-c",
			      "unix_socket_permissions=0700", "-c", "cluster_name=sluice", "-c", "max_connections=80",
			      "-c", "jit=off", "-c", "max_parallel_workers_per_gather=0",
			      /* One server, no replicas: the least that survives a crash. */
			      "-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "max_wal_size=2GB", "-c",
			      "random_page_cost=1.1", "-c", "checkpoint_timeout=15min", "-c", "log_checkpoints=off",
			      "-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "lc_messages=C", "-c",
			      "logging_collector=off", "-c", "log_destination=stderr", "-c",
			      c->quick ? "fsync=off" : "fsync=on", "-c", "synchronous_commit=on", "-c",
			      "full_page_writes=on", NULL};
	c->log_from = (long)lseek(log_fd, 0, SEEK_END);
	enum sl_code rc = sl_pg_spawn(&c->user, c->pg, argv, log_fd, c->quick ? SL_PG_DIES_WITH_US : SL_PG_OUTLIVES_US,
				      &pid, err);
	if (rc == SL_OK)
		atomic_store(&c->pid, (int)pid);
	return rc;
}

static int open_log(struct sl_cluster *c)
{
	char old[PATH_MAX + 4];
	struct stat st;
	if (stat(c->log, &st) == 0 && st.st_size > 8 << 20) {
		snprintf(old, sizeof(old), "%s.1", c->log);
		if (rename(c->log, old) != 0)
			sl_log(SL_LOG_WARN, "store", "cannot turn over PostgreSQL's log", SL_KS("file", c->log));
	}
	int fd = open(c->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	c->log_from = fd >= 0 ? (long)lseek(fd, 0, SEEK_END) : 0;
	return fd;
}

/* The postmaster we started ended by itself. True: try again (a former one's children still hold its shared memory). */
static bool may_try_again(struct sl_cluster *c)
{
	char tail[512], path[PATH_MAX + 32];
	sl_pg_log_tail(c->log, c->log_from, tail, sizeof(tail));
	if (strstr(tail, "pre-existing shared memory block"))
		return true;
	if (strstr(tail, "lock file \"postmaster.pid\" already exists")) {
		/* Its number went to some other program since (containers count from 1 again); nobody is there. */
		pid_t pid = pid_file_pid(c);
		if (pid && sl_pg_pid_is_postgres(pid, c->pg))
			return true;
		snprintf(path, sizeof(path), "%s/postmaster.pid", c->pg);
		return unlink(path) == 0;
	}
	if (strstr(tail, "lock file \"") &&
	    strstr(tail, SL_PG_SOCKET_NAME ".lock\"")) { /* the same, beside the socket */
		snprintf(path, sizeof(path), "%.*s%s.lock", PATH_MAX - 1, c->socket, SL_PG_SOCKET_NAME);
		return unlink(path) == 0;
	}
	return false;
}

/* Until the cluster answers: adopts what runs, starts what does not. */
static enum sl_code bring_up(struct sl_cluster *c, struct sl_error *err)
{
	char why[400], line[PATH_MAX];
	uint64_t deadline = sl_clock_mono_ms() + c->start_timeout_ms;
	bool started = false;
	int log_fd = open_log(c);
	if (log_fd < 0)
		return sl_fail(err, SL_FORBIDDEN, "cannot write %s: %s", c->log, strerror(errno));
	enum sl_code rc = SL_OK;
	c->adopted = false;
	/* A living postmaster may have its socket elsewhere than we would put it today. */
	pid_t old = pid_file_pid(c);
	if (old && sl_pg_pid_is_postgres(old, c->pg) && pid_file_line(c, 5, line, sizeof(line)) && line[0] == '/') {
		snprintf(c->socket, sizeof(c->socket), "%s", line);
		atomic_store(&c->pid, (int)old);
	} else
		old = 0;
	for (unsigned nap = 5;; nap = nap < 100 ? nap * 2 : 100) {
		enum contact found = contact(c, why, sizeof(why));
		if (found == CONTACT_OK) {
			if (!started) {
				c->adopted = true;
				atomic_store(&c->pid, (int)pid_file_pid(c));
			}
			break;
		}
		if (found == CONTACT_FOREIGN) {
			rc = sl_fail(err, SL_CONFLICT, "another PostgreSQL answers on the socket in %s", c->socket);
			break;
		}
		if (sl_clock_mono_ms() > deadline) {
			sl_pg_log_tail(c->log, c->log_from, line, 300);
			rc = sl_fail(err, SL_TIMEOUT,
				     "PostgreSQL does not take connections after %u ms: %s; its log ends with: %s",
				     c->start_timeout_ms, why, line);
			break;
		}
		int pid = atomic_load(&c->pid), status;
		if (pid && !started && old && (sl_pg_pid_gone(pid, NULL) || !sl_pg_pid_is_postgres(pid, c->pg)))
			pid = 0; /* it was on its way out */
		if (pid && started && sl_pg_pid_gone(pid, &status)) {
			if (!may_try_again(c)) {
				sl_pg_log_tail(c->log, c->log_from, line, 300);
				rc = sl_fail(err, SL_INTERNAL, "PostgreSQL does not start: %s (see %s)", line, c->log);
				atomic_store(&c->pid, 0);
				break;
			}
			pid = 0;
		}
		if (!pid) {
			rc = sl_pg_socket_dir(c->pg, &c->user, c->socket, sizeof(c->socket), err);
			if (rc == SL_OK)
				rc = launch(c, log_fd, err);
			if (rc != SL_OK)
				break;
			if (!started)
				nap = 5;
			started = true;
		}
		sl_pg_nap_ms(nap);
	}
	close(log_fd);
	if (rc == SL_OK)
		conninfo(c, "sluice", c->url, sizeof(c->url));
	return rc;
}

static enum sl_code prepare(struct sl_cluster *c, const struct sl_cluster_config *config, struct sl_error *err)
{
	char real[PATH_MAX], path[PATH_MAX + 16], line[32];
	int major = 0;
	if (snprintf(c->pg, sizeof(c->pg), "%s/pg", config->data_dir) >= (int)sizeof(c->pg) - 16)
		return sl_fail(err, SL_TOO_LARGE, "the data folder's path is too long");
	enum sl_code rc = sl_pg_user_choose(c->pg, &c->user, err);
	/* An absolute name first: the folders above are looked at one by one. */
	if (rc == SL_OK && config->data_dir[0] != '/') {
		if (!getcwd(real, sizeof(real)) ||
		    snprintf(c->data, sizeof(c->data), "%s/%s", real, config->data_dir) >= (int)sizeof(c->data))
			return sl_fail(err, SL_TOO_LARGE, "the data folder's path is too long");
	} else
		snprintf(c->data, sizeof(c->data), "%s", config->data_dir);
	/* Where a link leads is what PostgreSQL gets, so nobody needs to pass the folders above the link itself. */
	if (rc == SL_OK && realpath(c->data, real) && strlen(real) < sizeof(c->data))
		snprintf(c->data, sizeof(c->data), "%s", real);
	if (rc == SL_OK)
		rc = sl_pg_folder_make(c->data, &c->user, err);
	if (rc != SL_OK)
		return rc;
	if (!realpath(c->data, real) || strlen(real) + 32 > sizeof(c->pg))
		return sl_fail(err, SL_FORBIDDEN, "cannot resolve %s: %s", c->data, strerror(errno));
	snprintf(c->data, sizeof(c->data), "%s", real);
	snprintf(c->pg, sizeof(c->pg), "%.*s/pg", PATH_MAX - 16, real);
	snprintf(c->log, sizeof(c->log), "%.*s/pg.log", PATH_MAX - 16, real);
	rc = sl_data_lock(c->data, &c->lock_fd, err);
	if (rc != SL_OK)
		return rc;
	snprintf(path, sizeof(path), "%s/PG_VERSION", c->pg);
	FILE *f = fopen(path, "re");
	if (f) {
		if (fgets(line, sizeof(line), f))
			major = (int)strtol(line, NULL, 10);
		fclose(f);
	}
	if (config->bin_dir)
		snprintf(c->bin, sizeof(c->bin), "%s", config->bin_dir);
	else
		rc = sl_cluster_find(major, c->bin, sizeof(c->bin), NULL, err);
	if (rc != SL_OK || major)
		return rc;
	int log_fd = open_log(c);
	if (log_fd < 0)
		return sl_fail(err, SL_FORBIDDEN, "cannot write %s: %s", c->log, strerror(errno));
	sl_log(SL_LOG_INFO, "store", "making a private PostgreSQL cluster", SL_KS("folder", c->pg),
	       SL_KS("programs", c->bin));
	rc = make_cluster(c, log_fd, err);
	close(log_fd);
	return rc;
}

static void release(struct sl_cluster *c)
{
	if (c->lock_fd >= 0)
		close(c->lock_fd);
	if (c->leave_fd >= 0)
		close(c->leave_fd);
	pthread_mutex_destroy(&c->m);
	free(c);
}

enum sl_code sl_cluster_start(const struct sl_cluster_config *config, struct sl_cluster **out, struct sl_error *err)
{
	struct sl_cluster *c = calloc(1, sizeof(*c));
	if (!c)
		return sl_fail(err, SL_NO_MEMORY, "cluster");
	c->lock_fd = -1;
	c->leave_fd = -1;
	c->quick = config->quick;
	c->start_timeout_ms = config->start_timeout_ms ? config->start_timeout_ms : 60000;
	pthread_mutex_init(&c->m, NULL);
	enum sl_code rc = prepare(c, config, err);
	if (rc == SL_OK)
		rc = sl_pg_socket_dir(c->pg, &c->user, c->socket, sizeof(c->socket), err);
	if (rc == SL_OK)
		rc = bring_up(c, err);
	if (rc != SL_OK) {
		release(c);
		return rc;
	}
	sl_log(SL_LOG_INFO, "store", c->adopted ? "adopted the running PostgreSQL" : "PostgreSQL started",
	       SL_KI("pid", atomic_load(&c->pid)), SL_KS("socket", c->socket));
	*out = c;
	return SL_OK;
}

const char *sl_cluster_url(const struct sl_cluster *c)
{
	return c->url;
}

const char *sl_cluster_log_path(const struct sl_cluster *c)
{
	return c->log;
}

int sl_cluster_pid(const struct sl_cluster *c)
{
	return atomic_load(&((struct sl_cluster *)(uintptr_t)c)->pid);
}

bool sl_cluster_adopted(const struct sl_cluster *c)
{
	return c->adopted;
}

enum sl_code sl_cluster_revive(struct sl_cluster *c, struct sl_error *err)
{
	enum sl_code rc = SL_OK;
	pthread_mutex_lock(&c->m);
	int pid = atomic_load(&c->pid);
	if (!pid || sl_pg_pid_gone(pid, NULL)) {
		atomic_store(&c->pid, 0);
		rc = bring_up(c, err);
		if (rc == SL_OK)
			sl_log(SL_LOG_WARN, "store", "PostgreSQL had ended and was started again",
			       SL_KI("pid", atomic_load(&c->pid)));
	}
	pthread_mutex_unlock(&c->m);
	return rc;
}

/* Sleeps until the postmaster ends; then starts it again, with pauses that grow while it does not come up. */
static void *watch(void *arg)
{
	struct sl_cluster *c = arg;
	unsigned nap_ms = 100;
	while (!atomic_load(&c->leaving)) {
		struct sl_error err = {0};
		int pid = atomic_load(&c->pid);
		int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
		bool unknown = fd < 0 && errno == ENOSYS; /* before Linux 5.3: look once a second */
		struct pollfd p[2] = {{.fd = c->leave_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
		if (fd >= 0 || unknown)
			(void)poll(p, 2, fd >= 0 ? -1 : 1000); /* an interrupted wait only looks earlier */
		if (fd >= 0)
			close(fd);
		if (atomic_load(&c->leaving))
			break;
		if (pid > 0 && !sl_pg_pid_gone(pid, NULL))
			continue;
		if (sl_cluster_revive(c, &err) == SL_OK) {
			nap_ms = 100;
			continue;
		}
		sl_log(SL_LOG_ERROR, "store", "PostgreSQL ended and does not start again", SL_KS("error", err.text));
		(void)poll(p, 1, (int)nap_ms);
		nap_ms = nap_ms < 5000 ? nap_ms * 2 : 5000;
	}
	return NULL;
}

enum sl_code sl_cluster_watch(struct sl_cluster *c)
{
	if (c->watched)
		return SL_OK;
	c->leave_fd = eventfd(0, EFD_CLOEXEC);
	if (c->leave_fd < 0 || pthread_create(&c->watcher, NULL, watch, c) != 0)
		return SL_NO_MEMORY;
	c->watched = true;
	return SL_OK;
}

static void unwatch(struct sl_cluster *c)
{
	uint64_t one = 1;
	if (!c->watched)
		return;
	atomic_store(&c->leaving, true);
	if (write(c->leave_fd, &one, sizeof(one)) < 0)
		sl_log(SL_LOG_WARN, "store", "cannot wake the cluster's watcher");
	pthread_join(c->watcher, NULL);
	c->watched = false;
}

static bool wait_gone(int pid, uint32_t wait_ms)
{
	uint64_t deadline = sl_clock_mono_ms() + wait_ms;
	for (unsigned nap = 1; !sl_pg_pid_gone(pid, NULL); nap = nap < 20 ? nap * 2 : 20) {
		if (sl_clock_mono_ms() > deadline)
			return false;
		sl_pg_nap_ms(nap);
	}
	return true;
}

void sl_cluster_stop(struct sl_cluster *c, uint32_t wait_ms)
{
	if (!c)
		return;
	unwatch(c);
	int pid = atomic_load(&c->pid);
	if (pid > 0 && !sl_pg_pid_gone(pid, NULL)) {
		if (kill(pid, SIGINT) != 0 && errno != ESRCH) /* fast: open transactions are rolled back */
			sl_log(SL_LOG_WARN, "store", "cannot signal PostgreSQL", SL_KS("error", strerror(errno)));
		if (!wait_gone(pid, wait_ms)) {
			sl_log(SL_LOG_WARN, "store", "PostgreSQL did not stop in time; stopping it at once",
			       SL_KU("waited_ms", wait_ms));
			kill(pid, SIGQUIT); /* immediate: it recovers from its log at the next start */
			if (!wait_gone(pid, 5000))
				sl_log(SL_LOG_ERROR, "store", "PostgreSQL goes on; the next start will adopt it",
				       SL_KI("pid", pid));
		}
	}
	if (strcmp(c->socket, c->pg) != 0)
		(void)rmdir(c->socket); /* ours, under /tmp; not empty when PostgreSQL goes on, and then it stays */
	release(c);
}

void sl_cluster_leave(struct sl_cluster *c)
{
	if (!c)
		return;
	unwatch(c);
	release(c);
}
