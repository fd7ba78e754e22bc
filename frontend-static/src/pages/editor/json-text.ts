/* JSON with places: where in the text each value stands, and on which line it stops being JSON. */
import type { Json } from "../../api/types";

export interface Spot {
  line: number; // from 1
  column: number;
  offset: number;
}
export type Read = { ok: true; value: Json; spots: Map<string, Spot> } | { ok: false; at: Spot; message: string; expected: string };

class Bad extends Error {
  constructor(
    readonly offset: number,
    readonly expected: string,
  ) {
    super(expected);
  }
}

export function spotAt(text: string, offset: number): Spot {
  const before = text.slice(0, offset);
  const line = before.split("\n").length;
  return { line, column: offset - before.lastIndexOf("\n"), offset };
}

export function readJson(text: string): Read {
  let i = 0;
  let depth = 0;
  const offsets = new Map<string, number>();
  const space = () => {
    while (i < text.length && " \t\r\n".includes(text[i]!)) i++;
  };
  const need = (c: string) => {
    space();
    if (text[i] !== c) throw new Bad(i, c);
    i++;
  };
  const string = (): string => {
    space();
    const m = /^"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/.exec(text.slice(i));
    if (!m) throw new Bad(i, text[i] === '"' ? "end-of-text" : "text");
    i += m[0].length;
    return JSON.parse(m[0]) as string;
  };
  const value = (pointer: string): Json => {
    space();
    offsets.set(pointer, i);
    if (++depth > 200) throw new Bad(i, "depth");
    try {
      const c = text[i];
      if (c === "{") {
        const out: { [key: string]: Json } = {};
        i++;
        space();
        if (text[i] === "}") return i++, out;
        for (;;) {
          space();
          const keyAt = i;
          const k = string();
          if (Object.prototype.hasOwnProperty.call(out, k)) throw new Bad(keyAt, "unique");
          need(":");
          const at = pointer + "/" + k.replace(/~/g, "~0").replace(/\//g, "~1");
          const v = value(at);
          offsets.set(at, keyAt); // a member stands where its name does
          Object.defineProperty(out, k, { value: v, enumerable: true, configurable: true, writable: true });
          space();
          if (text[i] === ",") i++;
          else break;
        }
        if (text[i] !== "}") throw new Bad(i, ", }");
        i++;
        return out;
      }
      if (c === "[") {
        const out: Json[] = [];
        i++;
        space();
        if (text[i] === "]") return i++, out;
        for (;;) {
          out.push(value(pointer + "/" + out.length));
          space();
          if (text[i] === ",") i++;
          else break;
        }
        if (text[i] !== "]") throw new Bad(i, ", ]");
        i++;
        return out;
      }
      if (c === '"') return string();
      const m = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])/.exec(text.slice(i, i + 400));
      if (!m) throw new Bad(i, "value");
      i += m[0].length;
      return JSON.parse(m[0]) as Json;
    } finally {
      depth--;
    }
  };
  try {
    const v = value("");
    space();
    if (i < text.length) throw new Bad(i, "end");
    const starts = [0];
    for (let k = text.indexOf("\n"); k >= 0; k = text.indexOf("\n", k + 1)) starts.push(k + 1);
    const spots = new Map<string, Spot>();
    for (const [p, offset] of offsets) {
      let lo = 0;
      let hi = starts.length - 1;
      while (lo < hi) {
        const mid = (lo + hi + 1) >> 1;
        if (starts[mid]! <= offset) lo = mid;
        else hi = mid - 1;
      }
      spots.set(p, { line: lo + 1, column: offset - starts[lo]! + 1, offset });
    }
    return { ok: true, value: v, spots };
  } catch (e) {
    if (!(e instanceof Bad)) throw e;
    const found = e.offset >= text.length ? "" : text.slice(e.offset, e.offset + 12).split("\n")[0]!;
    return { ok: false, at: spotAt(text, e.offset), message: found, expected: e.expected };
  }
}

/* The line of a pointer, or of the nearest thing around it that is there. */
export function lineOf(spots: Map<string, Spot>, pointer: string): number {
  for (let p = pointer; ; p = p.slice(0, p.lastIndexOf("/"))) {
    const s = spots.get(p);
    if (s) return s.line;
    if (p === "") return 1;
  }
}
