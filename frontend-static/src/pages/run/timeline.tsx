/* When each node ran: a row a node, nested as it is nested, on one axis of time. Rows out of sight are not drawn. */
import { useMemo, useRef, useState } from "react";
import type { RunNode } from "../../api/types";
import { t } from "../../i18n";
import { NODE_ENDS, RUN_ENDS, type RunState } from "../../state/run";
import { clock, duration } from "../../util/format";
import { Button } from "../../ui/controls";
import { useNow, useSize } from "../../ui/hooks";
import { Icon, kindIcon } from "../../ui/icons";
import { nodeWord } from "../../ui/status";
import { splitPath, titleOf } from "./paths";
import { w } from "./words";

export const ROW = 24;
const NAMES = 230;
const END = 70; // for the figure after the last bar

export interface Bar {
  path: string;
  label: string;
  depth: number;
  group: boolean; // a round or an item, spanning its nodes
  from: number;
  to: number | null; // null: goes on
  node: RunNode | null;
}

/* Nodes that began, in the order they did, each after the container it lies in. */
export function barsOf(nodes: ReadonlyMap<string, RunNode>, title: (path: string, n: RunNode) => string): Bar[] {
  const began = [...nodes.values()].flatMap((n) => {
    const from = n.started_at ? Date.parse(n.started_at) : NaN;
    return Number.isNaN(from) ? [] : [{ n, from, to: n.finished_at && NODE_ENDS.has(n.status) ? Date.parse(n.finished_at) : null }];
  });
  const kids = new Map<string, Bar[]>();
  const groups = new Map<string, Bar>();
  const add = (parent: string, b: Bar) => {
    const l = kids.get(parent);
    if (l) l.push(b);
    else kids.set(parent, [b]);
  };
  for (const { n, from, to } of began) {
    const steps = splitPath(n.path);
    // Each enclosing round reaches from its first beginning to its last end.
    let prefix = "";
    for (let i = 0; i < steps.length - 1; i++) {
      const container = prefix + steps[i]!.id;
      const key = `${container}#${steps[i]!.index ?? 1}`;
      const g = groups.get(key);
      if (g) {
        g.from = Math.min(g.from, from);
        g.to = g.to === null || to === null ? null : Math.max(g.to, to);
      } else {
        const bar: Bar = { path: container, label: `#${steps[i]!.index ?? 1}`, depth: 2 * i + 1, group: true, from, to, node: null };
        groups.set(key, bar);
        add(container, bar);
      }
      prefix = key + "/";
    }
    add(prefix, { path: n.path, label: title(n.path, n), depth: 2 * (steps.length - 1), group: false, from, to, node: n });
  }
  const out: Bar[] = [];
  const walk = (parent: string) => {
    for (const b of (kids.get(parent) ?? []).sort((a, c) => a.from - c.from)) {
      out.push(b);
      walk(b.group ? `${b.path}${b.label}/` : b.path);
    }
  };
  walk("");
  return out;
}

const tick = (ms: number, step: number) => (ms === 0 ? "0" : step < 10 ? `${ms} ms` : step < 1000 ? `${(ms / 1000).toFixed(step < 100 ? 2 : 1)} s` : duration(ms).replace(".0", ""));

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 86_400_000];

export function Timeline({ state, selected, onSelect }: { state: RunState; selected: string | null; onSelect: (path: string) => void }) {
  const { run } = state;
  const ended = RUN_ENDS.has(run.status);
  const now = useNow(1000, !ended);
  const bars = useMemo(() => barsOf(state.nodes, (p, n) => titleOf(run.definition, p, n.name)), [state.nodes, run.definition]);
  const [zoom, setZoom] = useState(1);
  const [top, setTop] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const { width, height } = useSize(box);
  if (bars.length === 0) return <p className="faint pad">{w("timeline.none")}</p>;
  const from = Math.min(Date.parse(run.started_at ?? "") || Infinity, ...bars.slice(0, 1).map((b) => b.from));
  const last = ended ? Math.max(Date.parse(run.finished_at ?? "") || 0, ...bars.map((b) => b.to ?? b.from)) : now;
  const total = Math.max(50, last - from);
  const room = Math.max(200, width - NAMES - END) * zoom;
  const x = (at: number) => ((at - from) / total) * room;
  const step = STEPS.find((s) => (s / total) * room >= 78) ?? STEPS[STEPS.length - 1]!;
  const first = Math.max(0, Math.floor(top / ROW) - 6);
  const rows = bars.slice(first, Math.ceil((top + height) / ROW) + 6);
  const ticks = Array.from({ length: Math.min(400, Math.floor(total / step) + 1) }, (_, i) => i * step);
  const zoomBy = (f: number) => setZoom((z) => Math.min(64, Math.max(1, z * f)));
  return (
    <div className="timeline" data-testid="timeline">
      <div className="timeline-tools">
        <Button small kind="ghost" icon="plus" label={w("timeline.in")} why={zoom >= 64 ? w("timeline.in") : null} onClick={() => zoomBy(2)} />
        <Button small kind="ghost" icon="skipped" label={w("timeline.out")} why={zoom <= 1 ? w("timeline.out") : null} onClick={() => zoomBy(0.5)} />
        <Button small kind="ghost" icon="fit" label={w("timeline.fit")} onClick={() => setZoom(1)} />
      </div>
      <div className="timeline-box" ref={box} tabIndex={0} role="list" aria-label={w("timeline.label")} onScroll={(e) => setTop(e.currentTarget.scrollTop)}
        onWheel={(e) => { if (e.ctrlKey || e.metaKey) zoomBy(e.deltaY < 0 ? 1.25 : 0.8); }}>
        <div style={{ width: NAMES + room + END, height: bars.length * ROW + 22, position: "relative" }}>
          <div className="timeline-axis" aria-hidden="true">
            {ticks.map((s) => <span key={s} className="num" style={{ left: NAMES + x(from + s) }}>{tick(s, step)}</span>)}
          </div>
          {rows.map((b, i) => {
            const until = b.to ?? (ended ? last : now);
            const status = b.node?.status ?? (b.to === null && !ended ? "running" : "completed");
            const took = duration(until - b.from);
            return (
              <div key={b.path + b.label} role="listitem" className={`timeline-row st-${status}${b.path === selected && !b.group ? " is-selected" : ""}`} style={{ top: 22 + (first + i) * ROW }}>
                <button type="button" className="timeline-name" style={{ paddingLeft: 8 + b.depth * 9 }} onClick={() => onSelect(b.path)} title={b.path + (b.group ? b.label : "")} aria-label={w("timeline.bar", { node: b.path + (b.group ? b.label : ""), state: nodeWord(status), from: clock(new Date(b.from).toISOString()), took })}>
                  {b.group ? <b className="num">{b.label}</b> : <><Icon name={kindIcon(b.node!.type)} size={12} /> <span>{b.label}</span></>}
                </button>
                <span className={"timeline-bar" + (b.group ? " is-group" : "") + (b.to === null && !ended ? " is-open" : "")} style={{ left: NAMES + x(b.from), width: Math.max(3, x(until) - x(b.from)) }} title={`${b.path}${b.group ? b.label : ""}: ${took}`} onClick={() => onSelect(b.path)}>
                  {b.node && b.node.attempt > 1 && <i className="num">×{b.node.attempt}</i>}
                </span>
                <span className="timeline-took num faint" style={{ left: NAMES + x(until) + 6 }}>{took}{b.node?.cached && ` · ${t("cached")}`}</span>
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
