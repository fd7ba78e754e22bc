/* Which text of a node is shown: what streamed, unless the recorded result says otherwise. */
import type { Definition, Json, RunNode } from "../../api/types";
import type { NodeStream } from "../../live/stream";
import { flaggedOf, type Flagged } from "../../state/extras";
import { layersOf, locate, parentOf } from "./paths";

const field = (v: Json | undefined, k: string): string | null => (v !== null && typeof v === "object" && !Array.isArray(v) && typeof v[k] === "string" ? (v[k] as string) : null);

export function shownText(n: RunNode | undefined, s: NodeStream | undefined): { text: string; thinking: string; from: "stream" | "record" } {
  const streamed = s?.text ?? "";
  const recorded = n?.status === "completed" ? field(n.output, "text") : null;
  // A model that used tools streams every round and records the last; then the longer story is kept.
  const from = streamed === "" || (recorded !== null && !streamed.endsWith(recorded)) ? "record" : "stream";
  return { text: from === "stream" ? streamed : (recorded ?? ""), thinking: s?.thinking || field(n?.output, "thinking") || "", from };
}

/* The claims of an answer: the output has all of them, the event comes when the answer is from the cache, too late, or not at all. */
export function claimsOf(n: RunNode | undefined, told: Flagged | undefined): { claims: Flagged["claims"]; count: number } {
  const o = n?.output;
  const own = n?.type === "llm" && o !== null && typeof o === "object" && !Array.isArray(o) ? flaggedOf(o["claims"]) : [];
  return own.length ? { claims: own, count: own.length } : { claims: told?.claims ?? NO_CLAIMS, count: told?.count ?? 0 };
}
const NO_CLAIMS: Flagged["claims"] = [];

export interface Group {
  key: string;
  prefix: string; // the container and round, or ""; items of a map and voters share their container
  paths: string[];
  at: string; // when the first of them began
}

/* What is drawn of it: the last `panes` of all panes; those before are a click away, so a map over a thousand items stays light. */
export function lastOf(groups: readonly Group[], panes: number): { shown: Group[]; left: number } {
  const shown: Group[] = [];
  let room = panes;
  let left = 0;
  for (let i = groups.length - 1; i >= 0; i--) {
    const g = groups[i]!;
    if (room <= 0) left += g.paths.length;
    else if (g.paths.length <= room) shown.unshift(g);
    else {
      shown.unshift({ ...g, paths: g.paths.slice(-room) });
      left += g.paths.length - room;
    }
    room -= g.paths.length;
  }
  return { shown, left };
}

/* Nodes that speak, in the order they began; those of one layer of one body side by side. */
export function groupsOf(def: Definition | null | undefined, nodes: ReadonlyMap<string, RunNode>, order: readonly string[], streamed: readonly string[]): Group[] {
  const spoken = new Set(streamed);
  const began = (p: string) => nodes.get(p)?.started_at ?? "9";
  const paths = [...order, ...streamed.filter((p) => !nodes.has(p))].filter((p) => {
    const n = nodes.get(p);
    if (spoken.has(p)) return true;
    return n !== undefined && n.type === "llm" && n.status !== "pending" && n.status !== "skipped" && n.status !== "ready";
  });
  const layers = new Map<unknown, Map<string, number>>();
  const groups = new Map<string, Group>();
  for (const p of paths) {
    const at = locate(def, p);
    const parent = parentOf(p);
    const container = parent.replace(/#\d+$/, "");
    const kind = parent === "" ? "" : (nodes.get(container)?.type ?? locate(def, container)?.node.type ?? "");
    const prefix = kind === "map" || kind === "vote" ? container : parent;
    let key = p;
    if (at) {
      let l = layers.get(at.graph);
      if (!l) layers.set(at.graph, (l = layersOf(at.graph)));
      key = prefix + "|" + (l.get(at.node.id) ?? 0);
    }
    const g = groups.get(key);
    if (g) g.paths.push(p);
    else groups.set(key, { key, prefix, paths: [p], at: "" });
  }
  for (const g of groups.values()) g.at = g.paths.reduce((m, p) => (began(p) < m ? began(p) : m), "9");
  return [...groups.values()].map((g, i) => ({ g, i })).sort((a, b) => (a.g.at < b.g.at ? -1 : a.g.at > b.g.at ? 1 : a.i - b.i)).map((x) => x.g);
}
