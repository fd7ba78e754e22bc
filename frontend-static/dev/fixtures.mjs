/* The workflows the stand-in server knows, and how each plays. */

export const think = {
  pro: "The topic asks for a position. I should begin with the strongest practical benefit, then deal with the usual objection about cost, and end on something measurable.",
  con: "What would a careful opponent say? Not that it never works, but that its costs are hidden and land on other people.",
};

export const say = {
  pro: `## The case for

A four-day week **is already an experiment with results**. Trials in several countries kept output steady while sick days fell.

- Focus improves when there is less time to fill.
- Recruiting becomes easier; leaving becomes rarer.
- The fifth day is not lost, it moves to where people live.

The usual objection is cost. But cost per *finished* piece of work is what matters, and that figure went down in most of the reported trials — naïve accounting misses it. ☕`,
  con: `## The case against

The trials chose themselves: firms that expected to succeed took part. That is not evidence, it is a *selection effect*.

1. Service work needs presence; a closed counter serves nobody.
2. Compressed weeks raise intensity, and intensity has its own price.
3. Gains fade: the second year rarely looks like the first.

| Sector | Effect reported |
|---|---|
| Software | small gain |
| Care | loss, covered by overtime |

So the honest answer is: for some, sometimes, and at the expense of others.`,
  third: `A third view: the question is put wrongly. Hours are an input; what a society buys with its productivity is a choice, and it can choose time.

\`\`\`
time = productivity × share
\`\`\`

Whoever argues about Fridays is arguing about that share.`,
  judge1: `Both sides argue well. The advocate names results but not their limits; the sceptic names limits but offers no alternative. **Score: 74.** Another round should settle whether the reported gains last.`,
  judge2: `The second round was better. The advocate conceded the selection effect and answered it with the staggered trials; the sceptic's point about service work stands.

> A four-day week is worth introducing where output can be measured, with staggered days where presence is the product.

**Score: 92.** The verdict is reached.`,
};

const topic = {
  type: "object",
  properties: {
    topic: { type: "string", title: "Topic", description: "What the two sides argue about.", minLength: 1, examples: ["Should cities ban private cars from their centres?"] },
    tone: { type: "string", enum: ["sober", "lively", "academic"], default: "sober" },
    rounds: { type: "integer", minimum: 1, maximum: 5, default: 3, description: "At most so many rounds." },
    background: { type: "string", maxLength: 4000, description: "Anything both sides should know." },
    cite: { type: "boolean", default: false, title: "Ask for sources" },
  },
  required: ["topic"],
};

const llm = (id, name, extra = {}) => ({ id, type: "llm", name, params: { agent: id, prompt: "…" }, ...extra });

