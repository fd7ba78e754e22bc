/* From a JSON Schema to fields, and from what was typed back to a value. Only what a run's inputs need; anything deeper is typed as JSON. */
import type { Json, JsonSchema } from "../api/types";

export type FieldKind = "line" | "text" | "number" | "integer" | "boolean" | "choice" | "json";

export interface Field {
  name: string;
  kind: FieldKind;
  schema: JsonSchema;
  required: boolean;
}

export type Draft = { [name: string]: string | boolean };

const LONG_NAME = /(text|prompt|body|content|document|background|context|message|notes|code|article|draft|transcript)/i;

export function fieldsOf(schema: JsonSchema | undefined): Field[] {
  return Object.entries(schema?.properties ?? {}).map(([name, s]) => ({ name, schema: s, kind: kindOf(name, s), required: schema?.required?.includes(name) ?? false }));
}

function kindOf(name: string, s: JsonSchema): FieldKind {
  if (s.enum) return "choice";
  const types = (Array.isArray(s.type) ? s.type : [s.type]).filter((x) => x !== "null");
  const type = types.length === 1 ? types[0] : undefined;
  if (type === "boolean" || type === "number" || type === "integer") return type;
  if (type === "string") return s.format === "multiline" || (s.maxLength ?? 0) > 200 || (s.maxLength === undefined && LONG_NAME.test(name)) ? "text" : "line";
  return "json";
}

export function initialDraft(fields: Field[]): Draft {
  const d: Draft = {};
  for (const f of fields) {
    const v = f.schema.default;
    if (f.kind === "boolean") d[f.name] = v === true;
    else if (v === undefined) d[f.name] = f.kind === "choice" && f.required && f.schema.enum?.length ? JSON.stringify(f.schema.enum[0]) : "";
    else d[f.name] = f.kind === "json" || f.kind === "choice" ? JSON.stringify(v) : String(v);
  }
  return d;
}

export type FieldError = "required" | "number" | "integer" | "json" | { min: number } | { max: number } | { minLength: number } | { maxLength: number } | "pattern";

export function readDraft(fields: Field[], d: Draft): { inputs: { [key: string]: Json }; errors: { [name: string]: FieldError } } {
  const inputs: { [key: string]: Json } = {};
  const errors: { [name: string]: FieldError } = {};
  for (const f of fields) {
    const raw = d[f.name];
    if (f.kind === "boolean") {
      inputs[f.name] = raw === true;
      continue;
    }
    const text = String(raw ?? "");
    if (text.trim() === "") {
      if (f.required) errors[f.name] = "required";
      continue; // left out: the server applies the default
    }
    const s = f.schema;
    if (f.kind === "number" || f.kind === "integer") {
      const n = Number(text);
      const min = s.minimum ?? s.exclusiveMinimum;
      const max = s.maximum ?? s.exclusiveMaximum;
      if (!Number.isFinite(n)) errors[f.name] = "number";
      else if (f.kind === "integer" && !Number.isInteger(n)) errors[f.name] = "integer";
      else if (min !== undefined && n < min) errors[f.name] = { min };
      else if (max !== undefined && n > max) errors[f.name] = { max };
      else inputs[f.name] = n;
    } else if (f.kind === "json" || f.kind === "choice") {
      try {
        inputs[f.name] = JSON.parse(text) as Json;
      } catch {
        errors[f.name] = "json";
      }
    } else {
      const length = [...text].length;
      if (s.minLength !== undefined && length < s.minLength) errors[f.name] = { minLength: s.minLength };
      else if (s.maxLength !== undefined && length > s.maxLength) errors[f.name] = { maxLength: s.maxLength };
      else inputs[f.name] = text;
    }
  }
  return { inputs, errors };
}

/* Values that satisfy the schema, for a line to copy. */
export function exampleInputs(schema: JsonSchema | undefined): { [key: string]: Json } {
  const out: { [key: string]: Json } = {};
  for (const f of fieldsOf(schema)) {
    if (!f.required) continue;
    const s = f.schema;
    if (s.examples?.length) out[f.name] = s.examples[0]!;
    else if (s.default !== undefined) out[f.name] = s.default;
    else if (s.enum?.length) out[f.name] = s.enum[0]!;
    else if (f.kind === "boolean") out[f.name] = true;
    else if (f.kind === "number" || f.kind === "integer") out[f.name] = s.minimum ?? 1;
    else out[f.name] = f.kind === "json" ? {} : f.name === "topic" ? "Should cities ban private cars?" : "…";
  }
  return out;
}

/* "/inputs/topic" and "/topic" both mean the field topic. */
export function fieldOfPointer(pointer: string): string {
  const parts = pointer.split("/").slice(1).map((p) => p.replace(/~1/g, "/").replace(/~0/g, "~"));
  return (parts[0] === "inputs" ? parts[1] : parts[0]) ?? "";
}
