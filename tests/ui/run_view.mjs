/* One run from the first click to its end, in a browser, against a real server: sign in, start, read along, pause, resume, lose the
 * network, reload, and hold at the end exactly the bytes the server recorded.
 *
 *   SLUICE_WORKFLOW  the workflow to start; default: the first the server lists that needs nothing but texts
 */
import { api, check, main, soon, token, wire } from "./lib.mjs";

const inputsOf = (def) => def.inputs?.properties ?? {};

async function chooseWorkflow() {
  const { items } = await api("GET", "/workflows");
  if (process.env.SLUICE_WORKFLOW) return api("GET", "/workflows/" + process.env.SLUICE_WORKFLOW);
  for (const i of items) {
    const w = await api("GET", "/workflows/" + i.name);
    const speaks = JSON.stringify(w.definition).includes('"llm"');
    const asks = JSON.stringify(w.definition).includes('"human_review"');
    const needed = (w.definition.inputs?.required ?? []).every((k) => inputsOf(w.definition)[k]?.type === "string");
    if (speaks && needed && !asks) return w;
  }
  throw new Error("the server lists no workflow with a model in it; set SLUICE_WORKFLOW");
}

const textsOf = (page) =>
  page.$$eval(".pane[data-path]", (panes) => Object.fromEntries(panes.map((p) => [p.dataset.path, p.querySelector("[data-testid=raw-text]")?.textContent ?? ""])));
const spoken = async (page) => Object.values(await textsOf(page)).reduce((n, s) => n + s.length, 0);
const status = (page) => page.getAttribute("[data-testid=run]", "data-status");

const line = await wire();
const base = line.base;

await main("a run, from the first click to its end", async (page) => {
  const flow = await chooseWorkflow();

  await page.goto(base + "/");
  await page.waitForSelector("[data-testid=token]");
  check(true, "without a session the page asks to sign in");
  await page.fill("[data-testid=token]", "wrong");
  await page.click("[data-testid=signin]");
  await page.waitForSelector(".field-error:not(:empty)");
  check(true, "a wrong token is refused in words");

  await page.goto(base + "/#token=" + encodeURIComponent(token));
  await page.waitForSelector("[data-testid=start-run]");
  check(!page.url().includes("token"), "the token leaves the address bar");
  await soon(async () => await page.evaluate((t) => !JSON.stringify([localStorage, sessionStorage, document.cookie]).includes(t), token), "no script can read the token or the session");
  await page.waitForSelector("[data-testid=connection][data-phase=live]");
  check(true, "the connection is live");

  await page.click("[data-testid=start-run]");
  await page.click(`[data-testid="pick-${flow.name}"]`);
  await page.waitForSelector("[data-testid=start-form]");
  for (const [k, s] of Object.entries(inputsOf(flow.definition)))
    if (s.type === "string" && !s.enum && s.default === undefined && flow.definition.inputs.required?.includes(k)) await page.fill(`[name="${k}"]`, "Should the working week have four days?");
  await page.click("[data-testid=submit-run]");
  await page.waitForURL(/\/runs\//);
  const id = decodeURIComponent(new URL(page.url()).pathname.split("/")[2]);
  await page.waitForSelector("[data-testid=run]");
  check(true, "a form made from the schema starts the run " + id);

  await page.click("[data-testid=raw]"); // the text exactly as it came
  await page.waitForFunction(() => [...document.querySelectorAll("[data-testid=raw-text]")].some((e) => e.textContent.length > 0), null, { timeout: 60_000 });
  check(true, "words appear while the run goes on");
  await page.waitForSelector(".node[data-node]");
  check(true, "the graph shows its nodes");

  if ((await status(page)) === "running") {
    await page.click("[data-testid=pause]");
    await page.waitForSelector("[data-testid=run][data-status=paused], [data-testid=run][data-status=succeeded]", { timeout: 60_000 });
    const held = await status(page);
    await soon(async () => (await api("GET", "/runs/" + id)).status === held || held === "succeeded", "pause is seen by the page and by the server");
    if (held === "paused") {
      await page.click("[data-testid=resume]");
      await page.waitForSelector("[data-testid=run]:not([data-status=paused])", { timeout: 60_000 });
      check(true, "resume goes on");
    }
  }

  // Twice, at moments that nobody chose.
  for (const ms of [700, 1500]) {
    line.cut();
    await page.waitForSelector("[data-testid=connection]:not([data-phase=live])", { timeout: 60_000 });
    await page.waitForTimeout(ms);
    line.mend();
    await page.waitForSelector("[data-testid=connection][data-phase=live]", { timeout: 60_000 });
  }
  check(true, "after two cuts of the wire the connection is live again");

  const before = await spoken(page);
  await page.reload();
  await page.waitForSelector("[data-testid=run]");
  await page.waitForFunction((n) => [...document.querySelectorAll("[data-testid=raw-text]")].reduce((s, e) => s + e.textContent.length, 0) >= n, before, { timeout: 60_000 });
  check(true, "a reload shows at least what was there, without signing in again");

  await page.waitForSelector("[data-testid=run][data-status=succeeded]", { timeout: 180_000 });
  await page.waitForSelector("[data-testid=outputs]", { timeout: 60_000 }).catch(() => {});
  const run = await api("GET", "/runs/" + id);
  await page.waitForFunction((n) => Number(document.querySelector("[data-testid=run]")?.dataset.seq) >= n, run.last_seq);
  await page.waitForTimeout(500); // what has come is painted
  const shown = await textsOf(page);
  const models = run.nodes.filter((n) => n.type === "llm" && n.status === "completed" && typeof n.output?.text === "string");
  check(models.length > 0, "the server recorded what the models said");
  const from = await page.$$eval(".pane[data-path]", (ps) => Object.fromEntries(ps.map((p) => [p.dataset.path, p.dataset.from])));
  for (const n of models) check(from[n.path] === "stream", `${n.path}: the page shows what was streamed`);
  for (const n of models) check(shown[n.path] === n.output.text, `${n.path}: ${Buffer.byteLength(n.output.text)} bytes, the same on the page and in the record`);
  await soon(async () => run.last_seq === Number(await page.getAttribute("[data-testid=run]", "data-seq")), "the page has followed up to the last event");

  await page.click("[data-testid=log-toggle]");
  await page.waitForSelector("[data-testid=log] [role=option]");
  check(true, "the event log shows the journal");

  await page.goto(base + "/");
  await page.waitForSelector(`[data-run="${id}"] [data-status=succeeded]`);
  check(true, "the list shows the run as completed");
});
line.close();
