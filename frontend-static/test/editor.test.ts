import { describe, expect, it } from "vitest";
import type { Definition, Json } from "../src/api/types";
import type { NodeType, ParamSchema } from "../src/api/workflows";
import { blank, entriesOf, readAny, readNumber, showFree, splitTools, variantFor, variantsOf, widgetOf, withTool } from "../src/pages/editor/fields";
import { begin, jump, push, redo, undo } from "../src/pages/editor/history";
import { lineOf, readJson } from "../src/pages/editor/json-text";
import * as m from "../src/pages/editor/model";

const graph: ParamSchema = { type: "object", "x-graph": true };
const known: NodeType[] = [
  { name: "llm", params_schema: { type: "object", properties: { prompt: { "x-ui": "textarea" } } } },
  { name: "join", params_schema: { type: "object", properties: { score: { type: "string", "x-expr": "value" } } } },
  { name: "branch", params_schema: { type: "object", required: ["cases"], properties: { cases: { type: "array", items: { type: "object", properties: { case: { type: "string" }, when: { type: "string", "x-expr": "value" } } } } } } },
  { name: "loop", params_schema: { type: "object", required: ["body", "max_rounds"], properties: { body: graph, max_rounds: { type: "integer", minimum: 1 }, until: { type: "string", "x-expr": "value" } } } },
];
const types: m.Types = new Map(known.map((t) => [t.name, t]));

function council(): Definition {
  return {
    sluice: 1,
    name: "council",
    nodes: [
      { id: "history", type: "llm", params: { prompt: "x" } },
      {
        id: "refine",
        type: "loop",
        params: {
          max_rounds: 5,
          until: "nodes.judge.json.score > 90 and nodes['judge'].text ~= 'nodes.judge'",
          body: {
            nodes: [
              { id: "pro", type: "llm", params: { prompt: "nodes.pro is prose, {{ loop.last and loop.last.judge.text or nodes.history.text }}" } },
              { id: "judge", type: "llm", when: "nodes.pro.text ~= nil", params: { prompt: "{{ nodes.pro.text }}" } },
            ],
            edges: [{ from: "pro", to: "judge" }],
          },
        },
      } as never,
    ],
    edges: [{ from: "history", to: "refine" }],
    outputs: { verdict: "{{ nodes.refine.last.judge.text }}", was: "{{ nodes.history.text }}" },
  };
}
const text = (v: unknown) => JSON.stringify(v);

describe("changes to a definition", () => {
  it("adds with a free id and what the type asks for", () => {
    const a = m.addNode(council(), [], "loop", types, { x: 12.4, y: 8 });
    expect(a.id).toBe("loop");
    expect(m.nodeAt(a.def, "loop")).toEqual({ id: "loop", type: "loop", position: { x: 12, y: 8 }, params: { body: { nodes: [], edges: [] }, max_rounds: 3 } });
    const b = m.addNode(a.def, ["loop"], "llm", types, null);
    const c = m.addNode(b.def, ["loop"], "llm", types, null, "llm");
    expect(m.graphAt(c.def, ["loop"])).toMatchObject({ nodes: [{ id: "llm" }, { id: "llm_2" }], edges: [{ from: "llm", to: "llm_2" }] });
    expect(m.graphAt(council(), ["nowhere"])).toBeNull();
    expect(m.existing(council(), ["refine", "gone"])).toEqual(["refine"]);
    expect(m.countNodes(c.def)).toBe(7);
  });
  it("shares what it does not change", () => {
    const d = council();
    const next = m.addNode(d, ["refine"], "llm", types, null).def;
    expect(next.nodes[0]).toBe(d.nodes[0]);
    expect(next.nodes[1]).not.toBe(d.nodes[1]);
  });
  it("connects, but neither twice, nor to itself, nor in a circle", () => {
    const d = council();
    expect(m.connect(d, [], "refine", "history").why).toBe("cycle");
    expect(m.connect(d, [], "history", "refine").why).toBe("double");
    expect(m.connect(d, [], "refine", "refine").why).toBe("self");
    const a = m.addNode(d, [], "llm", types, null);
    expect(m.targets(a.def, "history")).toEqual(["llm"]);
    const b = m.connect(a.def, [], "refine", "llm");
    expect(b.why).toBeNull();
    expect(m.ancestors(b.def, "llm")).toEqual(["history", "refine"]);
  });
  it("gives each edge out of a branch a case of its own", () => {
    let d: Definition = { name: "b", nodes: [{ id: "b", type: "branch", params: { cases: [{ case: "yes", when: "true" }], default: "no" } }, { id: "x", type: "llm" }, { id: "y", type: "llm" }], edges: [] };
    d = m.connect(d, [], "b", "x").def;
    d = m.connect(d, [], "b", "y").def;
    expect(d.edges).toEqual([{ from: "b", to: "x", case: "yes" }, { from: "b", to: "y", case: "no" }]);
    const before = m.casesOf(d.nodes[0]!);
    d = m.followCases(d, [], "b", before, ["sure", "no"]);
    expect(d.edges![0]).toEqual({ from: "b", to: "x", case: "sure" });
  });
  it("removes nodes with their edges", () => {
    const d = m.remove(council(), [], new Set(["history"]));
    expect([d.nodes.map((n) => n.id), d.edges]).toEqual([["refine"], []]);
    expect(m.remove(council(), ["refine"], new Set(), new Set(["pro>judge>"])).nodes[1]!.params!.body!.edges).toEqual([]);
  });
  it("puts a node into an edge and keeps what the edge carried", () => {
    const d: Definition = { name: "x", nodes: [{ id: "b", type: "branch", params: {} }, { id: "z", type: "llm" }], edges: [{ from: "b", to: "z", case: "yes" }] };
    expect(m.splitEdge(d, [], "b>z>yes", "llm", types, null).def.edges).toEqual([{ from: "b", to: "llm", case: "yes" }, { from: "llm", to: "z" }]);
  });
});

