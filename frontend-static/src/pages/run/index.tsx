import { lazy, Suspense, useEffect, useMemo, useRef, useState } from "react";
import { api } from "../../api/client";
import { t } from "../../i18n";
import { RUN_ENDS } from "../../state/run";
import { RunStore } from "../../state/run-store";
import { navigate, runUrl } from "../../state/router";
import { live, roleAllows } from "../../state/session";
import { splits } from "../../state/prefs";
import { useStore } from "../../state/store";
import { announce } from "../../ui/announce";
import { Button, Problem, Skeleton } from "../../ui/controls";
import { setFavicon } from "../../ui/favicon";
import { useKeys } from "../../ui/hooks";
import { Link } from "../../ui/link";
import { Splitter } from "../../ui/split";
import { runWord } from "../../ui/status";
import { ConnectionPill } from "../../shell";
import { ConfirmCancel, Head, useActions, whyNot } from "./head";
import { Inspector } from "./inspector";
import { EventLog } from "./log";
import { isReminded, openReviews } from "../../state/extras";
import { TimeLeft } from "../review/panel";
import { w as r } from "../review/words";
import { Icon } from "../../ui/icons";
import { hasVote, votersSeen, withVotes } from "./bodies";
import { TripBanner, TripDialog } from "./breaker";
import { titleOf } from "./paths";
import { Interject, SendSignal } from "./people";
import { ForkDialog, type ForkFrom } from "./rerun";
import { Streams } from "./streams";
import { named, w } from "./words";
import "./run.css";

// Asked for at once, so that it is on its way while the run itself is fetched.
const canvas = import("./canvas");
const Canvas = lazy(() => canvas);

function goTo(id: string): void {
  const el = document.getElementById(id);
  el?.scrollIntoView({ block: "center" });
  el?.querySelector<HTMLElement>(".btn-primary, textarea, input")?.focus({ preventScroll: true });
}

