import { useEffect, useMemo, useState, useSyncExternalStore } from "react";
import type { Json } from "../../api/types";
import { t } from "../../i18n";
import type { RunStore } from "../../state/run-store";
import { isOpen, type Extras, type Retrieval, type Review } from "../../state/extras";
import { NODE_ENDS, RUN_ENDS, type LogEntry, type RunState } from "../../state/run";
import { clock, count, duration, full, shortId, span, usd } from "../../util/format";
import { roleAllows } from "../../state/session";
import { Button, Menu, Tabs } from "../../ui/controls";
import { Icon, kindIcon } from "../../ui/icons";
import { JsonView } from "../../ui/json";
import { Link } from "../../ui/link";
import { runUrl } from "../../state/router";
import { NodeState } from "../../ui/status";
import { Outputs } from "./streams";
import { Changes, TimeLeft } from "../review/panel";
import { w as r } from "../review/words";
import { whyNoRetry, type useActions } from "./head";
import { JsonTool } from "./json-tool";
import { brief } from "./log";
import { Rounds } from "./loops";
import { locate, parentOf, titleOf } from "./paths";
import { claimsOf } from "./text";
import { CalledOff } from "./proof";
import { Checks, FlaggedClaims } from "./checks";
import { Files } from "./files";
import type { ForkFrom } from "./rerun";
import { Tools, toolsIn } from "./tools";
import { Votes } from "./votes";
import { w } from "./words";

type NodeTab = "output" | "input" | "rounds" | "votes" | "tools" | "checks" | "claims" | "review" | "memory" | "events" | "attempts" | "cost" | "definition" | "raw";
type RunTab = "outputs" | "inputs" | "details" | "files";

interface Again {
  actions: ReturnType<typeof useActions>;
  onFork: (from: ForkFrom) => void;
}

export function Inspector({ store, state, extras, selected, onSelect, onClose, actions, onFork }: { store: RunStore; state: RunState; extras: Extras; onSelect: (path: string) => void; selected: string | null; onClose: () => void } & Again) {
  return (
    <section className="panel inspector" aria-label={t("inspector.title")}>
      {selected ? <NodeInspector key={selected} store={store} state={state} extras={extras} path={selected} onSelect={onSelect} onClose={onClose} actions={actions} onFork={onFork} /> : <RunInspector state={state} onFork={onFork} />}
    </section>
  );
}

function RunInspector({ state, onFork }: { state: RunState; onFork: (from: ForkFrom) => void }) {
  const { run } = state;
  const [tab, setTab] = useState<RunTab>("inputs");
  const ended = RUN_ENDS.has(run.status);
  useEffect(() => {
    if (run.outputs !== null && run.outputs !== undefined) setTab("outputs");
  }, [run.outputs]);
  const tags = Array.isArray(run.tags) ? run.tags.join(", ") : run.tags ? Object.entries(run.tags).map(([k, v]) => `${k}=${v}`).join(", ") : "";
  return (
    <>
      <header className="panel-head">
        <h2>{t("inspector.run")}</h2>
      </header>
      <Tabs label={t("inspector.run")} value={tab} onChange={setTab} tabs={[{ id: "inputs", label: t("tab.inputs") }, { id: "outputs", label: t("tab.outputs") }, ...(run.files?.length ? [{ id: "files" as const, label: w("files") }] : []), { id: "details", label: t("tab.details") }]} />
      <div className="panel-body pad" role="tabpanel">
        {tab === "inputs" && (run.inputs && Object.keys(run.inputs).length ? <Outputs value={run.inputs as Json} /> : <p className="faint">{t("inputs.none")}</p>)}
        {tab === "outputs" && (run.outputs !== null && run.outputs !== undefined ? <JsonTool value={run.outputs} name={run.workflow}><Outputs value={run.outputs} /></JsonTool> : <p className="faint">{t(ended ? "outputs.none" : "outputs.later")}</p>)}
        {tab === "details" && (
          <dl className="facts">
            <Fact k={t("fact.id")} v={run.id} mono />
            <Fact k={t("fact.workflow")} v={`${run.workflow}${run.version ? " v" + run.version : ""}`} />
            {run.project && <Fact k={t("fact.project")} v={run.project} />}
            <Fact k={t("fact.created")} v={full(run.created_at)} />
            <Fact k={t("fact.started")} v={full(run.started_at)} />
            {run.finished_at && <Fact k={t("fact.finished")} v={full(run.finished_at)} />}
            <Fact k={t("fact.in")} v={count(run.usage?.input_tokens ?? 0)} />
            <Fact k={t("fact.out")} v={count(run.usage?.output_tokens ?? 0)} />
            <Fact k={t("fact.cost")} v={usd(run.cost_usd)} />
            {tags && <Fact k={t("fact.tags")} v={tags} />}
            {run.priority ? <Fact k={t("fact.priority")} v={String(run.priority)} /> : null}
          </dl>
        )}
        {tab === "files" && <Files run={run} onFork={onFork} />}
        {tab === "details" && <CalledOff runId={run.id} when={run.status} />}
      </div>
    </>
  );
}

