import { describe, expect, it } from "vitest";
import { foldAll, isOpen, isReminded, noExtras, openReviews, scoresOf, type Round } from "../src/state/extras";
import type { Definition, Json, RunNode } from "../src/api/types";
import { withVotes } from "../src/pages/run/bodies";
import { searchJson } from "../src/pages/run/json-tool";
import { toolsIn } from "../src/pages/run/tools";
import { locate } from "../src/pages/run/paths";
import { claimsOf, groupsOf, lastOf } from "../src/pages/run/text";
import { placesOf } from "../src/ui/marks";
import type { ServerEvent } from "../src/live/protocol";
import { near, noteNear } from "../src/state/reviews";
import { barsOf } from "../src/pages/run/timeline";
import type { LogEntry } from "../src/state/run";

const at = (seq: number, event: string, data: LogEntry["data"]): LogEntry => ({ seq, ts: "t" + seq, event, node: typeof data["node_id"] === "string" ? data["node_id"] : null, data });
const round = (seq: number, n: number, score: number | null, more: LogEntry["data"] = {}) => at(seq, "loop:round", { node_id: "outer#1/inner", round: n, of: 5, score, target: 90, decision: "continue", ...more });

const story: LogEntry[] = [
  round(1, 1, 70),
  round(4, 2, 82, { best_round: 2, best_score: 82 }),
  round(7, 3, 61, { best_round: 2, best_score: 82, note: "regression" }),
  at(8, "progress", { node_id: "each", done: 3, of: 9, failed: 1 }),
  at(9, "progress", { node_id: "each", done: 4, of: 9, failed: 1 }),
  at(10, "human_review:requested", { node_id: "ask", draft: "one", allow_skip: true, deadline_at: null, requested_at: "r1" }),
  at(11, "human_review:resolved", { node_id: "ask", action: "reject", reason: "no", reviewer: "ana" }),
  at(12, "human_review:requested", { node_id: "ask", draft: "two", allow_skip: false, deadline_at: "d", requested_at: "r2" }),
  at(13, "vote:cast", { node_id: "panel", voter: "b", vote: "no" }),
  at(14, "vote:cast", { node_id: "panel", voter: "a", vote: 7, reason: "good" }),
  at(15, "circuit_breaker:tripped", { node_id: "x", reason: "TOKEN_SURGE", message: "much", measured: 9, limit: 3 }),
  at(18, "subworkflow:started", { node_id: "sub", run_id: "child-1" }),
  at(19, "subworkflow:started", { node_id: "sub", run_id: "child-2" }),
  at(20, "human_review:reminder", { node_id: "ask", deadline_at: "d", in_s: 300 }),
  at(21, "factcheck:checking", { node_id: "f", claim: "It cost $4.", source: "memory" }),
  at(22, "factcheck:result", { node_id: "f", claim: "It cost $4.", verified: true, verdict: "supported", confidence: 0.8, sources: [{ source: "memory", id: "m", excerpt: "It was $4.", support: 0.8 }] }),
  at(23, "factcheck:checking", { node_id: "f", claim: "It grew by 5 %.", source: "memory" }),
  at(24, "claims:flagged", { node_id: "w", needs_verify: true, count: 30, claims: [{ text: "It cost $4.", kind: "money", mark: "$4", at: 0 }] }),
  at(16, "user_input", { text: "hello", by: "ana" }),
  at(17, "memory_retrieved", { node_id: "h", query: "q", count: 1, items: [{ id: "m", tier: "working", verified: true, score: 0.8, excerpt: "e" }] }),
];

/* Mulberry32: the same shuffles every time. */
function random(seed: number) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

describe("what the journal tells", () => {
  it("is the same in whatever order pages and live events arrive, and however often", () => {
    const plain = (es: LogEntry[]) => {
      const x = foldAll(noExtras, es);
      return JSON.stringify(Object.fromEntries(Object.entries(x).map(([k, v]) => [k, v instanceof Map ? [...v].sort() : v])));
    };
    const want = plain(story);
    const r = random(7);
    for (let i = 0; i < 200; i++) {
      const mixed = [...story, ...story.slice(0, 6)].map((e) => [r(), e] as const).sort((a, b) => a[0] - b[0]).map(([, e]) => e);
      expect(plain(mixed)).toBe(want);
    }
  });

  it("keeps rounds by nested path, the newest word of each", () => {
    const x = foldAll(noExtras, [...story, round(20, 3, 77)]);
    expect(x.rounds.get("outer#1/inner")?.map((r) => [r.round, r.score])).toEqual([[1, 70], [2, 82], [3, 77]]);
  });

  it("leads to the run a node has begun last", () => {
    expect(foldAll(noExtras, [...story].reverse()).children.get("sub")?.run).toBe("child-2");
  });

  it("gives back the same object when nothing is new", () => {
    const x = foldAll(noExtras, story);
    expect(foldAll(x, story)).toBe(x);
  });
});

