import { useEffect, useRef, useState } from "react";
import { api, ApiError } from "../api/client";
import type { Definition, Json, Workflow, WorkflowSummary } from "../api/types";
import { t } from "../i18n";
import { SimulatorNote } from "../shell";
import { navigate, runsUrl, runUrl } from "../state/router";
import { Button, Code, Dialog, Problem, Skeleton } from "../ui/controls";
import { Icon } from "../ui/icons";
import { fieldOfPointer, fieldsOf, initialDraft, readDraft, type Draft, type Field, type FieldError } from "./form";

export function StartRun({ workflow, flows, onClose }: { workflow: string | null; flows: WorkflowSummary[] | null; onClose: () => void }) {
  return (
    <Dialog title={workflow ? t("start.title", { name: workflow }) : t("start.choose")} onClose={onClose} wide>
      {workflow ? <Form key={workflow} name={workflow} onClose={onClose} /> : <Choose flows={flows} />}
    </Dialog>
  );
}

function Choose({ flows }: { flows: WorkflowSummary[] | null }) {
  const [q, setQ] = useState("");
  if (!flows) return <Skeleton rows={4} />;
  if (flows.length === 0)
    return (
      <div className="dialog-body">
        <p className="muted">{t("start.none")}</p>
        <Code text="sluice run examples/council-debate.json --input topic='Should cities ban private cars?'" label={t("copy")} />
      </div>
    );
  const found = flows.filter((f) => (f.name + " " + (f.description ?? "")).toLowerCase().includes(q.toLowerCase()));
  return (
    <div className="dialog-body">
      {flows.length > 6 && (
        <label className="search">
          <Icon name="search" size={14} />
          <input type="search" placeholder={t("start.search")} aria-label={t("start.search")} value={q} onChange={(e) => setQ(e.target.value)} autoFocus />
        </label>
      )}
      <ul className="pick-list">
        {found.map((f) => (
          <li key={f.name}>
            <button type="button" className="pick" onClick={() => navigate(runsUrl({ start: f.name }), true)} data-testid={"pick-" + f.name}>
              <span>
                <b>{f.name}</b> <span className="faint">v{f.version}</span>
                <span className="pick-desc">{f.description || t("start.nodesc")}</span>
              </span>
              <Icon name="chevronRight" />
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

type Problem_ = { message: string; code: string; requestId: string | null };
const asProblem = (e: unknown): Problem_ => (e instanceof ApiError ? { message: e.message, code: e.code, requestId: e.requestId } : { message: String(e), code: "error", requestId: null });

function Form({ name, onClose }: { name: string; onClose: () => void }) {
  const [flow, setFlow] = useState<Workflow | null>(null);
  const [failed, setFailed] = useState<Problem_ | null>(null);
  useEffect(() => {
    let on = true;
    api.workflow(name).then(
      (w) => on && setFlow(w),
      (e) => on && setFailed(asProblem(e)),
    );
    return () => {
      on = false;
    };
  }, [name]);
  if (failed) return <Problem title={t("start.failed")} detail={failed.message} code={failed.code} requestId={failed.requestId} />;
  if (!flow) return <Skeleton rows={4} />;
  return <RunForm definition={flow.definition} start={(inputs, key) => api.startRun(flow.name, flow.version, inputs, key)} onClose={onClose} />;
}

/* The form of a run's inputs, made from their schema; also for a definition that nobody has saved yet. */
export function RunForm({ definition, start, onClose }: { definition: Definition; start: (inputs: { [key: string]: Json }, key: string) => Promise<{ id: string }>; onClose: () => void }) {
  const [fields] = useState(() => fieldsOf(definition.inputs));
  const [draft, setDraft] = useState<Draft>(() => initialDraft(fields));
  const [errors, setErrors] = useState<{ [name: string]: string }>({});
  const [problem, setProblem] = useState<Problem_ | null>(null);
  const [busy, setBusy] = useState(false);
  // One key per opened form: pressing twice, or again after a lost answer, starts one run.
  const [key] = useState(() => (typeof crypto.randomUUID === "function" ? crypto.randomUUID() : Date.now().toString(36) + Math.random().toString(36).slice(2)));
  const form = useRef<HTMLFormElement>(null);
  const focusFirst = (names: string[]) => form.current?.querySelector<HTMLElement>(`[name="${CSS.escape(names[0] ?? "")}"]`)?.focus();

  async function go() {
    const { inputs, errors: bad } = readDraft(fields, draft);
    const said = Object.fromEntries(Object.entries(bad).map(([k, e]) => [k, errorText(e)]));
    setErrors(said);
    setProblem(null);
    if (Object.keys(said).length) return focusFirst(Object.keys(said));
    setBusy(true);
    try {
      const r = await start(inputs, `${key}-${hash(JSON.stringify(inputs))}`);
      navigate(runUrl(r.id));
    } catch (e) {
      setBusy(false);
      const p = asProblem(e);
      if (e instanceof ApiError && e.fields.length) {
        const by: { [name: string]: string } = {};
        const rest: string[] = [];
        for (const f of e.fields) {
          const n = fieldOfPointer(f.pointer);
          if (fields.some((x) => x.name === n)) by[n] = f.message;
          else rest.push(`${f.pointer}: ${f.message}`);
        }
        setErrors(by);
        focusFirst(Object.keys(by));
        if (rest.length) p.message += " " + rest.join(" ");
      }
      if (e instanceof ApiError && e.retryAfterS) p.message += " " + t("retry.after", { s: e.retryAfterS });
      setProblem(p);
    }
  }

  return (
    <form
      ref={form}
      className="dialog-body"
      noValidate
      onSubmit={(e) => {
        e.preventDefault();
        void go();
      }}
      onKeyDown={(e) => {
        if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) {
          e.preventDefault();
          void go();
        }
      }}
      data-testid="start-form"
    >
      {definition.description && <p className="muted lead">{definition.description}</p>}
      {fields.length === 0 && <p className="note">{t("start.noinputs")}</p>}
      {fields.map((f, i) => (
        <FieldView key={f.name} f={f} first={i === 0} value={draft[f.name]!} error={errors[f.name]} onChange={(v) => setDraft((d) => ({ ...d, [f.name]: v }))} />
      ))}
      {problem && <Problem title={t("start.refused")} detail={problem.message} code={problem.code} requestId={problem.requestId} />}
      <footer className="dialog-foot">
        <SimulatorNote />
        <span className="grow" />
        <span className="faint hint">Ctrl + Enter</span>
        <Button onClick={onClose}>{t("cancel.dismiss")}</Button>
        <Button type="submit" kind="primary" icon="play" busy={busy} testId="submit-run">{t("start.go")}</Button>
      </footer>
    </form>
  );
}

export function FieldView({ f, value, error, onChange, first }: { f: Field; value: string | boolean; error?: string; onChange: (v: string | boolean) => void; first: boolean }) {
  const id = "in-" + f.name;
  const s = f.schema;
  const common = { id, name: f.name, "aria-invalid": error !== undefined, "aria-describedby": id + "-note", "aria-required": f.required, autoFocus: first, "data-autofocus": first || undefined };
  const example = s.examples?.[0];
  const hint = example === undefined ? undefined : typeof example === "string" ? example : JSON.stringify(example);
  if (f.kind === "boolean")
    return (
      <label className="field field-check">
        <input type="checkbox" {...common} checked={value === true} onChange={(e) => onChange(e.target.checked)} />
        <span>
          <span className="field-name">{s.title ?? f.name}</span>
          <span className="field-note" id={id + "-note"}>{s.description}</span>
        </span>
      </label>
    );
  const text = String(value);
  return (
    <label className="field" htmlFor={id}>
      <span className="field-name">
        {s.title ?? f.name}
        {!f.required && <span className="faint"> {t("start.optional")}</span>}
      </span>
      {f.kind === "choice" ? (
        <select {...common} value={text} onChange={(e) => onChange(e.target.value)}>
          {!f.required && <option value="">–</option>}
          {s.enum?.map((v) => <option key={JSON.stringify(v)} value={JSON.stringify(v)}>{typeof v === "string" ? v : JSON.stringify(v)}</option>)}
        </select>
      ) : f.kind === "text" || f.kind === "json" ? (
        <textarea {...common} rows={f.kind === "json" ? 4 : 5} className={f.kind === "json" ? "mono" : ""} placeholder={hint ?? (f.kind === "json" ? "{ }" : undefined)} value={text} onChange={(e) => onChange(e.target.value)} />
      ) : (
        <input {...common} type="text" inputMode={f.kind === "line" ? undefined : "decimal"} placeholder={hint} value={text} onChange={(e) => onChange(e.target.value)} autoComplete="off" />
      )}
      <span className={error ? "field-error" : "field-note"} id={id + "-note"} role={error ? "alert" : undefined}>{error ?? s.description}</span>
    </label>
  );
}

export function errorText(e: FieldError): string {
  if (typeof e === "string") return t(`field.${e}`);
  if ("min" in e) return t("field.min", { n: e.min });
  if ("max" in e) return t("field.max", { n: e.max });
  if ("minLength" in e) return t("field.minLength", { n: e.minLength });
  return t("field.maxLength", { n: e.maxLength });
}

function hash(s: string): string {
  let h = 2166136261;
  for (let i = 0; i < s.length; i++) h = Math.imul(h ^ s.charCodeAt(i), 16777619);
  return (h >>> 0).toString(36);
}
