import { memo, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "react";
import type { RunNode } from "../../api/types";
import { t } from "../../i18n";
import type { RunStore } from "../../state/run-store";
import { NODE_ENDS, RUN_ENDS, type RunState } from "../../state/run";
import { reading } from "../../state/prefs";
import { useStore } from "../../state/store";
import { count, duration, span } from "../../util/format";
import { Button, CopyButton } from "../../ui/controls";
import { useFollow, useNow, useSize } from "../../ui/hooks";
import { Icon, kindIcon } from "../../ui/icons";
import { JsonView } from "../../ui/json";
import { Markdown } from "../../ui/markdown";
import { useMarks } from "../../ui/marks";
import { NodeState, runWord } from "../../ui/status";
import { isOpen, type Extras, type Review, type Said } from "../../state/extras";
import { ReviewPanel } from "../review/panel";
import { w as r } from "../review/words";
import { LoopStrip } from "./loops";
import { SaidView } from "./people";
import { claimsOf, groupsOf, lastOf, shownText, type Group } from "./text";
import { splitPath, titleOf } from "./paths";
import { w } from "./words";

const PANES = 45; // drawn at first; more on demand

type Item = { kind: "group"; at: string; g: Group } | { kind: "review"; at: string; r: Review } | { kind: "said"; at: string; s: Said };

export function Streams({ store, state, extras, streamPaths, selected, onSelect }: { store: RunStore; state: RunState; extras: Extras; streamPaths: readonly string[]; selected: string | null; onSelect: (path: string) => void }) {
  const scroller = useRef<HTMLDivElement>(null);
  const { following, pin, jump } = useFollow(scroller);
  const { width } = useSize(scroller);
  const raw = useStore(reading).raw;
  const def = state.run.definition;
  const groups = useMemo(() => groupsOf(def, state.nodes, state.order, streamPaths), [def, state.nodes, state.order, streamPaths]);
  const ended = RUN_ENDS.has(state.run.status);
  const columns = Math.max(1, Math.min(3, Math.floor((width - 24) / 250)));
  const [panes, setPanes] = useState(PANES);
  const [folded, setFolded] = useState<ReadonlySet<string>>(() => new Set());
  const { shown, left } = useMemo(() => lastOf(groups, panes), [groups, panes]);
  const items = useMemo(() => {
    const from = left > 0 ? (shown[0]?.at ?? "") : "";
    const all: Item[] = [
      ...shown.map((g): Item => ({ kind: "group", at: g.at, g })),
      ...[...extras.reviews.values()].filter((x) => x.asked > 0).map((x): Item => ({ kind: "review", at: isOpen(x) ? "9" : (x.requestedAt ?? ""), r: x })),
      ...extras.said.map((x): Item => ({ kind: "said", at: x.at, s: x })),
    ];
    return all.filter((i) => i.kind === "group" || i.at >= from).map((i, n) => ({ i, n })).sort((a, b) => (a.i.at < b.i.at ? -1 : a.i.at > b.i.at ? 1 : a.n - b.n)).map((x) => x.i);
  }, [shown, left, extras.reviews, extras.said]);
  useLayoutEffect(pin, [pin, items.length, ended, state.run.outputs]);
  let before = "";
  return (
    <section className="panel streams" aria-label={t("streams.title")}>
      <header className="panel-head">
        <h2>{t("streams.title")}</h2>
        <span className="grow" />
        <Button small kind="ghost" pressed={raw} hint={t("streams.raw.hint")} onClick={() => reading.set((x) => ({ ...x, raw: !raw }))} testId="raw">{t("streams.raw")}</Button>
      </header>
      <LoopStrip extras={extras} state={state} onSelect={onSelect} />
      <div className="panel-body streams-scroll" ref={scroller} tabIndex={0} role="log" aria-live="off" aria-label={t("streams.title")}>
        {items.length === 0 && <Nothing state={state} />}
        {left > 0 && <button type="button" className="pane-more streams-earlier" onClick={() => setPanes((n) => n + 4 * PANES)}>{w("earlier", { n: left })}</button>}
        {items.map((i) => {
          if (i.kind === "said") return <SaidView key={"said" + i.s.seq} s={i.s} />;
          if (i.kind === "review") return <ReviewCard key={`review ${i.r.node} ${i.r.asked}`} review={i.r} state={state} onSelect={onSelect} />;
          const head = i.g.prefix !== before ? i.g.prefix : "";
          before = i.g.prefix;
          const off = folded.has(i.g.prefix);
          return (
            <GroupView key={i.g.key} g={i.g} head={head} folded={off} state={state} store={store} columns={columns} raw={raw} selected={selected} onSelect={onSelect} onGrow={pin}
              onFold={() => setFolded((f) => { const n = new Set(f); if (!n.delete(i.g.prefix)) n.add(i.g.prefix); return n; })} />
          );
        })}
        {ended && <Final state={state} />}
      </div>
      {!following && !ended && (
        <button type="button" className="jump" onClick={jump}>
          <Icon name="down" size={13} /> {t("streams.jump")}
        </button>
      )}
    </section>
  );
}

function Nothing({ state }: { state: RunState }) {
  const s = state.run.status;
  const ended = RUN_ENDS.has(s);
  return (
    <div className="quiet">
      {s === "running" && <span className="caret" aria-hidden="true" />}
      <p>{ended ? t("streams.none") : s === "queued" ? t("streams.queued") : s === "running" ? t("streams.soon") : t("streams.held", { state: runWord(s).toLowerCase() })}</p>
    </div>
  );
}

function GroupView({ g, head, folded, state, store, columns, raw, selected, onSelect, onGrow, onFold }: { g: Group; head: string; folded: boolean; state: RunState; store: RunStore; columns: number; raw: boolean; selected: string | null; onSelect: (p: string) => void; onGrow: () => void; onFold: () => void }) {
  const cols = Math.min(columns, g.paths.length);
  const def = state.run.definition;
  const names = head ? splitPath(head).map((s, i, all) => ({ name: titleOf(def, all.slice(0, i + 1).map((x, k) => (k < i && x.index !== null ? `${x.id}#${x.index}` : x.id)).join("/")), index: s.index })) : [];
  // Items of a map stand together, so each says which one it is.
  const title = (p: string) => {
    const own = titleOf(def, p, state.nodes.get(p)?.name);
    const item = splitPath(p).at(-2);
    return item && item.index !== null && !g.prefix.endsWith("#" + item.index) && state.nodes.get(g.prefix)?.type !== "vote" ? `${own} #${item.index}` : own;
  };
  return (
    <>
      {head && (
        <h3 className="round-head">
          <button type="button" aria-expanded={!folded} aria-label={w("group.fold", { what: head })} onClick={onFold}><Icon name="chevronRight" size={11} className={folded ? "" : "turn"} /></button>
          {names.map((s, i) => <span key={i}>{s.name}{s.index !== null && <b> #{s.index}</b>}</span>)}
        </h3>
      )}
      {!folded && (
        <div className="cols" style={{ gridTemplateColumns: `repeat(${cols}, minmax(0, 1fr))` }}>
          {g.paths.map((p) => (
            <Pane key={p} path={p} node={state.nodes.get(p)} store={store} title={title(p)} bounded={g.paths.length > 1} raw={raw} active={selected === p} onSelect={onSelect} onGrow={onGrow} />
          ))}
        </div>
      )}
    </>
  );
}

/* One that was open when it came on the screen keeps its place and says how it ended; an old one is a line. */
function ReviewCard({ review, state, onSelect }: { review: Review; state: RunState; onSelect: (p: string) => void }) {
  const [wasOpen] = useState(() => isOpen(review));
  const [asked] = useState(review);
  const title = titleOf(state.run.definition, review.node, state.nodes.get(review.node)?.name);
  if (!wasOpen)
    return (
      <p className="said">
        <Icon name="person" size={13} />
        <button type="button" className="link" onClick={() => onSelect(review.node)}>{title}</button>
        <b>{w("review.answered", { who: review.reviewer ?? w("someone"), action: review.action ? r(("action." + review.action) as "action.approve") : "" })}</b>
        {review.reason && <span>{review.reason}</span>}
      </p>
    );
  const gone = RUN_ENDS.has(state.run.status) && isOpen(review);
  if (gone) return null;
  return (
    <article className={"pane pane-review" + (isOpen(review) ? " st-waiting" : "")} id={"review-" + review.node} tabIndex={-1}>
      <header className="pane-head">
        <button type="button" className="pane-title" onClick={() => onSelect(review.node)}><Icon name="person" size={14} /><b>{r("panel", { node: title })}</b></button>
      </header>
      <div className="pane-body"><ReviewPanel runId={state.run.id} review={asked} now={review} /></div>
    </article>
  );
}

const NONE: never[] = [];

/* A finished text up to this many characters is shown whole, beside others too. */
const FITS = 1600;

const Pane = memo(function Pane({ path, node, store, title, bounded, raw, active, onSelect, onGrow }: { path: string; node: RunNode | undefined; store: RunStore; title: string; bounded: boolean; raw: boolean; active: boolean; onSelect: (p: string) => void; onGrow: () => void }) {
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => store.watch(path, again), [store, path]);
  const s = store.streams.get(path);
  const { text, thinking, from } = shownText(node, s);
  const status = node?.status ?? "running";
  const alive = status === "running" || status === "retrying";
  const body = useRef<HTMLDivElement>(null);
  const { following, pin, jump } = useFollow(body);
  const [whole, setWhole] = useState(false);
  const version = s?.version ?? 0;
  useLayoutEffect(() => {
    if (alive) pin(); // a finished text is read from its beginning
    onGrow();
  }, [version, text, alive, pin, onGrow]);
  const tokens = node?.usage?.output_tokens;
  const flagged = useMemo(() => claimsOf(node, undefined), [node]);
  useMarks(body, alive ? NONE : flagged.claims, text);
  // Structured answers are read as they are; so is what is too long to be laid out with every token.
  const plain = raw || /^\s*[[{]/.test(text) || text.length > 150_000;
  const confined = bounded && !whole && (alive || text.length > FITS);
  const reset = s?.resets.at(-1);
  return (
    <article className={`pane st-${status}${active ? " is-active" : ""}${alive ? " is-live" : ""}`} data-path={path} data-attempt={s?.attempt ?? node?.attempt} data-from={from} aria-label={title}>
      <header className="pane-head">
        <button type="button" className="pane-title" onClick={() => onSelect(path)} title={path}>
          <Icon name={kindIcon(node?.type ?? "llm")} size={14} />
          <b>{title}</b>
        </button>
        <NodeState status={status} word={false} />
        <span className="grow" />
        {node && node.attempt > 1 && <span className="chip chip-warn num" data-tip={t("attempt.tip", { n: node.attempt })}>{t("attempt.n", { n: node.attempt })}</span>}
        {flagged.count > 0 && <span className="chip chip-warn num" data-tip={w("claims.tip")} data-testid="claims"><Icon name="alert" size={11} />{w("claims.n", { n: flagged.count })}</span>}
        {node?.cached && <span className="chip"><Icon name="bolt" size={11} />{t("cached")}</span>}
        <span className="faint num pane-figs">
          {tokens ? t("tokens.n", { n: count(tokens) }) + " · " : ""}
          <Took node={node} live={alive} />
        </span>
        <CopyButton text={() => shownText(node, s).text} label={t("copy.text")} />
      </header>
      {reset && reset.reason !== "" && (
        <p className="pane-note"><Icon name="retry" size={12} /> {t("reset.note", { n: reset.attempt, reason: reset.reason })}</p>
      )}
      {node?.reason && !NODE_ENDS.has(status) && status !== "running" && <p className="pane-note">{node.reason}</p>}
      <div className={"pane-body" + (confined ? " is-bounded" : "")} ref={body} tabIndex={confined ? 0 : undefined}>
        {thinking && <Thinking text={thinking} live={alive && text === ""} />}
        {plain ? (
          <pre className="raw" data-testid="raw-text">{text}</pre>
        ) : (
          <div className="prose"><Markdown text={text} /></div>
        )}
        {alive && <span className="caret" aria-hidden="true" />}
        {node?.error && (status === "failed" || status === "retrying") && (
          <p className="pane-error"><Icon name="cross" size={13} /> <span>{node.error.message} <code>{node.error.code}</code></span></p>
        )}
        {status === "cancelled" && <p className="pane-note">{t("node.stopped")}</p>}
      </div>
      {bounded && !alive && text.length > FITS && (
        <button type="button" className="pane-more" aria-expanded={whole} onClick={() => setWhole(!whole)}>{t(whole ? "pane.less" : "pane.more")}</button>
      )}
      {bounded && alive && !following && (
        <button type="button" className="jump jump-in" onClick={jump}>
          <Icon name="down" size={12} /> {t("streams.jump")}
        </button>
      )}
    </article>
  );
});

function Took({ node, live }: { node: RunNode | undefined; live: boolean }) {
  const now = useNow(1000, live);
  const ms = span(node?.started_at, node?.finished_at, now);
  if (ms === null) return null;
  return <>{live ? `${Math.floor(ms / 1000)} s` : duration(ms)}</>;
}

function Thinking({ text, live }: { text: string; live: boolean }) {
  const words = text.trim().split(/\s+/).length;
  return (
    <details className="thinking">
      <summary>
        <span className={live ? "thinking-live" : ""}>{live ? t("thinking.live") : t("thinking")}</span> <span className="faint num">{t("words.n", { n: words })}</span>
      </summary>
      <div className="thinking-text">{text}</div>
    </details>
  );
}

function Final({ state }: { state: RunState }) {
  const { run } = state;
  if (run.status === "failed" && run.error)
    return (
      <div className="final final-failed" data-testid="run-error">
        <h3><Icon name="cross" size={15} /> {run.error.node ? t("final.failed.at", { node: titleOf(run.definition, run.error.node) }) : t("final.failed")}</h3>
        <p>{run.error.message}</p>
        <p className="mono faint">{run.error.code}</p>
      </div>
    );
  if (run.status === "cancelled") return <div className="final"><h3><Icon name="stopped" size={15} /> {t("final.cancelled")}</h3>{run.reason && <p>{run.reason}</p>}</div>;
  if (run.outputs === null || run.outputs === undefined) return null;
  return (
    <div className="final final-ok" data-testid="outputs">
      <h3>
        <Icon name="check" size={15} /> {t("final.outputs")}
        <span className="grow" />
        <CopyButton text={() => JSON.stringify(run.outputs, null, 2)} label={t("copy.json")} />
      </h3>
      <Outputs value={run.outputs} />
    </div>
  );
}

export function Outputs({ value }: { value: RunState["run"]["outputs"] }) {
  if (value === null || value === undefined) return null;
  if (typeof value !== "object" || Array.isArray(value)) return <JsonView value={value} />;
  return (
    <dl className="outputs">
      {Object.entries(value).map(([k, v]) => (
        <div key={k}>
          <dt className="mono">{k}</dt>
          <dd>{typeof v === "string" ? <div className="prose"><Markdown text={v} /></div> : typeof v === "object" && v !== null ? <JsonView value={v} /> : <span className="num">{String(v)}</span>}</dd>
        </div>
      ))}
    </dl>
  );
}
