/* Pieces of the pages that keep lists and forms: loading with its states, fields, a question before something is lost, a page with
 * nothing on it yet. */
import { useCallback, useEffect, useId, useRef, useState, type ReactNode } from "react";
import { ApiError } from "../api/client";
import { t } from "../i18n";
import { Button, Code, Dialog, Problem, Skeleton } from "./controls";
import { Icon, type IconName } from "./icons";

export interface Trouble {
  message: string;
  code: string;
  requestId: string | null;
  status: number;
  fields: { pointer: string; message: string }[];
}

export function troubleOf(e: unknown): Trouble {
  if (e instanceof ApiError) return { message: e.message + (e.retryAfterS ? " " + t("retry.after", { s: e.retryAfterS }) : ""), code: e.code, requestId: e.requestId, status: e.status, fields: e.fields };
  return { message: e instanceof Error ? e.message : String(e), code: "", requestId: null, status: 0, fields: [] };
}

export interface Loaded<T> {
  data: T | null;
  trouble: Trouble | null;
  busy: boolean;
  reload: () => void;
  set: (f: (now: T) => T) => void;
}

/* Asks again every `everyMs` while the page is looked at; what is shown stays until the new answer is there. */
export function useLoad<T>(fn: (abort: AbortSignal) => Promise<T>, key: string, everyMs = 0): Loaded<T> {
  const [data, setData] = useState<T | null>(null);
  const [trouble, setTrouble] = useState<Trouble | null>(null);
  const [busy, setBusy] = useState(true);
  const [turn, setTurn] = useState(0);
  const latest = useRef(fn);
  useEffect(() => {
    latest.current = fn;
  });
  const shownFor = useRef(key);
  useEffect(() => {
    const abort = new AbortController();
    if (shownFor.current !== key) {
      shownFor.current = key;
      setData(null);
    }
    setBusy(true);
    latest.current(abort.signal).then(
      (d) => {
        if (abort.signal.aborted) return;
        setData(d);
        setTrouble(null);
        setBusy(false);
      },
      (e: unknown) => {
        if (abort.signal.aborted) return;
        setTrouble(troubleOf(e));
        setBusy(false);
      },
    );
    return () => abort.abort();
  }, [key, turn]);
  const reload = useCallback(() => setTurn((n) => n + 1), []);
  useEffect(() => {
    if (!everyMs) return;
    const id = setInterval(() => document.visibilityState === "visible" && reload(), everyMs);
    return () => clearInterval(id);
  }, [everyMs, reload]);
  const set = useCallback((f: (now: T) => T) => setData((d) => (d === null ? d : f(d))), []);
  return { data, trouble, busy, reload, set };
}

/* Loading, failed, or what there is. An answer that was there before stays in place under the notice. */
export function Show<T>({ from, title, rows = 6, children }: { from: Loaded<T>; title: string; rows?: number; children: (data: T) => ReactNode }) {
  return (
    <>
      {from.trouble && <Problem title={title} detail={from.trouble.message} code={from.trouble.code} requestId={from.trouble.requestId} onRetry={from.reload} />}
      {from.data !== null ? children(from.data) : from.trouble ? null : <div className="card"><Skeleton rows={rows} /></div>}
    </>
  );
}

/* A change under way: its button is busy, its failure is told where it was asked for. */
export function useTask(): { busy: string | null; trouble: Trouble | null; run: (name: string, fn: () => Promise<unknown>) => Promise<boolean>; clear: () => void; refuse: (t: Trouble) => void } {
  const [busy, setBusy] = useState<string | null>(null);
  const [trouble, setTrouble] = useState<Trouble | null>(null);
  const run = useCallback(async (name: string, fn: () => Promise<unknown>) => {
    setBusy(name);
    setTrouble(null);
    try {
      await fn();
      setBusy(null);
      return true;
    } catch (e) {
      setBusy(null);
      setTrouble(troubleOf(e));
      return false;
    }
  }, []);
  return { busy, trouble, run, clear: useCallback(() => setTrouble(null), []), refuse: setTrouble };
}

export function TroubleNote({ of, title }: { of: Trouble | null; title: string }) {
  if (!of) return null;
  const rest = of.fields.map((f) => `${f.pointer || "/"} ${f.message}`).join("; ");
  return <Problem title={title} detail={rest && !of.message.includes(rest) ? `${of.message} ${rest}` : of.message} code={of.code} requestId={of.requestId} />;
}

