/* What the journal of a run tells beside the states of its nodes: rounds and their scores, progress, reviews, votes, retrieved memories,
 * claims and what came of looking them up, the breaker, words of people. Pages of the journal and live events arrive in any order and more than once, so each fact carries the
 * number of the event it comes from and the highest number wins: folding is the same whatever the order. */
import type { Json, JsonSchema } from "../api/types";
import type { LogEntry } from "./run";

export interface Round {
  seq: number;
  round: number;
  of: number | null;
  score: number | null;
  bestRound: number | null;
  bestScore: number | null;
  target: number | null;
  decision: string | null; // continue, exit
  exitReason: string | null;
  note: string | null; // regression, stagnation, rollback
}

export interface Review {
  node: string;
  asked: number; // seq of the request, 0 when only the answer is known
  draft: Json;
  instructions: string | null;
  fields: JsonSchema | null;
  allowSkip: boolean;
  requestedAt: string | null;
  deadlineAt: string | null;
  reminded: number; // seq of the reminder, 0: none came
  answered: number; // seq of the answer, 0 while it is open
  action: string | null;
  content: Json;
  reason: string | null;
  reviewer: string | null;
}

export interface Ballot {
  seq: number;
  voter: string;
  vote: string | number;
  reason: string | null;
}

export interface Retrieval {
  seq: number;
  query: string | null;
  count: number;
  degraded: string | null;
  items: { id: string; tier: string; verified: boolean; score: number | null; excerpt: string }[];
}

/* A call of a tool, as it was told. */
export interface ToolRun {
  seq: number;
  node: string;
  tool: string;
  arguments: string;
  ok: boolean;
  said: string; // the result, or why not
  ms: number | null;
  iteration: number | null;
}

/* A claim: flagged in an answer, being looked up, or looked up. */
export interface Check {
  seq: number;
  claim: string;
  source: string | null; // where it is looked up, or was last
  verified: boolean | null; // null: not known yet
  verdict: string | null; // supported, contradicted, unknown
  confidence: number | null;
  reason: string | null;
  sources: { source: string; id: string | null; url: string | null; title: string | null; excerpt: string; support: number | null }[];
}

export interface Flagged {
  seq: number;
  count: number; // of all; the list has the first ones
  claims: { text: string; kind: string; mark: string }[];
}

export interface Trip {
  seq: number;
  node: string | null;
  reason: string;
  message: string;
  measured: number | null;
  limit: number | null;
  at: string;
}

export interface Said {
  seq: number;
  kind: "input" | "signal";
  by: string | null;
  text: string;
  at: string;
}

export interface Extras {
  rounds: ReadonlyMap<string, readonly Round[]>;
  progress: ReadonlyMap<string, { seq: number; done: number; of: number; failed: number }>;
  reviews: ReadonlyMap<string, Review>;
  votes: ReadonlyMap<string, readonly Ballot[]>;
  retrievals: ReadonlyMap<string, Retrieval>;
  checks: ReadonlyMap<string, readonly Check[]>;
  flagged: ReadonlyMap<string, Flagged>;
  knowledge: ReadonlyMap<string, readonly { seq: number; id: string; tier: string; action: string; reason: string | null }[]>;
  children: ReadonlyMap<string, { seq: number; run: string }>; // runs that nodes have begun
  tools: readonly ToolRun[];
  trip: Trip | null;
  unlocked: { seq: number; by: string | null; justification: string | null } | null;
  said: readonly Said[];
}

export const noExtras: Extras = {
  rounds: new Map(),
  progress: new Map(),
  reviews: new Map(),
  votes: new Map(),
  retrievals: new Map(),
  checks: new Map(),
  flagged: new Map(),
  knowledge: new Map(),
  children: new Map(),
  tools: [],
  trip: null,
  unlocked: null,
  said: [],
};

