import { beforeEach, describe, expect, it } from "vitest";
import { Api } from "../src/api/client";
import { LiveClient } from "../src/live/client";
import { backoffMs } from "../src/live/backoff";
import { parseFrame } from "../src/live/protocol";
import { RunStore } from "../src/state/run-store";
import { FakeClock, FakeRun, fakeEnv, settle } from "./fake";

const noApi = new Api(() => new Promise(() => {}));
const frames = (fn: () => void) => fn();

let clock: FakeClock;
let net: ReturnType<typeof fakeEnv>;
let client: LiveClient;
let run: FakeRun;
let store: RunStore;

beforeEach(async () => {
  clock = new FakeClock();
  net = fakeEnv(clock);
  client = new LiveClient(net.env);
  run = new FakeRun("r1");
  store = new RunStore("r1", noApi, frames);
});

async function connect(): Promise<void> {
  await settle();
  const s = net.last();
  s.onsend = (c) => {
    if (c.cmd === "subscribe") s.deliver(...run.answer(c));
    if (c.cmd === "ping") s.deliver({ event: "pong", id: c.id });
  };
  s.open();
  await settle();
}

function begin(path = "a"): void {
  run.event("execution:started", {});
  run.event("node_state_change", { node_id: path, status: "running", type: "llm", attempt: 1 });
  run.begin(path, 1);
}

