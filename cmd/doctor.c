/* cmd/doctor.c: `sluice doctor`: what could keep the server from running well here, and what to do about it. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <curl/curl.h>
#include <libwebsockets.h>
#include <sodium.h>
#include <uv.h>

#include "base/json.h"
#include "base/log.h"
#include "cmd/cli.h"
#include "cmd/settings.h"
#include "llm/profile.h"
#include "llm/sim.h"
#include "store/embedded.h"
#include "store/migrate.h"

enum verdict { GOOD, NOTE, BAD };

struct doctor {
	const struct sl_cli *cli;
	struct json_object *checks;
	unsigned bad;
};

/* One line: what was looked at, what was found, what to do. `mend` NULL: nothing. */
static void say(struct doctor *d, enum verdict v, const char *what, const char *found, const char *mend)
{
	static const char *const words[] = {"ok", "note", "bad"};
	if (v == BAD)
		d->bad++;
	if (d->cli->json) {
		struct json_object *o = json_object_new_object();
		sl_json_set_str(o, "check", sl_str(what));
		sl_json_set_str(o, "verdict", sl_str(words[v]));
		sl_json_set_str(o, "found", sl_str(found));
		if (mend)
			sl_json_set_str(o, "mend", sl_str(mend));
		json_object_array_add(d->checks, o);
		return;
	}
	printf("%-5s %-12s %s\n", words[v], what, found);
	if (mend)
		printf("      %-12s → %s\n", "", mend);
}

static void libraries(struct doctor *d)
{
	char text[300];
	struct sl_str lws = sl_str(lws_get_library_version()); /* "4.1.6-" where it was not built from git */
	while (lws.len && lws.p[lws.len - 1] == '-')
		lws.len--;
	snprintf(text, sizeof(text), "libuv %s, libwebsockets " SL_STR_FMT ", libcurl %s, libsodium %s, json-c %s",
		 uv_version_string(), SL_STR_ARG(lws), curl_version_info(CURLVERSION_NOW)->version,
		 sodium_version_string(), json_c_version());
	say(d, GOOD, "libraries", text, NULL);
	/* libwebsockets loads its libuv part at run time, so the linker does not miss it */
	static const char *const names[] = {"libwebsockets-evlib_uv.so", "libwebsockets-evlib_uv.so.17",
					    "libwebsockets-evlib_uv.so.19"};
	static const char *const folders[] = {"", "/usr/lib/x86_64-linux-gnu/", "/usr/lib/aarch64-linux-gnu/",
					      "/usr/lib/", "/usr/local/lib/"};
	bool found = false;
	for (size_t f = 0; f < SL_COUNT_OF(folders) && !found; f++)
		for (size_t n = 0; n < SL_COUNT_OF(names) && !found; n++) {
			char path[200];
			snprintf(path, sizeof(path), "%s%s", folders[f], names[n]);
			void *h = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
			found = h != NULL;
			if (h)
				dlclose(h);
		}
	if (!found)
		say(d, BAD, "libraries", "libwebsockets cannot find its libuv plug-in",
		    "install the package libwebsockets-evlib-uv");
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		snprintf(text, sizeof(text), "up to %llu open files", (unsigned long long)files.rlim_max);
		say(d, files.rlim_max < 4096 ? NOTE : GOOD, "limits", text,
		    files.rlim_max < 4096
			    ? "raise the hard limit (LimitNOFILE= of systemd, ulimit -Hn) for many clients"
			    : NULL);
	}
}

/* Whoever serves a folder holds a lock on this file, and has written his process id into it. */
static void in_use(struct doctor *d, const char *dir)
{
	char path[4200], text[4400], who[16] = "";
	snprintf(path, sizeof(path), "%s/lock", dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
		ssize_t n = read(fd, who, sizeof(who) - 1);
		who[n > 0 ? n : 0] = 0;
		who[strcspn(who, "\n")] = 0;
		snprintf(text, sizeof(text), "a server runs in %s (process %s)", dir, *who ? who : "unknown");
		say(d, NOTE, "data", text, "a further one needs a folder of its own: --data");
	}
	close(fd);
}

