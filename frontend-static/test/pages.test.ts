import { LANGUAGES } from "../src/i18n";
import { describe, expect, it } from "vitest";
import type { Definition, RunNode } from "../src/api/types";
import { ApiError } from "../src/api/client";
import type { BulkAnswer } from "../src/api/ops";
import { fitting, giveEach, range } from "../src/pages/bulk";
import { fieldOfPointer, fieldsOf, initialDraft, readDraft } from "../src/pages/form";
import { edgeState } from "../src/pages/run/edges";
import { layout, NODE_H } from "../src/pages/run/layout";
import { layersOf, locate, roundsOf, splitPath } from "../src/pages/run/paths";
import { groupsOf, shownText } from "../src/pages/run/text";
import { NodeStream } from "../src/live/stream";
import { parseRoute } from "../src/state/router";
import { duration, usd } from "../src/util/format";
import { parseBlocks } from "../src/ui/markdown";

const n = (id: string, type = "llm", body?: Definition) => ({ id, type, params: body ? { body } : {} }) as Definition["nodes"][number];
const def = {
  name: "d",
  nodes: [n("history", "memory_retrieval"), n("refine", "loop", { nodes: [n("pro"), n("con"), n("both", "join"), n("judge")], edges: [{ from: "pro", to: "both" }, { from: "con", to: "both" }, { from: "both", to: "judge" }] } as unknown as Definition), n("end", "template")],
  edges: [{ from: "history", to: "refine" }, { from: "refine", to: "end" }],
} as Definition;
const at = (path: string, status: RunNode["status"], started_at?: string): RunNode => ({ path, type: "llm", status, attempt: 1, started_at });

describe("node paths", () => {
  it("find their node through containers and rounds", () => {
    expect(splitPath("refine#2/judge")).toEqual([{ id: "refine", index: 2 }, { id: "judge", index: null }]);
    expect(locate(def, "refine#2/judge")?.node.id).toBe("judge");
    expect(locate(def, "refine#2/nobody")).toBeNull();
    expect(roundsOf(["refine", "refine#2/pro", "refine#10/pro", "refine#2/con", "refined#7/x"], "refine")).toEqual([2, 10]);
  });
});

describe("the layout", () => {
  it("puts what depends on something after it, and bodies inside their container", () => {
    for (const dir of ["down", "right"] as const) {
      const p = new Map(layout(def, dir).map((x) => [x.key, x]));
      const main = (k: string) => (dir === "down" ? p.get(k)!.y : p.get(k)!.x);
      expect(main("history")).toBeLessThan(main("refine"));
      expect(main("refine")).toBeLessThan(main("end"));
      expect(main("refine/pro")).toBe(main("refine/con"));
      expect(main("refine/both")).toBeLessThan(main("refine/judge"));
      const box = p.get("refine")!;
      for (const k of ["pro", "con", "both", "judge"]) {
        const c = p.get("refine/" + k)!;
        expect(c.parent).toBe("refine");
        expect(c.x).toBeGreaterThanOrEqual(0);
        expect(c.x + c.width).toBeLessThanOrEqual(box.width);
        expect(c.y + c.height).toBeLessThanOrEqual(box.height);
      }
    }
  });

  it("lets no two nodes of a layer overlap", () => {
    const wide = { name: "w", nodes: Array.from({ length: 9 }, (_, i) => n("x" + i)), edges: [] } as unknown as Definition;
    const ys = layout(wide, "right").map((p) => p.y).sort((a, b) => a - b);
    for (let i = 1; i < ys.length; i++) expect(ys[i]! - ys[i - 1]!).toBeGreaterThanOrEqual(NODE_H);
  });

  it("survives a graph that is not acyclic", () => {
    expect(layersOf({ nodes: [n("a"), n("b")], edges: [{ from: "a", to: "b" }, { from: "b", to: "a" }] }).size).toBe(2);
  });
});

describe("an edge", () => {
  const e = { from: "a", to: "b" };
  it("is taken, dead or open as its ends tell", () => {
    expect(edgeState(e, at("a", "running"), at("b", "pending"))).toBe("pending");
    expect(edgeState(e, at("a", "completed"), at("b", "pending"))).toBe("taken");
    expect(edgeState(e, at("a", "skipped"), at("b", "running"))).toBe("dead");
    expect(edgeState(e, at("a", "completed"), at("b", "skipped"))).toBe("dead");
    expect(edgeState({ ...e, case: "no" }, { ...at("a", "completed"), output: { case: "yes" } }, at("b", "pending"))).toBe("dead");
    expect(edgeState({ ...e, when: "x" }, at("a", "completed"), at("b", "pending"))).toBe("pending");
  });
});

describe("the words", () => {
  it("stand side by side when their nodes share a layer and a round", () => {
    const nodes = new Map([at("refine#1/pro", "completed", "1"), at("refine#1/con", "running", "2"), at("refine#1/judge", "pending")].map((x) => [x.path, x]));
    const g = groupsOf(def, nodes, [...nodes.keys()], []);
    expect(g.map((x) => x.paths)).toEqual([["refine#1/pro", "refine#1/con"]]);
    expect(g[0]!.prefix).toBe("refine#1");
  });

  it("are the recorded ones when the stream differs, and the longer story when tools were used", () => {
    const s = new NodeStream();
    s.apply({ node_id: "a", attempt: 1, offset: 0, end: 5, chunk: "calls" });
    expect(shownText(at("a", "running"), s).text).toBe("calls");
    expect(shownText({ ...at("a", "completed"), output: { text: "calls and more" } }, s).text).toBe("calls and more");
    expect(shownText({ ...at("a", "completed"), output: { text: "ls" } }, s).text).toBe("calls");
  });
});