describe("a model with tools", () => {
  const told = [
    at(3, "tool_execution", { node_id: "h#1/tools#2/call", tool: "calculate", arguments: "{}", ok: false, error: { code: "invalid", message: "no" }, ms: 2, iteration: 1 }),
    at(2, "tool_execution", { node_id: "h#1/tools#1/call", tool: "current_time", arguments: "{}", ok: true, result: "{}", ms: 1, iteration: 1 }),
  ];
  it("tells what was run in it, in order, and once", () => {
    const x = foldAll(foldAll(noExtras, told), told);
    expect(toolsIn(x, "h").map((r) => [r.tool, r.ok, r.said])).toEqual([["current_time", true, "{}"], ["calculate", false, "invalid: no"]]);
    expect(toolsIn(x, "h#1/tools#2/call")).toHaveLength(1);
    expect(toolsIn(x, "h2")).toEqual([]);
  });
  it("is drawn with its rounds, and other models are not", () => {
    const def: Definition = { sluice: 1, name: "x", nodes: [{ id: "h", type: "llm", params: { prompt: "p", tools: ["calculate"] } }, { id: "m", type: "llm", params: { prompt: "p", tools: [{ type: "function" }] } }], edges: [] };
    expect(locate(withVotes(def, []), "h#2/tools#1/call")?.node.type).toBe("tool");
    expect(locate(withVotes(def, []), "m#1/ask")).toBeNull();
  });
});

describe("a review", () => {
  const by = (n: number) => foldAll(noExtras, story.filter((e) => e.seq <= n));
  it("is open when asked, closed when answered, open again when the node asks again", () => {
    expect(openReviews(by(10)).map((r) => r.draft)).toEqual(["one"]);
    expect(openReviews(by(11))).toEqual([]);
    expect(by(11).reviews.get("ask")).toMatchObject({ action: "reject", reviewer: "ana", reason: "no" });
    expect(openReviews(by(12)).map((r) => [r.draft, r.deadlineAt, r.allowSkip])).toEqual([["two", "d", false]]);
  });
  it("stays closed when the answer is seen before the question", () => {
    const x = foldAll(noExtras, [story[6]!, story[5]!]);
    expect(isOpen(x.reviews.get("ask")!)).toBe(false);
  });
});

describe("claims", () => {
  const x = foldAll(noExtras, story);
  it("are looked up, then settled, in the order they were", () => {
    expect(x.checks.get("f")?.map((c) => [c.claim, c.verified, c.source, c.sources.length])).toEqual([["It cost $4.", true, null, 1], ["It grew by 5 %.", null, "memory", 0]]);
  });
  it("of an answer are all those of its output, else those that were told", () => {
    expect(claimsOf(undefined, x.flagged.get("w"))).toMatchObject({ count: 30, claims: [{ kind: "money", mark: "$4" }] });
    const n = { path: "w", type: "llm", status: "completed", attempt: 1, output: { claims: [{ text: "a", kind: "year", mark: "1998", at: 3 }, { text: "b" }] } } as unknown as RunNode;
    expect(claimsOf(n, x.flagged.get("w"))).toEqual({ count: 1, claims: [{ text: "a", kind: "year", mark: "1998" }] });
    expect(claimsOf({ ...n, type: "fact_check" }, undefined).count).toBe(0);
  });
  it("are found in what is shown, each in its own sentence", () => {
    const text = "It cost 5 % in 1998. Then it grew by 5 % in bold.";
    expect(placesOf(text, [{ text: "It cost 5 % in 1998.", mark: "5 %" }, { text: "Then it grew by 5 % in **bold**.", mark: "5 %" }, { text: "Not there: 7 %.", mark: "7 %" }])).toEqual([[8, 11], [37, 40], null]);
  });
});

describe("a reminder", () => {
  it("counts while what it reminds of is open", () => {
    const x = foldAll(noExtras, story);
    expect(openReviews(x).map(isReminded)).toEqual([true]);
    const again = foldAll(x, [at(30, "human_review:resolved", { node_id: "ask", action: "approve" }), at(31, "human_review:requested", { node_id: "ask", draft: "three", requested_at: "r3" })]);
    expect(openReviews(again).map(isReminded)).toEqual([false]);
  });
  it("is shown until it is answered", () => {
    const of = (event: string, node: string) => ({ event, run_id: "r", seq: 1, data: { node_id: node, deadline_at: "2026-01-01T00:00:00Z" } }) as unknown as ServerEvent;
    noteNear(of("human_review:reminder", "ask"));
    expect(near.get()).toEqual({ run: "r", node: "ask", deadline: "2026-01-01T00:00:00Z" });
    noteNear(of("human_review:resolved", "other"));
    expect(near.get()).not.toBeNull();
    noteNear(of("human_review:resolved", "ask"));
    expect(near.get()).toBeNull();
  });
});

