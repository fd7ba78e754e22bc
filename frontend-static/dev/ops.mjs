/* The operator's part of the stand-in: people in runs, memory, personas, models, figures, administration. Answers true when it was asked. */
import { randomBytes } from "node:crypto";

const HOUR = 3_600_000;
const ago = (ms) => new Date(Date.now() - ms).toISOString();
const ahead = (ms) => new Date(Date.now() + ms).toISOString();
const ranks = { viewer: 0, runner: 1, editor: 2, admin: 3 };

const texts = [
  ["long_term", "Trials of a four-day week chose themselves: firms that expected to succeed took part.", 0.93],
  ["long_term", "Readers of the weekly report want the figure first and the method second.", 0.9],
  ["long_term", "The pricing page may not be quoted without the date it was read.", 0.88],
  ["working", "Staggered days answered the objection about service work in the last debate.", 0.74],
  ["working", "The sceptic concedes when a figure carries its source; give it one.", 0.7],
  ["working", "Invoices before 2024 are in the old archive; searching the new one finds nothing.", 0.66],
  ["quarantine", "The second year of a trial rarely looks like the first.", 0.55],
  ["quarantine", "Customers in Lyon ask for delivery on Saturdays.", 0.42],
];
const memories = texts.map(([tier, content, confidence], i) => ({
  id: `0193a7c2-0000-7000-8000-00000000000${i}`, content, tier, project: i % 3 === 2 ? "support" : "default", verified: tier === "long_term", confidence,
  metadata: { topic: ["work", "reports", "support"][i % 3] }, created_at: ago((i + 1) * 7 * HOUR), expires_at: tier === "working" ? ahead((i * 5 + 1) * HOUR) : null,
  reuse_count: tier === "quarantine" ? 0 : 9 - i, used_at: tier === "quarantine" ? null : ago(i * HOUR), run_id: null,
}));
let agents = [
  { name: "advocate", profile: "simulator", system: "You are the advocate. Make the best honest case for the proposition. Name the strongest reasons first.", description: "Makes the best honest case for a proposition.", params: { temperature: 0.7 }, updated_at: ago(30 * HOUR) },
  { name: "sceptic", profile: "simulator", system: "You are the sceptic. Look for assumptions nobody has checked.", description: "Looks for what is wrong with a proposition, and concedes what is right.", params: {}, updated_at: ago(30 * HOUR) },
  { name: "judge", profile: "simulator", system: "You are the judge. Weigh what was said and decide.", description: "Weighs what was said and decides.", params: { temperature: 0 }, updated_at: ago(3 * HOUR) },
];
const profiles = new Map([
  ["simulator", { name: "simulator", provider: "sim", model: "sim", base_url: "http://127.0.0.1:7071/v1", kind: "chat", simulated: true, origin: "built_in", keys: [], params: {}, limits: {}, timeouts: { connect_ms: 10000, first_byte_ms: 120000, idle_ms: 60000, total_ms: 600000 }, fallbacks: [] }],
  ["fast", { name: "fast", provider: "openai", model: "gpt-5-mini", base_url: "https://api.openai.com/v1", kind: "chat", simulated: false, origin: "stored", keys: ["…k3Qd", "…9aZm"], params: { temperature: 0.3 }, limits: { rpm: 500, tpm: 200000, max_concurrency: 8 }, timeouts: { connect_ms: 10000, first_byte_ms: 60000, idle_ms: 30000, total_ms: 300000 }, fallbacks: ["simulator"] }],
  ["anthropic", { name: "anthropic", provider: "anthropic", model: "claude-sonnet-4-5", base_url: "https://api.anthropic.com", kind: "chat", simulated: false, origin: "environment", keys: ["…AAbb"], params: {}, limits: {}, timeouts: { connect_ms: 10000, first_byte_ms: 120000, idle_ms: 60000, total_ms: 600000 }, fallbacks: [] }],
]);
let byDefault = "simulator";
const providers = [
  ["openai", "openai", "https://api.openai.com/v1", "gpt-5-mini", "OPENAI_API_KEY"], ["anthropic", "anthropic", "https://api.anthropic.com", "claude-sonnet-4-5", "ANTHROPIC_API_KEY"], ["gemini", "gemini", "https://generativelanguage.googleapis.com", "gemini-2.5-flash", "GEMINI_API_KEY"],
  ["ollama", "openai", "http://127.0.0.1:11434/v1", "llama3.2", "OLLAMA_HOST"], ["bedrock", null, null, null, "AWS_ACCESS_KEY_ID"],
].map(([id, protocol, base_url, model, variable]) => ({ id, protocol, base_url, model, variable, supported: protocol !== null }));
let prices = [
  { model: "gpt-5-mini", provider: "openai", input_usd_per_1m: 0.25, output_usd_per_1m: 2, as_of: "2026-10-01", source: "built-in" },
  { model: "claude-sonnet-4-5", provider: "anthropic", input_usd_per_1m: 3, output_usd_per_1m: 15, as_of: "2026-10-01", source: "built-in" },
  { model: "gemini-2.5-flash", provider: "gemini", input_usd_per_1m: 0.3, output_usd_per_1m: 2.5, as_of: "2026-11-02", source: "operator" },
];
let tokens = [{ id: "t1", name: "admin", role: "admin", last4: "x7Yq", created_at: ago(90 * HOUR), expires_at: null, revoked_at: null }, { id: "t2", name: "ci", role: "runner", last4: "Bn2k", created_at: ago(20 * HOUR), expires_at: ahead(240 * HOUR), revoked_at: null }];
const audit = Array.from({ length: 260 }, (_, i) => ({ id: 260 - i, at: ago(i * 900_000), actor: i % 3 ? "admin" : "ci", action: ["run.start", "workflow.put", "profile.put", "token.create", "run.cancel"][i % 5], target: ["council-debate", "council-debate", "fast", "ci", "0193a7c2"][i % 5], detail: i % 5 === 1 ? { version: i } : null }));
const governor = {
  breakers: [
    { key: "openai:gpt-5-mini:fast-1", state: "open", since_ms: 21000, failures: 7, consecutive: 7, calls: 12, opened: 3, retry_in_ms: 9000 },
    { key: "anthropic:claude-sonnet-4-5:anthropic-1", state: "half_open", since_ms: 1200, failures: 3, consecutive: 3, calls: 9, opened: 1, retry_in_ms: 0 },
    { key: "sim:sim:simulator-1", state: "closed", since_ms: 9000000, failures: 0, consecutive: 0, calls: 96, opened: 0, retry_in_ms: 0 },
  ],
  limiters: [{ name: "fast-1", rpm: 500, rpm_left: 412, tpm: 200000, tpm_left: 51000, reserved_tokens: 1800, in_flight: 3, waiting: 2, blocked_ms: 0, granted: 4210, granted_tokens: 2910000, learned: true }],
  keys: [{ profile: "fast", lane: 1, key: "…k3Qd", state: "resting", rests_ms: 9000, in_flight: 0, calls: 2100, failures: 41 }, { profile: "fast", lane: 2, key: "…9aZm", state: "fit", rests_ms: 0, in_flight: 3, calls: 2110, failures: 22 }],
  gates: [{ name: "fast", most: 8, inside: 3, waiting: 0 }],
  retry_budgets: [{ profile: "fast", first: 4100, further: 110, left: 710, refused: 0 }],
  budgets: [{ project: "default", period: "day", max_cost_usd: 20, spent_tokens: 2910000, spent_usd: 16.42, reserved_tokens: 1800, reserved_usd: 0.01, waiting: 0 }, { project: "support", period: "month", max_tokens: 5000000, spent_tokens: 1200000, spent_usd: 3.1, reserved_tokens: 0, reserved_usd: 0, waiting: 0 }],
};
let limits = { projects: { "*": { rpm: 300 }, default: { max_cost_usd: 20, period: "day" }, support: { max_tokens: 5000000, period: "month" } } };
let paused = false;
const caches = { response: { entries: 1240, bytes: 18_400_000, hits: 3120, misses: 8030 }, embedding: { entries: 8800, bytes: 36_100_000, hits: 20100, misses: 8800 } };

