/* The run breaker: what it measured, what was said last, and the two ways to let the run go on. */
import { useState } from "react";
import * as ops from "../../api/ops";
import type { Trip } from "../../state/extras";
import type { RunStore } from "../../state/run-store";
import type { RunState } from "../../state/run";
import { roleAllows } from "../../state/session";
import { ago, count, full, usd } from "../../util/format";
import { Button, Dialog } from "../../ui/controls";
import { Icon } from "../../ui/icons";
import { CheckField, TextField, TroubleNote, useTask } from "../../ui/kit";
import { titleOf } from "./paths";
import { named, w } from "./words";

const LAST = 600;

const figure = (v: number) => (Number.isInteger(v) ? count(v) : v.toFixed(2));

export function TripBanner({ trip, reason, onOpen }: { trip: Trip | null; reason: string | null; onOpen: () => void }) {
  const said = trip ? named("trip", trip.reason) : (reason ?? "");
  return (
    <div className="trip-banner" role="alert" data-testid="trip-banner">
      <Icon name="locked" size={16} />
      <span>
        <b>{w("trip.banner", { reason: said })}</b> {trip?.message}
        {trip && trip.measured !== null && trip.limit !== null && <span className="num"> {figure(trip.measured)} &gt; {figure(trip.limit)}</span>}
      </span>
      <span className="grow" />
      <Button small icon="locked" onClick={onOpen} testId="trip-open">{w("trip.see")}</Button>
    </div>
  );
}

export function TripDialog({ state, store, trip, onClose }: { state: RunState; store: RunStore; trip: Trip | null; onClose: () => void }) {
  const [why, setWhy] = useState("");
  const [checks, setChecks] = useState<[boolean, boolean, boolean]>([false, false, false]);
  const task = useTask();
  const { run } = state;
  const node = trip?.node ?? null;
  const text = node ? (store.streams.get(node)?.text ?? "") : "";
  const all = checks.every(Boolean);
  const off = !roleAllows("admin") ? w("trip.role") : !why.trim() && !all ? w("trip.why") : null;
  const go = async () => {
    const ok = await task.run("unlock", () => ops.unlock(run.id, why.trim() ? { justification: why.trim() } : { confirmations: [true, true, true] }));
    if (ok) onClose();
  };
  return (
    <Dialog title={w("trip.title")} onClose={onClose} wide alert kind="trip">
      <form className="dialog-body" data-testid="trip" onSubmit={(e) => { e.preventDefault(); if (!off) void go(); }}>
        <p className="lead">{w("trip.lead")}</p>
        <dl className="trip-facts">
          <div className="trip-reason"><dt>{w("trip.reason")}</dt><dd>{trip ? named("trip", trip.reason) : run.reason}{trip?.message && <span>{trip.message}</span>}</dd></div>
          {trip && trip.measured !== null && <div><dt>{w("trip.measured")}</dt><dd className="num trip-bad">{figure(trip.measured)}</dd></div>}
          {trip && trip.limit !== null && <div><dt>{w("trip.limit")}</dt><dd className="num">{figure(trip.limit)}</dd></div>}
          <div><dt>{w("trip.cost")}</dt><dd className="num">{usd(run.cost_usd)}</dd></div>
          {node && <div><dt>{w("trip.node")}</dt><dd title={node}>{titleOf(run.definition, node, state.nodes.get(node)?.name)}</dd></div>}
          {trip?.at && <div title={full(trip.at)}><dt>{w("trip.at")}</dt><dd className="num">{ago(trip.at)}</dd></div>}
        </dl>
        <div>
          <h3>{w("trip.last")}</h3>
          {text ? <pre className="trip-last" tabIndex={0}>{text.length > LAST ? "… " + text.slice(-LAST) : text}</pre> : <p className="faint">{w("trip.last.none")}</p>}
        </div>
        <fieldset className="trip-how">
          <legend>{w("trip.how")}</legend>
          <TextField label={w("trip.justify")} note={w("trip.justify.note")} name="justification" rows={2} value={why} onChange={setWhy} autoFocus />
          <p className="trip-or">{w("trip.or")}</p>
          {([0, 1, 2] as const).map((i) => (
            <CheckField key={i} label={w((["trip.c1", "trip.c2", "trip.c3"] as const)[i])} checked={checks[i]} onChange={(v) => setChecks((c) => c.map((x, k) => (k === i ? v : x)) as typeof c)} />
          ))}
        </fieldset>
        <TroubleNote of={task.trouble} title={w("trip.failed")} />
        <footer className="dialog-foot">
          <span className="grow" />
          <Button onClick={onClose}>{w("trip.later")}</Button>
          <Button kind="danger" type="submit" icon="play" busy={task.busy !== null} why={off} testId="unlock">{w("trip.unlock")}</Button>
        </footer>
      </form>
    </Dialog>
  );
}

