/* One open run: the folded state, the text streams and the event log. It is the sink the socket delivers to and what the page watches.
 * Streams tell their watchers at most once per frame, so a fast model costs one paint and not one per token. */
import { Api, ApiError } from "../api/client";
import type { Run } from "../api/types";
import type { RunSink } from "../live/client";
import type { Offsets, Position, ServerEvent, Snapshot, TokenChunk } from "../live/protocol";
import { NodeStream } from "../live/stream";
import { foldAll, noExtras, type Extras } from "./extras";
import { createStore, type Store } from "./store";
import { enrich, fold, fromRun, fromSnapshot, logEntry, RUN_ENDS, type LogEntry, type RunState } from "./run";

export interface RunView {
  state: RunState | null;
  error: { status: number; code: string; message: string; requestId: string | null } | null;
  streamPaths: readonly string[];
}

const LOG_CAP = 20_000;

export class RunStore implements RunSink {
  readonly view: Store<RunView> = createStore<RunView>({ state: null, error: null, streamPaths: [] });
  readonly log: Store<readonly LogEntry[]> = createStore<readonly LogEntry[]>([]);
  readonly extras: Store<Extras> = createStore<Extras>(noExtras);
  readonly streams = new Map<string, NodeStream>();

  private watchers = new Map<string, Set<() => void>>();
  private touched = new Set<string>();
  private frame: unknown = null;
  private snapshotSeen = false;
  private refreshTimer: unknown = null;
  private pendingLog: LogEntry[] = [];
  private logWanted = false;
  private logTo = 0; // the journal is held up to here
  private pulling = false;
  private dead = false;

  constructor(
    readonly id: string,
    private readonly api: Api,
    private readonly onFrame: (fn: () => void) => unknown = (fn) =>
      typeof requestAnimationFrame === "function" && document.visibilityState === "visible" ? requestAnimationFrame(fn) : setTimeout(fn, 50),
  ) {}

  /* The first picture comes over REST, because it also says clearly when there is no such run. */
  async load(): Promise<void> {
    this.dead = false;
    try {
      const run = await this.api.run(this.id);
      if (this.dead) return;
      this.view.set((v) => ({ ...v, error: null, state: v.state ?? fromRun(run) }));
      if (tellsMore(run)) void this.loadLog();
    } catch (e) {
      if (this.dead || this.view.get().state) return;
      if (e instanceof ApiError) this.view.set((v) => ({ ...v, error: { status: e.status, code: e.code, message: e.message, requestId: e.requestId } }));
    }
  }

  close(): void {
    this.dead = true;
    if (this.refreshTimer !== null) clearTimeout(this.refreshTimer as number);
  }

  position(): Position {
    if (!this.snapshotSeen) return { afterSeq: null, streams: {} };
    const streams: Offsets = {};
    for (const [path, s] of this.streams) if (s.attempt > 0) streams[path] = { attempt: s.attempt, offset: s.end };
    return { afterSeq: this.view.get().state!.lastSeq, streams };
  }

  restart(): void {
    this.snapshotSeen = false;
    for (const s of this.streams.values()) s.rewind();
  }

  refused(code: string, message: string): void {
    if (!this.view.get().state) this.view.set((v) => ({ ...v, error: { status: 0, code, message, requestId: null } }));
  }

  apply(e: ServerEvent): "ok" | "gap" {
    if (e.event === "snapshot") {
      this.takeSnapshot(e.data as Snapshot, e.seq);
      return "ok";
    }
    // Before the snapshot nothing says what came earlier; it will contain this.
    if (!this.snapshotSeen) return "ok";
    if (e.event === "token_stream") return this.takeChunk(e.data as unknown as TokenChunk);
    if (e.event === "stream_reset" && e.seq === undefined) {
      // Not of the journal: meant for this page alone.
      const path = String(e.data["node_id"]);
      if (this.stream(path).restart(Number(e.data["attempt"]))) this.touch(path);
      return "ok";
    }
    const v = this.view.get();
    if (!v.state || (e.seq !== undefined && e.seq <= v.state.lastSeq)) return "ok";
    if (e.event === "stream_reset") {
      const path = String(e.data["node_id"]);
      if (this.stream(path).reset(Number(e.data["attempt"]), String(e.data["reason"] ?? ""))) this.touch(path);
    }
    const state = fold(v.state, e);
    this.view.set({ ...this.view.get(), state });
    const entry = logEntry(e);
    if (entry) this.appendLog([entry]);
    if (!this.logWanted && e.event === "circuit_breaker:tripped") void this.loadLog();
    // What was undone, the event does not list: the picture is asked for anew.
    if (e.event === "execution:retried") {
      this.restart();
      return "gap";
    }
    if (e.event === "node_state_change") this.touch(String(e.data["node_id"]));
    // Events carry no outputs; what a person may look at next is fetched, gathered over a moment.
    if (RUN_ENDS.has(state.run.status)) this.refreshSoon(150);
    else if (e.event === "node_state_change" && e.data["status"] === "completed") this.refreshSoon(1200);
    return "ok";
  }

