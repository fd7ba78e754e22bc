/* One model output as it arrives: the text of one attempt of one node, kept by byte offset so that nothing is lost or shown twice,
 * whatever the network did. Offsets count UTF-8 bytes and are cut at character boundaries; JavaScript strings count UTF-16 units, so
 * positions inside a chunk are converted, never guessed. */
import type { TokenChunk } from "./protocol";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function utf8Length(s: string): number {
  let n = 0;
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c < 0x80) n += 1;
    else if (c < 0x800) n += 2;
    else if (c >= 0xd800 && c < 0xdc00 && i + 1 < s.length && (s.charCodeAt(i + 1) & 0xfc00) === 0xdc00) {
      n += 4;
      i++;
    } else n += 3;
  }
  return n;
}

export interface Segment {
  thinking: boolean;
  text: string;
}

export type Applied =
  | "appended" // new text
  | "duplicate" // nothing new in it
  | "stale" // belongs to an attempt that is void
  | "gap"; // bytes before it are missing: ask again from `end`

export class NodeStream {
  attempt = 0;
  end = 0;
  text = "";
  thinking = "";
  segments: Segment[] = [];
  /* Attempts whose text was dropped, and why; shown to the reader, who saw it vanish. */
  resets: { attempt: number; reason: string }[] = [];
  agent: string | null = null;
  lastAt = 0;
  version = 0;

  apply(c: TokenChunk, now = 0): Applied {
    if (c.attempt < this.attempt) return "stale";
    if (c.attempt > this.attempt) this.begin(c.attempt);
    if (c.offset > this.end) return "gap";
    if (c.end <= this.end && c.chunk !== "") return "duplicate";
    let chunk = c.chunk;
    const skip = this.end - c.offset;
    if (skip > 0) chunk = decoder.decode(encoder.encode(chunk).subarray(skip));
    if (chunk === "") return "duplicate";
    const thinking = c.is_thinking === true;
    const last = this.segments[this.segments.length - 1];
    if (last && last.thinking === thinking) last.text += chunk;
    else this.segments.push({ thinking, text: chunk });
    if (thinking) this.thinking += chunk;
    else this.text += chunk;
    this.end = c.end;
    if (c.agent_id) this.agent = c.agent_id;
    this.lastAt = now;
    this.version++;
    return "appended";
  }

  /* Text of attempts before `attempt` is void. Returns whether anything changed. */
  reset(attempt: number, reason: string): boolean {
    if (attempt <= this.attempt) return false;
    if (this.attempt > 0) this.resets.push({ attempt: this.attempt, reason });
    this.begin(attempt);
    return true;
  }

  /* The server does not know the place this page stood at and sends this attempt from its beginning. */
  restart(attempt: number): boolean {
    if (attempt < this.attempt) return false;
    this.begin(attempt);
    return true;
  }

  private begin(attempt: number): void {
    this.attempt = attempt;
    this.end = 0;
    this.text = "";
    this.thinking = "";
    this.segments = [];
    this.version++;
  }

  /* Forget the text but not the attempt: used before everything is fetched again from offset 0. */
  rewind(): void {
    this.begin(this.attempt);
  }
}
