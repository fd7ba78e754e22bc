/* Node paths name a node inside its containers: `refine#2/judge` is `judge` in round 2 of `refine`. */
import type { Definition, Graph, GraphNode } from "../../api/types";

export interface Step {
  id: string;
  index: number | null;
}

export function splitPath(path: string): Step[] {
  return path.split("/").map((part) => {
    const m = /^(.*)#(\d+)$/.exec(part);
    return m ? { id: m[1]!, index: Number(m[2]) } : { id: part, index: null };
  });
}

export const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf("/")));
export const bodyOf = (n: GraphNode): Graph | null => (n.params?.body && Array.isArray(n.params.body.nodes) ? n.params.body : null);

/* The graph a path lies in, and the node's own definition. */
export function locate(def: Definition | null | undefined, path: string): { graph: Graph; node: GraphNode } | null {
  let graph: Graph | null = def ?? null;
  const steps = splitPath(path);
  for (let i = 0; i < steps.length && graph; i++) {
    const node: GraphNode | undefined = graph.nodes.find((n) => n.id === steps[i]!.id);
    if (!node) return null;
    if (i === steps.length - 1) return { graph, node };
    graph = bodyOf(node);
  }
  return null;
}

export function titleOf(def: Definition | null | undefined, path: string, name?: string | null): string {
  return name || locate(def, path)?.node.name || splitPath(path).at(-1)!.id;
}

/* The rounds (loop) or items (map) of a container that exist so far. */
export function roundsOf(paths: Iterable<string>, container: string): number[] {
  const seen = new Set<number>();
  const head = container + "#";
  for (const p of paths) {
    if (!p.startsWith(head)) continue;
    const m = /^\d+/.exec(p.slice(head.length));
    if (m) seen.add(Number(m[0]));
  }
  return [...seen].sort((a, b) => a - b);
}

/* Longest distance from a source: what may run at the same time shares a number. */
export function layersOf(graph: Graph): Map<string, number> {
  const ids = new Set(graph.nodes.map((n) => n.id));
  const into = new Map<string, string[]>();
  for (const e of graph.edges ?? []) if (ids.has(e.from) && ids.has(e.to) && e.from !== e.to) into.set(e.to, [...(into.get(e.to) ?? []), e.from]);
  const layer = new Map<string, number>();
  const busy = new Set<string>();
  const depth = (id: string): number => {
    const known = layer.get(id);
    if (known !== undefined) return known;
    if (busy.has(id)) return 0; // a cycle cannot be valid, but must not hang the page
    busy.add(id);
    const d = (into.get(id) ?? []).reduce((m, f) => Math.max(m, depth(f) + 1), 0);
    busy.delete(id);
    layer.set(id, d);
    return d;
  };
  for (const n of graph.nodes) depth(n.id);
  return layer;
}
