/* engine/child_earlier.c: what a node that is run again does with the child that it had before its run was retried:
 * goes on with it, retries it, or leaves it alone, as the child's journal says. */
#include "engine/child_priv.h"

/* Would a new child be what that one is? Its inputs have got their defaults. */
static enum sl_code is_same(const struct sl_run_head *now, const struct sl_stored_run *was, const struct sl_workflow *w,
			    const struct sl_run_state *s, bool *same)
{
	struct sl_problems problems = {0};
	struct sl_error err = {0};
	struct sl_run_id parent;
	SL_AUTO_JSON mine = NULL;
	SL_AUTO_JSON its = NULL;
	*same = s->parent && sl_uuid_parse(sl_str(s->parent), &parent.u) && sl_run_id_eq(parent, now->parent) &&
		w->root->n_nodes && now->version == was->head->version &&
		strcmp(now->workflow, was->head->workflow) == 0 &&
		sl_str_eq(sl_bytes_str(now->definition), sl_bytes_str(was->head->definition));
	if (!*same)
		return SL_OK;
	SL_AUTO(sl_run_head) head = sl_engine_head_dup(now);
	enum sl_code rc = head ? sl_engine_settle(head, w, &problems, &err) : SL_NO_MEMORY;
	sl_problems_fini(&problems);
	if (rc == SL_OK)
		rc = sl_json_parse(sl_bytes_str(head->inputs), &mine, &err);
	if (rc == SL_OK)
		rc = sl_json_parse(sl_bytes_str(was->head->inputs), &its, &err);
	*same = rc == SL_OK && sl_json_equal(mine, its);
	return rc == SL_NO_MEMORY ? rc : SL_OK; /* inputs that do not fit are told when the new one is begun */
}

enum sl_code sl_child_judge(struct sl_engine *e, const struct sl_run_head *head, uint32_t generation, int64_t seen_ms,
			    const struct sl_stored_run *was, enum earlier *out)
{
	SL_AUTO(sl_workflow) w = NULL;
	struct sl_run_state s = {0};
	struct sl_error err;
	bool same = false;
	enum sl_code rc = sl_stored_state(e, was, &w, &s, &err);
	if (!w)
		return rc;
	bool mine = rc == SL_OK && s.retried_for >= generation; /* whatever has changed since */
	if (rc == SL_OK && !mine)
		rc = is_same(head, was, w, &s, &same);
	bool over = sl_run_status_final(s.status);
	if (mine)
		*out = EARLIER_ENDS;
	else if (!same)
		*out = EARLIER_OTHER;
	else if (!over)
		*out = s.by_itself ? EARLIER_ENDS : EARLIER_TAIL;
	else if (s.status == SL_RUN_SUCCEEDED) /* the node may have failed by what came out of it */
		*out = s.finished_ms > seen_ms ? EARLIER_ENDS : EARLIER_OTHER;
	else
		*out = sl_rerun_full(&s) ? EARLIER_OTHER : EARLIER_AGAIN;
	sl_run_state_fini(&s);
	return rc;
}
