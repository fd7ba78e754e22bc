/* The routes of the operator's pages and of people in a run: reviews, memory, personas, models, figures, administration. Shapes are read
 * leniently: what is missing is not shown. */
import { api } from "./client";
import type { Json, JsonSchema, Page, Run, RunFile } from "./types";

const enc = encodeURIComponent;

/* People in a run */

export type ReviewAction = "approve" | "modify" | "reject" | "skip";

export interface PendingReview {
  run_id: string;
  node: string;
  workflow: string;
  project?: string;
  draft: Json;
  instructions?: string | null;
  fields?: JsonSchema | null;
  allow_skip?: boolean;
  requested_at: string;
  deadline_at?: string | null;
}

export const reviews = (cursor?: string | null, limit = 100) => api.request<Page<PendingReview>>("GET", "/reviews", { query: { status: "pending", limit, cursor } });
export const review = (run: string, node: string, action: ReviewAction, more: { content?: Json; reason?: string } = {}) => api.request<Run>("POST", `/runs/${enc(run)}/review`, { body: { node, action, ...more } });
export const signal = (run: string, name: string, payload: Json) => api.request<Run>("POST", `/runs/${enc(run)}/signal`, { body: { signal: name, payload } });
export const interject = (run: string, text: string) => api.request<Run>("POST", `/runs/${enc(run)}/input`, { body: { text } });
export const retry = (run: string, from?: string) => api.request<Run>("POST", `/runs/${enc(run)}/retry`, { body: from ? { from } : {} });

export type BulkOrder = "pause" | "resume" | "cancel" | "retry";
export interface BulkAnswer {
  matched: number;
  done: number;
  refused: number;
  more: boolean;
  refusals: { id: string; state?: string; code: string; message: string }[];
}
export const BULK_IDS = 200; // so many ids one order may name
export const bulkOf = (action: BulkOrder, ids: readonly string[]) => api.request<BulkAnswer>("POST", "/runs/bulk", { body: { action, ids } });
export const bulk = (action: BulkOrder, filter: { status: string[]; workflow?: string }, dryRun: boolean) => api.request<BulkAnswer>("POST", "/runs/bulk", { body: { action, filter, limit: 1000, dry_run: dryRun } });

export interface ForkRequest {
  at_seq?: number;
  from?: string;
  inputs?: { [key: string]: Json };
  outputs?: { [path: string]: Json };
}
export const fork = (run: string, body: ForkRequest, key: string) => api.request<{ id: string }>("POST", `/runs/${enc(run)}/fork`, { body, headers: { "Idempotency-Key": key } });

type Pair<T> = [T, T];
export interface Place {
  pointer?: string;
  a?: Json;
  b?: Json;
  cut?: boolean;
  left_out?: number;
}
export interface DiffNode {
  path: string;
  type: string;
  change: "same" | "changed" | "only_a" | "only_b";
  status: Pair<string | null>;
  tokens: Pair<number>;
  cost_usd: Pair<number>;
  duration_ms: Pair<number | null>;
  output?: Place[];
  error?: Place[];
}
export interface RunDiff {
  a: Run;
  b: Run;
  status: Pair<string>;
  tokens: Pair<number>;
  cost_usd: Pair<number>;
  duration_ms: Pair<number | null>;
  same_definition: boolean;
  inputs?: Place[];
  outputs?: Place[];
  nodes: DiffNode[];
  nodes_left_out?: number;
}
export const diff = (a: string, b: string, abort?: AbortSignal) => api.request<RunDiff>("GET", `/runs/${enc(a)}/diff`, { query: { with: b }, signal: abort });
export const unlock = (run: string, how: { justification: string } | { confirmations: [true, true, true] }) => api.request<Run>("POST", `/runs/${enc(run)}/unlock`, { body: how });

/* Calls that were called off before their end */

export interface CalledOff {
  node_id: string;
  attempt: number;
  kind: string;
  reason: string;
  provider?: string;
  profile?: string;
  model?: string;
  requested_at: string;
  closed_at?: string;
  close_us?: number;
  closed: string;
  bytes: number;
  chunks?: number;
  input_tokens?: number;
  output_tokens?: number;
  estimated?: boolean;
  estimated_cost_usd?: number;
}

