/* From a parameter's schema to the control that edits it, and from a value to what that control shows. Knows nothing of React. */
import type { Json } from "../../api/types";
import type { ParamSchema } from "../../api/workflows";

export type Widget = "choice" | "boolean" | "number" | "integer" | "line" | "text" | "code" | "expr" | "checks" | "list" | "object" | "map" | "variants" | "graph" | "json" | "tools" | "any";

export function resolve(s: ParamSchema, root: ParamSchema): ParamSchema {
  let out = s;
  for (let i = 0; out.$ref && i < 16; i++) {
    const name = /^#\/\$defs\/(.+)$/.exec(out.$ref)?.[1];
    const target = name ? root.$defs?.[name] : undefined;
    if (!target) return out;
    const { $ref: _r, ...own } = out;
    void _r;
    out = { ...target, ...own };
  }
  return out;
}

const LONG = /^(text|prompt|system|question|content|instructions|draft|query|summary|description|body|message)$/;

export function uiHint(s: ParamSchema): string {
  const u = s["x-ui"];
  if (typeof u === "string") return u;
  if (u && typeof u === "object" && "widget" in u) return String((u as { widget: unknown }).widget);
  return "";
}

export function typesOf(s: ParamSchema): string[] {
  return (Array.isArray(s.type) ? s.type : s.type ? [s.type] : []).filter((t) => t !== "null");
}

export function widgetOf(name: string, s: ParamSchema): Widget {
  if (s["x-graph"]) return "graph";
  if (s["x-expr"] === "code") return "code";
  if (s["x-expr"]) return "expr";
  if (s.enum || s.const !== undefined) return "choice";
  const hint = uiHint(s);
  if (hint === "tools") return "tools";
  if (s.anyOf || s.oneOf) return "variants";
  const types = typesOf(s);
  if (hint === "code") return "code";
  if (types.length === 0) return hint === "textarea" ? "text" : s.properties ? "object" : "any";
  if (types.length > 1) return types.includes("string") && hint === "textarea" ? "text" : s.properties || s.items ? "variants" : "any";
  switch (types[0]) {
    case "boolean":
      return "boolean";
    case "number":
      return "number";
    case "integer":
      return "integer";
    case "array":
      return s.items?.enum ? "checks" : "list";
    case "object":
      // Schemas are written as JSON; every other object without named members is a list of names and values.
      return s.properties && Object.keys(s.properties).length ? "object" : /^(schema|fields)$/.test(name) || hint === "json" ? "json" : "map";
    case "string":
      return hint === "textarea" || hint === "multiline" || (LONG.test(name) && (s.maxLength ?? 1e9) > 200 && !s.format) || (s.maxLength !== undefined && s.maxLength > 400) ? "text" : "line";
    default:
      return "json";
  }
}

/* One of several shapes. Values named by an enum or const are options of their own, every other shape is one option. */
export interface Variant {
  id: string;
  label: string;
  schema: ParamSchema;
  fixed?: Json; // choosing it is choosing this value
}

export function variantsOf(s: ParamSchema, root: ParamSchema): Variant[] {
  const out: Variant[] = [];
  // A list of types is read the same way: one shape for each.
  const shapes = s.anyOf ?? s.oneOf ?? typesOf(s).map((type): ParamSchema => (type === "object" ? { type, properties: s.properties, required: s.required, additionalProperties: s.additionalProperties } : type === "array" ? { type, items: s.items } : { type, "x-ui": s["x-ui"] }));
  for (const [i, raw] of shapes.entries()) {
    const v = resolve(raw, root);
    if (v.const !== undefined) out.push({ id: `c${i}`, label: v.title ?? String(v.const), schema: v, fixed: v.const as Json });
    else if (v.enum) for (const e of v.enum) out.push({ id: `e${i}:${JSON.stringify(e)}`, label: typeof e === "string" ? e : JSON.stringify(e), schema: v, fixed: e });
    else out.push({ id: `s${i}`, label: v.title ?? shapeName(v), schema: v });
  }
  return out;
}

function shapeName(s: ParamSchema): string {
  const keys = s.required ?? Object.keys(s.properties ?? {});
  if (keys.length) return keys.join(", ");
  const t = typesOf(s)[0];
  return t === "array" ? "list" : t === "string" ? "text" : t === "object" ? "object" : (t ?? "any value");
}

export function fits(v: Json | undefined, s: ParamSchema): boolean {
  if (v === undefined) return false;
  if (s.const !== undefined) return JSON.stringify(s.const) === JSON.stringify(v);
  if (s.enum) return s.enum.some((e) => JSON.stringify(e) === JSON.stringify(v));
  const types = typesOf(s);
  const is = v === null ? "null" : Array.isArray(v) ? "array" : typeof v === "number" ? (Number.isInteger(v) ? "integer" : "number") : typeof v;
  if (types.length && !types.includes(is) && !(is === "integer" && types.includes("number"))) return false;
  if (is === "object" && v !== null && !Array.isArray(v) && typeof v === "object") return (s.required ?? []).every((k) => k in v) && (s.additionalProperties !== false || Object.keys(v).every((k) => s.properties?.[k] !== undefined));
  return true;
}

