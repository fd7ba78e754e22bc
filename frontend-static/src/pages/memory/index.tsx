/* What runs have learned, by tier. */
import { useEffect, useMemo, useState } from "react";
import * as ops from "../../api/ops";
import { TIERS, type Memory, type MemoryHit, type Tier } from "../../api/ops";
import { t } from "../../i18n";
import { navigate, runUrl } from "../../state/router";
import { roleAllows } from "../../state/session";
import { numberOf } from "../../util/fields";
import { ago, duration, full } from "../../util/format";
import { announce } from "../../ui/announce";
import { Button, Dialog, Skeleton } from "../../ui/controls";
import { useKeys, useNow } from "../../ui/hooks";
import { Icon } from "../../ui/icons";
import { JsonView } from "../../ui/json";
import { Confirm, EmptyPage, SelectField, Show, TextField, TroubleNote, useLoad, useTask } from "../../ui/kit";
import { Link } from "../../ui/link";
import { Problem } from "../../ui/controls";
import type { AreaProps } from "../../areas";
import { declined, w, type Word } from "./words";
import "./memory.css";

type Shown = Memory | (MemoryHit & { project: string });

export default function MemoryPage({ query }: AreaProps) {
  const project = query.get("project") ?? "";
  const asked = query.get("q") ?? "";
  const id = query.get("id");
  const [q, setQ] = useState(asked);
  const [version, setVersion] = useState(0);
  const [adding, setAdding] = useState(false);
  const [digest, setDigest] = useState(false);
  const [dropping, setDropping] = useState<Memory | null>(null);
  const [known, setKnown] = useState<ReadonlySet<string>>(() => new Set(["default"]));
  const [empty, setEmpty] = useState<{ [tier: string]: boolean }>({});
  const task = useTask();
  useEffect(() => {
    document.title = w("title") + " · Sluice";
  }, []);
  useEffect(() => setQ(asked), [asked]);
  const to = (o: { project?: string; q?: string; id?: string | null }) => {
    const p = new URLSearchParams();
    const v = { project, q: asked, id: null as string | null, ...o };
    if (v.project) p.set("project", v.project);
    if (v.q) p.set("q", v.q);
    if (v.id) p.set("id", v.id);
    const s = p.toString();
    navigate("/memory" + (s ? "?" + s : ""), true);
  };
  useKeys({ "/": () => document.querySelector<HTMLElement>("[name=memory-search]")?.focus(), n: () => roleAllows("run") && setAdding(true) });
  const learn = (items: Memory[]) => setKnown((k) => (items.every((m) => k.has(m.project)) ? k : new Set([...k, ...items.map((m) => m.project)])));
  const again = () => setVersion((v) => v + 1);
  const promote = async (m: Shown, tier: Tier) => {
    await task.run(m.id, async () => {
      const r = await ops.promoteMemory(m.id, { tier });
      if (!r.accepted) throw new Error(declined(r.reason));
      announce(w("said.promoted", { tier: w(("tier." + tier) as Word) }));
    });
    again();
  };
  const search = useLoad((abort) => (asked ? ops.searchMemories({ project: project || "default", query: asked, max_results: 30 }, abort) : Promise.resolve(null)), `${asked}|${project}|${version}`);
  const nothing = !asked && TIERS.every((x) => empty[x]);
  return (
    <div className="page memory-page">
      <header className="page-head">
        <h1>{w("title")}</h1>
        <span className="grow" />
        <Button icon="text" onClick={() => setDigest(true)} testId="digest">{w("digest.open")}</Button>
        <Button kind="primary" icon="plus" why={roleAllows("run") ? null : w("why.runner")} onClick={() => setAdding(true)} testId="add-memory">{w("add")}</Button>
      </header>
      <p className="muted">{w("lead")}</p>
      <form className="filters" role="search" onSubmit={(e) => { e.preventDefault(); to({ q: q.trim() }); }}>
        <label className="search memory-search">
          <Icon name="search" size={14} />
          <input type="search" name="memory-search" value={q} placeholder={w("search")} aria-label={w("search")} onChange={(e) => { setQ(e.target.value); if (e.target.value === "") to({ q: "" }); }} />
        </label>
        <label>
          <span className="sr-only">{w("project")}</span>
          <select value={project} onChange={(e) => to({ project: e.target.value })}>
            <option value="">{w("project.all")}</option>
            {[...new Set([...known, ...(project ? [project] : [])])].sort().map((p) => <option key={p} value={p}>{p}</option>)}
          </select>
        </label>
        <Button small type="submit" testId="search-memory">{w("search.go")}</Button>
        {asked && <Button small kind="ghost" icon="close" onClick={() => to({ q: "" })}>{w("clear")}</Button>}
      </form>
      {asked && <p className="note">{w("search.note", { project: project || "default" })} {search.data?.degraded && w("search.degraded", { why: search.data.degraded })}</p>}
      {asked && search.trouble && <Problem title={w("search.failed")} detail={search.trouble.message} code={search.trouble.code} requestId={search.trouble.requestId} onRetry={search.reload} />}
      <TroubleNote of={task.trouble} title={w("act.failed")} />
      {nothing ? (
        <EmptyPage icon="memory" title={w("empty.title")} body={w("empty.body")} code={'{ "id": "keep", "type": "memory_store",\n  "params": { "content": "{{ nodes.judge.text }}", "tier": "working" } }'}>
          <Button kind="primary" icon="plus" why={roleAllows("run") ? null : w("why.runner")} onClick={() => setAdding(true)}>{w("add")}</Button>
        </EmptyPage>
      ) : null}
      <div className="tiers" hidden={nothing}>
        {TIERS.map((tier) => (
          <Column key={tier} tier={tier} project={project} version={version} words={asked} hits={tier === "quarantine" || !asked ? null : (search.data?.items.filter((h) => h.tier === tier).map((h) => ({ ...h, project: h.project ?? (project || "default") })) ?? null)} searching={Boolean(asked) && search.busy}
            busy={task.busy} onLoaded={learn} onEmpty={(e) => setEmpty((x) => (x[tier] === e ? x : { ...x, [tier]: e }))} onOpen={(m) => to({ id: m.id })} onPromote={(m, tt) => void promote(m, tt)} onDrop={(m) => setDropping(m as Memory)} />
        ))}
      </div>
      {id && <Details id={id} version={version} onClose={() => to({ id: null })} />}
      {adding && <Add project={project || "default"} onClose={() => setAdding(false)} onDone={() => { setAdding(false); announce(w("said.added")); again(); }} />}
      {digest && <DigestDialog project={project || "default"} onClose={() => { setDigest(false); again(); }} />}
      {dropping && <Drop m={dropping} onClose={() => setDropping(null)} onDone={() => { setDropping(null); announce(w("said.gone")); again(); }} />}
    </div>
  );
}

