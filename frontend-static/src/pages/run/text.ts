/* Which text of a node is shown: what streamed, unless the recorded result says otherwise. */
import type { Definition, Json, RunNode } from "../../api/types";
import type { NodeStream } from "../../live/stream";
import { layersOf, locate, parentOf } from "./paths";

const field = (v: Json | undefined, k: string): string | null => (v !== null && typeof v === "object" && !Array.isArray(v) && typeof v[k] === "string" ? (v[k] as string) : null);

export function shownText(n: RunNode | undefined, s: NodeStream | undefined): { text: string; thinking: string; from: "stream" | "record" } {
  const streamed = s?.text ?? "";
  const recorded = n?.status === "completed" ? field(n.output, "text") : null;
  // A model that used tools streams every round and records the last; then the longer story is kept.
  const from = streamed === "" || (recorded !== null && !streamed.endsWith(recorded)) ? "record" : "stream";
  return { text: from === "stream" ? streamed : (recorded ?? ""), thinking: s?.thinking || field(n?.output, "thinking") || "", from };
}

export interface Group {
  key: string;
  prefix: string; // the container and round, or ""
  paths: string[];
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
    const prefix = parentOf(p);
    let key = p;
    if (at) {
      let l = layers.get(at.graph);
      if (!l) layers.set(at.graph, (l = layersOf(at.graph)));
      key = prefix + "|" + (l.get(at.node.id) ?? 0);
    }
    const g = groups.get(key);
    if (g) g.paths.push(p);
    else groups.set(key, { key, prefix, paths: [p] });
  }
  const first = (g: Group) => g.paths.reduce((m, p) => (began(p) < m ? began(p) : m), "9");
  return [...groups.values()].map((g, i) => ({ g, i, at: first(g) })).sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : a.i - b.i)).map((x) => x.g);
}