export const file = (run: string, path: string, version?: number) => api.request<RunFile>("GET", `/runs/${enc(run)}/files`, { query: { path, version } });
export const fileHistory = (run: string, path: string) => api.request<{ items: RunFile[] }>("GET", `/runs/${enc(run)}/files/history`, { query: { path } });
export const ledger = (run: string) => api.request<{ items: CalledOff[] }>("GET", `/runs/${enc(run)}/ledger`);

/* Memory */

export type Tier = "quarantine" | "working" | "long_term";
export const TIERS: readonly Tier[] = ["quarantine", "working", "long_term"];

export interface Memory {
  id: string;
  content: string;
  tier: Tier;
  project: string;
  verified?: boolean;
  confidence?: number | null;
  metadata?: { [key: string]: Json } | null;
  created_at: string;
  created_by?: string | null;
  expires_at?: string | null;
  invalidated_at?: string | null;
  run_id?: string | null;
  path?: string | null;
  reuse_count?: number;
  used_at?: string | null;
}

export interface MemoryDetail extends Memory {
  history?: { at: string; action: string; from?: string | null; to?: string | null; by?: string | null; reason?: string | null }[];
  used_by?: { run_id: string; path?: string | null; at?: string | null; workflow?: string | null; status?: string | null }[];
}

export interface MemoryHit extends Omit<Memory, "project"> {
  project?: string;
  score: number;
  why?: string | null;
}

/* Raw outputs of runs that say nearly the same, as one. */
export interface Insight {
  id: string;
  content: string;
  count: number;
  confidence: number;
  ids: string[];
  runs?: number;
  first_at?: string | null;
  last_at?: string | null;
}

export const memories = (q: { tier?: string; project?: string; cursor?: string | null; limit?: number }, abort?: AbortSignal) => api.request<Page<Memory>>("GET", "/memories", { query: q, signal: abort });
export const memory = (id: string) => api.request<MemoryDetail>("GET", `/memories/${enc(id)}`);
export const searchMemories = (b: { project: string; query: string; max_results?: number }, abort?: AbortSignal) => api.request<{ items: MemoryHit[]; degraded?: string | null }>("POST", "/memories/search", { body: b, signal: abort });
export const addMemory = (b: { content: string; tier: Tier; project: string; confidence?: number }) => api.request<{ id?: string; tier?: Tier; accepted: boolean; reason?: string }>("POST", "/memories", { body: b });
export const promoteMemory = (id: string, b: { tier: Tier; reason?: string; duplicates?: string[] }) => api.request<{ accepted: boolean; id?: string; tier?: Tier; reason?: string; moved?: boolean }>("POST", `/memories/${enc(id)}/promote`, { body: b });
export const dropMemory = (id: string, reason: string) => api.request<unknown>("DELETE", `/memories/${enc(id)}`, { query: { reason } });
export const digest = (project: string) => api.request<{ items: Insight[]; memories?: number; insights?: number }>("GET", "/memories/digest", { query: { project, limit: 100 } });

/* Personas and models */

export interface Agent {
  name: string;
  profile?: string | null; // none: the default
  system: string;
  description?: string | null;
  params?: { [key: string]: Json } | null;
  tools?: { [name: string]: boolean } | null; // what it may use, where that is not as the tool is by itself
  updated_at?: string;
}

/* What a model may be given. workflow:NAME stands for every stored workflow. */
export interface Tool {
  name: string;
  description: string;
  parameters: JsonSchema;
  default: "on" | "off";
  available: boolean;
  reason?: string | null;
}
export const tools = () => api.request<{ items: Tool[] }>("GET", "/tools");

export const agents = () => api.request<{ items: Agent[] }>("GET", "/agents", { query: { limit: 500 } });
export const putAgent = (name: string, b: Omit<Agent, "name" | "updated_at">) => api.request<Agent>("PUT", `/agents/${enc(name)}`, { body: b });
export const dropAgent = (name: string) => api.request<unknown>("DELETE", `/agents/${enc(name)}`);

