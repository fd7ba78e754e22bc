/* Changes to a definition, as pure functions: each takes one and gives another, what did not change is shared. A scope is the chain of
 * container ids one has entered: [] is the document itself, ["refine"] the body of the loop `refine`. */
import type { Definition, Graph, GraphEdge, GraphNode, Json } from "../../api/types";
import type { NodeType, ParamSchema } from "../../api/workflows";

export type Scope = readonly string[];
export type Types = ReadonlyMap<string, NodeType>;
export interface Point {
  x: number;
  y: number;
}

export const GRID = 20;
export const MAX_DEPTH = 8;
export const ID = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/;
export const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;

export const emptyDefinition = (name = ""): Definition => ({ sluice: 1, name, description: "", inputs: { type: "object", properties: {}, required: [] }, nodes: [], edges: [], outputs: {} });

// ---- reading ----

export const edgeKey = (e: GraphEdge) => `${e.from}>${e.to}>${e.case ?? ""}`;

/* Other types have a parameter of that name, too: the body of a request, say. */
export function bodyOf(n: GraphNode | undefined): Graph | null {
  const body = n?.params?.body as unknown;
  return typeof body === "object" && body !== null && Array.isArray((body as Graph).nodes) ? (body as Graph) : null;
}

export function isContainer(n: GraphNode, types: Types): boolean {
  return bodyOf(n) !== null || types.get(n.type)?.params_schema?.properties?.["body"]?.["x-graph"] === true;
}

export function nodeAt(g: Graph | null, id: string): GraphNode | undefined {
  return g?.nodes.find((n) => n.id === id);
}

export function graphAt(def: Definition, scope: Scope): Graph | null {
  let g: Graph = def;
  for (const id of scope) {
    const n = nodeAt(g, id);
    if (!n) return null;
    g = bodyOf(n) ?? { nodes: [], edges: [] };
  }
  return g;
}

/* The longest part of a scope that exists: after an undo the container one stood in may be gone. */
export function existing(def: Definition, scope: Scope): Scope {
  for (let n = scope.length; n > 0; n--) if (graphAt(def, scope.slice(0, n))) return scope.slice(0, n);
  return [];
}

export function countNodes(g: Graph): number {
  return g.nodes.reduce((s, n) => s + 1 + (bodyOf(n) ? countNodes(bodyOf(n)!) : 0), 0);
}

export function wouldCycle(g: Graph, from: string, to: string): boolean {
  const next = new Map<string, string[]>();
  for (const e of g.edges ?? []) next.set(e.from, [...(next.get(e.from) ?? []), e.to]);
  const seen = new Set<string>();
  const stack = [to];
  while (stack.length) {
    const id = stack.pop()!;
    if (id === from) return true;
    if (seen.has(id)) continue;
    seen.add(id);
    stack.push(...(next.get(id) ?? []));
  }
  return false;
}

export function ancestors(g: Graph, id: string): string[] {
  const into = new Map<string, string[]>();
  for (const e of g.edges ?? []) into.set(e.to, [...(into.get(e.to) ?? []), e.from]);
  const seen = new Set<string>();
  const stack = [...(into.get(id) ?? [])];
  while (stack.length) {
    const n = stack.pop()!;
    if (n === id || seen.has(n)) continue;
    seen.add(n);
    stack.push(...(into.get(n) ?? []));
  }
  return g.nodes.filter((n) => seen.has(n.id)).map((n) => n.id);
}

/* Where an edge from `from` may lead: no second one, none to itself, none that closes a circle. */
export function targets(g: Graph, from: string): string[] {
  return g.nodes.filter((n) => n.id !== from && mayConnect(g, from, n.id) === null).map((n) => n.id);
}

export type NoEdge = "self" | "double" | "cycle" | "missing";
export function mayConnect(g: Graph, from: string, to: string, kase?: string): NoEdge | null {
  if (from === to) return "self";
  if (!nodeAt(g, from) || !nodeAt(g, to)) return "missing";
  const cases = casesOf(nodeAt(g, from)!);
  const between = (g.edges ?? []).filter((e) => e.from === from && e.to === to);
  if (kase !== undefined ? between.some((e) => e.case === kase || e.case === undefined) : between.length > 0 && between.length >= Math.max(1, cases.length)) return "double";
  return wouldCycle(g, from, to) ? "cycle" : null;
}

