import type { GraphNode } from "../../api/types";
import { bodyOf } from "./model";
import { nodesWord, w } from "./words";

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
      return `${w("sum.rounds", { n: String(p["max_rounds"] ?? "?") })} · ${nodesWord(bodyOf(n)?.nodes.length ?? 0)}`;
    case "map":
      return `${str("items") || "?"} · ${nodesWord(bodyOf(n)?.nodes.length ?? 0)}`;
    case "vote":
      return Array.isArray(p["voters"]) && p["voters"].length ? w("sum.voters", { n: p["voters"].length }) : str("question");
    case "fact_check":
      return [Array.isArray(p["sources"]) ? (p["sources"] as unknown[]).join(" · ") : "memory", str("agent") || str("profile")].filter(Boolean).join(" · ");
    case "context":
      return str("sources");
    case "delay":
      return p["seconds"] !== undefined ? `${String(p["seconds"])} s` : str("until");
    default:
      for (const k of ["query", "question", "text", "expr", "content", "draft", "url", "workflow", "signal", "tool", "strategy"]) if (str(k)) return str(k);
      return "";
  }
}
