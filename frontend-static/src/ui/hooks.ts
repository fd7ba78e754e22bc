import { useCallback, useEffect, useLayoutEffect, useRef, useState, type RefObject } from "react";

/* The time, ticking only while somebody needs it. */
export function useNow(everyMs: number, on = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!on) return;
    setNow(Date.now());
    const id = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(id);
  }, [everyMs, on]);
  return now;
}

/* Keeps a scroller at its end while text arrives, until the reader scrolls away. Call `pin` after each growth. */
export function useFollow(ref: RefObject<HTMLElement | null>): { following: boolean; pin: () => void; jump: () => void } {
  const [following, setFollowing] = useState(true);
  const at = useRef(true);
  const lastTop = useRef(0);
  useEffect(() => {
    const el = ref.current;
    if (!el) return;
    const onScroll = () => {
      const end = el.scrollHeight - el.scrollTop - el.clientHeight < 32;
      // Only a movement upwards is a wish to stay; content that grows below also leaves the end behind.
      if (end) at.current = true;
      else if (el.scrollTop < lastTop.current - 2) at.current = false;
      lastTop.current = el.scrollTop;
      setFollowing(at.current);
    };
    el.addEventListener("scroll", onScroll, { passive: true });
    return () => el.removeEventListener("scroll", onScroll);
  }, [ref]);
  const pin = useCallback(() => {
    const el = ref.current;
    if (el && at.current) el.scrollTop = el.scrollHeight;
  }, [ref]);
  const jump = useCallback(() => {
    at.current = true;
    setFollowing(true);
    const el = ref.current;
    if (el) el.scrollTop = el.scrollHeight;
  }, [ref]);
  return { following, pin, jump };
}

export function useSize(ref: RefObject<HTMLElement | null>): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const el = ref.current;
    if (!el) return;
    const see = () => setSize((s) => (s.width === el.clientWidth && s.height === el.clientHeight ? s : { width: el.clientWidth, height: el.clientHeight }));
    see();
    const o = new ResizeObserver(see);
    o.observe(el);
    return () => o.disconnect();
  }, [ref]);
  return size;
}

/* Single keys act only when nobody is typing and no dialog is open. */
export function useKeys(keys: { [key: string]: () => void }): void {
  const latest = useRef(keys);
  useEffect(() => {
    latest.current = keys;
  });
  useEffect(() => {
    const on = (e: KeyboardEvent) => {
      if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey) return;
      const el = e.target as HTMLElement;
      if (el.closest("input, textarea, select, [contenteditable], dialog, [role=menu]")) return;
      const fn = latest.current[e.key];
      if (fn) {
        e.preventDefault();
        fn();
      }
    };
    document.addEventListener("keydown", on);
    return () => document.removeEventListener("keydown", on);
  }, []);
}
