/* What keeps model calls within limits: breakers, keys and rates as they stand, and the limits an operator sets. */
import { useState } from "react";
import { admin, type Budget, type Governor, type Limits } from "../../api/ops";
import { count, duration, usd } from "../../util/format";
import { announce } from "../../ui/announce";
import { Button } from "../../ui/controls";
import { Icon } from "../../ui/icons";
import { Show, TroubleNote, useLoad, useTask } from "../../ui/kit";
import { RUN_FIGURES, limitRows, readLimits, readRuns, runFields, type LimitRow } from "./limits-form";
import { w, type Word } from "./words";

const states: { [s: string]: { tone: string; icon: "check" | "cross" | "retry"; word: Word } } = {
  closed: { tone: "st-succeeded", icon: "check", word: "state.closed" },
  open: { tone: "st-failed", icon: "cross", word: "state.open" },
  half_open: { tone: "st-paused", icon: "retry", word: "state.half_open" },
};

const order = (s: string) => (s === "open" ? 0 : s === "half_open" ? 1 : 2);

export function Breakers() {
  const load = useLoad(() => admin.breakers(), "breakers", 3000);
  const task = useTask();
  const reset = async (key: string) => {
    await task.run(key, () => admin.resetBreaker(key));
    load.reload();
  };
  return (
    <>
      <p className="muted">{w("breakers.lead")}</p>
      <TroubleNote of={task.trouble} title={w("breakers.reset.failed")} />
      <Show from={load} title={w("failed")}>
        {(g) => (
          <>
            {g.breakers.length === 0 ? (
              <p className="card quiet-card">{w("breakers.none")}</p>
            ) : (
              <div className="table-wrap">
                <table className="runs" data-testid="breakers">
                  <thead>
                    <tr><th scope="col">{w("breakers.state")}</th><th scope="col">{w("breakers.key")}</th><th scope="col" className="r">{w("breakers.failures")}</th><th scope="col" className="r">{w("breakers.calls")}</th><th scope="col" className="r">{w("breakers.since")}</th><th scope="col" className="r">{w("breakers.retry")}</th><th scope="col"><span className="sr-only">{w("breakers.reset")}</span></th></tr>
                  </thead>
                  <tbody>
                    {[...g.breakers].sort((a, b) => order(a.state) - order(b.state) || a.key.localeCompare(b.key)).map((b) => {
                      const s = states[b.state];
                      return (
                        <tr key={b.key} data-breaker={b.key} data-state={b.state}>
                          <td><span className={"badge " + (s?.tone ?? "st-queued")}><Icon name={s?.icon ?? "pending"} size={13} />{s ? w(s.word) : b.state}</span></td>
                          <td className="mono">{b.key}</td>
                          <td className="r num">{b.failures ?? 0}</td>
                          <td className="r num">{count(b.calls ?? 0)}</td>
                          <td className="r num">{b.since_ms === undefined ? "–" : duration(b.since_ms)}</td>
                          <td className="r num">{b.state === "open" && b.retry_in_ms ? w("breakers.in", { t: duration(b.retry_in_ms) }) : "–"}</td>
                          <td className="r">{b.state !== "closed" && <Button small busy={task.busy === b.key} onClick={() => void reset(b.key)} testId="reset-breaker">{w("breakers.reset")}</Button>}</td>
                        </tr>
                      );
                    })}
                  </tbody>
                </table>
              </div>
            )}
            <Keys g={g} />
            <Limiters g={g} />
          </>
        )}
      </Show>
    </>
  );
}

