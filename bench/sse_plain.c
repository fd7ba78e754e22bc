/* bench/sse_plain.c: the reference of `streams`: the least that taking in model streams costs: libcurl's multi
 * interface, epoll, json-c.
 *
 *     sse_plain SIM_PORT STREAMS STARTS_PER_S SETTLE_S SECONDS FIRST_TOKEN_MS
 *
 * Takes the same streams straight from the simulator and reads every token out of its JSON; nobody is told, nothing is
 * kept. No run, no middleware, no journal, no subscriber: a ceiling. Prints one JSON line.
 */
#include <curl/curl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/lib.h"

struct stream {
	CURL *easy;
	uint64_t sent_us;
	bool began, over;
	char rest[2048]; /* of a line that is not complete */
	size_t n;
};

static CURLM *multi;
static struct stream *streams;
static struct json_tokener *tokener;
static struct bench_samples first_added, first_submit, age;
static uint64_t first_token_us, from_us = UINT64_MAX, until_us = UINT64_MAX, tokens, timer_at_us = UINT64_MAX;
static int ep, begun, ended;

static void line(struct stream *s, const char *p, size_t n, uint64_t now_us)
{
	struct json_object *choices, *delta, *content;
	if (n < 7 || memcmp(p, "data: {", 7) != 0)
		return;
	json_tokener_reset(tokener);
	struct json_object *o = json_tokener_parse_ex(tokener, p + 6, (int)n - 6);
	if (json_object_object_get_ex(o, "choices", &choices) && json_object_array_length(choices) > 0 &&
	    json_object_object_get_ex(json_object_array_get_idx(choices, 0), "delta", &delta) &&
	    json_object_object_get_ex(delta, "content", &content) && json_object_get_string_len(content) >= 17) {
		uint64_t stamp = strtoull(json_object_get_string(content) + 1, NULL, 10);
		if (!s->began) {
			s->began = true;
			begun++;
			bench_sample(&first_added, (int64_t)(now_us - stamp));
			bench_sample(&first_submit, (int64_t)(now_us - s->sent_us - first_token_us));
		}
		if (now_us >= from_us && now_us < until_us) {
			tokens++;
			bench_sample(&age, (int64_t)(now_us - stamp));
		}
	}
	json_object_put(o);
}

