/* A profile as it is typed, and back. Keys go in and never come out: leaving them alone leaves the stored ones alone. */
import type { FullProfile } from "../../api/ops";
import { numberOf } from "../../util/fields";

export const PARAMS = ["temperature", "top_p", "max_tokens"] as const;
export const LIMITS = ["rpm", "tpm", "max_concurrency"] as const;
export const TIMEOUTS = ["connect_ms", "first_byte_ms", "idle_ms", "total_ms"] as const;
export const PRICE = ["input_usd_per_1m", "output_usd_per_1m", "cached_usd_per_1m"] as const;
export type Figure = (typeof PARAMS)[number] | (typeof LIMITS)[number] | (typeof TIMEOUTS)[number] | (typeof PRICE)[number];
export const FIGURES: readonly Figure[] = [...PARAMS, ...LIMITS, ...TIMEOUTS, ...PRICE];

export interface ProfileDraft {
  name: string;
  provider: string;
  model: string;
  base_url: string;
  kind: string;
  keys: string[];
  dropKeys: boolean;
  thinking: string;
  fallbacks: string[];
  isDefault: boolean;
  figures: { [k in Figure]: string };
}

export const PROFILE_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

const groupOf = (p: FullProfile | null, k: Figure): unknown => {
  if (!p) return undefined;
  const g = (PARAMS as readonly string[]).includes(k) ? p.params : (LIMITS as readonly string[]).includes(k) ? p.limits : (TIMEOUTS as readonly string[]).includes(k) ? p.timeouts : p.price;
  return (g as { [k: string]: unknown } | null | undefined)?.[k];
};

export function profileDraft(p: FullProfile | null): ProfileDraft {
  const figures = Object.fromEntries(FIGURES.map((k) => { const v = groupOf(p, k); return [k, typeof v === "number" ? String(v) : ""]; })) as ProfileDraft["figures"];
  const thinking = p?.params?.["thinking"];
  return { name: p?.name ?? "", provider: p?.provider ?? "openai", model: p?.model ?? "", base_url: p?.base_url ?? "", kind: p?.kind ?? "chat", keys: [""], dropKeys: false, thinking: typeof thinking === "string" ? thinking : "", fallbacks: [...(p?.fallbacks ?? [])], isDefault: p?.default === true, figures };
}

export type ProfileErrors = { [field: string]: "name" | "taken" | "model" | "number" };

const whole = new Set<Figure>(["max_tokens", ...LIMITS, ...TIMEOUTS]);
const zero = new Set<Figure>(["temperature", "top_p", ...PRICE]);

/* Address: only what differs from the provider's own is sent, so that a provider that moves is followed. */
export function readProfile(d: ProfileDraft, taken: ReadonlySet<string>, providerUrl: string | null): { body: { [k: string]: unknown }; errors: ProfileErrors } {
  const errors: ProfileErrors = {};
  if (!PROFILE_NAME.test(d.name)) errors["name"] = "name";
  else if (taken.has(d.name)) errors["name"] = "taken";
  if (!d.model.trim()) errors["model"] = "model";
  const group = (keys: readonly Figure[]) => {
    const out: { [k: string]: unknown } = {};
    for (const k of keys) {
      const n = numberOf(d.figures[k]);
      if (n === undefined) continue;
      if (!Number.isFinite(n) || n < 0 || (n === 0 && !zero.has(k)) || (whole.has(k) && !Number.isInteger(n))) errors[k] = "number";
      else out[k] = n;
    }
    return out;
  };
  const params = group(PARAMS);
  if (d.thinking) params["thinking"] = d.thinking;
  const limits = group(LIMITS);
  const timeouts = group(TIMEOUTS);
  const price = group(PRICE);
  if (Object.keys(price).length && (price["input_usd_per_1m"] === undefined || price["output_usd_per_1m"] === undefined)) errors[price["input_usd_per_1m"] === undefined ? "input_usd_per_1m" : "output_usd_per_1m"] = "number";
  const keys = d.keys.map((k) => k.trim()).filter(Boolean);
  const url = d.base_url.trim().replace(/\/+$/, "");
  const body: { [k: string]: unknown } = { provider: d.provider, model: d.model.trim(), kind: d.kind };
  if (url && url !== providerUrl?.replace(/\/+$/, "")) body["base_url"] = url;
  if (keys.length || d.dropKeys) body["api_keys"] = d.dropKeys ? [] : keys;
  for (const [k, v] of Object.entries({ params, limits, timeouts, price })) if (Object.keys(v).length) body[k] = v;
  if (d.fallbacks.length) body["fallbacks"] = d.fallbacks;
  if (d.isDefault) body["default"] = true;
  return { body, errors };
}
