/* What a run says of its claims, and that a deadline is near. */
import { api, base, check, main, soon, token } from "./lib.mjs";

const STEP = 60_000;

await main("claims and reminders", async (page) => {
  await page.goto(base + "/");
  await page.fill('input[name="token"]', token);
  await page.keyboard.press("Enter");
  await page.waitForSelector('[data-testid="connection"][data-phase="live"]', { timeout: STEP });
  const project = "facts-" + Date.now();
  await api("POST", "/memories", { project, tier: "long_term", content: "The trial of 2019 cost $4,200,000 in its first year, says the treasurer; two districts took part." });
  const text = "A trial began in 2019 in two districts. It cost $4.2 million in the first year. Of the residents 37 percent liked it. It ended well.";

  const { id } = await api("POST", "/runs", {
    project,
    definition: {
      sluice: 1, name: "facts", nodes: [
        { id: "first", type: "llm", params: { system: "You are the writer of briefs.", prompt: "Brief: " + project } },
        { id: "say", type: "llm", params: { system: "You are the writer of briefs.", prompt: "Brief: " + project, claims: true } },
        { id: "check", type: "fact_check", params: { content: text, verify_threshold: 0.6 } },
      ], edges: [{ from: "first", to: "say" }, { from: "say", to: "check" }], outputs: { checked: "{{ nodes.check.text }}" },
    },
  });
  await page.goto(`${base}/runs/${id}?node=check`);
  await page.waitForSelector('[data-testid="run"][data-status="succeeded"]', { timeout: STEP });
  await page.waitForSelector('[data-testid="checks"] li', { timeout: STEP });
  const seen = await page.$$eval('[data-testid="checks"] li', (all) => all.map((li) => li.dataset.verified));
  check(seen.join() === "true,true,false", "each claim says whether it stands: " + seen.join());
  await soon(async () => (await page.textContent('[data-testid="checks"] .votes-tally')).includes("2"), "how many stand is told");
  await soon(async () => (await page.textContent('[data-testid="checks"]')).includes("4,200,000"), "what a claim rests on is shown");

  await soon(async () => (await page.textContent('[data-path="say"] [data-testid="claims"]')).startsWith("2 "), "an answer says how much of it is to be verified");
  await soon(async () => (await page.evaluate(() => [...CSS.highlights.get("claims")].map(String).join())) === "2019,$4.2 million", "and marks the words");

  const asked = await api("POST", "/runs", {
    definition: {
      sluice: 1, name: "near", nodes: [{ id: "sign", type: "human_review", params: { draft: "May we?", timeout_s: 600, remind_before_s: 598 } }], edges: [],
    },
  });
  await page.waitForSelector('[data-testid="near"]', { timeout: STEP });
  await soon(async () => (await page.textContent('[data-testid="near"]')).includes("sign"), "a reminder is shown on every page");
  await page.click('[data-testid="near"] a');
  await page.waitForSelector('[data-testid="ask-banner"][data-near]', { timeout: STEP });
  check(page.url().includes(asked.id), "it leads to the run that waits");
  await api("POST", `/runs/${asked.id}/review`, { node: "sign", action: "approve" });
  await page.waitForSelector('[data-testid="near"]', { state: "detached", timeout: STEP });
  check(true, "it goes when the review is answered");
});
