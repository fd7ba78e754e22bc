/* The same question asked again, in whole runs: who is answered from memory, and who waits for whom. */
#include "tests/lib/test.h"

#include "tests/lib/limited.h"

static void the_very_same_question_is_asked_once(void **state)
{
	struct limited *f = *state;
	struct sl_run_id a = ask(f, "\"profile\":\"main\",\"temperature\":0,\"text\":\"an answer\"");
	world_settle(f->w);
	struct sl_run_id b = ask(f, "\"profile\":\"main\",\"temperature\":0,\"text\":\"an answer\"");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, b), "succeeded");
	assert_int_equal(world_calls(f->w, "a"), 1);
	assert_string_equal(answer(f, b), "an answer");
	char id[SL_UUID_TEXT_BYTES];
	sl_uuid_format(a.u, id);
	assert_non_null(strstr(reason(f, b), "cached: the answer of "));
	assert_non_null(strstr(reason(f, b), id)); /* whose it is */
	assert_int_equal(sl_json_get_i64(sl_json_get(world_run(f->w, b), "usage"), "output_tokens", 0), 0);
	/* any part of the question makes it another one */
	(void)ask(f, "\"profile\":\"main\",\"temperature\":0,\"text\":\"an answer\",\"seed\":1");
	(void)ask(f, "\"profile\":\"main\",\"temperature\":0,\"text\":\"an answer\",\"model\":\"other\"");
	(void)ask(f, "\"profile\":\"main\",\"temperature\":0,\"text\":\"another answer\"");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 4);
	put(f, "main", "{\"provider\":\"openai\",\"model\":\"newer\",\"api_keys\":[\"sk-aaaaaaaa1111\"]}");
	(void)ask(f, "\"profile\":\"main\",\"temperature\":0,\"text\":\"an answer\"");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 5);
	/* and a model that may answer differently is asked each time */
	for (int i = 0; i < 2; i++) {
		(void)ask(f, "\"profile\":\"main\",\"temperature\":0.7,\"text\":\"an answer\"");
		world_settle(f->w);
	}
	assert_int_equal(world_calls(f->w, "a"), 7);
}

static void who_asks_meanwhile_waits_for_that_answer(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id[5];
	for (int i = 0; i < 5; i++)
		id[i] = ask(f, "\"profile\":\"main\",\"temperature\":0,\"text\":\"an answer\",\"hold\":true");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 1);
	assert_string_equal(reason(f, id[3]), "waits: the same is being asked right now");
	assert_int_equal(world_command(f->w, id[2], SL_CMD_CANCEL), SL_OK);
	world_release(f->w, "a");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 1);
	for (int i = 0; i < 5; i++)
		assert_string_equal(world_status(f->w, id[i]), i == 2 ? "cancelled" : "succeeded");
	/* when the one who makes it is called off, the next one does */
	for (int i = 0; i < 3; i++)
		id[i] = ask(f, "\"profile\":\"main\",\"temperature\":0,\"text\":\"other\",\"hold\":true");
	world_settle(f->w);
	assert_int_equal(world_command(f->w, id[0], SL_CMD_CANCEL), SL_OK);
	assert_int_equal(world_calls(f->w, "a"), 3);
	world_release(f->w, "a");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id[2]), "succeeded");
	assert_int_equal(world_calls(f->w, "a"), 3);
}

static void failures_and_what_stands_in_for_them_are_not_kept(void **state)
{
	struct limited *f = *state;
	for (int i = 0; i < 2; i++) {
		struct sl_run_id id =
			ask_with(f, "", "\"profile\":\"main\",\"temperature\":0,\"fail\":\"provider_rejected\"",
				 ",\"on_error\":\"fallback\",\"fallback\":\"canned\"");
		world_settle(f->w);
		assert_string_equal(answer(f, id), "canned");
	}
	assert_int_equal(world_calls(f->w, "a"), 2);
}

static void a_node_may_say_what_makes_it_the_same(void **state)
{
	struct limited *f = *state;
	static const char *const prompts[] = {"cats", "CATS", "dogs"};
	for (size_t i = 0; i < 3; i++) {
		char text[1000];
		snprintf(text, sizeof(text),
			 "{\"sluice\":1,\"name\":\"n\",\"inputs\":{\"type\":\"object\"},\"nodes\":[{\"id\":\"a\","
			 "\"type\":"
			 "\"fake\",\"params\":{\"prompt\":\"{{ input.topic }}\",\"profile\":\"main\",\"text\":\"x\"},"
			 "\"cache\":{\"ttl_s\":60,\"key\":\"{{ text.lower(input.topic) }}\"}}],\"edges\":[]}");
		char input[100];
		snprintf(input, sizeof(input), "{\"topic\":\"%s\"}", prompts[i]);
		(void)world_submit(f->w, text, input);
		world_settle(f->w);
	}
	assert_int_equal(world_calls(f->w, "a"), 2);
	SL_BUF(out, 4096);
	sl_cache_json(f->cache, &out);
	assert_non_null(strstr(out.data, "{\"scope\":\"node\",\"hits\":1,\"misses\":2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIMITED_TEST(the_very_same_question_is_asked_once),
		LIMITED_TEST(who_asks_meanwhile_waits_for_that_answer),
		LIMITED_TEST(failures_and_what_stands_in_for_them_are_not_kept),
		LIMITED_TEST(a_node_may_say_what_makes_it_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
