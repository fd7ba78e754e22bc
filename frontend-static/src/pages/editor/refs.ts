/* What an expression at a place may read: the run's inputs, the outputs of nodes above it, and what the containers around it provide. */
import type { Definition, GraphNode, JsonSchema } from "../../api/types";
import type { ParamSchema } from "../../api/workflows";
import { ancestors, bodyOf, graphAt, nodeAt, type Scope, type Types } from "./model";

export interface Ref {
  code: string; // as it is written in an expression
  from: string; // what it belongs to, for people
}

/* The members of each type's output; the first is the one people mostly want. */
const outputs: { [type: string]: string[] } = {
  llm: ["text", "json", "thinking", "tool_calls", "usage", "model", "finish_reason", "claims"],
  parallel: ["branches"],
  join: ["merged", "branches", "arrived", "missing"],
  branch: ["case"],
  loop: ["last", "rounds", "exit_reason", "history"],
  map: ["items", "failed", "count"],
  memory_retrieval: ["text", "items"],
  memory_store: ["id", "tier", "accepted", "reason"],
  human_review: ["content", "action", "reviewer", "text"],
  vote: ["passed", "tally", "votes", "summary"],
  fact_check: ["verified", "claims", "text"],
  router: ["profile", "reason"],
  context: ["text", "tokens", "shortened", "dropped"],
  transform: ["value"],
  template: ["text"],
  embed: ["vectors", "dimensions", "cached"],
  http: ["json", "body", "status", "headers"],
  search: ["results"],
  tool: ["content", "json", "is_error"],
  webhook: ["status", "attempts"],
  delay: ["fired_at"],
  wait_signal: ["payload"],
};

const dot = (base: string, id: string) => (/^[A-Za-z_]\w*$/.test(id) ? `${base}.${id}` : `${base}['${id}']`);

function ofNode(base: string, n: GraphNode): Ref[] {
  const from = n.name || n.id;
  const out: Ref[] = [];
  const own = dot(base, n.id);
  for (const m of outputs[n.type] ?? []) {
    out.push({ code: `${own}.${m}`, from });
    if (m === "json") {
      const format = n.params?.["response_format"] as { schema?: JsonSchema } | undefined;
      for (const k of Object.keys(format?.schema?.properties ?? {})) out.push({ code: dot(`${own}.json`, k), from });
    }
    if (m === "last" && n.type === "loop")
      for (const inner of bodyOf(n)?.nodes ?? []) {
        const first = outputs[inner.type]?.[0];
        out.push({ code: dot(`${own}.last`, inner.id) + (first ? "." + first : ""), from });
      }
  }
  if (!outputs[n.type]) out.push({ code: own, from });
  return out;
}

function provided(n: GraphNode, types: Types): string[] {
  const s: ParamSchema | undefined = types.get(n.type)?.params_schema?.properties?.["body"];
  return s?.["x-provides"] ?? (n.type === "loop" ? ["loop"] : n.type === "map" ? ["item", "index"] : []);
}

/* id null: the document's outputs, which may read every node. */
export function references(def: Definition, scope: Scope, id: string | null, types: Types, provides: readonly string[] = []): Ref[] {
  const out: Ref[] = Object.keys(def.inputs?.properties ?? {}).map((k) => ({ code: dot("input", k), from: "input" }));
  let inside: string | null = id;
  // A container's own test sees the nodes of its body; a join's score sees one arrival as `item`.
  const own = id === null ? undefined : nodeAt(graphAt(def, scope), id);
  if (own && provides.includes("body")) for (const n of bodyOf(own)?.nodes ?? []) out.push(...ofNode("nodes", n));
  if (own && provides.includes("loop")) out.push({ code: "loop.index", from: own.name || own.id });
  for (const p of provides) if (p === "item" || p === "index") out.push({ code: p, from: own?.name || own?.id || "" });
  for (let n = scope.length; n >= 0; n--) {
    const at = scope.slice(0, n);
    const g = graphAt(def, at);
    if (!g) continue;
    const above = inside === null ? g.nodes.map((x) => x.id) : ancestors(g, inside);
    for (const a of above.reverse()) out.push(...ofNode("nodes", nodeAt(g, a)!));
    if (n === 0) break;
    const box = nodeAt(graphAt(def, scope.slice(0, n - 1)), scope[n - 1]!);
    inside = scope[n - 1]!;
    if (!box) continue;
    const from = box.name || box.id;
    for (const p of provided(box, types)) {
      if (p !== "loop") out.push({ code: p, from });
      else {
        out.push({ code: "loop.index", from });
        for (const x of g.nodes) {
          const first = outputs[x.type]?.[0];
          out.push({ code: `loop.last and ${dot("loop.last", x.id)}${first ? "." + first : ""} or ''`, from });
        }
      }
    }
  }
  out.push({ code: "run.id", from: "run" }, { code: "run.project", from: "run" }, { code: "run.started_at", from: "run" });
  return out;
}
