/* A run as the page holds it, and the pure function that folds one durable event into it. The same fold serves live events, the ones
 * caught up after a lost connection, and tests. */
import type { ChildTook, Json, NodeStatus, Run, RunError, RunFile, RunNode, RunStatus } from "../api/types";
import type { NodeChange, ServerEvent, Snapshot, TokenUsage } from "../live/protocol";
import { locate, parentOf } from "../pages/run/paths";

export interface LogEntry {
  seq: number;
  ts: string;
  event: string;
  node: string | null;
  data: { [key: string]: Json | undefined };
}

export interface RunState {
  run: Run;
  nodes: ReadonlyMap<string, RunNode>;
  order: readonly string[]; // paths as they first appeared
  lastSeq: number;
}

export const RUN_ENDS: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled"]);
export const NODE_ENDS: ReadonlySet<string> = new Set(["completed", "failed", "skipped", "cancelled"]);

/* Two names for one state exist on the wire: the event says completed, the run says succeeded. */
export function runStatus(s: string): RunStatus {
  return (s === "completed" ? "succeeded" : s) as RunStatus;
}

export function nodeStatus(s: string): NodeStatus {
  return (s === "succeeded" ? "completed" : s === "queued" ? "ready" : s) as NodeStatus;
}

export function fromRun(run: Run): RunState {
  const nodes = new Map<string, RunNode>();
  for (const n of run.nodes ?? []) nodes.set(n.path, { ...n, status: nodeStatus(n.status), cost_usd: n.cost_usd ?? n.usage?.cost_usd, model: n.model ?? modelOf(n.output), cached: n.cached ?? cachedIn(n.output) });
  const total = Math.max(run.nodes_total ?? 0, nodes.size);
  return { run: { ...run, status: runStatus(run.status), nodes: undefined, nodes_total: total }, nodes, order: [...nodes.keys()], lastSeq: run.last_seq ?? 0 };
}

function modelOf(output: Json | undefined): string | null {
  return output !== null && typeof output === "object" && !Array.isArray(output) ? str(output["model"]) : null;
}

/* An answer from the cache says so itself. */
function cachedIn(output: Json | undefined): boolean | undefined {
  return output !== null && typeof output === "object" && !Array.isArray(output) && output["cached"] === true ? true : undefined;
}

export function fromSnapshot(s: Snapshot, seq: number | undefined): RunState {
  const { streams: _streams, ...run } = s;
  void _streams;
  const state = fromRun(run);
  return { ...state, lastSeq: Math.max(state.lastSeq, seq ?? 0) };
}

/* Folds one durable event. An event already held (by its number) changes nothing and gives back the same object. */
export function fold(state: RunState, e: ServerEvent): RunState {
  if (e.seq !== undefined && e.seq <= state.lastSeq) return state;
  const next = e.seq === undefined ? state : { ...state, lastSeq: e.seq };
  switch (e.event) {
    case "node_state_change":
      return foldNode(next, e.data as unknown as NodeChange, e.ts);
    case "stream_reset":
      return patchNode(next, String(e.data["node_id"]), (n) => ({ ...n, attempt: Math.max(n.attempt, Number(e.data["attempt"] ?? 0)) }));
    case "token_usage":
      return foldUsage(next, e.data as unknown as TokenUsage);
    case "circuit_breaker:tripped":
      return patchRun(next, { status: "locked", reason: str(e.data["message"]) ?? str(e.data["reason"]) });
    case "circuit_breaker:unlocked":
      return patchRun(next, { status: "running", reason: null, by: str(e.data["by"]) });
    case "file:written": {
      const d = e.data as { [k: string]: Json | undefined };
      const f: RunFile = { path: str(d["path"]) ?? "", version: num(d["version"]), bytes: num(d["bytes"]), by: str(d["node_id"]) ?? "", at: e.ts ?? "", seq: e.seq ?? 0 };
      return patchRun(next, { files: [...(next.run.files ?? []).filter((x) => x.path !== f.path), f] });
    }
    default:
      return e.event.startsWith("execution:") ? foldExecution(next, e.event.slice(10), e.data as { [k: string]: Json | undefined }, e.ts) : next;
  }
}

