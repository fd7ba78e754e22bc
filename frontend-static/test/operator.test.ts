import { describe, expect, it } from "vitest";
import { limitRows, readLimits, readRuns, runFields } from "../src/pages/admin/limits-form";
import { draftOf, readAgent, switchesOf, withSwitch } from "../src/pages/agents/form";
import { profileDraft, readProfile } from "../src/pages/models/form";
import { readPrices } from "../src/pages/models/prices";
import { cachesOf } from "../src/util/caches";
import type { FullProfile } from "../src/api/ops";

describe("a persona", () => {
  const agent = { name: "judge", profile: "fast", system: "Decide.", description: "d", params: { temperature: 0, top_p: 0.9 } };
  it("comes back as it was", () => {
    const d = draftOf(agent);
    expect(d).toMatchObject({ temperature: "0", max_tokens: "", other: '{\n  "top_p": 0.9\n}' });
    expect(readAgent(d, new Set())).toEqual({ body: { profile: "fast", system: "Decide.", description: "d", params: { temperature: 0, top_p: 0.9 } }, errors: {} });
  });
  it("says what is missing, all at once", () => {
    expect(readAgent({ ...draftOf(null), name: "A b", temperature: "hot", max_tokens: "1.5", other: "[1]" }, new Set()).errors).toEqual({ name: "name", system: "system", temperature: "number", max_tokens: "number", other: "object" });
    expect(readAgent({ ...draftOf(agent), name: "sceptic" }, new Set(["sceptic"])).errors).toEqual({ name: "taken" });
  });
  it("without a profile speaks through the default one", () => {
    expect(readAgent({ ...draftOf(null), name: "x", system: "s" }, new Set()).body).toEqual({ system: "s" });
    const switched = { ...draftOf({ name: "x", system: "s", tools: { web_search: false } }), tools: withSwitch(withSwitch({ web_search: false }, "code_execution", true), "web_search", null) };
    expect(readAgent(switched, new Set()).body.tools).toEqual({ code_execution: true });
    expect(switchesOf([{ name: "workflow:NAME", description: "", parameters: {}, default: "on", available: true }], { gone: true })).toEqual([{ name: "workflow", usual: "on" }, { name: "gone", usual: null }]);
  });
});

describe("a profile", () => {
  const p: FullProfile = { name: "fast", provider: "openai", model: "m", base_url: "https://api.openai.com/v1", kind: "chat", origin: "stored", keys: ["…k3Qd"], params: { temperature: 0.3, thinking: "low" }, limits: { rpm: 500 }, timeouts: { idle_ms: 30000 }, fallbacks: ["b"], price: { input_usd_per_1m: 0, output_usd_per_1m: 2 }, default: true };
  const none = new Set<string>();
  it("leaves the stored keys alone unless told otherwise, and never sends what it was shown of them", () => {
    const d = profileDraft(p);
    const { body, errors } = readProfile(d, none, "https://api.openai.com/v1/");
    expect(errors).toEqual({});
    expect(body).toEqual({ provider: "openai", model: "m", kind: "chat", params: { temperature: 0.3, thinking: "low" }, limits: { rpm: 500 }, timeouts: { idle_ms: 30000 }, price: { input_usd_per_1m: 0, output_usd_per_1m: 2 }, fallbacks: ["b"], default: true });
    expect(JSON.stringify(body)).not.toContain("k3Qd");
    expect(readProfile({ ...d, keys: [" sk-1 ", "", "sk-2"] }, none, null).body["api_keys"]).toEqual(["sk-1", "sk-2"]);
    expect(readProfile({ ...d, keys: ["sk-1"], dropKeys: true }, none, null).body["api_keys"]).toEqual([]);
  });
  it("sends an address only when it is not the provider's own", () => {
    expect(readProfile({ ...profileDraft(p), base_url: "http://127.0.0.1:1/v1/" }, none, "https://api.openai.com/v1").body["base_url"]).toBe("http://127.0.0.1:1/v1");
  });
  it("says what is wrong with its figures", () => {
    const d = profileDraft(null);
    expect(readProfile({ ...d, name: "9.x", figures: { ...d.figures, rpm: "0", tpm: "x", temperature: "0", output_usd_per_1m: "1" } }, none, null).errors).toEqual({ model: "model", rpm: "number", tpm: "number", input_usd_per_1m: "number" });
    expect(readProfile({ ...d, name: "-x", model: "m" }, none, null).errors).toEqual({ name: "name" });
  });
});

describe("limits", () => {
  it("come back as they were, the star first", () => {
    const l = { projects: { b: { max_cost_usd: 2.5, period: "day" as const }, "*": { rpm: 300 } } };
    expect(limitRows(l).map((r) => r.project)).toEqual(["*", "b"]);
    expect(readLimits(limitRows(l))).toEqual(l);
  });
  it("need a project of their own, figures above zero, and a period with a sum", () => {
    const row = { project: "a", rpm: "1", tpm: "", max_tokens: "", max_cost_usd: "", period: "" };
    expect(readLimits([row])).toEqual({ projects: { a: { rpm: 1 } } });
    for (const bad of [{ project: " " }, { rpm: "" }, { rpm: "0" }, { rpm: "1.5" }, { period: "day" }, { max_tokens: "9" }]) expect(readLimits([{ ...row, ...bad }]), JSON.stringify(bad)).toBeNull();
    expect(readLimits([row, row])).toBeNull();
  });
});

describe("limits of runs", () => {
  it("come back as they were, with the names the form does not show", () => {
    const l = { runs: { max_running: 4, per_project: 2, projects: { a: 1 }, workflows: { slow: 1 } }, workers: 3 };
    expect(readRuns(runFields(l), l)).toEqual(l);
    expect(readRuns({ ...runFields(l), max_running: "", workers: "" }, { runs: { max_running: 4 } })).toEqual({ runs: { per_project: 2 } });
    for (const bad of ["0", "-1", "1.5", "x"]) expect(readRuns({ ...runFields(l), max_queued: bad }, l), bad).toBeNull();
  });
});

describe("prices", () => {
  const row = { model: "m", provider: "", input: "0", output: "2", cached: "", as_of: "" };
  it("may be nothing but not less, and empty rows are no rows", () => {
    expect(readPrices([row, { model: "", provider: "", input: "", output: "", cached: "", as_of: "" }])).toEqual([{ model: "m", input_usd_per_1m: 0, output_usd_per_1m: 2 }]);
    for (const bad of [{ model: "" }, { input: "" }, { output: "-1" }, { cached: "x" }]) expect(readPrices([{ ...row, ...bad }]), JSON.stringify(bad)).toBeNull();
  });
});

describe("caches", () => {
  it("are read wherever the answer keeps them", () => {
    const c = { entries: 1, bytes: 2, hits: 3, misses: 4 };
    expect(cachesOf({ caches: { response: c } })).toEqual([["response", c]]);
    expect(cachesOf({ response: c, since: "x" })).toEqual([["response", c]]);
  });
});