export const workflows = [
  {
    name: "council-debate",
    version: 3,
    definition: {
      sluice: 1, name: "council-debate", description: "Two sides argue, a judge decides, until the verdict scores 90.", inputs: topic, limits: { max_cost_usd: 2 },
      nodes: [
        { id: "history", type: "memory_retrieval", name: "Earlier debates", params: { query: "{{ input.topic }}" } },
        { id: "refine", type: "loop", name: "Refine", params: { max_rounds: 3, body: {
          nodes: [llm("pro", "Advocate"), llm("con", "Sceptic"), { id: "both", type: "join", params: { wait: "all" } }, llm("judge", "Judge")],
          edges: [{ from: "pro", to: "both" }, { from: "con", to: "both" }, { from: "both", to: "judge" }] } } },
        { id: "verdict", type: "branch", name: "Clear verdict?", params: { cases: [] } },
        { id: "publish", type: "template", name: "Publish" },
        { id: "appeal", type: "human_review", name: "Appeal" },
      ],
      edges: [{ from: "history", to: "refine" }, { from: "refine", to: "verdict" }, { from: "verdict", to: "publish", case: "yes" }, { from: "verdict", to: "appeal", case: "no" }],
      outputs: { verdict: "…", rounds: "…" },
    },
    async script(r) {
      for (const n of this.definition.nodes) r.node(n.id, n.type, "pending");
      r.emit("memory_retrieved", { node_id: "history", query: r.run.inputs?.topic ?? "", count: 2, items: [{ id: "0193", tier: "long_term", verified: true, score: 0.83, excerpt: "Trials chose themselves: who expected to succeed took part." }, { id: "0194", tier: "working", verified: false, score: 0.71, excerpt: "Staggered days answered the objection about service work." }] });
      await r.quick("history", "memory_retrieval", { text: "", items: [] }, 350);
      r.node("refine", "loop", "running", { attempt: 1 });
      for (let i = 1; i <= 2; i++) {
        const p = `refine#${i}/`;
        for (const n of this.definition.nodes[1].params.body.nodes) r.node(p + n.id, n.type, "pending");
        let arrived = 0;
        const side = async (id, o) => {
          await r.llm(p + id, say[id], o);
          r.node(p + "both", "join", "waiting", { attempt: 1, arrived: ++arrived, expected: 2 });
        };
        await Promise.all([side("pro", { thinking: think.pro }), side("con", { thinking: think.con, failFirst: i === 1 })]);
        await r.quick(p + "both", "join", { merged: {}, arrived: 2 }, 30, { arrived: 2, expected: 2 });
        await r.llm(p + "judge", i === 1 ? say.judge1 : say.judge2, { json: { score: i === 1 ? 74 : 92 }, in: 900 });
        r.emit("loop:round", { node_id: "refine", round: i, of: 3, score: i === 1 ? 74 : 92, best_round: i, best_score: i === 1 ? 74 : 92, target: 90, decision: i === 1 ? "continue" : "exit", ...(i === 2 ? { exit_reason: "score" } : {}) });
      }
      r.node("refine", "loop", "completed", { attempt: 1, output: { rounds: 2, exit_reason: "score" } });
      await r.quick("verdict", "branch", { case: "yes" });
      r.node("appeal", "human_review", "skipped", { reason: "the branch chose 'yes'" });
      await r.quick("publish", "template", { text: "…" });
      r.exec("completed", { outputs: { verdict: "A four-day week is worth introducing where output can be measured, with staggered days where presence is the product.", score: 92, rounds: 2 } });
    },
  },
  {
    name: "three-voices",
    version: 1,
    definition: {
      sluice: 1, name: "three-voices", description: "Three models answer side by side; a fourth draws it together.",
      inputs: { type: "object", properties: { topic: { type: "string", minLength: 1 } }, required: ["topic"] },
      nodes: [{ id: "fan", type: "parallel" }, llm("optimist", "Optimist"), llm("pessimist", "Pessimist"), llm("realist", "Realist"), { id: "gather", type: "join", params: { wait: "all" } }, llm("summary", "Summary")],
      edges: [{ from: "fan", to: "optimist" }, { from: "fan", to: "pessimist" }, { from: "fan", to: "realist" }, { from: "optimist", to: "gather" }, { from: "pessimist", to: "gather" }, { from: "realist", to: "gather" }, { from: "gather", to: "summary" }],
    },
    async script(r) {
      for (const n of this.definition.nodes) r.node(n.id, n.type, "pending");
      await r.quick("fan", "parallel", { branches: 3 });
      let arrived = 0;
      await Promise.all([["optimist", say.pro], ["pessimist", say.con], ["realist", say.third]].map(async ([id, text]) => {
        await r.llm(id, text);
        r.node("gather", "join", "waiting", { attempt: 1, arrived: ++arrived, expected: 3 });
      }));
      await r.quick("gather", "join", { merged: [] }, 30, { arrived: 3, expected: 3 });
      await r.llm("summary", say.judge2);
      r.exec("completed", { outputs: { text: say.judge2 } });
    },
  },
  {
    name: "fragile",
    version: 2,
    definition: {
      sluice: 1, name: "fragile", description: "Fails on purpose, to see what a failure looks like.", inputs: { type: "object", properties: {} },
      nodes: [llm("draft", "Draft"), { id: "send", type: "http", name: "Send" }, { id: "done", type: "template" }],
      edges: [{ from: "draft", to: "send" }, { from: "send", to: "done" }],
    },
    async script(r) {
      for (const n of this.definition.nodes) r.node(n.id, n.type, "pending");
      await r.llm("draft", say.third);
      r.node("send", "http", "running", { attempt: 1 });
      await new Promise((f) => setTimeout(f, 600));
      r.node("send", "http", "failed", { attempt: 1, error: { code: "egress_refused", message: "10.0.0.7 is a private address; nodes may not reach it." } });
      r.node("done", "template", "skipped", { reason: "send failed" });
      throw Object.assign(new Error("10.0.0.7 is a private address; nodes may not reach it."), { code: "egress_refused", node: "send" });
    },
  },
  {
    name: "torrent",
    version: 1,
    definition: {
      sluice: 1, name: "torrent", description: "Three long answers at once, to see how the page bears them.", inputs: { type: "object", properties: {} },
      nodes: [llm("a", "First"), llm("b", "Second"), llm("c", "Third")], edges: [],
    },
    async script(r) {
      const long = Array.from({ length: 60 }, (_, i) => `## Part ${i + 1}\n\n${say.pro}\n\n${say.con}`).join("\n\n");
      await Promise.all(["a", "b", "c"].map((id) => r.llm(id, long)));
      r.exec("completed", { outputs: {} });
    },
  },
];
