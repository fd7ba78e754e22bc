/* Groups and colours of node types. A type this page has never heard of is shown under "more", so a newer server works, too. */
import type { GraphNode } from "../../api/types";
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

const clip = (s: string) => s.replace(/\s+/g, " ").trim().slice(0, 80);

/* The second line of a card: what this node does, in as few words as its parameters allow. */
export function summaryOf(n: GraphNode): string {
  const p = (n.params ?? {}) as { [k: string]: unknown };
  const str = (k: string) => (typeof p[k] === "string" ? clip(p[k] as string) : "");
  switch (n.type) {
    case "llm":
      return str("agent") || str("profile") || str("model") || str("prompt") || str("system");
    case "branch":
      return Array.isArray(p["cases"]) ? (p["cases"] as { case?: string }[]).map((c) => c?.case).filter(Boolean).join(" · ") : "";
    case "join":
      return typeof p["wait"] === "object" && p["wait"] ? `quorum ${String((p["wait"] as { quorum?: unknown }).quorum ?? "")}` : [p["wait"] ?? "all", p["merge"]].filter(Boolean).join(" · ");
    case "loop":
      return `≤ ${String(p["max_rounds"] ?? "?")}× · ${n.params?.body?.nodes?.length ?? 0}`;
    case "map":
      return `${str("items") || "?"} · ${n.params?.body?.nodes?.length ?? 0}`;
    case "delay":
      return p["seconds"] !== undefined ? `${String(p["seconds"])} s` : str("until");
    default:
      for (const k of ["query", "question", "text", "expr", "content", "draft", "url", "workflow", "signal", "tool", "strategy"]) if (str(k)) return str(k);
      return "";
  }
}
