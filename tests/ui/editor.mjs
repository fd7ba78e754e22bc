/* A workflow drawn from an empty canvas, in a browser, against a real server: nodes by search and by drag, edges by keyboard and by
 * hand, a loop with a body, a broken reference that is said at its field, undo, a reload before saving, save, and what the server holds. */
import { api, base, check, main, soon, token } from "./lib.mjs";

const NAME = "drawn-" + Date.now().toString(36);
const card = (id) => `[data-testid="card-${id}"]`;
const cards = (page) => page.$$eval(".react-flow__node", (ns) => ns.map((n) => n.dataset.id).sort());
const field = (page, path) => page.locator(`.ed-panel [data-field="${path}"]`);
const settled = (page, n) => page.waitForSelector(`[data-testid=editor][data-errors="${n}"]`, { timeout: 60_000 });

async function add(page, type) {
  await page.keyboard.press("/");
  await page.fill("[data-testid=palette-search]", type);
  await page.keyboard.press("Enter");
}
/* The card has the keyboard again, whatever was typed into before. */
async function choose(page, id) {
  await page.click(card(id));
  await page.waitForSelector(`[data-testid=node-panel][data-node="${id}"]`);
}
async function connect(page, from, to) {
  await choose(page, from);
  await page.keyboard.press("e");
  await page.fill("[data-testid=connect-search]", to);
  await page.keyboard.press("Enter");
  await page.waitForSelector("[data-testid=connect-search]", { state: "detached" });
}
async function id(page, now) {
  await field(page, "id").fill(now);
  await field(page, "id").press("Enter");
  await page.waitForSelector(`[data-testid=node-panel][data-node="${now}"]`);
}

