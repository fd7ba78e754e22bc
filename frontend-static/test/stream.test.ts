import { describe, expect, it } from "vitest";
import { NodeStream, utf8Length } from "../src/live/stream";

const bytes = (s: string) => new TextEncoder().encode(s).length;
const chunk = (offset: number, text: string, attempt = 1, is_thinking = false) => ({ node_id: "a", attempt, offset, end: offset + bytes(text), chunk: text, is_thinking });

describe("a stream", () => {
  it("joins contiguous chunks and knows its end in bytes", () => {
    const s = new NodeStream();
    expect(s.apply(chunk(0, "naïve "))).toBe("appended");
    expect(s.apply(chunk(7, "日本 ☕"))).toBe("appended");
    expect(s.text).toBe("naïve 日本 ☕");
    expect(s.end).toBe(bytes("naïve 日本 ☕"));
  });

  it("drops what it already holds", () => {
    const s = new NodeStream();
    s.apply(chunk(0, "one two"));
    expect(s.apply(chunk(0, "one"))).toBe("duplicate");
    expect(s.apply(chunk(0, "one two"))).toBe("duplicate");
    expect(s.text).toBe("one two");
  });

  it("takes only the new part of a chunk that overlaps, at byte positions", () => {
    const s = new NodeStream();
    s.apply(chunk(0, "é☕"));
    expect(s.apply(chunk(0, "é☕𝄞 more"))).toBe("appended");
    expect(s.text).toBe("é☕𝄞 more");
    expect(s.apply(chunk(2, "☕𝄞 more and more"))).toBe("appended");
    expect(s.text).toBe("é☕𝄞 more and more");
  });

  it("refuses a chunk after a hole and keeps its place", () => {
    const s = new NodeStream();
    s.apply(chunk(0, "abc"));
    expect(s.apply(chunk(5, "fg"))).toBe("gap");
    expect(s.text).toBe("abc");
    expect(s.apply(chunk(3, "defg"))).toBe("appended");
    expect(s.text).toBe("abcdefg");
  });

  it("begins anew with a later attempt and ignores an earlier one", () => {
    const s = new NodeStream();
    s.apply(chunk(0, "first", 1));
    expect(s.apply(chunk(0, "second", 2))).toBe("appended");
    expect(s.apply(chunk(5, " late", 1))).toBe("stale");
    expect(s.text).toBe("second");
    expect(s.attempt).toBe(2);
  });

  it("reports a gap when a later attempt is met in its middle", () => {
    const s = new NodeStream();
    s.apply(chunk(0, "first", 1));
    expect(s.apply(chunk(5, "middle", 2))).toBe("gap");
    expect([s.attempt, s.end, s.text]).toEqual([2, 0, ""]);
  });

  it("forgets the text on a reset and remembers why, once", () => {
    const s = new NodeStream();
    s.apply(chunk(0, "half a sen", 1));
    expect(s.reset(2, "overloaded")).toBe(true);
    expect(s.reset(2, "overloaded")).toBe(false);
    expect(s.text).toBe("");
    expect(s.resets).toEqual([{ attempt: 1, reason: "overloaded" }]);
  });

  it("keeps thinking apart, in one line of offsets", () => {
    const s = new NodeStream();
    s.apply(chunk(0, "hmm ", 1, true));
    s.apply(chunk(4, "so", 1, true));
    s.apply(chunk(6, "Yes.", 1, false));
    expect(s.thinking).toBe("hmm so");
    expect(s.text).toBe("Yes.");
    expect(s.segments).toEqual([{ thinking: true, text: "hmm so" }, { thinking: false, text: "Yes." }]);
  });

  it("counts bytes as UTF-8 does", () => {
    for (const t of ["", "abc", "naïve", "日本", "☕", "𝄞𝄞", "a𝄞é"]) expect(utf8Length(t)).toBe(bytes(t));
  });
});
