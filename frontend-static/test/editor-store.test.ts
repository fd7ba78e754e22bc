/* The editor's store against a server of a few lines, and the small pure parts around it. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { api } from "../src/api/client";
import type { Definition, Workflow } from "../src/api/types";
import { allDrafts, readDraft, writeDraft } from "../src/state/drafts";
import { changedParts, diffLines } from "../src/pages/editor/diff";
import { arranged, freePlace, neighbour, placesOf, withPlaces } from "../src/pages/editor/places";
import { references } from "../src/pages/editor/refs";
import { EditorStore } from "../src/pages/editor/store";
import * as m from "../src/pages/editor/model";

const kept = new Map<string, string>();
const storage = {
  getItem: (k: string) => kept.get(k) ?? null,
  setItem: (k: string, v: string) => void kept.set(k, v),
  removeItem: (k: string) => void kept.delete(k),
  key: (i: number) => [...kept.keys()][i] ?? null,
  get length() {
    return kept.size;
  },
};
const def = (text = "x"): Definition => ({ sluice: 1, name: "flow", nodes: [{ id: "a", type: "template", params: { text } }], edges: [] });
const saved: Workflow = { name: "flow", version: 3, definition: def() };
let calls: { method: string; path: string; body: unknown }[] = [];
let answer: (method: string, path: string, body: unknown) => unknown = () => ({ valid: true, errors: [], warnings: [] });

beforeEach(() => {
  kept.clear();
  calls = [];
  vi.useFakeTimers();
  vi.stubGlobal("localStorage", storage);
  vi.spyOn(api, "request").mockImplementation((async (method: string, path: string, o: { body?: unknown } = {}) => {
    calls.push({ method, path, body: o.body });
    return answer(method, path, o.body);
  }) as never);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});
const typed = (s: EditorStore, text: string) => s.edit(m.setNode(s.def, [], "a", (n) => m.setParam(n, "text", text)), "text of a", { tag: "a/text" });

describe("the editor's store", () => {
  it("knows when it differs from the server, and keeps the difference as a draft", async () => {
    const s = new EditorStore("flow", new Map(), saved, saved.definition, "opened");
    expect(s.dirty()).toBe(false);
    typed(s, "y");
    expect(s.dirty()).toBe(true);
    await vi.advanceTimersByTimeAsync(1000);
    expect(readDraft("flow")).toMatchObject({ base: 3, definition: { nodes: [{ params: { text: "y" } }] } });
    typed(s, "x");
    await vi.advanceTimersByTimeAsync(1000);
    expect([s.dirty(), readDraft("flow")]).toEqual([false, null]);
  });
  it("asks once after a burst of changes, and says where the problem is", async () => {
    answer = () => ({ valid: false, errors: [{ pointer: "/nodes/0/params/text", message: "no" }], warnings: [{ pointer: "/limits", message: "hm" }] });
    const s = new EditorStore("flow", new Map(), saved, saved.definition, "opened");
    await vi.advanceTimersByTimeAsync(10);
    calls = [];
    for (const t of ["1", "12", "123"]) {
      typed(s, t);
      await vi.advanceTimersByTimeAsync(50);
    }
    expect(calls.length).toBe(0);
    await vi.advanceTimersByTimeAsync(600);
    expect(calls.map((c) => c.path)).toEqual(["/workflows/validate"]);
    expect(s.state.get().problems).toMatchObject([{ level: "error", place: { node: "a", rest: ["params", "text"] } }, { level: "warning", place: { node: null, rest: ["limits"] } }]);
  });
  it("selects nothing that is gone after an undo", () => {
    const s = new EditorStore("flow", new Map(), saved, saved.definition, "opened");
    const r = m.addNode(s.def, [], "loop", new Map(), null);
    s.edit(r.def, "add", { select: [r.id] });
    s.enter(["loop"]);
    expect(s.undo()).toBe("add");
    expect([s.state.get().scope, s.state.get().nodes.size]).toEqual([[], 0]);
    expect(s.redo()).toBe("add");
    expect(s.redo()).toBeNull();
  });
  it("saves a new one by POST, the next version by PUT, and clears the draft", async () => {
    answer = (method) => (method === "POST" ? { name: "flow", version: 1 } : { name: "flow", version: 4 });
    const fresh = new EditorStore("~1", new Map(), null, def(), "opened");
    fresh.keepNow();
    expect(allDrafts().map((d) => d.key)).toEqual(["~1"]);
    expect(await fresh.save()).toMatchObject({ version: 1 });
    expect([allDrafts().length, fresh.dirty()]).toEqual([0, false]);
    const s = new EditorStore("flow", new Map(), saved, saved.definition, "opened");
    typed(s, "z");
    await s.save();
    expect(calls.at(-1)).toMatchObject({ method: "PUT", path: "/workflows/flow", body: { definition: { name: "flow" } } });
    expect(s.state.get().base).toBe(4);
  });
  it("keeps a draft of nothing but definitions", () => {
    writeDraft({ key: "flow", base: 1, at: 1, definition: def() });
    kept.set("sluice.draft.broken", "{");
    kept.set("sluice.theme", '"dark"');
    expect(allDrafts().map((d) => d.key)).toEqual(["flow"]);
  });
});

describe("places", () => {
  const g = { nodes: [{ id: "a", type: "x" }, { id: "b", type: "x" }, { id: "c", type: "x" }], edges: [{ from: "a", to: "b" }, { from: "a", to: "c" }] };
  it("are laid out from left to right when the definition has none, and written all at once", () => {
    const p = arranged(g);
    expect(p.get("b")!.x).toBe(p.get("c")!.x);
    expect(p.get("b")!.x).toBeGreaterThan(p.get("a")!.x);
    expect(Math.abs(p.get("b")!.y - p.get("c")!.y)).toBeGreaterThanOrEqual(60);
    const d = withPlaces({ name: "x", ...g }, [], g);
    expect(d.nodes.every((n) => n.position)).toBe(true);
    expect(placesOf(d)).toEqual(p);
  });
  it("walk by arrows", () => {
    const p = placesOf(g);
    const [up, down] = p.get("b")!.y < p.get("c")!.y ? ["b", "c"] : ["c", "b"];
    expect([up, down]).toContain(neighbour(p, "a", "ArrowRight"));
    expect(neighbour(p, up!, "ArrowDown")).toBe(down);
    expect(neighbour(p, down!, "ArrowLeft")).toBe("a");
    expect(neighbour(p, "a", "ArrowLeft")).toBeNull();
    const free = freePlace(p, "a");
    expect([...p.values()].some((q) => Math.abs(q.x - free.x) < 200 && Math.abs(q.y - free.y) < 58)).toBe(false);
  });
});

describe("references", () => {
  const d: Definition = {
    name: "x",
    inputs: { type: "object", properties: { "the topic": {}, n: {} } },
    nodes: [
      { id: "a", type: "llm", params: { response_format: { type: "json_schema", schema: { properties: { score: {} } } } } },
      { id: "l", type: "loop", params: { body: { nodes: [{ id: "p", type: "llm" }, { id: "q", type: "template" }], edges: [{ from: "p", to: "q" }] } } },
      { id: "z", type: "template" },
    ],
    edges: [{ from: "a", to: "l" }, { from: "l", to: "z" }],
  } as never;
  const codes = (scope: string[], id: string | null, provides: string[] = []) => references(d, scope, id, new Map(), provides).map((r) => r.code);
  it("are what stands above, also around the container", () => {
    expect(codes([], "a")).toEqual(["input['the topic']", "input.n", "run.id", "run.project", "run.started_at"]);
    const q = codes(["l"], "q");
    expect(q).toEqual(expect.arrayContaining(["nodes.p.text", "nodes.a.json.score", "loop.index", "loop.last and loop.last.q.text or ''"]));
    expect(q).not.toContain("nodes.z.text");
    expect(codes([], "z")).toEqual(expect.arrayContaining(["nodes.l.last.p.text", "nodes.l.rounds"]));
    expect(codes([], null)).toContain("nodes.z.text");
    expect(codes([], "l", ["body"])).toContain("nodes.q.text");
  });
});

describe("differences between versions", () => {
  it("are told line by line, with what stands around", () => {
    const a = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    const b = ["1", "2", "3", "4", "five", "6", "7", "8", "9"];
    const all = diffLines(a, b);
    expect(all.filter((l) => l.kind !== "new").map((l) => l.text)).toEqual(a);
    expect(all.filter((l) => l.kind !== "gone").map((l) => l.text)).toEqual(b);
    expect(changedParts(all, 1).map((l) => l && l.text)).toEqual([null, "4", "5", "five", "6"]);
    expect(changedParts(diffLines(a, a))).toEqual([]);
  });
});
