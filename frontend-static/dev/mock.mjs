/* A stand-in for the server while working on the page: the REST routes and the socket the two pages use, a few workflows, and a model
 * that talks. Serves dist/ under the same Content-Security-Policy as the server does. Everything is in memory.
 *
 *   node dev/mock.mjs [--port 7171] [--speed 1] [--empty]
 *
 * POST /dev/drop breaks every socket, POST /dev/refuse?ms=N breaks them and refuses new ones for a while, POST /dev/hole makes the
 * next chunk go missing: what a page must survive. */
import http from "node:http";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { randomBytes } from "node:crypto";
import { accept } from "./ws.mjs";
import { editor } from "./editor.mjs";
import { workflows, say, think } from "./fixtures.mjs";
import { operatorWorkflows } from "./ops-fixtures.mjs";
import { operator, roleOfMade } from "./ops.mjs";

workflows.push(...operatorWorkflows);

const arg = (name, fallback) => {
  const i = process.argv.indexOf("--" + name);
  return i < 0 ? fallback : process.argv[i + 1];
};
const PORT = Number(arg("port", 7171));
const SPEED = Number(arg("speed", 1));
const TOKEN = process.env.SLUICE_TOKEN ?? "mock-token";
const dist = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "dist");
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; font-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; require-trusted-types-for 'script'";

const sessions = new Map(); // to roles
const tickets = new Set();
const sockets = new Set();
const runs = new Map();
let refuseUntil = 0;
let hole = false;

