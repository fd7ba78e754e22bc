/* Caches, instances, and the trail of who did what. */
import { useEffect, useRef, useState } from "react";
import { admin, type AuditRow } from "../../api/ops";
import { ago, bytes, count, full } from "../../util/format";
import { announce } from "../../ui/announce";
import { Button } from "../../ui/controls";
import { Icon } from "../../ui/icons";
import { JsonView } from "../../ui/json";
import { Confirm, Show, troubleOf, TroubleNote, useLoad, useTask, type Trouble } from "../../ui/kit";
import { Link } from "../../ui/link";
import { cachesOf } from "../../util/caches";
import { w } from "./words";

export function Caches() {
  const load = useLoad(() => admin.cache(), "cache", 5000);
  const [asking, setAsking] = useState<string | null>(null); // "" for all
  const task = useTask();
  const clear = async () => {
    if (!(await task.run("clear", () => admin.clearCache(asking || undefined)))) return;
    announce(w("cache.cleared"));
    setAsking(null);
    load.reload();
  };
  return (
    <>
      <div className="filters">
        <p className="muted">{w("cache.lead")}</p>
        <span className="grow" />
        <Button onClick={() => setAsking("")} testId="clear-caches">{w("cache.clear.all")}</Button>
      </div>
      <Show from={load} title={w("failed")}>
        {(answer) => {
          const caches = cachesOf(answer);
          if (caches.length === 0) return <p className="card quiet-card">{w("cache.none")}</p>;
          return (
            <div className="table-wrap">
              <table className="runs" data-testid="caches">
                <thead><tr><th scope="col">{w("tokens.name")}</th><th scope="col" className="r">{w("cache.entries")}</th><th scope="col" className="r">{w("cache.bytes")}</th><th scope="col" className="r">{w("cache.hits")}</th><th scope="col" className="r">{w("cache.misses")}</th><th scope="col" className="r">{w("cache.rate")}</th><th scope="col"><span className="sr-only">{w("cache.clear")}</span></th></tr></thead>
                <tbody>
                  {caches.map(([name, c]) => (
                    <tr key={name} data-cache={name}>
                      <td><b>{name}</b></td>
                      <td className="r num">{count(c.entries)}</td>
                      <td className="r num">{bytes(c.bytes)}</td>
                      <td className="r num">{count(c.hits)}</td>
                      <td className="r num">{count(c.misses)}</td>
                      <td className="r num">{c.hits + c.misses ? Math.round((c.hits / (c.hits + c.misses)) * 100) + " %" : "–"}</td>
                      <td className="r"><Button small kind="ghost" onClick={() => setAsking(name)} testId="clear-cache">{w("cache.clear")}</Button></td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          );
        }}
      </Show>
      {asking !== null && <Confirm title={asking ? w("cache.clear.title", { name: asking }) : w("cache.clear.title.all")} body={w("cache.clear.body")} yes={w("cache.clear")} busy={task.busy !== null} trouble={task.trouble} testId="clear-yes" onYes={() => void clear()} onClose={() => setAsking(null)} />}
    </>
  );
}

export function Instances() {
  const load = useLoad(() => admin.instances(), "instances", 5000);
  return (
    <>
      <p className="muted">{w("instances.lead")}</p>
      <Show from={load} title={w("failed")}>
        {({ items }) => (
          <div className="table-wrap">
            <table className="runs" data-testid="instances">
              <thead><tr><th scope="col">{w("instances.state")}</th><th scope="col">{w("instances.host")}</th><th scope="col">{w("instances.version")}</th><th scope="col" className="r">{w("instances.started")}</th><th scope="col" className="r">{w("instances.runs")}</th></tr></thead>
              <tbody>
                {items.map((i) => (
                  <tr key={i.id}>
                    <td><span className={"badge " + (i.alive === false ? "st-cancelled" : "st-succeeded")}><Icon name={i.alive === false ? "stopped" : "check"} size={13} />{w(i.alive === false ? "instances.gone" : "instances.alive")}</span></td>
                    <td><b>{i.host ?? i.id}</b>{i.pid ? <span className="mono faint"> {i.pid}</span> : null} {i.self && <span className="chip">{w("instances.self")}</span>}</td>
                    <td className="mono">{i.version ?? "–"}</td>
                    <td className="r num" title={full(i.started_at)}>{ago(i.started_at)}</td>
                    <td className="r num">{i.runs ?? 0}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Show>
    </>
  );
}

export function Audit() {
  const [actor, setActor] = useState("");
  const [action, setAction] = useState("");
  const [late, setLate] = useState({ actor: "", action: "" });
  const [rows, setRows] = useState<AuditRow[] | null>(null);
  const [next, setNext] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState<Trouble | null>(null);
  const [open, setOpen] = useState<string | number | null>(null);
  const [chain, setChain] = useState<{ ok: boolean; lines: number; broken?: number } | null>(null);
  const check = useTask();
  useEffect(() => {
    const id = setTimeout(() => setLate({ actor: actor.trim(), action: action.trim() }), 300);
    return () => clearTimeout(id);
  }, [actor, action]);
  const asked = useRef(0);
  const fetchPage = async (cursor: string | null) => {
    const me = ++asked.current;
    setBusy(true);
    try {
      const p = await admin.audit(cursor, late);
      if (me !== asked.current) return;
      setRows((r) => (cursor && r ? [...r, ...p.items] : p.items));
      setNext(p.next_cursor);
      setTrouble(null);
    } catch (e) {
      if (me === asked.current) setTrouble(troubleOf(e));
    }
    if (me === asked.current) setBusy(false);
  };
  useEffect(() => {
    void fetchPage(null);
    // eslint-disable-next-line react-hooks/exhaustive-deps -- asked anew when the filter changes
  }, [late]);
  return (
    <>
      <p className="muted">{w("audit.lead")}</p>
      <div className="filters" role="search">
        <input className="audit-filter" name="actor" value={actor} placeholder={w("audit.filter.actor")} aria-label={w("audit.filter.actor")} onChange={(e) => setActor(e.target.value)} />
        <input className="audit-filter" name="action" value={action} placeholder={w("audit.filter.action")} aria-label={w("audit.filter.action")} onChange={(e) => setAction(e.target.value)} />
        {rows && <span className="faint num">{w("audit.shown", { n: rows.length })}{next ? "+" : ""}</span>}
        <span className="grow" />
        {chain && <span className={"server-said " + (chain.ok ? "st-succeeded" : "st-failed")} role="status" data-testid="audit-chain" data-ok={chain.ok}>{chain.ok ? w("audit.whole", { n: chain.lines }) : w("audit.broken", { n: chain.broken ?? "?" })}</span>}
        <Button busy={check.busy !== null} onClick={() => void check.run("verify", async () => setChain(await admin.verifyAudit()))} testId="audit-verify">{w("audit.verify")}</Button>
      </div>
      <TroubleNote of={check.trouble} title={w("audit.verify.failed")} />
      <TroubleNote of={trouble} title={w("failed")} />
      {rows && rows.length === 0 && <p className="card quiet-card">{w("audit.none")}</p>}
      {rows && rows.length > 0 && (
        <div className="table-wrap">
          <table className="runs audit" data-testid="audit">
            <thead><tr><th scope="col">{w("audit.at")}</th><th scope="col">{w("audit.actor")}</th><th scope="col">{w("audit.action")}</th><th scope="col">{w("audit.target")}</th><th scope="col">{w("audit.detail")}</th></tr></thead>
            <tbody>
              {rows.map((r) => (
                <tr key={r.id}>
                  <td className="num" title={full(r.at)}>{full(r.at)}</td>
                  <td><b>{r.actor}</b></td>
                  <td className="mono">{r.action}</td>
                  <td className="mono faint">{/^[0-9a-f]{8}-[0-9a-f]{4}-7/.test(r.target ?? "") && r.action.startsWith("run.") ? <Link to={"/runs/" + r.target}>{r.target}</Link> : r.target}</td>
                  <td className="audit-detail">
                    {r.detail !== null && r.detail !== undefined && (open === r.id ? <JsonView value={r.detail} /> : <button type="button" className="link" onClick={() => setOpen(r.id)}>{JSON.stringify(r.detail).slice(0, 60)}</button>)}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {next && <Button busy={busy} onClick={() => void fetchPage(next)} testId="audit-more">{w("audit.more")}</Button>}
    </>
  );
}
