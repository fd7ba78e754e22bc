/* Orders for many runs of the list, in a browser: rows are selected with the pointer and the keyboard, the order says first how many it
 * reaches, and afterwards what came of it. */
import { api, base, check, main, soon, token } from "./lib.mjs";

const byId = (id) => `[data-testid="${id}"]`;
const MARK = "many-" + Date.now().toString(36);
const flow = (last) => ({ sluice: 1, name: MARK, nodes: [last] });
const gate = flow({ id: "gate", type: "wait_signal", params: { signal: "open" } });
const short = flow({ id: "t", type: "template", params: { text: "x" } });
/* As the list has it, which is what the orders for all of a filter go by. */
const status = async (id) => (await api("GET", `/runs?workflow=${MARK}`)).items.find((r) => r.id === id).status;
const settled = async (id, s) => {
  for (let i = 0; i < 900 && (await status(id)) !== s; i++) await new Promise((r) => setTimeout(r, 100));
  if ((await status(id)) !== s) throw new Error(`a run is ${await status(id)} and not ${s}`);
};
const box = (id) => `[data-pick="${id}"]`;
const phase = (page, p) => page.waitForSelector(`${byId("bulk")}[data-phase=${p}]`, { timeout: 60_000 });

await main("orders for many runs", async (page, context) => {
  const ids = []; // the newest last; the list has it first
  for (const definition of [gate, short, gate, gate]) ids.push((await api("POST", "/runs", { definition, inputs: {} })).id);
  const [a, ended, b, c] = ids;
  for (const id of ids) await settled(id, id === ended ? "succeeded" : "waiting");
  await page.goto(base + "/", { waitUntil: "networkidle" });
  await page.evaluate((t) => fetch("/api/v1/session", { method: "POST", headers: { Authorization: "Bearer " + t, "X-Sluice-Client": "test" } }), token);
  await page.goto(`${base}/?workflow=${MARK}`);
  await page.click(box(c));
  await page.click(box(a), { modifiers: ["Shift"] });
  await soon(async () => (await page.locator(".is-picked").count()) === 4, "with Shift the rows in between are selected, too");
  await soon(async () => (await page.getAttribute(byId("bulk-resume"), "aria-disabled")) === "true", "an order that none of them can follow is off");
  await page.click(byId("bulk-cancel"));
  await phase(page, "ask");
  const reach = await page.textContent(byId("bulk"));
  check(reach.includes("3 of the 4") && reach.includes("1 × completed"), "the order says how many it reaches, and who is left out");
  await soon(async () => (await status(a)) === "waiting", "nothing has been done by then");
  const orders = [];
  page.on("request", (r) => r.method() === "POST" && orders.push(new URL(r.url()).pathname));
  await page.click(byId("bulk-go"));
  await phase(page, "done");
  await soon(async () => (await page.textContent(byId("bulk-outcome"))).trim() === "Done: 3.", "then what came of it");
  check(orders.filter((p) => p.startsWith("/api/v1/runs")).join() === "/api/v1/runs/bulk", "which is one order for all of them");
  await page.click(byId("bulk-close"));
  for (const id of [a, b, c]) await settled(id, "cancelled");
  await soon(async () => (await page.locator(byId("bulk-bar")).count()) === 0, "and nothing is selected any more");

  await page.focus(box(c));
  await page.keyboard.press("Space");
  await page.keyboard.press("Shift+ArrowDown");
  await soon(async () => (await page.locator(".is-picked").count()) === 2, "Space and Shift with the arrows select rows");
  await page.keyboard.press("Escape");
  await soon(async () => (await page.locator(".is-picked").count()) === 0, "Escape lets them go");

  await page.keyboard.press("Space");
  await page.click(byId("bulk-all"));
  await page.click(byId("bulk-retry"));
  await phase(page, "ask");
  await soon(async () => (await page.textContent(byId("bulk-reach"))).includes("it reaches: 3."), "all that fit the filter are counted by the server");
  await page.click(byId("bulk-go"));
  await phase(page, "done");
  await soon(async () => (await page.textContent(byId("bulk-outcome"))).trim() === "Done: 3.", "and are given the order by it");
  await page.click(byId("bulk-close"));
  for (const id of [a, b, c]) await settled(id, "waiting");

  await page.waitForFunction((id) => document.querySelector(`tr[data-run="${id}"] .c-status`)?.textContent.includes("Waiting"), a);
  await page.click(box(a));
  await page.click(byId("bulk-pause"));
  await phase(page, "ask");
  await api("POST", `/runs/${a}/cancel`);
  await settled(a, "cancelled");
  await page.click(byId("bulk-go"));
  await phase(page, "done");
  await soon(async () => (await page.textContent(byId("bulk-outcome"))).includes("Refused: 1.") && (await page.textContent(byId("bulk-reasons"))).includes("cancelled"), "who refuses the order says why");
  await page.click(byId("bulk-close"));

  const { token: viewer } = await api("POST", "/admin/tokens", { name: MARK, role: "viewer" });
  await context.clearCookies();
  await page.evaluate((t) => fetch("/api/v1/session", { method: "POST", headers: { Authorization: "Bearer " + t, "X-Sluice-Client": "test" } }), viewer);
  await page.goto(`${base}/?workflow=${MARK}`);
  await page.waitForSelector(`tr[data-run="${c}"]`);
  await soon(async () => (await page.locator("[data-pick], " + byId("pick-all")).count()) === 0, "who may only look has nothing to select");
  for (const id of [b, c]) await api("POST", `/runs/${id}/cancel`);
});