function figures(runs) {
  const all = [...runs.values()].map((r) => r.run);
  const series = Array.from({ length: 60 }, (_, i) => {
    const t = 59 - i;
    const w = 0.55 + 0.45 * Math.sin(i / 7) + ((i * 7919) % 13) / 60;
    return { at: ago(t * 60_000), runs_started: Math.round(14 * w), runs_succeeded: Math.round(12 * w), runs_failed: (i * 31) % 17 === 0 ? 2 : (i % 9 === 0 ? 1 : 0), input_tokens: Math.round(21000 * w), output_tokens: Math.round(9000 * w), cost_usd: 0.21 * w, latency_p50_ms: Math.round(1400 + 500 * w), latency_p95_ms: Math.round(3100 + 1500 * w), latency_p99_ms: i === 33 ? null : Math.round(5200 + 2900 * w), ttft_p50_ms: Math.round(310 + 130 * w) };
  });
  return {
    now: { runs_active: all.filter((r) => r.status === "running").length, runs_waiting: all.filter((r) => r.status === "waiting").length, tokens_per_s: 412.5, requests_per_s: 3.2, error_rate: 0.021, cache_hit_rate: 0.28, cost_usd_today: 6.42, ws_clients: 3 },
    series,
    models: [
      { profile: "fast", model: "gpt-5-mini", calls: 4210, errors: 63, latency_p50_ms: 1320, latency_p95_ms: 3900, ttft_p50_ms: 350, tokens: 2_910_000, cost_usd: 3.91 },
      { profile: "anthropic", model: "claude-sonnet-4-5", calls: 318, errors: 2, latency_p50_ms: 4100, latency_p95_ms: 9100, ttft_p50_ms: 820, tokens: 402_000, cost_usd: 2.51 },
      { profile: "simulator", model: "sim", calls: 96, errors: 0, latency_p50_ms: 900, latency_p95_ms: 1300, ttft_p50_ms: 210, tokens: 51_000, cost_usd: 0 },
    ],
    errors: [{ code: "overloaded", count: 41 }, { code: "timeout", count: 15 }, { code: "rate_limited", count: 9 }],
    pools: { workers: 8, busy: 3, queue: 0, db_connections: 6 },
    caches,
  };
}

