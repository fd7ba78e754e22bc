/* What was done, so that it can be undone. Changes of one kind that follow each other closely (typing in one field) are one step. */
export interface Step<T> {
  value: T;
  label: string;
  tag: string | null;
  at: number;
}
export interface History<T> {
  past: readonly Step<T>[];
  now: Step<T>;
  future: readonly Step<T>[];
}

const MOST = 200;
const CLOSE_MS = 1200;

export function begin<T>(value: T, label: string, at = Date.now()): History<T> {
  return { past: [], now: { value, label, tag: null, at }, future: [] };
}

export function push<T>(h: History<T>, value: T, label: string, tag: string | null = null, at = Date.now()): History<T> {
  if (Object.is(value, h.now.value)) return h;
  const step = { value, label, tag, at };
  if (tag !== null && h.now.tag === tag && at - h.now.at < CLOSE_MS && h.past.length > 0) return { past: h.past, now: step, future: [] };
  return { past: [...h.past, h.now].slice(-MOST), now: step, future: [] };
}

export function undo<T>(h: History<T>): History<T> {
  const last = h.past.at(-1);
  return last ? { past: h.past.slice(0, -1), now: last, future: [h.now, ...h.future] } : h;
}

export function redo<T>(h: History<T>): History<T> {
  const next = h.future[0];
  return next ? { past: [...h.past, h.now], now: next, future: h.future.slice(1) } : h;
}

/* by < 0 goes back that many steps, by > 0 forward. */
export function jump<T>(h: History<T>, by: number): History<T> {
  let out = h;
  for (let i = 0; i < Math.abs(by); i++) out = by < 0 ? undo(out) : redo(out);
  return out;
}