function foldExecution(s: RunState, what: string, d: { [k: string]: Json | undefined }, ts: string | undefined): RunState {
  const reason = str(d["reason"]);
  const by = str(d["by"]);
  switch (what) {
    case "started":
      return patchRun(s, { status: "running", started_at: s.run.started_at ?? ts ?? null, reason, by });
    case "resumed":
      return patchRun(s, { status: "running", reason, by, finished_at: null, error: null });
    case "retried": // which nodes are open again is told by the snapshot that is asked for
      return patchRun(s, { status: "queued", reason, by, finished_at: null, started_at: null, error: null, outputs: null });
    case "paused":
    case "waiting":
    case "queued":
      return patchRun(s, { status: what, reason, by });
    case "completed":
    case "succeeded":
    case "failed":
    case "cancelled": {
      const patch: Partial<Run> = { status: runStatus(what), finished_at: ts ?? null, reason, by };
      if (d["outputs"] !== undefined) patch.outputs = d["outputs"];
      if (d["error"]) patch.error = d["error"] as unknown as RunError;
      return patchRun(s, patch);
    }
    default:
      return s;
  }
}

function foldNode(s: RunState, d: NodeChange, ts: string | undefined): RunState {
  const path = d.node_id;
  const old = s.nodes.get(path);
  const status = nodeStatus(d.status);
  const attempt = d.attempt ?? old?.attempt ?? 0;
  if (old && d.attempt !== undefined && d.attempt < old.attempt) return s; // late word of an attempt that is over
  const n: RunNode = { ...(old ?? { path, type: d.type ?? "", status, attempt }), status, attempt };
  if (d.type) n.type = d.type;
  if (d.name) n.name = d.name;
  n.reason = d.reason ?? null;
  n.error = d.error ?? (status === "failed" || status === "retrying" ? (old?.error ?? null) : null);
  if (d.arrived !== undefined) n.arrived = d.arrived;
  if (d.expected !== undefined) n.expected = d.expected;
  if (d.output !== undefined) n.output = d.output;
  n.due_at = d.due_at ?? null;
  if (d.cached || d.reason?.startsWith("cached")) n.cached = true;
  if (d.child) n.child = d.child;
  // A short node may be told only when it has ended; the event then says when it began.
  if (d.started_at) n.started_at = d.started_at;
  else if (status === "running" && (!old?.started_at || (old && attempt > old.attempt))) n.started_at = ts ?? null;
  if (NODE_ENDS.has(status)) n.finished_at = d.finished_at ?? ts ?? null;
  else n.finished_at = null;
  const nodes = new Map(s.nodes);
  const order: string[] = [];
  if (!old) {
    // With its first node a round or an item has begun: all its nodes are there, and count.
    const body = path.includes("/") ? locate(s.run.definition, path)?.graph : undefined;
    for (const g of body?.nodes ?? [{ id: path.slice(path.lastIndexOf("/") + 1), type: n.type }]) {
      const p = path.includes("/") ? `${parentOf(path)}/${g.id}` : path;
      if (nodes.has(p)) continue;
      order.push(p);
      nodes.set(p, { path: p, type: g.type, status: "pending", attempt: 0 });
    }
  }
  nodes.set(path, n);
  const was = old ? NODE_ENDS.has(old.status) : false;
  const done = (s.run.nodes_done ?? 0) + (NODE_ENDS.has(status) ? 1 : 0) - (was ? 1 : 0);
  const total = Math.max(s.run.nodes_total || s.run.definition?.nodes.length || 0, nodes.size);
  const run = d.child ? { ...s.run, ...withChild(s.run, d.child, old?.child) } : s.run;
  return { ...s, nodes, order: order.length ? [...s.order, ...order] : s.order, run: { ...run, nodes_done: done, nodes_total: total } };
}

/* What a run and those it has started have taken. One that is gone on with is told again, and counts once. */
function withChild(run: Run, child: ChildTook, before: ChildTook | undefined): Partial<Run> {
  const had = before?.run_id === child.run_id ? before : { input_tokens: 0, output_tokens: 0, cost_usd: 0 };
  const u = run.total_usage ?? run.usage ?? { input_tokens: 0, output_tokens: 0 };
  return {
    total_usage: { input_tokens: u.input_tokens + child.input_tokens - had.input_tokens, output_tokens: u.output_tokens + child.output_tokens - had.output_tokens },
    total_cost_usd: (run.total_cost_usd ?? run.cost_usd ?? 0) + child.cost_usd - had.cost_usd,
  };
}

