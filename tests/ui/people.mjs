/* Runs with people, rounds and a breaker in them, in a browser: a review answered with changes, answered twice, and answered from the
 * list; a loop inside a loop; items of a map; votes; the breaker and its two ways out. */
import { api, base, check, main, soon, token } from "./lib.mjs";

const byId = (id) => `[data-testid=${id}]`;
const llm = (id, prompt, more = {}) => ({ id, type: "llm", params: { prompt }, ...more });
const topic = { type: "object", properties: { topic: { type: "string" } }, required: ["topic"] };

const flows = {
  "sign-off": {
    inputs: topic,
    nodes: [llm("report", "Write two sentences on {{ input.topic }}."), { id: "check", type: "human_review", params: { draft: "{{ nodes.report.text }}", instructions: "Are the figures right?", timeout_s: 240, allow_skip: true } }, { id: "go", type: "wait_signal", params: { signal: "release" } }, { id: "send", type: "template", params: { text: "{{ nodes.check.content }}" } }],
    edges: [{ from: "report", to: "check" }, { from: "check", to: "go" }, { from: "go", to: "send" }],
    outputs: { text: "{{ nodes.send.text }}" },
  },
  "long-loop": {
    limits: { breaker: false }, // the simulator says nearly the same each round, which the breaker would take for a loop that leads nowhere
    nodes: [{ id: "outer", type: "loop", params: { max_rounds: 2, body: { nodes: [{ id: "inner", type: "loop", params: {
      max_rounds: 6, exit_on_score: { value: "nodes.grade.value", at_least: 90 }, on_regression: { drop: 5, do: "rollback" }, stagnation: { delta: 2, rounds: 2 },
      body: { nodes: [llm("write", "Say one sentence about water."), { id: "grade", type: "transform", params: { code: "local s = { 58, 71, 62, 93 }\nreturn s[loop.index]" } }], edges: [{ from: "write", to: "grade" }] } } }], edges: [] } } }],
    edges: [],
  },
  "many-items": {
    nodes: [{ id: "each", type: "map", params: { items: "{{ {1,2,3,4,5,6,7,8,9,10,11,12} }}", concurrency: 3, body: { nodes: [llm("ask", "Item {{ item }}"), { id: "note", type: "template", params: { text: "{{ nodes.ask.text }}" } }], edges: [{ from: "ask", to: "note" }] } } }],
    edges: [],
  },
  "panel-vote": {
    inputs: topic,
    nodes: [{ id: "panel", type: "vote", params: { voters: ["advocate", "sceptic", "judge"], question: "{{ input.topic }}", kind: "yes_no" } }, llm("say", "Announce it.")],
    edges: [{ from: "panel", to: "say" }],
  },
  surge: { limits: { breaker: { velocity_tps: 1, window_s: 1 } }, nodes: [llm("talk", "Talk at length about rivers, in ten paragraphs."), llm("end", "Sum up.")], edges: [{ from: "talk", to: "end" }] },
};

async function begin(page, name, inputs = {}) {
  const known = (await api("GET", "/workflows?limit=100")).items.some((w) => w.name === name);
  await api(known ? "PUT" : "POST", "/workflows" + (known ? "/" + name : ""), { definition: { sluice: 1, name, ...flows[name] } });
  const { id } = await api("POST", "/runs", { workflow: name, inputs });
  await page.goto(base + "/runs/" + id);
  await page.waitForSelector(byId("run"));
  return id;
}
const ended = (page) => page.waitForSelector(`${byId("run")}:is([data-status=succeeded], [data-status=failed])`, { timeout: 90_000 });
const events = async (id) => (await api("GET", `/runs/${id}/events?after_seq=0&limit=500`)).items;

