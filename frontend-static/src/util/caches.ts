/* What caches say of themselves. */
import type { Json } from "../api/types";

export interface CacheFigures {
  entries: number;
  bytes: number;
  hits: number;
  misses: number;
}

/* { caches: { name: {…} } } or { name: {…} }. */
export function cachesOf(answer: { [k: string]: Json }): [string, CacheFigures][] {
  const inner = answer["caches"];
  const all = inner !== null && typeof inner === "object" && !Array.isArray(inner) ? inner : answer;
  return Object.entries(all).flatMap(([name, v]): [string, CacheFigures][] => {
    if (v === null || typeof v !== "object" || Array.isArray(v) || typeof v["entries"] !== "number") return [];
    const n = (k: string) => (typeof v[k] === "number" ? v[k] : 0);
    return [[name, { entries: v["entries"], bytes: n("bytes"), hits: n("hits"), misses: n("misses") }]];
  });
}
