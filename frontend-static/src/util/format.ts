/* Figures and times for people. Durations and counts keep a steady width, so nothing jumps while they tick. */
import { t } from "../i18n";

export function duration(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s.toFixed(1)} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m}m ${String(Math.floor(s % 60)).padStart(2, "0")}s`;
  const h = Math.floor(m / 60);
  if (h < 48) return `${h}h ${String(m % 60).padStart(2, "0")}m`;
  return `${Math.floor(h / 24)}d ${h % 24}h`;
}

export function span(from?: string | null, to?: string | null, now = Date.now()): number | null {
  if (!from) return null;
  const a = Date.parse(from);
  const b = to ? Date.parse(to) : now;
  return Number.isNaN(a) || Number.isNaN(b) ? null : Math.max(0, b - a);
}

export function count(n: number): string {
  if (n < 10_000) return n.toLocaleString("en-US");
  if (n < 1_000_000) return (n / 1000).toFixed(n < 100_000 ? 1 : 0) + "k";
  return (n / 1_000_000).toFixed(2) + "M";
}

export function usd(v: number | null | undefined): string {
  if (v === null || v === undefined) return "–";
  if (v === 0) return "$0";
  if (v < 0.01) return "$" + v.toFixed(4);
  return "$" + (v < 1 ? v.toFixed(3) : Number.isInteger(v) ? String(v) : v.toFixed(2));
}

export function clock(ts: string | null | undefined): string {
  const d = ts ? new Date(ts) : null;
  if (!d || Number.isNaN(d.getTime())) return "–";
  return [d.getHours(), d.getMinutes(), d.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":") + "." + String(d.getMilliseconds()).padStart(3, "0");
}

export function ago(ts: string | null | undefined, now = Date.now()): string {
  const at = ts ? Date.parse(ts) : NaN;
  if (Number.isNaN(at)) return "–";
  const s = Math.round((now - at) / 1000);
  if (s < 5) return t("ago.now");
  if (s < 60) return t("ago.s", { n: s });
  if (s < 3600) return t("ago.min", { n: Math.floor(s / 60) });
  const d = new Date(at);
  const n = new Date(now);
  const hm = `${String(d.getHours()).padStart(2, "0")}:${String(d.getMinutes()).padStart(2, "0")}`;
  if (d.toDateString() === n.toDateString()) return hm;
  const day = d.toLocaleDateString("en-GB", { day: "numeric", month: "short", ...(d.getFullYear() === n.getFullYear() ? {} : { year: "numeric" }) });
  return `${day}, ${hm}`;
}

export function full(ts: string | null | undefined): string {
  const d = ts ? new Date(ts) : null;
  return d && !Number.isNaN(d.getTime()) ? d.toLocaleString() : "";
}

export const bytes = (n: number) => (n < 1024 ? `${n} B` : n < 1_048_576 ? `${(n / 1024).toFixed(0)} KiB` : `${(n / 1_048_576).toFixed(1)} MiB`);

/* UUIDv7: the first half is time, so two of one moment differ only at the end. */
export const shortId = (id: string) => (id.length > 16 ? id.slice(0, 8) + "…" + id.slice(-6) : id);