async function review(page) {
  const id = await begin(page, "sign-off", { topic: "tides" });
  await page.waitForSelector(byId("ask-banner"), { timeout: 60_000 });
  await soon(async () => (await page.getAttribute(byId("run"), "data-status")) === "waiting", "the run waits, and a bar says for whom");
  await soon(async () => (await page.locator(`${byId("countdown")}.is-urgent`).count()) > 0, "less than five minutes are red");
  await page.waitForSelector(".rail-badge", { timeout: 60_000 });
  await soon(async () => Number((await page.textContent(".rail-badge")).replace(/\D.*/, "")) >= 1, "the navigation counts it");
  await page.click(byId("ask-go"));
  await soon(async () => await page.evaluate(() => Boolean(document.activeElement?.closest("[data-testid=review]"))), "one press leads the keyboard to the question");

  await page.click(byId("review-reject"));
  await page.click(byId("review-reject-go"));
  await page.waitForSelector(`${byId("review")} .field-error:visible`);
  check(true, "a rejection needs a reason");
  await page.locator(`${byId("review")} .review-foot .btn-plain`).last().click();

  await page.click(byId("review-edit"));
  const draft = await page.inputValue("[name=content]");
  await page.fill("[name=content]", draft + " Checked by a person.");
  await page.waitForSelector(`${byId("diff")} ins`);
  await soon(async () => (await page.textContent(`${byId("diff")} ins`)).includes("Checked by a person."), "what was changed is shown as a difference");
  await page.click(byId("review-approve"));
  await page.waitForSelector(`${byId("review-done")}[data-phase=mine]`);
  check(true, "the answer is mine");
  const said = (await events(id)).find((e) => e.event === "human_review:resolved");
  check(said.data.action === "modify" && said.data.content.endsWith("Checked by a person.") && Boolean(said.data.reviewer), "and the journal holds it, with who said it");

  await page.click(byId("more-actions"));
  await page.getByRole("menuitem").nth(1).click();
  await page.waitForSelector(byId("signal"));
  await soon(async () => (await page.inputValue("[name=signal]")) === "release", "the signal that is waited for is offered");
  await page.click(byId("signal-go"));
  await ended(page);
  const run = await api("GET", "/runs/" + id);
  check(run.status === "succeeded" && JSON.stringify(run.outputs).includes("Checked by a person."), "the run goes on with the person's version to its end");
  await page.reload();
  await page.waitForSelector(".said");
  await soon(async () => (await page.locator(".said").count()) >= 2, "who answered and who signalled is seen afterwards");
}

async function race(page) {
  const id = await begin(page, "sign-off", { topic: "dunes" });
  await page.waitForSelector(byId("review"), { timeout: 60_000 });
  await page.goto(base + "/approvals");
  const row = page.locator(`${byId("approvals")} tr[data-run="${id}"]`);
  await row.waitFor();
  await row.locator(byId("open-review")).click();
  await page.waitForSelector(`dialog ${byId("review")}`);
  // Somebody else is quicker.
  await api("POST", `/runs/${id}/review`, { node: "check", action: "reject", reason: "not today" });
  await page.click(`dialog ${byId("review-approve")}`);
  await page.waitForSelector(`${byId("review-done")}[data-phase=taken]`);
  const text = await page.textContent(byId("review-done"));
  check(/admin/.test(text) && /not today/.test(text), "who answers second is told who was first, and why");
  await page.keyboard.press("Escape");
  await row.waitFor({ state: "detached" });
  check(true, "and the list forgets the question");
}

async function list(page) {
  const id = await begin(page, "sign-off", { topic: "bridges" });
  await page.waitForSelector(byId("review"), { timeout: 60_000 });
  await page.goto(base + "/approvals");
  const row = page.locator(`${byId("approvals")} tr[data-run="${id}"]`);
  await row.locator(byId("open-review")).click();
  await page.click(`dialog ${byId("review-approve")}`);
  await page.waitForSelector(`${byId("review-done")}[data-phase=mine]`);
  await page.keyboard.press("Escape");
  await row.waitFor({ state: "detached" });
  await soon(async () => (await events(id)).some((e) => e.event === "human_review:resolved" && e.data.action === "approve"), "a review is approved from the list");
  await api("POST", `/runs/${id}/cancel`, {});
}

async function loops(page) {
  const id = await begin(page, "long-loop");
  await page.waitForSelector(byId("loop-strip"), { timeout: 60_000 });
  check(true, "the first score is on the screen while the loop goes on");
  await ended(page);
  await page.waitForFunction(() => document.querySelectorAll(".round-head").length >= 4);
  await soon(async () => (await page.locator('.pane[data-path="outer#1/inner#1/write"]').count()) === 1, "words stand under their round, also in a loop in a loop");
  await soon(async () => /2/.test(await page.textContent(byId("loop-figure"))), "the header counts the rounds");
  const run = await api("GET", "/runs/" + id);
  await soon(async () => (await page.textContent(".figures")).includes(`${run.nodes_done}/${run.nodes_total}`), "nodes are counted as the server counts them");
  await page.selectOption(`[data-node="outer"] ${byId("round")}`, "1");
  await page.click('[data-node="outer#1/inner"] .group-head b');
  await page.waitForSelector(byId("rounds"));
  const rounds = (await events(id)).filter((e) => e.event === "loop:round" && e.data.node_id === "outer#1/inner");
  await soon(async () => (await page.locator(`${byId("rounds")} tbody tr`).count()) === rounds.length, "every round of the chosen loop is in the table");
  await page.waitForSelector(".rounds-tab canvas");
  await soon(async () => rounds.every((r) => r.data.note === undefined) || (await page.locator(`${byId("rounds")} td span[style]`).count()) > 0, "what went wrong is marked");
  await page.focus(".rounds-tab .plot-box");
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector(".rounds-tab .plot-tip");
  await soon(async () => (await page.textContent(".rounds-tab .plot-tip")).includes(String(rounds[0].data.score)), "the chart says its values");
  await page.click(byId("timeline-toggle"));
  await page.waitForSelector(`${byId("timeline")} .timeline-bar`);
  await soon(async () => (await page.locator(`${byId("timeline")} .timeline-row`).count()) > 5, "the timeline shows when each node ran");
}