describe("the form", () => {
  const fields = fieldsOf({ properties: { topic: { type: "string", minLength: 2 }, n: { type: "integer", minimum: 1 }, kind: { enum: ["a", "b"], default: "b" }, deep: { type: "object" }, yes: { type: "boolean" }, text: { type: "string" } }, required: ["topic"] });
  it("chooses the control from the schema", () => {
    expect(fields.map((f) => f.kind)).toEqual(["line", "integer", "choice", "json", "boolean", "text"]);
  });
  it("reads values back in their types and leaves out what is empty", () => {
    expect(readDraft(fields, { ...initialDraft(fields), topic: "cars", n: "3", deep: '{"a":1}' })).toEqual({ inputs: { topic: "cars", n: 3, kind: "b", deep: { a: 1 }, yes: false }, errors: {} });
  });
  it("says what is wrong, per field", () => {
    expect(readDraft(fields, { ...initialDraft(fields), topic: " ", n: "0", deep: "{" }).errors).toEqual({ topic: "required", n: { min: 1 }, deep: "json" });
    expect([fieldOfPointer("/inputs/topic"), fieldOfPointer("/topic"), fieldOfPointer("/inputs/a~1b")]).toEqual(["topic", "topic", "a/b"]);
  });
});

describe("orders for many runs", () => {
  const rows = ["d", "c", "b", "a"].map((id) => ({ id }));
  it("take the rows in between, in whichever direction", () => {
    expect(range(rows, "c", "a")).toEqual(["c", "b", "a"]);
    expect(range(rows, "b", "d")).toEqual(["d", "c", "b"]);
    expect(range(rows, "gone", "b")).toEqual(["b"]);
  });
  it("are for the states of the filter they can be for", () => {
    expect(fitting("retry", "")).toEqual(["failed", "cancelled"]);
    expect(fitting("cancel", "running,failed")).toEqual(["running"]);
    expect(fitting("resume", "failed")).toEqual([]);
  });
  it("are for at most 200 runs each, and each refusal has its reason", async () => {
    const runs = Array.from({ length: 450 }, (_, i) => ({ id: "r" + i, workflow: "w" + i }));
    const sent: number[] = [], told: number[] = [];
    const answer = (ids: readonly string[]): BulkAnswer => ({ matched: ids.length, done: ids.length - 1, refused: 1, more: false, refusals: [{ id: ids[1]!, state: "failed", code: "conflict", message: "has failed" }] });
    const out = await giveEach(runs, async (ids) => {
      sent.push(ids.length);
      if (sent.length === 3) throw new ApiError(503, "unavailable", "Not now.", null, [], null, null);
      return answer(ids);
    }, (n) => told.push(n));
    expect(sent).toEqual([200, 200, 50]);
    expect(told).toEqual([200, 400, 450]);
    expect(out).toMatchObject({ done: 398, refused: 52, more: false });
    expect(out.reasons.slice(0, 3)).toEqual([{ id: "r1", workflow: "w1", why: "has failed" }, { id: "r201", workflow: "w201", why: "has failed" }, { id: "r400", workflow: "w400", why: "Not now." }]);
    await expect(giveEach(runs, () => Promise.reject(new Error("no")), () => {})).rejects.toThrow("no");
  });
});

describe("small things", () => {
  it("both languages have every word, so both are offered", () => {
    expect(LANGUAGES.map((l) => l.id)).toEqual(["en", "zh-CN"]);
  });
  it("addresses", () => {
    expect(parseRoute("/", "?status=failed")).toEqual({ page: "runs", status: "failed", workflow: "", start: null });
    expect(parseRoute("/runs/abc", "?node=refine%232%2Fjudge")).toEqual({ page: "run", id: "abc", node: "refine#2/judge" });
    expect(parseRoute("/x/%E0%A4%A", "")).toMatchObject({ page: "area", area: "x" });
  });
  it("figures", () => {
    expect([duration(350), duration(4800), duration(83_000), duration(7_260_000)]).toEqual(["350 ms", "4.8 s", "1m 23s", "2h 01m"]);
    expect([usd(0), usd(0.0076), usd(0.51), usd(2), usd(12.345)]).toEqual(["$0", "$0.0076", "$0.510", "$2", "$12.35"]);
  });
  it("prose in blocks, also while it grows", () => {
    expect(parseBlocks("# T\n\npara\nmore\n- a\n- b\n\n```js\nx").map((b) => b.kind)).toEqual(["h", "p", "ul", "code"]);
    expect(parseBlocks("| a | b |\n|---|---|\n| 1 | 2 |").map((b) => b.kind)).toEqual(["table"]);
    expect(parseBlocks("<script>alert(1)</script>")).toEqual([{ kind: "p", text: "<script>alert(1)</script>" }]);
  });
});