const PAGE = 50;

function Column({ tier, project, version, words, hits, searching, busy, onLoaded, onEmpty, onOpen, onPromote, onDrop }: {
  tier: Tier; project: string; version: number; words: string; hits: Shown[] | null; searching: boolean; busy: string | null;
  onLoaded: (items: Memory[]) => void; onEmpty: (empty: boolean) => void; onOpen: (m: Shown) => void; onPromote: (m: Shown, to: Tier) => void; onDrop: (m: Shown) => void;
}) {
  const list = useLoad((abort) => ops.memories({ tier, project, limit: PAGE }, abort), `${project}|${version}`);
  const [older, setOlder] = useState<{ items: Memory[]; next: string | null } | null>(null);
  const more = useTask();
  useEffect(() => setOlder(null), [project, version]);
  const { data } = list;
  useEffect(() => {
    if (!data) return;
    onLoaded(data.items);
    onEmpty(data.items.length === 0 && !project);
    // eslint-disable-next-line react-hooks/exhaustive-deps -- told once for each answer
  }, [data]);
  const all = useMemo(() => [...(data?.items ?? []), ...(older?.items ?? [])], [data, older]);
  const next = older ? older.next : (data?.next_cursor ?? null);
  const filtered = useMemo(() => (words ? all.filter((m) => m.content.toLowerCase().includes(words.toLowerCase())) : all), [all, words]);
  const shown: readonly Shown[] = words && tier !== "quarantine" ? (hits ?? []) : filtered;
  return (
    <section className={`tier tier-${tier}`} aria-label={w(("tier." + tier) as Word)} data-testid={"tier-" + tier}>
      <header>
        <h2>{w(("tier." + tier) as Word)} <span className="count num">{words ? shown.length : `${all.length}${next ? "+" : ""}`}</span></h2>
        <p>{w(("tier." + tier + ".d") as Word)}</p>
      </header>
      {searching && tier !== "quarantine" ? (
        <Skeleton rows={4} />
      ) : (
        <Show from={list} title={w("failed")} rows={5}>
          {() => (
            <>
              {shown.length === 0 && <p className="tier-none">{w(words ? "search.none" : (("empty." + tier) as Word))}</p>}
              <ul>
                {shown.map((m) => <Card key={m.id} m={m} busy={busy === m.id} onOpen={() => onOpen(m)} onPromote={(to) => onPromote(m, to)} onDrop={() => onDrop(m)} />)}
              </ul>
              {next && !(words && tier !== "quarantine") && (
                <Button small busy={more.busy !== null} onClick={() => void more.run("more", async () => { const p = await ops.memories({ tier, project, limit: PAGE, cursor: next }); setOlder((o) => ({ items: [...(o?.items ?? []), ...p.items], next: p.next_cursor })); })}>{w("more")}</Button>
              )}
            </>
          )}
        </Show>
      )}
    </section>
  );
}

