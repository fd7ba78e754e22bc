import { describe, expect, it } from "vitest";
import type { Run } from "../src/api/types";
import type { ServerEvent } from "../src/live/protocol";
import { enrich, fold, fromRun, logEntry } from "../src/state/run";
import { mergeLog } from "../src/state/run-store";
import { mergePage, patchRows, type RunsView } from "../src/state/runs-store";

const base: Run = { id: "r", workflow: "w", version: 1, status: "running", created_at: "2026-01-01T00:00:00.000Z", last_seq: 0, nodes_total: 2, nodes_done: 0, nodes: [] };
let seq = 0;
const ev = (event: string, data: object, n = ++seq): ServerEvent => ({ event, run_id: "r", seq: n, ts: `2026-01-01T00:00:${String(n).padStart(2, "0")}.000Z`, data }) as unknown as ServerEvent;
const node = (id: string, status: string, more: object = {}) => ev("node_state_change", { node_id: id, status, type: "llm", attempt: 1, ...more });
const folded = (...es: ServerEvent[]) => es.reduce(fold, fromRun(base));

describe("folding events", () => {
  it("follows a node through its life and counts what is done", () => {
    seq = 0;
    const s = folded(node("a", "pending"), node("a", "running"), node("a", "completed"), node("b", "skipped", { reason: "branch" }));
    expect(s.nodes.get("a")).toMatchObject({ status: "completed", started_at: "2026-01-01T00:00:02.000Z", finished_at: "2026-01-01T00:00:03.000Z" });
    expect(s.nodes.get("b")).toMatchObject({ status: "skipped", reason: "branch" });
    expect(s.run).toMatchObject({ nodes_done: 2, nodes_total: 2 });
    expect(s.order).toEqual(["a", "b"]);
  });

  it("counts what a run it has started took, once for each", () => {
    seq = 0;
    const took = (input_tokens: number) => ({ child: { run_id: "c", input_tokens, output_tokens: 10, cost_usd: input_tokens / 100 } });
    const used = ev("token_usage", { node_id: "a", input_tokens: 5, output_tokens: 1, estimated_cost_usd: 0.5, run_cost_usd: 0.5 });
    let s = folded(used, node("b", "failed", took(20)));
    expect(s.run).toMatchObject({ usage: { input_tokens: 5, output_tokens: 1 }, cost_usd: 0.5, total_usage: { input_tokens: 25, output_tokens: 11 }, total_cost_usd: 0.7 });
    s = fold(s, node("b", "completed", took(30))); // it was gone on with
    expect(s.run).toMatchObject({ total_usage: { input_tokens: 35, output_tokens: 11 } });
    s = fold(s, ev("token_usage", { node_id: "a", input_tokens: 5, output_tokens: 1, estimated_cost_usd: 0.5, run_cost_usd: 1 }));
    expect(s.run).toMatchObject({ usage: { input_tokens: 10, output_tokens: 2 }, total_usage: { input_tokens: 40, output_tokens: 12 } });
    expect(s.run.total_cost_usd).toBeCloseTo(1.3);
  });

  it("takes an end back when the run is retried", () => {
    seq = 0;
    const s = folded(ev("execution:started", {}), node("a", "failed"), ev("execution:failed", { error: { code: "timeout", message: "late" } }), ev("execution:retried", { by: "ann" }));
    expect(s.run).toMatchObject({ status: "queued", finished_at: null, error: null, by: "ann" });
    expect(fold(s, ev("execution:started", {})).run).toMatchObject({ status: "running", started_at: "2026-01-01T00:00:05.000Z" });
  });

  it("counts every node that is listed, a round's with its first", () => {
    seq = 0;
    const body = { nodes: [{ id: "a", type: "llm" }, { id: "b", type: "llm" }] };
    const run = { ...base, definition: { name: "w", nodes: [{ id: "loop", type: "loop", params: { body } }, { id: "end", type: "template" }] } } as unknown as Run;
    const es = [node("loop", "running"), node("loop#1/a", "completed"), node("loop#1/b", "completed"), node("loop#2/a", "running")];
    const s = es.reduce(fold, fromRun(run));
    expect(s.order).toEqual(["loop", "loop#1/a", "loop#1/b", "loop#2/a", "loop#2/b"]);
    expect(s.nodes.get("loop#2/b")).toMatchObject({ status: "pending", type: "llm" });
    expect(s.run).toMatchObject({ nodes_done: 2, nodes_total: 5 });
  });

  it("knows an answer from the cache by the event and by the answer itself", () => {
    seq = 0;
    expect(folded(node("a", "running", { reason: "cached: the answer of x/a, 3 s ago" }), node("a", "completed")).nodes.get("a")?.cached).toBe(true);
    expect(fromRun({ ...base, nodes: [{ path: "a", type: "llm", status: "completed", attempt: 1, output: { text: "", cached: true } }] }).nodes.get("a")?.cached).toBe(true);
  });

  it("goes on after the breaker is unlocked", () => {
    seq = 0;
    const s = folded(ev("circuit_breaker:tripped", { reason: "TOKEN_SURGE", message: "too fast" }));
    expect(s.run).toMatchObject({ status: "locked", reason: "too fast" });
    expect(fold(s, ev("circuit_breaker:unlocked", { by: "ana" })).run).toMatchObject({ status: "running", reason: null, by: "ana" });
  });

  it("changes nothing for an event it holds", () => {
    seq = 0;
    const a = folded(node("a", "running"));
    expect(fold(a, node("a", "failed", {}) && ev("node_state_change", { node_id: "a", status: "failed" }, 1))).toBe(a);
  });

  it("ignores late words of an attempt that is over", () => {
    seq = 0;
    const s = folded(node("a", "running", { attempt: 2 }), node("a", "failed", { attempt: 1 }));
    expect(s.nodes.get("a")).toMatchObject({ status: "running", attempt: 2 });
  });

  it("knows the states of the run by its events", () => {
    seq = 0;
    const names = ["execution:started", "execution:paused", "execution:resumed", "execution:waiting", "circuit_breaker:tripped", "execution:resumed", "execution:completed"];
    const states: string[] = [];
    let s = fromRun({ ...base, status: "queued" });
    for (const n of names) {
      s = fold(s, ev(n, { outputs: { x: 1 }, message: "too fast" }));
      states.push(s.run.status);
    }
    expect(states).toEqual(["running", "paused", "running", "waiting", "locked", "running", "succeeded"]);
    expect(s.run.outputs).toEqual({ x: 1 });
  });

  it("keeps the error of a run that failed", () => {
    seq = 0;
    const s = folded(ev("execution:failed", { error: { code: "timeout", message: "late", node: "a" } }));
    expect(s.run).toMatchObject({ status: "failed", error: { code: "timeout", node: "a" } });
  });

  it("counts arrivals at a join", () => {
    seq = 0;
    expect(folded(node("j", "waiting", { arrived: 1, expected: 2 })).nodes.get("j")).toMatchObject({ arrived: 1, expected: 2 });
  });

  it("adds outputs from a fresh answer but never moves a state", () => {
    seq = 0;
    const s = folded(node("a", "completed"), node("b", "running"));
    const e = enrich(s, { ...base, nodes: [{ path: "a", type: "llm", status: "completed", attempt: 1, output: { text: "x" } }, { path: "b", type: "llm", status: "completed", attempt: 1, output: 1 }] });
    expect(e.nodes.get("a")?.output).toEqual({ text: "x" });
    expect(e.nodes.get("b")).toMatchObject({ status: "running" });
    expect(e.nodes.get("b")?.output).toBeUndefined();
  });
});

