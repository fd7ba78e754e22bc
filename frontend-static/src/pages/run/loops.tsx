/* A loop's scores: a line above the words while it goes on, a chart when asked for, a table in the inspector. */
import { lazy, Suspense, useMemo } from "react";
import { scoresOf, type Extras, type Round, type Scores } from "../../state/extras";
import { NODE_ENDS, type RunState } from "../../state/run";
import { reading } from "../../state/prefs";
import { useStore } from "../../state/store";
import { Button, Skeleton } from "../../ui/controls";
import { Icon } from "../../ui/icons";
import type { Mark } from "../../ui/plot";
import { locate, titleOf } from "./paths";
import { named, w } from "./words";

const Plot = lazy(() => import("../../ui/plot"));

const figure = (n: number) => (Number.isInteger(n) ? String(n) : n.toFixed(Math.abs(n) < 10 ? 2 : 1));
const signs: { [note: string]: { sign: string; color: string } } = {
  regression: { sign: "▼", color: "--st-failed" },
  rollback: { sign: "↺", color: "--st-waiting" },
  stagnation: { sign: "=", color: "--st-paused" },
};

export function ScoreChart({ rounds, title, height = 170 }: { rounds: readonly Round[]; title: string; height?: number }) {
  const s = useMemo(() => scoresOf(rounds), [rounds]);
  const marks = useMemo<Mark[]>(() => (s ? marksOf(s) : []), [s]);
  if (!s) return <p className="faint">{w(rounds.length ? "loop.unscored" : "loop.none")}</p>;
  return (
    <Suspense fallback={<Skeleton rows={3} />}>
      <Plot
        label={w("loop.chart", { node: title, list: s.rounds.map((r, i) => `#${r} ${s.scores[i] ?? "–"}`).join(", ") })}
        x={s.rounds}
        formatX={(x) => "#" + x}
        lines={[{ label: w("loop.col.score"), color: "--accent", values: s.scores, format: figure, points: true }]}
        range={s.range}
        height={height}
        level={s.target === null ? undefined : { value: s.target, label: w("loop.target", { n: figure(s.target) }), color: "--st-succeeded" }}
        marks={marks}
      />
    </Suspense>
  );
}

function marksOf(s: Scores): Mark[] {
  const out: Mark[] = s.marks.map((m) => ({ x: m.round, y: m.score, ...(signs[m.note] ?? { sign: "•", color: "--st-paused" }), label: named("note", m.note) }));
  if (s.best && !out.some((m) => m.x === s.best!.round)) out.push({ x: s.best.round, y: s.best.score, sign: "★", color: "--st-succeeded", label: w("loop.best", { score: figure(s.best.score), n: s.best.round }) });
  return out;
}

/* A word-sized line: where the scores went. */
function Spark({ s }: { s: Scores }) {
  const held = s.scores.map((v, i) => [i, v] as const).filter((p): p is readonly [number, number] => p[1] !== null);
  if (held.length < 2) return null;
  const [lo, hi] = s.range;
  const n = Math.max(1, s.scores.length - 1);
  const at = ([i, v]: readonly [number, number]) => [2 + (i / n) * 60, 16 - ((v - lo) / (hi - lo)) * 14] as const;
  const end = at(held[held.length - 1]!);
  return (
    <svg className="spark" width="66" height="18" viewBox="0 0 66 18" aria-hidden="true">
      {s.target !== null && <line x1="0" x2="66" y1={16 - ((s.target - lo) / (hi - lo)) * 14} y2={16 - ((s.target - lo) / (hi - lo)) * 14} />}
      <polyline points={held.map((p) => at(p).join(",")).join(" ")} />
      <circle cx={end[0]} cy={end[1]} r="2.200" />
    </svg>
  );
}

/* The loop that is spoken of now: the one whose last round is the newest. */
export function currentLoop(x: Extras, state: RunState): string | null {
  let best: { path: string; seq: number; alive: boolean } | null = null;
  for (const [path, rounds] of x.rounds) {
    if (rounds.every((r) => r.score === null)) continue; // nothing to show of it
    const seq = rounds.reduce((m, r) => Math.max(m, r.seq), 0);
    const alive = !NODE_ENDS.has(state.nodes.get(path)?.status ?? "pending");
    if (!best || (alive && !best.alive) || (alive === best.alive && seq > best.seq)) best = { path, seq, alive };
  }
  return best?.path ?? null;
}