const HOUR = 3_600_000;

export function TimeToLive({ until }: { until: string }) {
  const ms = Date.parse(until) - useNow(ticks(Date.parse(until)), true);
  return (
    <span className={"ttl num" + (ms < HOUR ? " is-urgent" : "")} title={full(until)}>
      <Icon name="waiting" size={12} /> {ms > 0 ? w("expires.in", { t: duration(Math.max(1000, Math.floor(ms / 1000) * 1000)).replace(".0", "") }) : w("expired")}
    </span>
  );
}

/* The last hour ticks by the second, days do not. */
const ticks = (until: number) => (until - Date.now() < HOUR ? 1000 : 30_000);

function Card({ m, busy, onOpen, onPromote, onDrop }: { m: Shown; busy: boolean; onOpen: () => void; onPromote: (to: Tier) => void; onDrop: () => void }) {
  const why = roleAllows("edit") ? null : w("why.editor");
  const score = "score" in m ? m.score : null;
  return (
    <li className="memory-card" data-memory={m.id}>
      <button type="button" className="memory-text" onClick={onOpen} aria-label={`${w("open")}: ${m.content.slice(0, 80)}`}>{m.content}</button>
      <p className="memory-facts">
        {score !== null && <span className="num memory-score" title={"why" in m && m.why ? m.why : undefined}>{w("score", { n: score.toFixed(2) })}</span>}
        {m.verified && <span className="chip chip-ok" title={w("verified.tip")}><Icon name="check" size={11} />{w("verified")}</span>}
        {m.expires_at && <TimeToLive until={m.expires_at} />}
        <span className="faint">{m.project}</span>
        {m.confidence !== null && m.confidence !== undefined && <span className="faint num">{w("confidence", { n: m.confidence.toFixed(2) })}</span>}
        {m.reuse_count ? <span className="faint num">{w("reused", { n: m.reuse_count })}</span> : null}
        <span className="faint num" title={full(m.created_at)}>{ago(m.created_at)}</span>
      </p>
      <footer>
        {m.tier === "quarantine" && <Button small busy={busy} why={why} onClick={() => onPromote("working")} testId="to-working">{w("to.working")}</Button>}
        {m.tier !== "long_term" && <Button small busy={busy} why={why} onClick={() => onPromote("long_term")} testId="to-long">{w("to.long_term")}</Button>}
        <Button small kind="ghost" why={why} onClick={onDrop} testId="invalidate">{w("invalidate")}</Button>
      </footer>
    </li>
  );
}

