/* tests/lib/stories.c: see stories.h. */
#include "tests/lib/stories.h"

#include <stdio.h>

#include "tests/lib/test.h"

const char *story_chain(void)
{
	return q("{'sluice':1,'name':'x','nodes':["
		 "{'id':'a','type':'fake','params':{'answer':1,'text':'t'}},"
		 "{'id':'b','type':'fake','params':{'answer':2,'fail':'invalid','fail_times':1}},"
		 "{'id':'c','type':'fake','params':{'answer':3}},"
		 "{'id':'side','type':'fake','params':{'answer':4}}],"
		 "'edges':[{'from':'a','to':'b'},{'from':'b','to':'c'},{'from':'a','to':'side'}],"
		 "'outputs':{'v':'{{ nodes.a.value + nodes.b.value + nodes.c.value }}'}}");
}

const char *story_rounds(const char *more)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':5,"
		 "'exit_on_score':{'value':'nodes.j.value','at_least':4},'body':{'nodes':["
		 "{'id':'p','type':'fake','params':{'answer':'{{ loop.index }}','text':'t'}},"
		 "{'id':'j','type':'fake','params':{'answer':'{{ loop.index }}','fail':'{{ loop.index == 3 and "
		 "[[invalid]] "
		 "or [[]] }}','fail_times':1}}],'edges':[{'from':'p','to':'j'}]}}},"
		 "{'id':'next','type':'fake','params':{'answer':'{{ nodes.r.rounds }}'%s}}],"
		 "'edges':[{'from':'r','to':'next'}],'outputs':{'v':'{{ nodes.next.value }}'}}",
		 more);
}

static const char *story_loop(void)
{
	return story_rounds("");
}

static const char *story_map(void)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'each','type':'map','params':{'items':[1,2,3],'concurrency':2,"
		 "'body':{'nodes':[{'id':'ask','type':'fake','params':{'answer':'{{ item }}','fail':'{{ item == 2 and "
		 "[[invalid]] or [[]] "
		 "}}','fail_times':1}},{'id':'next','type':'fake','params':{'answer':1,'text':'x'}}],"
		 "'edges':[{'from':'ask','to':'next'}]}}}]}");
}

static const char *story_branches(void)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'p','type':'parallel','params':{}},"
		 "{'id':'a','type':'fake','params':{'answer':1,'text':'x'}},"
		 "{'id':'b','type':'fake','params':{'answer':2,'fail':'invalid','fail_times':1}},"
		 "{'id':'c','type':'external','params':{}},{'id':'j','type':'join','params':{}},"
		 "{'id':'last','type':'fake','params':{'answer':3}}],"
		 "'edges':[{'from':'p','to':'a'},{'from':'p','to':'b'},{'from':'p','to':'c'},{'from':'a','to':'j'},"
		 "{'from':'b','to':'j'},{'from':'c','to':'j'},{'from':'j','to':'last'}]}");
}

static const char *story_review(void)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'answer':1}},"
		 "{'id':'ask','type':'human_review','params':{'draft':'d'}},{'id':'z','type':'fake','params':{'answer':"
		 "1,"
		 "'fail':'invalid','fail_times':1}}],'edges':[{'from':'a','to':'ask'},{'from':'ask','to':'z'}]}");
}

static const char *story_held(void)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':2,'body':{'nodes':["
		 "{'id':'h','type':'fake','params':{'answer':1,'hold':true}},{'id':'k','type':'fake','params':{'answer'"
		 ":1}}]"
		 ",'edges':[{'from':'h','to':'k'}]}}}]}");
}

const struct story stories[STORIES] = {
	{"a chain", story_chain, NULL, NULL, false},
	{"the third round of a loop", story_loop, NULL, NULL, false},
	{"an item of a map", story_map, NULL, NULL, false},
	{"a branch", story_branches, NULL, NULL, false},
	{"after a review", story_review, NULL, "ask", false},
	{"a review that was cut off", story_review, NULL, "ask", true},
	{"a cancelled loop", story_held, "r#%u/h", NULL, true},
};

/* Lets go what is held, and answers what waits for a person. True: there was something. */
static bool help(struct world *w, struct sl_run_id id, const struct story *s)
{
	bool any = false;
	for (unsigned i = 1; s->held && i <= 2; i++) {
		char path[32];
		(void)snprintf(path, sizeof(path), "r#%u/h", i);
		if (world_is_held(w, path)) {
			world_release(w, path);
			any = true;
		}
	}
	if (s->review && strcmp(world_node_status(w, id, s->review), "waiting") == 0)
		any = world_order(w, id, SL_CMD_REVIEW, s->review, "{\"action\":\"approve\"}") == SL_OK;
	world_settle(w);
	return any;
}

void story_to_its_end(struct world *w, struct sl_run_id id, const struct story *s)
{
	world_settle(w);
	for (unsigned i = 0; i < 20 && help(w, id, s); i++) {
	}
}

struct sl_run_id story_broken(struct world *w, const struct story *s)
{
	struct sl_run_id id = world_submit(w, s->definition(), "{}");
	world_settle(w);
	if (s->cancel) {
		assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
		expect_status(w, id, "cancelled");
	} else {
		story_to_its_end(w, id, s);
		expect_status(w, id, "failed");
	}
	return id;
}
