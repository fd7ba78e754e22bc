import { useState } from "react";
import { api, ApiError } from "../../api/client";
import * as ops from "../../api/ops";
import { t } from "../../i18n";
import { ConnectionPill, SimulatorNote } from "../../shell";
import type { RunStore } from "../../state/run-store";
import { RUN_ENDS, type RunState } from "../../state/run";
import { diffUrl, runUrl } from "../../state/router";
import { roleAllows } from "../../state/session";
import { count, duration, full, shortId, span, usd } from "../../util/format";
import { Button, CopyButton, Dialog, Menu } from "../../ui/controls";
import { useNow } from "../../ui/hooks";
import { Icon } from "../../ui/icons";
import { Link } from "../../ui/link";
import { RunBadge, runWord } from "../../ui/status";
import type { Extras } from "../../state/extras";
import { loopFigure } from "./loops";
import { w } from "./words";

export type Action = "pause" | "resume" | "cancel";

/* Why an action is not possible now; null when it is. */
export function whyNot(action: Action, status: RunState["run"]["status"], mayRun: boolean): string | null {
  if (!mayRun) return t("role.viewer");
  if (RUN_ENDS.has(status)) return t("why.ended", { state: runWord(status).toLowerCase() });
  if (action === "pause") {
    if (status === "paused") return t("why.paused");
    if (status === "locked") return t("why.locked");
    if (status === "queued") return t("why.queued");
  }
  if (action === "resume" && status !== "paused") return status === "locked" ? t("why.locked") : t("why.notpaused");
  return null;
}

export function useActions(store: RunStore) {
  const [busy, setBusy] = useState<Action | "retry" | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  async function act(action: Action, body: object = {}) {
    setBusy(action);
    setProblem(null);
    try {
      await api.act(store.id, action, body);
    } catch (e) {
      setProblem(e instanceof ApiError ? `${e.message} (${e.code})` : String(e));
      void store.refresh();
    }
    setBusy(null);
  }
  /* The page sees it as events; the answer is the run as it was taken up. */
  async function retry(from?: string) {
    setBusy("retry");
    setProblem(null);
    try {
      await ops.retry(store.id, from);
    } catch (e) {
      setProblem(e instanceof ApiError ? `${e.message} (${e.code})` : String(e));
    }
    setBusy(null);
  }
  return { busy, problem, act, retry, dismiss: () => setProblem(null) };
}

/* Why a retry is not possible now; null when it is. */
export function whyNoRetry(status: RunState["run"]["status"], mayRun: boolean): string | null {
  return !mayRun ? t("role.viewer") : status === "failed" || status === "cancelled" ? null : w("retry.not");
}

