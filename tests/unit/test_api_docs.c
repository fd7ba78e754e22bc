/* The description of the WebSocket is what the code does: its commands are those the parser knows, with the roles of
 * the orders, and its events are those that engine, nodes, middleware, memory and hub send. */
#include "tests/lib/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/api_priv.h"
#include "api/orders.h"
#include "base/embed.h"
#include "engine/run_state.h"
#include "ws/command.h"

static struct json_object *description(void)
{
	const struct sl_embedded *f = sl_api_file("asyncapi.json");
	struct json_object *doc = NULL;
	struct sl_error err = {0};
	assert_non_null(f);
	if (sl_json_parse(sl_str_n(f->data, f->len), &doc, &err) != SL_OK)
		fail_msg("%s", err.text);
	return doc;
}

static struct json_object *message(struct json_object *doc, const char *kind, const char *name)
{
	struct json_object *all = sl_json_get(sl_json_get(doc, "components"), "messages");
	json_object_object_foreach (all, key, value) {
		if (strncmp(key, kind, strlen(kind)) == 0 && sl_str_is(sl_json_get_str(value, "name"), name))
			return value;
	}
	return NULL;
}

static size_t count(struct json_object *doc, const char *kind)
{
	size_t n = 0;
	struct json_object *all = sl_json_get(sl_json_get(doc, "components"), "messages");
	json_object_object_foreach (all, key, value) {
		(void)value;
		n += strncmp(key, kind, strlen(kind)) == 0;
	}
	return n;
}

/* The whole file of the tree; the caller frees it. */
static char *file_text(const char *name)
{
	char path[4500];
	const char *root = getenv("SLUICE_ROOT");
	snprintf(path, sizeof(path), "%s/%s", root ? root : ".", name);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	long size = ftell(f);
	rewind(f);
	char *text = calloc(1, (size_t)size + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)size, f), size);
	fclose(f);
	return text;
}

/* Whether a row of the table of Markdown is about it: `name` stands before the second bar. */
static bool in_first_column(const char *table, const char *name)
{
	char quoted[64];
	snprintf(quoted, sizeof(quoted), "`%s`", name);
	for (const char *row = table; (row = strstr(row, "\n| ")); row++) {
		const char *at = strstr(row, quoted), *bar = strchr(row + 3, '|');
		if (at && bar && at < bar)
			return true;
	}
	return false;
}

/* The parser lists its commands when it refuses one. */
static void commands_are_those_the_parser_knows(void **state)
{
	SL_AUTO_JSON doc = description();
	struct sl_ws_command cmd;
	struct sl_error err = {0};
	size_t n = 0;
	char *text = file_text("docs/API.md");
	char *table = strstr(text, "| command | fields | |"), *end = table ? strstr(table, "\n\n") : NULL;
	assert_non_null(end);
	*end = '\0';
	assert_int_equal(sl_ws_command_parse(SL_STR("{\"cmd\":\"?\"}"), &cmd, &err), SL_INVALID);
	sl_ws_command_fini(&cmd);
	char *list = strstr(err.text, "there are: ");
	assert_non_null(list);
	list += strlen("there are: ");
	for (char *save, *name = strtok_r(list, ", ", &save); name; name = strtok_r(NULL, ", ", &save), n++) {
		struct json_object *m = message(doc, "cmd_", name);
		if (!m)
			fail_msg("the command %s is not described", name);
		if (!in_first_column(table, name))
			fail_msg("the table of docs/API.md lacks the command %s", name);
		const struct sl_order_row *row = sl_order_find_ws(name);
		if (row)
			assert_string_equal(sl_json_get_z(m, "x-sluice-role"), sl_role_name(row->role));
	}
	assert_int_equal(count(doc, "cmd_"), n);
	free(text);
}