static void data_folder(struct doctor *d)
{
	const char *dir = sl_config_z(d->cli->config, SL_SET_DATA);
	char text[4400];
	struct stat st;
	struct statvfs space;
	if (stat(dir, &st) != 0) {
		snprintf(text, sizeof(text), "%s does not exist yet; the first start makes it", dir);
		say(d, GOOD, "data", text, NULL);
		return;
	}
	if (!S_ISDIR(st.st_mode) || access(dir, R_OK | W_OK | X_OK) != 0) {
		snprintf(text, sizeof(text), "%s: %s", dir, S_ISDIR(st.st_mode) ? strerror(errno) : "is no folder");
		say(d, BAD, "data", text, "choose another with --data, or give yourself the right to write there");
		return;
	}
	snprintf(text, sizeof(text), "%s can be written", dir);
	say(d, GOOD, "data", text, NULL);
	in_use(d, dir);
	if (statvfs(dir, &space) == 0) {
		double free_gb = (double)space.f_bavail * (double)space.f_frsize / 1e9;
		snprintf(text, sizeof(text), "%.1f GB are free in %s", free_gb, dir);
		say(d, free_gb < 1 ? NOTE : GOOD, "space", text,
		    free_gb < 1 ? "free some space: the journal grows with every run" : NULL);
	}
	static const char *const secrets[] = {"secret-key", "admin-token"};
	for (size_t i = 0; i < SL_COUNT_OF(secrets); i++) {
		snprintf(text, sizeof(text), "%s/%s", dir, secrets[i]);
		if (stat(text, &st) == 0 && (st.st_mode & 077) != 0) {
			char mend[4600];
			snprintf(mend, sizeof(mend), "chmod 600 %s", text);
			say(d, BAD, "data", "a secret file can be read by others", mend);
		}
	}
}

static void database(struct doctor *d)
{
	const char *url = sl_config_z(d->cli->config, SL_SET_DATABASE_URL);
	struct sl_error err = {0};
	char text[5000];
	if (url) {
		struct sl_migrations m = {0};
		if (sl_migrate_state(url, &m, &err) != SL_OK)
			say(d, BAD, "database", err.text,
			    "see that PostgreSQL runs, and that SLUICE_DATABASE_URL has its user, password and name");
		else {
			snprintf(text, sizeof(text), "it answers; %u migrations are pending", m.pending);
			say(d, GOOD, "database", text, m.pending ? "sluice migrate, or just start the server" : NULL);
		}
		sl_migrations_fini(&m);
		return;
	}
	const char *given = sl_config_z(d->cli->config, SL_SET_PG_BIN);
	char dir[4096];
	int major = 0;
	if (given) {
		snprintf(text, sizeof(text), "%s/postgres", given);
		bool there = access(text, X_OK) == 0;
		say(d, there ? GOOD : BAD, "database", text,
		    there ? NULL : "SLUICE_PG_BIN must be the folder with initdb and postgres");
	} else if (sl_cluster_find(0, dir, sizeof(dir), &major, &err) == SL_OK) {
		snprintf(text, sizeof(text), "an embedded cluster with PostgreSQL %d in %s", major, dir);
		say(d, GOOD, "database", text, NULL);
	} else
		say(d, BAD, "database", err.text,
		    "apt-get install postgresql, or set SLUICE_DATABASE_URL to one of yours");
}

