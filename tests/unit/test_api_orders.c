/* What may be asked of a run: the shape of each body, and that the table agrees with the routes and the commands. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "api/api_priv.h"
#include "api/orders.h"
#include "ws/command.h"

static void bodies_are_read_or_refused_with_a_pointer(void **state)
{
	static const struct {
		const char *order, *body, *pointer; /* pointer NULL: fine */
		const char *payload;                /* NULL: none is made */
	} rows[] = {
		{"pause", "{}", NULL, NULL},
		{"pause", "{\"mode\":\"now\",\"reason\":\"r\"}", NULL, NULL},
		{"pause", "{\"mode\":\"later\"}", "/mode", NULL},
		{"resume", "{\"reason\":\"r\"}", NULL, NULL},
		{"cancel", "{\"mode\":\"now\"}", "/mode", NULL},
		{"unlock", "{\"justification\":\" it is fine \"}", NULL, "{\"justification\":\"it is fine\"}"},
		{"unlock", "{\"confirmations\":[true,true,true]}", NULL, "{\"confirmations\":[true,true,true]}"},
		{"unlock", "{}", "/justification", NULL},
		{"unlock", "{\"justification\":\"  \"}", "/justification", NULL},
		{"unlock", "{\"justification\":7}", "/justification", NULL},
		{"unlock", "{\"confirmations\":[true,true]}", "/confirmations", NULL},
		{"unlock", "{\"confirmations\":[true,true,false]}", "/confirmations", NULL},
		{"unlock", "{\"confirmations\":[1,1,1]}", "/confirmations", NULL},
		{"unlock", "{\"confirmations\":true}", "/confirmations", NULL},
		{"review", "{\"node\":\"a#1/b\",\"action\":\"approve\"}", NULL, "{\"action\":\"approve\"}"},
		{"review", "{\"node\":\"n\",\"action\":\"modify\",\"content\":{\"a\":[1]},\"reason\":\"r\"}", NULL,
		 "{\"action\":\"modify\",\"content\":{\"a\":[1]},\"reason\":\"r\"}"},
		{"review", "{\"action\":\"approve\"}", "/node", NULL},
		{"review", "{\"node\":\"n\",\"action\":\"maybe\"}", "/action", NULL},
		{"review", "{\"node\":\"n\",\"action\":\"reject\",\"reason\":7}", "/reason", NULL},
		{"signal", "{\"signal\":\"go\",\"payload\":{\"n\":1}}", NULL,
		 "{\"signal\":\"go\",\"payload\":{\"n\":1}}"},
		{"retry", "{}", NULL, NULL},
		{"retry", "{\"from\":\"a#2/b\"}", NULL, NULL},
		{"retry", "{\"from\":\"\"}", "/from", NULL},
		{"retry", "{\"from\":3}", "/from", NULL},
		{"signal", "{\"signal\":\"go\"}", NULL, "{\"signal\":\"go\",\"payload\":null}"},
		{"signal", "{}", "/signal", NULL},
		{"input", "{\"text\":\" hello \"}", NULL, "{\"text\":\"hello\"}"},
		{"input", "{\"text\":\" \"}", "/text", NULL},
		{"input", "{\"text\":7}", "/text", NULL},
		/* what is misspelt must not be taken for left out */
		{"pause", "{\"mod\":\"now\"}", "/mod", NULL},
		{"pause", "{\"reason\":7}", "/reason", NULL},
		{"resume", "{\"by\":\"me\"}", "/by", NULL},
		{"cancel", "{\"reson\":\"r\"}", "/reson", NULL},
		{"retry", "{\"form\":\"a\"}", "/form", NULL},
		{"unlock", "{\"justification\":\"fine\",\"reason\":\"r\"}", "/reason", NULL},
		{"review", "{\"node\":\"n\",\"action\":\"approve\",\"contnet\":\"x\"}", "/contnet", NULL},
		{"signal", "{\"signal\":\"go\",\"pay/load\":1}", "/pay~1load", NULL},
		{"input", "{\"text\":\"hi\",\"cmd\":\"user_input\"}", "/cmd", NULL},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		SL_AUTO_JSON body = NULL;
		struct sl_order_text text;
		struct sl_error err = {0};
		SL_BUF(errors, 4096);
		assert_int_equal(sl_json_parse(sl_str(rows[i].body), &body, &err), SL_OK);
		const struct sl_order_row *row = sl_order_find_rest(sl_str(rows[i].order));
		assert_non_null(row);
		enum sl_code rc = sl_order_read(row, body, NULL, SL_STR("ann"), &text, &errors, &err);
		if (rc != (rows[i].pointer ? SL_INVALID : SL_OK))
			fail_msg("%s %s: %s", rows[i].order, rows[i].body, sl_code_wire(rc));
		if (rows[i].pointer) {
			char pointer[64];
			snprintf(pointer, sizeof(pointer), "\"pointer\":\"%s\"", rows[i].pointer);
			if (!strstr(errors.data, pointer) || !strstr(err.text, rows[i].pointer))
				fail_msg("%s %s: %s", rows[i].order, rows[i].body, errors.data);
		} else {
			assert_true(sl_str_is(text.order.by, "ann"));
			assert_true(sl_str_is(text.order.payload, rows[i].payload ? rows[i].payload : ""));
		}
		sl_order_text_fini(&text);
	}
}

