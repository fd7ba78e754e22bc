/* How many people are waited for, for the badge in the navigation; and the list behind it. The feed says when to look again. */
import * as ops from "../api/ops";
import type { PendingReview } from "../api/ops";
import type { ServerEvent } from "../live/protocol";
import { live, session } from "./session";
import { createStore } from "./store";

export const pending = createStore<{ items: PendingReview[]; more: boolean } | null>(null);
export const pendingCount = createStore(0);
pending.subscribe(() => pendingCount.set(pending.get()?.items.length ?? 0));

export const reviewKey = (r: { run_id: string; node: string; requested_at: string }) => `${r.run_id} ${r.node} ${r.requested_at}`;

/* A deadline is near: what the server reminded of last, until it is answered, put away, or over. */
export interface Near {
  run: string;
  node: string;
  deadline: string;
}
export const near = createStore<Near | null>(null);

export function noteNear(e: ServerEvent): void {
  const d = e.data as { node_id?: unknown; deadline_at?: unknown } | null;
  const node = typeof d?.node_id === "string" ? d.node_id : "";
  const now = near.get();
  if (e.event === "human_review:reminder" && e.run_id && typeof d?.deadline_at === "string") near.set({ run: e.run_id, node, deadline: d.deadline_at });
  else if (e.event === "human_review:resolved" && now?.run === e.run_id && now?.node === node) near.set(null);
}

let timer: ReturnType<typeof setTimeout> | null = null;
let off: (() => void) | null = null;

export async function loadReviews(): Promise<void> {
  const page = await ops.reviews();
  // The one that ends first comes first; without a deadline, the one that waits longest.
  const items = [...page.items].sort((a, b) => (a.deadline_at ?? "9").localeCompare(b.deadline_at ?? "9") || a.requested_at.localeCompare(b.requested_at));
  pending.set({ items, more: page.next_cursor !== null });
}

function soon(ms: number): void {
  if (timer) return;
  timer = setTimeout(() => {
    timer = null;
    if (session.get().phase === "in") loadReviews().catch(() => soon(60_000));
  }, ms);
}

const about = (e: ServerEvent) => e.event.startsWith("human_review:") || e.event === "execution:waiting" || e.event === "execution:resumed" || (pending.get()?.items.some((r) => r.run_id === e.run_id) ?? false);

/* While signed in. A deadline that passes is an event too; a minute's look is for what a lost connection hid. */
export function watchReviews(): void {
  const see = () => {
    const inside = session.get().phase === "in";
    if (inside && !off) {
      soon(400);
      const leave = live.subscribeAll({ apply: (e) => { noteNear(e); if (about(e)) soon(300); }, resumed: () => soon(300) });
      const id = setInterval(() => document.visibilityState === "visible" && soon(0), 60_000);
      off = () => {
        leave();
        clearInterval(id);
      };
    } else if (!inside && off) {
      off();
      off = null;
      pending.set(null);
      near.set(null);
    }
  };
  session.subscribe(see);
  see();
}
