import { useEffect, useRef, useState } from "react";
import { api, ApiError } from "../../api/client";
import type { Definition, Workflow } from "../../api/types";
import { getWorkflow, saveTemplate, workflowVersions, type VersionSummary } from "../../api/workflows";
import { ago, full } from "../../util/format";
import { Button, Dialog, Problem, Skeleton } from "../../ui/controls";
import { RunForm } from "../start";
import { changedParts, diffLines } from "./diff";
import { printed } from "./json-view";
import { NAME } from "./model";
import { w, type Key } from "./words";

export interface Told {
  message: string;
  code: string;
  requestId: string | null;
}
export const told = (e: unknown): Told => {
  if (!(e instanceof ApiError)) return { message: e instanceof Error ? e.message : String(e), code: "error", requestId: null };
  return { message: [e.message, ...e.fields.slice(0, 4).map((f) => `${f.pointer}: ${f.message}`)].join(" · "), code: e.code, requestId: e.requestId };
};

export function Confirm({ title, body, yes, danger = false, onYes, onClose, extra, no = extra ? w("leave.stay") : w("cancel") }: { title: string; body: string; yes: string; danger?: boolean; onYes: () => void; onClose: () => void; extra?: { label: string; onPick: () => void }; no?: string }) {
  return (
    <Dialog title={title} onClose={onClose} alert>
      <div className="dialog-body">
        <p className="muted">{body}</p>
        <footer className="dialog-foot">
          {extra && <Button kind="ghost" onClick={extra.onPick} testId="confirm-extra">{extra.label}</Button>}
          <span className="grow" />
          <Button onClick={onClose}>{no}</Button>
          <Button kind={danger ? "danger" : "primary"} autoFocus onClick={onYes} testId="confirm-yes">{yes}</Button>
        </footer>
      </div>
    </Dialog>
  );
}

/* Runs what is in the editor, saved or not: the definition goes with the request. */
export function TestRun({ definition, onStarted, onClose }: { definition: Definition; onStarted: (id: string) => void; onClose: () => void }) {
  return (
    <Dialog title={w("test.title", { name: definition.name || w("new.title") })} onClose={onClose} wide>
      <RunForm
        definition={definition}
        onClose={onClose}
        start={async (inputs, key) => {
          const { name, ...rest } = definition;
          const r = await api.request<{ id: string }>("POST", "/runs", { body: { definition: name ? definition : rest, inputs }, headers: { "Idempotency-Key": key } });
          onStarted(r.id);
          return r;
        }}
      />
    </Dialog>
  );
}

export function Versions({ name, current, onRestore, onClose, readOnly }: { name: string; current: Definition; onRestore: (w: Workflow) => void; onClose: () => void; readOnly: boolean }) {
  const [list, setList] = useState<VersionSummary[] | null>(null);
  const [failed, setFailed] = useState<Told | null>(null);
  const [at, setAt] = useState<number | null>(null);
  const [shown, setShown] = useState<Workflow | null>(null);
  useEffect(() => {
    let on = true;
    workflowVersions(name).then(
      (p) => {
        if (!on) return;
        setList(p.items);
        setAt(p.items[0]?.version ?? null);
      },
      (e) => on && setFailed(told(e)),
    );
    return () => {
      on = false;
    };
  }, [name]);
  useEffect(() => {
    if (at === null) return;
    let on = true;
    setShown(null);
    getWorkflow(name, at).then(
      (x) => on && setShown(x),
      (e) => on && setFailed(told(e)),
    );
    return () => {
      on = false;
    };
  }, [name, at]);
  const lines = shown ? diffLines(printed(shown.definition).split("\n"), printed(current).split("\n")) : [];
  const parts = changedParts(lines);
  return (
    <Dialog title={w("versions.title", { name })} onClose={onClose} wide>
      <div className="dialog-body versions">
        {failed ? (
          <Problem title={w("versions.failed")} detail={failed.message} code={failed.code} requestId={failed.requestId} />
        ) : !list ? (
          <Skeleton rows={4} />
        ) : (
          <>
            <ul className="version-list" role="listbox" aria-label={w("versions.title", { name })}>
              {list.map((v, i) => (
                <li key={v.version}>
                  <button type="button" role="option" aria-selected={v.version === at} onClick={() => setAt(v.version)} data-testid={"version-" + v.version}>
                    <b className="num">v{v.version}</b>
                    {i === 0 && <span className="tag">{w("versions.current")}</span>}
                    <span className="faint" title={full(v.created_at)}>{ago(v.created_at)}</span>
                    {v.created_by && <span className="faint">{w("versions.by", { who: v.created_by })}</span>}
                  </button>
                </li>
              ))}
            </ul>
            <div className="version-diff">
              {!shown ? (
                <Skeleton rows={6} />
              ) : (
                <>
                  <p className="faint">{parts.length ? w("versions.diff", { version: shown.version }) : w("versions.same")}</p>
                  {parts.length > 0 && (
                    <pre className="diff mono" tabIndex={0}>
                      {parts.map((l, i) => (l === null ? <span key={i} className="diff-skip">⋯{"\n"}</span> : <span key={i} className={"diff-" + l.kind}>{l.kind === "gone" ? "− " : l.kind === "new" ? "+ " : "  "}{l.text}{"\n"}</span>))}
                    </pre>
                  )}
                  {parts.length > 0 && !readOnly && (
                    <footer className="dialog-foot">
                      <span className="faint hint grow">{w("versions.restore.d")}</span>
                      <Button kind="primary" onClick={() => onRestore(shown)} testId="restore">{w("versions.restore", { version: shown.version })}</Button>
                    </footer>
                  )}
                </>
              )}
            </div>
          </>
        )}
      </div>
    </Dialog>
  );
}

