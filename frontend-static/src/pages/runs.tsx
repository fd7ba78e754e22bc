import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type RefObject } from "react";
import { api } from "../api/client";
import type { Json, RunStatus, RunSummary, WorkflowSummary } from "../api/types";
import { t } from "../i18n";
import { ConnectionPill, SimulatorNote } from "../shell";
import { RUN_ENDS } from "../state/run";
import { RunsStore } from "../state/runs-store";
import { navigate, runsUrl, runUrl } from "../state/router";
import { live, roleAllows } from "../state/session";
import { useStore } from "../state/store";
import { ago, count, duration, full, shortId, span, usd } from "../util/format";
import { announce } from "../ui/announce";
import { Button, Code, Problem, Skeleton } from "../ui/controls";
import { useKeys, useNow } from "../ui/hooks";
import { Icon } from "../ui/icons";
import { Link } from "../ui/link";
import { RunBadge, RUN_STATUSES, runWord } from "../ui/status";
import { BulkBar, BulkDialog, range, type Order } from "./bulk";
import { exampleInputs } from "./form";
import { StartRun } from "./start";

export function Runs({ status, workflow, start }: { status: string; workflow: string; start: string | null }) {
  const store = useMemo(() => new RunsStore({ status, workflow }), [status, workflow]);
  useEffect(() => {
    void store.load();
    const off = live.subscribeAll(store);
    return () => {
      off();
      store.close();
    };
  }, [store]);
  const v = useStore(store.view);
  const [flows, setFlows] = useState<WorkflowSummary[] | null>(null);
  useEffect(() => {
    let on = true;
    api.workflows().then(
      (p) => on && setFlows(p.items),
      () => on && setFlows([]),
    );
    return () => {
      on = false;
    };
  }, []);
  useEffect(() => {
    document.title = t("title.runs");
  }, []);
  useEffect(() => {
    if (v.fresh.length) announce(t("runs.fresh", { n: v.fresh.length }));
  }, [v.fresh.length]);
  const open = () => navigate(runsUrl({ status, workflow, start: "" }));
  const filterRef = useRef<HTMLSelectElement>(null);
  useKeys({ n: open, "/": () => filterRef.current?.focus() });
  const chosen = status.split(",");
  const filtered = status !== "" || workflow !== "";
  const mayRun = roleAllows("run");
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [all, setAll] = useState(false);
  const [order, setOrder] = useState<Order | null>(null);
  const [back, setBack] = useState(0);
  const pickAll = useRef<HTMLInputElement>(null);
  const chosenRuns = useMemo(() => v.items.filter((r) => picked.has(r.id)), [v.items, picked]);
  const clear = () => {
    setPicked(new Set());
    setAll(false);
  };
  useEffect(clear, [status, workflow]); // another list
  const pick = (p: ReadonlySet<string>) => {
    setPicked(p);
    setAll(false);
    announce(t("bulk.n", { n: p.size }));
  };
  const clearAndStay = () => {
    clear();
    setBack((n) => n + 1);
  };
  useEffect(() => {
    if (back) pickAll.current?.focus(); // what had the focus is gone
  }, [back]);

  return (
    <div className="page">
      <header className="page-head">
        <h1>{t("runs.title")}</h1>
        <SimulatorNote />
        <span className="grow" />
        <ConnectionPill />
        <Button kind="primary" icon="play" onClick={open} why={mayRun ? null : t("role.viewer")} testId="start-run">{t("runs.start")}</Button>
      </header>
      {chosenRuns.length > 0 ? (
        <BulkBar runs={chosenRuns} all={all} filter={{ status, workflow }} onAll={setAll} onOrder={setOrder} onClear={clearAndStay} />
      ) : (
      <div className="filters" role="search">
        <div className="toggles" role="group" aria-label={t("runs.filter.status")}>
          {RUN_STATUSES.map((s) => (
            <StatusToggle key={s} status={s} on={chosen.includes(s)} onToggle={() => navigate(runsUrl({ status: RUN_STATUSES.filter((x) => (x === s) !== chosen.includes(x)).join(","), workflow }), true)} />
          ))}
        </div>
        <label>
          <span className="sr-only">{t("runs.filter.workflow")}</span>
          <select ref={filterRef} value={workflow} onChange={(e) => navigate(runsUrl({ status, workflow: e.target.value }), true)} data-testid="filter-workflow">
            <option value="">{t("runs.filter.anyWorkflow")}</option>
            {workflow && !flows?.some((f) => f.name === workflow) && <option value={workflow}>{workflow}</option>}
            {flows?.map((f) => <option key={f.name} value={f.name}>{f.name}</option>)}
          </select>
        </label>
        {filtered && <Button small kind="ghost" icon="close" onClick={() => navigate("/", true)}>{t("runs.filter.clear")}</Button>}
        {v.fresh.length > 0 && (
          <button type="button" className="fresh" onClick={() => store.showFresh()} data-testid="fresh">
            <Icon name="down" size={12} className="flip" />
            {t("runs.fresh", { n: v.fresh.length })}
          </button>
        )}
      </div>
      )}
      {v.error ? (
        <Problem title={t("runs.failed")} detail={v.error.message} code={v.error.code} requestId={v.error.requestId} onRetry={() => void store.load()} />
      ) : v.loading && v.items.length === 0 ? (
        <div className="table-wrap"><Skeleton rows={10} /></div>
      ) : v.items.length === 0 ? (
        filtered ? <NoMatch /> : <Empty flows={flows} mayRun={mayRun} />
      ) : (
        <>
          <RunTable items={v.items} picked={mayRun ? picked : null} onPick={pick} headRef={pickAll} />
          <footer className="table-foot">
            <span className="faint num">{t(v.next ? "runs.shown.more" : v.items.length === 1 ? "runs.shown.one" : "runs.shown", { n: v.items.length })}</span>
            {v.next && <Button small busy={v.loadingMore} onClick={() => void store.more()} testId="more">{t("runs.more")}</Button>}
          </footer>
        </>
      )}
      {order && <BulkDialog order={order} runs={all ? null : chosenRuns} filter={{ status, workflow }} onClose={(done) => { setOrder(null); if (done) clearAndStay(); }} />}
      {start !== null && <StartRun workflow={start || null} flows={flows} onClose={() => navigate(runsUrl({ status, workflow }), true)} />}
    </div>
  );
}

