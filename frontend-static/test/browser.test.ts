/* The committed pages in a browser, under the server's Content-Security-Policy, against the stand-in of dev/mock.mjs. The same steps
 * run against a real server with `npm run e2e`. */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";

const chromium = process.env.CHROMIUM ?? "/usr/bin/chromium";
const here = path.dirname(new URL(import.meta.url).pathname);
const steps = path.join(here, "../../tests/ui");
const can = existsSync(chromium) && existsSync(steps);
let mock: ChildProcess;
let url = "";

beforeAll(async () => {
  if (!can) return;
  mock = spawn(process.execPath, [path.join(here, "../dev/mock.mjs"), "--port", "0", "--speed", "2", "--empty"], { stdio: ["ignore", "pipe", "inherit"] });
  url = await new Promise((resolve) => mock.stdout!.on("data", (d: Buffer) => {
    const m = /(http:\/\/[^/]+)\//.exec(d.toString());
    if (m) resolve(m[1]!);
  }));
});

afterAll(() => void mock?.kill());

it.skipIf(!can).each([
  ["a run is followed in a browser from the first click to its end", "run_view.mjs"],
  ["a workflow is drawn in a browser from an empty canvas", "editor.mjs"],
// Once more, because a browser on a machine that does other things at the same time was seen to miss a step, one time in five.
])("%s", { timeout: 400_000, retry: 1 }, async (_, file) => {
  const p = spawn(process.execPath, [path.join(steps, file)], { env: { ...process.env, CHROMIUM: chromium, SLUICE_URL: url, SLUICE_TOKEN: "mock-token", SLUICE_WORKFLOW: "three-voices" } });
  let said = "";
  p.stdout.on("data", (d: Buffer) => (said += d.toString()));
  p.stderr.on("data", (d: Buffer) => (said += d.toString()));
  const code = await new Promise<number | null>((resolve) => p.on("close", resolve));
  expect(code, said).toBe(0);
});