type Data = LogEntry["data"];
const str = (v: Json | undefined): string | null => (typeof v === "string" ? v : null);
const num = (v: Json | undefined): number | null => (typeof v === "number" && Number.isFinite(v) ? v : null);
const obj = (v: Json | undefined): { [k: string]: Json } | null => (v !== null && typeof v === "object" && !Array.isArray(v) ? v : null);

/* Returns the same object when the entry says nothing of interest or nothing new. */
export function foldExtras(x: Extras, e: LogEntry): Extras {
  const d = e.data;
  const node = e.node ?? "";
  switch (e.event) {
    case "loop:round": {
      const round = num(d["round"]);
      if (round === null) return x;
      const rounds = listed(x.rounds, node, roundOf(e.seq, round, d), (r) => r.round === round, (a, b) => a.round - b.round);
      return rounds === x.rounds ? x : { ...x, rounds };
    }
    case "progress": {
      const old = x.progress.get(node);
      if (old && old.seq >= e.seq) return x;
      return { ...x, progress: put(x.progress, node, { seq: e.seq, done: num(d["done"]) ?? 0, of: num(d["of"]) ?? 0, failed: num(d["failed"]) ?? 0 }) };
    }
    case "human_review:requested":
      return asked(x, e.seq, node, d, e.ts);
    case "human_review:reminder":
      return reminded(x, e.seq, node);
    case "human_review:resolved":
      return answered(x, e.seq, node, d);
    case "vote:cast": {
      const voter = str(d["voter"]) ?? "";
      const b: Ballot = { seq: e.seq, voter, vote: num(d["vote"]) ?? str(d["vote"]) ?? "", reason: str(d["reason"]) };
      const votes = listed(x.votes, node, b, (o) => o.voter === voter, (a, c) => a.seq - c.seq);
      return votes === x.votes ? x : { ...x, votes };
    }
    case "memory_retrieved": {
      const old = x.retrievals.get(node);
      if (old && old.seq >= e.seq) return x;
      return { ...x, retrievals: put(x.retrievals, node, retrievalOf(e.seq, d)) };
    }
    case "factcheck:checking":
    case "factcheck:result": {
      const c = checkOf(e.seq, d, e.event === "factcheck:result");
      const checks = listed(x.checks, node, c, (o) => o.claim === c.claim, (a, b) => a.seq - b.seq);
      return checks === x.checks ? x : { ...x, checks };
    }
    case "claims:flagged": {
      const old = x.flagged.get(node);
      if (old && old.seq >= e.seq) return x;
      return { ...x, flagged: put(x.flagged, node, { seq: e.seq, count: num(d["count"]) ?? 0, claims: flaggedOf(d["claims"]) }) };
    }
    case "knowledge:updated": {
      const k = { seq: e.seq, id: str(d["memory_id"]) ?? "", tier: str(d["tier"]) ?? "", action: str(d["action"]) ?? "", reason: str(d["reason"]) };
      const knowledge = listed(x.knowledge, node, k, (o) => o.seq === e.seq, (a, b) => a.seq - b.seq);
      return knowledge === x.knowledge ? x : { ...x, knowledge };
    }
    case "tool_execution": {
      if (x.tools.some((o) => o.seq === e.seq)) return x;
      const err = obj(d["error"]);
      const run: ToolRun = { seq: e.seq, node, tool: str(d["tool"]) ?? "", arguments: str(d["arguments"]) ?? "", ok: d["ok"] === true, said: str(d["result"]) ?? (err ? `${str(err["code"]) ?? ""}: ${str(err["message"]) ?? ""}` : ""), ms: num(d["ms"]), iteration: num(d["iteration"]) };
      return { ...x, tools: [...x.tools, run].sort((a, b) => a.seq - b.seq) };
    }
    case "subworkflow:started": {
      const run = str(d["run_id"]);
      const old = x.children.get(node);
      return run === null || (old && old.seq >= e.seq) ? x : { ...x, children: put(x.children, node, { seq: e.seq, run }) };
    }
    case "circuit_breaker:tripped":
      if (x.trip && x.trip.seq >= e.seq) return x;
      return { ...x, trip: { seq: e.seq, node: e.node, reason: str(d["reason"]) ?? "", message: str(d["message"]) ?? "", measured: num(d["measured"]), limit: num(d["limit"]), at: e.ts } };
    case "circuit_breaker:unlocked":
      if (x.unlocked && x.unlocked.seq >= e.seq) return x;
      return { ...x, unlocked: { seq: e.seq, by: str(d["by"]), justification: str(d["justification"]) } };
    case "user_input":
      return said(x, { seq: e.seq, kind: "input", by: str(d["by"]), text: str(d["text"]) ?? "", at: e.ts });
    case "signal:received":
      return said(x, { seq: e.seq, kind: "signal", by: str(d["by"]), text: str(d["signal"]) ?? "", at: e.ts });
    default:
      return x;
  }
}