  private takeSnapshot(s: Snapshot, seq: number | undefined): void {
    const fresh = fromSnapshot(s, seq);
    const old = this.view.get().state;
    this.snapshotSeen = true;
    for (const [path, at] of Object.entries(s.streams ?? {})) if (this.stream(path).reset(at.attempt, "")) this.touch(path);
    // It may also lie behind what was shown: a server that crashed knows only what was committed, and what it knows is the run.
    if (old && fresh.lastSeq < old.lastSeq) {
      this.log.set((l) => l.filter((x) => x.seq <= fresh.lastSeq));
      this.extras.set(foldAll(noExtras, this.log.get()));
      this.logTo = Math.min(this.logTo, fresh.lastSeq);
    }
    this.view.set((v) => ({ ...v, error: null, state: fresh }));
    // A snapshot stands for events that were never sent; the journal has them.
    if (this.logWanted) void this.pullLog();
  }

  private takeChunk(c: TokenChunk): "ok" | "gap" {
    const r = this.stream(c.node_id).apply(c, Date.now());
    if (r === "appended") this.touch(c.node_id);
    return r === "gap" ? "gap" : "ok";
  }

  stream(path: string): NodeStream {
    let s = this.streams.get(path);
    if (!s) {
      s = new NodeStream();
      this.streams.set(path, s);
      this.view.set((v) => ({ ...v, streamPaths: [...v.streamPaths, path] }));
    }
    return s;
  }

  watch(path: string, fn: () => void): () => void {
    let set = this.watchers.get(path);
    if (!set) this.watchers.set(path, (set = new Set()));
    set.add(fn);
    return () => void set.delete(fn);
  }

  private touch(path: string): void {
    this.touched.add(path);
    if (this.frame !== null) return;
    this.frame = this.onFrame(() => {
      this.frame = null;
      const paths = [...this.touched];
      this.touched.clear();
      for (const p of paths) for (const fn of [...(this.watchers.get(p) ?? [])]) fn();
    });
  }

  refreshSoon(ms: number): void {
    if (this.refreshTimer !== null) clearTimeout(this.refreshTimer as number);
    this.refreshTimer = setTimeout(() => {
      this.refreshTimer = null;
      void this.refresh();
    }, ms);
  }

  async refresh(): Promise<void> {
    try {
      const run = await this.api.run(this.id);
      if (!this.dead) this.view.set((v) => (v.state ? { ...v, state: enrich(v.state, run) } : v));
    } catch {
      /* the page keeps what it has; the next event or a reload asks again */
    }
  }

  /* The journal from its beginning, page after page, merged with what arrives meanwhile. */
  async loadLog(): Promise<void> {
    if (this.logWanted) return;
    this.logWanted = true;
    await this.pullLog();
  }

  private async pullLog(): Promise<void> {
    if (this.pulling) return;
    this.pulling = true;
    try {
      for (let pages = 0; pages < 100 && !this.dead; pages++) {
        const page = await this.api.events(this.id, this.logTo, 500);
        if (page.items.length === 0) break;
        this.appendLog(page.items.flatMap((i) => logEntry({ event: i.event, run_id: this.id, seq: i.seq, ts: i.ts, data: i.data } as ServerEvent) ?? []));
        const last = page.items[page.items.length - 1]!.seq;
        if (last <= this.logTo) break;
        this.logTo = last;
        if (page.items.length < 500 && !page.next_cursor) break;
      }
    } catch {
      this.logWanted = false; // asked again when somebody looks
    }
    this.pulling = false;
  }

  private appendLog(entries: LogEntry[]): void {
    this.pendingLog.push(...entries);
    if (this.pendingLog.length > entries.length) return;
    queueMicrotask(() => {
      const add = this.pendingLog;
      this.pendingLog = [];
      this.log.set((now) => mergeLog(now, add));
      this.extras.set((x) => foldAll(x, add));
    });
  }
}

/* Rounds, reviews, votes and trips are told by the journal alone, so it is read at once when there may be some. */
function tellsMore(run: Run): boolean {
  return run.status === "locked" || run.status === "waiting" || /"type":"(loop|map|vote|human_review|memory_\w+|subworkflow|wait_signal|fact_check|tool|tool_calls)"|"tools":\["|"claims":true/.test(JSON.stringify(run.definition?.nodes ?? []));
}

/* Ordered by number, each once. New entries nearly always belong at the end. */
export function mergeLog(now: readonly LogEntry[], add: readonly LogEntry[]): readonly LogEntry[] {
  let out: LogEntry[];
  const last = now.length ? now[now.length - 1]!.seq : 0;
  const ordered = add.every((e, i) => e.seq > (i ? add[i - 1]!.seq : last));
  if (ordered) out = [...now, ...add];
  else {
    const bySeq = new Map<number, LogEntry>();
    for (const e of now) bySeq.set(e.seq, e);
    for (const e of add) bySeq.set(e.seq, e);
    out = [...bySeq.values()].sort((a, b) => a.seq - b.seq);
  }
  return out.length > LOG_CAP ? out.slice(out.length - LOG_CAP) : out;
}