static void each_order_has_its_line_of_the_trail_without_what_was_said(void **state)
{
	static const struct {
		const char *order, *body, *audit, *detail;
	} rows[] = {
		{"pause", "{}", "run.pause", "{\"mode\":\"drain\"}"},
		{"pause", "{\"mode\":\"now\",\"reason\":\"r\"}", "run.pause", "{\"mode\":\"now\",\"reason\":\"r\"}"},
		{"resume", "{}", "run.resume", ""},
		{"resume", "{\"reason\":\"r\"}", "run.resume", "{\"reason\":\"r\"}"},
		{"cancel", "{\"reason\":\"too \\\"dear\\\"\"}", "run.cancel", "{\"reason\":\"too \\\"dear\\\"\"}"},
		{"retry", "{}", "run.retry", ""},
		{"retry", "{\"from\":\"a#2/b\"}", "run.retry", "{\"from\":\"a#2/b\"}"},
		{"unlock", "{\"justification\":\"fine\",\"confirmations\":[true,true,true]}", "run.unlock",
		 "{\"justification\":\"fine\",\"confirmations\":[true,true,true]}"},
		{"review", "{\"node\":\"n\",\"action\":\"modify\",\"content\":\"secret\",\"reason\":\"style\"}",
		 "run.review", "{\"node\":\"n\",\"action\":\"modify\",\"reason\":\"style\"}"},
		{"signal", "{\"signal\":\"go\",\"payload\":{\"key\":\"secret\"}}", "run.signal", "{\"signal\":\"go\"}"},
		{"input", "{\"text\":\"secret\"}", "run.input", ""},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		SL_AUTO_JSON body = NULL;
		struct sl_order_text text;
		struct sl_error err = {0};
		SL_BUF(errors, 4096);
		size_t known = 0;
		assert_int_equal(sl_json_parse(sl_str(rows[i].body), &body, &err), SL_OK);
		const struct sl_order_row *row = sl_order_find_rest(sl_str(rows[i].order));
		assert_int_equal(sl_order_read(row, body, NULL, SL_STR("ann"), &text, &errors, &err), SL_OK);
		assert_non_null(row->audit);
		assert_string_equal(row->audit, rows[i].audit);
		assert_string_equal(text.detail.len ? text.detail.data : "", rows[i].detail);
		sl_order_text_fini(&text);
		while (sl_audit_actions[known] && strcmp(sl_audit_actions[known], row->audit) != 0)
			known++;
		assert_non_null(sl_audit_actions[known]); /* so it is counted */
	}
	for (size_t i = 0; i < sl_n_order_rows; i++)
		assert_non_null(sl_order_rows[i].audit);
}

static void a_pause_says_how(void **state)
{
	SL_AUTO_JSON body = NULL;
	struct sl_order_text text;
	struct sl_error err = {0};
	SL_BUF(errors, 4096);
	assert_int_equal(sl_json_parse(SL_STR("{\"mode\":\"now\",\"reason\":\"lunch\"}"), &body, &err), SL_OK);
	assert_int_equal(sl_order_read(sl_order_find_ws("pause"), body, NULL, SL_STR(""), &text, &errors, &err), SL_OK);
	assert_int_equal(text.order.kind, SL_CMD_PAUSE_NOW);
	assert_true(sl_str_is(text.order.reason, "lunch"));
	sl_order_text_fini(&text);
}

/* One table, three doors: the path with its role, the command of a WebSocket, and what the parser lets through. */
static void each_order_has_its_route_and_its_command(void **state)
{
	size_t routes = 0;
	for (size_t i = 0; i < sl_n_order_rows; i++) {
		const struct sl_order_row *row = &sl_order_rows[i];
		char path[64], text[160];
		bool found = false;
		snprintf(path, sizeof(path), "/api/v1/runs/{id}/%s", row->rest);
		for (size_t k = 0; k < sl_n_routes; k++)
			if (strcmp(sl_routes[k].pattern, path) == 0) {
				assert_int_equal(sl_routes[k].role, row->role);
				assert_ptr_equal(sl_routes[k].handler, sl_route_run_order);
				found = true;
			}
		if (!found)
			fail_msg("%s has no route", path);
		struct sl_ws_command cmd;
		struct sl_error err = {0};
		snprintf(text, sizeof(text), "{\"cmd\":\"%s\",\"run_id\":\"01900000-0000-7000-8000-000000000001\"}",
			 row->ws);
		assert_int_equal(sl_ws_command_parse(sl_str(text), &cmd, &err), SL_OK);
		assert_int_equal(cmd.cmd, SL_WS_FORWARD);
		sl_ws_command_fini(&cmd);
	}
	for (size_t k = 0; k < sl_n_routes; k++)
		routes += sl_routes[k].handler == sl_route_run_order;
	assert_int_equal(routes, sl_n_order_rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies_are_read_or_refused_with_a_pointer),
		cmocka_unit_test(each_order_has_its_line_of_the_trail_without_what_was_said),
		cmocka_unit_test(a_pause_says_how),
		cmocka_unit_test(each_order_has_its_route_and_its_command),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