/* The names of the cases an edge of this node may carry. */
export function casesOf(n: GraphNode): string[] {
  const list = n.params?.["cases"];
  if (!Array.isArray(list)) return [];
  const out: string[] = [];
  for (const c of list) if (c !== null && typeof c === "object" && !Array.isArray(c) && typeof c["case"] === "string") out.push(c["case"]);
  const other = n.params?.["default"];
  if (typeof other === "string" && other && !out.includes(other)) out.push(other);
  return [...new Set(out)];
}

export function freshId(g: Graph, wish: string, taken: ReadonlySet<string> = new Set()): string {
  const stem = wish.replace(/[^A-Za-z0-9_-]/g, "_").replace(/^[^A-Za-z_]+/, "").slice(0, 58) || "node";
  const used = (id: string) => taken.has(id) || g.nodes.some((n) => n.id === id);
  if (!used(stem)) return stem;
  const base = stem.replace(/_\d+$/, "");
  for (let i = 2; ; i++) if (!used(`${base}_${i}`)) return `${base}_${i}`;
}

// ---- changing ----

export function withGraph(def: Definition, scope: Scope, fn: (g: Graph) => Graph): Definition {
  const go = (g: Graph, at: number): Graph => {
    if (at === scope.length) return fn(g);
    return {
      ...g,
      nodes: g.nodes.map((n) => {
        if (n.id !== scope[at]) return n;
        return { ...n, params: { ...n.params, body: go(bodyOf(n) ?? { nodes: [], edges: [] }, at + 1) } } as GraphNode;
      }),
    };
  };
  return go(def, 0) as Definition;
}

/* Sensible parameters to begin with: what must be there, as far as the schema says what it could be. */
export function startingParams(type: string, schema: ParamSchema | undefined): GraphNode["params"] {
  const out: { [key: string]: Json } = {};
  for (const [k, s] of Object.entries(schema?.properties ?? {})) {
    if (s["x-graph"]) out[k] = { nodes: [], edges: [] };
    else if (!schema?.required?.includes(k)) continue;
    else if (s.default !== undefined) out[k] = s.default;
    else if (s.enum?.length) out[k] = s.enum[0]!;
    else if (k === "max_rounds") out[k] = 3;
  }
  if (type === "branch") out["cases"] = [{ case: "yes", when: "true" }];
  return out as GraphNode["params"];
}

export function addNode(def: Definition, scope: Scope, type: string, types: Types, at: Point | null, after?: string): { def: Definition; id: string } {
  const g = graphAt(def, scope) ?? { nodes: [], edges: [] };
  const id = freshId(g, type);
  const node: GraphNode = { id, type, params: startingParams(type, types.get(type)?.params_schema) };
  if (at) node.position = { x: Math.round(at.x), y: Math.round(at.y) };
  const next = withGraph(def, scope, (x) => ({ ...x, nodes: [...x.nodes, node] }));
  return { def: after ? connect(next, scope, after, id).def : next, id };
}

/* Puts a new node into the middle of an edge; what the edge carried stays on its first half. */
export function splitEdge(def: Definition, scope: Scope, key: string, type: string, types: Types, at: Point | null): { def: Definition; id: string } {
  const e = graphAt(def, scope)?.edges?.find((x) => edgeKey(x) === key);
  const added = addNode(def, scope, type, types, at);
  if (!e) return added;
  return { id: added.id, def: withGraph(added.def, scope, (g) => ({ ...g, edges: (g.edges ?? []).flatMap((x) => (edgeKey(x) === key ? [{ ...x, to: added.id }, { from: added.id, to: e.to }] : [x])) })) };
}

export function connect(def: Definition, scope: Scope, from: string, to: string, kase?: string): { def: Definition; why: NoEdge | null; key: string | null } {
  const g = graphAt(def, scope);
  if (!g) return { def, why: "missing", key: null };
  const n = nodeAt(g, from);
  // An edge out of a branch stands for a case; the first one nobody has yet, unless it is said.
  const cases = n ? casesOf(n) : [];
  const free = cases.find((c) => !(g.edges ?? []).some((e) => e.from === from && e.case === c));
  const say = kase ?? free ?? (cases.length ? cases[0] : undefined);
  const why = mayConnect(g, from, to, say);
  if (why) return { def, why, key: null };
  const e: GraphEdge = say === undefined ? { from, to } : { from, to, case: say };
  return { def: withGraph(def, scope, (x) => ({ ...x, edges: [...(x.edges ?? []), e] })), why: null, key: edgeKey(e) };
}

