import { describe, expect, it } from "vitest";
import { foldAll, noExtras } from "../src/state/extras";
import { standing, timeLeft } from "../src/state/review";
import type { LogEntry } from "../src/state/run";
import { diff } from "../src/util/diff";

const asked: LogEntry = { seq: 10, ts: "t", event: "human_review:requested", node: "ask", data: { node_id: "ask", draft: "d" } };
const answer = (seq: number, action: string, reviewer: string | null): LogEntry => ({ seq, ts: "t", event: "human_review:resolved", node: "ask", data: { node_id: "ask", action, reviewer } });
const now = (...es: LogEntry[]) => foldAll(noExtras, [asked, ...es]).reviews.get("ask");
const base = { seen: 10, sent: null, refused: false, me: "ana", deadlineMs: null, clockMs: 1000 };

describe("a review two people answer", () => {
  it("is open until somebody has", () => {
    expect(standing({ ...base, now: now() })).toMatchObject({ phase: "open" });
  });
  it("belongs to who was first", () => {
    expect(standing({ ...base, now: now(answer(11, "reject", "ben")) })).toEqual({ phase: "taken", by: "ben", action: "reject" });
    expect(standing({ ...base, sent: "approve", now: now(answer(11, "approve", "ana")) })).toEqual({ phase: "mine", by: "ana", action: "approve" });
  });
  it("is not mine because my name is on it: another tab, another answer", () => {
    expect(standing({ ...base, now: now(answer(11, "approve", "ana")) }).phase).toBe("taken");
    expect(standing({ ...base, sent: "approve", now: now(answer(11, "reject", "ana")) }).phase).toBe("taken");
  });
  it("is mine once the server took it, before the journal says so", () => {
    expect(standing({ ...base, sent: "approve", now: now() })).toMatchObject({ phase: "mine", action: "approve" });
  });
  it("is gone after a 409 even before it is known who acted", () => {
    expect(standing({ ...base, refused: true, now: now() })).toEqual({ phase: "taken", by: null, action: null });
    expect(standing({ ...base, refused: true, now: now(answer(11, "approve", "ben")) })).toMatchObject({ phase: "taken", by: "ben" });
  });
  it("is open for the second question whatever was said to the first", () => {
    const again = foldAll(noExtras, [asked, answer(11, "reject", "ben"), { ...asked, seq: 12 }]).reviews.get("ask");
    expect(standing({ ...base, seen: 12, now: again }).phase).toBe("open");
  });
  it("may run out of time", () => {
    expect(standing({ ...base, deadlineMs: 999, now: now() }).phase).toBe("late");
    expect(standing({ ...base, now: now(answer(11, "expired", null)) }).phase).toBe("expired");
    expect(timeLeft("1970-01-01T00:10:00.000Z", 0)).toEqual({ ms: 600_000, urgent: false });
    expect(timeLeft("1970-01-01T00:10:00.000Z", 300_001)).toMatchObject({ urgent: true });
    expect(timeLeft(null, 0)).toBeNull();
  });
});

describe("a difference", () => {
  const back = (p: ReturnType<typeof diff>, kind: "gone" | "new") => p.filter((x) => x.kind === "same" || x.kind === kind).map((x) => x.text).join("");
  it("gives back both texts", () => {
    const words = ["a ", "b ", "c\n", "d ", "e"];
    let seed = 1;
    const rnd = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
    for (let n = 0; n < 300; n++) {
      const make = () => Array.from({ length: Math.floor(rnd() * 12) }, () => words[Math.floor(rnd() * 5)]).join("");
      const [a, b] = [make(), make()];
      expect([back(diff(a, b), "gone"), back(diff(a, b), "new")]).toEqual([a, b]);
    }
  });
  it("is as small as what changed", () => {
    expect(diff("the old cat sat", "the new cat sat")).toEqual([{ kind: "same", text: "the " }, { kind: "gone", text: "old" }, { kind: "new", text: "new" }, { kind: "same", text: " cat sat" }]);
  });
  it("stays quick for long texts", () => {
    const long = Array.from({ length: 40_000 }, (_, i) => `word${i % 97}`).join(" ");
    const p = diff(long, "x " + long.split(" ").reverse().join(" "));
    expect(back(p, "gone")).toBe(long);
  });
});