const now = () => new Date().toISOString();
const sleep = (ms) => new Promise((r) => setTimeout(r, ms / SPEED));
function uuid7(at = Date.now()) {
  const b = randomBytes(16);
  b.writeUIntBE(at, 0, 6);
  b[6] = (b[6] & 15) | 0x70;
  b[8] = (b[8] & 63) | 0x80;
  return b.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

class Run {
  constructor(wf, inputs, o = {}) {
    this.at = o.at ?? Date.now();
    this.id = uuid7(this.at);
    this.wf = wf;
    this.nodes = new Map();
    this.streams = new Map();
    this.journal = [];
    this.gate = null;
    this.run = {
      id: this.id, workflow: wf.name, version: wf.version, project: "default", status: "queued", reason: null,
      created_at: new Date(this.at).toISOString(), started_at: null, finished_at: null, inputs, outputs: null, error: null,
      usage: { input_tokens: 0, output_tokens: 0 }, cost_usd: 0, nodes_total: wf.definition.nodes.length, nodes_done: 0, last_seq: 0,
      tags: [], priority: 0, simulated: true,
    };
    runs.set(this.id, this);
  }
  emit(event, data) {
    const e = { event, run_id: this.id, seq: ++this.run.last_seq, ts: now(), data };
    this.journal.push(e);
    for (const s of sockets) if (s.subs.has(this.id) || s.all) s.ws.send(e);
  }
  exec(what, data = {}) {
    this.run.status = { started: "running", resumed: "running", completed: "succeeded" }[what] ?? what;
    if (what === "started") this.run.started_at = now();
    if (["completed", "failed", "cancelled"].includes(what)) this.run.finished_at = now();
    this.run.reason = data.reason ?? null;
    if (data.outputs !== undefined) this.run.outputs = data.outputs;
    if (data.error) this.run.error = data.error;
    this.emit("execution:" + what, data);
  }
  node(p, type, status, extra = {}) {
    const n = this.nodes.get(p) ?? { path: p, type, status: "pending", attempt: 0, started_at: null, finished_at: null };
    this.nodes.set(p, n);
    this.run.nodes_total = Math.max(this.run.nodes_total, this.nodes.size);
    const { output, ...seen } = extra;
    Object.assign(n, seen, { status });
    if (output !== undefined) n.output = output;
    if (status === "running") n.started_at = now();
    if (["completed", "failed", "skipped", "cancelled"].includes(status)) {
      n.finished_at = now();
      this.run.nodes_done++;
    }
    this.emit("node_state_change", { node_id: p, type, status, attempt: n.attempt, ...seen });
  }
  push(p, chunk, thinking) {
    const s = this.streams.get(p);
    const bytes = Buffer.byteLength(chunk);
    s.parts.push({ offset: s.end, end: s.end + bytes, chunk, is_thinking: thinking });
    s.end += bytes;
    if (hole) return void (hole = false);
    for (const k of sockets) if (k.subs.has(this.id)) k.ws.send([{ event: "token_stream", run_id: this.id, ts: now(), data: { node_id: p, attempt: s.attempt, offset: s.end - bytes, end: s.end, chunk, is_thinking: thinking } }]);
  }
  full() {
    return { ...this.run, definition: this.wf.definition, nodes: [...this.nodes.values()] };
  }
  async passGate() {
    while (this.gate) await this.gate;
    if (this.run.status === "cancelled") throw new Error("cancelled");
  }
  pause() {
    let open;
    this.gate = new Promise((r) => (open = r));
    this.gate.open = open;
  }
  release() {
    const g = this.gate;
    this.gate = null;
    g?.open();
  }
  async llm(p, text, o = {}) {
    await this.passGate();
    for (let attempt = 1; ; attempt++) {
      this.node(p, "llm", "running", { attempt });
      if (attempt > 1) this.emit("stream_reset", { node_id: p, attempt, reason: "overloaded" });
      this.streams.set(p, { attempt, end: 0, parts: [] });
      await sleep(250 + Math.random() * 300);
      for (const [words, thinking] of [[o.thinking ?? "", true], [text, false]]) {
        const bits = words.match(/\s*\S+/gu) ?? [];
        for (let i = 0; i < bits.length; i++) {
          if (this.run.status === "cancelled") throw new Error("cancelled");
          if (o.failFirst && attempt === 1 && i > bits.length / 3 && !thinking) break;
          this.push(p, bits[i], thinking);
          await sleep(18 + Math.random() * 40);
        }
      }
      if (o.failFirst && attempt === 1) {
        this.node(p, "llm", "retrying", { attempt, reason: "backoff 0.8 s after overloaded", error: { code: "overloaded", message: "The provider answered 529." } });
        await sleep(800);
        continue;
      }
      const out = Math.ceil(text.length / 4);
      const usage = { input_tokens: 120 + (o.in ?? 0), output_tokens: out };
      this.run.usage.input_tokens += usage.input_tokens;
      this.run.usage.output_tokens += usage.output_tokens;
      this.run.cost_usd += out * 0.000012;
      this.emit("token_usage", { node_id: p, model: "sim-large", ...usage, estimated_cost_usd: out * 0.000012, run_tokens: this.run.usage.input_tokens + this.run.usage.output_tokens, run_cost_usd: this.run.cost_usd });
      this.node(p, "llm", "completed", { attempt, error: null, output: { text, thinking: o.thinking ?? "", json: o.json ?? null, model: "sim-large", finish_reason: "stop", usage } });
      this.nodes.get(p).usage = usage;
      this.nodes.get(p).error = null;
      return;
    }
  }
  sleep(ms) {
    return sleep(ms);
  }
  /* A person is asked; POST …/review answers. */
  async review(p, { seconds, ...ask }) {
    await this.passGate();
    const at = Date.now();
    this.node(p, "human_review", "running", { attempt: 1 });
    this.node(p, "human_review", "waiting", { attempt: 1 });
    const asked = { node_id: p, ...ask, requested_at: new Date(at).toISOString(), deadline_at: seconds ? new Date(at + seconds * 1000).toISOString() : null };
    this.reviews ??= new Map();
    const answer = await new Promise((resolve) => {
      this.reviews.set(p, { asked, resolve });
      this.emit("human_review:requested", asked);
      this.exec("waiting", { reason: "A person is asked." });
    });
    if (this.run.status === "cancelled") throw new Error("cancelled");
    this.node(p, "human_review", "completed", { attempt: 1, output: answer });
    this.exec("resumed");
    return answer;
  }
  async awaitSignal(p, name) {
    this.node(p, "wait_signal", "running", { attempt: 1 });
    this.node(p, "wait_signal", "waiting", { attempt: 1, reason: `signal '${name}'` });
    this.exec("waiting", { reason: `Waits for the signal '${name}'.` });
    this.signals ??= new Map();
    const payload = await new Promise((resolve) => this.signals.set(name, resolve));
    if (this.run.status === "cancelled") throw new Error("cancelled");
    this.node(p, "wait_signal", "completed", { attempt: 1, output: { payload } });
    this.exec("resumed");
  }
  async trip(p, text, why) {
    this.node(p, "llm", "running", { attempt: 1 });
    this.streams.set(p, { attempt: 1, end: 0, parts: [] });
    for (const word of text.match(/\s*\S+/gu)) {
      this.push(p, word, false);
      await sleep(6);
    }
    this.run.status = "locked";
    this.run.reason = why.message;
    this.emit("circuit_breaker:tripped", { node_id: p, ...why });
    await new Promise((resolve) => (this.unlock = resolve));
    if (this.run.status === "cancelled") throw new Error("cancelled");
  }
  async quick(p, type, output, ms = 60, extra = {}) {
    await this.passGate();
    this.node(p, type, "running", { attempt: 1 });
    await sleep(ms);
    this.node(p, type, "completed", { attempt: 1, ...extra, output });
  }
  async play() {
    try {
      await sleep(120);
      this.exec("started");
      await this.wf.script(this, { say, think, sleep });
    } catch (e) {
      if (this.run.status === "cancelled") return;
      this.exec("failed", { error: { code: e.code ?? "internal", message: e.message, node: e.node } });
    }
  }
}

function problem(res, status, code, detail, extra = {}) {
  res.writeHead(status, { "Content-Type": "application/problem+json", "X-Request-Id": uuid7() });
  res.end(JSON.stringify({ type: "about:blank", title: code, status, code, detail, ...extra }));
}
const json = (res, v, status = 200) => {
  res.writeHead(status, { "Content-Type": "application/json" });
  res.end(JSON.stringify(v));
};
const cookieOf = (req) => /sluice_session=(\w+)/.exec(req.headers.cookie ?? "")?.[1];
/* TOKEN is an admin's; TOKEN-viewer, TOKEN-runner and TOKEN-editor are the others'. */
const roleOfToken = (req) => {
  const m = /^Bearer (.*?)(?:-(viewer|runner|editor))?$/.exec(req.headers.authorization ?? "");
  return m && m[1] === TOKEN ? (m[2] ?? "admin") : roleOfMade(req.headers.authorization?.slice(7));
};
const roleOf = (req) => sessions.get(cookieOf(req)) ?? roleOfToken(req);

/* An order to a run; why not, when it is refused. */
function obey(r, order) {
  const st = r.run.status;
  const ended = ["succeeded", "failed", "cancelled"].includes(st);
  if (order === "pause" && (st === "running" || st === "waiting")) {
    r.pause();
    r.exec("paused", { reason: "Paused by admin. Model calls under way may finish." });
  } else if (order === "resume" && st === "paused") {
    r.exec("resumed");
    r.release();
  } else if (order === "cancel" && !ended) {
    for (const n of r.nodes.values()) if (n.status === "running" || n.status === "retrying") r.node(n.path, n.type, "cancelled", { attempt: n.attempt });
    r.exec("cancelled", { reason: "Cancelled by admin." });
    r.release();
    for (const x of r.reviews?.values() ?? []) x.resolve({});
    for (const f of r.signals?.values() ?? []) f(null);
    r.unlock?.();
  } else return `A run that is ${st} cannot be ${{ pause: "paused", cancel: "cancelled", retry: "retried here" }[order] ?? order + "d"}.`;
  return null;
}

const usual = { pause: ["running", "waiting"], resume: ["paused"], cancel: ["queued", "running", "waiting", "paused", "locked"], retry: ["failed", "cancelled"] };

async function api(req, res, url) {
  const p = url.pathname.slice("/api/v1".length);
  let body = "";
  for await (const c of req) body += c;
  const b = body ? JSON.parse(body) : {};
  if (p === "/session" && req.method === "POST") {
    const role = roleOfToken(req);
    if (!role) return problem(res, 401, "unauthenticated", "The token is not known.");
    const id = randomBytes(16).toString("hex");
    sessions.set(id, role);
    res.setHeader("Set-Cookie", `sluice_session=${id}; HttpOnly; SameSite=Strict; Path=/`);
    return json(res, { role, name: role });
  }
  const role = roleOf(req);
  if (!role) return problem(res, 401, "unauthenticated", "Sign in first.");
  if (p === "/session" && req.method === "DELETE") {
    sessions.delete(cookieOf(req));
    res.writeHead(204);
    return res.end();
  }
  if (p === "/session") return json(res, { role, name: role });
  if (p === "/ws-ticket") {
    const t = randomBytes(12).toString("hex");
    tickets.add(t);
    return json(res, { ticket: t });
  }
  if (await operator({ req, res, p, b, url, role, runs, json, problem, uuid7, started: Date.now() })) return;
  if (editor({ req, res, p, b, url, json, problem })) return;
  if (p === "/llm/profiles") return json(res, { items: [{ name: "simulator", provider: "openai", model: "sim-large", base_url: "http://127.0.0.1:7071/v1", kind: "chat", default: true, simulated: true, keys: [] }] });
  if (p === "/workflows") return json(res, { items: workflows.map((w) => ({ name: w.name, version: w.version, description: w.definition.description, created_at: now() })), next_cursor: null });
  let m;
  if ((m = /^\/workflows\/([^/]+)$/.exec(p))) {
    const w = workflows.find((x) => x.name === m[1]);
    return w ? json(res, { name: w.name, version: w.version, definition: w.definition, created_at: now() }) : problem(res, 404, "not_found", `There is no workflow '${m[1]}'.`);
  }
  if (p === "/runs" && req.method === "GET") {
    const limit = Number(url.searchParams.get("limit") ?? 50);
    const status = (url.searchParams.get("status") ?? "").split(",").filter(Boolean);
    const wf = url.searchParams.get("workflow");
    const cursor = url.searchParams.get("cursor");
    let all = [...runs.values()].map((r) => r.run).sort((a, c) => (a.id < c.id ? 1 : -1));
    if (status.length) all = all.filter((r) => status.includes(r.status));
    if (wf) all = all.filter((r) => r.workflow === wf);
    if (cursor) all = all.filter((r) => r.id < cursor);
    const items = all.slice(0, limit).map(({ inputs: _i, outputs: _o, ...r }) => r);
    return json(res, { items, next_cursor: all.length > limit ? items[items.length - 1].id : null });
  }
  if (p === "/runs" && req.method === "POST") {
    const w = b.definition ? { name: b.definition.name ?? "draft", version: null, definition: b.definition, script: async (r) => r.exec("completed", { outputs: {} }) } : workflows.find((x) => x.name === b.workflow);
    if (!w) return problem(res, 404, "not_found", `There is no workflow '${b.workflow}'.`);
    const missing = (w.definition.inputs?.required ?? []).filter((k) => !b.inputs?.[k]);
    if (missing.length) return problem(res, 422, "invalid", "The inputs do not fit the workflow.", { errors: missing.map((k) => ({ pointer: "/inputs/" + k, message: "must not be empty" })) });
    const r = new Run(w, b.inputs);
    void r.play();
    return json(res, { id: r.id, status: "queued", url: "/api/v1/runs/" + r.id, ws_url: "/ws" }, 202);
  }
  if (p === "/runs/bulk" && req.method === "POST") {
    if (role === "viewer" || (role === "runner" && !b.ids)) return problem(res, 403, "forbidden", `This needs the role ${b.ids ? "runner" : "editor"}; yours is ${role}.`);
    if (!usual[b.action] || (b.ids ? b.filter || !b.ids.length || b.ids.length > 200 : !Object.keys(b.filter ?? {}).length)) return problem(res, 422, "invalid", "the bulk order is not understood");
    const give = (ids) => ids.map((id) => [id, runs.has(id) ? obey(runs.get(id), b.action) : "there is no such run"]).filter(([, why]) => why);
    const told = (gone) => gone.slice(0, 200).map(([id, message]) => (runs.has(id) ? { id, state: runs.get(id).run.status, code: "conflict", message } : { id, code: "not_found", message }));
    if (b.ids) {
      const ids = [...new Set(b.ids)];
      const gone = give(ids);
      return json(res, { action: b.action, matched: ids.length, done: ids.length - gone.length, refused: gone.length, more: false, dry_run: false, refusals: told(gone), refusals_cut: false });
    }
    const states = b.filter.status ? [b.filter.status].flat() : usual[b.action];
    const all = [...runs.values()].filter((r) => states.includes(r.run.status) && (!b.filter.workflow || r.run.workflow === b.filter.workflow)).sort((x, y) => (x.id < y.id ? 1 : -1));
    const some = all.slice(0, b.limit ?? 200);
    const gone = b.dry_run ? [] : give(some.map((r) => r.id));
    return json(res, { action: b.action, matched: some.length, done: b.dry_run ? 0 : some.length - gone.length, refused: gone.length, more: all.length > some.length, dry_run: Boolean(b.dry_run), refusals: told(gone), refusals_cut: gone.length > 200 });
  }
  if ((m = /^\/runs\/([^/]+)(?:\/(\w+))?$/.exec(p))) {
    const r = runs.get(m[1]);
    if (!r) return problem(res, 404, "not_found", "There is no run with this id.");
    if (!m[2]) return json(res, r.full());
    if (m[2] === "events") {
      const after = Number(url.searchParams.get("after_seq") ?? 0);
      const limit = Number(url.searchParams.get("limit") ?? 100);
      const items = r.journal.filter((e) => e.seq > after).slice(0, limit).map(({ run_id: _r, ...e }) => e);
      return json(res, { items, next_cursor: null });
    }
    if (m[2] === "ledger") return json(res, { items: [] });
    const why = obey(r, m[2]);
    if (why) return problem(res, 409, "conflict", why, { status: r.run.status });
    return json(res, r.full());
  }
  problem(res, 404, "not_found", "No such route.");
}

const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2", ".svg": "image/svg+xml" };
const server = http.createServer(async (req, res) => {
  const url = new URL(req.url, "http://x");
  try {
    if (url.pathname.startsWith("/api/v1/")) return await api(req, res, url);
    if (url.pathname === "/dev/drop") {
      for (const s of sockets) s.ws.drop();
      return json(res, {});
    }
    if (url.pathname === "/dev/refuse") {
      refuseUntil = Date.now() + Number(url.searchParams.get("ms") ?? 5000);
      for (const s of sockets) s.ws.drop();
      return json(res, {});
    }
    if (url.pathname === "/dev/hole") {
      hole = true;
      return json(res, {});
    }
    const file = url.pathname.startsWith("/assets/") ? path.normalize(url.pathname) : "/index.html";
    const data = await readFile(path.join(dist, file));
    res.writeHead(200, { "Content-Type": types[path.extname(file)] ?? "application/octet-stream", "Content-Security-Policy": CSP });
    res.end(data);
  } catch (e) {
    if (!res.headersSent) problem(res, e.code === "ENOENT" ? 404 : 500, "error", e.message);
  }
});
server.on("upgrade", (req, socket) => {
  const t = new URL(req.url, "http://x").searchParams.get("ticket");
  if (!tickets.delete(t) || Date.now() < refuseUntil) return socket.end("HTTP/1.1 401 Unauthorized\r\n\r\n");
  const s = { ws: accept(req, socket, "sluice.v1"), subs: new Set(), all: false };
  sockets.add(s);
  s.ws.onclose = () => sockets.delete(s);
  s.ws.onmessage = (text) => {
    const c = JSON.parse(text);
    const r = runs.get(c.run_id);
    if (c.cmd === "ping") return s.ws.send({ event: "pong", id: c.id });
    if (c.cmd === "subscribe_all") s.all = true;
    if (c.cmd === "unsubscribe_all") s.all = false;
    if (c.cmd === "unsubscribe") s.subs.delete(c.run_id);
    if (c.cmd === "subscribe") {
      if (!r) return s.ws.send({ event: "error", id: c.id, data: { code: "not_found", message: "There is no run with this id." } });
      s.subs.add(r.id);
      s.ws.send({ event: "ack", id: c.id });
      if (c.after_seq === undefined) s.ws.send({ event: "snapshot", run_id: r.id, seq: r.run.last_seq, ts: now(), data: { ...r.full(), streams: Object.fromEntries([...r.streams].map(([k, v]) => [k, { attempt: v.attempt, end: v.end }])) } });
      else for (const e of r.journal) if (e.seq > c.after_seq) s.ws.send(e);
      for (const [p, st] of r.streams) {
        const from = c.streams?.[p]?.attempt === st.attempt ? Math.min(c.streams[p].offset, st.end) : 0;
        // Everything between the cursor and the end, merged as far as the kind of text allows.
        let run = null;
        const flush = () => run && s.ws.send({ event: "token_stream", run_id: r.id, ts: now(), data: { node_id: p, attempt: st.attempt, ...run } });
        for (const part of st.parts) {
          if (part.end <= from) continue;
          if (run && run.is_thinking === part.is_thinking) {
            run.chunk += part.chunk;
            run.end = part.end;
          } else {
            flush();
            run = { ...part };
          }
        }
        flush();
      }
      return;
    }
    s.ws.send({ event: "ack", id: c.id });
  };
});

if (!process.argv.includes("--empty")) {
  // A past to look at: every end a run can have, over the last two days.
  const ends = ["succeeded", "succeeded", "failed", "succeeded", "cancelled", "succeeded", "locked", "waiting", "succeeded", "paused"];
  for (let i = 0; i < 64; i++) {
    const w = workflows[i % workflows.length];
    const at = Date.now() - (i + 1) * (i < 6 ? 240_000 : 2_700_000) - 60_000;
    const r = new Run(w, { topic: "An earlier question" }, { at });
    const st = ends[i % ends.length];
    const ms = 4000 + ((i * 7919) % 90_000);
    Object.assign(r.run, {
      status: st, started_at: new Date(at + 300).toISOString(),
      finished_at: ["succeeded", "failed", "cancelled"].includes(st) ? new Date(at + ms).toISOString() : null,
      nodes_total: 4 + (i % 9), nodes_done: st === "succeeded" ? 4 + (i % 9) : 2 + (i % 3),
      usage: { input_tokens: 400 + i * 37, output_tokens: 900 + ((i * 977) % 9000) }, cost_usd: ((i * 977) % 9000) * 0.000013, last_seq: 30,
      error: st === "failed" ? { code: "timeout", message: "The model did not begin to answer within 30 s.", node: "judge" } : null,
    });
  }
  // Some are forks of an older run of the same workflow.
  const past = [...runs.values()];
  for (let i = 3; i + workflows.length < past.length; i += 11)
    past[i].run.forked_from = { run: past[i + workflows.length].id, at_seq: 12, ...(i % 2 ? { from: "judge" } : {}) };
}
server.listen(PORT, "127.0.0.1", () => console.log(`mock: http://127.0.0.1:${server.address().port}/#token=${TOKEN}`));