/* When a line is written is said of each action, once: where the trail is described. */
static void the_docs_say_of_each_action_when_its_line_is_written(void **state)
{
	char *text = file_text("docs/API.md");
	char *from = strstr(text, "| their line is written |");
	assert_non_null(from);
	char *to = strstr(from, "\n\n");
	assert_non_null(to);
	*to = '\0';
	for (size_t i = 0; sl_audit_actions[i]; i++) {
		char quoted[64];
		snprintf(quoted, sizeof(quoted), "`%s`", sl_audit_actions[i]);
		const char *at = strstr(from, quoted);
		if (!at || strstr(at + 1, quoted))
			fail_msg("%s is not described once in docs/API.md", sl_audit_actions[i]);
	}
	free(text);
}

/* Whatever is a string literal in these folders. */
static char *sources;
static size_t sources_len;

static void read_folder(const char *folder)
{
	char path[4500];
	const char *root = getenv("SLUICE_ROOT");
	snprintf(path, sizeof(path), "%s/%s", root ? root : ".", folder);
	DIR *dir = opendir(path);
	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		size_t len = strlen(e->d_name);
		if (len < 3 || strcmp(e->d_name + len - 2, ".c") != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", root ? root : ".", folder, e->d_name);
		FILE *f = fopen(path, "r");
		assert_non_null(f);
		fseek(f, 0, SEEK_END);
		long size = ftell(f);
		rewind(f);
		sources = realloc(sources, sources_len + (size_t)size + 1);
		assert_non_null(sources);
		sources_len += fread(sources + sources_len, 1, (size_t)size, f);
		sources[sources_len] = '\0';
		fclose(f);
	}
	closedir(dir);
}

static void events_are_those_that_are_sent(void **state)
{
	SL_AUTO_JSON doc = description();
	static const char *const folders[] = {"engine", "nodes", "middleware", "memory", "ws"};
	static const char *const calls[] = {"sl_node_event(", "sl_exec_event("};
	for (size_t i = 0; i < SL_COUNT_OF(folders); i++)
		read_folder(folders[i]);
	/* each that is described is sent somewhere */
	struct json_object *all = sl_json_get(sl_json_get(doc, "components"), "messages");
	json_object_object_foreach (all, key, value) {
		char quoted[96], escaped[96];
		const char *name = sl_json_get_z(value, "name");
		snprintf(quoted, sizeof(quoted), "\"%s\"", name);
		snprintf(escaped, sizeof(escaped), "\\\"%s\\\"", name); /* within a JSON text */
		if (strncmp(key, "event_", 6) == 0 && !strstr(sources, quoted) && !strstr(sources, escaped))
			fail_msg("nobody sends the event %s", name);
	}
	/* each that a node or middleware sends is described */
	for (size_t i = 0; i < SL_COUNT_OF(calls); i++)
		for (const char *at = sources; (at = strstr(at, calls[i])); at++) {
			char name[64];
			const char *comma = strchr(at, ',');
			if (!comma || sscanf(comma, ", \"%63[a-z_:]\"", name) != 1)
				continue; /* a declaration, or a name out of a variable */
			if (!message(doc, "event_", name))
				fail_msg("the event %s is not described", name);
		}
	/* and each of the engine's own: the table of their wire names */
	for (const char *at = sources; (at = strstr(at, "[SL_EV_")); at++) {
		char name[64];
		if (sscanf(at, "[SL_EV_%*[A-Z_]] = \"%63[a-z_:]\"", name) == 1 && !message(doc, "event_", name))
			fail_msg("the event %s is not described", name);
	}
	free(sources);
}

