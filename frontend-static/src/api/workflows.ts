/* What the workflow list, the editor and the templates ask the server for. Loaded with them. */
import { api } from "./client";
import type { Definition, JsonSchema, Page, Workflow, WorkflowSummary } from "./types";

export interface NodeType {
  name: string;
  summary?: string;
  params_schema?: ParamSchema;
  container?: boolean;
}

/* A parameter's schema with the marks of engine/schema.h. */
export interface ParamSchema extends JsonSchema {
  properties?: { [key: string]: ParamSchema };
  items?: ParamSchema;
  prefixItems?: ParamSchema[];
  additionalProperties?: boolean | ParamSchema;
  anyOf?: ParamSchema[];
  oneOf?: ParamSchema[];
  allOf?: ParamSchema[];
  const?: unknown;
  $ref?: string;
  $defs?: { [key: string]: ParamSchema };
  minItems?: number;
  maxItems?: number;
  multipleOf?: number;
  deprecated?: boolean;
  writeOnly?: boolean;
  "x-expr"?: "value" | "code";
  "x-graph"?: boolean;
  "x-constant"?: boolean;
  "x-provides"?: string[];
  "x-ui"?: unknown;
}

export interface Said {
  pointer: string;
  message: string;
}
export interface Verdict {
  valid: boolean;
  errors: Said[];
  warnings: Said[];
}
export interface VersionSummary {
  version: number;
  created_at?: string;
  created_by?: string | null;
  description?: string | null;
}
export interface Template {
  name: string;
  title: string;
  description?: string | null;
  category?: string | null;
  system?: boolean;
  definition?: Definition;
}

interface Spread {
  min: number;
  expected: number;
  max: number;
}
export interface Estimate {
  tokens: Spread;
  cost_usd: Spread;
  duration_s: number;
  nodes: { path: string; type: string; profile?: string | null; model?: string | null; runs: Spread; tokens: number; cost_usd: number }[];
  warnings: { code: string; message: string }[];
}

const at = (name: string) => `/workflows/${encodeURIComponent(name)}`;

export async function nodeTypes(): Promise<NodeType[]> {
  const r = await api.request<{ items?: NodeType[]; node_types?: NodeType[] } | NodeType[]>("GET", "/node-types");
  return Array.isArray(r) ? r : (r.items ?? r.node_types ?? []);
}

export async function allWorkflows(): Promise<WorkflowSummary[]> {
  const out: WorkflowSummary[] = [];
  let cursor: string | null = null;
  do {
    const p: Page<WorkflowSummary> = await api.workflows(cursor);
    out.push(...p.items);
    cursor = p.next_cursor;
  } while (cursor && out.length < 2000);
  return out;
}

export const getWorkflow = (name: string, version?: number): Promise<Workflow> => api.request("GET", at(name), { query: { version } });
export const createWorkflow = (definition: Definition): Promise<{ name: string; version: number }> => api.request("POST", "/workflows", { body: { definition } });
export const putWorkflow = (name: string, definition: Definition): Promise<{ name: string; version: number }> => api.request("PUT", at(name), { body: { definition } });
export const archiveWorkflow = (name: string): Promise<unknown> => api.request("DELETE", at(name));
export const workflowVersions = (name: string): Promise<Page<VersionSummary>> => api.request("GET", at(name) + "/versions");
export const validate = (definition: Definition, signal?: AbortSignal): Promise<Verdict> => api.request("POST", "/workflows/validate", { body: definition, signal });

/* Of a draft, too: the name in the address then says nothing. */
export const estimate = (definition: Definition, signal?: AbortSignal): Promise<Estimate> => api.request("POST", at(definition.name || "draft") + "/estimate", { body: { definition }, signal });

export const templates = (): Promise<Page<Template>> => api.request("GET", "/templates");
export const saveTemplate = (t: { name: string; title: string; description: string; category: string; definition: Definition }): Promise<unknown> => api.request("POST", "/templates", { body: t });
export const deleteTemplate = (name: string): Promise<unknown> => api.request("DELETE", `/templates/${encodeURIComponent(name)}`);