/* Tabs are there when there is something to see in them. */
function tabsOf(a: { error: boolean; attempts: number; rounds: number | undefined; isLoop: boolean; votes: number | undefined; tools: number; checks: number | undefined; claims: number; review: boolean; memory: boolean; cost: boolean; events: number }) {
  const tabs: { id: NodeTab; label: string; count?: number }[] = [];
  const add = (on: boolean, id: NodeTab, label: string, count?: number) => on && tabs.push({ id, label, count });
  add(a.isLoop || a.rounds !== undefined, "rounds", w("tab.rounds"), a.rounds);
  add(a.votes !== undefined, "votes", w("tab.votes"), a.votes);
  add(a.tools > 0, "tools", w("tab.tools"), a.tools);
  add(a.checks !== undefined, "checks", w("tab.checks"), a.checks);
  add(a.review, "review", w("tab.review"));
  add(a.memory, "memory", w("tab.memory"));
  add(true, "output", t(a.error ? "tab.error" : "tab.output"));
  add(a.claims > 0, "claims", w("tab.claims"), a.claims);
  add(true, "input", w("tab.input"));
  add(true, "attempts", t("tab.attempts"), a.attempts > 1 ? a.attempts : undefined);
  add(a.cost, "cost", w("tab.cost"));
  add(true, "events", w("tab.events"), a.events || undefined);
  add(true, "definition", t("tab.definition"));
  add(true, "raw", w("tab.raw"));
  return tabs;
}