describe("renaming", () => {
  it("takes references in the graph, its bodies and the outputs along", () => {
    const { def, why } = m.rename(council(), [], "history", "past", types);
    expect(why).toBeNull();
    expect(def.edges).toEqual([{ from: "past", to: "refine" }]);
    expect(def.outputs!["was"]).toBe("{{ nodes.past.text }}");
    expect(text(def)).not.toContain("nodes.history");
    expect(text(def)).toContain("loop.last.judge.text or nodes.past.text");
  });
  it("follows a node of a body into `until`, loop.last and the graph around", () => {
    const { def } = m.rename(council(), ["refine"], "judge", "arbiter", types);
    const loop = def.nodes[1]!;
    expect(loop.params!["until"]).toBe("nodes.arbiter.json.score > 90 and nodes.arbiter.text ~= 'nodes.judge'");
    expect(loop.params!.body!.edges).toEqual([{ from: "pro", to: "arbiter" }]);
    expect(text(loop)).toContain("loop.last.arbiter.text");
    expect(def.outputs!["verdict"]).toBe("{{ nodes.refine.last.arbiter.text }}");
  });
  it("leaves prose, strings and longer names alone, and writes brackets where a dot would not do", () => {
    const d = m.setNode(council(), ["refine"], "judge", (n) => m.setParam(n, "prompt", "nodes.pro {{ nodes.pro.text .. 'nodes.pro.x' .. nodes.profile.text }}"));
    const { def } = m.rename(d, ["refine"], "pro", "for-it", types);
    expect(m.graphAt(def, ["refine"])!.nodes[1]!.params!["prompt"]).toBe("nodes.pro {{ nodes['for-it'].text .. 'nodes.pro.x' .. nodes.profile.text }}");
    expect(m.graphAt(def, ["refine"])!.nodes[0]!.params!["prompt"]).toContain("nodes.pro is prose");
    expect(m.graphAt(def, ["refine"])!.nodes[1]!.when).toBe("nodes['for-it'].text ~= nil");
  });
  it("reaches into a parameter that is only called body", () => {
    const d: Definition = { name: "x", nodes: [{ id: "a", type: "llm" }, { id: "h", type: "http", params: { body: "{{ nodes.a.text }}" } as never }], edges: [{ from: "a", to: "h" }] };
    expect(m.isContainer(d.nodes[1]!, types)).toBe(false);
    expect(m.rename(d, [], "a", "b", types).def.nodes[1]!.params).toEqual({ body: "{{ nodes.b.text }}" });
  });
  it("renaming the container keeps the ways into it", () => {
    const { def } = m.rename(council(), [], "refine", "argue", types);
    expect(def.outputs!["verdict"]).toBe("{{ nodes.argue.last.judge.text }}");
  });
  it("refuses what cannot be", () => {
    expect([m.rename(council(), [], "history", "refine", types).why, m.rename(council(), [], "history", "9x", types).why, m.rename(council(), [], "history", "history", types).why]).toEqual(["taken", "form", "same"]);
  });
  it("a body's own node of that name hides the outer one", () => {
    const d = m.setNode(council(), [], "refine", (n) => ({ ...n, params: { ...n.params, body: { nodes: [{ id: "history", type: "llm" }, { id: "b", type: "llm", params: { prompt: "{{ nodes.history.text }}" } }], edges: [] } } }) as never);
    expect(text(m.rename(d, [], "history", "past", types).def.nodes[1])).toContain("nodes.history.text");
  });
});

