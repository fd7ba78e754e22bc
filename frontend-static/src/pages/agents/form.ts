/* A persona as it is typed, and back. */
import type { Agent, Tool } from "../../api/ops";
import type { Json } from "../../api/types";
import { numberOf, parseJson } from "../../util/fields";

export interface AgentDraft {
  name: string;
  profile: string;
  description: string;
  system: string;
  temperature: string;
  max_tokens: string;
  other: string;
  tools: { [name: string]: boolean };
}

export const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const OWN = ["temperature", "max_tokens"] as const;

export function draftOf(a: Agent | null): AgentDraft {
  const params = a?.params ?? {};
  const rest = Object.fromEntries(Object.entries(params).filter(([k]) => !(OWN as readonly string[]).includes(k)));
  const figure = (k: (typeof OWN)[number]) => (params[k] === undefined || params[k] === null ? "" : String(params[k]));
  return { name: a?.name ?? "", profile: a?.profile ?? "", description: a?.description ?? "", system: a?.system ?? "", temperature: figure("temperature"), max_tokens: figure("max_tokens"), other: Object.keys(rest).length ? JSON.stringify(rest, null, 2) : "", tools: { ...a?.tools } };
}

export type AgentErrors = { [field in keyof AgentDraft]?: "name" | "system" | "number" | "object" | "taken" };

/* What can be switched: the server's tools, all workflows at once, and what is switched already. */
export function switchesOf(all: readonly Tool[], set: AgentDraft["tools"]): { name: string; usual: "on" | "off" | null }[] {
  const known = all.map((t) => ({ name: t.name.startsWith("workflow:") ? "workflow" : t.name, usual: t.default }));
  return [...known, ...Object.keys(set).filter((n) => !known.some((t) => t.name === n)).map((name) => ({ name, usual: null }))];
}

/* A switch: on, off, or as the tool is by itself. */
export function withSwitch(tools: AgentDraft["tools"], name: string, on: boolean | null): AgentDraft["tools"] {
  const { [name]: _old, ...rest } = tools;
  void _old;
  return on === null ? rest : { ...rest, [name]: on };
}

export function readAgent(d: AgentDraft, taken: ReadonlySet<string>): { body: Omit<Agent, "name" | "updated_at">; errors: AgentErrors } {
  const errors: AgentErrors = {};
  const params: { [k: string]: Json } = {};
  if (!NAME.test(d.name)) errors.name = "name";
  else if (taken.has(d.name)) errors.name = "taken";
  if (!d.system.trim()) errors.system = "system";
  for (const k of OWN) {
    const n = numberOf(d[k]);
    if (n === undefined) continue;
    if (!Number.isFinite(n) || (k === "max_tokens" && (!Number.isInteger(n) || n < 1))) errors[k] = "number";
    else params[k] = n;
  }
  const other = parseJson(d.other);
  if (other.bad || (other.value !== undefined && (other.value === null || typeof other.value !== "object" || Array.isArray(other.value)))) errors.other = "object";
  else Object.assign(params, other.value ?? {});
  return { body: { ...(d.profile ? { profile: d.profile } : {}), system: d.system, ...(d.description.trim() ? { description: d.description.trim() } : {}), ...(Object.keys(params).length ? { params } : {}), ...(Object.keys(d.tools).length ? { tools: d.tools } : {}) }, errors };
}
