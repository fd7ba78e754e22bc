/* The operator's pages in a browser, each by its main action, and what the server holds afterwards. */
import { api, base, check, main, soon, token } from "./lib.mjs";

const MARK = "e2e-" + Date.now().toString(36);
const byId = (id) => `[data-testid=${id}]`;
const gone = (page, s) => page.waitForSelector(s, { state: "detached" });

async function agents(page) {
  await page.goto(base + "/agents");
  await page.click(byId("new-agent"));
  await page.waitForSelector(byId("agent-form"));
  await soon(async () => await page.evaluate(() => document.activeElement?.getAttribute("name") === "name"), "a form begins where one writes");
  await page.fill("[name=name]", "Not A Name");
  await page.click(byId("save-agent"));
  await soon(async () => (await page.locator(".field-error:visible").count()) === 2, "what is missing of an agent is said, all at once");
  await page.fill("[name=name]", MARK);
  await page.fill("[name=system]", "You look for what is missing.");
  await page.fill("[name=temperature]", "0.2");
  await page.click(byId("save-agent"));
  await page.waitForSelector(`[data-agent="${MARK}"]`);
  let a = await api("GET", "/agents/" + MARK);
  check(a.system === "You look for what is missing." && a.params.temperature === 0.2, "an agent is made");

  await page.click(`[data-agent="${MARK}"] ${byId("edit-agent")}`);
  await page.fill("[name=system]", "You look for what is missing, and say it.");
  await page.click(byId("save-agent"));
  await gone(page, byId("agent-form"));
  a = await api("GET", "/agents/" + MARK);
  check(a.system.endsWith("and say it.") && a.params.temperature === 0.2, "and changed, the rest of it kept");

  await page.click(`[data-agent="${MARK}"] ${byId("copy-agent")}`);
  await page.click(byId("save-agent"));
  await page.waitForSelector(`[data-agent="${MARK}-2"]`);
  await soon(async () => (await api("GET", `/agents/${MARK}-2`)).system === a.system, "and duplicated under a name of its own");
  for (const n of [MARK + "-2", MARK]) {
    await page.click(`[data-agent="${n}"] ${byId("delete-agent")}`);
    await page.click(byId("delete-yes"));
    await gone(page, `[data-agent="${n}"]`);
  }
  await soon(async () => !(await api("GET", "/agents")).items.some((x) => x.name.startsWith(MARK)), "and deleted, after a question");
}

async function models(page) {
  await page.goto(base + "/models");
  await page.waitForSelector(byId("profiles"));
  const sim = (await api("GET", "/llm/profiles")).items.find((p) => p.simulated);
  await page.click(`[data-profile="${sim.name}"] ${byId("test-profile")}`);
  await page.waitForSelector(byId("test-result"), { timeout: 60_000 });
  await soon(async () => (await page.getAttribute(byId("test-result"), "data-ok")) === "true", "the test of a profile answers");

  const key = "sk-test-" + MARK + "-SECRETTAIL";
  await page.click(byId("new-profile"));
  await page.waitForSelector(byId("profile-form"));
  await page.fill("[name=name]", MARK);
  await page.fill("[name=model]", "some-model");
  await page.fill("[name=base_url]", "http://127.0.0.1:9/v1");
  await page.fill("[name=api_key_0]", key);
  await page.click(byId("save-profile"));
  await page.waitForSelector(`[data-profile="${MARK}"]`);
  const made = await api("GET", "/llm/profiles/" + MARK);
  check(made.model === "some-model" && made.base_url === "http://127.0.0.1:9/v1" && made.keys.length === 1 && made.keys[0].endsWith("TAIL"), "a profile is made, its key known by its end");
  await soon(async () => !(await page.content()).includes(key) && !JSON.stringify(made).includes(key), "the key is on no page and in no answer");

  await page.click(`[data-profile="${MARK}"] ${byId("edit-profile")}`);
  await page.waitForSelector(byId("profile-form"));
  await page.fill("[name=model]", "another-model");
  await page.click(byId("save-profile"));
  await gone(page, byId("profile-form"));
  const changed = await api("GET", "/llm/profiles/" + MARK);
  check(changed.model === "another-model" && changed.keys.length === 1, "who changes the model keeps the key");

  await page.click(`[data-profile="${MARK}"] ${byId("test-profile")}`);
  await page.waitForSelector(`[data-profile="${MARK}"] ${byId("test-result")}`, { timeout: 60_000 });
  await soon(async () => (await page.getAttribute(`[data-profile="${MARK}"] ${byId("test-result")}`, "data-ok")) === "false", "a profile that nobody answers says so");
  await page.click(`[data-profile="${MARK}"] ${byId("delete-profile")}`);
  await page.click(byId("delete-yes"));
  await gone(page, `[data-profile="${MARK}"]`);

  await page.goto(base + "/models?tab=prices");
  await page.waitForSelector(byId("prices"));
  const before = (await api("GET", "/llm/prices")).items.filter((p) => p.source !== "built-in").length;
  await page.click(byId("add-price"));
  const row = page.locator(`${byId("prices")} tr.is-own`).last();
  await row.locator("input").nth(0).fill(MARK);
  await page.click(byId("save-prices"));
  await page.waitForSelector(".field-error:visible");
  await row.locator("input").nth(2).fill("1.5");
  await row.locator("input").nth(3).fill("6");
  await page.click(byId("save-prices"));
  await page.waitForFunction(() => !document.querySelector("[data-testid=save-prices]").textContent.includes("*"));
  const prices = (await api("GET", "/llm/prices")).items;
  check(prices.some((p) => p.model === MARK && p.output_usd_per_1m === 6), "a price of one's own is saved");
  check(prices.some((p) => p.source === "built-in"), "and those built in stay");
  await page.locator(`${byId("prices")} tr.is-own`).last().getByRole("button").click();
  await page.click(byId("save-prices"));
  await page.waitForFunction(() => !document.querySelector("[data-testid=save-prices]").textContent.includes("*"));
  await soon(async () => (await api("GET", "/llm/prices")).items.filter((p) => p.source !== "built-in").length === before, "and taken back");
}

