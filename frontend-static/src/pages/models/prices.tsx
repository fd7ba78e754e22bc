/* What a call is reckoned with: the operator's own prices can be edited, those built in can be overridden. */
import { useMemo, useState } from "react";
import * as ops from "../../api/ops";
import type { Price } from "../../api/ops";
import { roleAllows } from "../../state/session";
import { announce } from "../../ui/announce";
import { Button } from "../../ui/controls";
import { Icon } from "../../ui/icons";
import { Show, TroubleNote, useLoad, useMore, useTask } from "../../ui/kit";
import { w } from "./words";

interface Row {
  model: string;
  provider: string;
  input: string;
  output: string;
  cached: string;
  as_of: string;
}

const rowOf = (p: Price): Row => ({ model: p.model, provider: p.provider ?? "", input: String(p.input_usd_per_1m), output: String(p.output_usd_per_1m), cached: p.cached_usd_per_1m === null || p.cached_usd_per_1m === undefined ? "" : String(p.cached_usd_per_1m), as_of: p.as_of ?? "" });
const own = (p: Price) => p.source !== "built-in";

/* null: a row is not complete. */
export function readPrices(rows: readonly Row[]): Price[] | null {
  const out: Price[] = [];
  for (const r of rows) {
    if (Object.values(r).every((v) => v.trim() === "")) continue;
    const input = Number(r.input);
    const output = Number(r.output);
    const cached = r.cached.trim() === "" ? undefined : Number(r.cached);
    if (!r.model.trim() || r.input.trim() === "" || r.output.trim() === "" || !(input >= 0) || !(output >= 0) || (cached !== undefined && !(cached >= 0))) return null;
    out.push({ model: r.model.trim(), ...(r.provider.trim() ? { provider: r.provider.trim() } : {}), input_usd_per_1m: input, output_usd_per_1m: output, ...(cached === undefined ? {} : { cached_usd_per_1m: cached }), ...(r.as_of.trim() ? { as_of: r.as_of.trim() } : {}) });
  }
  return out;
}

export function Prices() {
  const load = useLoad(() => ops.prices(), "prices");
  return <Show from={load} title={w("prices.failed")}>{(d) => <Table key={d.items.filter(own).length + ":" + JSON.stringify(d.items.filter(own))} items={d.items} date={d.built_in_as_of ?? "?"} onSaved={load.reload} />}</Show>;
}

function Table({ items, date, onSaved }: { items: Price[]; date: string; onSaved: () => void }) {
  const [rows, setRows] = useState<Row[]>(() => items.filter(own).map(rowOf));
  const [q, setQ] = useState("");
  const [bad, setBad] = useState(false);
  const [touched, setTouched] = useState(false);
  const task = useTask();
  const why = roleAllows("admin") ? null : w("why.admin");
  const fits = (m: string, p: string) => `${m} ${p}`.toLowerCase().includes(q.toLowerCase());
  const builtIn = useMemo(() => items.filter((p) => !own(p)), [items]);
  const found = builtIn.filter((p) => fits(p.model, p.provider ?? ""));
  const { shown, left, more } = useMore(found, 60);
  const change = (i: number, patch: Partial<Row>) => {
    setTouched(true);
    setRows((r) => r.map((x, k) => (k === i ? { ...x, ...patch } : x)));
  };
  const add = (r: Row) => {
    setTouched(true);
    setRows((x) => [...x, r]);
  };
  const save = async () => {
    const list = readPrices(rows);
    setBad(list === null);
    if (!list) return;
    if (await task.run("save", () => ops.putPrices(list))) {
      announce(w("prices.saved"));
      setTouched(false);
      onSaved();
    }
  };
  const cell = (i: number, k: keyof Row, label: string, num = false) => <input className={num ? "r num" : k === "model" ? "mono" : ""} inputMode={num ? "decimal" : undefined} aria-label={label} value={rows[i]![k]} placeholder={k === "provider" ? w("prices.any") : k === "as_of" ? "2026-01-31" : undefined} disabled={why !== null} onChange={(e) => change(i, { [k]: e.target.value })} />;
  return (
    <div className="prices">
      <p className="muted">{w("prices.lead", { date })}</p>
      <div className="filters">
        <label className="search agent-search">
          <Icon name="search" size={14} />
          <input type="search" value={q} placeholder={w("prices.search")} aria-label={w("prices.search")} onChange={(e) => setQ(e.target.value)} />
        </label>
        <span className="grow" />
        <Button icon="plus" why={why} onClick={() => add({ model: "", provider: "", input: "", output: "", cached: "", as_of: "" })} testId="add-price">{w("prices.add")}</Button>
        <Button kind="primary" why={why} busy={task.busy !== null} onClick={() => void save()} testId="save-prices">{w("prices.save")}{touched ? " *" : ""}</Button>
      </div>
      {bad && <p className="field-error" role="alert">{w("prices.bad")}</p>}
      <TroubleNote of={task.trouble} title={w("prices.save.failed")} />
      <div className="table-wrap">
        <table className="runs price-table" data-testid="prices">
          <thead>
            <tr><th scope="col">{w("prices.col.model")}</th><th scope="col">{w("prices.col.provider")}</th><th scope="col" className="r">{w("input")}</th><th scope="col" className="r">{w("output")}</th><th scope="col" className="r">{w("cached")}</th><th scope="col">{w("prices.col.as_of")}</th><th scope="col">{w("prices.col.source")}</th><th scope="col"><span className="sr-only">{w("remove")}</span></th></tr>
          </thead>
          <tbody>
            {rows.map((r, i) => fits(r.model, r.provider) && (
              <tr key={i} className="is-own">
                <td>{cell(i, "model", w("prices.col.model"))}</td>
                <td>{cell(i, "provider", w("prices.col.provider"))}</td>
                <td>{cell(i, "input", w("input"), true)}</td>
                <td>{cell(i, "output", w("output"), true)}</td>
                <td>{cell(i, "cached", w("cached"), true)}</td>
                <td>{cell(i, "as_of", w("prices.col.as_of"))}</td>
                <td><span className="chip chip-ok">{w("prices.yours")}</span></td>
                <td className="r"><Button small kind="ghost" icon="close" label={w("remove")} why={why} onClick={() => { setTouched(true); setRows((x) => x.filter((_, k) => k !== i)); }} /></td>
              </tr>
            ))}
            {shown.map((p) => (
              <tr key={p.model + p.provider}>
                <td className="mono">{p.model}</td>
                <td>{p.provider || <span className="faint">{w("prices.any")}</span>}</td>
                <td className="r num">{p.input_usd_per_1m}</td>
                <td className="r num">{p.output_usd_per_1m}</td>
                <td className="r num">{p.cached_usd_per_1m ?? "–"}</td>
                <td className="num faint">{p.as_of}</td>
                <td className="faint">{w("prices.builtin")}</td>
                <td className="r"><Button small kind="ghost" why={why} onClick={() => add({ ...rowOf(p), as_of: "" })}>{w("prices.override")}</Button></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {found.length === 0 && !rows.some((r) => fits(r.model, r.provider)) && <p className="muted">{w("prices.none")}</p>}
      {left > 0 && <Button small onClick={more}>+ {left}</Button>}
    </div>
  );
}
