/* Workflows with people, voters, many items and a breaker in them, and how each plays. */
import { say } from "./fixtures.mjs";

const llm = (id, name, extra = {}) => ({ id, type: "llm", name, params: { agent: id, prompt: "…" }, ...extra });
const topic = { type: "object", properties: { topic: { type: "string", minLength: 1 } }, required: ["topic"] };
const wait = (r, ms) => r.sleep(ms);

export const operatorWorkflows = [
  {
    name: "sign-off",
    version: 1,
    definition: {
      sluice: 1, name: "sign-off", description: "A report is drafted; a person approves, changes or rejects it.", inputs: topic,
      nodes: [llm("report", "Report"), { id: "check", type: "human_review", name: "Sign-off", params: { draft: "{{ nodes.report.text }}", instructions: "Are the figures right?", timeout_s: 240, allow_skip: true } }, { id: "go", type: "wait_signal", name: "Release", params: { signal: "release" } }, { id: "send", type: "template", name: "Send" }],
      edges: [{ from: "report", to: "check" }, { from: "check", to: "go" }, { from: "go", to: "send" }],
    },
    async script(r) {
      for (const n of this.definition.nodes) r.node(n.id, n.type, "pending");
      await r.llm("report", say.third);
      const a = await r.review("check", { draft: say.third, instructions: "Are the figures right?", allow_skip: true, seconds: 240 });
      if (a.action === "reject") throw Object.assign(new Error(`Rejected by ${a.reviewer}: ${a.reason}`), { code: "rejected", node: "check" });
      await r.awaitSignal("go", "release");
      await r.quick("send", "template", { text: a.content ?? say.third });
      r.exec("completed", { outputs: { text: a.content ?? say.third, action: a.action } });
    },
  },
  {
    name: "triage-form",
    version: 1,
    definition: {
      sluice: 1, name: "triage-form", description: "A ticket is sorted; a person fills in a form.", inputs: topic,
      nodes: [llm("sort", "Sort"), { id: "form", type: "human_review", name: "Triage", params: { draft: "…" } }],
      edges: [{ from: "sort", to: "form" }],
    },
    async script(r) {
      for (const n of this.definition.nodes) r.node(n.id, n.type, "pending");
      await r.llm("sort", "Looks like a billing question, not urgent.");
      const a = await r.review("form", {
        draft: { urgent: false, team: "billing", note: "Asked about an invoice." }, instructions: "Correct what the model got wrong.", allow_skip: false, seconds: null,
        fields: { type: "object", properties: { team: { type: "string", enum: ["billing", "support", "sales"], title: "Team" }, urgent: { type: "boolean", title: "Urgent" }, note: { type: "string", title: "Note", maxLength: 300 } }, required: ["team"] },
      });
      r.exec("completed", { outputs: { ticket: a.content ?? { urgent: false, team: "billing" } } });
    },
  },
  {
    name: "panel-vote",
    version: 1,
    definition: {
      sluice: 1, name: "panel-vote", description: "Three voters decide on a motion.", inputs: topic,
      nodes: [{ id: "panel", type: "vote", name: "Panel", params: { voters: ["advocate", "sceptic", "judge"], question: "{{ input.topic }}", kind: "yes_no" } }, llm("say", "Announce")],
      edges: [{ from: "panel", to: "say" }],
    },
    async script(r) {
      for (const n of this.definition.nodes) r.node(n.id, n.type, "pending");
      r.node("panel", "vote", "running", { attempt: 1 });
      await Promise.all([["advocate", "yes", "The gains are shown."], ["sceptic", "no", "Not where presence is the product."], ["judge", "yes", "On balance, with staggered days."]].map(async ([v, vote, reason]) => {
        await r.llm("panel#1/" + v, `${reason}\n\nVote: **${vote}**`);
        r.emit("vote:cast", { node_id: "panel", voter: v, vote, reason });
      }));
      r.node("panel", "vote", "completed", { attempt: 1, output: { passed: true, tally: { yes: 2, no: 1 } } });
      await r.llm("say", "The motion is carried, two to one.");
      r.exec("completed", { outputs: { passed: true } });
    },
  },
  {
    name: "many-items",
    version: 1,
    definition: {
      sluice: 1, name: "many-items", description: "Twelve items, three at a time; one is held back by a limit, one fails, one is cached.", inputs: { type: "object", properties: {} },
      nodes: [{ id: "each", type: "map", name: "Each", params: { items: "{{ input.items }}", concurrency: 3, body: { nodes: [llm("ask", "Ask", { retry: { max: 3 } }), { id: "note", type: "template", name: "Note" }], edges: [{ from: "ask", to: "note" }] } } }],
      edges: [],
    },
    async script(r) {
      r.node("each", "map", "pending");
      r.node("each", "map", "running", { attempt: 1 });
      let done = 0;
      let failed = 0;
      let next = 1;
      const one = async (i) => {
        const p = `each#${i}/`;
        r.node(p + "ask", "llm", "pending");
        r.node(p + "note", "template", "pending");
        if (i % 5 === 4) {
          r.node(p + "ask", "llm", "pending", { reason: "rate limit of profile fast, free in 2 s" });
          await wait(r, 1500);
        }
        if (i === 7) {
          r.node(p + "ask", "llm", "running", { attempt: 1 });
          r.node(p + "ask", "llm", "failed", { attempt: 1, error: { code: "content_filtered", message: "The provider refused the prompt." } });
          r.node(p + "note", "template", "skipped", { reason: "ask failed" });
          failed++;
        } else if (i === 5) {
          r.node(p + "ask", "llm", "running", { attempt: 1 });
          r.node(p + "ask", "llm", "completed", { attempt: 1, cached: true, reason: "cached", output: { text: "Item 5, from the cache.", cached: true } });
        } else await r.llm(p + "ask", `Item ${i}: ${say.third.slice(0, 160)}`, { failFirst: i === 2 });
        if (i !== 7) await r.quick(p + "note", "template", { text: "…" }, 20);
        r.emit("progress", { node_id: "each", done: ++done, of: 12, failed });
      };
      await Promise.all([1, 2, 3].map(async () => {
        while (next <= 12) await one(next++);
      }));
      r.node("each", "map", "completed", { attempt: 1, output: { count: 12, failed } });
      r.exec("completed", { outputs: { count: 12, failed } });
    },
  },
  {
    name: "long-loop",
    version: 1,
    definition: {
      sluice: 1, name: "long-loop", description: "A loop that regresses, is rolled back and stagnates; a loop inside a loop.", inputs: { type: "object", properties: {} }, limits: { max_tokens: 20000, max_cost_usd: 0.5 },
      nodes: [{ id: "outer", type: "loop", name: "Chapters", params: { max_rounds: 2, body: { nodes: [{ id: "inner", type: "loop", name: "Polish", params: { max_rounds: 6, exit_on_score: { at_least: 90 }, body: { nodes: [llm("write", "Write"), llm("grade", "Grade")], edges: [{ from: "write", to: "grade" }] } } }], edges: [] } } }],
      edges: [],
    },
    async script(r) {
      r.node("outer", "loop", "pending");
      r.node("outer", "loop", "running", { attempt: 1 });
      for (let o = 1; o <= 2; o++) {
        const inner = `outer#${o}/inner`;
        r.node(inner, "loop", "pending");
        r.node(inner, "loop", "running", { attempt: 1 });
        const scores = o === 1 ? [58, 71, 62, 74, 75, 75] : [66, 81, 93];
        let best = { round: 0, score: -1 };
        for (let i = 1; i <= scores.length; i++) {
          const p = `${inner}#${i}/`;
          r.node(p + "write", "llm", "pending");
          r.node(p + "grade", "llm", "pending");
          await r.llm(p + "write", say.third);
          await r.llm(p + "grade", `Score: ${scores[i - 1]}`);
          if (scores[i - 1] > best.score) best = { round: i, score: scores[i - 1] };
          const note = o === 1 ? { 3: "rollback", 5: "stagnation", 6: "stagnation" }[i] : undefined;
          const exit = i === scores.length;
          r.emit("loop:round", { node_id: inner, round: i, of: 6, score: scores[i - 1], best_round: best.round, best_score: best.score, target: 90, decision: exit ? "exit" : "continue", ...(exit ? { exit_reason: o === 1 ? "stagnation" : "score" } : {}), ...(note ? { note } : {}) });
        }
        r.node(inner, "loop", "completed", { attempt: 1, output: { rounds: scores.length } });
        r.emit("loop:round", { node_id: "outer", round: o, of: 2, score: null, best_round: null, best_score: null, decision: o === 2 ? "exit" : "continue", ...(o === 2 ? { exit_reason: "max_rounds" } : {}) });
      }
      r.node("outer", "loop", "completed", { attempt: 1, output: { rounds: 2 } });
      r.exec("completed", { outputs: { chapters: 2 } });
    },
  },
  {
    name: "surge",
    version: 1,
    definition: { sluice: 1, name: "surge", description: "A model that does not stop; the run breaker does.", inputs: { type: "object", properties: {} }, limits: { max_tokens: 4000 }, nodes: [llm("talk", "Talk"), llm("end", "Sum up")], edges: [{ from: "talk", to: "end" }] },
    async script(r) {
      for (const n of this.definition.nodes) r.node(n.id, n.type, "pending");
      await r.trip("talk", "and so on ".repeat(60), { reason: "LOOP_DETECTED", message: "The last 40 words were said 15 times over.", measured: 15, limit: 8 });
      await r.llm("talk", say.third);
      await r.llm("end", "In short: less.");
      r.exec("completed", { outputs: { text: "In short: less." } });
    },
  },
];
