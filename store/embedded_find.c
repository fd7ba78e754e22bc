/* store/embedded_find.c: what the embedded cluster needs from the machine: programs, a user, folders, processes. */
#include "store/embedded_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

#define OLDEST_MAJOR 14

void sl_pg_nap_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

/* The first line of what a program prints; "" when it cannot be run. Its arguments are our own, never foreign text. */
static void first_line(const char *command, char *out, size_t out_bytes)
{
	out[0] = 0;
	FILE *f = popen(command, "re");
	if (!f)
		return;
	if (!fgets(out, (int)out_bytes, f))
		out[0] = 0;
	pclose(f);
	out[strcspn(out, "\r\n")] = 0;
}

/* The major version of the PostgreSQL in dir; 0 when initdb and postgres are not both there and runnable. */
static int major_in(const char *dir)
{
	char path[PATH_MAX], command[PATH_MAX + 32], line[128];
	const char *programs[] = {"initdb", "postgres"};
	for (size_t i = 0; i < SL_COUNT_OF(programs); i++)
		if (snprintf(path, sizeof(path), "%s/%s", dir, programs[i]) >= (int)sizeof(path) ||
		    access(path, X_OK) != 0)
			return 0;
	if (strchr(dir, '\''))
		return 0; /* would break the quotes below */
	snprintf(command, sizeof(command), "'%s/postgres' -V 2>/dev/null", dir);
	first_line(command, line, sizeof(line));
	const char *at = strstr(line, "(PostgreSQL) ");
	return at ? (int)strtol(at + 13, NULL, 10) : 0;
}

struct search {
	int wanted, best_major;
	char best[PATH_MAX];
};

static void consider(struct search *s, const char *dir)
{
	int major = dir[0] ? major_in(dir) : 0;
	if (major < OLDEST_MAJOR || (s->wanted && major != s->wanted) || major <= s->best_major)
		return;
	s->best_major = major;
	snprintf(s->best, sizeof(s->best), "%s", dir);
}

static void consider_versions(struct search *s, const char *parent, const char *below)
{
	char dir[PATH_MAX];
	DIR *d = opendir(parent);
	if (!d)
		return;
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.' &&
		    snprintf(dir, sizeof(dir), "%s/%s%s", parent, e->d_name, below) < (int)sizeof(dir))
			consider(s, dir);
	closedir(d);
}

enum sl_code sl_cluster_find(int major, char *dir, size_t dir_bytes, int *found_major, struct sl_error *err)
{
	struct search s = {.wanted = major};
	char at[PATH_MAX];
	struct sl_str rest = sl_str(getenv("PATH")), head;
	while (rest.len) {
		struct sl_str tail = {0};
		if (!sl_str_cut(rest, ':', &head, &tail))
			head = rest;
		if (head.len && head.len < sizeof(at)) {
			snprintf(at, sizeof(at), SL_STR_FMT, SL_STR_ARG(head));
			consider(&s, at);
		}
		rest = tail;
	}
	first_line("pg_config --bindir 2>/dev/null", at, sizeof(at));
	consider(&s, at);
	consider_versions(&s, "/usr/lib/postgresql", "/bin"); /* Debian, Ubuntu */
	consider_versions(&s, "/usr", "/bin");                /* /usr/pgsql-17/bin of the RPM packages */
	consider_versions(&s, "/opt/homebrew/opt", "/bin");
	if (!s.best_major && major)
		return sl_fail(err, SL_NOT_FOUND,
			       "the data folder was made by PostgreSQL %d, which is not installed: install the "
			       "package postgresql-%d (Debian, Ubuntu), or point SLUICE_DATABASE_URL to a server",
			       major, major);
	if (!s.best_major)
		return sl_fail(
			err, SL_NOT_FOUND,
			"PostgreSQL %d or newer is not installed: install the package `postgresql` "
			"(Debian, Ubuntu: apt install postgresql; Fedora: dnf install postgresql-server), or point "
			"SLUICE_DATABASE_URL to a server",
			OLDEST_MAJOR);
	if (snprintf(dir, dir_bytes, "%s", s.best) >= (int)dir_bytes)
		return sl_fail(err, SL_TOO_LARGE, "the path of PostgreSQL's programs is too long: %s", s.best);
	if (found_major)
		*found_major = s.best_major;
	return SL_OK;
}