async function items(page) {
  const id = await begin(page, "many-items");
  await ended(page);
  const run = await api("GET", "/runs/" + id);
  check(run.nodes.filter((n) => n.path.startsWith("each#")).length === 24, "every item has its nodes");
  await page.waitForFunction(() => document.querySelector("[data-testid=iteration]")?.textContent === "12/12");
  check(true, "the map says how many items are done");
  await soon(async () => (await page.locator(".pane").count()) >= 10 && (await page.locator(".round-head").count()) === 1, "the items' words stand side by side under one head");
  await page.selectOption(byId("round"), "5");
  await page.waitForSelector('[data-node="each#5/ask"]');
  check(true, "one item is chosen by its number");
}

async function votes(page) {
  const id = await begin(page, "panel-vote", { topic: "A four-day week" });
  await ended(page);
  const cast = (await events(id)).filter((e) => e.event === "vote:cast");
  check(cast.length === 3, "three voters have voted");
  await page.waitForSelector('[data-node="panel#1/judge"]');
  await page.click("[data-node=panel] .group-head b");
  await page.waitForSelector(".votes li");
  await soon(async () => (await page.locator(".votes li").count()) === 3, "and each vote is shown with its voter");
}

async function breaker(page) {
  const id = await begin(page, "surge");
  await page.waitForSelector(`${byId("run")}[data-status=locked]`, { timeout: 60_000 });
  await page.waitForSelector(byId("trip"));
  await soon(async () => await page.evaluate(() => document.activeElement?.getAttribute("name") === "justification"), "a trip opens its question, with the keyboard in it");
  const inside = async () => page.evaluate(() => Boolean(document.activeElement?.closest("dialog")) || document.activeElement === document.body);
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press("Tab");
    if (!(await inside())) check(false, "the keyboard stays in the question");
  }
  check(true, "the keyboard stays in the question");
  await soon(async () => (await page.getAttribute(byId("unlock"), "aria-disabled")) === "true", "nothing is unlocked without a word");
  await page.keyboard.press("Escape");
  await page.waitForSelector(byId("trip-banner"));
  await soon(async () => (await page.locator(".is-locked").count()) === 1, "who decides later sees it in the page");
  await page.click(byId("trip-open"));
  const trips = (await events(id)).filter((e) => e.event === "circuit_breaker:tripped");
  await soon(async () => (await page.textContent(byId("trip"))).includes(trips[0].data.message), "what was measured is said in the server's words");
  const boxes = page.locator(`${byId("trip")} input[type=checkbox]`);
  await boxes.nth(0).check();
  await boxes.nth(1).check();
  await soon(async () => (await page.getAttribute(byId("unlock"), "aria-disabled")) === "true", "two of three are not enough");
  await boxes.nth(2).check();
  await page.click(byId("unlock"));
  await page.waitForFunction(async (u) => (await (await fetch(u, { headers: { "X-Sluice-Client": "ui" } })).json()).items.some((e) => e.event === "circuit_breaker:unlocked"), `/api/v1/runs/${id}/events?after_seq=0&limit=500`);
  await soon(async () => (await events(id)).find((e) => e.event === "circuit_breaker:unlocked").data.by !== undefined, "three words let it go on, and the journal says whose");
  await api("POST", `/runs/${id}/cancel`, {}).catch(() => {}); // it may be over
}

await main("people, rounds and a breaker in a run", async (page) => {
  await page.goto(base + "/#token=" + encodeURIComponent(token));
  await page.waitForSelector("[data-testid=connection][data-phase=live]");
  const parts = { review, race, list, loops, items, votes, breaker };
  const chosen = (process.env.PARTS ?? Object.keys(parts).join()).split(",");
  for (const name of chosen) {
    console.log(" " + name);
    await parts[name](page);
  }
});