describe("copies", () => {
  it("pastes with new ids, and references inside follow", () => {
    const d = council();
    const clip = m.copy(d, ["refine"], new Set(["pro", "judge"]));
    const { def, ids } = m.paste(d, ["refine"], JSON.parse(text(clip)) as m.Clip, { x: 20, y: 20 }, types);
    expect(ids).toEqual(["pro_2", "judge_2"]);
    const g = m.graphAt(def, ["refine"])!;
    expect(g.edges).toEqual([{ from: "pro", to: "judge" }, { from: "pro_2", to: "judge_2" }]);
    expect(g.nodes[3]).toMatchObject({ when: "nodes.pro_2.text ~= nil", params: { prompt: "{{ nodes.pro_2.text }}" } });
    expect(m.isClip(clip)).toBe(true);
    expect(m.isClip({ nodes: [] })).toBe(false);
  });
});

describe("pointers", () => {
  it("lead to nodes in bodies and back", () => {
    const d = council();
    expect(m.locatePointer(d, "/definition/nodes/1/params/body/nodes/0/params/prompt")).toEqual({ scope: ["refine"], node: "pro", edge: null, rest: ["params", "prompt"] });
    expect(m.locatePointer(d, "/nodes/1/params/max_rounds")).toEqual({ scope: [], node: "refine", edge: null, rest: ["params", "max_rounds"] });
    expect(m.locatePointer(d, "/nodes/1/params/body/edges/0/case")).toMatchObject({ scope: ["refine"], edge: "pro>judge>", rest: ["case"] });
    expect(m.locatePointer(d, "/inputs/properties/a~1b")).toEqual({ scope: [], node: null, edge: null, rest: ["inputs", "properties", "a/b"] });
    expect(m.pointerOf(d, ["refine"], "judge")).toBe("/nodes/1/params/body/nodes/1");
  });
});

describe("undo", () => {
  it("goes back and forth, and joins what was typed in one go", () => {
    let h = begin(0, "opened", 0);
    h = push(h, 1, "add", null, 10);
    h = push(h, 2, "type", "f", 20);
    h = push(h, 3, "type", "f", 400);
    h = push(h, 4, "type", "f", 9000);
    expect(h.past.map((s) => s.value)).toEqual([0, 1, 3]);
    h = undo(undo(h));
    expect([h.now.value, h.future.length]).toEqual([1, 2]);
    expect(redo(h).now.value).toBe(3);
    expect(jump(h, 2).now.value).toBe(4);
    expect(jump(h, -9).now.value).toBe(0);
    h = push(h, 7, "other");
    expect(h.future).toEqual([]);
    expect(push(h, 7, "nothing")).toBe(h);
  });
});