async function memory(page) {
  const project = MARK.toLowerCase();
  const text = `The ${MARK} trial of a four-day week lasted eleven weeks in three towns, and output kept steady while sick days fell.`;
  await page.goto(base + "/memory?project=" + project);
  await page.waitForSelector(byId("tier-working"));
  await page.click(byId("add-memory"));
  await page.fill("[name=content]", text);
  await page.selectOption("[name=tier]", "quarantine");
  await page.click(byId("memory-save"));
  const card = (tier) => page.locator(`${byId("tier-" + tier)} [data-memory]`, { hasText: MARK });
  await card("quarantine").waitFor();
  check(true, "what is written down waits in quarantine");
  await card("quarantine").locator(byId("to-working")).click();
  await card("working").waitFor();
  await soon(async () => (await card("working").locator(".ttl").count()) === 1, "promoted to working memory it says when it expires");
  await page.fill("[name=memory-search]", "eleven weeks");
  await page.click(byId("search-memory"));
  await page.waitForFunction(() => document.querySelectorAll("[data-testid=tier-working] .memory-score").length > 0, null, { timeout: 60_000 });
  await soon(async () => (await card("working").count()) === 1, "a search finds it as a run would");
  await page.goto(base + "/memory?project=" + project);
  await card("working").locator(byId("to-long")).click();
  await card("long_term").waitFor();
  await soon(async () => (await card("long_term").locator(".chip-ok").count()) === 1, "promoted by a person it is verified, and stays");
  await card("long_term").locator(".memory-text").click();
  await page.waitForSelector(`${byId("memory-details")} .plain-list`);
  await soon(async () => (await page.locator(`${byId("memory-details")} .plain-list li`).count()) >= 2, "its history says how it came there");
  await page.keyboard.press("Escape");
  await card("long_term").locator(byId("invalidate")).click();
  await page.fill("[name=reason]", "made up");
  await page.click(byId("invalidate-yes"));
  await card("long_term").waitFor({ state: "detached" });
  const left = await api("GET", "/memories?project=" + project);
  check(left.items.length === 0, "invalidated it is found no more");

  await page.click(byId("add-memory"));
  await page.fill("[name=content]", `Raw outputs of ${MARK} say that staggered days answered the objection about service work, in most of the towns that took part.`);
  await page.selectOption("[name=tier]", "quarantine");
  await page.click(byId("memory-save"));
  await card("quarantine").waitFor();
  await page.click(byId("digest"));
  await page.click(byId("digest-keep"));
  await page.waitForSelector(`${byId("digest-dialog")} .chip-ok`);
  await page.keyboard.press("Escape");
  await card("long_term").waitFor();
  check(true, "one click in the digest keeps an insight");
}

async function dashboard(page) {
  await page.goto(base + "/dashboard");
  await page.waitForSelector(byId("stats"), { timeout: 60_000 });
  await page.waitForSelector(".plot-box canvas");
  await soon(async () => (await page.locator(`${byId("stats")} dd`).count()) === 7, "the figures of now are there");
  await page.focus(".plot-box");
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector(".plot-tip");
  check(true, "a chart is read with the arrow keys");
}