describe("a subscription", () => {
  it("starts with a snapshot and the text from its beginning", async () => {
    begin();
    run.say("a", "Hello ");
    client.subscribeRun("r1", store);
    await connect();
    expect(net.last().sent).toEqual([{ cmd: "subscribe", run_id: "r1", id: "s1" }]);
    expect(store.view.get().state?.run.status).toBe("running");
    expect(store.streams.get("a")?.text).toBe("Hello ");
    net.last().deliver(run.say("a", "world"));
    expect(store.streams.get("a")?.text).toBe("Hello world");
    expect(client.status).toMatchObject({ phase: "live", lastSeq: 2 });
  });

  it("goes on after a lost connection from where it stood, and asks for nothing twice", async () => {
    begin();
    client.subscribeRun("r1", store);
    await connect();
    net.last().deliver(run.say("a", "one "));
    net.last().break();
    expect(client.status).toMatchObject({ phase: "reconnecting", attempt: 1 });
    run.say("a", "two ");
    run.event("node_state_change", { node_id: "b", status: "running", type: "llm", attempt: 1 });
    run.begin("b", 1);
    run.say("b", "B");
    run.say("a", "three");
    await clock.advance(1000);
    await connect();
    expect(net.last().sent[0]).toMatchObject({ cmd: "subscribe", after_seq: 2, streams: { a: { attempt: 1, offset: 4 } } });
    expect(store.streams.get("a")?.text).toBe("one two three");
    expect(store.streams.get("b")?.text).toBe("B");
    expect(store.view.get().state?.nodes.get("b")?.status).toBe("running");
  });

  it("drops the text of an attempt that became void while it was away", async () => {
    begin();
    client.subscribeRun("r1", store);
    await connect();
    net.last().deliver(run.say("a", "a long first attempt"));
    net.last().break();
    run.event("node_state_change", { node_id: "a", status: "retrying", type: "llm", attempt: 1 });
    run.event("stream_reset", { node_id: "a", attempt: 2, reason: "overloaded" });
    run.begin("a", 2);
    run.say("a", "a quite different second attempt");
    await clock.advance(1000);
    await connect();
    await settle();
    expect(store.streams.get("a")).toMatchObject({ text: run.text("a"), attempt: 2, resets: [{ attempt: 1, reason: "overloaded" }] });
  });

  it("repairs a hole by subscribing again from the byte it holds", async () => {
    begin();
    client.subscribeRun("r1", store);
    await connect();
    net.last().deliver(run.say("a", "one "));
    run.say("a", "lost ");
    net.last().deliver(run.say("a", "three"));
    expect(net.last().sent.slice(1)).toMatchObject([{ cmd: "unsubscribe" }, { cmd: "subscribe", after_seq: 2, streams: { a: { attempt: 1, offset: 4 } } }]);
    expect(store.streams.get("a")?.text).toBe("one lost three");
  });

  it("asks once while a repair is under way", async () => {
    begin();
    client.subscribeRun("r1", store);
    await connect();
    const s = net.last();
    s.deliver(run.say("a", "one "));
    s.onsend = () => {};
    run.say("a", "lost ");
    for (let i = 0; i < 20; i++) s.deliver(run.say("a", "x"));
    expect(s.sent.filter((c) => c.cmd === "subscribe")).toHaveLength(2);
  });

  it("falls back to a snapshot when repairs do not help, without a tight circle", async () => {
    begin();
    client.subscribeRun("r1", store);
    await connect();
    const s = net.last();
    s.deliver(run.say("a", "one "));
    run.say("a", "lost ");
    s.onsend = (c) => c.cmd === "subscribe" && s.deliver({ event: "ack", id: c.id }); // a server that cannot fill the hole
    for (let i = 0; i < 50; i++) s.deliver(run.say("a", "x"));
    const subs = s.sent.filter((c) => c.cmd === "subscribe");
    expect(subs.length).toBeLessThan(6);
    expect(subs.at(-1)).not.toHaveProperty("after_seq");
    s.onsend = (c) => c.cmd === "subscribe" && s.deliver(...run.answer(c));
    s.break();
    await clock.advance(5000);
    await connect();
    expect(store.streams.get("a")?.text).toBe(run.text("a"));
  });

  it("drops its text when the server does not know the place it stood at", async () => {
    begin();
    client.subscribeRun("r1", store);
    await connect();
    net.last().deliver(run.say("a", "words the server lost"));
    net.last().break();
    run.begin("a", 1);
    run.say("a", "the same attempt");
    await clock.advance(1000);
    await connect();
    expect(store.streams.get("a")).toMatchObject({ text: "the same attempt", attempt: 1, resets: [] });
    net.last().deliver(run.say("a", ", going on"));
    expect(store.streams.get("a")?.text).toBe("the same attempt, going on");
  });

  it("believes a snapshot that lies behind what it held", async () => {
    begin();
    run.event("node_state_change", { node_id: "b", status: "running", type: "llm", attempt: 1 });
    client.subscribeRun("r1", store);
    await connect();
    expect(store.view.get().state?.lastSeq).toBe(3);
    run.journal.pop();
    net.last().deliver(run.answer({ cmd: "subscribe" })[1]);
    expect(store.view.get().state?.lastSeq).toBe(2);
    expect(store.view.get().state?.nodes.has("b")).toBe(false);
    net.last().deliver(run.event("node_state_change", { node_id: "a", status: "completed", type: "llm", attempt: 1 }));
    expect(store.view.get().state?.nodes.get("a")?.status).toBe("completed");
  });

  it("ignores durable events it already holds", async () => {
    begin();
    client.subscribeRun("r1", store);
    await connect();
    const usage = run.event("token_usage", { node_id: "a", input_tokens: 10, output_tokens: 5, run_cost_usd: 0.1 });
    net.last().deliver(usage);
    net.last().deliver([usage, usage][0]);
    expect(store.view.get().state?.run.usage).toEqual({ input_tokens: 10, output_tokens: 5 });
    await settle();
    expect(store.log.get().map((e) => e.seq)).toEqual([3]);
  });

  it("takes several events of one frame in order", async () => {
    client.subscribeRun("r1", store);
    await connect();
    begin();
    net.last().deliver(...run.journal, run.say("a", "in the same frame"));
    expect(store.streams.get("a")?.text).toBe("in the same frame");
    expect(store.view.get().state?.nodes.get("a")?.status).toBe("running");
  });

  it("holds after any interruptions exactly what an unbroken one holds", async () => {
    let seed = 7;
    const rnd = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
    const words = ["naïve ", "日本語 ", "☕", "𝄞 ", "plain ", "\n\n", "**b** "];
    for (let round = 0; round < 30; round++) {
      run = new FakeRun("r1");
      store = new RunStore("r1", noApi, frames);
      begin("a");
      run.event("node_state_change", { node_id: "b", status: "running", type: "llm", attempt: 1 });
      run.begin("b", 1);
      const off = client.subscribeRun("r1", store);
      client.ensure();
      for (let i = 0; i < 80; i++) {
        await settle();
        const s = net.sockets.at(-1);
        if (s?.readyState === 0) await connect();
        const p = rnd(2) ? "a" : "b";
        const what = rnd(20);
        let e;
        if (what === 0) {
          const n = run.streams.get(p)!.attempt + 1;
          e = run.event("stream_reset", { node_id: p, attempt: n, reason: "x" });
          run.begin(p, n);
        } else e = run.say(p, words[rnd(words.length)]!, rnd(4) === 0);
        const fate = rnd(12);
        if (fate === 0) net.last().break();
        else if (fate === 1 && e.event === "token_stream") continue; // lost on the way
        else {
          net.last().deliver(e);
          if (fate === 2) net.last().deliver(e); // and once more
        }
        if (rnd(3) === 0) await clock.advance(400);
      }
      net.last().break();
      await clock.advance(20_000);
      await connect();
      for (const p of ["a", "b"]) {
        expect(store.streams.get(p)?.text ?? "").toBe(run.text(p));
        expect(store.streams.get(p)?.end ?? 0).toBe(run.streams.get(p)!.end);
      }
      expect(store.view.get().state?.lastSeq).toBe(run.journal.length);
      off();
    }
  });
});

