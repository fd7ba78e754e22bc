/* What a person set in this browser. Nothing secret is ever kept here. */
import { createStore, type Store } from "./store";

function read<T>(key: string, fallback: T): T {
  try {
    const v = localStorage.getItem("sluice." + key);
    return v === null ? fallback : (JSON.parse(v) as T);
  } catch {
    return fallback;
  }
}

function write(key: string, v: unknown): void {
  try {
    localStorage.setItem("sluice." + key, JSON.stringify(v));
  } catch {
    /* private windows may refuse; the setting then lives as long as the page */
  }
}

function kept<T>(key: string, fallback: T): Store<T> {
  const s = createStore<T>(read(key, fallback));
  s.subscribe(() => write(key, s.get()));
  return s;
}

export type Theme = "system" | "light" | "dark";
export const theme = kept<Theme>("theme", "system");
export const splits = kept<{ canvas: number; inspector: number; log: number; logOpen: boolean; inspectorOpen: boolean }>("splits", {
  canvas: 30,
  inspector: 22,
  log: 190,
  logOpen: false,
  inspectorOpen: false,
});
export const reading = kept<{ raw: boolean; chart?: boolean }>("reading", { raw: false });

export const agentsView = kept<"grid" | "list">("agents", "grid");

export function applyTheme(): void {
  const root = document.documentElement;
  const dark = theme.get() === "dark" || (theme.get() === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset["theme"] = dark ? "dark" : "light";
}
