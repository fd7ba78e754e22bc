/* Limits of projects as they are typed, and back. */
import type { Limits, ProjectLimit, RunLimits } from "../../api/ops";
import { numberOf } from "../../util/fields";

export interface LimitRow {
  project: string;
  rpm: string;
  tpm: string;
  max_tokens: string;
  max_cost_usd: string;
  period: string; // "" for none
}

const FIGURES = ["rpm", "tpm", "max_tokens", "max_cost_usd"] as const;

export function limitRows(l: Limits): LimitRow[] {
  return Object.entries(l.projects ?? {})
    .sort(([a], [b]) => (a === "*" ? -1 : b === "*" ? 1 : a.localeCompare(b)))
    .map(([project, x]) => ({ project, rpm: text(x.rpm), tpm: text(x.tpm), max_tokens: text(x.max_tokens), max_cost_usd: text(x.max_cost_usd), period: x.period ?? (x.max_tokens !== undefined || x.max_cost_usd !== undefined ? "month" : "") }));
}

const text = (n: number | undefined) => (n === undefined || n === null ? "" : String(n));

export const RUN_FIGURES = ["max_running", "max_queued", "max_unfinished", "per_project", "per_workflow", "workers"] as const;
export type RunFields = { [k in (typeof RUN_FIGURES)[number]]: string };

export const runFields = (l: Limits): RunFields => Object.fromEntries(RUN_FIGURES.map((k) => [k, text(k === "workers" ? l.workers : l.runs?.[k])])) as RunFields;

/* With the names that the form does not show left as they are. null: a figure is none. */
export function readRuns(fields: RunFields, old: Limits): Pick<Limits, "runs" | "workers"> | null {
  const runs: RunLimits = {};
  const out: Pick<Limits, "runs" | "workers"> = {};
  for (const k of RUN_FIGURES) {
    const n = numberOf(fields[k]);
    if (n === undefined) continue;
    if (!(n > 0) || !Number.isInteger(n)) return null;
    if (k === "workers") out.workers = n;
    else runs[k] = n;
  }
  if (old.runs?.projects) runs.projects = old.runs.projects;
  if (old.runs?.workflows) runs.workflows = old.runs.workflows;
  if (Object.keys(runs).length > 0) out.runs = runs;
  return out;
}

/* null: a row is not complete, or two are about one project. */
export function readLimits(rows: readonly LimitRow[]): Limits | null {
  const projects: { [name: string]: ProjectLimit } = {};
  for (const r of rows) {
    const name = r.project.trim();
    if (!name || name in projects) return null;
    const out: ProjectLimit = {};
    for (const k of FIGURES) {
      const n = numberOf(r[k]);
      if (n === undefined) continue;
      if (!(n > 0) || !Number.isFinite(n) || (k !== "max_cost_usd" && !Number.isInteger(n))) return null;
      out[k] = n;
    }
    const budget = out.max_tokens !== undefined || out.max_cost_usd !== undefined;
    if (budget !== (r.period !== "")) return null; // a sum without a period, or a period without a sum
    if (budget) out.period = r.period as ProjectLimit["period"];
    if (Object.keys(out).length === 0) return null;
    projects[name] = out;
  }
  return { projects };
}