export function variantFor(v: Json | undefined, list: Variant[]): Variant | undefined {
  return list.find((x) => (x.fixed !== undefined ? JSON.stringify(x.fixed) === JSON.stringify(v) : fits(v, x.schema)));
}

/* A value of this shape to begin with, for a new item of a list or a newly chosen variant. */
export function blank(s: ParamSchema, root: ParamSchema): Json {
  const r = resolve(s, root);
  if (r.default !== undefined) return r.default;
  if (r.const !== undefined) return r.const as Json;
  if (r.enum?.length) return r.enum[0]!;
  if (r.anyOf?.length || r.oneOf?.length) return blank((r.anyOf ?? r.oneOf)![0]!, root);
  switch (typesOf(r)[0]) {
    case "boolean":
      return false;
    case "integer":
    case "number":
      return r.minimum ?? (r.exclusiveMinimum !== undefined ? r.exclusiveMinimum + 1 : 0);
    case "array":
      return [];
    case "object": {
      const out: { [key: string]: Json } = {};
      for (const k of r.required ?? []) if (r.properties?.[k]) out[k] = blank(r.properties[k], root);
      return out;
    }
    default:
      return "";
  }
}

export const hasTemplate = (text: string) => text.includes("{{");

export type NumberRead = { ok: true; value: Json | undefined } | { ok: false; why: "number" | "integer" | "min" | "max" | "constant"; bound?: number };

/* What was typed into a number's field: a figure, or a {{ template }} where the schema lets one in. Empty takes the value away. */
export function readNumber(text: string, s: ParamSchema): NumberRead {
  const bare = text.trim();
  if (bare === "") return { ok: true, value: undefined };
  if (hasTemplate(bare)) return s["x-constant"] ? { ok: false, why: "constant" } : { ok: true, value: bare };
  const n = Number(bare);
  if (!Number.isFinite(n)) return { ok: false, why: "number" };
  if (typesOf(s).length === 1 && typesOf(s)[0] === "integer" && !Number.isInteger(n)) return { ok: false, why: "integer" };
  if (s.minimum !== undefined && n < s.minimum) return { ok: false, why: "min", bound: s.minimum };
  if (s.exclusiveMinimum !== undefined && n <= s.exclusiveMinimum) return { ok: false, why: "min", bound: s.exclusiveMinimum };
  if (s.maximum !== undefined && n > s.maximum) return { ok: false, why: "max", bound: s.maximum };
  if (s.exclusiveMaximum !== undefined && n >= s.exclusiveMaximum) return { ok: false, why: "max", bound: s.exclusiveMaximum };
  return { ok: true, value: n };
}

/* Free values: what reads as JSON that is no bare word is JSON, everything else is a text. A text that looks like JSON is put in quotes. */
export function readAny(text: string): Json | undefined {
  const bare = text.trim();
  if (bare === "") return undefined;
  if (/^[[{]/.test(bare) && !bare.startsWith("{{")) {
    try {
      return JSON.parse(bare) as Json;
    } catch {
      return text;
    }
  }
  if (/^"(?:[^"\\\n]|\\.)*"$/.test(bare)) {
    try {
      return JSON.parse(bare) as Json;
    } catch {
      return text;
    }
  }
  if (/^(true|false|null|-?\d+(\.\d+)?([eE][+-]?\d+)?)$/.test(bare)) return JSON.parse(bare) as Json;
  return text;
}

export const showAny = (v: Json | undefined): string => (v === undefined ? "" : typeof v === "string" ? v : JSON.stringify(v, null, 2));

export const showFree = (v: Json | undefined): string => (typeof v === "string" && v !== "" && readAny(v) !== v ? JSON.stringify(v) : showAny(v));

/* The parameters in the order of the schema; those asked for first stay first, rare ones (no value, not needed) may be folded. */
export interface Entry {
  name: string;
  schema: ParamSchema;
  widget: Widget;
  required: boolean;
}

export function entriesOf(schema: ParamSchema | undefined): Entry[] {
  if (!schema) return [];
  return Object.entries(schema.properties ?? {}).map(([name, raw]) => {
    const s = resolve(raw, schema);
    return { name, schema: s, widget: widgetOf(name, s), required: schema.required?.includes(name) ?? false };
  });
}

/* Tools by name, and functions of one's own: what a list of both has of each. Names that are not on the list of the server stay. */
export function splitTools(v: Json | undefined): { names: string[]; functions: Json[] } {
  const list = Array.isArray(v) ? v : [];
  return { names: list.filter((x): x is string => typeof x === "string"), functions: list.filter((x) => typeof x !== "string") };
}

export function withTool(v: Json | undefined, name: string, on: boolean): Json[] {
  const { names, functions } = splitTools(v);
  return [...names.filter((n) => n !== name), ...(on ? [name] : []), ...functions];
}

export const titleOf = (name: string, s: ParamSchema) => s.title ?? name.replace(/_/g, " ").replace(/^./, (c) => c.toUpperCase());