describe("the log", () => {
  it("is ordered and holds each event once, whatever order pages and live events arrive in", () => {
    seq = 0;
    const l = Array.from({ length: 6 }, () => logEntry(ev("token_usage", {}))!);
    const got = mergeLog(mergeLog(mergeLog([], [l[4]!, l[5]!]), l.slice(0, 3)), l.slice(2, 5));
    expect(got.map((e) => e.seq)).toEqual([1, 2, 3, 4, 5, 6]);
  });
});

describe("the list of runs", () => {
  const row = (id: string, last_seq = 1) => ({ ...base, id, last_seq, nodes: undefined });
  const view = (items: ReturnType<typeof row>[]): RunsView => ({ items, next: null, loading: false, loadingMore: false, error: null, fresh: [] });

  it("patches rows in place", () => {
    const rows = patchRows([row("r"), row("q")], ev("execution:failed", {}, 9));
    expect(rows.map((r) => r.status)).toEqual(["failed", "running"]);
    expect(patchRows(rows, ev("execution:started", {}, 3))).toBe(rows);
  });

  it("keeps new runs behind the pill and takes newer figures", () => {
    const v = mergePage(view([row("b"), row("a", 7)]), [row("c"), { ...row("b", 5), nodes_done: 2 }, row("a", 3)], null);
    expect(v.fresh.map((r) => r.id)).toEqual(["c"]);
    expect(v.items.map((r) => [r.id, r.nodes_done, r.last_seq])).toEqual([["b", 2, 5], ["a", 0, 7]]);
  });

  it("shows the first runs of an empty list at once", () => {
    expect(mergePage(view([]), [row("a")], null).items).toHaveLength(1);
  });
});
