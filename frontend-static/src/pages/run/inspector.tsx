import { useEffect, useState, useSyncExternalStore } from "react";
import type { Json } from "../../api/types";
import { t } from "../../i18n";
import type { RunStore } from "../../state/run-store";
import { NODE_ENDS, RUN_ENDS, type RunState } from "../../state/run";
import { clock, count, duration, full, span, usd } from "../../util/format";
import { Button, CopyButton, Tabs } from "../../ui/controls";
import { Icon, kindIcon } from "../../ui/icons";
import { JsonView } from "../../ui/json";
import { NodeState } from "../../ui/status";
import { Outputs } from "./streams";
import { locate, titleOf } from "./paths";

type NodeTab = "output" | "attempts" | "definition";
type RunTab = "outputs" | "inputs" | "details";

export function Inspector({ store, state, selected, onClose }: { store: RunStore; state: RunState; selected: string | null; onClose: () => void }) {
  return (
    <section className="panel inspector" aria-label={t("inspector.title")}>
      {selected ? <NodeInspector key={selected} store={store} state={state} path={selected} onClose={onClose} /> : <RunInspector state={state} />}
    </section>
  );
}

function RunInspector({ state }: { state: RunState }) {
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
      <Tabs label={t("inspector.run")} value={tab} onChange={setTab} tabs={[{ id: "inputs", label: t("tab.inputs") }, { id: "outputs", label: t("tab.outputs") }, { id: "details", label: t("tab.details") }]} />
      <div className="panel-body pad" role="tabpanel">
        {tab === "inputs" && (run.inputs && Object.keys(run.inputs).length ? <Outputs value={run.inputs as Json} /> : <p className="faint">{t("inputs.none")}</p>)}
        {tab === "outputs" && (run.outputs !== null && run.outputs !== undefined ? <WithCopy value={run.outputs}><Outputs value={run.outputs} /></WithCopy> : <p className="faint">{t(ended ? "outputs.none" : "outputs.later")}</p>)}
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
      </div>
    </>
  );
}

function WithCopy({ value, children }: { value: Json; children: React.ReactNode }) {
  return (
    <div className="with-copy">
      <CopyButton text={() => JSON.stringify(value, null, 2)} label={t("copy.json")} />
      {children}
    </div>
  );
}

function NodeInspector({ store, state, path, onClose }: { store: RunStore; state: RunState; path: string; onClose: () => void }) {
  const n = state.nodes.get(path);
  const def = locate(state.run.definition, path)?.node;
  const [tab, setTab] = useState<NodeTab>("output");
  const needs = n !== undefined && NODE_ENDS.has(n.status) && n.status === "completed" && n.output === undefined;
  useEffect(() => {
    if (needs) void store.refresh();
  }, [needs, store]);
  const log = useSyncExternalStore(store.log.subscribe, store.log.get);
  useEffect(() => {
    if (tab === "attempts") void store.loadLog();
  }, [tab, store]);
  const status = n?.status ?? "pending";
  const ms = span(n?.started_at, n?.finished_at);
  const type = n?.type ?? def?.type ?? "";
  const steps = log.filter((e) => e.node === path && (e.event === "node_state_change" || e.event === "stream_reset"));
  return (
    <>
      <header className="panel-head">
        <Icon name={kindIcon(type)} size={15} />
        <h2 title={path}>{titleOf(state.run.definition, path, n?.name)}</h2>
        <NodeState status={status} />
        <span className="grow" />
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
        {n?.expected ? <Fact k={t("fact.arrived")} v={`${n.arrived ?? 0} / ${n.expected}`} /> : null}
      </dl>
      <Tabs label={t("inspector.title")} value={tab} onChange={setTab} tabs={[{ id: "output", label: n?.error ? t("tab.error") : t("tab.output") }, { id: "attempts", label: t("tab.attempts"), count: n && n.attempt > 1 ? n.attempt : undefined }, { id: "definition", label: t("tab.definition") }]} />
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
              <WithCopy value={n.output}><JsonView value={n.output} /></WithCopy>
            ) : n?.error ? null : (
              <p className="faint">{needs ? t("loading") : status === "completed" ? t("output.none") : status === "skipped" ? t("output.skipped") : t("output.later")}</p>
            )}
          </>
        )}
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
        {tab === "definition" && (def ? <WithCopy value={def as unknown as Json}><JsonView value={withoutBody(def as unknown as { [key: string]: Json })} /></WithCopy> : <p className="faint">{t("definition.none")}</p>)}
      </div>
    </>
  );
}

/* A container's body has its own nodes to look at. */
function withoutBody(def: { [key: string]: Json }): Json {
  const { position: _p, ...rest } = def;
  void _p;
  return rest;
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
