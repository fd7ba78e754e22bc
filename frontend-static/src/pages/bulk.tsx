/* One order for many runs of the list: the selected ones, by their ids, or all that fit the filter, at most 1000 at a time. It is said first
 * how many it reaches, and afterwards who refused it, and why. */
import { useEffect, useRef, useState } from "react";
import * as ops from "../api/ops";
import type { RunStatus, RunSummary } from "../api/types";
import { t, type Key } from "../i18n";
import { runUrl } from "../state/router";
import { roleAllows } from "../state/session";
import { shortId } from "../util/format";
import { announce } from "../ui/announce";
import { Button, Dialog, Skeleton } from "../ui/controls";
import { TroubleNote, troubleOf, useTask } from "../ui/kit";
import type { IconName } from "../ui/icons";
import { Link } from "../ui/link";
import { RUN_STATUSES, runWord } from "../ui/status";

export type Order = ops.BulkOrder;
const ORDERS: readonly Order[] = ["pause", "resume", "cancel", "retry"];
const icons: { [o in Order]: IconName } = { pause: "paused", resume: "play", cancel: "stopped", retry: "retry" };

/* The states an order can be for; the server has the last word. */
export const FITS: { readonly [o in Order]: readonly RunStatus[] } = {
  pause: ["running", "waiting"],
  resume: ["paused"],
  cancel: ["queued", "running", "waiting", "paused", "locked"],
  retry: ["failed", "cancelled"],
};

export interface ListFilter {
  status: string;
  workflow: string;
}

/* The states of the filter that the order can be for. */
export const fitting = (order: Order, status: string): RunStatus[] => FITS[order].filter((s) => !status || status.split(",").includes(s));

/* The rows from one to the other, in whichever direction. */
export function range(items: readonly { id: string }[], a: string, b: string): string[] {
  const [i, j] = [items.findIndex((r) => r.id === a), items.findIndex((r) => r.id === b)].sort((x, y) => x - y) as [number, number];
  return i < 0 ? [b] : items.slice(i, j + 1).map((r) => r.id);
}

export function BulkBar({ runs, all, filter, onAll, onOrder, onClear }: { runs: readonly RunSummary[]; all: boolean; filter: ListFilter; onAll: (all: boolean) => void; onOrder: (o: Order) => void; onClear: () => void }) {
  const why = (o: Order) => ((all ? fitting(o, filter.status).length > 0 : runs.some((r) => FITS[o].includes(r.status))) ? null : t("bulk.why"));
  return (
    <div className="filters bulk-bar" role="group" aria-label={t("bulk.bar")} data-testid="bulk-bar">
      <b className="num">{all ? t("bulk.all.on") : t("bulk.n", { n: runs.length })}</b>
      {ORDERS.map((o) => (
        <Button key={o} small icon={icons[o]} why={why(o)} onClick={() => onOrder(o)} testId={"bulk-" + o}>{t(("bulk.act." + o) as Key)}</Button>
      ))}
      <span className="grow" />
      <Button small kind="ghost" pressed={all} why={roleAllows("edit") ? null : t("bulk.role")} hint={t("bulk.all.hint")} onClick={() => onAll(!all)} testId="bulk-all">{t("bulk.all")}</Button>
      <Button small kind="ghost" icon="close" onClick={onClear} testId="bulk-clear">{t("bulk.clear")}</Button>
    </div>
  );
}

interface Outcome {
  done: number;
  refused: number;
  more: boolean;
  reasons: { id: string; workflow: string; why: string }[];
}

/* Named runs, in orders of as many as one may name. When the first cannot be given, nothing has been done, and that is thrown; when a later
 * one cannot, its runs have refused it for that reason. */
export async function giveEach(runs: readonly { id: string; workflow: string }[], send: (ids: readonly string[]) => Promise<ops.BulkAnswer>, progress: (n: number) => void): Promise<Outcome> {
  const out: Outcome = { done: 0, refused: 0, more: false, reasons: [] };
  for (let i = 0; i < runs.length; i += ops.BULK_IDS) {
    const some = runs.slice(i, i + ops.BULK_IDS);
    const name = new Map(some.map((r) => [r.id, r.workflow]));
    try {
      const got = await send(some.map((r) => r.id));
      out.done += got.done;
      out.refused += got.refused;
      out.reasons.push(...got.refusals.map((x) => ({ id: x.id, workflow: name.get(x.id) ?? "", why: x.message })));
    } catch (e) {
      if (i === 0) throw e;
      out.refused += some.length;
      out.reasons.push(...some.map((r) => ({ id: r.id, workflow: r.workflow, why: troubleOf(e).message })));
    }
    progress(i + some.length);
  }
  return out;
}