export function SaveTemplate({ definition, onSaved, onClose }: { definition: Definition; onSaved: (title: string) => void; onClose: () => void }) {
  const [name, setName] = useState(definition.name);
  const [title, setTitle] = useState(definition.name.replace(/[-_]+/g, " ").replace(/^./, (c) => c.toUpperCase()));
  const [category, setCategory] = useState("");
  const [description, setDescription] = useState(definition.description ?? "");
  const [failed, setFailed] = useState<Told | null>(null);
  const [busy, setBusy] = useState(false);
  const first = useRef<HTMLInputElement>(null);
  const bad = name !== "" && !NAME.test(name) ? w("name.bad") : null;
  const go = async () => {
    if (bad || !name || !title.trim()) return first.current?.focus();
    setBusy(true);
    setFailed(null);
    try {
      await saveTemplate({ name, title: title.trim(), description: description.trim(), category: category.trim(), definition });
      onSaved(title.trim());
    } catch (e) {
      setFailed(told(e));
      setBusy(false);
    }
  };
  return (
    <Dialog title={w("template.title")} onClose={onClose}>
      <form className="dialog-body" noValidate onSubmit={(e) => (e.preventDefault(), void go())}>
        <label className="field"><span className="field-name">{w("template.label")}</span><input ref={first} type="text" data-autofocus value={title} onChange={(e) => setTitle(e.target.value)} /></label>
        <label className="field">
          <span className="field-name">{w("template.name")}</span>
          <input type="text" className="mono" value={name} aria-invalid={bad !== null} onChange={(e) => setName(e.target.value)} />
          <span className="field-error">{bad}</span>
        </label>
        <label className="field"><span className="field-name">{w("template.category")}</span><input type="text" value={category} onChange={(e) => setCategory(e.target.value)} /></label>
        <label className="field"><span className="field-name">{w("template.description")}</span><textarea rows={3} value={description} onChange={(e) => setDescription(e.target.value)} /></label>
        {failed && <Problem title={w("template.failed")} detail={failed.message} code={failed.code} requestId={failed.requestId} />}
        <footer className="dialog-foot">
          <span className="grow" />
          <Button onClick={onClose}>{w("cancel")}</Button>
          <Button type="submit" kind="primary" busy={busy} testId="template-save">{w("template.go")}</Button>
        </footer>
      </form>
    </Dialog>
  );
}

export function Keys({ onClose }: { onClose: () => void }) {
  const keys: [string[], Key][] = [
    [["/"], "help.search"],
    [["Enter"], "help.add"],
    [["a"], "help.append"],
    [["e"], "help.connect"],
    [["←", "↑", "→", "↓"], "help.walk"],
    [["Alt", "←…"], "help.nudge"],
    [["Enter", "F2"], "help.edit"],
    [["o"], "help.enter"],
    [["Esc"], "help.out"],
    [["Del"], "help.remove"],
    [["Ctrl", "C X V D"], "help.clip"],
    [["Ctrl", "A"], "help.all"],
    [["Ctrl", "Z Y"], "help.undo"],
    [["l", "f"], "help.layout"],
    [["Ctrl", "S ↵"], "help.save"],
  ];
  return (
    <Dialog title={w("help.title")} onClose={onClose}>
      <dl className="keys keys-wide">
        {keys.map(([k, d]) => (
          <div key={d}>
            <dt>{k.map((x) => <kbd key={x}>{x}</kbd>)}</dt>
            <dd>{w(d)}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