function Keys({ g }: { g: Governor }) {
  if (!g.keys?.length) return null;
  return (
    <section className="block card">
      <h2>{w("keys.title")}</h2>
      <table className="runs">
        <thead><tr><th scope="col">{w("keys.profile")}</th><th scope="col">{w("keys.key")}</th><th scope="col">{w("breakers.state")}</th><th scope="col" className="r">{w("keys.inflight")}</th><th scope="col" className="r">{w("keys.calls")}</th><th scope="col" className="r">{w("keys.failures")}</th></tr></thead>
        <tbody>
          {g.keys.map((k) => (
            <tr key={k.profile + k.lane}>
              <td><b>{k.profile}</b> <span className="faint num">#{k.lane}</span></td>
              <td className="mono">{k.key ?? "–"}</td>
              <td>{k.state}</td>
              <td className="r num">{k.in_flight ?? 0}</td>
              <td className="r num">{count(k.calls ?? 0)}</td>
              <td className="r num">{count(k.failures ?? 0)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

const n = (v: unknown): number => (typeof v === "number" ? v : 0);

function Limiters({ g }: { g: Governor }) {
  if (!g.limiters?.length) return null;
  return (
    <section className="block card">
      <h2>{w("limiters.title")}</h2>
      <ul className="plain-list">
        {g.limiters.map((l) => (
          <li key={l.name}>
            <b className="mono">{l.name}</b>
            {["rpm", "tpm"].map((k) => typeof l[k] === "number" && <span key={k} className="num faint">{k} {count(n(l[k]))}</span>)}
            <span className="grow" />
            {n(l["blocked_ms"]) > 0 && <span className="chip chip-warn num">{w("limiters.blocked", { t: duration(n(l["blocked_ms"])) })}</span>}
            <span className="num">{n(l["waiting"])} {w("limiters.waiting")}</span>
            <span className="num faint">{count(n(l["granted"]))} {w("limiters.granted")}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

export function LimitsTab() {
  const load = useLoad(() => admin.limits(), "limits");
  const state = useLoad(() => admin.breakers(), "budgets", 10_000);
  return (
    <>
      <p className="muted">{w("limits.lead")}</p>
      <Show from={load} title={w("failed")}>{(l) => <LimitsForm key={JSON.stringify(l)} old={l} onSaved={() => { load.reload(); state.reload(); }} />}</Show>
      <section className="block card">
        <h2>{w("budgets.title")}</h2>
        {state.data?.budgets?.length ? state.data.budgets.map((b) => <BudgetLine key={b.project + b.period} b={b} />) : <p className="faint">{w("budgets.none")}</p>}
      </section>
    </>
  );
}

function BudgetLine({ b }: { b: Budget }) {
  const share = Math.max(b.max_cost_usd ? b.spent_usd / b.max_cost_usd : 0, b.max_tokens ? b.spent_tokens / b.max_tokens : 0);
  return (
    <div className="gauge">
      <p className="gauge-line">
        <span><b>{b.project}</b> <span className="faint">{b.period === "day" || b.period === "month" || b.period === "total" ? w(("period." + b.period) as Word) : b.period}</span></span>
        <span className="num">
          {b.max_cost_usd !== undefined && <>{usd(b.spent_usd)} / {usd(b.max_cost_usd)} </>}
          {b.max_tokens !== undefined && <>{count(b.spent_tokens)} / {count(b.max_tokens)} tok </>}
          {b.waiting ? <span className="chip chip-warn">{w("budgets.waiting", { n: b.waiting })}</span> : null}
        </span>
      </p>
      <i className={"meter " + (share >= 1 ? "st-failed" : share > 0.8 ? "st-paused" : "st-running")} aria-hidden="true"><i style={{ width: `${Math.min(1, share) * 100}%` }} /></i>
    </div>
  );
}

function LimitsForm({ old, onSaved }: { old: Limits; onSaved: () => void }) {
  const [rows, setRows] = useState(() => limitRows(old));
  const [runs, setRuns] = useState(() => runFields(old));
  const [bad, setBad] = useState(false);
  const task = useTask();
  const change = (i: number, patch: Partial<LimitRow>) => setRows((r) => r.map((x, k) => (k === i ? { ...x, ...patch } : x)));
  const figures = ["rpm", "tpm", "max_tokens", "max_cost_usd"] as const;
  const save = async () => {
    const projects = readLimits(rows);
    const rest = readRuns(runs, old);
    setBad(projects === null || rest === null);
    if (projects && rest && (await task.run("save", () => admin.putLimits({ ...projects, ...rest })))) {
      announce(w("limits.saved"));
      onSaved();
    }
  };
  return (
    <form className="limits" data-testid="limits" onSubmit={(e) => { e.preventDefault(); void save(); }}>
      {rows.length === 0 && <p className="card quiet-card">{w("limits.none")}</p>}
      {rows.length > 0 && (
        <div className="table-wrap">
          <table className="runs price-table">
            <thead><tr><th scope="col">{w("limits.project")}</th>{figures.map((k) => <th scope="col" className="r" key={k}>{w(("limits." + k) as Word)}</th>)}<th scope="col">{w("limits.period")}</th><th scope="col"><span className="sr-only">{w("limits.remove")}</span></th></tr></thead>
            <tbody>
              {rows.map((r, i) => (
                <tr key={i}>
                  <td><input className="mono" aria-label={w("limits.project")} name={"project-" + i} value={r.project} onChange={(e) => change(i, { project: e.target.value })} /></td>
                  {figures.map((k) => <td key={k}><input className="r num" inputMode="decimal" aria-label={w(("limits." + k) as Word)} name={`${k}-${i}`} value={r[k]} onChange={(e) => change(i, { [k]: e.target.value })} /></td>)}
                  <td><select aria-label={w("limits.period")} name={"period-" + i} value={r.period} onChange={(e) => change(i, { period: e.target.value })}>{["", "day", "month", "total"].map((p) => <option key={p} value={p}>{w(p ? (("period." + p) as Word) : "period.none")}</option>)}</select></td>
                  <td className="r"><Button small kind="ghost" icon="close" label={w("limits.remove")} onClick={() => setRows((x) => x.filter((_, k) => k !== i))} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <fieldset className="card" data-testid="run-limits">
        <legend>{w("limits.runs")}</legend>
        <p className="muted">{w("limits.runs.lead")}</p>
        {RUN_FIGURES.map((k) => (
          <label key={k} className="field">
            <span>{w(("limits." + k) as Word)}</span>
            <input className="num" inputMode="numeric" name={k} value={runs[k]} onChange={(e) => setRuns((r) => ({ ...r, [k]: e.target.value }))} />
          </label>
        ))}
      </fieldset>
      {bad && <p className="field-error" role="alert">{w("limits.bad")}</p>}
      <TroubleNote of={task.trouble} title={w("limits.failed")} />
      <footer className="dialog-foot">
        <Button icon="plus" onClick={() => setRows((r) => [...r, { project: r.some((x) => x.project === "*") ? "" : "*", rpm: "", tpm: "", max_tokens: "", max_cost_usd: "", period: "" }])} testId="add-limit">{w("limits.add")}</Button>
        <Button kind="primary" type="submit" busy={task.busy !== null} testId="save-limits">{w("limits.save")}</Button>
      </footer>
    </form>
  );
}