describe("the connection", () => {
  it("waits longer each time, within bounds, and says offline after a while", async () => {
    client.subscribeRun("r1", store);
    await settle();
    for (let i = 1; i <= 7; i++) {
      net.last().break();
      expect(client.status.attempt).toBe(i);
      expect(client.status.phase).toBe(i < 6 ? "reconnecting" : "offline");
      await clock.advance(client.status.retryAt! - clock.now);
    }
    await connect();
    expect(client.status).toMatchObject({ phase: "live", attempt: 0 });
  });

  it("spreads its attempts", () => {
    for (let n = 1; n < 12; n++) {
      const full = Math.min(15_000, 300 * 2 ** (n - 1));
      expect(backoffMs(n, () => 0)).toBe(Math.round(full / 2));
      expect(backoffMs(n, () => 1)).toBe(full);
    }
  });

  it("tries at once when asked", async () => {
    client.subscribeRun("r1", store);
    await settle();
    net.last().break();
    const n = net.sockets.length;
    client.retryNow();
    await settle();
    expect(net.sockets.length).toBe(n + 1);
  });

  it("finds a dead link by its silence", async () => {
    client.subscribeRun("r1", store);
    await connect();
    net.last().onsend = () => {};
    await clock.advance(30_000);
    expect(net.last().sent.at(-1)).toMatchObject({ cmd: "ping" });
    expect(client.status.phase).toBe("live");
    await clock.advance(10_000);
    expect(net.sockets.length).toBeGreaterThan(1);
  });

  it("stays on a quiet link that answers", async () => {
    client.subscribeRun("r1", store);
    await connect();
    await clock.advance(10 * 60_000);
    expect(client.status.phase).toBe("live");
    expect(net.sockets).toHaveLength(1);
  });

  it("stops when the session is over", async () => {
    net = fakeEnv(clock, { ticket: () => Promise.reject(Object.assign(new Error("no"), { status: 401 })) });
    client = new LiveClient(net.env);
    client.subscribeRun("r1", store);
    await clock.advance(60_000);
    expect(client.status.phase).toBe("idle");
    expect(net.sockets).toHaveLength(0);
  });

  it("asks for the feed again and says that something may be missing", async () => {
    const seen: string[] = [];
    let resumed = 0;
    client.subscribeAll({ apply: (e) => seen.push(e.event), resumed: () => resumed++ });
    await connect();
    expect(net.last().sent).toEqual([{ cmd: "subscribe_all" }]);
    net.last().deliver({ event: "execution:started", run_id: "x", seq: 1, data: {} });
    net.last().break();
    await clock.advance(2000);
    await connect();
    expect(net.last().sent).toEqual([{ cmd: "subscribe_all" }]);
    expect([seen, resumed]).toEqual([["execution:started"], 1]);
  });

  it("ends the feed when nobody looks at it", async () => {
    const off = client.subscribeAll({ apply: () => {}, resumed: () => {} });
    await connect();
    off();
    expect(net.last().sent.at(-1)).toEqual({ cmd: "unsubscribe_all" });
  });
});

describe("a frame", () => {
  it("may be one object, an array, or nonsense", () => {
    expect(parseFrame('{"event":"pong"}')).toHaveLength(1);
    expect(parseFrame('[{"event":"pong"},{"event":"ack"},3,null,{"x":1}]')).toHaveLength(2);
    expect(parseFrame("{")).toEqual([]);
  });
});