export function LoopStrip({ extras, state, onSelect }: { extras: Extras; state: RunState; onSelect: (path: string) => void }) {
  const open = useStore(reading).chart === true;
  const path = currentLoop(extras, state);
  const rounds = path ? extras.rounds.get(path) : undefined;
  const s = useMemo(() => (rounds ? scoresOf(rounds) : null), [rounds]);
  if (!path || !rounds || !s) return null;
  const title = titleOf(state.run.definition, path, state.nodes.get(path)?.name);
  const last = rounds[rounds.length - 1]!;
  return (
    <div className="loop-strip" data-testid="loop-strip">
      <div className="loop-line">
        <button type="button" className="pane-title" onClick={() => onSelect(path)}><Icon name="loop" size={14} /><b>{title}</b></button>
        <span className="num">{w("loop.round", { n: last.round, m: last.of ?? "?" })}</span>
        {last.score !== null && <span className="num">{w("loop.score", { n: figure(last.score) })}</span>}
        {s.best && <span className="num faint">{w("loop.best", { score: figure(s.best.score), n: s.best.round })}</span>}
        {s.target !== null && <span className="num faint">{w("loop.target", { n: figure(s.target) })}</span>}
        {last.note && <span className="chip chip-warn">{signs[last.note]?.sign} {named("note", last.note)}</span>}
        {last.decision === "exit" && last.exitReason && <span className="chip">{named("exit", last.exitReason)}</span>}
        <span className="grow" />
        {!open && <Spark s={s} />}
        <Button small kind="ghost" icon="dashboard" pressed={open} label={w(open ? "loop.hide" : "loop.show")} onClick={() => reading.set((r) => ({ ...r, chart: !open }))} testId="loop-chart" />
      </div>
      {open && <ScoreChart rounds={rounds} title={title} height={140} />}
    </div>
  );
}

export function Rounds({ rounds, title, total }: { rounds: readonly Round[]; title: string; total: number | null }) {
  return (
    <div className="rounds-tab">
      <ScoreChart rounds={rounds} title={title} />
      {rounds.length > 0 && (
        <table className="mini" data-testid="rounds">
          <thead>
            <tr><th>{w("loop.col.round")}</th><th className="r">{w("loop.col.score")}</th><th>{w("loop.col.note")}</th><th>{w("loop.col.decision")}</th></tr>
          </thead>
          <tbody>
            {rounds.map((r) => (
              <tr key={r.round}>
                <td className="num">#{r.round}{(r.of ?? total) !== null && <span className="faint">/{r.of ?? total}</span>}</td>
                <td className="r num">{r.score === null ? "–" : figure(r.score)}</td>
                <td>{r.note && <span style={{ color: `var(${signs[r.note]?.color ?? "--muted"})` }}>{signs[r.note]?.sign} {named("note", r.note)}</span>}</td>
                <td>{named("decision", r.decision)}{r.exitReason && <span className="faint"> · {named("exit", r.exitReason)}</span>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </div>
  );
}

/* The loop that stands for the run in its header: the outermost that is going on, or the last. With how many rounds there are at most. */
export function loopFigure(state: RunState, extras: Extras): { n: number; of: number | null } | null {
  let found: { n: number; of: number | null; depth: number; alive: boolean } | null = null;
  const seen = new Map<string, number>();
  for (const p of state.order) {
    const m = /^(.*)#(\d+)\/[^/]*$/.exec(p);
    if (m) seen.set(m[1]!, Math.max(seen.get(m[1]!) ?? 0, Number(m[2])));
  }
  for (const [path, n] of seen) {
    const node = state.nodes.get(path);
    const def = locate(state.run.definition, path)?.node;
    if ((node?.type ?? def?.type) !== "loop") continue;
    const max = def?.params?.["max_rounds"];
    const of = typeof max === "number" ? max : (extras.rounds.get(path)?.at(-1)?.of ?? null);
    const depth = path.split("/").length;
    const alive = node !== undefined && !NODE_ENDS.has(node.status);
    if (!found || (alive && !found.alive) || (alive === found.alive && depth <= found.depth)) found = { n, of, depth, alive };
  }
  return found;
}