/* Tokens made here open the stand-in, until they are revoked. */
const secrets = new Map();
export function roleOfMade(secret) {
  const t = tokens.find((x) => x.id === secrets.get(secret));
  return t && !t.revoked_at ? t.role : null;
}

export async function operator({ req, res, p, b, url, role, runs, json, problem, uuid7 }) {
  const need = (r) => (ranks[role] >= ranks[r] ? false : (problem(res, 403, "forbidden", `This needs the role ${r}; yours is ${role}.`), true));
  const done = (v, status) => (json(res, v, status), true);
  const no = (...a) => (problem(res, ...a), true);
  const m = req.method;
  let k;

  if (p === "/reviews") {
    const items = [...runs.values()].flatMap((r) => [...(r.reviews?.values() ?? [])].filter((x) => x.asked).map(({ asked: { node_id, ...ask } }) => ({ run_id: r.id, node: node_id, workflow: r.run.workflow, project: "default", ...ask })));
    return done({ items, next_cursor: null });
  }
  if (m === "POST" && (k = /^\/runs\/([^/]+)\/(review|signal|input|unlock|retry)$/.exec(p))) {
    const r = runs.get(k[1]);
    if (!r) return no(404, "not_found", "There is no run with this id.");
    if (need(k[2] === "unlock" ? "admin" : "runner")) return true;
    if (k[2] === "review") {
      const x = r.reviews?.get(b.node);
      if (!x) return no(409, "conflict", `The review of '${b.node}' has been answered already.`);
      if (b.action === "reject" && !b.reason) return no(422, "invalid", "A rejection needs a reason.", { errors: [{ pointer: "/reason", message: "must not be empty" }] });
      r.reviews.delete(b.node);
      const a = { action: b.action, content: b.content, reason: b.reason, reviewer: b.as ?? role };
      r.emit("human_review:resolved", { node_id: b.node, ...a });
      x.resolve(a);
    } else if (k[2] === "signal") {
      r.emit("signal:received", { signal: b.signal, payload: b.payload, by: role });
      r.signals?.get(b.signal)?.(b.payload);
      r.signals?.delete(b.signal);
    } else if (k[2] === "input") r.emit("user_input", { text: b.text, by: role });
    else if (k[2] === "unlock") {
      if (r.run.status !== "locked") return no(409, "conflict", `The run is ${r.run.status}.`);
      if (!b.justification && !(b.confirmations?.length === 3 && b.confirmations.every((c) => c === true))) return no(422, "invalid", "Give a justification or three confirmations.");
      r.run.status = "running";
      r.run.reason = null;
      r.emit("circuit_breaker:unlocked", { by: role, ...b });
      r.unlock?.();
    } else return no(409, "conflict", `A run that is ${r.run.status} cannot be retried here.`);
    return done(r.full());
  }

  if (p === "/memories" && m === "GET") {
    const t = url.searchParams.get("tier");
    const pr = url.searchParams.get("project");
    const items = memories.filter((x) => (!t || x.tier === t) && (!pr || x.project === pr));
    return done({ items, total: items.length, next_cursor: null });
  }
  if (p === "/memories" && m === "POST") {
    if (need("runner")) return true;
    if (memories.some((x) => x.content === b.content)) return done({ accepted: false, reason: "the same is known already" });
    const x = { id: uuid7(), verified: false, confidence: b.confidence ?? null, metadata: {}, created_at: ago(0), expires_at: b.tier === "working" ? ahead(24 * HOUR) : null, reuse_count: 0, used_at: null, run_id: null, ...b };
    memories.unshift(x);
    return done({ id: x.id, tier: x.tier, accepted: true }, 201);
  }
  if (p === "/memories/search") {
    const words = b.query.toLowerCase().split(/\W+/).filter(Boolean);
    const items = memories.filter((x) => (b.tiers ?? ["working", "long_term"]).includes(x.tier)).map((x) => ({ ...x, score: words.filter((w) => x.content.toLowerCase().includes(w)).length / words.length, why: "words" })).filter((x) => x.score > 0).sort((x, y) => y.score - x.score);
    return done({ items });
  }
  if (p === "/memories/digest") {
    const pr = url.searchParams.get("project") ?? "default";
    const raw = memories.filter((x) => x.tier === "quarantine" && x.project === pr);
    return done({ items: raw.map((x, i) => ({ id: x.id, content: x.content, count: 3 - i, confidence: x.confidence, ids: [x.id], runs: 2, first_at: ago(90 * HOUR), last_at: x.created_at })), memories: raw.length, insights: raw.length });
  }
  if ((k = /^\/memories\/([^/]+)(\/promote)?$/.exec(p))) {
    const i = memories.findIndex((x) => x.id === k[1]);
    if (i < 0) return no(404, "not_found", "There is no such memory.");
    if (m === "GET") return done({ ...memories[i], history: [{ at: memories[i].created_at, action: "store", from: null, to: "quarantine", by: "run", reason: null }, ...(memories[i].moves ?? [])], used_by: memories[i].reuse_count ? [...runs.values()].slice(0, 3).map((r) => ({ run_id: r.id, workflow: r.run.workflow, path: "history", status: r.run.status, at: r.run.created_at })) : [] });
    if (need("editor")) return true;
    if (k[2]) {
      const to = b.tier ?? "long_term";
      (memories[i].moves ??= []).push({ at: ago(0), action: "promote", from: memories[i].tier, to, by: role, reason: b.reason ?? null });
      Object.assign(memories[i], { tier: to, verified: true, expires_at: to === "working" ? ahead(24 * HOUR) : null });
      return done({ accepted: true, id: memories[i].id, tier: to, moved: true });
    }
    memories.splice(i, 1);
    res.writeHead(204);
    return res.end(), true;
  }

  if (p === "/agents") return done({ items: agents, next_cursor: null });
  if ((k = /^\/agents\/([^/]+)$/.exec(p))) {
    if (m === "GET") return agents.some((a) => a.name === k[1]) ? done(agents.find((a) => a.name === k[1])) : no(404, "not_found", "There is no such agent.");
    if (need("editor")) return true;
    agents = agents.filter((a) => a.name !== k[1]);
    if (m === "DELETE") return res.writeHead(204), res.end(), true;
    if (!b.system) return no(422, "invalid", "The agent is not complete.", { errors: [{ pointer: "/system", message: "is missing" }] });
    agents.push({ ...b, name: k[1], updated_at: ago(0) });
    return done(agents.at(-1));
  }

  const shown = (x, all) => ({ ...(all ? x : Object.fromEntries(["name", "provider", "model", "base_url", "kind", "simulated", "origin", "keys"].map((f) => [f, x[f]]))), default: x.name === byDefault });
  if (p === "/llm/providers") return done({ items: providers, next_cursor: null });
  if (p === "/llm/profiles") return done({ items: [...profiles.values()].map((x) => shown(x)), only_simulated: false, next_cursor: null });
  if ((k = /^\/llm\/profiles\/([^/]+)(\/test)?$/.exec(p))) {
    const x = profiles.get(k[1]);
    if (!x && m !== "PUT") return no(404, "not_found", "there is no such profile");
    if (k[2]) {
      if (need("editor")) return true;
      await new Promise((r) => setTimeout(r, 400));
      return done(x.simulated ? { ok: true, profile: x.name, model: x.model, simulated: true, first_token_ms: 180, total_ms: 420, text: "Ready.", usage: { input_tokens: 12, output_tokens: 2 } } : { ok: false, profile: x.name, model: x.model, http_status: 401, error: { code: "unauthorized", message: "The provider refused the key." } });
    }
    if (m === "GET") return done(shown(x, true));
    if (need("admin")) return true;
    if (m === "DELETE") return profiles.delete(k[1]), res.writeHead(204), res.end(), true;
    if (!providers.some((q) => q.id === b.provider) && b.provider !== "sim") return no(422, "invalid", "The profile is not valid.", { errors: [{ pointer: "/provider", message: "is not one of the known providers" }] });
    const { api_keys, default: d, ...rest } = b;
    profiles.set(k[1], { kind: "chat", simulated: false, params: {}, limits: {}, timeouts: {}, fallbacks: [], ...rest, name: k[1], origin: "stored", keys: api_keys ? api_keys.map((s) => "…" + s.slice(-4)) : (x?.keys ?? []) });
    if (d) byDefault = k[1];
    return done(shown(profiles.get(k[1]), true));
  }
  if (p === "/llm/prices") {
    if (m === "PUT") {
      if (need("admin")) return true;
      prices = [...b.items.map((x) => ({ as_of: ago(0).slice(0, 10), ...x, source: "operator" })), ...prices.filter((x) => x.source === "built-in")];
    }
    return done({ items: prices, built_in_as_of: "2026-10-01", next_cursor: null });
  }

  if (p === "/stats") return done(figures(runs));
  if (p === "/cache/stats") return done({ caches });
  if (p === "/cache/clear") {
    if (need("admin")) return true;
    let cleared = 0;
    for (const [n, c] of Object.entries(caches)) {
      if (b.cache && b.cache !== n) continue;
      cleared += c.entries;
      Object.assign(c, { entries: 0, bytes: 0 });
    }
    return done({ cleared });
  }
  if (p.startsWith("/admin/")) {
    if (need("admin")) return true;
    if (p === "/admin/tokens" && m === "GET") return done({ items: tokens, next_cursor: null });
    if (p === "/admin/tokens") {
      if (tokens.some((t) => t.name === b.name)) return no(409, "conflict", `a token named '${b.name}' is in use`);
      const secret = "slt_" + randomBytes(24).toString("base64url");
      const t = { id: uuid7(), name: b.name, role: b.role, last4: secret.slice(-4), created_at: ago(0), expires_at: b.expires_at ?? null, revoked_at: null };
      tokens.unshift(t);
      secrets.set(secret, t.id);
      return done({ ...t, token: secret }, 201);
    }
    if ((k = /^\/admin\/tokens\/(.+)$/.exec(p))) {
      tokens = tokens.map((t) => (t.id === k[1] ? { ...t, revoked_at: ago(0) } : t));
      return res.writeHead(204), res.end(), true;
    }
    if (p === "/admin/breakers") return done(governor);
    if ((k = /^\/admin\/breakers\/(.+)\/reset$/.exec(p))) {
      const x = governor.breakers.find((y) => y.key === decodeURIComponent(k[1]));
      if (!x) return no(404, "not_found", "There is no such breaker.");
      Object.assign(x, { state: "closed", since_ms: 0, failures: 0, consecutive: 0, retry_in_ms: 0 });
      return done(x);
    }
    if (p === "/admin/limits") {
      if (m === "PUT") limits = b;
      return done(limits);
    }
    if (p === "/admin/instances") return done({ items: [{ id: "81723498172349817", host: "sluice-1", pid: 812, version: "0.1.0", started_at: ago(30 * HOUR), expires_at: ahead(8000), self: true, alive: true, runs: 12 }], next_cursor: null });
    if (["/admin/pause", "/admin/resume", "/admin/drain"].includes(p)) {
      paused = p === "/admin/pause" || (paused && p !== "/admin/resume");
      return done({ paused, draining: p === "/admin/drain", runs_active: 12, ...(p === "/admin/pause" ? { runs_paused: 12 } : p === "/admin/resume" ? { runs_resumed: 12 } : {}) });
    }
    if (p === "/admin/audit/verify") return done({ ok: true, lines: audit.length });
    if (p === "/admin/audit") {
      const after = Number(url.searchParams.get("cursor") ?? 261);
      const action = url.searchParams.get("action") ?? "";
      const actor = url.searchParams.get("actor") ?? "";
      const limit = Number(url.searchParams.get("limit") ?? 50);
      const all = audit.filter((x) => x.id < after && (!actor || x.actor === actor) && (!action || x.action === action || (action.endsWith(".") && x.action.startsWith(action))));
      return done({ items: all.slice(0, limit), next_cursor: all.length > limit ? String(all[limit - 1].id) : null });
    }
  }
  return false;
}
