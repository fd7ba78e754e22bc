/* The graph as it is drawn. Some bodies are made by the server and are not in the definition: that of a vote (one node a voter), and what a
 * fact check or a context asks of a model, are put together from the voters' names, or from the nodes seen; those of a model with tools
 * are always the same. */
import type { Definition, Graph, GraphNode, Json } from "../../api/types";
import { bodyOf, splitPath } from "./paths";

const MADE = new Set(["vote", "fact_check", "context"]);

/* Changes only when a voter is seen that was not before, so the layout is not computed with every event. */
export function votersSeen(order: readonly string[]): string {
  return order.filter((p) => p.includes("#")).join("\n");
}

export function withVotes(def: Definition | null | undefined, order: readonly string[]): Definition | null | undefined {
  if (!def || !hasVote(def)) return def;
  return fill(def, [], order) as Definition;
}

export function hasVote(g: Graph): boolean {
  return g.nodes.some((n) => MADE.has(n.type) || toolsOf(n) !== null || (bodyOf(n) !== null && hasVote(bodyOf(n)!)));
}

function fill(g: Graph, at: string[], order: readonly string[]): Graph {
  return {
    ...g,
    nodes: g.nodes.map((n): GraphNode => {
      const path = [...at, n.id];
      const body = bodyOf(n);
      if (body) return withBody(n, fill(body, path, order));
      const made = toolsOf(n);
      if (made) return withBody(n, made);
      if (!MADE.has(n.type)) return n;
      const names = voters(n, path, order);
      // What a fact check asks is kept by a node of its own, before those that ask.
      const edges = n.type === "fact_check" && names.includes("question") ? names.filter((v) => v !== "question").map((v) => ({ from: "question", to: v })) : [];
      return names.length ? withBody(n, { nodes: names.map((v) => ({ id: v, type: n.type === "fact_check" && v === "question" ? "transform" : "llm" })), edges }) : n;
    }),
  };
}

/* What a model with tools goes through in a round, and what a call of a tool is in. */
function toolsOf(n: GraphNode): Graph | null {
  const calls: Graph = { nodes: [{ id: "call", type: "tool" }], edges: [] };
  const list = n.params?.["tools"];
  if (n.type === "tool_calls") return calls;
  if (n.type !== "llm" || !Array.isArray(list) || !list.some((x) => typeof x === "string")) return null;
  return { nodes: [{ id: "ask", type: "llm" }, withBody({ id: "tools", type: "tool_calls" }, calls)], edges: [{ from: "ask", to: "tools" }] };
}

const withBody = (n: GraphNode, body: Graph): GraphNode => ({ ...n, params: { ...n.params, body } as GraphNode["params"] });

function voters(n: GraphNode, path: string[], order: readonly string[]): string[] {
  const seen = new Set<string>();
  for (const p of order) {
    const s = splitPath(p);
    if (s.length === path.length + 1 && s[path.length - 1]!.index !== null && s.slice(0, -1).every((x, i) => x.id === path[i])) seen.add(s[path.length]!.id);
  }
  if (seen.size) return [...seen];
  const list = n.params?.["voters"];
  return Array.isArray(list) ? [...new Set(list.flatMap((v) => nameOf(v)))] : [];
}

const nameOf = (v: Json): string[] => {
  if (typeof v === "string") return [v];
  if (v === null || typeof v !== "object" || Array.isArray(v)) return [];
  const s = v["name"] ?? v["agent"] ?? v["profile"];
  return typeof s === "string" ? [s] : [];
};
