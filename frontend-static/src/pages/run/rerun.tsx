/* A new run of this one: what a node gives, or what the run was started with, is to be different. */
import { useMemo, useState } from "react";
import * as ops from "../../api/ops";
import type { Json } from "../../api/types";
import { t } from "../../i18n";
import { navigate, runUrl } from "../../state/router";
import { roleAllows } from "../../state/session";
import type { RunState } from "../../state/run";
import { parseJson } from "../../util/fields";
import { Button, Dialog } from "../../ui/controls";
import { SelectField, TextField, TroubleNote, useTask } from "../../ui/kit";
import { titleOf } from "./paths";
import { w } from "./words";

type Obj = { [key: string]: Json };

function objectOf(text: string): Obj | null {
  const { value } = parseJson(text);
  return value !== undefined && value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
}

const pretty = (v: Json | undefined) => JSON.stringify(v ?? {}, null, 2);

/* What a fork begins from: a node that is done again, an event after which nothing has happened, or (neither) the beginning. */
export interface ForkFrom {
  path?: string;
  atSeq?: number;
  file?: { path: string; version: number }; // the event wrote this version
}

/* Why nobody here may fork; null when one may. Any run can be forked, under way or ended. */
export const whyNoFork = (): string | null => (roleAllows("run") ? null : t("role.viewer"));

export function ForkDialog({ state, from: { path, atSeq, file }, onClose }: { state: RunState; from: ForkFrom; onClose: () => void }) {
  const { run } = state;
  const node = path ? state.nodes.get(path) : undefined;
  const had = pretty(run.inputs as Json | undefined);
  const [how, setHow] = useState<"again" | "given">("again");
  const [output, setOutput] = useState(() => pretty(node?.output));
  const [inputs, setInputs] = useState(had);
  const [bad, setBad] = useState<{ output?: string; inputs?: string }>({});
  const task = useTask();
  const key = useMemo(() => crypto.randomUUID?.() ?? String(Math.random()), []); // a second click makes no second run
  const go = async () => {
    const given = how === "given" ? objectOf(output) : null;
    const changed = inputs.trim() !== had.trim() ? objectOf(inputs) : null;
    const wrong = { ...(how === "given" && !given ? { output: w("fork.output.needed") } : {}), ...(inputs.trim() !== had.trim() && !changed ? { inputs: w("fork.inputs.needed") } : {}) };
    setBad(wrong);
    if (Object.keys(wrong).length) return;
    const body: ops.ForkRequest = {};
    if (path && given) body.outputs = { [path]: given };
    else if (path) body.from = path;
    else body.at_seq = atSeq ?? 1;
    if (changed) body.inputs = changed;
    await task.run("fork", async () => navigate(runUrl((await ops.fork(run.id, body, key)).id)));
  };
  const title = path ? w("fork.title", { node: titleOf(run.definition, path, node?.name) }) : file ? w("fork.title.file", { file: file.path, n: file.version }) : atSeq ? w("fork.title.seq", { n: atSeq }) : w("fork.title.run");
  const part = Boolean(path || atSeq); // of the run is kept
  return (
    <Dialog title={title} onClose={onClose}>
      <form className="dialog-body" data-testid="fork" onSubmit={(e) => { e.preventDefault(); void go(); }}>
        {atSeq && <p>{w(file ? "fork.file.d" : "fork.seq.d", { n: atSeq })}</p>}
        {path && <SelectField label={w("fork.what")} name="how" value={how} onChange={(v) => setHow(v as "again" | "given")} options={[{ value: "again", label: w("fork.again") }, { value: "given", label: w("fork.given") }]} />}
        {how === "given" && <TextField label={w("fork.output")} name="output" mono rows={8} value={output} onChange={setOutput} error={bad.output} autoFocus />}
        <TextField label={w("fork.inputs")} note={part ? w("fork.inputs.note") : undefined} name="inputs" mono rows={part ? 3 : 8} value={inputs} onChange={setInputs} error={bad.inputs} />
        <TroubleNote of={task.trouble} title={w("fork.failed")} />
        <footer className="dialog-foot">
          <span className="grow" />
          <Button onClick={onClose}>{t("cancel.dismiss")}</Button>
          <Button kind="primary" type="submit" icon="play" busy={task.busy !== null} testId="fork-go">{w("fork.go")}</Button>
        </footer>
      </form>
    </Dialog>
  );
}