export function remove(def: Definition, scope: Scope, ids: ReadonlySet<string>, edges: ReadonlySet<string> = new Set()): Definition {
  return withGraph(def, scope, (g) => ({
    ...g,
    nodes: g.nodes.filter((n) => !ids.has(n.id)),
    edges: (g.edges ?? []).filter((e) => !ids.has(e.from) && !ids.has(e.to) && !edges.has(edgeKey(e))),
  }));
}

export function setNode(def: Definition, scope: Scope, id: string, fn: (n: GraphNode) => GraphNode): Definition {
  return withGraph(def, scope, (g) => ({ ...g, nodes: g.nodes.map((n) => (n.id === id ? fn(n) : n)) }));
}

/* undefined takes the member away. */
export function setMember(n: GraphNode, key: string, value: Json | undefined): GraphNode {
  if (value === undefined) {
    const { [key]: _gone, ...rest } = n;
    void _gone;
    return rest as GraphNode;
  }
  return { ...n, [key]: value } as GraphNode;
}

export function setParam(n: GraphNode, key: string, value: Json | undefined): GraphNode {
  const params = { ...n.params } as { [key: string]: Json };
  if (value === undefined) delete params[key];
  else params[key] = value;
  return { ...n, params } as GraphNode;
}

export function setEdge(def: Definition, scope: Scope, key: string, e: GraphEdge): Definition {
  return withGraph(def, scope, (g) => ({ ...g, edges: (g.edges ?? []).map((x) => (edgeKey(x) === key ? e : x)) }));
}

export function move(def: Definition, scope: Scope, to: ReadonlyMap<string, Point>): Definition {
  return withGraph(def, scope, (g) => ({ ...g, nodes: g.nodes.map((n) => (to.has(n.id) ? { ...n, position: { x: Math.round(to.get(n.id)!.x), y: Math.round(to.get(n.id)!.y) } } : n)) }));
}

/* A case that is renamed in a branch is renamed on the edges that carry it. */
export function followCases(def: Definition, scope: Scope, id: string, before: string[], after: string[]): Definition {
  const moved = new Map<string, string>();
  if (before.length === after.length) before.forEach((c, i) => c !== after[i] && !after.includes(c) && moved.set(c, after[i]!));
  if (!moved.size) return def;
  return withGraph(def, scope, (g) => ({ ...g, edges: (g.edges ?? []).map((e) => (e.from === id && e.case !== undefined && moved.has(e.case) ? { ...e, case: moved.get(e.case)! } : e)) }));
}

// ---- references ----

const IDENT = /^[A-Za-z_][A-Za-z0-9_]*$/;
const quote = (s: string) => s.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/* Replaces `<base>.old` and `<base>['old']` in Lua, outside of its string literals. */
function inLua(src: string, base: string, from: string, to: string): string {
  const b = base.split(".").map(quote).join("\\s*\\.\\s*");
  const shape = new RegExp(`(?<![\\w.])(${b})\\s*(?:\\.\\s*${quote(from)}(?![\\w])|\\[\\s*(?:'${quote(from)}'|"${quote(from)}")\\s*\\])`, "g");
  const literal = /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g;
  const inside: [number, number][] = [];
  for (const m of src.matchAll(literal)) inside.push([m.index, m.index + m[0].length]);
  return src.replace(shape, (m: string, head: string, at: number) => (inside.some(([a, z]) => at > a && at < z) ? m : IDENT.test(to) ? `${head}.${to}` : `${head}['${to}']`));
}