function Details({ id, version, onClose }: { id: string; version: number; onClose: () => void }) {
  const load = useLoad(() => ops.memory(id), `${id}|${version}`);
  return (
    <Dialog title={w("details")} onClose={onClose} wide>
      <div className="dialog-body" data-testid="memory-details">
        <Show from={load} title={w("failed")} rows={4}>
          {(m) => (
            <>
              <blockquote className="memory-whole">{m.content}</blockquote>
              <p className="memory-facts">
                <span className="chip">{w(("tier." + m.tier) as Word)}</span>
                {m.verified && <span className="chip chip-ok"><Icon name="check" size={11} />{w("verified")}</span>}
                {m.expires_at && <TimeToLive until={m.expires_at} />}
                <span className="mono faint">{m.id}</span>
              </p>
              {m.run_id && <p><span className="faint">{w("from")}</span> <Link to={runUrl(m.run_id, m.path)}>{m.path ?? m.run_id}</Link></p>}
              <h3>{w("used.by")}</h3>
              {m.used_by?.length ? (
                <ul className="plain-list">
                  {m.used_by.map((u, i) => <li key={i}><Link to={runUrl(u.run_id, u.path)}><b>{u.workflow ?? u.run_id}</b></Link> <span className="mono faint">{u.path}</span><span className="grow" />{u.at && <span className="faint num" title={full(u.at)}>{ago(u.at)}</span>}</li>)}
                </ul>
              ) : <p className="faint">{w("used.none")}</p>}
              {m.history && m.history.length > 0 && (
                <>
                  <h3>{w("history")}</h3>
                  <ol className="plain-list">
                    {m.history.map((h, i) => <li key={i}><b>{h.action}</b> {h.to && <span>→ {h.to}</span>} {h.by && <span className="faint">{w("by", { who: h.by })}</span>} {h.reason && <q>{h.reason}</q>}<span className="grow" /><span className="faint num" title={full(h.at)}>{ago(h.at)}</span></li>)}
                  </ol>
                </>
              )}
              {m.metadata && Object.keys(m.metadata).length > 0 && <><h3>{w("metadata")}</h3><JsonView value={m.metadata} /></>}
            </>
          )}
        </Show>
      </div>
    </Dialog>
  );
}

function Drop({ m, onClose, onDone }: { m: Memory; onClose: () => void; onDone: () => void }) {
  const [reason, setReason] = useState("");
  const task = useTask();
  return (
    <Confirm title={w("invalidate.title")} body={w("invalidate.body")} yes={w("invalidate")} busy={task.busy !== null} trouble={task.trouble} onClose={onClose} testId="invalidate-yes" onYes={() => void task.run("drop", () => ops.dropMemory(m.id, reason.trim())).then((ok) => ok && onDone())}>
      <blockquote className="memory-whole">{m.content}</blockquote>
      <TextField label={w("reason")} optional note={w("reason.note")} value={reason} onChange={setReason} name="reason" />
    </Confirm>
  );
}