export interface FullProfile {
  name: string;
  provider: string;
  model: string;
  base_url?: string | null;
  kind?: string;
  default?: boolean;
  simulated?: boolean;
  origin?: string; // environment, stored, built_in
  keys?: string[]; // the last characters of each
  params?: { [key: string]: Json } | null;
  limits?: { rpm?: number; tpm?: number; max_concurrency?: number } | null;
  timeouts?: { connect_ms?: number; first_byte_ms?: number; idle_ms?: number; total_ms?: number } | null;
  fallbacks?: string[] | null;
  price?: { input_usd_per_1m?: number; output_usd_per_1m?: number; cached_usd_per_1m?: number } | null;
}

export interface Provider {
  id: string;
  protocol?: string | null;
  base_url?: string | null;
  model?: string | null;
  variable?: string | null; // the environment variable with its key
  supported?: boolean;
}

export interface ProfileTest {
  ok: boolean;
  model?: string;
  simulated?: boolean;
  first_token_ms?: number;
  total_ms?: number;
  text?: string;
  usage?: { input_tokens: number; output_tokens: number };
  http_status?: number;
  error?: { code: string; message: string } | null;
}

export const fullProfiles = () => api.request<{ items: FullProfile[] }>("GET", "/llm/profiles");
export const fullProfile = (name: string) => api.request<FullProfile>("GET", `/llm/profiles/${enc(name)}`);
export const providers = () => api.request<{ items: Provider[] }>("GET", "/llm/providers");
export const putProfile = (name: string, b: { [key: string]: unknown }) => api.request<FullProfile>("PUT", `/llm/profiles/${enc(name)}`, { body: b });
export const dropProfile = (name: string) => api.request<unknown>("DELETE", `/llm/profiles/${enc(name)}`);
export const testProfile = (name: string) => api.request<ProfileTest>("POST", `/llm/profiles/${enc(name)}/test`, { body: {} });

export interface Price {
  model: string; // or its beginning
  provider?: string | null; // none: whoever serves it
  input_usd_per_1m: number;
  output_usd_per_1m: number;
  cached_usd_per_1m?: number | null;
  as_of?: string | null;
  source?: string | null; // built-in, operator
}

/* What is sent replaces the operator's own prices; those built in stay behind them. */
export const prices = () => api.request<{ items: Price[]; built_in_as_of?: string }>("GET", "/llm/prices");
export const putPrices = (items: Price[]) => api.request<{ items: Price[]; built_in_as_of?: string }>("PUT", "/llm/prices", { body: { items: items.map(({ source: _s, ...p }) => (void _s, p)) } });

/* Figures */

/* What has not been measured yet is not there. */
export interface Stats {
  at?: string;
  started_at?: string;
  now: { runs_active?: number; runs_queued?: number; runs_at_work?: number; runs_waiting?: number; nodes_pending?: number; tokens_per_s?: number; requests_per_s?: number; error_rate?: number; cache_hit_rate?: number; cost_usd_today?: number; runs_today?: number; ws_clients?: number };
  series: StatPoint[];
  models: { profile: string; model: string; provider?: string; calls: number; errors: number; latency_p50_ms?: number; latency_p95_ms?: number; ttft_p50_ms?: number; tokens: number; cost_usd?: number }[];
  errors: { code: string; count: number }[];
  pools: { workers?: number; busy?: number; queue?: number; db_connections?: number; db_busy?: number; db_waiting?: number };
  caches?: { [name: string]: { entries: number; bytes: number; hits: number; misses: number } } | null;
}

export interface StatPoint {
  at: string;
  runs_started: number;
  runs_succeeded: number;
  runs_failed: number;
  input_tokens: number;
  output_tokens: number;
  cost_usd?: number;
  latency_p50_ms?: number | null;
  latency_p95_ms?: number | null;
  latency_p99_ms?: number | null;
  ttft_p50_ms?: number | null;
}