/* A text with {{ }} in it: only what is between the braces is code. */
export function inTemplate(text: string, fn: (code: string) => string): string {
  return text.replace(/\{\{\{\{|\{\{([\s\S]*?)\}\}/g, (m, code: string | undefined) => (code === undefined ? m : `{{${fn(code)}}}`));
}

export function mapStrings(value: Json, schema: ParamSchema | undefined, fn: (s: string, expr: boolean) => string): Json {
  if (typeof value === "string") return fn(value, schema?.["x-expr"] !== undefined);
  if (Array.isArray(value)) {
    const next = value.map((v, i) => mapStrings(v, schema?.prefixItems?.[i] ?? schema?.items, fn));
    return next.every((v, i) => v === value[i]) ? value : next;
  }
  if (value !== null && typeof value === "object") {
    let changed = false;
    const next: { [key: string]: Json } = {};
    for (const [k, v] of Object.entries(value)) {
      const s = schema?.properties?.[k] ?? (typeof schema?.additionalProperties === "object" ? schema.additionalProperties : undefined);
      next[k] = s?.["x-graph"] ? v : mapStrings(v, s, fn);
      if (next[k] !== v) changed = true;
    }
    return changed ? next : value;
  }
  return value;
}

function mapNode(n: GraphNode, types: Types, code: (s: string) => string): GraphNode {
  const text = (s: string, expr: boolean) => (expr ? code(s) : inTemplate(s, code));
  const out: GraphNode = { ...n };
  if (n.when !== undefined) out.when = code(n.when);
  for (const k of ["fallback", "cache"]) if (n[k] !== undefined) out[k] = mapStrings(n[k] as Json, undefined, text);
  if (n.params) {
    const schema = types.get(n.type)?.params_schema;
    const { body, ...rest } = n.params;
    const graph = bodyOf(n);
    out.params = (graph ? { ...(mapStrings(rest as Json, schema, text) as object), body } : mapStrings(n.params as unknown as Json, schema, text)) as GraphNode["params"];
  }
  return out;
}

/* Every expression of a graph and, unless `stop` says no, of the graphs inside of it. */
function mapGraph(g: Graph, types: Types, code: (s: string) => string, stop: (inner: Graph) => boolean): Graph {
  return {
    ...g,
    nodes: g.nodes.map((n) => {
      const m = mapNode(n, types, code);
      const body = bodyOf(m);
      return body && !stop(body) ? ({ ...m, params: { ...m.params, body: mapGraph(body, types, code, stop) } } as GraphNode) : m;
    }),
    edges: g.edges?.map((e) => (e.when === undefined ? e : { ...e, when: code(e.when) })),
  };
}

/* A node gets another id, and everything that names it follows: edges, `nodes.<id>` here and in the bodies below, `loop.last.<id>` in
 * the same body, `nodes.<container>.last.<id>` above it, and the outputs. */
export function rename(def: Definition, scope: Scope, from: string, to: string, types: Types): { def: Definition; why: "same" | "form" | "taken" | null } {
  const g = graphAt(def, scope);
  if (!g || from === to) return { def, why: "same" };
  if (!ID.test(to)) return { def, why: "form" };
  if (nodeAt(g, to)) return { def, why: "taken" };
  const here = (s: string) => inLua(s, "nodes", from, to);
  const hides = (inner: Graph) => nodeAt(inner, from) !== undefined;
  let next = withGraph(def, scope, (x) => {
    let y = mapGraph(x, types, here, hides);
    if (scope.length) y = mapGraph(y, types, (s) => inLua(s, "loop.last", from, to), () => true);
    return {
      ...y,
      nodes: y.nodes.map((n) => (n.id === from ? { ...n, id: to } : n)),
      edges: y.edges?.map((e) => (e.from === from || e.to === from ? { ...e, from: e.from === from ? to : e.from, to: e.to === from ? to : e.to } : e)),
    };
  });
  if (scope.length === 0) {
    if (next.outputs) next = { ...next, outputs: mapStrings(next.outputs as Json, undefined, (s) => inTemplate(s, here)) as Definition["outputs"] };
  } else {
    // The container itself may test the names of its body (`until`, `exit_on_score`), the graph around it reads `nodes.<container>.last.<id>`.
    const box = scope[scope.length - 1]!;
    const above = scope.slice(0, -1);
    next = setNode(next, above, box, (n) => mapNode(n, types, here));
    const base = `nodes.${box}.last`;
    const outside = (s: string) => inLua(s, base, from, to);
    next = withGraph(next, above, (x) => mapGraph(x, types, outside, (inner) => nodeAt(inner, box) !== undefined));
    if (above.length === 0 && next.outputs) next = { ...next, outputs: mapStrings(next.outputs as Json, undefined, (s) => inTemplate(s, outside)) as Definition["outputs"] };
  }
  return { def: next, why: null };
}

// ---- copies ----

export interface Clip {
  sluice_clip: 1;
  nodes: GraphNode[];
  edges: GraphEdge[];
}

export function copy(def: Definition, scope: Scope, ids: ReadonlySet<string>): Clip {
  const g = graphAt(def, scope);
  return { sluice_clip: 1, nodes: g?.nodes.filter((n) => ids.has(n.id)) ?? [], edges: g?.edges?.filter((e) => ids.has(e.from) && ids.has(e.to)) ?? [] };
}

export function isClip(v: unknown): v is Clip {
  return typeof v === "object" && v !== null && (v as Clip).sluice_clip === 1 && Array.isArray((v as Clip).nodes) && (v as Clip).nodes.every((n) => n && typeof n.id === "string" && typeof n.type === "string");
}

/* Pastes with ids of its own; references inside of the clip follow them, those to nodes outside stay as they are. */
export function paste(def: Definition, scope: Scope, clip: Clip, shift: Point, types: Types): { def: Definition; ids: string[] } {
  const g = graphAt(def, scope) ?? { nodes: [], edges: [] };
  const names = new Map<string, string>();
  const taken = new Set<string>();
  for (const n of clip.nodes) {
    const id = freshId(g, n.id, taken);
    taken.add(id);
    names.set(n.id, id);
  }
  let inner: Graph = { nodes: clip.nodes, edges: clip.edges };
  const moved = [...names].filter(([a, b]) => a !== b);
  // Over names nobody has, so that swapping two of them does not run them together.
  moved.forEach(([a], i) => (inner = mapGraph(inner, types, (s) => inLua(s, "nodes", a, `__clip${i}__`), (x) => nodeAt(x, a) !== undefined)));
  moved.forEach(([, b], i) => (inner = mapGraph(inner, types, (s) => inLua(s, "nodes", `__clip${i}__`, b), () => false)));
  const nodes = inner.nodes.map((n) => ({ ...n, id: names.get(n.id)!, ...(n.position ? { position: { x: n.position.x + shift.x, y: n.position.y + shift.y } } : {}) }));
  const edges = (inner.edges ?? []).flatMap((e) => (names.has(e.from) && names.has(e.to) ? [{ ...e, from: names.get(e.from)!, to: names.get(e.to)! }] : []));
  return { def: withGraph(def, scope, (x) => ({ ...x, nodes: [...x.nodes, ...nodes], edges: [...(x.edges ?? []), ...edges] })), ids: nodes.map((n) => n.id) };
}

// ---- places named by a JSON Pointer ----

export interface Place {
  scope: Scope;
  node: string | null;
  edge: string | null;
  rest: string[]; // below the node, the edge or the document
}

export const splitPointer = (p: string) => p.split("/").slice(1).map((x) => x.replace(/~1/g, "/").replace(/~0/g, "~"));

export function locatePointer(def: Definition, pointer: string): Place {
  let parts = splitPointer(pointer);
  if (parts[0] === "definition") parts = parts.slice(1);
  let g: Graph = def;
  const scope: string[] = [];
  for (;;) {
    const n = parts[0] === "nodes" ? g.nodes[Number(parts[1])] : undefined;
    const e = parts[0] === "edges" ? g.edges?.[Number(parts[1])] : undefined;
    if (e) return { scope, node: null, edge: edgeKey(e), rest: parts.slice(2) };
    if (!n) return { scope, node: null, edge: null, rest: parts };
    const body = bodyOf(n);
    if (parts[2] === "params" && parts[3] === "body" && parts.length > 4 && body) {
      scope.push(n.id);
      g = body;
      parts = parts.slice(4);
    } else return { scope, node: n.id, edge: null, rest: parts.slice(2) };
  }
}

export function pointerOf(def: Definition, scope: Scope, id: string): string {
  let g: Graph | null = def;
  let out = "";
  for (const s of scope) {
    const at: number = g?.nodes.findIndex((n) => n.id === s) ?? -1;
    out += `/nodes/${at}/params/body`;
    g = bodyOf(g?.nodes[at]);
  }
  return out + `/nodes/${g?.nodes.findIndex((n) => n.id === id) ?? -1}`;
}

/* As it is stored: empty optional parts of the document are left out, keys in the order people read them. */
export function tidy(def: Definition): Definition {
  const order = ["sluice", "name", "description", "inputs", "limits", "durability", "nodes", "edges", "outputs"];
  const out: { [key: string]: unknown } = {};
  const src = def as unknown as { [key: string]: unknown };
  for (const k of [...order, ...Object.keys(src).filter((k) => !order.includes(k))]) {
    const v = src[k];
    if (v === undefined) continue;
    if (k === "description" && v === "") continue;
    if ((k === "limits" || k === "outputs") && v !== null && typeof v === "object" && Object.keys(v).length === 0) continue;
    out[k] = v;
  }
  return out as unknown as Definition;
}