describe("the scores of a loop", () => {
  const r = (n: number, score: number | null, more: Partial<Round> = {}): Round => ({ seq: n, round: n, of: 5, score, bestRound: null, bestScore: null, target: null, decision: null, exitReason: null, note: null, ...more });
  it("mark the target, the best and what went wrong", () => {
    expect(scoresOf([r(1, 70, { target: 90 }), r(2, 82), r(3, 61, { note: "regression" })])).toEqual({
      rounds: [1, 2, 3],
      scores: [70, 82, 61],
      target: 90,
      best: { round: 2, score: 82 },
      marks: [{ round: 3, score: 61, note: "regression" }],
      range: [0, 100],
    });
  });
  it("choose an axis that shows something", () => {
    expect(scoresOf([r(1, 7), r(2, 9)])?.range).toEqual([0, 10]);
    expect(scoresOf([r(1, 0.2), r(2, 0.9)])?.range).toEqual([0, 1]);
    expect(scoresOf([r(1, 100), r(2, 200)])?.range).toEqual([90, 210]);
    expect(scoresOf([r(1, -5), r(2, -5)])?.range).toEqual([-5.5, -4.5]);
  });
  it("are none when nothing was scored", () => {
    expect(scoresOf([r(1, null)])).toBeNull();
  });
});

describe("the timeline", () => {
  it("nests what is nested, in the order it began", () => {
    const n = (path: string, from: number, to: number | null): [string, RunNode] => [path, { path, type: "llm", status: to === null ? "running" : "completed", attempt: 1, started_at: new Date(from).toISOString(), finished_at: to === null ? null : new Date(to).toISOString() }];
    const bars = barsOf(new Map([n("end", 90, 95), n("l", 10, null), n("l#1/b", 20, 30), n("l#1/a", 12, 19), n("l#2/in", 40, null), n("l#2/in#1/x", 41, 60), ["z", { path: "z", type: "llm", status: "pending", attempt: 0 }]]), (p) => p);
    expect(bars.map((b) => [b.path + (b.group ? b.label : ""), b.depth, b.from, b.to])).toEqual([
      ["l", 0, 10, null],
      ["l#1", 1, 12, 30],
      ["l#1/a", 2, 12, 19],
      ["l#1/b", 2, 20, 30],
      ["l#2", 1, 40, null],
      ["l#2/in", 2, 40, null],
      ["l#2/in#1", 3, 41, 60],
      ["l#2/in#1/x", 4, 41, 60],
      ["end", 0, 90, 95],
    ]);
  });
});

describe("bodies the definition does not hold", () => {
  const def = { name: "d", nodes: [{ id: "l", type: "loop", params: { body: { nodes: [{ id: "p", type: "vote", params: { voters: ["a", { agent: "b" }, "a"] } }] } } }] } as unknown as Definition;
  const names = (order: string[]) => locate(withVotes(def, order), "l#1/p")!.node.params!.body?.nodes.map((x) => x.id);
  it("are made of the voters' names, and of those seen once there are some", () => {
    expect(names([])).toEqual(["a", "b"]);
    expect(names(["l#1/p", "l#1/p#1/x", "l#2/p#1/y", "q#1/z"])).toEqual(["x", "y"]);
    expect(locate(withVotes(def, ["l#1/p#1/x"]), "l#1/p#1/x")?.node.type).toBe("llm");
    const facts = { name: "d", nodes: [{ id: "f", type: "fact_check", params: { content: "x", agent: "a" } }] } as unknown as Definition;
    const made = withVotes(facts, ["f", "f#1/question", "f#1/extract", "f#2/judge"]);
    expect(locate(made, "f#1/question")?.node.type).toBe("transform");
    expect(locate(made, "f#2/judge")?.graph.edges).toEqual([{ from: "question", to: "extract" }, { from: "question", to: "judge" }]);
    expect(withVotes(facts, ["f"])!.nodes[0]!.params).toEqual(facts.nodes[0]!.params);
  });
});

describe("words of many nodes", () => {
  const def = { name: "d", nodes: [{ id: "each", type: "map", params: { body: { nodes: [{ id: "ask", type: "llm" }] } } }] } as unknown as Definition;
  const nodes = new Map<string, RunNode>();
  for (let i = 1; i <= 100; i++) nodes.set(`each#${i}/ask`, { path: `each#${i}/ask`, type: "llm", status: "completed", attempt: 1, started_at: "1" + String(i).padStart(3, "0") });
  const groups = groupsOf(def, nodes, [...nodes.keys()], []);
  it("of one map stand together, and only the last are drawn", () => {
    expect(groups).toHaveLength(1);
    expect(groups[0]).toMatchObject({ prefix: "each", at: "1001" });
    const { shown, left } = lastOf(groups, 30);
    expect([shown[0]!.paths.length, shown[0]!.paths.at(-1), left]).toEqual([30, "each#100/ask", 70]);
    expect(lastOf(groups, 500)).toMatchObject({ left: 0 });
  });
});

describe("a search in a value", () => {
  it("finds names and plain values, and says where in the notation of expressions", () => {
    const v: Json = { items: [{ text: "A cat", "odd key": 1 }, { text: "dog" }], cat: null };
    expect(searchJson(v, "cat").map((h) => h.path)).toEqual(["items[0].text", "cat"]);
    expect(searchJson(v, "odd").map((h) => h.path)).toEqual(['items[0]["odd key"]']);
    expect(searchJson(v, " ")).toEqual([]);
  });
});
