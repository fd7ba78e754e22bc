/* The part of the stand-in server that the editor needs: node types, checking, versions, templates. The types are those of a real
 * server, as it told them (GET /api/v1/node-types); checking finds only what can be seen without knowing expressions. */
import { readFileSync } from "node:fs";
import { workflows } from "./fixtures.mjs";

const types = JSON.parse(readFileSync(new URL("node-types.json", import.meta.url), "utf8"));
const tools = JSON.parse(readFileSync(new URL("tools.json", import.meta.url), "utf8"));
const versions = new Map(workflows.map((w) => [w.name, [{ version: w.version, created_at: new Date(Date.now() - 86_400_000).toISOString(), created_by: "admin", definition: w.definition }]]));
const templates = workflows.slice(0, 2).map((w) => ({ name: w.name, title: w.name.replace(/-/g, " "), description: w.definition.description, category: "debate", system: true, definition: w.definition }));

function check(def) {
  const errors = [];
  const bad = (pointer, message) => errors.push({ pointer, message });
  const walk = (g, at, above) => {
    const ids = new Set(g.nodes.map((n) => n.id));
    g.nodes.forEach((n, i) => {
      const here = `${at}/nodes/${i}`;
      const type = types.items.find((t) => t.name === n.type);
      if (!type) return bad(here + "/type", `there is no node type '${n.type}'`);
      const schema = type.params_schema;
      for (const k of schema.required ?? []) if (n.params?.[k] === undefined) bad(`${here}/params`, `'${k}' is missing: ${schema.properties[k].description ?? "it is needed"}`);
      for (const k of Object.keys(n.params ?? {})) if (!schema.properties?.[k]) bad(`${here}/params/${k}`, `'${k}' is no parameter of ${n.type}`);
      for (const [k, v] of Object.entries(n.params ?? {}))
        if (typeof v === "string") for (const m of v.matchAll(/nodes\.(\w+)/g)) if (![...ids, ...above].includes(m[1])) bad(`${here}/params/${k}`, `there is no node '${m[1]}' above this one`);
      if (Array.isArray(n.params?.body?.nodes)) walk(n.params.body, `${here}/params/body`, [...above, ...ids]);
    });
    (g.edges ?? []).forEach((e, i) => ["from", "to"].forEach((k) => ids.has(e[k]) || bad(`${at}/edges/${i}/${k}`, `there is no node '${e[k]}' in this graph`)));
    if (g.nodes.length === 0) bad(at, "the graph needs 'nodes', a list with at least one node");
  };
  walk(def, "", []);
  return { valid: errors.length === 0, errors, warnings: [] };
}

/* True when it has answered. */
export function editor({ req, res, p, b, url, json, problem }) {
  const m = /^\/workflows(?:\/([^/]+)(?:\/(versions|estimate))?)?$/.exec(p);
  const def = b.definition ?? b;
  if (p === "/node-types") json(res, types);
  else if (p === "/tools") json(res, tools);
  else if (p === "/workflows/validate") json(res, check(def));
  else if (p === "/templates" && req.method === "GET") json(res, { items: templates, next_cursor: null });
  else if (p === "/templates") {
    templates.push({ system: false, ...b });
    json(res, b, 201);
  } else if (p.startsWith("/templates/")) {
    const at = templates.findIndex((t) => "/templates/" + t.name === p);
    if (at < 0) return problem(res, 404, "not_found", "There is no such template."), true;
    if (templates[at].system) return problem(res, 403, "forbidden", "Templates of the system stay as they are."), true;
    templates.splice(at, 1);
    res.writeHead(204).end();
  } else if (m?.[2] === "estimate") {
    const calls = JSON.stringify(def).split('"type":"llm"').length - 1;
    const spread = (n) => ({ min: n / 2, expected: n, max: n * 3 });
    json(res, { tokens: spread(calls * 900), cost_usd: spread(calls * 0.004), duration_s: calls * 6, nodes: [], warnings: [] });
  } else if (m && (req.method === "POST" || req.method === "PUT")) {
    const said = check(def);
    const name = m[1] ?? def.name;
    if (!said.valid) return problem(res, 422, "invalid", `there are ${said.errors.length} things to mend`, { errors: said.errors }), true;
    let w = workflows.find((x) => x.name === name);
    if (req.method === "POST" && w) return problem(res, 409, "conflict", `there is a workflow '${name}' already; PUT makes its next version`), true;
    if (!w) workflows.push((w = { name, version: 0, script: async (r) => r.exec("completed", { outputs: {} }) }));
    const same = JSON.stringify(w.definition) === JSON.stringify(def);
    if (!same) {
      Object.assign(w, { version: w.version + 1, definition: def });
      versions.set(name, [{ version: w.version, created_at: new Date().toISOString(), created_by: "admin", definition: def }, ...(versions.get(name) ?? [])]);
    }
    json(res, { name, version: w.version, warnings: [] }, req.method === "POST" ? 201 : 200);
  } else if (m?.[2] === "versions") json(res, { items: (versions.get(m[1]) ?? []).map(({ definition: _d, ...v }) => v), next_cursor: null });
  else if (m?.[1] && req.method === "DELETE") {
    workflows.splice(workflows.findIndex((x) => x.name === m[1]), 1);
    res.writeHead(204).end();
  } else if (m?.[1] && url.searchParams.has("version")) {
    const v = versions.get(m[1])?.find((x) => x.version === Number(url.searchParams.get("version")));
    if (v) json(res, { name: m[1], ...v });
    else problem(res, 404, "not_found", "there is no such workflow, or not in that version");
  } else return false;
  return true;
}
