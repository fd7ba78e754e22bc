/* The shapes of the REST interface, as far as these pages read them. Unknown fields are ignored, missing ones have defaults at the
 * place of use: an older page must survive a newer server and the other way round. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export type RunStatus =
  | "queued"
  | "running"
  | "paused"
  | "waiting"
  | "locked"
  | "succeeded"
  | "failed"
  | "cancelled";

export type NodeStatus =
  | "pending"
  | "ready"
  | "running"
  | "waiting"
  | "retrying"
  | "completed"
  | "failed"
  | "skipped"
  | "cancelled";

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  cost_usd?: number;
}

export interface RunError {
  code: string;
  message: string;
  node?: string;
}

/* What a run that a node had started has taken when it ended, with those it had started itself. */
export interface ChildTook {
  run_id: string;
  input_tokens: number;
  output_tokens: number;
  cost_usd: number;
}

export interface RunNode {
  path: string;
  type: string;
  name?: string;
  status: NodeStatus;
  attempt: number;
  started_at?: string | null;
  finished_at?: string | null;
  output?: Json;
  error?: RunError | null;
  usage?: Usage | null;
  reason?: string | null;
  model?: string | null;
  cost_usd?: number | null;
  arrived?: number | null;
  expected?: number | null;
  cached?: boolean;
  due_at?: string | null;
  child?: ChildTook; // told live only
}

export interface GraphNode {
  id: string;
  type: string;
  name?: string;
  when?: string;
  params?: { [key: string]: Json } & { body?: Graph };
  position?: { x: number; y: number };
  [key: string]: unknown;
}

export interface GraphEdge {
  from: string;
  to: string;
  when?: string;
  case?: string;
}

export interface Graph {
  nodes: GraphNode[];
  edges?: GraphEdge[];
}

export interface Definition extends Graph {
  sluice?: number;
  durability?: string;
  name: string;
  description?: string;
  inputs?: JsonSchema;
  limits?: { timeout_s?: number; max_tokens?: number; max_cost_usd?: number };
  outputs?: { [key: string]: Json };
}

export interface RunSummary {
  id: string;
  workflow: string;
  version: number | null;
  project?: string;
  status: RunStatus;
  reason?: string | null;
  forked_from?: { run: string; at_seq?: number; from?: string } | null;
  by?: string | null;
  created_at: string;
  started_at?: string | null;
  finished_at?: string | null;
  error?: RunError | null;
  usage?: Usage | null;
  cost_usd?: number | null;
  total_usage?: Usage | null; // with the runs it has started, once one of them has ended
  total_cost_usd?: number | null;
  nodes_total?: number;
  nodes_done?: number;
  last_seq?: number;
  tags?: string[] | { [key: string]: string } | null;
  priority?: number | string | null;
  simulated?: boolean;
}

/* A file of a run; content only when one is asked for. */
export interface RunFile {
  path: string;
  version: number;
  bytes: number;
  by: string;
  at: string;
  seq: number;
  content?: string;
}

export interface Run extends RunSummary {
  files?: RunFile[];
  parent?: string | null; // the run whose node started this one
  parent_node?: string | null;
  inputs?: { [key: string]: Json } | null;
  outputs?: Json;
  definition?: Definition | null;
  nodes?: RunNode[];
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export interface JournalItem {
  seq: number;
  ts: string;
  event: string;
  data: { [key: string]: Json };
}

export interface WorkflowSummary {
  name: string;
  version: number;
  description?: string | null;
  created_at?: string;
}

export interface Workflow extends WorkflowSummary {
  created_by?: string | null;
  definition: Definition;
}

export interface Profile {
  name: string;
  provider: string;
  model: string;
  base_url?: string;
  kind?: string;
  default?: boolean;
  simulated?: boolean;
  keys?: string[];
}

export interface Session {
  role: "viewer" | "runner" | "editor" | "admin";
  name: string;
}

export interface JsonSchema {
  type?: string | string[];
  title?: string;
  description?: string;
  properties?: { [key: string]: JsonSchema };
  required?: string[];
  enum?: Json[];
  default?: Json;
  examples?: Json[];
  format?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  pattern?: string;
}
