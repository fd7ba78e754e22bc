/* The messages of the WebSocket subprotocol sluice.v1. */
import type { ChildTook, Json, NodeStatus, Run, RunError } from "../api/types";

export const SUBPROTOCOL = "sluice.v1";

export interface Envelope<E extends string, D> {
  event: E;
  run_id: string;
  seq?: number;
  ts?: string;
  data: D;
}

export interface TokenChunk {
  node_id: string;
  agent_id?: string;
  attempt: number;
  offset: number;
  end: number;
  chunk: string;
  is_thinking?: boolean;
}

export interface NodeChange {
  node_id: string;
  status: NodeStatus;
  type?: string;
  name?: string;
  attempt?: number;
  error?: RunError | null;
  reason?: string | null;
  arrived?: number;
  expected?: number;
  started_at?: string;
  finished_at?: string;
  due_at?: string;
  cached?: boolean;
  output?: Json;
  child?: ChildTook;
}

export interface Snapshot extends Run {
  streams?: { [path: string]: { attempt: number; end: number } };
}

export interface TokenUsage {
  node_id?: string;
  agent_id?: string;
  model?: string;
  input_tokens?: number;
  output_tokens?: number;
  estimated_cost_usd?: number;
  run_tokens?: number;
  run_cost_usd?: number;
  simulated?: boolean;
}

export type ServerEvent =
  | Envelope<"token_stream", TokenChunk>
  | Envelope<"snapshot", Snapshot>
  | Envelope<"node_state_change", NodeChange>
  | Envelope<"stream_reset", { node_id: string; attempt: number; reason?: string }>
  | Envelope<"token_usage", TokenUsage>
  | Envelope<string, { [key: string]: Json | undefined }>;

export interface Reply {
  event: "ack" | "error" | "pong";
  id?: string | number;
  code?: string;
  message?: string;
  data?: { code?: string; message?: string; id?: string | number; [key: string]: unknown };
}

/* Where a client stands in a run: the last durable event it holds and, for every stream, the byte after the last it holds. */
export interface Position {
  afterSeq: number | null;
  streams: Offsets;
}

/* The attempt says whose bytes are counted: after a retry the server then knows that they are of no use. */
export type Offsets = { [path: string]: { attempt: number; offset: number } };

export type Command =
  | { cmd: "subscribe"; run_id: string; after_seq?: number; streams?: Offsets }
  | { cmd: "unsubscribe"; run_id: string }
  | { cmd: "subscribe_all" }
  | { cmd: "unsubscribe_all" }
  | { cmd: "set"; flush_ms: number }
  | { cmd: "ping" };

/* Text frames hold one object or an array of them; anything else is ignored rather than fatal. */
export function parseFrame(text: string): (ServerEvent | Reply)[] {
  let v: unknown;
  try {
    v = JSON.parse(text);
  } catch {
    return [];
  }
  const list = Array.isArray(v) ? v : [v];
  return list.filter(
    (m): m is ServerEvent | Reply => typeof m === "object" && m !== null && typeof (m as { event?: unknown }).event === "string",
  );
}

export function isReply(m: ServerEvent | Reply): m is Reply {
  return (m.event === "ack" || m.event === "error" || m.event === "pong") && (m as { seq?: unknown }).seq === undefined;
}
