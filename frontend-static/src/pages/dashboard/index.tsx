/* The server at a glance: what it does now, how quickly, at what cost, and what goes wrong. */
import { lazy, Suspense, useEffect, useMemo } from "react";
import * as ops from "../../api/ops";
import type { StatPoint, Stats } from "../../api/ops";
import { Link } from "../../ui/link";
import { bytes, clock, count, duration, usd } from "../../util/format";
import { Skeleton } from "../../ui/controls";
import { EmptyPage, Show, useLoad } from "../../ui/kit";
import type { Line } from "../../ui/plot";
import { ConnectionPill } from "../../shell";
import { cachesOf, type CacheFigures } from "../../util/caches";
import { w, type Word } from "./words";
import "./dashboard.css";

const Plot = lazy(() => import("../../ui/plot"));
const EVERY_S = 5;

export default function Dashboard() {
  const load = useLoad((abort) => ops.stats(abort), "stats", EVERY_S * 1000);
  useEffect(() => {
    document.title = w("title") + " · Sluice";
  }, []);
  return (
    <div className="page dashboard">
      <header className="page-head">
        <h1>{w("title")}</h1>
        {load.data && load.data.series.length > 1 && <span className="faint">{w("as.of", { n: minutes(load.data.series), s: EVERY_S })}</span>}
        <span className="grow" />
        <ConnectionPill />
      </header>
      <Show from={load} title={w("failed")} rows={10}>{(s) => (quiet(s) ? <Quiet /> : <Figures s={s} caches={cachesOf(s.caches ?? {})} />)}</Show>
    </div>
  );
}

const minutes = (s: StatPoint[]) => Math.max(1, Math.round((Date.parse(s[s.length - 1]!.at) - Date.parse(s[0]!.at)) / 60_000) + 1);
const quiet = (s: Stats) => s.models.length === 0 && (s.now.runs_active ?? 0) + (s.now.runs_waiting ?? 0) === 0 && s.series.every((p) => p.runs_started + p.runs_succeeded + p.runs_failed === 0);

function Quiet() {
  return (
    <EmptyPage icon="dashboard" title={w("quiet.title")} body={w("quiet.body")} code={`curl -sS ${location.origin}/api/v1/stats -H "Authorization: Bearer $SLUICE_TOKEN"`}>
      <Link to="/?start=" className="btn btn-primary">{w("quiet.go")}</Link>
    </EmptyPage>
  );
}

const percent = (v: number) => (v * 100).toFixed(v > 0 && v < 0.1 ? 1 : 0) + " %";
const ms = (v: number | undefined) => (v === undefined ? "–" : duration(v));
const rate = (v: number) => (v >= 100 ? Math.round(v).toString() : v.toFixed(1));