function StatusToggle({ status, on, onToggle }: { status: RunStatus; on: boolean; onToggle: () => void }) {
  return (
    <button type="button" className={`toggle st-${status}`} aria-pressed={on} onClick={onToggle} data-testid={"filter-" + status}>
      {runWord(status)}
    </button>
  );
}

/* picked null: nothing may be selected. Shift takes the rows in between, with the pointer and with the arrows. */
function RunTable({ items, picked, onPick, headRef }: { items: RunSummary[]; picked: ReadonlySet<string> | null; onPick: (p: ReadonlySet<string>) => void; headRef: RefObject<HTMLInputElement | null> }) {
  const now = useNow(1000, items.some((r) => !RUN_ENDS.has(r.status)));
  const anchor = useRef<string | null>(null);
  const body = useRef<HTMLTableSectionElement>(null);
  const n = picked ? items.filter((r) => picked.has(r.id)).length : 0;
  useEffect(() => {
    if (headRef.current) headRef.current.indeterminate = n > 0 && n < items.length;
  }, [n, items.length, headRef]);
  const toggle = (id: string, on: boolean, shift: boolean) => {
    const next = new Set(picked);
    for (const x of shift && anchor.current ? range(items, anchor.current, id) : [id])
      if (on) next.add(x);
      else next.delete(x);
    anchor.current = id;
    onPick(next);
  };
  const onKeys = (e: KeyboardEvent<HTMLElement>) => {
    const box = e.target as HTMLElement;
    if (!picked || box.dataset["pick"] === undefined) return;
    if (e.key === "Escape" && picked.size) onPick(new Set());
    else if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      const to = items[items.findIndex((r) => r.id === box.dataset["pick"]) + (e.key === "ArrowDown" ? 1 : -1)];
      if (!to) return;
      body.current?.querySelector<HTMLElement>(`[data-pick="${to.id}"]`)?.focus();
      if (e.shiftKey) {
        anchor.current ??= box.dataset["pick"];
        onPick(new Set([...picked, box.dataset["pick"], to.id]));
      }
    } else return;
    e.preventDefault();
    e.stopPropagation();
  };
  return (
    <div className="table-wrap" tabIndex={-1}>
      <table className={"runs" + (picked ? " picks" : "")} data-testid="runs">
        <thead>
          <tr>
            {picked && (
              <th scope="col" className="c-pick">
                <input type="checkbox" ref={headRef} checked={n > 0 && n === items.length} aria-label={t("bulk.pick.all")} onChange={() => onPick(n === items.length ? new Set() : new Set(items.map((r) => r.id)))} data-testid="pick-all" />
              </th>
            )}
            <th scope="col">{t("col.status")}</th>
            <th scope="col">{t("col.workflow")}</th>
            <th scope="col" className="c-id">{t("col.run")}</th>
            <th scope="col" className="r">{t("col.started")}</th>
            <th scope="col" className="r">{t("col.duration")}</th>
            <th scope="col" className="r">{t("col.nodes")}</th>
            <th scope="col" className="r">{t("col.tokens")}</th>
            <th scope="col" className="r">{t("col.cost")}</th>
          </tr>
        </thead>
        <tbody ref={body} onKeyDown={onKeys}>{items.map((r) => <Row key={r.id} r={r} now={now} picked={picked && picked.has(r.id)} onToggle={toggle} />)}</tbody>
      </table>
    </div>
  );
}

