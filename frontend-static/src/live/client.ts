/* One WebSocket for the whole page. Keeps what the page wants to see (runs, and the feed of all runs) apart from what the socket
 * currently delivers, so a lost connection is an interruption and never a loss: on each new socket every wish is sent again from the
 * position its sink stands at.
 *
 * Not for: interpreting events. A sink folds them and says where it stands. */
import { backoffMs } from "./backoff";
import { isReply, parseFrame, SUBPROTOCOL, type Command, type Position, type ServerEvent } from "./protocol";

export interface RunSink {
  position(): Position;
  /* "gap": bytes of a stream are missing; the client subscribes again from position(). */
  apply(e: ServerEvent): "ok" | "gap";
  /* After several fruitless repairs everything held is dropped and a snapshot asked for. */
  restart(): void;
  refused?(code: string, message: string): void;
}

export interface FeedSink {
  apply(e: ServerEvent): void;
  /* A new connection: what happened in between was not sent. */
  resumed(): void;
}

export type LivePhase = "idle" | "connecting" | "live" | "reconnecting" | "offline";

export interface LiveStatus {
  phase: LivePhase;
  attempt: number;
  retryAt: number | null;
  lastSeq: number | null;
  reason: string | null;
}

export interface SocketLike {
  readyState: number;
  onopen: ((e: unknown) => void) | null;
  onmessage: ((e: { data: unknown }) => void) | null;
  onclose: ((e: { code: number; reason: string }) => void) | null;
  onerror: ((e: unknown) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

export interface LiveEnv {
  ticket(): Promise<string>;
  connect(ticket: string): SocketLike;
  now(): number;
  random(): number;
  setTimeout(fn: () => void, ms: number): unknown;
  clearTimeout(id: unknown): void;
  online(): boolean;
}

interface RunWish {
  sink: RunSink;
  pending: string | null; // id of the subscribe not yet acknowledged
  pendingSince: number;
  repairs: number; // fruitless ones in a row
}

const PING_AFTER_MS = 25_000; // nothing heard for so long: ask
const SILENT_MS = 10_000; // nothing after asking: the link is dead
const OPEN_TIMEOUT_MS = 10_000;
const REPAIR_EVERY_MS = 3_000;
const REPAIRS_BEFORE_RESTART = 3;
const OFFLINE_AFTER = 6; // failed attempts in a row until the page says offline

export class LiveClient {
  status: LiveStatus = { phase: "idle", attempt: 0, retryAt: null, lastSeq: null, reason: null };

  private socket: SocketLike | null = null;
  private generation = 0; // events of earlier sockets are ignored
  private runs = new Map<string, RunWish>();
  private feeds = new Set<FeedSink>();
  private listeners = new Set<() => void>();
  private retryTimer: unknown = null;
  private beatTimer: unknown = null;
  private heardAt = 0;
  private pinged = false;
  private failures = 0;
  private nextId = 1;
  private stopped = false;
  private everLive = false;

  constructor(private readonly env: LiveEnv) {}

  onStatus(fn: () => void): () => void {
    this.listeners.add(fn);
    return () => this.listeners.delete(fn);
  }

  subscribeRun(runId: string, sink: RunSink): () => void {
    const wish: RunWish = { sink, pending: null, pendingSince: 0, repairs: 0 };
    this.runs.set(runId, wish);
    if (this.status.phase === "live") this.sendSubscribe(runId, wish);
    else this.ensure();
    return () => {
      if (this.runs.get(runId) !== wish) return;
      this.runs.delete(runId);
      this.send({ cmd: "unsubscribe", run_id: runId });
      this.set({ lastSeq: null });
    };
  }

  subscribeAll(sink: FeedSink): () => void {
    const first = this.feeds.size === 0;
    this.feeds.add(sink);
    if (this.status.phase === "live") {
      if (first) this.send({ cmd: "subscribe_all" });
    } else this.ensure();
    return () => {
      this.feeds.delete(sink);
      // Nobody looks any more; and what the feed says of a run must not run ahead of a subscription to it.
      if (this.feeds.size === 0) this.send({ cmd: "unsubscribe_all" });
    };
  }

  /* Starts connecting if nothing is under way. Harmless at any time. */
  ensure(): void {
    this.stopped = false;
    if (this.socket || this.retryTimer !== null || this.status.phase === "connecting") return;
    void this.open();
  }

  /* The network is back, or a person asked: do not wait for the timer. */
  retryNow(): void {
    if (this.stopped || this.status.phase === "live" || this.status.phase === "connecting") return;
    if (this.retryTimer !== null) {
      this.env.clearTimeout(this.retryTimer);
      this.retryTimer = null;
    }
    if (!this.socket) void this.open();
  }

  stop(): void {
    this.stopped = true;
    this.generation++;
    if (this.retryTimer !== null) this.env.clearTimeout(this.retryTimer);
    if (this.beatTimer !== null) this.env.clearTimeout(this.beatTimer);
    this.retryTimer = this.beatTimer = null;
    this.socket?.close(1000);
    this.socket = null;
    this.failures = 0;
    this.everLive = false;
    this.set({ phase: "idle", attempt: 0, retryAt: null, lastSeq: null, reason: null });
  }

  private set(s: Partial<LiveStatus>): void {
    this.status = { ...this.status, ...s };
    for (const fn of this.listeners) fn();
  }

  private send(c: Command, id?: string): void {
    if (this.socket && this.status.phase === "live") this.socket.send(JSON.stringify(id ? { ...c, id } : c));
  }

  private async open(): Promise<void> {
    const gen = ++this.generation;
    this.set({ phase: this.everLive || this.failures > 0 ? this.status.phase === "idle" ? "connecting" : this.status.phase : "connecting", retryAt: null });
    let ticket: string;
    try {
      ticket = await this.env.ticket();
    } catch (e) {
      if (gen !== this.generation || this.stopped) return;
      // Without a session there is nothing to retry; the sign-in page calls ensure() again.
      if ((e as { status?: number }).status === 401) {
        this.stop();
        return;
      }
      this.lost((e as Error).message || "no ticket", gen);
      return;
    }
    if (gen !== this.generation || this.stopped) return;
    let s: SocketLike;
    try {
      s = this.env.connect(ticket);
    } catch (e) {
      this.lost((e as Error).message, gen);
      return;
    }
    this.socket = s;
    const opening = this.env.setTimeout(() => {
      if (gen === this.generation && this.status.phase !== "live") s.close();
    }, OPEN_TIMEOUT_MS);
    s.onopen = () => {
      this.env.clearTimeout(opening);
      if (gen !== this.generation) return;
      this.opened();
    };
    s.onmessage = (m) => {
      if (gen === this.generation && typeof m.data === "string") this.received(m.data);
    };
    s.onclose = (e) => {
      this.env.clearTimeout(opening);
      if (gen === this.generation) this.lost(e.reason || closeReason(e.code), gen);
    };
    s.onerror = () => {}; // a close always follows
  }

  private opened(): void {
    const again = this.everLive;
    this.everLive = true;
    this.failures = 0;
    this.heardAt = this.env.now();
    this.pinged = false;
    this.set({ phase: "live", attempt: 0, retryAt: null, reason: null });
    for (const [id, wish] of this.runs) {
      wish.repairs = 0;
      this.sendSubscribe(id, wish);
    }
    if (this.feeds.size) {
      this.send({ cmd: "subscribe_all" });
      if (again) for (const f of this.feeds) f.resumed();
    }
    this.beat();
  }

  private sendSubscribe(runId: string, wish: RunWish): void {
    const at = wish.sink.position();
    const id = "s" + this.nextId++;
    wish.pending = id;
    wish.pendingSince = this.env.now();
    this.send(
      at.afterSeq === null
        ? { cmd: "subscribe", run_id: runId }
        : { cmd: "subscribe", run_id: runId, after_seq: at.afterSeq, streams: at.streams },
      id,
    );
  }

  private received(text: string): void {
    this.heardAt = this.env.now();
    this.pinged = false;
    const before = this.status;
    for (const m of parseFrame(text)) {
      if (isReply(m)) {
        const id = String(m.id ?? m.data?.id ?? "");
        for (const [runId, wish] of this.runs) {
          if (wish.pending !== id || id === "") continue;
          wish.pending = null;
          if (m.event === "error") wish.sink.refused?.(m.data?.code ?? m.code ?? "error", m.data?.message ?? m.message ?? `run ${runId} was refused`);
        }
        continue;
      }
      for (const f of this.feeds) if (m.event !== "token_stream" && m.event !== "snapshot") f.apply(m);
      const wish = this.runs.get(m.run_id);
      if (!wish) continue;
      if (wish.sink.apply(m) === "gap") this.repair(m.run_id, wish);
      else if (m.event === "token_stream") wish.repairs = 0;
      if (m.seq !== undefined && m.seq !== this.status.lastSeq) this.status = { ...this.status, lastSeq: m.seq };
      else if (m.event === "snapshot" && "last_seq" in m.data) this.status = { ...this.status, lastSeq: m.data.last_seq as number };
    }
    if (this.status !== before) for (const fn of this.listeners) fn();
  }

  /* Leaving first makes the meaning the same whether the server moves an existing subscription or refuses a second one. Frames already
   * on their way may still show the gap: one repair at a time. */
  private repair(runId: string, wish: RunWish): void {
    const now = this.env.now();
    if (wish.pending !== null && now - wish.pendingSince < REPAIR_EVERY_MS) return;
    // A server that cannot fill the gap is asked seldom, not in a tight circle.
    if (wish.repairs >= REPAIRS_BEFORE_RESTART && now - wish.pendingSince < REPAIR_EVERY_MS) return;
    wish.repairs++;
    if (wish.repairs % REPAIRS_BEFORE_RESTART === 0) wish.sink.restart();
    this.send({ cmd: "unsubscribe", run_id: runId });
    this.sendSubscribe(runId, wish);
  }

  /* The server's pings are invisible to a page, so it sends its own when it hears nothing: a dead link is found in 35 s, not in hours. */
  private beat(): void {
    if (this.beatTimer !== null) this.env.clearTimeout(this.beatTimer);
    const gen = this.generation;
    this.beatTimer = this.env.setTimeout(() => {
      this.beatTimer = null;
      if (gen !== this.generation || this.status.phase !== "live") return;
      const silent = this.env.now() - this.heardAt;
      if (this.pinged && silent >= PING_AFTER_MS + SILENT_MS) {
        const s = this.socket;
        this.lost("silent", gen);
        s?.close();
        return;
      }
      if (!this.pinged && silent >= PING_AFTER_MS) {
        this.pinged = true;
        this.send({ cmd: "ping" });
      }
      this.beat();
    }, 5_000);
  }

  private lost(reason: string, gen: number): void {
    if (gen !== this.generation) return;
    this.generation++;
    this.socket = null;
    if (this.beatTimer !== null) this.env.clearTimeout(this.beatTimer);
    this.beatTimer = null;
    for (const wish of this.runs.values()) wish.pending = null;
    if (this.stopped) return;
    this.failures++;
    const wait = backoffMs(this.failures, this.env.random);
    const off = !this.env.online() || this.failures >= OFFLINE_AFTER;
    this.set({ phase: off ? "offline" : "reconnecting", attempt: this.failures, retryAt: this.env.now() + wait, reason });
    this.retryTimer = this.env.setTimeout(() => {
      this.retryTimer = null;
      void this.open();
    }, wait);
  }
}

function closeReason(code: number): string {
  switch (code) {
    case 1001:
      return "the server is stopping";
    case 1006:
      return "the connection broke";
    case 1009:
      return "a message was too long";
    case 1012:
      return "the server restarts";
    case 4001:
      return "the token was revoked";
    case 4008:
      return "this page read too slowly";
    default:
      return `closed (${code})`;
  }
}

export function browserEnv(ticket: () => Promise<string>): LiveEnv {
  return {
    ticket,
    connect: (t) => {
      const u = new URL("/ws", location.href);
      u.protocol = u.protocol === "https:" ? "wss:" : "ws:";
      u.searchParams.set("ticket", t);
      return new WebSocket(u, SUBPROTOCOL) as unknown as SocketLike;
    },
    now: () => Date.now(),
    random: Math.random,
    setTimeout: (fn, ms) => setTimeout(fn, ms),
    clearTimeout: (id) => clearTimeout(id as number),
    online: () => navigator.onLine,
  };
}