static size_t on_data(char *p, size_t size, size_t count, void *arg)
{
	struct stream *s = arg;
	size_t n = size * count;
	uint64_t now = bench_now_us();
	const char *end = p + n, *nl;
	while ((nl = memchr(p, '\n', (size_t)(end - p)))) {
		if (s->n) {
			size_t k = (size_t)(nl - p);
			if (s->n + k > sizeof(s->rest))
				bench_die("a long line");
			memcpy(s->rest + s->n, p, k);
			line(s, s->rest, s->n + k, now);
			s->n = 0;
		} else {
			line(s, p, (size_t)(nl - p), now);
		}
		p += nl - p + 1;
	}
	if (s->n + (size_t)(end - p) > sizeof(s->rest))
		bench_die("a long line");
	memcpy(s->rest + s->n, p, (size_t)(end - p));
	s->n += (size_t)(end - p);
	return n;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct epoll_event e = {.data.fd = fd};
	(void)easy, (void)arg;
	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	e.events = (what & CURL_POLL_IN ? (unsigned)EPOLLIN : 0) | (what & CURL_POLL_OUT ? (unsigned)EPOLLOUT : 0);
	epoll_ctl(ep, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
	curl_multi_assign(multi, fd, &ep);
	return 0;
}

static int on_timer(CURLM *m, long ms, void *arg)
{
	(void)m, (void)arg;
	timer_at_us = ms < 0 ? UINT64_MAX : bench_now_us() + (uint64_t)ms * 1000;
	return 0;
}

static void begin(struct stream *s, const char *url, const char *body, struct curl_slist *headers)
{
	s->easy = curl_easy_init();
	s->sent_us = bench_now_us();
	curl_easy_setopt(s->easy, CURLOPT_URL, url);
	curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
	curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
	curl_easy_setopt(s->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(s->easy, CURLOPT_FRESH_CONNECT, 1L); /* a look for a free one goes through all that live */
	curl_easy_setopt(s->easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(s->easy, CURLOPT_BUFFERSIZE, 4096L);
	curl_multi_add_handle(multi, s->easy);
}

static void reap(void)
{
	CURLMsg *m;
	int left;
	while ((m = curl_multi_info_read(multi, &left))) {
		struct stream *s;
		CURL *easy = m->easy_handle;
		if (m->data.result != CURLE_OK)
			bench_die("a stream broke: %s", curl_easy_strerror(m->data.result));
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&s);
		curl_multi_remove_handle(multi, easy);
		curl_easy_cleanup(easy);
		s->over = true;
		ended++;
	}
}

int main(int argc, char **argv)
{
	struct epoll_event got[256];
	char url[128];
	int running;
	if (argc < 7)
		bench_die("usage: sse_plain SIM_PORT STREAMS STARTS_PER_S SETTLE_S SECONDS FIRST_TOKEN_MS");
	int n_streams = (int)bench_int(argv[2], "STREAMS");
	uint64_t starts = (uint64_t)bench_int(argv[3], "STARTS_PER_S"),
		 settle_us = (uint64_t)bench_int(argv[4], "SETTLE_S") * 1000000;
	uint64_t span_us = (uint64_t)bench_int(argv[5], "SECONDS") * 1000000;
	first_token_us = (uint64_t)bench_int(argv[6], "FIRST_TOKEN_MS") * 1000;
	if (n_streams < 1 || starts < 1)
		bench_die("at least one stream, at least one start a second");
	bench_files();
	snprintf(url, sizeof(url), "http://127.0.0.1:%ld/v1/chat/completions", bench_int(argv[1], "SIM_PORT"));
	curl_global_init(CURL_GLOBAL_DEFAULT);
	ep = epoll_create1(EPOLL_CLOEXEC);
	multi = curl_multi_init();
	tokener = json_tokener_new();
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Expect:");
	streams = calloc((size_t)n_streams, sizeof(*streams));
	static const char body[] = "{\"model\":\"sim\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
				   "\"messages\":[{\"role\":\"user\",\"content\":\"Say something.\"}]}";

	long rss_before = bench_rss_kb(getpid()), rss = 0;
	uint64_t began = bench_now_us(), all_running = 0;
	int sent = 0;
	double cpu = 0, seconds = 0;
	for (;;) {
		uint64_t now = bench_now_us();
		for (int i = 0; i < 16 && sent < n_streams && (uint64_t)sent <= (now - began) * starts / 1000000; i++)
			begin(&streams[sent++], url, body, headers);
		if (from_us == UINT64_MAX && begun == n_streams) {
			if (!all_running)
				all_running = now;
			if (now - all_running >= settle_us) {
				cpu = bench_cpu_s(getpid(), false);
				from_us = bench_now_us();
				until_us = from_us + span_us;
			}
		}
		if (from_us != UINT64_MAX && now >= until_us) {
			cpu = bench_cpu_s(getpid(), false) - cpu;
			seconds = (double)(bench_now_us() - from_us) / 1e6;
			rss = bench_rss_kb(getpid());
			break;
		}
		if (now - began > 90000000)
			bench_die("after 90 s %d of %d streams had begun", begun, n_streams);
		int n = epoll_wait(ep, got, 256, timer_at_us <= now ? 0 : 1);
		for (int i = 0; i < n; i++)
			curl_multi_socket_action(multi, got[i].data.fd,
						 (got[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
							 (got[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
							 (got[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0),
						 &running);
		if (timer_at_us <= bench_now_us()) {
			timer_at_us = UINT64_MAX;
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		reap();
	}
	printf("{\"streams\":%d,\"ended_early\":%d,\"tokens_per_s\":%.0f,\"first_added_p50_ms\":%.3f,\"first_added_p99_"
	       "ms\":%.3f,\"first_submit_p50_ms\":%.3f,"
	       "\"first_submit_p99_ms\":%.3f,\"token_p50_ms\":%.3f,\"token_p99_ms\":%.3f,\"server_cpu\":%.4f,\"cpu_ms_"
	       "per_1000_tokens\":%.3f,\"rss_kb\":%ld,"
	       "\"rss_kb_per_stream\":%.2f}\n",
	       n_streams, ended, (double)tokens / seconds, bench_ms(&first_added, 0.5), bench_ms(&first_added, 0.99),
	       bench_ms(&first_submit, 0.5), bench_ms(&first_submit, 0.99), bench_ms(&age, 0.5), bench_ms(&age, 0.99),
	       cpu / seconds, tokens ? cpu * 1e6 / (double)tokens : 0.0, rss, (double)(rss - rss_before) / n_streams);
	return 0;
}
