/* Lines over time or over rounds, drawn by uPlot; loaded apart. Colours come from the tokens, so a chart follows the theme. The arrow keys
 * move along the points, what a pointer shows is also said. */
import { useEffect, useMemo, useRef, useState } from "react";
import UPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import "./plot.css";
import { theme } from "../state/prefs";
import { useStore } from "../state/store";
import { useSize } from "./hooks";

export interface Line {
  label: string;
  color: string; // a token: "--accent"
  values: (number | null)[];
  format: (v: number) => string;
  dash?: boolean;
  fill?: boolean;
  points?: boolean;
}

export interface Mark {
  x: number;
  y: number | null;
  sign: string;
  color: string;
  label: string;
}

export interface PlotProps {
  label: string; // what the chart is, for those who do not see it
  x: number[]; // seconds, or round numbers
  time?: boolean;
  formatX: (x: number) => string;
  lines: Line[];
  range?: [number, number]; // default: from zero to what there is
  height: number;
  level?: { value: number; label: string; color: string };
  marks?: Mark[];
  legend?: boolean;
}

const token = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888";
const MAX_LINES = 6;
const MINUTES = [1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440].map((m) => m * 60);

export default function Plot(p: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | null>(null);
  const { width } = useSize(box);
  const mode = useStore(theme);
  const [at, setAt] = useState<{ idx: number; left: number } | null>(null);
  const lines = p.lines.slice(0, MAX_LINES);
  const shape = JSON.stringify([lines.map((l) => [l.label, l.color, l.dash, l.fill, l.points]), p.range, p.height, p.level, p.time, mode, document.documentElement.dataset["theme"]]);
  const data = useMemo(() => [p.x, ...lines.map((l) => l.values)] as UPlot.AlignedData, [p.x, JSON.stringify(lines.map((l) => l.values))]); // eslint-disable-line react-hooks/exhaustive-deps -- values compared by content
  const latest = useRef({ p, lines });
  useEffect(() => {
    latest.current = { p, lines };
  });

  useEffect(() => {
    const el = box.current;
    if (!el || width === 0) return;
    const axis = token("--faint");
    const grid = token("--line");
    const font = "11.5px " + token("--sans");
    const u = new UPlot(
      {
        width,
        height: p.height,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: {
          x: { time: p.time === true, range: p.time ? undefined : (_u, lo, hi) => [lo - 0.25, Math.max(hi, lo + 1) + 0.25] },
          y: { range: p.range ? () => p.range! : (_u, _lo, hi) => [0, hi && hi > 0 ? hi * 1.08 : 1] },
        },
        axes: [
          { stroke: axis, font, grid: { show: false }, ticks: { stroke: grid, size: 4 }, size: 26, ...(p.time ? { incrs: MINUTES } : { splits: () => wholeTicks(latest.current.p.x) }), values: (_u: UPlot, s: number[]) => s.map((v) => latest.current.p.formatX(v)) },
          { stroke: axis, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 52, values: (_u, s) => s.map((v) => latest.current.lines[0]?.format(v) ?? String(v)) },
        ],
        series: [
          {},
          ...lines.map((l) => ({
            label: l.label,
            stroke: token(l.color),
            width: 1.8,
            dash: l.dash ? [4, 4] : undefined,
            fill: l.fill ? token(l.color) + "22" : undefined,
            spanGaps: true,
            points: { show: l.points === true, size: 7, fill: token("--surface"), stroke: token(l.color), width: 2 },
          })),
        ],
        hooks: {
          setCursor: [(self) => setAt(self.cursor.idx === null || self.cursor.idx === undefined || (self.cursor.left ?? -1) < 0 ? null : { idx: self.cursor.idx, left: self.cursor.left! + self.over.offsetLeft })],
          draw: [(self) => decorate(self, latest.current.p)],
        },
      },
      data,
      el,
    );
    plot.current = u;
    return () => {
      plot.current = null;
      u.destroy();
    };
    // The data is set below without drawing everything anew.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [shape, width]);
  useEffect(() => plot.current?.setData(data), [data]);

  const move = (by: number) => {
    const u = plot.current;
    if (!u || p.x.length === 0) return;
    const from = at?.idx ?? (by > 0 ? -1 : p.x.length);
    const idx = Math.max(0, Math.min(p.x.length - 1, from + by));
    u.setCursor({ left: u.valToPos(p.x[idx]!, "x"), top: 10 });
  };
  const mark = at ? p.marks?.filter((m) => m.x === p.x[at.idx]) : undefined;
  return (
    <figure className="plot">
      {p.legend !== false && lines.length > 1 && (
        <figcaption className="plot-legend">
          {lines.map((l) => <span key={l.label}><i style={{ background: `var(${l.color})` }} />{l.label}</span>)}
        </figcaption>
      )}
      <div
        className="plot-box"
        ref={box}
        tabIndex={0}
        role="img"
        aria-label={p.label}
        style={{ height: p.height }}
        onKeyDown={(e) => {
          if (e.key !== "ArrowRight" && e.key !== "ArrowLeft") return;
          e.preventDefault();
          move(e.key === "ArrowRight" ? 1 : -1);
        }}
        onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
      />
      {at && p.x[at.idx] !== undefined && (
        <div className="plot-tip" role="status" style={at.left > width / 2 ? { right: width - at.left + 10 } : { left: at.left + 10 }}>
          <b className="num">{p.formatX(p.x[at.idx]!)}</b>
          {lines.map((l) => <span key={l.label}><i style={{ background: `var(${l.color})` }} />{l.label} <b className="num">{l.values[at.idx] === null || l.values[at.idx] === undefined ? "–" : l.format(l.values[at.idx]!)}</b></span>)}
          {mark?.map((m) => <span key={m.label} style={{ color: `var(${m.color})` }}>{m.sign} {m.label}</span>)}
        </div>
      )}
    </figure>
  );
}

/* Rounds are counted in whole numbers, and there is room for about ten of them. */
function wholeTicks(x: number[]): number[] {
  const step = Math.max(1, Math.ceil(x.length / 10));
  return x.filter((_, i) => i % step === 0 || i === x.length - 1);
}

function decorate(u: UPlot, p: PlotProps): void {
  const { ctx } = u;
  const px = devicePixelRatio;
  ctx.save();
  if (p.level) {
    const y = u.valToPos(p.level.value, "y", true);
    ctx.strokeStyle = ctx.fillStyle = token(p.level.color);
    ctx.lineWidth = 1.2 * px;
    ctx.setLineDash([6 * px, 4 * px]);
    ctx.beginPath();
    ctx.moveTo(u.bbox.left, y);
    ctx.lineTo(u.bbox.left + u.bbox.width, y);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.font = `600 ${11 * px}px ${token("--sans")}`;
    ctx.textAlign = "left";
    ctx.fillText(p.level.label, u.bbox.left + 4 * px, y - 4 * px);
  }
  for (const m of p.marks ?? []) {
    const x = u.valToPos(m.x, "x", true);
    const y = m.y === null ? u.bbox.top + u.bbox.height : u.valToPos(m.y, "y", true);
    ctx.fillStyle = token(m.color);
    ctx.font = `700 ${13 * px}px ${token("--sans")}`;
    ctx.textAlign = "center";
    // Above the point, or below it where there is no room.
    ctx.fillText(m.sign, x, y - u.bbox.top < 20 * px ? y + 20 * px : y - 9 * px);
  }
  ctx.restore();
}