function Figures({ s, caches }: { s: Stats; caches: [string, CacheFigures][] }) {
  const x = useMemo(() => s.series.map((p) => Date.parse(p.at) / 1000), [s.series]);
  const line = (label: Word, key: keyof StatPoint, color: string, format: (v: number) => string, more: Partial<Line> = {}): Line => ({ label: w(label), color, format, values: s.series.map((p) => (typeof p[key] === "number" ? (p[key] as number) : null)), ...more });
  const { now, pools } = s;
  const asked = caches.reduce((n, [, c]) => n + c.hits + c.misses, 0);
  const hitRate = now.cache_hit_rate ?? (asked > 0 ? caches.reduce((n, [, c]) => n + c.hits, 0) / asked : undefined);
  return (
    <>
      <dl className="cards" data-testid="stats">
        <Figure k="active" v={now.runs_active} format={String} note={now.runs_waiting ? w("waiting", { n: now.runs_waiting }) : undefined} tone={now.runs_active ? "st-running" : undefined} />
        <Figure k="tokens" v={now.tokens_per_s} format={rate} />
        <Figure k="requests" v={now.requests_per_s} format={rate} />
        <Figure k="errors" v={now.error_rate} format={percent} tip={w("errors.tip")} tone={(now.error_rate ?? 0) > 0.05 ? "st-failed" : undefined} />
        <Figure k="cache" v={hitRate} format={percent} tip={w("cache.tip")} />
        <Figure k="cost" v={now.cost_usd_today} format={usd} note={now.runs_today === undefined ? undefined : w("runs.today", { n: now.runs_today })} />
        <Figure k="clients" v={now.ws_clients} format={String} tip={w("clients.tip")} />
      </dl>
      <div className="charts">
        <Chart title="chart.latency" x={x} lines={[line("p50", "latency_p50_ms", "--st-running", ms), line("p95", "latency_p95_ms", "--st-waiting", ms), line("p99", "latency_p99_ms", "--st-failed", ms), line("ttft", "ttft_p50_ms", "--st-succeeded", ms, { dash: true })]} />
        <Chart title="chart.runs" x={x} lines={[line("started", "runs_started", "--st-running", whole), line("succeeded", "runs_succeeded", "--st-succeeded", whole), line("runs.failed", "runs_failed", "--st-failed", whole)]} />
        <Chart title="chart.tokens" x={x} lines={[line("input", "input_tokens", "--st-cancelled", count), line("output", "output_tokens", "--accent", count)]} />
        <Chart title="chart.cost" x={x} lines={[line("col.cost", "cost_usd", "--st-paused", usd, { fill: true })]} />
      </div>
      <section className="card block">
        <h2>{w("models.title")}</h2>
        {s.models.length === 0 ? <p className="faint">{w("models.none")}</p> : <ModelTable models={s.models} />}
      </section>
      <div className="blocks">
        <section className="card block">
          <h2>{w("kinds.title")}</h2>
          <Bars items={s.errors} />
        </section>
        <section className="card block">
          <h2>{w("pools.title")}</h2>
          {pools.busy !== undefined && pools.workers ? <Gauge label={w("workers")} n={pools.busy} of={pools.workers} /> : pools.workers !== undefined && <p className="gauge-line"><span>{w("workers.all")}</span><b className="num">{pools.workers}</b></p>}
          {pools.queue !== undefined && <Gauge label={w("queue")} n={pools.queue} of={Math.max(pools.queue, (pools.workers ?? 4) * 4)} warn />}
          {pools.db_connections !== undefined && (pools.db_busy === undefined ? <p className="gauge-line"><span>{w("db")}</span><b className="num">{pools.db_connections}</b></p> : <Gauge label={w("db.busy")} n={pools.db_busy} of={pools.db_connections} />)}
          {pools.db_waiting ? <p className="gauge-line"><span>{w("db.waiting")}</span><b className="num">{pools.db_waiting}</b></p> : null}
        </section>
        {caches.length > 0 && (
        <section className="card block">
          <h2>{w("caches.title")}</h2>
          {caches.map(([name, c]) => {
            const asked = c.hits + c.misses;
            return <Gauge key={name} label={cacheName(name)} n={asked ? c.hits / asked : 0} of={1} text={`${w("hits", { n: asked ? Math.round((c.hits / asked) * 100) : 0 })} · ${w("entries", { n: count(c.entries) })} · ${bytes(c.bytes)}`} />;
          })}
        </section>
        )}
      </div>
    </>
  );
}

const whole = (v: number) => (Number.isInteger(v) ? String(v) : v.toFixed(1));
const cacheName = (n: string) => (n === "response" || n === "embedding" ? w(("cache.name." + n) as Word) : n);

/* A dash where nothing was measured yet: a zero would be a claim. */
function Figure({ k, v, format, note, tip, tone }: { k: Word; v: number | undefined; format: (v: number) => string; note?: string; tip?: string; tone?: string }) {
  return (
    <div className={"card figure " + (tone ?? "")} title={tip}>
      <dt>{w(k)}</dt>
      <dd className="num">{v === undefined || v === null ? "–" : format(v)}</dd>
      {note && <span className="faint num">{note}</span>}
    </div>
  );
}