async function admin(page) {
  await page.goto(base + "/admin/tokens");
  await page.click(byId("new-token"));
  await page.fill("[name=name]", MARK);
  await page.selectOption("[name=role]", "viewer");
  await page.click(byId("make-token"));
  await page.waitForSelector(byId("token-secret"));
  const secret = (await page.textContent(`${byId("token-secret")} pre`)).trim();
  const whoami = async () => (await fetch(base + "/api/v1/session", { headers: { Authorization: "Bearer " + secret } })).status;
  await soon(async () => (await whoami()) === 200, "a new token opens the server");
  await page.click(byId("secret-done"));
  await gone(page, byId("token-secret"));
  await soon(async () => !(await page.content()).includes(secret), "its secret was shown once");

  // What a viewer sees: nothing to press, and why.
  const other = await (await page.context().browser().newContext({ viewport: { width: 1280, height: 800 } })).newPage();
  await other.goto(base + "/#token=" + encodeURIComponent(secret));
  await other.waitForSelector(".rail-item");
  await soon(async () => (await other.locator('.rail-item[href="/admin"]').count()) === 0, "a viewer is not shown the administration");
  await other.goto(base + "/admin");
  await other.waitForSelector(byId("empty"));
  await other.goto(base + "/agents");
  await other.waitForSelector(byId("new-agent"));
  await soon(async () => (await other.getAttribute(byId("new-agent"), "aria-disabled")) === "true" && (await other.getAttribute(byId("new-agent"), "aria-description")).length > 5, "and what a viewer may not do says why");
  await other.context().close();

  await page.click(`[data-token="${MARK}"] ${byId("revoke-token")}`);
  await page.click(byId("revoke-yes"));
  await page.waitForSelector(`[data-token="${MARK}"].is-gone`);
  await soon(async () => (await whoami()) === 401, "revoked it opens nothing");

  await page.goto(base + "/admin/audit");
  await page.fill("[name=action]", "token.");
  await page.waitForFunction(() => [...document.querySelectorAll("[data-testid=audit] tbody tr")].every((r) => r.textContent.includes("token.")) && document.querySelector("[data-testid=audit] tbody tr"));
  check(true, "the trail is read by what was done");
  await page.click(byId("audit-verify"));
  await page.waitForSelector(`${byId("audit-chain")}[data-ok=true]`);
  check(true, "and its chain is checked");

  await page.goto(base + "/admin/instances");
  await page.waitForSelector(`${byId("instances")} .chip`);
  check(true, "the server finds itself among the instances");

  await page.click(byId("server-pause"));
  await page.click(byId("server-yes"));
  await page.waitForSelector(byId("server-state"));
  check(true, "the server is paused");
  await page.click(byId("server-resume"));
  await page.waitForSelector(`${byId("server-state")}.st-succeeded`);
  check(true, "and goes on");
}

async function guards(page) {
  await page.goto(base + "/admin/limits");
  await page.waitForSelector(byId("limits"));
  const limits = await api("GET", "/admin/limits");
  await page.click(byId("add-limit"));
  const rows = page.locator(`${byId("limits")} tbody tr`);
  const last = (await rows.count()) - 1;
  await page.fill(`[name=project-${last}]`, MARK);
  await page.fill(`[name=rpm-${last}]`, "0");
  await page.click(byId("save-limits"));
  await page.waitForSelector(".field-error:visible");
  await page.fill(`[name=rpm-${last}]`, "120");
  await page.click(byId("save-limits"));
  await page.waitForFunction(() => !document.querySelector(".field-error"));
  await page.waitForTimeout(300);
  await soon(async () => (await api("GET", "/admin/limits")).projects[MARK].rpm === 120, "a project is limited");
  await page.fill("[name=max_queued]", "12345");
  await page.click(byId("save-limits"));
  await page.waitForTimeout(300);
  await soon(async () => (await api("GET", "/admin/limits")).runs.max_queued === 12345, "runs are limited");
  await api("PUT", "/admin/limits", limits);

  await page.goto(base + "/admin/breakers");
  await page.waitForSelector(`${byId("breakers")}, .quiet-card`);
  check(true, "the breakers are there");
  await page.goto(base + "/admin/cache");
  await page.waitForSelector(`${byId("caches")}, .quiet-card`);
  await page.click(byId("clear-caches"));
  await page.click(byId("clear-yes"));
  await gone(page, byId("clear-yes"));
  check(true, "the caches are cleared, after a question");
}

await main("the operator's pages", async (page) => {
  await page.goto(base + "/#token=" + encodeURIComponent(token));
  await page.waitForSelector("[data-testid=connection][data-phase=live]");
  const parts = { agents, models, memory, dashboard, admin, guards };
  const chosen = (process.env.PARTS ?? Object.keys(parts).join()).split(",");
  for (const name of chosen) {
    console.log(" " + name);
    await parts[name](page);
  }
});