function NodeInspector({ store, state, extras, path, onSelect, onClose, actions, onFork }: { store: RunStore; state: RunState; extras: Extras; path: string; onSelect: (path: string) => void; onClose: () => void } & Again) {
  const n = state.nodes.get(path);
  const mayRun = roleAllows("run");
  const def = locate(state.run.definition, path)?.node;
  const rounds = extras.rounds.get(path);
  const votes = extras.votes.get(path);
  const checks = extras.checks.get(path);
  const claims = useMemo(() => claimsOf(n, extras.flagged.get(path)), [n, extras.flagged, path]);
  const review = extras.reviews.get(path);
  const memory = extras.retrievals.get(path);
  const known = extras.knowledge.get(path);
  const child = extras.children.get(path);
  const tools = toolsIn(extras, path);
  const isLoop = (n?.type ?? def?.type) === "loop";
  const [chosen, setTab] = useState<NodeTab | null>(null);
  const needs = n !== undefined && NODE_ENDS.has(n.status) && n.status === "completed" && n.output === undefined;
  useEffect(() => {
    if (needs) void store.refresh();
  }, [needs, store]);
  const log = useSyncExternalStore(store.log.subscribe, store.log.get);
  useEffect(() => {
    if (chosen === "attempts" || chosen === "events") void store.loadLog();
  }, [chosen, store]);
  const status = n?.status ?? "pending";
  const ms = span(n?.started_at, n?.finished_at);
  const type = n?.type ?? def?.type ?? "";
  const own = log.filter((e) => e.node === path);
  const steps = own.filter((e) => e.event === "node_state_change" || e.event === "stream_reset");
  const spent = costOf(state, path);
  const tabs = tabsOf({ error: Boolean(n?.error), attempts: n?.attempt ?? 0, rounds: rounds?.length, isLoop, votes: votes?.length, tools: tools.length, checks: checks?.length, claims: claims.count, review: review !== undefined || (n?.type ?? def?.type) === "human_review", memory: memory !== undefined || known !== undefined, cost: spent !== null, events: own.length });
  const tab = chosen && tabs.some((x) => x.id === chosen) ? chosen : n?.error ? "output" : tabs[0]!.id;
  const file = `${state.run.workflow}-${path}`;
  return (
    <>
      <header className="panel-head">
        <Icon name={kindIcon(type)} size={15} />
        <h2 title={path}>{titleOf(state.run.definition, path, n?.name)}</h2>
        <NodeState status={status} />
        <span className="grow" />
        {n && status !== "pending" && (
          <Menu
            label={w("more")}
            testId="node-again"
            items={[
              { label: w("fork"), detail: w("fork.d"), why: mayRun ? null : t("role.viewer"), onPick: () => onFork({ path }) },
              { label: w("retry.from"), detail: w("retry.from.d"), why: whyNoRetry(state.run.status, mayRun), onPick: () => void actions.retry(path) },
            ]}
          />
        )}
        <Button small kind="ghost" icon="close" label={t("inspector.close")} onClick={onClose} />
      </header>
      <dl className="facts facts-row">
        <Fact k={t("fact.path")} v={path} mono />
        <Fact k={t("fact.type")} v={type} mono />
        {n?.model && <Fact k={t("fact.model")} v={n.model} mono />}
        {ms !== null && NODE_ENDS.has(status) && <Fact k={t("fact.took")} v={duration(ms)} />}
        {n?.usage && <Fact k={t("fact.tokens")} v={`${count(n.usage.input_tokens)} → ${count(n.usage.output_tokens)}`} />}
        {n?.cost_usd ? <Fact k={t("fact.cost")} v={usd(n.cost_usd)} /> : null}
        {n && n.attempt > 0 && <Fact k={t("fact.attempt")} v={String(n.attempt)} />}
        {n?.due_at ? <Fact k={t("fact.due")} v={full(n.due_at)} /> : null}
        {child && <div><dt>{w("child")}</dt><dd><Link to={runUrl(child.run)}>{shortId(child.run)}</Link></dd></div>}
        {n?.expected ? <Fact k={t("fact.arrived")} v={`${n.arrived ?? 0} / ${n.expected}`} /> : null}
      </dl>
      <Tabs label={t("inspector.title")} value={tab} onChange={setTab} tabs={tabs} />
      <div className="panel-body pad" role="tabpanel">
        {tab === "output" && (
          <>
            {n?.reason && <p className="note">{n.reason}</p>}
            {n?.error && (
              <div className="final final-failed">
                <p>{n.error.message}</p>
                <p className="mono faint">{n.error.code}</p>
              </div>
            )}
            {n?.output !== undefined && n.output !== null ? (
              <JsonTool value={n.output} name={file} />
            ) : n?.error ? null : (
              <p className="faint">{needs ? t("loading") : status === "completed" ? t("output.none") : status === "skipped" ? t("output.skipped") : t("output.later")}</p>
            )}
          </>
        )}
        {tab === "rounds" && <Rounds rounds={rounds ?? []} title={titleOf(state.run.definition, path, n?.name)} total={typeof def?.params?.["max_rounds"] === "number" ? def.params["max_rounds"] : null} />}
        {tab === "votes" && votes && <Votes votes={votes} />}
        {tab === "tools" && <Tools runs={tools} onSelect={onSelect} />}
        {tab === "checks" && checks && <Checks checks={checks} />}
        {tab === "claims" && <FlaggedClaims claims={claims.claims} count={claims.count} />}
        {tab === "review" && <ReviewTab review={review} />}
        {tab === "memory" && <MemoryTab found={memory} known={known} />}
        {tab === "input" && <InputTab state={state} path={path} onSelect={onSelect} />}
        {tab === "cost" && spent && <CostTab spent={spent} model={n?.model} state={state} />}
        {tab === "events" && <EventsTab events={own} />}
        {tab === "raw" && n && <JsonTool value={n as unknown as Json} name={file} />}
        {tab === "attempts" && (
          <ol className="attempts">
            {steps.length === 0 && <li className="faint">{t("attempts.none")}</li>}
            {steps.map((e) => (
              <li key={e.seq}>
                <span className="mono faint num">{clock(e.ts)}</span>
                <span>{e.event === "stream_reset" ? t("attempts.reset", { reason: String(e.data["reason"] ?? "") }) : <NodeState status={e.data["status"] as never} />}</span>
                <span className="faint num">{e.data["attempt"] ? "×" + Number(e.data["attempt"]) : ""}</span>
                {errorOf(e.data["error"]) && <span className="attempt-error">{errorOf(e.data["error"])}</span>}
                {typeof e.data["reason"] === "string" && e.event !== "stream_reset" && <span className="attempt-error muted">{e.data["reason"]}</span>}
              </li>
            ))}
          </ol>
        )}
        {tab === "attempts" && <CalledOff runId={state.run.id} path={path} when={`${status} ${n?.attempt ?? 0}`} />}
        {tab === "definition" && (def ? <JsonTool value={withoutBody(def as unknown as { [key: string]: Json })} name={file} /> : <p className="faint">{t("definition.none")}</p>)}
      </div>
    </>
  );
}