await main("a workflow, drawn from an empty canvas", async (page) => {
  await page.goto(base + "/#token=" + encodeURIComponent(token));
  await page.waitForSelector("[data-testid=start-run]");
  await page.goto(base + "/workflows");
  await page.click("[data-testid=new-workflow]");
  await page.waitForSelector("[data-testid=canvas]");
  await soon(async () => (await cards(page)).length === 0, "a new workflow begins with an empty canvas");

  await page.fill("[data-testid=workflow-name]", NAME);
  await page.click("[data-tab=inputs]");
  await page.click("[data-testid=add-input]");
  await soon(async () => (await page.inputValue("[data-testid=input-name]")) === "topic", "an input is asked for");

  await page.click(".react-flow__pane", { position: { x: 20, y: 20 } });
  await add(page, "template");
  await page.waitForSelector(card("template"));
  await id(page, "intro");
  await field(page, "params/text").fill("About {{ input.topic }}");
  await choose(page, "intro");
  await add(page, "loop");
  await page.waitForSelector(card("loop"));
  await soon(async () => (await page.locator(".react-flow__edge").count()) === 1, "Enter adds a node and connects it behind the selected one");
  await id(page, "refine");
  await field(page, "params/max_rounds").fill("2");

  await choose(page, "refine");
  await page.keyboard.press("o");
  await page.waitForSelector(".ed-canvas.is-inner");
  await soon(async () => (await cards(page)).length === 0, "the loop's body opens on the same canvas");
  await add(page, "llm");
  await page.waitForSelector(card("llm"));
  await id(page, "draft");
  await field(page, "params/prompt").fill("{{ nodes.intro.text }} {{ loop.last and loop.last.judge.text or '' }}");
  await page.keyboard.press("Escape");

  // The second one by hand: dragged from the palette, then a line from edge to edge.
  const box = await page.locator("[data-testid=canvas]").boundingBox();
  await page.dragAndDrop("[data-testid=type-llm]", "[data-testid=canvas] .react-flow__pane", { targetPosition: { x: box.width / 2, y: box.height - 160 } });
  await page.waitForSelector(card("llm"));
  await choose(page, "llm");
  await id(page, "judge");
  await field(page, "params/prompt").fill("Judge: {{ nodes.draft.text }}");
  await page.click(".react-flow__pane", { position: { x: 20, y: 20 } });
  const out = await page.locator(`.react-flow__node[data-id="draft"] .react-flow__handle.source`).boundingBox();
  const into = await page.locator(`.react-flow__node[data-id="judge"] .react-flow__handle.target`).boundingBox();
  await page.mouse.move(out.x + out.width / 2, out.y + out.height / 2);
  await page.mouse.down();
  await page.mouse.move((out.x + into.x) / 2, (out.y + into.y) / 2, { steps: 6 });
  await page.mouse.move(into.x + into.width / 2, into.y + into.height / 2, { steps: 6 });
  await page.mouse.up();
  await page.waitForSelector(".react-flow__edge");
  await soon(async () => (await page.locator(".react-flow__edge").count()) === 1, "a line drawn by hand becomes an edge");
  await settled(page, 0);

  await choose(page, "draft");
  await id(page, "answer");
  await settled(page, 0);
  await choose(page, "judge");
  await soon(async () => (await field(page, "params/prompt").inputValue()) === "Judge: {{ nodes.answer.text }}", "references follow a node that is renamed");

  await field(page, "params/prompt").fill("Judge: {{ nodes.nobody.text }}");
  await settled(page, 1);
  await page.waitForSelector(".f.is-bad .f-error");
  await soon(async () => /nobody/.test(await page.textContent(".f.is-bad .f-error")), "what the server says of a field stands at the field");
  await page.click("[data-testid=crumb-root]");
  await page.click(".react-flow__pane", { position: { x: 20, y: 20 } });
  await page.click("[data-testid=problems-chip]");
  await page.click("[data-testid=problems] button.ed-problem");
  await page.waitForSelector("[data-testid=node-panel][data-node=judge]");
  await page.waitForFunction(() => document.activeElement?.dataset.field === "params/prompt", null, { timeout: 60_000 });
  check(true, "a problem leads to its field, inside of the body");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+z");
  await settled(page, 0);
  await soon(async () => (await field(page, "params/prompt").inputValue()) === "Judge: {{ nodes.answer.text }}", "undo takes it back");

  await page.keyboard.press("Control+d");
  await page.waitForSelector(card("judge_2"));
  await page.keyboard.press("Delete");
  await page.waitForSelector(card("judge_2"), { state: "detached" });
  await soon(async () => (await cards(page)).join() === "answer,judge", "a duplicate comes and goes");

  await page.click("[data-testid=crumb-root]");
  await page.click("[data-testid=view-json]");
  const text = await page.inputValue("[data-testid=json]");
  await page.fill("[data-testid=json]", text.replace('"max_rounds": 2', '"max_rounds": 2,,'));
  await page.waitForFunction(() => /^Line \d+/.test(document.querySelector("[data-testid=json-why]").textContent));
  const line = Number(/\d+/.exec(await page.textContent("[data-testid=json-why]"))[0]);
  check(text.split("\n")[line - 1].includes("max_rounds"), "broken JSON is told by its line");
  const outputs = text.includes('"outputs"') ? text : text.replace(/\n\}$/, ',\n  "outputs": { "verdict": "{{ nodes.refine.last.judge.text }}" }\n}');
  await page.fill("[data-testid=json]", outputs.replace('"max_rounds": 2', '"max_rounds": 3'));
  await page.click("[data-testid=view-canvas]");
  await choose(page, "refine");
  await soon(async () => (await field(page, "params/max_rounds").inputValue()) === "3", "what is written as JSON is on the canvas");
  await settled(page, 0);

  await page.waitForTimeout(600); // drafts are kept a moment after the last change
  await page.reload();
  await page.waitForSelector(card("refine"));
  await soon(async () => (await page.inputValue("[data-testid=workflow-name]")) === NAME, "a reload before saving loses nothing");

  await page.click(`a[href="/templates"]`);
  await page.waitForSelector("[data-testid=confirm-yes]");
  await page.keyboard.press("Escape");
  await soon(async () => (await page.locator("[data-testid=canvas]").count()) === 1, "leaving with unsaved changes asks first");

  await settled(page, 0);
  await page.keyboard.press("Control+s");
  await page.waitForURL((u) => u.pathname === "/workflows/" + NAME);
  await page.waitForSelector("[data-testid=editor][data-dirty=false][data-version='1']");
  const w = await api("GET", "/workflows/" + NAME);
  const loop = w.definition.nodes.find((n) => n.id === "refine");
  check(w.version === 1 && w.definition.edges.length === 1 && loop.params.body.nodes.length === 2 && loop.params.body.edges[0].from === "answer", "the server holds what was drawn");

  await choose(page, "intro");
  await field(page, "params/text").fill("Now about {{ input.topic }}");
  await page.keyboard.press("Control+s");
  await page.waitForSelector("[data-testid=editor][data-dirty=false][data-version='2']");
  await soon(async () => (await api("GET", `/workflows/${NAME}/versions`)).items.length === 2, "saving again makes a new version");

  // Somebody else saves in between.
  const theirs = (await api("GET", "/workflows/" + NAME)).definition;
  await api("PUT", "/workflows/" + NAME, { ...theirs, description: "Theirs." });
  await choose(page, "intro");
  await field(page, "params/text").fill("Mine: {{ input.topic }}");
  await page.keyboard.press("Control+s");
  await page.waitForSelector("[data-testid=confirm-yes]");
  await soon(async () => (await api("GET", "/workflows/" + NAME)).version === 3, "a version saved meanwhile is not outdated unseen");
  await page.click("[data-testid=confirm-extra]");
  await page.waitForSelector(".diff .diff-gone");
  await soon(async () => /Theirs\./.test(await page.textContent(".diff")), "the difference to it is shown line by line");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+s");
  await page.click("[data-testid=confirm-yes]");
  await page.waitForSelector("[data-testid=editor][data-dirty=false][data-version='4']");

  await page.click(".ed-head .ed-menu:not(.ed-menu-tight) button");
  await page.click(".menu-item:has-text('Save as template')");
  await page.click("[data-testid=template-save]");
  await page.waitForSelector("[data-testid=template-save]", { state: "detached" });
  await page.click(`a[href="/templates"]`);
  await page.click(`[data-testid="use-${NAME}"]`);
  await page.waitForSelector(card("refine"));
  await soon(async () => (await page.getAttribute("[data-testid=editor]", "data-version")) === "" && (await page.inputValue("[data-testid=workflow-name]")) === NAME, "a template opens as a draft of its own");
  await api("DELETE", "/templates/" + NAME);

  await settled(page, 0);
  await page.click("[data-testid=test-run]");
  await page.fill("[name=topic]", "tea");
  await page.click("[data-testid=submit-run]");
  await page.waitForURL(/\/runs\//);
  const run = await api("GET", "/runs/" + decodeURIComponent(new URL(page.url()).pathname.split("/")[2]));
  check(run.inputs.topic === "tea" && run.definition.nodes.length === 2, "a test run starts what was never saved");
  await api("POST", `/runs/${run.id}/cancel`, {}).catch(() => {}); // it may have ended by itself

  await page.keyboard.press("Control+k");
  await page.fill("[data-testid=goto]", "edit " + NAME);
  await page.waitForSelector(`#goto-list [role=option]`);
  await page.keyboard.press("Enter");
  await page.waitForURL((u) => u.pathname === "/workflows/" + NAME);
  await page.waitForSelector(card("refine"));
  check(true, "a few letters lead to it from anywhere");

  await api("DELETE", "/workflows/" + NAME);
});
