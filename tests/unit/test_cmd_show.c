#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "cmd/show.h"

struct fixture {
	struct sl_buf out;
	struct sl_show *show;
};

static void to_buf(void *ctx, const char *bytes, size_t len)
{
	sl_buf_add(ctx, bytes, len);
}

static struct fixture *begin(bool terminal, unsigned width)
{
	struct fixture *f = calloc(1, sizeof(*f));
	sl_buf_init(&f->out, 1u << 20);
	const struct sl_show_config config = {.write = to_buf, .ctx = &f->out, .terminal = terminal, .width = width};
	f->show = sl_show_new(&config);
	assert_non_null(f->show);
	return f;
}
static int plain_setup(void **state)
{
	*state = begin(false, 0);
	return 0;
}
static int terminal_setup(void **state)
{
	*state = begin(true, 60);
	return 0;
}
static int teardown(void **state)
{
	struct fixture *f = *state;
	sl_show_free(f->show);
	sl_buf_fini(&f->out);
	free(f);
	return 0;
}

static void event(struct fixture *f, const char *name, uint64_t seq, const char *json)
{
	SL_AUTO_JSON data = NULL;
	struct sl_error err;
	assert_int_equal(sl_json_parse(sl_str(json), &data, &err), SL_OK);
	sl_show_event(f->show, name, seq, data);
}
static void token_at(struct fixture *f, const char *node, unsigned attempt, size_t offset, const char *chunk)
{
	SL_AUTO_JSON data = json_object_new_object();
	sl_json_set_str(data, "node_id", sl_str(node));
	sl_json_set_i64(data, "attempt", attempt);
	sl_json_set_i64(data, "offset", (int64_t)offset);
	sl_json_set_i64(data, "end", (int64_t)(offset + strlen(chunk)));
	sl_json_set_str(data, "chunk", sl_str(chunk));
	sl_json_set_bool(data, "is_thinking", false);
	sl_show_event(f->show, "token_stream", 0, data);
}
static const char *shown(struct fixture *f)
{
	return f->out.data ? f->out.data : "";
}

static void without_a_terminal_lines_come_whole_behind_their_node(void **state)
{
	struct fixture *f = *state;
	token_at(f, "pro", 1, 0, "one ");
	token_at(f, "con", 1, 0, "eins ");
	assert_string_equal(shown(f), "");
	token_at(f, "pro", 1, 4, "two\nthree");
	assert_string_equal(shown(f), "pro | one two\n");
	token_at(f, "con", 1, 5, "zwei\n");
	assert_string_equal(shown(f), "pro | one two\ncon | eins zwei\n");
	event(f, "node_state_change", 1,
	      "{\"node_id\":\"pro\",\"status\":\"completed\",\"type\":\"llm\",\"attempt\":1}");
	assert_string_equal(shown(f), "pro | one two\ncon | eins zwei\npro | three\npro + completed\n");
}

static void a_single_stream_is_live_word_by_word(void **state)
{
	struct fixture *f = *state;
	token_at(f, "judge", 1, 0, "Both ");
	assert_string_equal(shown(f), "judge │ Both ");
	token_at(f, "judge", 1, 5, "si");
	assert_string_equal(shown(f), "judge │ Both "); /* the word may still have to go to the next line */
	token_at(f, "judge", 1, 7, "des ");
	assert_string_equal(shown(f), "judge │ Both sides ");
}

static void two_streams_do_not_cut_into_each_others_lines(void **state)
{
	struct fixture *f = *state;
	token_at(f, "pro", 1, 0, "I say ");
	token_at(f, "con", 1, 0, "I object ");
	token_at(f, "pro", 1, 6, "yes ");
	token_at(f, "con", 1, 9, "to that\n");
	token_at(f, "pro", 1, 10, "always\n");
	assert_string_equal(shown(f), "pro │ I say \ncon │ I object to that\npro │ yes always\n");
}

static void long_lines_break_between_words(void **state)
{
	struct fixture *f = *state;
	char text[400] = "";
	for (size_t i = 0; i < 40; i++)
		memcpy(text + i * 6, "worda ", 7);
	token_at(f, "n", 1, 0, text);
	sl_show_note(f->show, "end");
	unsigned words = 0;
	for (const char *p = shown(f); *p;) {
		const char *end = strchr(p, '\n');
		assert_non_null(end);
		assert_true(end - p <= 60 + 2); /* columns; the bar has three bytes */
		for (const char *w = p; (w = strstr(w, "worda")) && w < end; w++)
			words++;
		p = end + 1;
	}
	assert_int_equal(words, 40); /* none lost, none cut in two */
}