static void port(struct doctor *d)
{
	const char *listen_at = sl_config_z(d->cli->config, SL_SET_LISTEN), *colon = strrchr(listen_at, ':');
	char host[256], text[600];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
	if (!colon || (size_t)(colon - listen_at) >= sizeof(host)) {
		say(d, BAD, "port", listen_at, "SLUICE_LISTEN is HOST:PORT");
		return;
	}
	bool bracket = listen_at[0] == '[';
	snprintf(host, sizeof(host), "%.*s", (int)(colon - listen_at - (bracket ? 2 : 0)),
		 listen_at + (bracket ? 1 : 0));
	if (getaddrinfo(*host ? host : NULL, colon + 1, &hints, &found) != 0 || !found) {
		say(d, BAD, "port", listen_at, "the host of SLUICE_LISTEN is not known here");
		return;
	}
	int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	bool ok = fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0;
	snprintf(text, sizeof(text), "%s %s", listen_at, ok ? "is free" : strerror(errno));
	say(d, ok ? GOOD : NOTE, "port", text,
	    ok ? NULL : "if that is not Sluice itself: stop the other program, or choose another with --listen");
	if (fd >= 0)
		close(fd);
	freeaddrinfo(found);
	const char *cert = sl_config_z(d->cli->config, SL_SET_TLS_CERT),
		   *key = sl_config_z(d->cli->config, SL_SET_TLS_KEY);
	bool loopback = strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
	if (!loopback && !(cert && key) && !sl_config_bool(d->cli->config, SL_SET_INSECURE))
		say(d, BAD, "tls", "listening off loopback needs TLS",
		    "set SLUICE_TLS_CERT and SLUICE_TLS_KEY, or SLUICE_INSECURE=1 behind a proxy");
	if ((cert && access(cert, R_OK) != 0) || (key && access(key, R_OK) != 0))
		say(d, BAD, "tls", "certificate or key cannot be read", "check SLUICE_TLS_CERT and SLUICE_TLS_KEY");
}

static const char *environment(const char *name)
{
	return getenv(name);
}

static void models(struct doctor *d)
{
	static const uint8_t no_secret[SL_SECRET_KEY_BYTES]; /* nothing is stored, so nothing is sealed for long */
	SL_AUTO(sl_profiles) profiles = NULL;
	char text[200];
	if (sl_profiles_new(no_secret, &profiles) != SL_OK)
		return;
	size_t n = sl_profiles_from_env(profiles, environment);
	if (n) {
		snprintf(text, sizeof(text), "%zu profile%s from keys in the environment", n, n == 1 ? "" : "s");
		say(d, GOOD, "models", text, NULL);
	} else
		say(d, NOTE, "models",
		    "no provider key in the environment: unless profiles are stored, the simulator answers",
		    "set OPENAI_API_KEY or the like, or PUT /api/v1/llm/profiles/NAME");
	SL_AUTO(sl_sim) sim = NULL;
	struct sl_error err = {0};
	const struct sl_sim_config config = {0};
	if (sl_sim_start(&config, &sim, &err) == SL_OK)
		say(d, GOOD, "simulator", "it starts", NULL);
	else
		say(d, BAD, "simulator", err.text, "it needs a free port on 127.0.0.1");
	const char *path = sl_config_z(d->cli->config, SL_SET_SIM_SCENARIO);
	if (path) {
		SL_BUF(scenario, 1u << 20);
		if (sl_cli_read_file(path, &scenario, &err) != SL_OK ||
		    sl_sim_check(sl_buf_str(&scenario), NULL, &err) != SL_OK)
			say(d, BAD, "simulator", err.text,
			    "sluice sim --check --scenario FILE says everything that is wrong with it");
	}
}

static int doctor_main(struct sl_cli *cli)
{
	SL_AUTO_JSON checks = json_object_new_array();
	struct doctor d = {.cli = cli, .checks = checks};
	struct sl_error err = {0};
	sl_log_setup(SL_LOG_ERROR, SL_LOG_TEXT, 2);
	if (sl_settings_load_file(cli->config, &err) != SL_OK)
		return sl_cli_fail(cli, &err);
	libraries(&d);
	data_folder(&d);
	database(&d);
	port(&d);
	models(&d);
	if (cli->json)
		sl_cli_put_json(checks, false);
	else
		puts(d.bad ? "\nWhat is marked bad keeps the server from running." : "\nThe server can run here.");
	return d.bad ? SL_EXIT_FAILED : SL_EXIT_DONE;
}

const struct sl_command sl_cmd_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "Checks the environment and says what to mend. Takes the settings of `serve`.",
	.more = "Exit code: 0 when the server can run here, else 1.",
	.options = sl_settings,
	.n_options = SL_SETTINGS,
	.run = doctor_main,
};