export const stats = (abort?: AbortSignal) => api.request<Stats>("GET", "/stats", { signal: abort });

/* Administration */

/* Everything that keeps model calls within limits, by name. */
export interface Governor {
  breakers: { key: string; state: string; since_ms?: number; failures?: number; consecutive?: number; calls?: number; opened?: number; retry_in_ms?: number }[];
  limiters?: { name: string; [figure: string]: Json }[];
  keys?: { profile: string; lane: number; key?: string | null; state: string; in_flight?: number; calls?: number; failures?: number; [more: string]: Json | undefined }[];
  gates?: { name: string; most: number; inside: number; waiting: number }[];
  retry_budgets?: { profile: string; first: number; further: number; left: number; refused: number }[];
  budgets?: Budget[];
}

export interface Budget {
  project: string;
  period: string;
  max_tokens?: number;
  max_cost_usd?: number;
  spent_tokens: number;
  spent_usd: number;
  reserved_tokens?: number;
  reserved_usd?: number;
  waiting?: number;
}

export interface ProjectLimit {
  rpm?: number;
  tpm?: number;
  max_tokens?: number;
  max_cost_usd?: number;
  period?: "day" | "month" | "total";
}

export interface Token {
  id: string;
  name: string;
  role: string;
  last4?: string;
  projects?: string[] | null;
  created_at?: string;
  expires_at?: string | null;
  revoked_at?: string | null;
}

export interface AuditRow {
  id: string | number;
  at: string;
  actor: string;
  action: string;
  target?: string | null;
  detail?: Json;
}

export interface Instance {
  id: string;
  host?: string | null;
  pid?: number;
  version?: string | null;
  started_at?: string | null;
  expires_at?: string | null;
  self?: boolean;
  alive?: boolean;
  runs?: number;
}

/* "*" is every project without an entry of its own. */
export interface Limits {
  projects?: { [project: string]: ProjectLimit };
  runs?: RunLimits;
  workers?: number;
}

/* Runs at work at once, and how many may wait for it. */
export interface RunLimits {
  max_running?: number;
  max_queued?: number;
  max_unfinished?: number;
  per_project?: number;
  projects?: { [project: string]: number };
  per_workflow?: number;
  workflows?: { [workflow: string]: number };
}

export interface ServerState {
  paused: boolean;
  draining: boolean;
  runs_active?: number;
  runs_paused?: number;
  runs_resumed?: number;
}

export const admin = {
  breakers: () => api.request<Governor>("GET", "/admin/breakers"),
  resetBreaker: (key: string) => api.request<unknown>("POST", `/admin/breakers/${enc(key)}/reset`, { body: {} }),
  limits: () => api.request<Limits>("GET", "/admin/limits"),
  putLimits: (b: Limits) => api.request<Limits>("PUT", "/admin/limits", { body: b }),
  tokens: () => api.request<{ items: Token[] }>("GET", "/admin/tokens"),
  makeToken: (b: { name: string; role: string; projects?: string[]; expires_at?: string }) => api.request<Token & { token: string }>("POST", "/admin/tokens", { body: b }),
  revokeToken: (id: string) => api.request<unknown>("DELETE", `/admin/tokens/${enc(id)}`),
  audit: (cursor: string | null, q: { action?: string; actor?: string }) => api.request<Page<AuditRow>>("GET", "/admin/audit", { query: { limit: 100, cursor, ...q } }),
  verifyAudit: () => api.request<{ ok: boolean; lines: number; broken?: number }>("GET", "/admin/audit/verify"),
  instances: () => api.request<{ items: Instance[] }>("GET", "/admin/instances"),
  all: (what: "pause" | "resume" | "drain") => api.request<ServerState>("POST", "/admin/" + what, { body: {} }),
  cache: () => api.request<{ [name: string]: Json }>("GET", "/cache/stats"),
  clearCache: (cache?: string) => api.request<{ cleared?: number }>("POST", "/cache/clear", { body: cache ? { cache } : {} }),
};
