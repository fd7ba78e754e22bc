/* The list of runs on screen: pages from REST, patched by the feed of all runs. What the feed cannot tell (a run this list has not
 * seen, exact figures) is fetched again, at most once per interval however much happens. */
import { api, ApiError } from "../api/client";
import type { Json, RunSummary } from "../api/types";
import type { FeedSink } from "../live/client";
import type { ServerEvent } from "../live/protocol";
import { runStatus } from "./run";
import { createStore } from "./store";

export interface RunsView {
  items: RunSummary[];
  next: string | null;
  loading: boolean;
  loadingMore: boolean;
  error: { code: string; message: string; requestId: string | null } | null;
  fresh: RunSummary[]; // newer than the first row, not shown yet
}

export const PAGE = 50;
const REFETCH_MS = 1500;

export class RunsStore implements FeedSink {
  readonly view = createStore<RunsView>({ items: [], next: null, loading: true, loadingMore: false, error: null, fresh: [] });
  private timer: ReturnType<typeof setTimeout> | null = null;
  private closed = false;
  private abort = new AbortController();

  constructor(private readonly filter: { status: string; workflow: string }) {}

  private fetchPage(cursor: string | null) {
    return api.runs({ status: this.filter.status, workflow: this.filter.workflow, limit: PAGE, cursor }, this.abort.signal);
  }

  async load(): Promise<void> {
    if (this.closed) this.abort = new AbortController();
    this.closed = false;
    this.view.set((v) => ({ ...v, loading: true, error: null }));
    try {
      const p = await this.fetchPage(null);
      if (!this.closed) this.view.set({ items: p.items.map(clean), next: p.next_cursor, loading: false, loadingMore: false, error: null, fresh: [] });
    } catch (e) {
      if (!this.closed) this.view.set((v) => ({ ...v, loading: false, error: problem(e) }));
    }
  }

  async more(): Promise<void> {
    const { next, loadingMore } = this.view.get();
    if (!next || loadingMore) return;
    this.view.set((v) => ({ ...v, loadingMore: true }));
    try {
      const p = await this.fetchPage(next);
      this.view.set((v) => {
        const have = new Set(v.items.map((r) => r.id));
        return { ...v, items: [...v.items, ...p.items.map(clean).filter((r) => !have.has(r.id))], next: p.next_cursor, loadingMore: false };
      });
    } catch (e) {
      this.view.set((v) => ({ ...v, loadingMore: false, error: problem(e) }));
    }
  }

  showFresh(): void {
    this.view.set((v) => ({ ...v, items: [...v.fresh, ...v.items], fresh: [] }));
  }

  apply(e: ServerEvent): void {
    this.view.set((v) => {
      const items = patchRows(v.items, e);
      const fresh = patchRows(v.fresh, e);
      return items === v.items && fresh === v.fresh ? v : { ...v, items, fresh };
    });
    this.refetchSoon();
  }

  resumed(): void {
    this.refetchSoon();
  }

  private refetchSoon(): void {
    if (this.timer || this.closed) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      void this.refetch();
    }, REFETCH_MS);
  }

  private async refetch(): Promise<void> {
    try {
      const p = await this.fetchPage(null);
      if (!this.closed) this.view.set((v) => mergePage(v, p.items.map(clean), p.next_cursor));
    } catch {
      /* the next event asks again */
    }
  }

  close(): void {
    this.closed = true;
    if (this.timer) clearTimeout(this.timer);
    this.abort.abort();
  }
}

const clean = (r: RunSummary): RunSummary => ({ ...r, status: runStatus(r.status) });

function problem(e: unknown) {
  return e instanceof ApiError ? { code: e.code, message: e.message, requestId: e.requestId } : { code: "error", message: String(e), requestId: null };
}

/* Rows already shown take the new figures in place; rows nobody has seen wait behind the pill, so nothing moves under the pointer. An
 * empty list has nothing to protect and shows them at once. */
export function mergePage(v: RunsView, page: RunSummary[], next: string | null): RunsView {
  if (v.items.length === 0) return { ...v, items: page, next, fresh: [], loading: false, error: null };
  const by = new Map(page.map((r) => [r.id, r]));
  const shown = new Set(v.items.map((r) => r.id));
  const items = v.items.map((r) => newer(r, by.get(r.id)));
  const fresh = page.filter((r) => !shown.has(r.id) && r.id > v.items[0]!.id);
  return { ...v, items, fresh, error: null };
}

/* The answer may have been written before the last event seen. */
function newer(old: RunSummary, got: RunSummary | undefined): RunSummary {
  if (!got) return old;
  return (got.last_seq ?? Infinity) >= (old.last_seq ?? 0) ? got : old;
}

const statusOf: { [event: string]: string } = {
  "execution:queued": "queued",
  "execution:retried": "queued",
  "execution:forked": "queued",
  "execution:started": "running",
  "execution:resumed": "running",
  "execution:paused": "paused",
  "execution:waiting": "waiting",
  "execution:completed": "succeeded",
  "execution:failed": "failed",
  "execution:cancelled": "cancelled",
  "circuit_breaker:tripped": "locked",
};

export function patchRows(rows: RunSummary[], e: ServerEvent): RunSummary[] {
  const at = rows.findIndex((r) => r.id === e.run_id);
  if (at < 0) return rows;
  const old = rows[at]!;
  if (e.seq !== undefined && e.seq <= (old.last_seq ?? 0)) return rows;
  const row: RunSummary = { ...old, last_seq: e.seq ?? old.last_seq };
  const status = statusOf[e.event];
  const d = e.data as { [key: string]: Json | undefined };
  if (status) {
    row.status = status as RunSummary["status"];
    row.reason = typeof d["reason"] === "string" ? d["reason"] : null;
    if (status === "running") row.started_at ??= e.ts ?? null;
    if (status === "succeeded" || status === "failed" || status === "cancelled") row.finished_at = e.ts ?? null;
  }
  if (e.event === "token_usage" && typeof d["run_cost_usd"] === "number") row.cost_usd = d["run_cost_usd"];
  const next = rows.slice();
  next[at] = row;
  return next;
}