function Row({ r, now, picked, onToggle }: { r: RunSummary; now: number; picked: boolean | null; onToggle: (id: string, on: boolean, shift: boolean) => void }) {
  const ms = span(r.started_at, r.finished_at, now);
  const tokens = (r.usage?.input_tokens ?? 0) + (r.usage?.output_tokens ?? 0);
  const why = r.error?.message ?? (r.status === "queued" || r.status === "paused" || r.status === "waiting" || r.status === "locked" ? r.reason : null);
  const total = r.nodes_total ?? 0;
  const done = r.nodes_done ?? 0;
  const ended = RUN_ENDS.has(r.status);
  return (
    <tr data-run={r.id} className={picked ? "is-picked" : undefined}>
      {picked !== null && (
        <td className="c-pick">
          <label>
            <input type="checkbox" checked={picked} aria-label={t("bulk.pick", { workflow: r.workflow, id: shortId(r.id) })} data-pick={r.id} onChange={(e) => onToggle(r.id, e.target.checked, (e.nativeEvent as MouseEvent).shiftKey === true)} />
          </label>
        </td>
      )}
      <td className="c-status"><RunBadge status={r.status} /></td>
      <td className="c-flow">
        <Link to={runUrl(r.id)} className="row-link">
          <b>{r.workflow}</b>
          {Boolean(r.version) && <span className="faint"> v{r.version}</span>}
        </Link>
        {r.simulated && <span className="tag" data-tip={t("sim.run.tip")}>{t("sim.short")}</span>}
        {r.forked_from && <span className="c-fork" title={r.forked_from.run} data-testid="forked-from"><Link to={runUrl(r.forked_from.run)}>{t("runs.fork", { id: shortId(r.forked_from.run) })}</Link></span>}
        {why && <span className="c-why" title={why}>{why}</span>}
      </td>
      <td className="c-id mono faint" title={r.id}>{shortId(r.id)}</td>
      <td className="r num" title={full(r.started_at ?? r.created_at)}>{ago(r.started_at ?? r.created_at, now)}</td>
      <td className="r num">{ms === null ? "–" : ended ? duration(ms) : duration(Math.floor(ms / 1000) * 1000).replace(".0", "")}</td>
      <td className="r num c-nodes">
        <span>{done}<span className="faint">/{total}</span></span>
        <i className={`meter st-${r.status}`} aria-hidden="true"><i style={{ width: total ? `${Math.min(100, (done / total) * 100)}%` : 0 }} /></i>
      </td>
      <td className="r num">{tokens ? count(tokens) : "–"}</td>
      <td className="r num">{usd(r.cost_usd)}</td>
    </tr>
  );
}

function NoMatch() {
  return (
    <div className="empty">
      <h2>{t("runs.none.title")}</h2>
      <p>{t("runs.none.body")}</p>
      <Button onClick={() => navigate("/", true)}>{t("runs.filter.clear")}</Button>
    </div>
  );
}

function Empty({ flows, mayRun }: { flows: WorkflowSummary[] | null; mayRun: boolean }) {
  const name = flows?.[0]?.name ?? "council-debate";
  const [inputs, setInputs] = useState<{ [key: string]: Json }>({ topic: "Should cities ban private cars?" });
  useEffect(() => {
    if (!flows?.length) return;
    let on = true;
    // The line to copy must work as it stands, so its inputs are those of the workflow it names.
    api.workflow(name).then(
      (w) => on && setInputs(exampleInputs(w.definition.inputs)),
      () => {},
    );
    return () => {
      on = false;
    };
  }, [flows, name]);
  const curl = `curl -sS ${location.origin}/api/v1/runs \\
  -H "Authorization: Bearer $SLUICE_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '${JSON.stringify({ workflow: name, inputs }).replace(/'/g, "'\\''")}'`;
  return (
    <div className="empty empty-first" data-testid="empty">
      <svg className="empty-art" viewBox="0 0 320 96" aria-hidden="true">
        <path className="flow" d="M8 48h64c30 0 24-28 54-28h40c30 0 24 28 54 28h92M72 48c30 0 24 28 54 28h40c30 0 24-28 54-28" />
        <circle cx="72" cy="48" r="6" /><circle cx="146" cy="20" r="6" /><circle cx="146" cy="76" r="6" /><circle cx="220" cy="48" r="6" />
      </svg>
      <h2>{t("empty.title")}</h2>
      <p>{t("empty.body")}</p>
      {flows && flows.length > 0 && (
        <ul className="flow-cards">
          {flows.slice(0, 3).map((f) => (
            <li key={f.name}>
              <button type="button" className="flow-card" aria-disabled={!mayRun} onClick={() => mayRun && navigate(runsUrl({ start: f.name }))}>
                <b>{f.name}</b>
                <span>{f.description || t("start.nodesc")}</span>
                <em><Icon name="play" size={11} /> {t("runs.start")}</em>
              </button>
            </li>
          ))}
        </ul>
      )}
      <p className="muted">{t("empty.curl")}</p>
      <Code text={curl} label={t("copy")} />
    </div>
  );
}