export default function RunPage({ id, node }: { id: string; node: string | null }) {
  const store = useMemo(() => new RunStore(id, api), [id]);
  useEffect(() => {
    void store.load();
    const off = live.subscribeRun(id, store);
    return () => {
      off();
      store.close();
    };
  }, [store, id]);
  const view = useStore(store.view);
  const extras = useStore(store.extras);
  const def = view.state?.run.definition;
  const votes = useMemo(() => (def ? hasVote(def) : false), [def]);
  const seen = votes && view.state ? votersSeen(view.state.order) : "";
  // eslint-disable-next-line react-hooks/exhaustive-deps -- `seen` is the part of the order that matters
  const drawn = useMemo(() => withVotes(def, view.state?.order ?? []), [def, seen]);
  const state = useMemo(() => (view.state && drawn !== def ? { ...view.state, run: { ...view.state.run, definition: drawn } } : view.state), [view.state, drawn, def]);
  const split = useStore(splits);
  const actions = useActions(store);
  const [confirming, setConfirming] = useState(false);
  const [fitSignal, setFit] = useState(0);
  const [step, setStep] = useState({ by: 0, n: 0 });
  const grid = useRef<HTMLDivElement>(null);
  const [forking, setForking] = useState<ForkFrom | null>(null);
  const [saying, setSaying] = useState<"input" | "signal" | null>(null);
  const [tripOpen, setTripOpen] = useState(false);
  const status = state?.run.status;
  const locked = status === "locked";
  const tripSeq = locked ? (extras.trip?.seq ?? 0) : 0;
  const asked = openReviews(extras);
  const askedFor = asked.map((x) => x.node + x.asked).join();
  const workflow = state?.run.workflow;

  useEffect(() => {
    if (!status || !workflow) return;
    document.title = `${runWord(status)} · ${workflow} · Sluice`;
    setFavicon(status === "locked" || status === "waiting" ? "needs" : status === "failed" ? "failed" : status === "running" ? "running" : "idle");
    announce(t("announce.run", { workflow, state: runWord(status) }));
    return () => setFavicon("idle");
  }, [status, workflow]);

  // A trip is told once, to who may decide; after that the banner stays.
  const told = useRef(0);
  useEffect(() => {
    if (!locked) setTripOpen(false);
    else if (tripSeq > told.current) {
      told.current = tripSeq;
      announce(w("trip.announce", { reason: named("trip", extras.trip?.reason ?? null) }));
      if (roleAllows("admin")) setTripOpen(true);
    }
  }, [locked, tripSeq, extras.trip]);
  useEffect(() => {
    if (askedFor && workflow) announce(r("announce", { workflow }));
  }, [askedFor, workflow]);

  const near = asked.filter(isReminded).map((x) => x.node + x.reminded).join();
  useEffect(() => {
    if (near && workflow) announce(r("near.announce", { workflow }));
  }, [near, workflow]);

  // Whoever follows an address to a node wants to see it.
  useEffect(() => {
    if (node && !splits.get().inspectorOpen) splits.set((s) => ({ ...s, inspectorOpen: true }));
  }, [node]);

  const select = (path: string | null) => {
    navigate(runUrl(id, path), true);
    if (path && path === node && !splits.get().inspectorOpen) splits.set((s) => ({ ...s, inspectorOpen: true }));
  };
  const set = (patch: Partial<typeof split>) => splits.set((s) => ({ ...s, ...patch }));
  const mayRun = roleAllows("run");

  useKeys({
    p: () => {
      if (!status || actions.busy) return;
      const what = status === "paused" ? "resume" : "pause";
      if (!whyNot(what, status, mayRun)) void actions.act(what, what === "pause" ? { mode: "drain" } : {});
    },
    c: () => status && !whyNot("cancel", status, mayRun) && setConfirming(true),
    f: () => setFit((n) => n + 1),
    e: () => set({ logOpen: !split.logOpen }),
    i: () => set({ inspectorOpen: !split.inspectorOpen }),
    j: () => setStep((s) => ({ by: 1, n: s.n + 1 })),
    k: () => setStep((s) => ({ by: -1, n: s.n + 1 })),
    Escape: () => (node ? select(null) : navigate("/")),
  });

  if (view.error)
    return (
      <div className="page">
        <header className="page-head">
          <Link to="/" className="back">{t("nav.runs")}</Link>
          <span className="grow" />
          <ConnectionPill />
        </header>
        <Problem title={view.error.status === 404 ? t("run.missing") : t("run.failed")} detail={view.error.status === 404 ? t("run.missing.body", { id }) : view.error.message} code={view.error.code} requestId={view.error.requestId} onRetry={view.error.status === 404 ? undefined : () => void store.load()} />
      </div>
    );
  if (!state) return <div className="pad"><Skeleton rows={8} /></div>;

  const right = split.inspectorOpen;
  const columns = `minmax(220px, ${split.canvas}fr) 5px minmax(300px, ${100 - split.canvas - (right ? split.inspector : 0)}fr)` + (right ? ` 5px minmax(230px, ${split.inspector}fr)` : "");
  const fraction = (x: number) => {
    const r = grid.current!.getBoundingClientRect();
    return ((x - r.left) / r.width) * 100;
  };
  return (
    <div className={"run-page" + (locked ? " is-locked" : "")} data-testid="run" data-status={status} data-seq={state.lastSeq}>
      <Head state={state} extras={extras} actions={actions} onCancel={() => setConfirming(true)} onSay={setSaying} onFork={() => setForking({})} />
      {locked && <TripBanner trip={extras.trip} reason={state.run.reason ?? null} onOpen={() => setTripOpen(true)} />}
      {!RUN_ENDS.has(state.run.status) && asked.map((x) => (
        <div key={x.node} className={"ask-banner" + (isReminded(x) ? " is-near" : "")} role="status" data-near={isReminded(x) || undefined} data-testid="ask-banner">
          <Icon name="person" size={15} />
          <b>{r("needs", { node: titleOf(def, x.node, state.nodes.get(x.node)?.name) })}</b>
          {isReminded(x) && <b>{r("near")}</b>}
          {x.instructions && <span className="ask-what">{x.instructions}</span>}
          <span className="grow" />
          <TimeLeft deadline={x.deadlineAt} />
          <Button small kind="primary" onClick={() => goTo("review-" + x.node)} testId="ask-go">{r("show")}</Button>
        </div>
      ))}
      <div className="run-grid" ref={grid} style={{ gridTemplateColumns: columns }}>
        <section className="panel graph" aria-label={t("canvas.title")}>
          <header className="panel-head">
            <h2>{t("canvas.title")}</h2>
            <span className="grow" />
            <Button small kind="ghost" icon="fit" label={t("canvas.fit")} onClick={() => setFit((n) => n + 1)} />
          </header>
          <div className="panel-body">
            <Suspense fallback={<Skeleton rows={5} />}>
              <Canvas store={store} state={state} extras={extras} selected={node} onSelect={select} fitSignal={fitSignal} />
            </Suspense>
          </div>
        </section>
        <Splitter axis="x" label={t("split.canvas")} value={split.canvas} min={15} max={60} step={2} toValue={(x) => fraction(x)} onChange={(v) => set({ canvas: v })} />
        <div className="streams-cell">
          <Streams store={store} state={state} extras={extras} streamPaths={view.streamPaths} selected={node} onSelect={select} />
          <Button small kind="ghost" icon="panel" pressed={right} label={t(right ? "inspector.hide" : "inspector.show")} onClick={() => set({ inspectorOpen: !right })} />
        </div>
        {right && (
          <>
            <Splitter axis="x" label={t("split.inspector")} value={split.inspector} min={15} max={45} step={2} toValue={(x) => 100 - fraction(x)} onChange={(v) => set({ inspector: v })} />
            <Inspector store={store} state={state} extras={extras} selected={node} onSelect={select} onClose={() => select(null)} actions={actions} onFork={setForking} />
          </>
        )}
      </div>
      {split.logOpen && <Splitter axis="y" label={t("split.log")} value={split.log} min={90} max={520} step={24} toValue={(_x, y) => window.innerHeight - y} onChange={(v) => set({ log: v })} />}
      <div className="log-cell" style={split.logOpen ? { height: split.log } : undefined}>
        <EventLog store={store} state={state} selected={node} open={split.logOpen} onToggle={() => set({ logOpen: !split.logOpen })} onSelect={select} onFork={setForking} step={step} />
      </div>
      {locked && tripOpen && <TripDialog state={state} store={store} trip={extras.trip} onClose={() => setTripOpen(false)} />}
      {forking && <ForkDialog state={state} from={forking} onClose={() => setForking(null)} />}
      {saying === "input" && <Interject runId={id} onClose={() => setSaying(null)} />}
      {saying === "signal" && <SendSignal state={state} onClose={() => setSaying(null)} />}
      {confirming && <ConfirmCancel state={state} onClose={() => setConfirming(false)} onYes={() => void actions.act("cancel")} />}
    </div>
  );
}