static bool user_of(struct passwd *pw, struct sl_pg_user *out)
{
	if (!pw)
		return false;
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	snprintf(out->name, sizeof(out->name), "%s", pw->pw_name);
	return true;
}

enum sl_code sl_pg_user_choose(const char *pg_dir, struct sl_pg_user *out, struct sl_error *err)
{
	struct stat st;
	bool exists = stat(pg_dir, &st) == 0;
	*out = (struct sl_pg_user){.uid = geteuid(), .gid = getegid()};
	if (geteuid() != 0) {
		if (exists && st.st_uid != geteuid())
			return sl_fail(err, SL_FORBIDDEN,
				       "%s belongs to another user (uid %u): start the server as the user who made "
				       "it, or as root",
				       pg_dir, (unsigned)st.st_uid);
		return SL_OK;
	}
	out->drop = true;
	if (exists && st.st_uid != 0) {
		if (user_of(getpwuid(st.st_uid), out))
			return SL_OK;
		out->uid = st.st_uid;
		out->gid = st.st_gid;
		return SL_OK;
	}
	if (user_of(getpwnam("postgres"), out) || user_of(getpwnam("nobody"), out))
		return SL_OK;
	return sl_fail(err, SL_FORBIDDEN,
		       "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`");
}

static enum sl_code make_parents(char *path, mode_t mode, struct sl_error *err)
{
	for (char *p = path + 1;; p++) {
		if (*p && *p != '/')
			continue;
		char was = *p;
		*p = 0;
		bool made = mkdir(path, was ? 0755 : mode) == 0;
		int why = errno;
		enum sl_code rc = SL_OK;
		if (!made && why != EEXIST)
			rc = sl_fail(err, SL_FORBIDDEN, "cannot make the folder %s: %s", path, strerror(why));
		*p = was;
		if (rc != SL_OK || !was)
			return rc;
	}
}

/* Runs as `user`: the first folder on the way to `path` that it may not enter goes to fd. */
_Noreturn static void probe(const struct sl_pg_user *user, char *path, int fd)
{
	if (setgroups(0, NULL) != 0 || setgid(user->gid) != 0 || setuid(user->uid) != 0)
		_exit(2);
	for (char *p = path + 1;; p++) {
		if (*p && *p != '/')
			continue;
		char was = *p;
		*p = 0;
		if (access(path, X_OK) != 0) {
			ssize_t n = write(fd, path, strlen(path));
			_exit(n < 0 ? 2 : 1);
		}
		*p = was;
		if (!was)
			_exit(0);
	}
}

