/* bench/hub.c: the real hub and the real lws protocol around one run that is made up: each line that comes in on a
 * second port is an event that was just committed. So what is measured is the hub: ingesting, encoding, fan-out.
 *
 * hub [-p PORT] [-c CPU] [-f FLUSH_MS]; prints "listening PORT RUN_ID EVENTS_PORT", and its counters on SIGTERM.
 */
#include <libwebsockets.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/loop.h"
#include "ws/conn.h"

static struct {
	struct sl_ws *ws;
	struct sl_run_id run;
	uint64_t seq;
	uv_signal_t term;
	uv_tcp_t listener, publisher;
	char in[65536];
	size_t n;
} bench;

static enum sl_code view(void *ctx, struct sl_run_id run, enum sl_view_watch watch, sl_view_fn *fn, void *arg)
{
	struct sl_view *v = calloc(1, sizeof(*v));
	char json[64];
	int n = snprintf(json, sizeof(json), "{\"last_seq\":%llu}", (unsigned long long)bench.seq);
	if (!v)
		return SL_NO_MEMORY;
	v->run = run;
	v->last_seq = bench.seq;
	v->status = "running";
	v->live = true;
	v->json = sl_bytes_new(json, (size_t)n);
	fn(arg, SL_OK, v);
	return SL_OK;
}

static void unwatch(void *ctx, struct sl_run_id run)
{
}

static enum sl_code events_after(void *ctx, struct sl_run_id run, uint64_t after, size_t limit, sl_hub_page_fn *fn,
				 void *arg)
{
	return SL_UNAVAILABLE; /* nobody comes back here */
}

static void watch_all(void *ctx, bool on)
{
}

static void commit(const char *text, size_t len)
{
	char data[128];
	int bytes = snprintf(data, sizeof(data), "{\"t\":\"%.*s\"}", (int)(len < 60 ? len : 60), text);
	struct sl_notice *n = calloc(1, sizeof(*n));
	if (!n || !(n->records = calloc(1, sizeof(*n->records))))
		abort();
	atomic_init(&n->refs, 1);
	n->run = bench.run;
	n->status = "running";
	n->n_records = 1;
	n->records[0] = (struct sl_record){.seq = ++bench.seq, .wall_ms = sl_clock_wall_ms(), .event = "progress"};
	n->records[0].data = sl_bytes_new(data, (size_t)bytes);
	sl_ws_publish(bench.ws, n);
	sl_notice_unref(n);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	*buf = uv_buf_init(bench.in + bench.n, (unsigned)(sizeof(bench.in) - bench.n));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	if (n < 0) {
		uv_close((uv_handle_t *)s, NULL);
		return;
	}
	bench.n += (size_t)n;
	char *at = bench.in, *end;
	while ((end = memchr(at, '\n', bench.n - (size_t)(at - bench.in)))) {
		commit(at, (size_t)(end - at));
		at = end + 1;
	}
	bench.n -= (size_t)(at - bench.in);
	memmove(bench.in, at, bench.n);
}

static void on_publisher(uv_stream_t *listener, int status)
{
	uv_tcp_init(listener->loop, &bench.publisher);
	if (uv_accept(listener, (uv_stream_t *)&bench.publisher) == 0)
		uv_read_start((uv_stream_t *)&bench.publisher, on_alloc, on_read);
}

static int listen_for_events(uv_loop_t *loop)
{
	struct sockaddr_in a;
	int len = sizeof(a);
	uv_ip4_addr("127.0.0.1", 0, &a);
	uv_tcp_init(loop, &bench.listener);
	uv_tcp_bind(&bench.listener, (struct sockaddr *)&a, 0);
	uv_listen((uv_stream_t *)&bench.listener, 1, on_publisher);
	uv_tcp_getsockname(&bench.listener, (struct sockaddr *)&a, &len);
	return ntohs(a.sin_port);
}

static enum sl_code everyone(void *ctx, struct lws *wsi, struct sl_ws_identity *who)
{
	return SL_OK;
}

static void on_term(uv_signal_t *h, int signum)
{
	struct sl_hub_stats s;
	sl_hub_stats(sl_ws_hub(bench.ws), &s);
	printf("{\"writes\":%llu,\"bytes\":%llu,\"flushes\":%llu,\"frames_encoded\":%llu,\"catch_up_frames\":%llu,"
	       "\"fell_behind\":%llu}\n",
	       (unsigned long long)s.writes, (unsigned long long)s.bytes, (unsigned long long)s.flushes,
	       (unsigned long long)s.frames_encoded, (unsigned long long)s.catch_up_frames,
	       (unsigned long long)s.fell_behind);
	fflush(stdout);
	_exit(0); /* a benchmark's sockets are nobody's loss */
}

int main(int argc, char **argv)
{
	int port = 0, cpu = -1;
	unsigned flush_ms = SL_HUB_FLUSH_MS;
	char run[SL_UUID_TEXT_BYTES];
	struct rlimit files;
	struct sl_loop *loop;
	struct lws_context *lws;
	static struct lws_protocols protocols[2];

	for (int o; (o = getopt(argc, argv, "p:c:f:")) != -1;) {
		if (o == 'p')
			port = (int)strtol(optarg, NULL, 10);
		else if (o == 'c')
			cpu = (int)strtol(optarg, NULL, 10);
		else if (o == 'f')
			flush_ms = (unsigned)strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max < 65536 ? files.rlim_max : 65536;
	setrlimit(RLIMIT_NOFILE, &files);
	if (cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET((unsigned)cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
	}
	bench.run.u = sl_uuid_new();
	lws_set_log_level(LLL_ERR, NULL);
	if (sl_loop_new("front", &loop) != SL_OK)
		return 1;
	struct sl_ws_config config = {
		.loop = loop,
		.source = {view, unwatch, events_after, watch_all, NULL},
		.flush_ms = flush_ms,
		.path = "/ws",
		.authenticate = everyone,
	};
	if (sl_ws_new(&config, &bench.ws) != SL_OK)
		return 1;
	sl_ws_protocol(bench.ws, &protocols[0]);
	void *loops[1] = {sl_loop_uv(loop)};
	struct lws_context_creation_info info = {
		.port = port,
		.iface = "127.0.0.1",
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.foreign_loops = loops,
		.protocols = protocols,
		.pt_serv_buf_size = 128 << 10,
		.max_http_header_pool = 64, /* 5 KB each while a handshake lasts */
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
	};
	lws = lws_create_context(&info);
	struct lws_vhost *vhost = lws ? lws_create_vhost(lws, &info) : NULL;
	if (!vhost) {
		fprintf(stderr, "hub: libwebsockets did not start\n");
		return 1;
	}
	sl_uuid_format(bench.run.u, run);
	printf("listening %d %s %d\n", lws_get_vhost_listen_port(vhost), run, listen_for_events(sl_loop_uv(loop)));
	fflush(stdout);
	uv_signal_init(sl_loop_uv(loop), &bench.term);
	uv_signal_start(&bench.term, on_term, SIGTERM);
	return uv_run(sl_loop_uv(loop), UV_RUN_DEFAULT);
}
