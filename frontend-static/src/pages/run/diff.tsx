/* What two runs differ in: the sums, then node by node the places of their outputs that are not the same. */
import { useState } from "react";
import * as ops from "../../api/ops";
import type { DiffNode, Place } from "../../api/ops";
import type { Json, NodeStatus } from "../../api/types";
import { t } from "../../i18n";
import { runUrl } from "../../state/router";
import { count, duration, shortId, usd } from "../../util/format";
import { Button } from "../../ui/controls";
import { Show, useLoad } from "../../ui/kit";
import { Link } from "../../ui/link";
import { NodeState, RunBadge } from "../../ui/status";
import { w } from "./words";
import "./run.css";

export default function DiffPage({ id, other }: { id: string; other: string }) {
  const load = useLoad((abort) => ops.diff(id, other, abort), id + other);
  return (
    <div className="page" data-testid="diff">
      <header className="page-head">
        <Link to="/" className="back">{t("nav.runs")}</Link>
        <h1>{w("diff.title")}</h1>
      </header>
      <Show from={load} title={w("diff.failed")} rows={8}>{(d) => <Both d={d} />}</Show>
    </div>
  );
}

const tookOf = (ms: number | null) => (ms === null ? "–" : duration(ms));
const text = (v: Json) => (typeof v === "string" ? v : JSON.stringify(v, null, 2));

function Both({ d }: { d: ops.RunDiff }) {
  const [all, setAll] = useState(false);
  const same = d.nodes.filter((n) => n.change === "same").length;
  const shown = all ? d.nodes : d.nodes.filter((n) => n.change !== "same");
  const runs = [{ run: d.a, name: w("diff.a") }, { run: d.b, name: w("diff.b") }];
  return (
    <div className="stack">
      {!d.same_definition && <p className="note">{w("diff.definition")}</p>}
      <table className="diff-table">
        <thead><tr><th /><th>{w("diff.state")}</th><th>{w("diff.tokens")}</th><th>{w("diff.cost")}</th><th>{w("diff.took")}</th></tr></thead>
        <tbody>
          {runs.map(({ run, name }, i) => (
            <tr key={run.id}>
              <th scope="row">{name} <Link to={runUrl(run.id)}>{shortId(run.id)}</Link></th>
              <td><RunBadge status={run.status} /></td>
              <td className="num">{count(d.tokens[i]!)}</td>
              <td className="num">{usd(d.cost_usd[i]!)}</td>
              <td className="num">{tookOf(d.duration_ms[i]!)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {d.inputs && <section><h2>{w("diff.inputs")}</h2><Places places={d.inputs} /></section>}
      {d.outputs && <section><h2>{w("diff.outputs")}</h2><Places places={d.outputs} /></section>}
      {shown.length === 0 && !d.inputs && !d.outputs && <p className="faint">{w("diff.none")}</p>}
      {shown.map((n) => <Node key={n.path} n={n} />)}
      {!all && same > 0 && <p><Button kind="ghost" onClick={() => setAll(true)}>{w("diff.all", { n: same })}</Button></p>}
    </div>
  );
}

function Node({ n }: { n: DiffNode }) {
  const cell = (i: 0 | 1) =>
    n.status[i] === null ? <span className="faint">{w("diff.missing")}</span> : (
      <><NodeState status={n.status[i] as NodeStatus} /> <span className="num faint">{count(n.tokens[i])} · {usd(n.cost_usd[i])} · {tookOf(n.duration_ms[i])}</span></>
    );
  return (
    <section className={"diff-node is-" + n.change} data-testid={"diff-" + n.path}>
      <h3><span className="mono">{n.path}</span> <span className="chip">{w(("diff." + n.change) as "diff.same")}</span></h3>
      <p className="diff-sides"><span>{cell(0)}</span><span>{cell(1)}</span></p>
      {n.error && <Places places={n.error} />}
      {n.output && <Places places={n.output} />}
    </section>
  );
}

function Places({ places }: { places: Place[] }) {
  return (
    <>
      {places.map((p, i) =>
        p.left_out !== undefined ? <p key={i} className="faint">{w("diff.more", { n: p.left_out })}</p> : (
          <div key={i} className="diff-place">
            <span className="mono faint">{p.pointer || w("diff.whole")}{p.cut ? ` (${w("diff.cut")})` : ""}</span>
            <div className="diff-sides">
              <pre className="diff-a">{p.a === undefined ? "–" : text(p.a)}</pre>
              <pre className="diff-b">{p.b === undefined ? "–" : text(p.b)}</pre>
            </div>
          </div>
        ),
      )}
    </>
  );
}
