/* Where a review stands for the person who has it open. Several people may answer at the same moment; the journal says who was first, and
 * only one answer counts. */
import type { Review } from "./extras";

export interface Standing {
  phase: "open" | "late" | "mine" | "taken" | "expired";
  by: string | null;
  action: string | null;
}

/* `seen`: the number of the request that is on the screen (0: from a list, not from the journal). `sent`: what this page sent and the
 * server took. `refused`: the server answered 409. `now`: the journal's newest word on the node, if it is known. */
export function standing(o: { seen: number; now: Review | undefined; sent: string | null; refused: boolean; me: string; deadlineMs: number | null; clockMs: number }): Standing {
  const { now } = o;
  if (now && now.answered > 0 && now.answered > o.seen && now.action !== null) {
    if (now.action === "expired") return { phase: "expired", by: null, action: "expired" };
    // Two tabs of one person: what was sent from here is mine, the same name alone is not.
    const mine = o.sent !== null && now.action === o.sent && (now.reviewer === null || now.reviewer === o.me);
    return { phase: mine ? "mine" : "taken", by: now.reviewer, action: now.action };
  }
  if (o.sent !== null) return { phase: "mine", by: o.me, action: o.sent };
  if (o.refused) return { phase: "taken", by: null, action: null };
  if (o.deadlineMs !== null && o.clockMs >= o.deadlineMs) return { phase: "late", by: null, action: null };
  return { phase: "open", by: null, action: null };
}

export const URGENT_MS = 5 * 60_000;

export function timeLeft(deadline: string | null | undefined, clockMs: number): { ms: number; urgent: boolean } | null {
  const at = deadline ? Date.parse(deadline) : NaN;
  if (Number.isNaN(at)) return null;
  const ms = Math.max(0, at - clockMs);
  return { ms, urgent: ms < URGENT_MS };
}
