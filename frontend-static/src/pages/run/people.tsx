/* What people say to a run: words that later model calls read, and signals that nodes wait for by name. */
import { useState } from "react";
import * as ops from "../../api/ops";
import type { Graph } from "../../api/types";
import { t } from "../../i18n";
import type { Said } from "../../state/extras";
import type { RunState } from "../../state/run";
import { parseJson } from "../../util/fields";
import { clock } from "../../util/format";
import { Button, Dialog } from "../../ui/controls";
import { Icon } from "../../ui/icons";
import { TextField, TroubleNote, useTask } from "../../ui/kit";
import { bodyOf } from "./paths";
import { w } from "./words";

export function Interject({ runId, onClose }: { runId: string; onClose: () => void }) {
  const [text, setText] = useState("");
  const task = useTask();
  const go = async () => {
    if (text.trim() && (await task.run("send", () => ops.interject(runId, text.trim())))) onClose();
  };
  return (
    <Dialog title={w("interject")} onClose={onClose}>
      <form className="dialog-body" data-testid="interject" onSubmit={(e) => { e.preventDefault(); void go(); }} onKeyDown={(e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) void go(); }}>
        <TextField label={w("interject.label")} note={w("interject.d")} name="text" rows={4} value={text} onChange={setText} autoFocus />
        <TroubleNote of={task.trouble} title={w("interject.failed")} />
        <footer className="dialog-foot">
          <span className="faint hint">Ctrl + Enter</span>
          <span className="grow" />
          <Button onClick={onClose}>{t("cancel.dismiss")}</Button>
          <Button kind="primary" type="submit" busy={task.busy !== null} why={text.trim() ? null : t("field.required")} testId="interject-go">{w("interject.go")}</Button>
        </footer>
      </form>
    </Dialog>
  );
}

/* Names of signals the workflow waits for, those waited for now first. */
function signalsOf(state: RunState): { names: string[]; waiting: string[] } {
  const names = new Set<string>();
  const waiting = new Set<string>();
  const walk = (g: Graph) => {
    for (const n of g.nodes) {
      const s = n.type === "wait_signal" ? n.params?.["signal"] : undefined;
      if (typeof s === "string" && !s.includes("{{")) {
        names.add(s);
        for (const [p, live] of state.nodes) if (live.status === "waiting" && (p === n.id || p.endsWith("/" + n.id))) waiting.add(s);
      }
      const b = bodyOf(n);
      if (b) walk(b);
    }
  };
  if (state.run.definition) walk(state.run.definition);
  return { names: [...waiting, ...[...names].filter((n) => !waiting.has(n))], waiting: [...waiting] };
}

export function SendSignal({ state, onClose }: { state: RunState; onClose: () => void }) {
  const known = signalsOf(state);
  const [name, setName] = useState(known.names[0] ?? "");
  const [payload, setPayload] = useState("");
  const [bad, setBad] = useState<{ name?: string; payload?: string }>({});
  const task = useTask();
  const go = async () => {
    const p = parseJson(payload);
    const wrong = { ...(name.trim() ? {} : { name: w("signal.needed") }), ...(p.bad ? { payload: t("field.json") } : {}) };
    setBad(wrong);
    if (Object.keys(wrong).length) return;
    if (await task.run("send", () => ops.signal(state.run.id, name.trim(), p.value ?? null))) onClose();
  };
  return (
    <Dialog title={w("signal")} onClose={onClose}>
      <form className="dialog-body" data-testid="signal" onSubmit={(e) => { e.preventDefault(); void go(); }}>
        <TextField label={w("signal.name")} note={known.waiting.length ? w("signal.waiting", { list: known.waiting.join(", ") }) : w("signal.d")} name="signal" mono value={name} onChange={setName} error={bad.name} autoFocus />
        <TextField label={w("signal.payload")} optional name="payload" mono rows={4} placeholder="{ }" value={payload} onChange={setPayload} error={bad.payload} />
        <TroubleNote of={task.trouble} title={w("signal.failed")} />
        <footer className="dialog-foot">
          <span className="grow" />
          <Button onClick={onClose}>{t("cancel.dismiss")}</Button>
          <Button kind="primary" type="submit" busy={task.busy !== null} testId="signal-go">{w("interject.go")}</Button>
        </footer>
      </form>
    </Dialog>
  );
}

export function SaidView({ s }: { s: Said }) {
  const who = s.by ?? w("someone");
  return (
    <p className="said" data-testid="said">
      <Icon name={s.kind === "input" ? "person" : "bolt"} size={13} />
      <b>{s.kind === "input" ? w("said.input", { who }) : w("said.signal", { who, name: s.text })}</b>
      {s.kind === "input" && <span>{s.text}</span>}
      <span className="faint num">{clock(s.at)}</span>
    </p>
  );
}
