/* api/routes.c: the table of all routes: method, path, the least role that may, handler, names of its query.
 * api/openapi.json describes the same ones, and a test compares the two. */
#include "api/api_priv.h"

#define V1 "/api/v1"

const struct sl_route sl_routes[] = {
	{SL_GET, "/livez", SL_ROLE_NONE, 0, sl_route_livez},
	{SL_GET, "/readyz", SL_ROLE_NONE, 0, sl_route_readyz},
	{SL_GET, "/metrics", SL_ROLE_VIEWER, SL_ROUTE_LOOPBACK, sl_route_metrics},
	{SL_GET, "/openapi.json", SL_ROLE_NONE, 0, sl_route_openapi},
	{SL_GET, "/asyncapi.json", SL_ROLE_NONE, 0, sl_route_asyncapi},
	{SL_GET, "/docs", SL_ROLE_NONE, SL_ROUTE_HIDDEN, sl_route_docs},
	{SL_GET, "/docs.js", SL_ROLE_NONE, SL_ROUTE_HIDDEN, sl_route_docs},
	{SL_GET, "/docs.css", SL_ROLE_NONE, SL_ROUTE_HIDDEN, sl_route_docs},

	{SL_POST, V1 "/session", SL_ROLE_VIEWER, SL_ROUTE_BEARER, sl_route_session_make},
	{SL_GET, V1 "/session", SL_ROLE_VIEWER, 0, sl_route_session_get},
	{SL_DELETE, V1 "/session", SL_ROLE_NONE, 0, sl_route_session_end},
	{SL_POST, V1 "/ws-ticket", SL_ROLE_VIEWER, 0, sl_route_ws_ticket},

	{SL_GET, V1 "/node-types", SL_ROLE_VIEWER, 0, sl_route_node_types},
	{SL_GET, V1 "/tools", SL_ROLE_VIEWER, 0, sl_route_tools},
	{SL_POST, V1 "/workflows", SL_ROLE_EDITOR, 0, sl_route_workflow_create},
	{SL_GET, V1 "/workflows", SL_ROLE_VIEWER, 0, sl_route_workflow_list, "limit cursor"},
	{SL_POST, V1 "/workflows/validate", SL_ROLE_VIEWER, 0, sl_route_workflow_validate},
	{SL_GET, V1 "/workflows/{name}", SL_ROLE_VIEWER, 0, sl_route_workflow_get, "version"},
	{SL_PUT, V1 "/workflows/{name}", SL_ROLE_EDITOR, 0, sl_route_workflow_put},
	{SL_DELETE, V1 "/workflows/{name}", SL_ROLE_EDITOR, 0, sl_route_workflow_archive},
	{SL_POST, V1 "/workflows/{name}/estimate", SL_ROLE_VIEWER, 0, sl_route_workflow_estimate},
	{SL_GET, V1 "/workflows/{name}/versions", SL_ROLE_VIEWER, 0, sl_route_workflow_versions},

	{SL_POST, V1 "/runs", SL_ROLE_RUNNER, SL_ROUTE_STARTS, sl_route_run_start},
	{SL_GET, V1 "/runs", SL_ROLE_VIEWER, 0, sl_route_run_list, "status workflow project tag since limit cursor"},
	{SL_POST, V1 "/runs/bulk", SL_ROLE_RUNNER, 0, sl_route_runs_bulk},
	{SL_GET, V1 "/runs/{id}", SL_ROLE_VIEWER, 0, sl_route_run_get},
	{SL_GET, V1 "/runs/{id}/events", SL_ROLE_VIEWER, 0, sl_route_run_events, "after_seq limit cursor tokens"},
	{SL_GET, V1 "/runs/{id}/ledger", SL_ROLE_VIEWER, 0, sl_route_run_ledger},
	{SL_GET, V1 "/runs/{id}/files", SL_ROLE_VIEWER, 0, sl_route_run_files, "path version"},
	{SL_GET, V1 "/runs/{id}/files/history", SL_ROLE_VIEWER, 0, sl_route_run_file_history, "path"},
	{SL_POST, V1 "/runs/{id}/pause", SL_ROLE_RUNNER, 0, sl_route_run_order},
	{SL_POST, V1 "/runs/{id}/resume", SL_ROLE_RUNNER, 0, sl_route_run_order},
	{SL_POST, V1 "/runs/{id}/cancel", SL_ROLE_RUNNER, 0, sl_route_run_order},
	{SL_GET, V1 "/runs/{id}/diff", SL_ROLE_VIEWER, 0, sl_route_run_diff, "with"},
	{SL_POST, V1 "/runs/{id}/fork", SL_ROLE_RUNNER, SL_ROUTE_STARTS, sl_route_run_fork},
	{SL_POST, V1 "/runs/{id}/retry", SL_ROLE_RUNNER, 0, sl_route_run_order},
	{SL_POST, V1 "/runs/{id}/unlock", SL_ROLE_ADMIN, 0, sl_route_run_order},
	{SL_POST, V1 "/runs/{id}/review", SL_ROLE_RUNNER, 0, sl_route_run_order},
	{SL_POST, V1 "/runs/{id}/signal", SL_ROLE_RUNNER, 0, sl_route_run_order},
	{SL_POST, V1 "/runs/{id}/input", SL_ROLE_RUNNER, 0, sl_route_run_order},
	{SL_GET, V1 "/reviews", SL_ROLE_VIEWER, 0, sl_route_reviews, "status project limit cursor"},

	{SL_GET, V1 "/llm/profiles", SL_ROLE_VIEWER, 0, sl_route_profile_list},
	{SL_GET, V1 "/llm/profiles/{name}", SL_ROLE_VIEWER, 0, sl_route_profile_get},
	{SL_PUT, V1 "/llm/profiles/{name}", SL_ROLE_ADMIN, 0, sl_route_profile_put},
	{SL_DELETE, V1 "/llm/profiles/{name}", SL_ROLE_ADMIN, 0, sl_route_profile_delete},
	{SL_POST, V1 "/llm/profiles/{name}/test", SL_ROLE_EDITOR, SL_ROUTE_LONG, sl_route_profile_test},
	{SL_GET, V1 "/llm/providers", SL_ROLE_VIEWER, 0, sl_route_providers},

	{SL_GET, V1 "/llm/prices", SL_ROLE_VIEWER, 0, sl_route_prices_get},
	{SL_PUT, V1 "/llm/prices", SL_ROLE_ADMIN, 0, sl_route_prices_put},

	{SL_GET, V1 "/agents", SL_ROLE_VIEWER, 0, sl_route_agent_list},
	{SL_GET, V1 "/agents/{name}", SL_ROLE_VIEWER, 0, sl_route_agent_get},
	{SL_PUT, V1 "/agents/{name}", SL_ROLE_EDITOR, 0, sl_route_agent_put},
	{SL_DELETE, V1 "/agents/{name}", SL_ROLE_EDITOR, 0, sl_route_agent_delete},

	{SL_GET, V1 "/templates", SL_ROLE_VIEWER, 0, sl_route_template_list},
	{SL_POST, V1 "/templates", SL_ROLE_EDITOR, 0, sl_route_template_create},
	{SL_DELETE, V1 "/templates/{name}", SL_ROLE_EDITOR, 0, sl_route_template_delete},

	{SL_GET, V1 "/stats", SL_ROLE_VIEWER, 0, sl_route_stats},
	{SL_GET, V1 "/admin/audit", SL_ROLE_ADMIN, 0, sl_route_audit, "actor action limit cursor"},
	{SL_GET, V1 "/admin/audit/verify", SL_ROLE_ADMIN, 0, sl_route_audit_verify},
	{SL_GET, V1 "/admin/breakers", SL_ROLE_ADMIN, 0, sl_route_breakers},
	{SL_POST, V1 "/admin/breakers/{key}/reset", SL_ROLE_ADMIN, 0, sl_route_breaker_reset},
	{SL_GET, V1 "/admin/limits", SL_ROLE_ADMIN, 0, sl_route_limits_get},
	{SL_PUT, V1 "/admin/limits", SL_ROLE_ADMIN, 0, sl_route_limits_put},
	{SL_GET, V1 "/cache/stats", SL_ROLE_VIEWER, 0, sl_route_cache_stats},
	{SL_POST, V1 "/cache/clear", SL_ROLE_ADMIN, 0, sl_route_cache_clear},
	{SL_GET, V1 "/admin/instances", SL_ROLE_ADMIN, 0, sl_route_instances},
	{SL_POST, V1 "/admin/pause", SL_ROLE_ADMIN, 0, sl_route_admin_pause},
	{SL_POST, V1 "/admin/resume", SL_ROLE_ADMIN, 0, sl_route_admin_resume},
	{SL_POST, V1 "/admin/drain", SL_ROLE_ADMIN, 0, sl_route_admin_drain},

	{SL_GET, V1 "/memories", SL_ROLE_VIEWER, 0, sl_route_memory_list, "project tier invalid limit cursor"},
	{SL_POST, V1 "/memories", SL_ROLE_RUNNER, 0, sl_route_memory_store},
	{SL_POST, V1 "/memories/search", SL_ROLE_VIEWER, 0, sl_route_memory_search},
	{SL_GET, V1 "/memories/digest", SL_ROLE_VIEWER, 0, sl_route_memory_digest, "project limit"},
	{SL_GET, V1 "/memories/{id}", SL_ROLE_VIEWER, 0, sl_route_memory_get},
	{SL_POST, V1 "/memories/{id}/promote", SL_ROLE_EDITOR, 0, sl_route_memory_promote},
	{SL_DELETE, V1 "/memories/{id}", SL_ROLE_EDITOR, 0, sl_route_memory_invalidate, "reason"},

	{SL_GET, V1 "/admin/tokens", SL_ROLE_ADMIN, 0, sl_route_token_list},
	{SL_POST, V1 "/admin/tokens", SL_ROLE_ADMIN, 0, sl_route_token_make},
	{SL_DELETE, V1 "/admin/tokens/{id}", SL_ROLE_ADMIN, 0, sl_route_token_revoke},

	{SL_GET, "/v1/models", SL_ROLE_VIEWER, 0, sl_route_models},
	{SL_POST, "/v1/chat/completions", SL_ROLE_RUNNER, SL_ROUTE_STARTS | SL_ROUTE_LONG, sl_route_chat_completions},
	{SL_POST, "/v1/responses", SL_ROLE_RUNNER, SL_ROUTE_STARTS | SL_ROUTE_LONG, sl_route_responses},

	{SL_GET, "/", SL_ROLE_NONE, SL_ROUTE_HIDDEN, sl_route_ui},
	{SL_GET, "/{file+}", SL_ROLE_NONE, SL_ROUTE_HIDDEN, sl_route_ui},
};
const size_t sl_n_routes = SL_COUNT_OF(sl_routes);
