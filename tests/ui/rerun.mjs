/* Runs that begin again, in a browser: a cancelled run is retried and seen to go on without a reload, a node is given another output in
 * a fork, and the two are compared. */
import { api, base, check, main, soon, token } from "./lib.mjs";

const byId = (id) => `[data-testid="${id}"]`;
const flow = {
  sluice: 1, name: "gate",
  nodes: [
    { id: "first", type: "template", params: { text: "one" } },
    { id: "gate", type: "wait_signal", params: { signal: "open" } },
    { id: "last", type: "template", params: { text: "{{ nodes.first.text }} and more" } },
  ],
  edges: [{ from: "first", to: "gate" }, { from: "gate", to: "last" }],
  outputs: { text: "{{ nodes.last.text }}" },
};
const written = {
  sluice: 1, name: "notes",
  nodes: [
    { id: "one", type: "template", params: { file: "notes.md", text: "as it was" } },
    { id: "two", type: "template", params: { file: "notes.md", text: "spoilt" } },
  ],
  edges: [{ from: "one", to: "two" }],
};
const inner = { sluice: 1, name: "e2e-inner", nodes: [{ id: "t", type: "template", params: { text: "x" } }] };
const outer = { sluice: 1, name: "outer", nodes: [{ id: "inner", type: "subworkflow", params: { workflow: inner.name } }] };
const status = (page, s) => page.waitForSelector(`${byId("run")}[data-status=${s}]`, { timeout: 60_000 });

await main("runs that begin again", async (page) => {
  const { id } = await api("POST", "/runs", { definition: flow, inputs: {} });
  await page.goto(base + "/", { waitUntil: "networkidle" });
  await page.evaluate((t) => fetch("/api/v1/session", { method: "POST", headers: { Authorization: "Bearer " + t, "X-Sluice-Client": "test" } }), token);
  await page.goto(`${base}/runs/${id}?node=first`);
  await status(page, "waiting");
  await soon(async () => (await page.locator(byId("retry")).count()) === 0, "what goes on cannot be retried");
  await page.click(byId("cancel"));
  await page.click(byId("confirm-cancel"));
  await status(page, "cancelled");
  await page.click(byId("retry"));
  await status(page, "waiting");
  check(true, "a retried run is seen to go on without a reload");
  await api("POST", `/runs/${id}/signal`, { signal: "open" });
  await status(page, "succeeded");

  await page.click(byId("node-again"));
  await page.getByRole("menuitem").first().click();
  await page.waitForSelector(byId("fork"));
  await page.selectOption("select[name=how]", "given");
  await page.fill("textarea[name=output]", "[1]");
  await page.click(byId("fork-go"));
  await page.waitForSelector(`${byId("fork")} .field-error:visible`);
  check(true, "an output that is no object is refused where it stands");
  await page.fill("textarea[name=output]", '{ "text": "two" }');
  await page.click(byId("fork-go"));
  await page.waitForFunction((old) => !location.pathname.includes(old), id, { timeout: 60_000 });
  await page.waitForSelector(byId("forked-from"));
  check(true, "the new run says of which it is a fork");
  const fork = new URL(page.url()).pathname.split("/").pop();
  await page.goto(`${base}/`);
  await page.locator(`tr[data-run="${fork}"] ${byId("forked-from")} a`).click();
  await page.waitForURL(`**/runs/${id}`);
  check(true, "the list says of which run it is a fork, and leads there");
  await page.goto(`${base}/runs/${fork}`);
  await api("POST", `/runs/${fork}/signal`, { signal: "open" });
  await status(page, "succeeded");
  await soon(async () => (await api("GET", `/runs/${fork}`)).outputs.text === "two and more", "it went on with what was given");

  await page.locator(`${byId("forked-from")} a`).last().click();
  await page.waitForSelector(byId("diff-last"));
  const said = await page.textContent(byId("diff"));
  check(said.includes("one and more") && said.includes("two and more"), "both texts stand side by side");
  await soon(async () => (await page.textContent(byId("diff-first"))).includes("two"), "the node that was given its output is among what changed");

  await page.goto(`${base}/runs/${id}`);
  await status(page, "succeeded");
  if ((await page.locator(byId("log")).count()) === 0) await page.click(byId("log-toggle"));
  await page.locator(`${byId("log")} [role=option]`).first().waitFor();
  await page.fill(".log input[type=search]", "signal:received");
  await page.locator(`${byId("log")} [role=option]`).first().click();
  await page.click(byId("fork-event"));
  await page.waitForSelector(byId("fork"));
  await page.click(byId("fork-go"));
  await page.waitForFunction((old) => !location.pathname.includes(old), id, { timeout: 60_000 });
  await status(page, "succeeded");
  const after = new URL(page.url()).pathname.split("/").pop();
  const seq = (await api("GET", `/runs/${id}/events?limit=1000`)).items.find((e) => e.event === "signal:received").seq;
  await soon(async () => (await api("GET", `/runs/${after}`)).forked_from.at_seq === seq, "a fork from an event of the log has what happened up to it, and needs no second signal");

  const { id: notes } = await api("POST", "/runs", { definition: written, inputs: {} });
  await page.goto(`${base}/runs/${notes}`);
  await status(page, "succeeded");
  await page.getByRole("tab", { name: "Files" }).click();
  await page.locator(`${byId("files")} summary`).first().click();
  await page.selectOption(byId("file-version"), "1");
  await page.waitForFunction((s) => document.querySelector(s)?.textContent === "as it was", byId("file-text"));
  await page.click(byId("file-back"));
  await page.waitForSelector(byId("fork"));
  await page.click(byId("fork-go"));
  await page.waitForFunction((old) => !location.pathname.includes(old), notes, { timeout: 60_000 });
  const back = new URL(page.url()).pathname.split("/").pop();
  const first = (await api("GET", `/runs/${notes}/files/history?path=notes.md`)).items.find((v) => v.version === 1);
  await soon(async () => (await api("GET", `/runs/${back}`)).forked_from.at_seq === first.seq, "one goes back to a version of a file");

  const known = (await api("GET", "/workflows?limit=200")).items.some((x) => x.name === inner.name);
  await api(known ? "PUT" : "POST", "/workflows" + (known ? "/" + inner.name : ""), { definition: inner });
  const { id: parent } = await api("POST", "/runs", { definition: outer, inputs: {} });
  await page.goto(`${base}/runs/${parent}`);
  await status(page, "succeeded");
  const started = (await api("GET", `/runs/${parent}/events?limit=1000`)).items.find((e) => e.event === "subworkflow:started");
  await page.goto(`${base}/runs/${started.data.run_id}`);
  await page.locator(`${byId("started-by")} a`).click();
  await page.waitForURL(`**/runs/${parent}?node=inner`);
  check(true, "a run says which node of which run has started it, and leads there");
});