export const foldAll = (x: Extras, es: readonly LogEntry[]): Extras => es.reduce(foldExtras, x);

function put<V>(m: ReadonlyMap<string, V>, k: string, v: V): ReadonlyMap<string, V> {
  const n = new Map(m);
  n.set(k, v);
  return n;
}

function listed<T extends { seq: number }>(m: ReadonlyMap<string, readonly T[]>, node: string, item: T, same: (o: T) => boolean, order: (a: T, b: T) => number): ReadonlyMap<string, readonly T[]> {
  const list = m.get(node) ?? [];
  const old = list.find(same);
  if (old && old.seq >= item.seq) return m;
  return put(m, node, [...list.filter((o) => o !== old), item].sort(order));
}

function roundOf(seq: number, round: number, d: Data): Round {
  return {
    seq,
    round,
    of: num(d["of"]),
    score: num(d["score"]),
    bestRound: num(d["best_round"]),
    bestScore: num(d["best_score"]),
    target: num(d["target"]),
    decision: str(d["decision"]),
    exitReason: str(d["exit_reason"]),
    note: str(d["note"]),
  };
}

const open_: Omit<Review, "node"> = { asked: 0, draft: null, instructions: null, fields: null, allowSkip: false, requestedAt: null, deadlineAt: null, reminded: 0, answered: 0, action: null, content: null, reason: null, reviewer: null };

function asked(x: Extras, seq: number, node: string, d: Data, ts: string): Extras {
  const old = x.reviews.get(node) ?? { ...open_, node };
  if (old.asked >= seq) return x;
  return { ...x, reviews: put(x.reviews, node, { ...old, ...requestOf(d), asked: seq, requestedAt: str(d["requested_at"]) ?? ts }) };
}

function reminded(x: Extras, seq: number, node: string): Extras {
  const old = x.reviews.get(node) ?? { ...open_, node };
  return old.reminded >= seq ? x : { ...x, reviews: put(x.reviews, node, { ...old, reminded: seq }) };
}

/* The members of a request, the same in the event and in GET /reviews. */
export function requestOf(d: Data): Pick<Review, "draft" | "instructions" | "fields" | "allowSkip" | "deadlineAt"> {
  return { draft: d["draft"] ?? null, instructions: str(d["instructions"]), fields: obj(d["fields"]) as JsonSchema | null, allowSkip: d["allow_skip"] === true, deadlineAt: str(d["deadline_at"]) };
}

function answered(x: Extras, seq: number, node: string, d: Data): Extras {
  const old = x.reviews.get(node) ?? { ...open_, node };
  if (old.answered >= seq) return x;
  return { ...x, reviews: put(x.reviews, node, { ...old, answered: seq, action: str(d["action"]), content: d["content"] ?? null, reason: str(d["reason"]), reviewer: str(d["reviewer"]) }) };
}

/* Asked again after it was answered (the node ran a second time): open again. */
export const isOpen = (r: Review): boolean => r.asked > r.answered;
export const openReviews = (x: Extras): Review[] => [...x.reviews.values()].filter(isOpen).sort((a, b) => a.asked - b.asked);

