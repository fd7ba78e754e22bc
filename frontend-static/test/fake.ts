/* A clock and a server in memory. The server keeps a journal and streams as the real one does, and answers subscribe from a position. */
import type { LiveEnv, SocketLike } from "../src/live/client";
import type { ServerEvent } from "../src/live/protocol";

export class FakeClock {
  now = 0;
  private jobs: { at: number; id: number; fn: () => void }[] = [];
  private n = 0;
  set(fn: () => void, ms: number): number {
    this.jobs.push({ at: this.now + ms, id: ++this.n, fn });
    return this.n;
  }
  clear(id: unknown): void {
    this.jobs = this.jobs.filter((j) => j.id !== id);
  }
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      await settle();
      const due = this.jobs.filter((j) => j.at <= end).sort((a, b) => a.at - b.at || a.id - b.id)[0];
      if (!due) break;
      this.jobs = this.jobs.filter((j) => j !== due);
      this.now = Math.max(this.now, due.at);
      due.fn();
    }
    this.now = end;
    await settle();
  }
}

export const settle = async () => {
  for (let i = 0; i < 6; i++) await Promise.resolve();
};

export class FakeSocket implements SocketLike {
  readyState = 0;
  onopen: ((e: unknown) => void) | null = null;
  onmessage: ((e: { data: unknown }) => void) | null = null;
  onclose: ((e: { code: number; reason: string }) => void) | null = null;
  onerror: ((e: unknown) => void) | null = null;
  sent: { cmd: string; id?: string; run_id?: string; after_seq?: number; streams?: Record<string, { attempt: number; offset: number }> }[] = [];
  onsend: (c: FakeSocket["sent"][number]) => void = () => {};
  constructor(readonly ticket: string) {}
  send(data: string): void {
    const c = JSON.parse(data) as FakeSocket["sent"][number];
    this.sent.push(c);
    this.onsend(c);
  }
  close(): void {
    this.break(1000);
  }
  open(): void {
    this.readyState = 1;
    this.onopen?.({});
  }
  deliver(...m: unknown[]): void {
    if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(m.length === 1 ? m[0] : m) });
  }
  break(code = 1006): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }
}

export function fakeEnv(clock: FakeClock, o: { ticket?: () => Promise<string>; online?: () => boolean } = {}) {
  const sockets: FakeSocket[] = [];
  const env: LiveEnv = {
    ticket: o.ticket ?? (async () => "t" + sockets.length),
    connect: (t) => {
      const s = new FakeSocket(t);
      sockets.push(s);
      return s;
    },
    now: () => clock.now,
    random: () => 0.5,
    setTimeout: (fn, ms) => clock.set(fn, ms),
    clearTimeout: (id) => clock.clear(id),
    online: o.online ?? (() => true),
  };
  return { env, sockets, last: () => sockets[sockets.length - 1]! };
}

const bytes = (s: string) => new TextEncoder().encode(s).length;

export class FakeRun {
  journal: ServerEvent[] = [];
  streams = new Map<string, { attempt: number; parts: { offset: number; end: number; chunk: string; is_thinking: boolean }[]; end: number }>();
  status = "running";
  constructor(readonly id: string) {}
  event(event: string, data: Record<string, unknown>): ServerEvent {
    const e = { event, run_id: this.id, seq: this.journal.length + 1, ts: "2026-01-01T00:00:00.000Z", data } as unknown as ServerEvent;
    this.journal.push(e);
    return e;
  }
  begin(path: string, attempt: number): void {
    this.streams.set(path, { attempt, parts: [], end: 0 });
  }
  say(path: string, chunk: string, is_thinking = false): ServerEvent {
    const s = this.streams.get(path)!;
    const part = { offset: s.end, end: s.end + bytes(chunk), chunk, is_thinking };
    s.parts.push(part);
    s.end = part.end;
    return this.token(path, s.attempt, part);
  }
  text(path: string): string {
    return this.streams.get(path)!.parts.filter((p) => !p.is_thinking).map((p) => p.chunk).join("");
  }
  private token(path: string, attempt: number, part: object): ServerEvent {
    return { event: "token_stream", run_id: this.id, data: { node_id: path, attempt, ...part } } as unknown as ServerEvent;
  }
  /* Everything between a cursor and the end of a stream, as one chunk per kind of text. */
  from(path: string, offset: number): ServerEvent[] {
    const s = this.streams.get(path)!;
    const out: { offset: number; end: number; chunk: string; is_thinking: boolean }[] = [];
    for (const p of s.parts) {
      if (p.end <= offset) continue;
      const last = out[out.length - 1];
      if (last && last.is_thinking === p.is_thinking) {
        last.chunk += p.chunk;
        last.end = p.end;
      } else out.push({ ...p });
    }
    return out.map((p) => this.token(path, s.attempt, p));
  }
  answer(c: FakeSocket["sent"][number]): unknown[] {
    const out: unknown[] = [{ event: "ack", id: c.id }];
    if (c.after_seq === undefined)
      out.push({
        event: "snapshot",
        run_id: this.id,
        seq: this.journal.length,
        data: { id: this.id, workflow: "w", version: 1, status: this.status, created_at: "2026-01-01T00:00:00.000Z", last_seq: this.journal.length, nodes: this.nodes(), streams: Object.fromEntries([...this.streams].map(([p, s]) => [p, { attempt: s.attempt, end: s.end }])) },
      });
    else out.push(...this.journal.filter((e) => e.seq! > c.after_seq!));
    for (const [p, s] of this.streams) {
      const at = c.streams?.[p];
      const known = at !== undefined && at.attempt === s.attempt && at.offset <= s.end;
      // As the server does: a position it cannot use is told, without a number in the journal.
      if (at && at.attempt === s.attempt && !known) out.push({ event: "stream_reset", run_id: this.id, data: { node_id: p, attempt: s.attempt, reason: "position_unknown" } });
      out.push(...this.from(p, known ? at.offset : 0));
    }
    return out;
  }
  nodes() {
    const by = new Map<string, object>();
    for (const e of this.journal) if (e.event === "node_state_change") by.set(String(e.data["node_id"]), { path: e.data["node_id"], type: "llm", status: e.data["status"], attempt: e.data["attempt"] });
    return [...by.values()];
  }
}