function Add({ project, onClose, onDone }: { project: string; onClose: () => void; onDone: () => void }) {
  const [content, setContent] = useState("");
  const [where, setWhere] = useState(project);
  const [tier, setTier] = useState<Tier>("working");
  const [confidence, setConfidence] = useState("");
  const [bad, setBad] = useState<{ content?: string; confidence?: string }>({});
  const [refusal, setDeclined] = useState<string | null>(null);
  const task = useTask();
  const mayLong = roleAllows("edit");
  const go = async () => {
    const n = numberOf(confidence);
    const wrong = { ...(content.trim() ? {} : { content: w("content.needed") }), ...(n !== undefined && !(n >= 0 && n <= 1) ? { confidence: w("confidence.bad") } : {}) };
    setBad(wrong);
    setDeclined(null);
    if (Object.keys(wrong).length) return;
    let taken = false;
    const ok = await task.run("add", async () => {
      const r = await ops.addMemory({ content: content.trim(), tier, project: where.trim() || "default", ...(n === undefined ? {} : { confidence: n }) });
      taken = r.accepted;
      if (!r.accepted) setDeclined(declined(r.reason));
    });
    if (ok && taken) onDone();
  };
  return (
    <Dialog title={w("add")} onClose={onClose} wide>
      <form className="dialog-body" data-testid="memory-form" onSubmit={(e) => { e.preventDefault(); void go(); }}>
        <TextField label={w("content")} name="content" rows={4} value={content} onChange={setContent} error={bad.content} autoFocus />
        <div className="two">
          <SelectField label={w("tier")} name="tier" value={tier} onChange={(v) => setTier(v as Tier)} note={w(("tier." + tier + ".d") as Word)} options={TIERS.map((x) => ({ value: x, label: w(("tier." + x) as Word), disabled: x === "long_term" && !mayLong }))} />
          <TextField label={w("project")} name="project" value={where} onChange={setWhere} />
        </div>
        <TextField label={w("confidence.label")} optional name="confidence" type="number" value={confidence} onChange={setConfidence} note={w("confidence.note")} error={bad.confidence} />
        {refusal && <p className="note" role="alert">{refusal}</p>}
        <TroubleNote of={task.trouble} title={w("add.failed")} />
        <footer className="dialog-foot">
          <span className="grow" />
          <Button onClick={onClose}>{t("cancel.dismiss")}</Button>
          <Button kind="primary" type="submit" busy={task.busy !== null} testId="memory-save">{w("add.go")}</Button>
        </footer>
      </form>
    </Dialog>
  );
}

/* The quarantine of a project, gathered; one click keeps an insight. */
function DigestDialog({ project, onClose }: { project: string; onClose: () => void }) {
  const load = useLoad(() => ops.digest(project), project);
  const task = useTask();
  const [kept, setKept] = useState<ReadonlySet<string>>(() => new Set());
  const why = roleAllows("edit") ? null : w("why.editor");
  return (
    <Dialog title={w("digest.title")} onClose={onClose} wide>
      <div className="dialog-body" data-testid="digest-dialog">
        <Show from={load} title={w("digest.failed")} rows={5}>
          {(d) =>
            d.items.length === 0 ? (
              <p className="muted">{w("digest.empty", { project })}</p>
            ) : (
              <>
                <p className="muted">{w("digest.lead", { project, n: d.memories ?? d.items.length, m: d.insights ?? d.items.length })}</p>
                <TroubleNote of={task.trouble} title={w("act.failed")} />
                <ul className="digest">
                  {d.items.map((i) => (
                    <li key={i.id}>
                      <p>{i.content}</p>
                      <p className="memory-facts">
                        <span className="chip num">{w("digest.count", { n: i.count })}</span>
                        {i.runs ? <span className="faint num">{w("digest.runs", { n: i.runs })}</span> : null}
                        {typeof i.confidence === "number" && <span className="faint num">{w("confidence", { n: i.confidence.toFixed(2) })}</span>}
                        {i.last_at && <span className="faint num" title={full(i.last_at)}>{ago(i.last_at)}</span>}
                        <span className="grow" />
                        {kept.has(i.id) ? (
                          <span className="chip chip-ok"><Icon name="check" size={11} />{w("digest.kept")}</span>
                        ) : (
                          <Button small kind="primary" busy={task.busy === i.id} why={why} testId="digest-keep"
                            onClick={() => void task.run(i.id, async () => {
                              const r = await ops.promoteMemory(i.id, { tier: "long_term", duplicates: i.ids });
                              if (!r.accepted) throw new Error(declined(r.reason));
                              setKept((k) => new Set([...k, i.id]));
                              announce(w("said.promoted", { tier: w("tier.long_term") }));
                            })}>{w("digest.promote")}</Button>
                        )}
                      </p>
                    </li>
                  ))}
                </ul>
              </>
            )
          }
        </Show>
      </div>
    </Dialog>
  );
}