/* The deadline of what is asked now is near, says the server. */
export const isReminded = (r: Review): boolean => isOpen(r) && r.reminded > r.asked;

function checkOf(seq: number, d: Data, over: boolean): Check {
  const list = Array.isArray(d["sources"]) ? d["sources"] : [];
  const sources = list.flatMap((s) => {
    const o = obj(s);
    return o ? [{ source: str(o["source"]) ?? "", id: str(o["id"]), url: str(o["url"]), title: str(o["title"]), excerpt: str(o["excerpt"]) ?? "", support: num(o["support"]) }] : [];
  });
  return { seq, claim: str(d["claim"]) ?? "", source: str(d["source"]), verified: over ? d["verified"] === true : null, verdict: str(d["verdict"]), confidence: num(d["confidence"]), reason: str(d["reason"]), sources };
}

/* The members of a claim, the same in the event and in the output of a node. */
export function flaggedOf(v: Json | undefined): Flagged["claims"] {
  if (!Array.isArray(v)) return [];
  return v.flatMap((c) => {
    const o = obj(c);
    return o && typeof o["mark"] === "string" ? [{ text: str(o["text"]) ?? "", kind: str(o["kind"]) ?? "", mark: o["mark"] }] : [];
  });
}

function said(x: Extras, s: Said): Extras {
  return x.said.some((o) => o.seq === s.seq) ? x : { ...x, said: [...x.said, s].sort((a, b) => a.seq - b.seq) };
}

function retrievalOf(seq: number, d: Data): Retrieval {
  const items = Array.isArray(d["items"]) ? d["items"] : [];
  const degraded = d["degraded"];
  return {
    seq,
    query: str(d["query"]),
    count: num(d["count"]) ?? items.length,
    degraded: degraded === true ? "" : str(degraded),
    items: items.flatMap((i) => {
      const o = obj(i);
      return o ? [{ id: str(o["id"]) ?? "", tier: str(o["tier"]) ?? "", verified: o["verified"] === true, score: num(o["score"]), excerpt: str(o["excerpt"]) ?? "" }] : [];
    }),
  };
}

/* What a chart of a loop shows. */
export interface Scores {
  rounds: number[];
  scores: (number | null)[];
  target: number | null;
  best: { round: number; score: number } | null;
  marks: { round: number; score: number | null; note: string }[];
  range: [number, number];
}

/* 0 to 100 unless a score lies outside it, or all of them lie so close together that nothing could be seen (scores of 1 to 10). */
export function scoresOf(rounds: readonly Round[]): Scores | null {
  const held = rounds.filter((r) => r.score !== null);
  if (held.length === 0) return null;
  const target = rounds.reduce<number | null>((v, r) => r.target ?? v, null);
  const last = rounds[rounds.length - 1]!;
  const top = held.reduce((a, b) => (b.score! > a.score! ? b : a));
  const best = last.bestRound !== null && last.bestScore !== null ? { round: last.bestRound, score: last.bestScore } : { round: top.round, score: top.score! };
  const all = [...held.map((r) => r.score!), ...(target === null ? [] : [target])];
  const lo = Math.min(...all);
  const hi = Math.max(...all);
  const range: [number, number] = lo < 0 || hi > 100 ? padded(lo, hi) : hi <= 1 ? [0, 1] : hi <= 10 ? [0, 10] : [0, 100];
  return {
    rounds: rounds.map((r) => r.round),
    scores: rounds.map((r) => r.score),
    target,
    best,
    marks: rounds.flatMap((r) => (r.note ? [{ round: r.round, score: r.score, note: r.note }] : [])),
    range,
  };
}

function padded(lo: number, hi: number): [number, number] {
  const pad = (hi - lo || Math.abs(hi) || 1) * 0.1;
  return [lo - pad, hi + pad];
}