function Chart({ title, x, lines }: { title: Word; x: number[]; lines: Line[] }) {
  const last = lines.map((l) => { const v = l.values.filter((n): n is number => n !== null).at(-1); return v === undefined ? null : `${l.label} ${l.format(v)}`; }).filter(Boolean).join(", ");
  return (
    <section className="card block">
      <h2>{w(title)}</h2>
      <Suspense fallback={<Skeleton rows={5} />}>
        <Plot label={`${w(title)}: ${w("latest", { v: last })}`} x={x} time formatX={(v) => clock(new Date(v * 1000).toISOString()).slice(0, 5)} lines={lines} height={190} />
      </Suspense>
    </section>
  );
}

function ModelTable({ models }: { models: Stats["models"] }) {
  const worst = Math.max(1, ...models.map((m) => m.latency_p95_ms ?? 0));
  return (
    <div className="scroll-x">
      <table className="runs">
        <thead>
          <tr><th scope="col">{w("col.model")}</th><th scope="col" className="r">{w("col.calls")}</th><th scope="col" className="r">{w("col.errors")}</th><th scope="col" className="r">{w("col.ttft")}</th><th scope="col" className="r">{w("col.p50")}</th><th scope="col" className="r">{w("col.p95")}</th><th scope="col" className="r">{w("col.tokens")}</th><th scope="col" className="r">{w("col.cost")}</th></tr>
        </thead>
        <tbody>
          {[...models].sort((a, b) => b.calls - a.calls).map((m) => {
            const share = m.calls ? m.errors / m.calls : 0;
            return (
              <tr key={m.profile + m.model}>
                <td><b>{m.profile}</b> <span className="mono faint">{m.model}</span></td>
                <td className="r num">{count(m.calls)}</td>
                <td className="r num"><span className={share > 0.05 ? "cell-bad" : m.errors ? "" : "faint"}>{m.errors ? `${count(m.errors)} · ${percent(share)}` : "0"}</span></td>
                <td className="r num">{ms(m.ttft_p50_ms)}</td>
                <td className="r num">{ms(m.latency_p50_ms)}</td>
                {/* Warmth beside the figure: which is the slow one is seen before it is read. */}
                <td className="r num" style={{ background: `color-mix(in srgb, var(--st-waiting) ${Math.round(((m.latency_p95_ms ?? 0) / worst) * 22)}%, transparent)` }}>{ms(m.latency_p95_ms)}</td>
                <td className="r num">{count(m.tokens)}</td>
                <td className="r num">{usd(m.cost_usd)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Bars({ items }: { items: Stats["errors"] }) {
  if (items.length === 0) return <p className="faint">{w("kinds.none")}</p>;
  const top = Math.max(...items.map((i) => i.count));
  return (
    <ul className="bars">
      {[...items].sort((a, b) => b.count - a.count).slice(0, 10).map((i) => (
        <li key={i.code}>
          <span className="mono">{i.code}</span>
          <i aria-hidden="true"><i style={{ width: `${(i.count / top) * 100}%` }} /></i>
          <b className="num">{count(i.count)}</b>
        </li>
      ))}
    </ul>
  );
}

export function Gauge({ label, n, of, warn = false, text }: { label: string; n: number; of: number; warn?: boolean; text?: string }) {
  const share = of > 0 ? Math.min(1, n / of) : 0;
  return (
    <div className="gauge">
      <p className="gauge-line"><span>{label}</span><b className="num">{text ?? (warn ? String(n) : `${n} / ${of}`)}</b></p>
      <i className={"meter " + (warn ? (n > 0 ? "st-paused" : "st-queued") : share > 0.9 ? "st-failed" : "st-running")} aria-hidden="true"><i style={{ width: `${share * 100}%` }} /></i>
    </div>
  );
}