/* Everything a model says appears once and in order, wherever chunks are cut, live or not. */
static void no_character_is_lost_wherever_it_is_cut(void **state)
{
	static const char text[] =
		"Zwölf Boxkämpfer 同时说话没有空格的很长很长的一行文字没有空格的很长很长的一行文字 "
		"jagen\tEva\n\nacross the wide and windy "
		"dyke, quite a "
		"longwordthatdoesnotfitintoanylineofthisterminalbecauseithasnospacesatallanditgoesonandon end";
	for (size_t cut = 1; cut < 40; cut++)
		for (unsigned width = 40; width < 80; width += 13) {
			struct fixture *f = begin(true, width);
			for (size_t at = 0; at < sizeof(text) - 1;) {
				char chunk[64];
				size_t n = cut > sizeof(text) - 1 - at ? sizeof(text) - 1 - at : cut;
				while ((text[at + n] & 0xc0) == 0x80)
					n++; /* offsets are at character boundaries */
				memcpy(chunk, text + at, n);
				chunk[n] = '\0';
				token_at(f, "n", 1, at, chunk);
				at += n;
			}
			event(f, "node_state_change", 1, "{\"node_id\":\"n\",\"status\":\"completed\"}");
			/* without names, bars, line ends and blanks both are the same */
			char got[1024], want[1024];
			size_t g = 0, w = 0;
			const char *end = strstr(shown(f), "n ✓");
			assert_non_null(end);
			for (const char *p = shown(f); p < end; p++) {
				if (p == shown(f) || p[-1] == '\n') {
					assert_int_equal(strncmp(p, "n │ ", strlen("n │ ")), 0);
					p += strlen("n │ ");
					if (p >= end)
						break;
				}
				if (!strchr(" \n", *p))
					got[g++] = *p;
			}
			for (const char *p = text; *p; p++)
				if (!strchr(" \n\t", *p))
					want[w++] = *p;
			got[g] = want[w] = '\0';
			assert_string_equal(got, want);
			void *as_state = f;
			teardown(&as_state);
		}
}

static void what_was_shown_before_is_not_shown_again(void **state)
{
	struct fixture *f = *state;
	token_at(f, "a", 1, 0, "one\n");
	event(f, "node_state_change", 3, "{\"node_id\":\"a\",\"status\":\"waiting\"}");
	size_t len = f->out.len;
	token_at(f, "a", 1, 0, "one\n");
	event(f, "node_state_change", 3, "{\"node_id\":\"a\",\"status\":\"waiting\"}");
	event(f, "node_state_change", 2, "{\"node_id\":\"a\",\"status\":\"running\"}");
	assert_int_equal(f->out.len, len);
	token_at(f, "a", 1, 0, "one\ntwo\n"); /* partly new */
	assert_string_equal(shown(f) + len, "a | two\n");
	assert_int_equal(sl_show_last_seq(f->show), 3);
}

static void a_new_attempt_starts_over_and_says_so(void **state)
{
	struct fixture *f = *state;
	token_at(f, "a", 1, 0, "first try");
	event(f, "stream_reset", 4, "{\"node_id\":\"a\",\"attempt\":2,\"reason\":\"timeout\"}");
	token_at(f, "a", 2, 0, "second\n");
	token_at(f, "a", 1, 9, "late\n"); /* of the old attempt */
	assert_string_equal(shown(f),
			    "a | first try\na * starts over, attempt 2: timeout; the text above is void\na | second\n");
}

static void a_model_cannot_drive_the_terminal(void **state)
{
	struct fixture *f = *state;
	token_at(f, "a", 1, 0, "x\033[2Jy\rz\x07\xc2\x9b\x7f!\n");
	event(f, "node_state_change", 1,
	      "{\"node_id\":\"a\",\"status\":\"failed\",\"error\":{\"message\":\"bad\\u001b[0m\\nthing\"}}");
	assert_string_equal(shown(f), "a | x[2Jyz!\na ! failed: bad [0m thing\n");
}

static void the_end_tells_outputs_usage_and_the_simulator(void **state)
{
	struct fixture *f = *state;
	SL_AUTO_JSON run = NULL;
	struct sl_error err;
	token_at(f, "a", 1, 0, "unfinished");
	assert_int_equal(sl_json_parse(SL_STR("{\"status\":\"succeeded\",\"outputs\":{\"verdict\":\"yes\",\"n\":{\"a\":"
					      "1}},\"simulated\":true,"
					      "\"usage\":{\"input_tokens\":12,\"output_tokens\":34},\"cost_usd\":0.5,"
					      "\"started_at\":\"2026-01-01T00:00:00.000Z\",\"finished_at\":\"2026-01-"
					      "01T00:00:02.500Z\"}"),
				       &run, &err),
			 SL_OK);
	sl_show_end(f->show, run);
	assert_string_equal(
		shown(f),
		"a | unfinished\n\nverdict: yes\nn: {\"a\":1}\nsucceeded in 2.5 s; 12 tokens in, 34 out, $0.5000 "
		"(answered by the simulator, not by a model)\n");
}

static void failures_name_their_node(void **state)
{
	struct fixture *f = *state;
	SL_AUTO_JSON run = NULL;
	struct sl_error err;
	assert_int_equal(sl_json_parse(SL_STR("{\"status\":\"failed\",\"error\":{\"code\":\"timeout\",\"message\":"
					      "\"too late\",\"node\":\"pro\"}}"),
				       &run, &err),
			 SL_OK);
	sl_show_end(f->show, run);
	assert_non_null(strstr(shown(f), "failed at pro: too late"));
}

