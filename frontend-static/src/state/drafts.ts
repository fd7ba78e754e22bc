/* Definitions being written, kept in this browser until they are saved. A draft is a definition and the version it began from, nothing
 * else: keys and tokens are no part of a definition. */
import type { Definition } from "../api/types";
import { createStore } from "./store";

export interface Draft {
  key: string; // the workflow's name, or ~something for one that the server does not know yet
  base: number | null; // the version it began from
  at: number; // when it was last changed
  definition: Definition;
}

const PREFIX = "sluice.draft.";

export const isNewKey = (key: string) => key.startsWith("~");
export const newKey = () => "~" + Date.now().toString(36) + Math.floor(Math.random() * 1296).toString(36).padStart(2, "0");
export const draftUrl = (key: string) => "/workflows/" + encodeURIComponent(key);

/* Counts up with every change, so that lists can follow. */
export const draftsChanged = createStore(0);
const changed = () => draftsChanged.set((n) => n + 1);

function parse(text: string | null): Draft | null {
  try {
    const v = JSON.parse(text ?? "null") as Draft | null;
    return v && typeof v === "object" && v.definition && Array.isArray(v.definition.nodes) ? v : null;
  } catch {
    return null;
  }
}

export function readDraft(key: string): Draft | null {
  try {
    return parse(localStorage.getItem(PREFIX + key));
  } catch {
    return null;
  }
}

/* False: the browser did not take it (private window, or full). The work is then only in the page. */
export function writeDraft(d: Draft): boolean {
  try {
    localStorage.setItem(PREFIX + d.key, JSON.stringify(d));
    changed();
    return true;
  } catch {
    return false;
  }
}

export function dropDraft(key: string): void {
  try {
    localStorage.removeItem(PREFIX + key);
  } catch {
    /* nothing was kept then */
  }
  changed();
}

export function allDrafts(): Draft[] {
  const out: Draft[] = [];
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const k = localStorage.key(i);
      if (!k?.startsWith(PREFIX)) continue;
      const d = parse(localStorage.getItem(k));
      if (d) out.push(d);
    }
  } catch {
    /* none */
  }
  return out.sort((a, b) => b.at - a.at);
}