interface Spent {
  input: number;
  output: number;
  cost: number;
  inside: boolean; // the sum of what a container's nodes used
}

function costOf(state: RunState, path: string): Spent | null {
  const n = state.nodes.get(path);
  if (n?.usage) return { input: n.usage.input_tokens, output: n.usage.output_tokens, cost: n.cost_usd ?? n.usage.cost_usd ?? 0, inside: false };
  const s: Spent = { input: 0, output: 0, cost: 0, inside: true };
  for (const [p, x] of state.nodes)
    if (x.usage && p.startsWith(path + "#")) {
      s.input += x.usage.input_tokens;
      s.output += x.usage.output_tokens;
      s.cost += x.cost_usd ?? x.usage.cost_usd ?? 0;
    }
  return s.input + s.output > 0 ? s : null;
}

function CostTab({ spent, model, state }: { spent: Spent; model?: string | null; state: RunState }) {
  const total = state.run.cost_usd ?? 0;
  return (
    <dl className="facts">
      {model && <Fact k={t("fact.model")} v={model} mono />}
      <Fact k={t("fact.in")} v={count(spent.input)} />
      <Fact k={t("fact.out")} v={count(spent.output)} />
      <Fact k={t("fact.cost")} v={usd(spent.cost)} />
      {total > 0 && <Fact k={w("cost.share")} v={`${((spent.cost / total) * 100).toFixed(spent.cost / total < 0.1 ? 1 : 0)} %`} />}
    </dl>
  );
}

/* The evaluated parameters are not recorded; what they were made of is. */
function InputTab({ state, path, onSelect }: { state: RunState; path: string; onSelect: (path: string) => void }) {
  const at = locate(state.run.definition, path);
  const prefix = path.includes("/") ? parentOf(path) + "/" : "";
  const before = (at?.graph.edges ?? []).filter((e) => e.to === at!.node.id).map((e) => prefix + e.from);
  const params = at ? Object.entries(at.node.params ?? {}).filter(([k]) => k !== "body") : [];
  return (
    <div className="stack">
      <h3>{w("input.from")}</h3>
      {before.length === 0 && <p className="faint">{w("input.from.none")}</p>}
      {before.map((p) => {
        const n = state.nodes.get(p);
        return (
          <details key={p} className="fold" open={before.length === 1}>
            <summary><button type="button" className="link" onClick={() => onSelect(p)}>{titleOf(state.run.definition, p, n?.name)}</button> <NodeState status={n?.status ?? "pending"} word={false} /></summary>
            {n?.output !== undefined && n.output !== null ? <JsonView value={n.output} /> : <p className="faint">{w("input.pending")}</p>}
          </details>
        );
      })}
      {params.length > 0 && (
        <>
          <h3>{w("input.params")}</h3>
          <JsonTool value={Object.fromEntries(params) as Json} name={path} />
        </>
      )}
    </div>
  );
}

