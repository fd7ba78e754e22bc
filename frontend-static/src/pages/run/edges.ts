/* What is known of an edge: nothing yet, taken, or dead. Derived from the nodes at its ends, because edges have no events of their own. */
import type { GraphEdge, Json, RunNode } from "../../api/types";

export type EdgeState = "pending" | "taken" | "dead";

export function edgeState(e: GraphEdge, from: RunNode | undefined, to: RunNode | undefined): EdgeState {
  if (!from) return "pending";
  if (from.status === "skipped" || from.status === "cancelled") return "dead";
  if (to?.status === "skipped") return from.status === "completed" || from.status === "failed" ? "dead" : "pending";
  const began = to !== undefined && to.status !== "pending";
  if (from.status === "failed") return began ? "taken" : "dead";
  if (from.status !== "completed") return "pending";
  if (e.case !== undefined) {
    const chosen = caseOf(from.output);
    if (chosen !== null) return chosen === e.case ? "taken" : "dead";
    return began ? "taken" : "pending";
  }
  if (e.when !== undefined) return began ? "taken" : "pending";
  return "taken";
}

function caseOf(v: Json | undefined): string | null {
  return v !== null && typeof v === "object" && !Array.isArray(v) && typeof v["case"] === "string" ? v["case"] : null;
}