export function Confirm({ title, body, yes, busy, trouble, onYes, onClose, testId, children }: { title: string; body?: string; yes: string; busy?: boolean; trouble?: Trouble | null; onYes: () => void; onClose: () => void; testId?: string; children?: ReactNode }) {
  return (
    <Dialog title={title} onClose={onClose} alert>
      <div className="dialog-body">
        {body && <p>{body}</p>}
        {children}
        <TroubleNote of={trouble ?? null} title={title} />
        <footer className="dialog-foot">
          <span className="grow" />
          <Button onClick={onClose} autoFocus>{t("cancel.dismiss")}</Button>
          <Button kind="danger" busy={busy} onClick={onYes} testId={testId}>{yes}</Button>
        </footer>
      </div>
    </Dialog>
  );
}

/* What an area is, one thing to do, one line to copy. */
export function EmptyPage({ icon, title, body, code, children }: { icon: IconName; title: string; body: string; code?: string; children?: ReactNode }) {
  return (
    <div className="empty" data-testid="empty">
      <span className="empty-icon"><Icon name={icon} size={26} /></span>
      <h2>{title}</h2>
      <p>{body}</p>
      {children}
      {code && <Code text={code} label={t("copy")} />}
    </div>
  );
}

interface FieldFrame {
  label: string;
  note?: string;
  error?: string;
  optional?: boolean;
}

function Frame({ label, note, error, optional, children }: FieldFrame & { children: (id: string, noteId: string) => ReactNode }) {
  const id = useId();
  return (
    <div className="field">
      <label className="field-name" htmlFor={id}>
        {label}
        {optional && <span className="faint"> {t("start.optional")}</span>}
      </label>
      {children(id, id + "n")}
      <span className={error ? "field-error" : "field-note"} id={id + "n"} role={error ? "alert" : undefined}>{error ?? note}</span>
    </div>
  );
}

export function TextField({ value, onChange, rows, mono, name, placeholder, autoFocus, disabled, type = "text", ...frame }: FieldFrame & { value: string; onChange: (v: string) => void; rows?: number; mono?: boolean; name?: string; placeholder?: string; autoFocus?: boolean; disabled?: boolean; type?: "text" | "password" | "number" | "datetime-local" }) {
  return (
    <Frame {...frame}>
      {(id, noteId) => {
        const common = { id, name, value, placeholder, autoFocus, "data-autofocus": autoFocus || undefined, disabled, className: mono ? "mono" : undefined, "aria-invalid": frame.error !== undefined, "aria-describedby": noteId, spellCheck: !mono };
        return rows ? <textarea {...common} rows={rows} onChange={(e) => onChange(e.target.value)} /> : <input {...common} type={type === "number" ? "text" : type} inputMode={type === "number" ? "decimal" : undefined} autoComplete="off" onChange={(e) => onChange(e.target.value)} />;
      }}
    </Frame>
  );
}

export function SelectField({ value, onChange, options, name, ...frame }: FieldFrame & { value: string; onChange: (v: string) => void; options: { value: string; label: string; disabled?: boolean }[]; name?: string }) {
  return (
    <Frame {...frame}>
      {(id, noteId) => (
        <select id={id} name={name} value={value} aria-describedby={noteId} onChange={(e) => onChange(e.target.value)}>
          {options.map((o) => <option key={o.value} value={o.value} disabled={o.disabled}>{o.label}</option>)}
        </select>
      )}
    </Frame>
  );
}

export function CheckField({ label, note, checked, onChange, name }: { label: string; note?: string; checked: boolean; onChange: (v: boolean) => void; name?: string }) {
  return (
    <label className="field field-check">
      <input type="checkbox" name={name} checked={checked} onChange={(e) => onChange(e.target.checked)} />
      <span>
        <span className="field-name">{label}</span>
        {note && <span className="field-note">{note}</span>}
      </span>
    </label>
  );
}

/* Shows at most `page` rows at first, more on demand: a long list costs only what is looked at. */
export function useMore<T>(items: readonly T[], page = 100): { shown: readonly T[]; left: number; more: () => void } {
  const [n, setN] = useState(page);
  return { shown: items.length > n ? items.slice(0, n) : items, left: Math.max(0, items.length - n), more: () => setN((v) => v + page) };
}
