/* What the browser tests share: finding the browser, a page that fails on errors of its own, and saying what was checked.
 *
 *   SLUICE_URL    http://127.0.0.1:7070      the server under test
 *   SLUICE_TOKEN  its admin token
 *   CHROMIUM      /usr/bin/chromium          the browser
 *   SHOTS         a folder: a picture of the page is left there when a test fails
 */
import { createRequire } from "node:module";
import net from "node:net";
import { fileURLToPath } from "node:url";
import path from "node:path";

const require = createRequire(path.join(path.dirname(fileURLToPath(import.meta.url)), "../../frontend-static/package.json"));
const { chromium } = require("playwright-core");

export const base = (process.env.SLUICE_URL ?? "http://127.0.0.1:7070").replace(/\/$/, "");
export const token = process.env.SLUICE_TOKEN ?? "";

export async function api(method, route, body) {
  const res = await fetch(base + "/api/v1" + route, {
    method,
    headers: { Authorization: "Bearer " + token, ...(body ? { "Content-Type": "application/json" } : {}) },
    body: body ? JSON.stringify(body) : undefined,
  });
  const text = await res.text();
  if (!res.ok) throw new Error(`${method} ${route}: ${res.status} ${text.slice(0, 400)}`);
  return text ? JSON.parse(text) : null;
}

/* The server behind a wire that can be cut: a browser's own offline switch leaves open WebSockets alone. */
export async function wire() {
  const to = new URL(base);
  const pairs = new Set();
  let cut = false;
  const server = net.createServer((a) => {
    if (cut) return void a.destroy();
    const b = net.connect(Number(to.port || 80), to.hostname);
    const pair = () => {
      pairs.delete(pair);
      a.destroy();
      b.destroy();
    };
    pairs.add(pair);
    for (const s of [a, b]) {
      s.setNoDelay(true);
      s.on("error", pair);
      s.on("close", pair);
    }
    a.pipe(b);
    b.pipe(a);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    base: `http://127.0.0.1:${server.address().port}`,
    cut() {
      cut = true;
      for (const p of [...pairs]) p();
    },
    mend() {
      cut = false;
    },
    close() {
      this.cut();
      server.close();
    },
  };
}

export function check(condition, sentence) {
  if (!condition) throw new Error("not so: " + sentence);
  console.log("  ok  " + sentence);
}

/* The same, of a page that may need a moment: asked until it is so, or for a minute. */
export async function soon(condition, sentence) {
  let why = "";
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((go) => setTimeout(go, 50))) {
    try {
      if (await condition()) return check(true, sentence);
      why = "";
    } catch (e) {
      why = ": " + e.message;
    }
  }
  check(false, sentence + why);
}

/* Runs the parts one after the other in one browser; the first that fails ends the whole with exit code 1. */
export async function main(name, body) {
  if (!token) {
    console.error("SLUICE_TOKEN is not set");
    process.exit(2);
  }
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const errors = [];
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  context.setDefaultTimeout(60_000); // a busy machine takes longer, which is no failure
  const page = await context.newPage();
  page.on("pageerror", (e) => errors.push(e.message));
  page.on("console", (m) => {
    // Breaches of the Content-Security-Policy and of Trusted Types are reported here; a 401 before signing in, a 409 and a 422 are
    // answers a page is made to deal with.
    if (m.type() === "error" && !/status of (401|409|422)|net::ERR_|WebSocket connection/.test(m.text())) errors.push(m.text() + (m.location()?.url ? " (" + m.location().url + ")" : ""));
  });
  console.log(name);
  try {
    await body(page, context);
    check(errors.length === 0, "the page reported no errors of its own" + (errors.length ? ": " + errors.join(" | ") : ""));
  } catch (e) {
    console.error("  FAILED  " + e.message);
    if (errors.length) console.error("  page: " + errors.join("\n        "));
    if (process.env.SHOTS) await page.screenshot({ path: path.join(process.env.SHOTS, name.replace(/\W+/g, "-") + ".png") }).catch(() => {});
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}