export function Head({ state, extras, actions, onCancel, onSay, onFork }: { state: RunState; extras: Extras; actions: ReturnType<typeof useActions>; onCancel: () => void; onSay: (what: "input" | "signal") => void; onFork: () => void }) {
  const { run } = state;
  const ended = RUN_ENDS.has(run.status);
  const mayRun = roleAllows("run");
  const { busy, act } = actions;
  const limit = run.definition?.limits?.max_cost_usd;
  // The limits hold for the run and all it has started, so these are the figures beside them.
  const usage = run.total_usage ?? run.usage;
  const cost = run.total_cost_usd ?? run.cost_usd;
  const tokens = (usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0);
  const own = run.total_usage ? w("fig.own", { n: count((run.usage?.input_tokens ?? 0) + (run.usage?.output_tokens ?? 0)), usd: usd(run.cost_usd) }) : undefined;
  const stoppable = run.status === "paused" ? "resume" : "pause";
  const whyMain = whyNot(stoppable, run.status, mayRun);
  const most = run.definition?.limits?.max_tokens;
  const loop = loopFigure(state, extras);
  const whySay = !mayRun ? t("role.viewer") : ended ? w("why.done") : null;
  return (
    <header className="run-head">
      <div className="run-line">
        <Link to="/" className="back" label={t("run.back")}><Icon name="chevronLeft" size={14} /><span>{t("nav.runs")}</span></Link>
        <h1>{run.workflow}{run.version ? <span className="faint"> v{run.version}</span> : null}</h1>
        <CopyButton text={run.id} label={t("run.copy")}><span className="mono">{shortId(run.id)}</span></CopyButton>
        {/* Until a call has ended the run does not know who answered; then the default says who would. */}
        {run.simulated ? <SimulatorNote run /> : (!ended || tokens === 0) && <SimulatorNote />}
        <span className="grow" />
        <ConnectionPill seq={state.lastSeq} />
      </div>
      <div className="run-line run-main">
        <RunBadge status={run.status} large />
        <span className="run-actions">
          {(run.status === "failed" || run.status === "cancelled") && (
            <Button icon="retry" kind="primary" busy={busy === "retry"} why={whyNoRetry(run.status, mayRun)} hint={w("retry.hint")} onClick={() => void actions.retry()} testId="retry">{w("retry")}</Button>
          )}
          <Button icon={stoppable === "resume" ? "play" : "paused"} kind={ended ? "plain" : "primary"} busy={busy === stoppable} why={whyMain} hint={t(stoppable === "resume" ? "act.resume.hint" : "act.pause.hint")} onClick={() => void act(stoppable, stoppable === "pause" ? { mode: "drain" } : {})} testId={stoppable}>
            {t(stoppable === "resume" ? "act.resume" : "act.pause")}
          </Button>
          {stoppable === "pause" && !ended && (
            <Menu
              label={t("act.pause.how")}
              why={whyMain}
              items={[
                { label: t("act.pause.drain"), detail: t("act.pause.drain.d"), onPick: () => void act("pause", { mode: "drain" }) },
                { label: t("act.pause.now"), detail: t("act.pause.now.d"), onPick: () => void act("pause", { mode: "now" }) },
              ]}
            />
          )}
          <Button icon="stopped" kind="plain" busy={busy === "cancel"} why={whyNot("cancel", run.status, mayRun)} onClick={onCancel} testId="cancel">{t("act.cancel")}</Button>
          <Menu
            label={w("more")}
            testId="more-actions"
            items={[
              { label: w("interject"), detail: w("interject.d"), why: whySay, onPick: () => onSay("input") },
              { label: w("signal"), detail: w("signal.d"), why: whySay, onPick: () => onSay("signal") },
              { label: w("fork.run"), detail: w("fork.run.d"), why: mayRun ? null : t("role.viewer"), onPick: onFork },
            ]}
          />
        </span>
        {run.parent && (
          <span className="run-reason" data-testid="started-by">
            {w("parent.by")} <Link to={runUrl(run.parent, run.parent_node)}>{shortId(run.parent)}{run.parent_node ? <span className="mono">/{run.parent_node}</span> : null}</Link>
          </span>
        )}
        {run.forked_from && (
          <span className="run-reason" data-testid="forked-from">
            {w("fork.of")} <Link to={runUrl(run.forked_from.run)}>{shortId(run.forked_from.run)}</Link>{run.forked_from.from ? <span className="mono"> {run.forked_from.from}</span> : run.forked_from.at_seq ? <span className="num"> #{run.forked_from.at_seq}</span> : null} · <Link to={diffUrl(run.forked_from.run, run.id)}>{w("fork.compare")}</Link>
          </span>
        )}
        {sayWhy(run) && <span className="run-reason" title={sayWhy(run) ?? undefined}>{sayWhy(run)}</span>}
        <span className="grow" />
        <dl className="figures">
          <div title={full(run.started_at)}><dt>{t("fig.elapsed")}</dt><dd><Elapsed run={run} /></dd></div>
          {loop && <div data-testid="loop-figure"><dt>{w("loop.fig")}</dt><dd className="num">{loop.n}{loop.of ? <span className="faint">/{loop.of}</span> : null}</dd></div>}
          <div><dt>{t("fig.nodes")}</dt><dd className="num">{run.nodes_done ?? 0}<span className="faint">/{run.nodes_total ?? state.nodes.size}</span></dd></div>
          <div title={t("fig.tokens.tip", { i: usage?.input_tokens ?? 0, o: usage?.output_tokens ?? 0 }) + (own ? ` · ${own}` : "")}><dt>{t("fig.tokens")}</dt><dd className="num">{count(tokens)}{most ? <Limit of={count(most)} share={tokens / most} /> : null}</dd></div>
          <div title={own}>
            <dt>{t("fig.cost")}</dt>
            <dd className="num">
              {usd(cost)}{limit ? <Limit of={usd(limit)} share={(cost ?? 0) / limit} /> : null}
            </dd>
          </div>
        </dl>
      </div>
      {actions.problem && (
        <div className="banner banner-bad" role="alert">
          <span>{actions.problem}</span>
          <Button small kind="ghost" icon="close" label={t("close")} onClick={actions.dismiss} />
        </div>
      )}
    </header>
  );
}

/* What the workflow allows, and how much of it is used. */
function Limit({ of, share }: { of: string; share: number }) {
  return (
    <>
      <span className="faint" title={w("fig.limit.tip", { n: of })}> {t("fig.of", { n: of })}</span>
      <i className={"budget" + (share > 0.8 ? " is-high" : "")} aria-hidden="true"><i style={{ width: `${Math.min(1, share) * 100}%` }} /></i>
    </>
  );
}

/* "Paused by admin": who, unless the reason says so already. */
function sayWhy(run: RunState["run"]): string | null {
  if (run.status === "failed" || run.status === "succeeded" || run.status === "running" || run.status === "locked") return null;
  const who = run.by && !run.reason?.includes(run.by) ? t("by", { who: run.by }) : "";
  return [who, run.reason].filter(Boolean).join(who && run.reason ? ": " : "") || null;
}

function Elapsed({ run }: { run: RunState["run"] }) {
  const ended = RUN_ENDS.has(run.status);
  const now = useNow(1000, !ended && Boolean(run.started_at));
  const ms = span(run.started_at, run.finished_at, now);
  if (ms === null) return <span className="num">–</span>;
  return <span className="num" data-testid="elapsed">{ended ? duration(ms) : ms < 60_000 ? `${Math.floor(ms / 1000)} s` : duration(ms)}</span>;
}

export function ConfirmCancel({ state, onClose, onYes }: { state: RunState; onClose: () => void; onYes: () => void }) {
  const active = [...state.nodes.values()].filter((n) => n.type === "llm" && n.status === "running").length;
  return (
    <Dialog title={t("cancel.title")} onClose={onClose} alert>
      <div className="dialog-body">
        <p>{active > 0 ? t("cancel.body.calls", { n: active }) : t("cancel.body")}</p>
        <footer className="dialog-foot">
          <span className="grow" />
          <Button onClick={onClose} autoFocus>{t("cancel.keep")}</Button>
          <Button kind="danger" icon="stopped" onClick={() => { onClose(); onYes(); }} testId="confirm-cancel">{t("cancel.yes")}</Button>
        </footer>
      </div>
    </Dialog>
  );
}