/* GET /runs/{id}: whatever the engine writes of a run and of its nodes, and the states that there are. */
static void a_run_is_described_as_it_is_shown(void **state)
{
	SL_AUTO_JSON doc = NULL;
	struct sl_error err = {0};
	const struct sl_embedded *f = sl_api_file("openapi.json");
	assert_int_equal(sl_json_parse(sl_str_n(f->data, f->len), &doc, &err), SL_OK);
	struct json_object *summary = NULL, *run = NULL, *node = NULL, *statuses = NULL;
	json_pointer_get(doc, "/components/schemas/RunSummary/properties", &summary);
	json_pointer_get(doc, "/components/schemas/Run/allOf/1/properties", &run);
	json_pointer_get(run, "/nodes/items/properties", &node);
	json_pointer_get(node, "/status/enum", &statuses);
	assert_true(summary && run && node && statuses);

	static const char *const inner[] = {"code", "message", "node", "input_tokens",
					    "output_tokens"}; /* of an error, of usage */
	char *text = file_text("engine/render.c");
	const char *runs = strstr(text, "void sl_state_render(");
	size_t n = 0;
	assert_non_null(runs);
	for (const char *at = text; (at = strstr(at, "(out, \"")); at++) {
		char key[64];
		size_t k = 0;
		if (sscanf(at, "(out, \"%63[a-z_]\"", key) != 1)
			continue;
		while (k < SL_COUNT_OF(inner) && strcmp(key, inner[k]) != 0)
			k++;
		if (k < SL_COUNT_OF(inner))
			continue;
		n++;
		bool of_node = at < runs && strcmp(key, "cost_usd") != 0; /* a node has that in its usage */
		if (of_node ? !sl_json_get(node, key) : !sl_json_get(run, key) && !sl_json_get(summary, key))
			fail_msg("\"%s\" of a %s is not described", key, of_node ? "node" : "run");
	}
	assert_true(n > 30);
	free(text);

	assert_int_equal(json_object_array_length(statuses), SL_NODE_STATUSES);
	for (size_t i = 0; i < SL_NODE_STATUSES; i++) {
		size_t k = 0;
		while (k < SL_NODE_STATUSES &&
		       !sl_str_is(sl_json_str(json_object_array_get_idx(statuses, k)), sl_node_states[i].wire))
			k++;
		if (k == SL_NODE_STATUSES)
			fail_msg("the state %s of a node is not described", sl_node_states[i].wire);
	}
}

static void references(struct json_object *doc, struct json_object *at, size_t *n)
{
	if (json_object_is_type(at, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(at); i++)
			references(doc, json_object_array_get_idx(at, i), n);
	} else if (json_object_is_type(at, json_type_object)) {
		json_object_object_foreach (at, key, value) {
			if (strcmp(key, "$ref") == 0) {
				struct json_object *found = NULL;
				if (json_pointer_get(doc, json_object_get_string(value) + 1, &found) != 0)
					fail_msg("%s leads nowhere", json_object_get_string(value));
				(*n)++;
			} else
				references(doc, value, n);
		}
	}
}

static void each_message_is_in_the_channel_and_in_an_operation(void **state)
{
	SL_AUTO_JSON doc = description();
	size_t n = 0, messages = count(doc, "");
	references(doc, doc, &n);
	assert_int_equal(n, 2 * messages + 2); /* in the channel, in its operation; each operation names the channel */
}

/* The page is drawn by a script under a policy that forbids what HTML in text could do. */
static void the_page_sets_nothing_as_html(void **state)
{
	static const char *const forbidden[] = {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write",
						"eval("};
	const struct sl_embedded *script = sl_api_file("docs.js"), *page = sl_api_file("docs.html");
	assert_true(script && page && sl_api_file("docs.css"));
	for (size_t i = 0; i < SL_COUNT_OF(forbidden); i++)
		assert_null(strstr(script->data, forbidden[i]));
	assert_null(strstr(page->data, "<script>"));
	assert_null(strstr(page->data, " style="));
	assert_null(strstr(page->data, "http"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_are_those_the_parser_knows),
		cmocka_unit_test(the_docs_say_of_each_action_when_its_line_is_written),
		cmocka_unit_test(events_are_those_that_are_sent),
		cmocka_unit_test(a_run_is_described_as_it_is_shown),
		cmocka_unit_test(each_message_is_in_the_channel_and_in_an_operation),
		cmocka_unit_test(the_page_sets_nothing_as_html),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