enum sl_code sl_pg_folder_make(const char *data_dir, const struct sl_pg_user *user, struct sl_error *err)
{
	char path[PATH_MAX], blocked[PATH_MAX] = "";
	int pipe_fd[2], status = 0;
	if (snprintf(path, sizeof(path), "%s", data_dir) >= (int)sizeof(path))
		return sl_fail(err, SL_TOO_LARGE, "the data folder's path is too long");
	enum sl_code rc = make_parents(path, user->drop ? 0711 : 0700, err);
	if (rc != SL_OK)
		return rc;
	if (!user->drop) {
		if (access(path, R_OK | W_OK | X_OK) != 0)
			return sl_fail(err, SL_FORBIDDEN, "the data folder %s may not be written: %s", path,
				       strerror(errno));
		return SL_OK;
	}
	/* PostgreSQL's user must pass through the data folder; what is secret in there has modes of its own. */
	struct stat st;
	if (stat(path, &st) == 0 && (st.st_mode & 0011) != 0011 && chmod(path, (st.st_mode & 07777) | 0011) != 0)
		return sl_fail(err, SL_FORBIDDEN, "cannot open the data folder %s to %s: %s", path, user->name,
			       strerror(errno));
	if (pipe2(pipe_fd, O_CLOEXEC) != 0)
		return sl_fail(err, SL_NO_MEMORY, "pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid == 0)
		probe(user, path, pipe_fd[1]);
	close(pipe_fd[1]);
	ssize_t n = pid > 0 ? read(pipe_fd[0], blocked, sizeof(blocked) - 1) : -1;
	close(pipe_fd[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return sl_fail(err, SL_NO_MEMORY, "fork: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return SL_OK;
	if (n > 0)
		return sl_fail(err, SL_FORBIDDEN,
			       "PostgreSQL runs as the user `%s` here, who may not enter %s: choose another data "
			       "folder (SLUICE_DATA), or allow it with chmod o+x %s",
			       user->name, blocked, blocked);
	return sl_fail(err, SL_FORBIDDEN, "cannot become the user `%s`", user->name);
}

static bool fits(const char *dir)
{
	return strlen(dir) + sizeof(SL_PG_SOCKET_NAME ".lock") <= sizeof(((struct sockaddr_un *)0)->sun_path);
}

/* FNV-1a: a stable short name for a path, nothing secret. */
static unsigned long long short_name(const char *text)
{
	unsigned long long h = 1469598103934665603ull;
	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 1099511628211ull;
	return h;
}

enum sl_code sl_pg_socket_dir(const char *pg_dir, const struct sl_pg_user *user, char *out, size_t out_bytes,
			      struct sl_error *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const char *parents[] = {user->drop ? NULL : runtime, "/tmp"};
	struct stat st;
	if (fits(pg_dir) && (size_t)snprintf(out, out_bytes, "%s", pg_dir) < out_bytes)
		return SL_OK;
	for (size_t i = 0; i < SL_COUNT_OF(parents); i++) {
		if (!parents[i] || parents[i][0] != '/')
			continue;
		if ((size_t)snprintf(out, out_bytes, "%s/sluice-%u-%llx", parents[i], (unsigned)user->uid,
				     short_name(pg_dir)) >= out_bytes ||
		    !fits(out))
			continue;
		if (mkdir(out, 0700) == 0 && user->drop && chown(out, user->uid, user->gid) != 0)
			continue;
		/* Somebody may have been here before us; only a folder that nobody else can touch will do. */
		if (lstat(out, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == user->uid && (st.st_mode & 0077) == 0)
			return SL_OK;
	}
	return sl_fail(err, SL_FORBIDDEN,
		       "no place for PostgreSQL's socket: %s is too long for one, and there is no private folder "
		       "under /tmp; choose a shorter data folder (SLUICE_DATA)",
		       pg_dir);
}

enum sl_code sl_pg_spawn(const struct sl_pg_user *user, const char *cwd, const char *const *argv, int log_fd,
			 enum sl_pg_fate fate, pid_t *pid, struct sl_error *err)
{
	gid_t groups[64];
	int n_groups = 0, pipe_fd[2], why = 0;
	/* Everything that may take a lock or allocate happens before the fork: other threads may hold those locks. */
	if (user->drop) {
		n_groups = SL_COUNT_OF(groups);
		if (!user->name[0] || getgrouplist(user->name, user->gid, groups, &n_groups) < 0) {
			groups[0] = user->gid;
			n_groups = 1;
		}
	}
	if (pipe2(pipe_fd, O_CLOEXEC) != 0)
		return sl_fail(err, SL_NO_MEMORY, "pipe: %s", strerror(errno));
	*pid = fork();
	if (*pid == 0) {
		int null_fd = open("/dev/null", O_RDWR);
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		setsid(); /* a Ctrl-C in our terminal is for us; we then stop it in order */
		umask(0077);
		bool ok = null_fd >= 0 && dup2(null_fd, 0) == 0 && dup2(log_fd >= 0 ? log_fd : null_fd, 1) == 1 &&
			  dup2(log_fd >= 0 ? log_fd : null_fd, 2) == 2;
		for (int fd = 3; ok && fd < 1024; fd++)
			if (fd != pipe_fd[1])
				close(fd); /* our sockets must not live on in there */
		if (ok && user->drop)
			ok = setgroups((size_t)n_groups, groups) == 0 && setgid(user->gid) == 0 &&
			     setuid(user->uid) == 0;
		if (ok && fate == SL_PG_DIES_WITH_US)
			ok = prctl(PR_SET_PDEATHSIG, SIGQUIT) == 0;
		if (ok && cwd)
			ok = chdir(cwd) == 0;
		if (ok)
			execv(argv[0], (char *const *)(uintptr_t)argv);
		why = errno;
		if (write(pipe_fd[1], &why, sizeof(why)) < 0)
			_exit(126);
		_exit(127);
	}
	close(pipe_fd[1]);
	ssize_t n = *pid > 0 ? read(pipe_fd[0], &why, sizeof(why)) : -1;
	close(pipe_fd[0]);
	if (*pid < 0)
		return sl_fail(err, SL_NO_MEMORY, "fork: %s", strerror(errno));
	if (n == (ssize_t)sizeof(why)) {
		waitpid(*pid, NULL, 0);
		return sl_fail(err, SL_FORBIDDEN, "cannot run %s as the user `%s`: %s", argv[0], user->name,
			       strerror(why));
	}
	return SL_OK;
}

/* One word of /proc/PID/stat: the name in parentheses, or the state letter behind it. */
static bool proc_stat(pid_t pid, char name[32], char *state)
{
	char path[64], line[256];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	size_t n = fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	line[n] = 0;
	char *open = strchr(line, '('), *close = strrchr(line, ')');
	if (!open || !close || close < open || close[1] != ' ')
		return false;
	snprintf(name, 32, "%.*s", (int)(close - open - 1 < 31 ? close - open - 1 : 31), open + 1);
	*state = close[2];
	return true;
}

bool sl_pg_pid_gone(pid_t pid, int *status)
{
	char name[32], state = 0;
	int st = 0;
	if (status)
		*status = -1;
	if (waitpid(pid, &st, WNOHANG) == pid) {
		if (status)
			*status = st;
		return true;
	}
	if (kill(pid, 0) != 0 && errno == ESRCH)
		return true;
	return proc_stat(pid, name, &state) && (state == 'Z' || state == 'X');
}

bool sl_pg_pid_is_postgres(pid_t pid, const char *pg_dir)
{
	char name[32], state = 0, link[64], cwd[PATH_MAX], real[PATH_MAX];
	if (!proc_stat(pid, name, &state))
		return false;
	if (state == 'Z' || (strcmp(name, "postgres") != 0 && strcmp(name, "postmaster") != 0))
		return false;
	/* A postmaster sits in its data folder. Who may not look is another user (then it is none of ours), or root in
	 * a container without the right to trace (then nothing speaks against it). */
	snprintf(link, sizeof(link), "/proc/%d/cwd", (int)pid);
	ssize_t n = readlink(link, cwd, sizeof(cwd) - 1);
	if (n < 0)
		return geteuid() == 0;
	cwd[n] = 0;
	return !realpath(pg_dir, real) || strcmp(cwd, real) == 0;
}

void sl_pg_log_tail(const char *path, long after, char *out, size_t out_bytes)
{
	char text[4096];
	out[0] = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	off_t size = lseek(fd, 0, SEEK_END);
	off_t from = size > (off_t)sizeof(text) - 1 ? size - (off_t)sizeof(text) + 1 : 0;
	if (from < after)
		from = after;
	ssize_t n = pread(fd, text, sizeof(text) - 1, from);
	close(fd);
	if (n <= 0)
		return;
	text[n] = 0;
	char *best = NULL;
	for (char *line = text, *next; *line; line = next) {
		size_t len = strcspn(line, "\n");
		next = line + len + (line[len] == '\n');
		line[len] = 0;
		if (!best || strstr(line, "FATAL:") || strstr(line, "ERROR:") || strstr(line, "error:"))
			best = line;
	}
	snprintf(out, out_bytes, "%s", best ? best : "");
}