describe("forms from schemas", () => {
  it("picks a control for each shape", () => {
    const w = (s: ParamSchema, name = "p") => widgetOf(name, s);
    expect(w({ type: "array", "x-ui": "tools", items: { type: ["object", "string"] } })).toBe("tools");
    expect(splitTools(["a", { type: "function" }, "b"])).toEqual({ names: ["a", "b"], functions: [{ type: "function" }] });
    expect(withTool(withTool(["a", { type: "function" }], "b", true), "a", false)).toEqual(["b", { type: "function" }]);
    expect([w({ enum: ["a"] }), w({ type: "boolean" }), w({ type: "integer" }), w({ type: "number" }), w({ type: "string" }), w({ type: "string", "x-ui": "textarea" }), w({ "x-ui": "textarea" })]).toEqual(["choice", "boolean", "integer", "number", "line", "text", "text"]);
    expect([w({ type: "string", "x-expr": "value" }), w({ type: "string", "x-expr": "code" }), w({ type: "object", "x-graph": true }), w({ type: "array", items: { type: "string" } }), w({ type: "object", properties: { a: {} } }), w({ type: "object" }), w({}), w({ anyOf: [] })]).toEqual(["expr", "code", "graph", "list", "object", "map", "any", "variants"]);
    expect([w({ type: "array", items: { enum: ["a"] } }), w({ type: "object" }, "schema"), w({ type: ["string", "object"], properties: { a: {} } })]).toEqual(["checks", "json", "variants"]);
    expect([w({ type: "object", additionalProperties: { type: "string" } }), w({ type: "string" }, "prompt"), w({ type: ["string", "null"] })]).toEqual(["map", "text", "line"]);
  });
  it("tells variants apart by the value they hold", () => {
    const wait: ParamSchema = { anyOf: [{ type: "string", enum: ["all", "any"] }, { type: "object", required: ["quorum"], additionalProperties: false, properties: { quorum: { type: "integer", minimum: 1 } } }] };
    const v = variantsOf(wait, wait);
    expect(v.map((x) => x.label)).toEqual(["all", "any", "quorum"]);
    expect(variantFor("any", v)?.label).toBe("any");
    expect(variantFor({ quorum: 2 }, v)?.label).toBe("quorum");
    expect(variantFor(undefined, v)).toBeUndefined();
    expect(blank(v[2]!.schema, wait)).toEqual({ quorum: 1 });
    const voter: ParamSchema = { type: ["string", "object"], properties: { agent: { type: "string" }, name: { type: "string" } } };
    const list = variantsOf(voter, voter);
    expect([variantFor("sceptic", list)?.label, variantFor({ agent: "x" }, list)?.label]).toEqual(["text", "agent, name"]);
  });
  it("follows $ref and keeps the order and need of the schema", () => {
    const s: ParamSchema = { type: "object", required: ["b"], properties: { a: { $ref: "#/$defs/x", title: "Own" }, b: { type: "integer" } }, $defs: { x: { type: "boolean", title: "X" } } };
    expect(entriesOf(s).map((e) => [e.name, e.widget, e.required, e.schema.title])).toEqual([["a", "boolean", false, "Own"], ["b", "integer", true, undefined]]);
  });
  it("reads figures with their bounds, and templates where they may be", () => {
    const s: ParamSchema = { type: "integer", minimum: 1, maximum: 5 };
    expect([readNumber(" 3 ", s), readNumber("", s), readNumber("{{ input.n }}", s)]).toEqual([{ ok: true, value: 3 }, { ok: true, value: undefined }, { ok: true, value: "{{ input.n }}" }]);
    expect([readNumber("0", s), readNumber("9", s), readNumber("1.5", s), readNumber("x", s), readNumber("0", { type: "number", exclusiveMinimum: 0 })]).toMatchObject([{ why: "min", bound: 1 }, { why: "max" }, { why: "integer" }, { why: "number" }, { why: "min" }]);
    expect(readNumber("{{ x }}", { ...s, "x-constant": true })).toMatchObject({ why: "constant" });
    expect(['{"a":1}', "[1", "12", "twelve", "{{ input.x }}", " "].map(readAny)).toEqual([{ a: 1 }, "[1", 12, "twelve", "{{ input.x }}", undefined] as (Json | undefined)[]);
    for (const v of ["12", 12, "true", true, "plain", "", '"quoted"', { a: 1 }, "{{ input.n }}", "[x"] as Json[]) expect(readAny(showFree(v)) ?? "").toEqual(v);
  });
});

describe("JSON with places", () => {
  it("knows the line of each value", () => {
    const r = readJson('{\n  "nodes": [\n    { "id": "a" },\n    { "id": "b" }\n  ]\n}');
    if (!r.ok) throw new Error("reads");
    expect([lineOf(r.spots, "/nodes/1/id"), lineOf(r.spots, "/nodes"), lineOf(r.spots, "/nodes/1/params/prompt"), lineOf(r.spots, "/inputs")]).toEqual([4, 2, 4, 1]);
  });
  it("says on which line it ends to be JSON", () => {
    const where = (t: string) => {
      const r = readJson(t);
      return r.ok ? null : [r.at.line, r.at.column, r.expected];
    };
    expect(where('{\n "a": 1\n "b": 2 }')).toEqual([3, 2, ", }"]);
    expect(where('{ "a": tru }')).toEqual([1, 8, "value"]);
    expect(where('[1, 2,]')).toEqual([1, 7, "value"]);
    expect(where('{ "a": 1 } x')).toEqual([1, 12, "end"]);
    expect(where('{ "a": 1, "a": 2 }')).toEqual([1, 11, "unique"]);
    expect(where('["a\n"]')).toEqual([1, 2, "end-of-text"]);
  });
  it("agrees with the browser's own reader", () => {
    const t = JSON.stringify(council(), null, 2);
    const r = readJson(t);
    expect(r.ok && r.value).toEqual(JSON.parse(t));
  });
});