function foldUsage(s: RunState, d: TokenUsage): RunState {
  let next = s;
  const inTok = d.input_tokens ?? 0;
  const outTok = d.output_tokens ?? 0;
  if (d.node_id)
    next = patchNode(next, d.node_id, (n) => ({
      ...n,
      usage: { input_tokens: (n.usage?.input_tokens ?? 0) + inTok, output_tokens: (n.usage?.output_tokens ?? 0) + outTok },
      cost_usd: (n.cost_usd ?? 0) + (d.estimated_cost_usd ?? 0),
      model: d.model ?? n.model,
    }));
  const u = next.run.usage ?? { input_tokens: 0, output_tokens: 0 };
  const cost = d.run_cost_usd ?? (next.run.cost_usd ?? 0) + (d.estimated_cost_usd ?? 0);
  const all = next.run.total_usage;
  return patchRun(next, {
    simulated: next.run.simulated || d.simulated === true,
    usage: { input_tokens: u.input_tokens + inTok, output_tokens: u.output_tokens + outTok },
    cost_usd: cost,
    total_usage: all ? { input_tokens: all.input_tokens + inTok, output_tokens: all.output_tokens + outTok } : all,
    total_cost_usd: all ? (next.run.total_cost_usd ?? 0) + cost - (next.run.cost_usd ?? 0) : next.run.total_cost_usd,
  });
}

function patchRun(s: RunState, patch: Partial<Run>): RunState {
  return { ...s, run: { ...s.run, ...patch } };
}

function patchNode(s: RunState, path: string, f: (n: RunNode) => RunNode): RunState {
  const old = s.nodes.get(path);
  if (!old) return s;
  const nodes = new Map(s.nodes);
  nodes.set(path, f(old));
  return { ...s, nodes };
}

/* What a fresh GET of the run knows and events do not carry: outputs, errors in full, exact figures. Never moves a state: the answer
 * may be older or newer than the events held. */
export function enrich(s: RunState, run: Run): RunState {
  const nodes = new Map(s.nodes);
  for (const n of run.nodes ?? []) {
    const old = nodes.get(n.path);
    if (!old || n.attempt < old.attempt || !NODE_ENDS.has(nodeStatus(n.status)) || nodeStatus(n.status) !== old.status) continue;
    nodes.set(n.path, {
      ...old,
      output: n.output !== undefined ? n.output : old.output,
      error: n.error ?? old.error,
      usage: n.usage ?? old.usage,
      cost_usd: n.cost_usd ?? n.usage?.cost_usd ?? old.cost_usd,
      model: n.model ?? modelOf(n.output) ?? old.model,
      cached: n.cached ?? cachedIn(n.output) ?? old.cached,
      name: n.name ?? old.name,
      started_at: n.started_at ?? old.started_at,
      finished_at: n.finished_at ?? old.finished_at,
      arrived: n.arrived ?? old.arrived,
      expected: n.expected ?? old.expected,
    });
  }
  const ended = RUN_ENDS.has(runStatus(run.status)) && runStatus(run.status) === s.run.status;
  const r: Run = {
    ...s.run,
    inputs: run.inputs ?? s.run.inputs,
    definition: run.definition ?? s.run.definition,
    simulated: run.simulated ?? s.run.simulated,
  };
  if (ended) {
    r.outputs = run.outputs ?? r.outputs;
    r.error = run.error ?? r.error;
    r.usage = run.usage ?? r.usage;
    r.cost_usd = run.cost_usd ?? r.cost_usd;
    r.total_usage = run.total_usage ?? r.total_usage;
    r.total_cost_usd = run.total_cost_usd ?? r.total_cost_usd;
    if ((run.nodes_total ?? 0) >= nodes.size) {
      r.nodes_done = run.nodes_done ?? r.nodes_done;
      r.nodes_total = run.nodes_total;
    }
    r.finished_at = run.finished_at ?? r.finished_at;
  }
  return { ...s, run: r, nodes };
}

function num(v: Json | undefined): number {
  return typeof v === "number" ? v : 0;
}

function str(v: Json | undefined): string | null {
  return typeof v === "string" ? v : null;
}

export function logEntry(e: ServerEvent): LogEntry | null {
  if (e.seq === undefined) return null;
  const d = e.data as { [key: string]: Json | undefined };
  const node = d["node_id"] ?? d["node"];
  return { seq: e.seq, ts: e.ts ?? "", event: e.event, node: typeof node === "string" ? node : null, data: d };
}
