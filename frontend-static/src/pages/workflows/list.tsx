import { useEffect, useMemo, useRef, useState } from "react";
import { api, ApiError } from "../../api/client";
import type { RunSummary, WorkflowSummary } from "../../api/types";
import { allWorkflows, archiveWorkflow, getWorkflow } from "../../api/workflows";
import { allDrafts, draftsChanged, draftUrl, dropDraft, isNewKey, newKey } from "../../state/drafts";
import { navigate, runsUrl, runUrl } from "../../state/router";
import { roleAllows } from "../../state/session";
import { useStore } from "../../state/store";
import { ago, full } from "../../util/format";
import { Button, Code, Dialog, Menu, Problem, Skeleton } from "../../ui/controls";
import { useKeys } from "../../ui/hooks";
import { Icon } from "../../ui/icons";
import { Link } from "../../ui/link";
import { RunBadge } from "../../ui/status";
import { openAsDraft } from "./draft";
import { w } from "./words";
import "./workflows.css";

type Failed = { message: string; code: string; requestId: string | null };
export const failedOf = (e: unknown): Failed => (e instanceof ApiError ? { message: e.message, code: e.code, requestId: e.requestId } : { message: String(e), code: "error", requestId: null });

export function List() {
  const [flows, setFlows] = useState<(WorkflowSummary & { updated_at?: string })[] | null>(null);
  const [last, setLast] = useState<Map<string, RunSummary>>(new Map());
  const [failed, setFailed] = useState<Failed | null>(null);
  const [again, setAgain] = useState(0);
  const [q, setQ] = useState("");
  const [archiving, setArchiving] = useState<string | null>(null);
  const [dropping, setDropping] = useState<string | null>(null);
  const [note, setNote] = useState<string | null>(null);
  const search = useRef<HTMLInputElement>(null);
  const file = useRef<HTMLInputElement>(null);
  const changed = useStore(draftsChanged);
  const drafts = useMemo(() => (void changed, allDrafts()), [changed]);
  const mayEdit = roleAllows("edit");
  useEffect(() => {
    document.title = w("title") + " · Sluice";
  }, []);
  useEffect(() => {
    let on = true;
    setFailed(null);
    allWorkflows().then(
      (x) => on && setFlows(x),
      (e) => on && setFailed(failedOf(e)),
    );
    // What ran last is told for workflows among the newest runs; older ones say so by a dash.
    api.runs({ limit: 100 }).then(
      (p) => {
        if (!on) return;
        const m = new Map<string, RunSummary>();
        for (const r of p.items) if (!m.has(r.workflow)) m.set(r.workflow, r);
        setLast(m);
      },
      () => {},
    );
    return () => {
      on = false;
    };
  }, [again]);
  const begin = () => mayEdit && navigate(draftUrl(newKey()));
  useKeys({ n: begin, "/": () => search.current?.focus() });
  const found = flows?.filter((f) => (f.name + " " + (f.description ?? "")).toLowerCase().includes(q.toLowerCase())) ?? [];
  const fresh = drafts.filter((d) => isNewKey(d.key));
  const duplicate = (name: string) =>
    getWorkflow(name).then(
      (x) => openAsDraft({ ...x.definition, name: name.slice(0, 59) + "-copy" }),
      (e) => setFailed(failedOf(e)),
    );
  const doImport = async (f: File) => {
    try {
      const v = JSON.parse(await f.text()) as { definition?: unknown; nodes?: unknown };
      const d = (v.definition ?? v) as { nodes?: unknown };
      if (!Array.isArray(d.nodes)) throw new Error("nodes");
      openAsDraft(d as never);
    } catch {
      setNote(w("import.bad"));
    }
  };
  return (
    <div className="page" data-testid="workflows">
      <header className="page-head">
        <h1>{w("title")}</h1>
        <span className="grow" />
        <label className="search search-sm">
          <Icon name="search" size={13} />
          <input ref={search} type="search" placeholder={w("search")} aria-label={w("search")} value={q} onChange={(e) => setQ(e.target.value)} />
        </label>
        <Button onClick={() => file.current?.click()} why={mayEdit ? null : w("role")}>{w("import")}</Button>
        <Button kind="primary" icon="plus" onClick={begin} why={mayEdit ? null : w("role")} testId="new-workflow">{w("new")}</Button>
        <input ref={file} type="file" accept="application/json,.json" hidden onChange={(e) => {
          const f = e.target.files?.[0];
          e.target.value = "";
          if (f) void doImport(f);
        }} />
      </header>
      {note && <p className="note" role="alert">{note}</p>}
      {fresh.length > 0 && (
        <section className="drafts" aria-label={w("drafts.title")}>
          <h2>{w("drafts.title")}</h2>
          <ul>
            {fresh.map((d) => (
              <li key={d.key}>
                <Link to={draftUrl(d.key)} className="draft-link">
                  <Icon name="text" size={14} />
                  <b className={d.definition.name ? "mono" : "faint"}>{d.definition.name || w("drafts.unnamed")}</b>
                  <span className="faint num">{w("drafts.nodes", { n: d.definition.nodes.length })} · {ago(new Date(d.at).toISOString())}</span>
                </Link>
                <Button small kind="ghost" icon="close" label={w("drafts.discard")} onClick={() => setDropping(d.key)} />
              </li>
            ))}
          </ul>
        </section>
      )}
      {failed ? (
        <Problem title={w("failed")} detail={failed.message} code={failed.code} requestId={failed.requestId} onRetry={() => setAgain(again + 1)} />
      ) : !flows ? (
        <div className="table-wrap"><Skeleton rows={8} /></div>
      ) : flows.length === 0 ? (
        <div className="empty">
          <h2>{w("none.title")}</h2>
          <p>{w("none.body")}</p>
          <div className="row-gap">
            <Button kind="primary" icon="plus" onClick={begin} why={mayEdit ? null : w("role")}>{w("new")}</Button>
            <Link to="/templates" className="btn btn-plain">{w("templates")}</Link>
          </div>
          <p className="muted">{w("none.terminal")}</p>
          <Code text={`curl -sS ${location.origin}/api/v1/workflows \\\n  -H "Authorization: Bearer $SLUICE_TOKEN" \\\n  -H "Content-Type: application/json" \\\n  --data-binary @examples/council-debate.json`} label={w("edit")} />
        </div>
      ) : found.length === 0 ? (
        <div className="empty">
          <h2>{w("nomatch.title", { q })}</h2>
          <p>{w("nomatch.body")}</p>
          <Button onClick={() => setQ("")}>{w("clear")}</Button>
        </div>
      ) : (
        <>
          <div className="table-wrap flows-wrap">
            <table className="runs flows">
              <thead>
                <tr>
                  <th scope="col">{w("col.name")}</th>
                  <th scope="col" className="r">{w("col.version")}</th>
                  <th scope="col" className="r">{w("col.changed")}</th>
                  <th scope="col">{w("col.last")}</th>
                  <th scope="col"><span className="sr-only">{w("col.actions")}</span></th>
                </tr>
              </thead>
              <tbody>
                {found.map((f) => {
                  const r = last.get(f.name);
                  const draft = drafts.some((d) => d.key === f.name);
                  return (
                    <tr key={f.name} data-workflow={f.name}>
                      <td className="c-flow">
                        <Link to={draftUrl(f.name)} className="row-link"><b>{f.name}</b></Link>
                        {draft && <span className="tag" title={w("draft.tip")}>{w("draft")}</span>}
                        <span className="c-why">{f.description || w("nodesc")}</span>
                      </td>
                      <td className="r num">v{f.version}</td>
                      <td className="r num" title={full(f.updated_at ?? f.created_at)}>{ago(f.updated_at ?? f.created_at)}</td>
                      <td className="c-last">{r ? <Link to={runUrl(r.id)} className="over"><RunBadge status={r.status} /> <span className="faint num">{ago(r.started_at ?? r.created_at)}</span></Link> : <span className="faint">–</span>}</td>
                      <td className="c-act">
                        <span className="over">
                          <Button small icon="play" onClick={() => navigate(runsUrl({ start: f.name }))} why={roleAllows("run") ? null : w("role")}>{w("run")}</Button>
                          <Menu
                            label={w("more", { name: f.name })}
                            items={[
                              { label: w("runs"), detail: w("runs.d"), onPick: () => navigate(runsUrl({ workflow: f.name })) },
                              ...(mayEdit ? [{ label: w("duplicate"), detail: w("duplicate.d"), onPick: () => void duplicate(f.name) }, { label: w("archive"), detail: w("archive.d"), onPick: () => setArchiving(f.name) }] : []),
                            ]}
                          />
                        </span>
                      </td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
          <footer className="table-foot"><span className="faint num">{w("shown", { n: found.length })}</span></footer>
        </>
      )}
      {archiving && (
        <Ask title={w("archive.title", { name: archiving })} body={w("archive.body")} yes={w("archive")} onClose={() => setArchiving(null)} onYes={() => {
          const name = archiving;
          setArchiving(null);
          archiveWorkflow(name).then(
            () => (dropDraft(name), setAgain((n) => n + 1)),
            (e) => setFailed(failedOf(e)),
          );
        }} />
      )}
      {dropping && <Ask title={w("drafts.discard.title")} body={w("drafts.discard.body")} yes={w("drafts.discard")} onClose={() => setDropping(null)} onYes={() => (dropDraft(dropping), setDropping(null))} />}
    </div>
  );
}

export function Ask({ title, body, yes, onYes, onClose }: { title: string; body: string; yes: string; onYes: () => void; onClose: () => void }) {
  return (
    <Dialog title={title} onClose={onClose} alert>
      <div className="dialog-body">
        <p className="muted">{body}</p>
        <footer className="dialog-foot">
          <span className="grow" />
          <Button onClick={onClose} autoFocus>{w("cancel")}</Button>
          <Button kind="danger" onClick={onYes} testId="ask-yes">{yes}</Button>
        </footer>
      </div>
    </Dialog>
  );
}