static void what_nodes_tell_is_a_line_each(void **state)
{
	struct fixture *f = *state;
	event(f, "loop:round", 1,
	      "{\"node_id\":\"refine\",\"round\":2,\"of\":5,\"score\":81.5,\"target\":90,\"decision\":\"continue\","
	      "\"note\":\"regression\"}");
	event(f, "loop:round", 2,
	      "{\"node_id\":\"refine\",\"round\":3,\"of\":5,\"score\":93,\"target\":90,\"decision\":\"exit\",\"exit_"
	      "reason\":\"score\"}");
	event(f, "human_review:requested", 3,
	      "{\"node_id\":\"ask\",\"draft\":\"d\",\"instructions\":\"look\\u001b[2J\"}");
	event(f, "human_review:resolved", 4,
	      "{\"node_id\":\"ask\",\"action\":\"reject\",\"reviewer\":\"ann\",\"reason\":\"thin\"}");
	event(f, "circuit_breaker:tripped", 5,
	      "{\"node_id\":\"x\",\"reason\":\"TOKEN_SURGE\",\"message\":\"too much\"}");
	event(f, "vote:cast", 6, "{\"node_id\":\"panel\",\"voter\":\"bea\",\"vote\":\"no\"}");
	event(f, "vote:cast", 7, "{\"node_id\":\"panel\",\"voter\":\"cy\",\"vote\":7}");
	event(f, "user_input", 8, "{\"text\":\"shorter\",\"by\":\"ann\"}");
	event(f, "node_state_change", 9, "{\"node_id\":\"slow\",\"status\":\"pending\",\"reason\":\"waits 3.2 s\"}");
	event(f, "something:new", 10, "{\"node_id\":\"slow\"}");
	event(f, "tool_execution", 11,
	      "{\"node_id\":\"h#1/tools#1/"
	      "call\",\"tool\":\"calculate\",\"arguments\":\"{}\",\"ok\":true,\"result\":\"42\"}");
	event(f, "tool_execution", 12,
	      "{\"node_id\":\"h#1/tools#2/"
	      "call\",\"tool\":\"http_get\",\"arguments\":\"{}\",\"ok\":false,\"error\":{\"code\":"
	      "\"egress_denied\",\"message\":\"no\"}}");
	assert_string_equal(sl_buf_str(&f->out).p,
			    "refine = round 2 of 5: score 81.5 of 90, regression\n"
			    "refine = round 3 of 5: score 93 of 90; ends: score\n"
			    "ask = a person is asked: look [2J\n"
			    "  answer in the browser, or: sluice runs review RUN ask approve | modify | reject\n"
			    "ask = decided: reject, by ann: thin\n"
			    "x = the run is locked: too much\n"
			    "  look at it, then: sluice runs unlock RUN --justification WHY\n"
			    "panel = bea votes no\n"
			    "panel = cy gives 7\n"
			    "ann interjects: shorter\n"
			    "slow ~ pending: waits 3.2 s\n"
			    "h#1/tools#1/call = calculate {}: 42\n"
			    "h#1/tools#2/call = http_get {}: egress_denied: no\n");
}

static void odd_events_are_survived(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = {"token_stream",      "stream_reset", "node_state_change",
					    "execution:waiting", "else",         ""};
	static const char *const datas[] = {"null",
					    "{}",
					    "[]",
					    "{\"node_id\":1}",
					    "{\"node_id\":\"\",\"status\":\"completed\"}",
					    "{\"node_id\":\"a\",\"offset\":-1,\"chunk\":\"x\"}",
					    "{\"node_id\":\"a\",\"attempt\":-5,\"chunk\":\"x\"}",
					    "{\"node_id\":\"a\",\"chunk\":[]}",
					    "{\"node_id\":\"a\",\"status\":{}}"};
	for (size_t i = 0; i < SL_COUNT_OF(names); i++)
		for (size_t k = 0; k < SL_COUNT_OF(datas); k++)
			event(f, names[i], 0, datas[k]);
}

#define PLAIN(name) cmocka_unit_test_setup_teardown(name, plain_setup, teardown)
#define TERM(name)  cmocka_unit_test_setup_teardown(name, terminal_setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAIN(without_a_terminal_lines_come_whole_behind_their_node),
		TERM(a_single_stream_is_live_word_by_word),
		TERM(two_streams_do_not_cut_into_each_others_lines),
		TERM(long_lines_break_between_words),
		cmocka_unit_test(no_character_is_lost_wherever_it_is_cut),
		PLAIN(what_was_shown_before_is_not_shown_again),
		PLAIN(a_new_attempt_starts_over_and_says_so),
		PLAIN(a_model_cannot_drive_the_terminal),
		PLAIN(the_end_tells_outputs_usage_and_the_simulator),
		PLAIN(failures_name_their_node),
		PLAIN(what_nodes_tell_is_a_line_each),
		PLAIN(odd_events_are_survived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