function EventsTab({ events }: { events: LogEntry[] }) {
  if (events.length === 0) return <p className="faint">{w("events.none")}</p>;
  return (
    <ol className="attempts">
      {events.slice(-300).map((e) => (
        <li key={e.seq}>
          <span className="mono faint num">{clock(e.ts)}</span>
          <span>{e.event} <span className="muted">{brief(e)}</span></span>
          <span className="faint num">#{e.seq}</span>
        </li>
      ))}
    </ol>
  );
}

function ReviewTab({ review }: { review: Review | undefined }) {
  if (!review || review.asked === 0) return <p className="faint">{w("review.none")}</p>;
  const text = (v: Json) => (typeof v === "string" ? v : JSON.stringify(v, null, 2));
  return (
    <div className="stack">
      {isOpen(review) ? <TimeLeft deadline={review.deadlineAt} /> : <p><b>{w("review.answered", { who: review.reviewer ?? w("someone"), action: review.action ? r(("action." + review.action) as "action.approve") : "" })}</b>{review.reason && <> <q>{review.reason}</q></>}</p>}
      {review.action === "modify" ? <Changes a={text(review.draft)} b={text(review.content)} /> : review.draft !== null && <JsonTool value={review.draft} name={review.node} />}
    </div>
  );
}

function MemoryTab({ found, known }: { found: Retrieval | undefined; known: Extras["knowledge"] extends ReadonlyMap<string, infer V> ? V | undefined : never }) {
  return (
    <div className="stack">
      {found?.query && <p><span className="faint">{w("memory.query")}</span> {found.query}</p>}
      {found?.degraded !== null && found?.degraded !== undefined && <p className="note">{w("memory.degraded", { why: found.degraded ? ": " + found.degraded : "" })}</p>}
      {found && found.items.length === 0 && <p className="faint">{w("memory.none")}</p>}
      <ul className="memories">
        {found?.items.map((m) => (
          <li key={m.id}>
            <span className="chip">{m.tier}</span> <span className={m.verified ? "chip chip-ok" : "chip"}>{w(m.verified ? "memory.verified" : "memory.unverified")}</span>
            {m.score !== null && <span className="num faint"> {m.score.toFixed(2)}</span>}
            <p>{m.excerpt}</p>
          </li>
        ))}
        {known?.map((k) => <li key={k.seq}><span className="chip">{k.tier}</span> <b>{k.action}</b> <span className="mono faint">{k.id}</span>{k.reason && <p>{k.reason}</p>}</li>)}
      </ul>
    </div>
  );
}

/* A container's body has its own nodes to look at. */
function withoutBody(def: { [key: string]: Json }): Json {
  const { position: _p, params, ...rest } = def;
  void _p;
  if (params === undefined || params === null || typeof params !== "object" || Array.isArray(params)) return rest;
  const { body: _b, ...own } = params;
  void _b;
  return { ...rest, params: own };
}

function errorOf(v: Json | undefined): string | null {
  return v !== null && typeof v === "object" && !Array.isArray(v) ? `${String(v["message"] ?? "")} (${String(v["code"] ?? "")})` : null;
}

function Fact({ k, v, mono = false }: { k: string; v: string; mono?: boolean }) {
  return (
    <div>
      <dt>{k}</dt>
      <dd className={mono ? "mono" : "num"}>{v || "–"}</dd>
    </div>
  );
}