/* runs null: all that fit the filter. */
export function BulkDialog({ order, runs: given, filter, onClose }: { order: Order; runs: readonly RunSummary[] | null; filter: ListFilter; onClose: (done: boolean) => void }) {
  const [runs] = useState(given); // as they were when it was asked: the list goes on under the dialog
  const reached = runs?.filter((r) => FITS[order].includes(r.status)) ?? null;
  const [matched, setMatched] = useState<{ n: number; more: boolean } | null>(reached && { n: reached.length, more: false });
  const [progress, setProgress] = useState(0);
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const task = useTask();
  const { run: attempt } = task;
  const end = useRef<HTMLDivElement>(null);
  const { status, workflow } = filter;
  const [round, setRound] = useState(0);
  const byFilter = runs === null;
  useEffect(() => {
    if (!byFilter) return;
    let gone = false;
    void attempt("count", async () => {
      const got = await ops.bulk(order, { status: fitting(order, status), ...(workflow ? { workflow } : {}) }, true);
      if (!gone) setMatched({ n: got.matched, more: got.more });
    });
    return () => void (gone = true);
  }, [byFilter, order, status, workflow, attempt, round]);

  const all = async (): Promise<Outcome> => {
    const got = await ops.bulk(order, { status: fitting(order, status), ...(workflow ? { workflow } : {}) }, false);
    return { ...got, reasons: got.refusals.map((x) => ({ id: x.id, workflow, why: x.message })) };
  };
  const go = () =>
    task.run("order", async () => {
      const got = reached ? await giveEach(reached, (ids) => ops.bulkOf(order, ids), setProgress) : await all();
      setOutcome(got);
      announce(`${t("bulk.done", { n: got.done })} ${got.refused ? t("bulk.refused", { n: got.refused }) : ""}`);
    });
  useEffect(() => {
    if (outcome) end.current?.querySelector<HTMLElement>("[data-autofocus]")?.focus();
  }, [outcome]);

  const left = runs ? RUN_STATUSES.map((s) => ({ s, n: runs.filter((r) => r.status === s && !FITS[order].includes(s)).length })).filter((x) => x.n > 0) : [];
  const word = t(("bulk.act." + order) as Key);
  const close = () => onClose(outcome !== null);
  return (
    <Dialog title={t(("bulk.title." + order) as Key)} onClose={close} alert>
      <div className="dialog-body" data-testid="bulk" data-phase={outcome ? "done" : task.busy === "order" ? "busy" : matched ? "ask" : "count"} ref={end}>
        {outcome ? (
          <>
            <p data-testid="bulk-outcome">{t("bulk.done", { n: outcome.done })} {outcome.refused > 0 && t("bulk.refused", { n: outcome.refused })}</p>
            {outcome.reasons.length > 0 && (
              <ul className="plain-list bulk-reasons" data-testid="bulk-reasons" tabIndex={0} aria-label={t("bulk.reasons")}>
                {outcome.reasons.map((r) => <li key={r.id}><Link to={runUrl(r.id)}>{r.workflow && <><b>{r.workflow}</b> </>}<span className="mono">{shortId(r.id)}</span></Link> <span>{r.why}</span></li>)}
              </ul>
            )}
            {outcome.refused > outcome.reasons.length && <p className="faint">{t("bulk.refused.some")}</p>}
            {outcome.more && <p>{t("bulk.rest")}</p>}
          </>
        ) : matched ? (
          <>
            <p data-testid="bulk-reach">{runs && left.length ? t("bulk.reach.of", { n: matched.n, m: runs.length }) : t(byFilter && !workflow && !status ? "bulk.reach.any" : "bulk.reach", { n: matched.n })} {t(("bulk.d." + order) as Key)}</p>
            {left.length > 0 && <p className="faint">{t("bulk.left", { list: left.map((x) => `${x.n} × ${runWord(x.s).toLowerCase()}`).join(", ") })}</p>}
            {matched.more && <p>{t("bulk.more", { n: matched.n })}</p>}
          </>
        ) : (
          task.busy === "count" && <Skeleton rows={2} label={t("bulk.counting")} />
        )}
        <TroubleNote of={task.trouble} title={t("bulk.failed")} />
        <footer className="dialog-foot">
          <span className="faint num" role="status">{reached && reached.length > ops.BULK_IDS && task.busy === "order" ? t("bulk.progress", { n: progress, m: reached.length }) : ""}</span>
          <span className="grow" />
          {outcome ? (
            <>
              {outcome.more && outcome.done > 0 && <Button onClick={() => { setOutcome(null); setMatched(null); setRound(round + 1); }} testId="bulk-next">{t("bulk.next")}</Button>}
              <Button kind="primary" onClick={close} autoFocus testId="bulk-close">{t("close")}</Button>
            </>
          ) : (
            <>
              <Button onClick={close} autoFocus>{t("cancel.dismiss")}</Button>
              <Button kind={order === "cancel" ? "danger" : "primary"} icon={icons[order]} busy={task.busy === "order"} why={!matched ? t("bulk.counting") : matched.n === 0 ? t("bulk.why") : null} onClick={() => void go()} testId="bulk-go">{matched ? t("bulk.go", { what: word, n: matched.n }) : word}</Button>
            </>
          )}
        </footer>
      </div>
    </Dialog>
  );
}
