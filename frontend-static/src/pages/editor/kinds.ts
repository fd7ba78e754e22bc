/* Groups and colours of node types. A type this page has never heard of is shown under "more", so a newer server works, too. */
import type { Key } from "./words";

export type Kind = "model" | "vote" | "check" | "loop" | "person" | "memory" | "flow" | "text" | "net" | "other";

const kinds: { [type: string]: Kind } = {
  llm: "model", router: "model", context: "model", embed: "model",
  vote: "vote", fact_check: "check", human_review: "person",
  loop: "loop", map: "loop", subworkflow: "loop",
  memory_retrieval: "memory", memory_store: "memory",
  parallel: "flow", join: "flow", branch: "flow", delay: "flow", wait_signal: "flow",
  template: "text", transform: "text",
  http: "net", search: "net", tool: "net", webhook: "net",
};
export const kindOf = (type: string): Kind => kinds[type] ?? "other";

export const GROUPS: { label: Key; types: string[] }[] = [
  { label: "group.models", types: ["llm", "router", "vote", "fact_check", "context", "embed"] },
  { label: "group.flow", types: ["parallel", "join", "branch", "loop", "map", "subworkflow"] },
  { label: "group.people", types: ["human_review", "wait_signal", "delay"] },
  { label: "group.memory", types: ["memory_retrieval", "memory_store"] },
  { label: "group.text", types: ["template", "transform"] },
  { label: "group.net", types: ["http", "search", "tool", "webhook"] },
];
