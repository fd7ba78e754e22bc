/* One control for each shape of parameter. A field is controlled by its value; what is being typed and cannot be a value yet stays in
 * the field, with a sentence that says why. */
import { createContext, useContext, useEffect, useId, useLayoutEffect, useMemo, useRef, useState, type ReactNode } from "react";
import type { Json } from "../../api/types";
import { tools, type Tool } from "../../api/ops";
import type { ParamSchema } from "../../api/workflows";
import { Icon } from "../../ui/icons";
import { inline } from "../../ui/markdown";
import { blank, entriesOf, readAny, readNumber, resolve, showAny, showFree, splitTools, titleOf, typesOf, uiHint, variantFor, variantsOf, widgetOf, withTool, type Entry, type Widget } from "./fields";
import { readJson } from "./json-text";
import type { Ref } from "./refs";
import { w, type Key } from "./words";

export interface FormContext {
  problems: (path: readonly string[], deep: boolean) => string[];
  refs: (provides: readonly string[]) => Ref[];
  names: { [list: string]: string[] }; // profiles, agents, workflows: what a name may be
  onOpenBody?: () => void;
  bodyCount?: number;
  readOnly: boolean;
}
export const Form = createContext<FormContext>({ problems: () => [], refs: () => [], names: {}, readOnly: false });

export interface FieldProps {
  name: string;
  schema: ParamSchema;
  root: ParamSchema;
  path: readonly string[];
  value: Json | undefined;
  required?: boolean;
  onChange: (v: Json | undefined) => void;
  bare?: boolean; // inside of a list: the label is the item's
}

export function Field(p: FieldProps) {
  const s = useMemo(() => resolve(p.schema, p.root), [p.schema, p.root]);
  const kind = widgetOf(p.name, s);
  if (kind === "graph") return <BodyField {...p} schema={s} />;
  if (kind === "boolean") return <BooleanField {...p} schema={s} />;
  if (kind === "object") return <ObjectField {...p} schema={s} />;
  if (kind === "list") return <ListField {...p} schema={s} />;
  if (kind === "map") return <MapField {...p} schema={s} />;
  if (kind === "checks") return <ChecksField {...p} schema={s} />;
  if (kind === "tools") return <ToolsField {...p} schema={s} />;
  if (kind === "variants") return <VariantField {...p} schema={s} />;
  return <Labelled p={{ ...p, schema: s }} kind={kind}>{(a) => <Control p={{ ...p, schema: s }} kind={kind} a={a} />}</Labelled>;
}

// ---- the frame of a field: its name, what it takes, what is wrong with it ----

interface Aria {
  id: string;
  "aria-describedby": string;
  "aria-invalid": boolean;
  "aria-required": boolean;
  "data-field": string;
  insert: { current: ((code: string) => void) | null };
  bad: (why: string | null) => void;
}

function Labelled({ p, kind, children, group = false, onClear }: { p: FieldProps; kind: Widget; children: (a: Aria) => ReactNode; group?: boolean; onClear?: () => void }) {
  const form = useContext(Form);
  const id = useId();
  const [own, setOwn] = useState<string | null>(null);
  const insert = useRef<((code: string) => void) | null>(null);
  const said = form.problems(p.path, !group);
  const wrong = own ?? (said.length ? said.join(" ") : null);
  const refs = !listFor(p.name, p.schema) && kind !== "checks" && (kind === "text" || kind === "expr" || kind === "code" || kind === "any" || kind === "line");
  const a: Aria = { id, "aria-describedby": id + "-note", "aria-invalid": wrong !== null, "aria-required": p.required === true, "data-field": p.path.join("/"), insert, bad: setOwn };
  const note = p.schema.description;
  return (
    <div className={`f${wrong ? " is-bad" : ""}${group ? " f-group" : ""}`} role={group ? "group" : undefined} aria-labelledby={group ? id + "-name" : undefined}>
      {!p.bare && (
        <div className="f-head">
          <label className="f-name" htmlFor={group ? undefined : id} id={id + "-name"}>{titleOf(p.name, p.schema)}</label>
          {p.required && <span className="f-mark">{w("field.required")}</span>}
          {p.schema["x-expr"] && <span className="f-mark" title={w("field.expr.tip")}>λ {w("field.expr")}</span>}
          {p.schema["x-constant"] && p.path[0] === "params" && (kind === "line" || kind === "text" || kind === "number" || kind === "integer") && <span className="f-mark" title={w("field.constant.tip")}>{w("field.constant")}</span>}
          <span className="grow" />
          {refs && !p.schema["x-constant"] && !form.readOnly && <RefPicker provides={p.schema["x-provides"]} onPick={(code) => insert.current?.(code)} />}
          {onClear && p.value !== undefined && !p.required && <button type="button" className="f-x" aria-label={w("field.remove")} title={w("field.remove")} onClick={onClear}><Icon name="close" size={11} /></button>}
        </div>
      )}
      {group && !wrong && note && <span className="f-note" id={id + "-note"}>{inline(note)}</span>}
      {children(a)}
      {(!group || wrong) && <span className={wrong ? "f-error" : "f-note"} id={id + "-note"} role={wrong ? "alert" : undefined}>{inline(wrong ?? note ?? "")}</span>}
    </div>
  );
}

function placeholderOf(s: ParamSchema): string | undefined {
  if (s.default !== undefined && typeof s.default !== "object") return w("field.default", { v: String(s.default) });
  const e = s.examples?.[0];
  return e === undefined ? undefined : typeof e === "string" ? e : JSON.stringify(e);
}

function listFor(name: string, s: ParamSchema): string | null {
  const hint = uiHint(s);
  if (name === "voters") return "agents";
  for (const k of ["profile", "agent", "workflow", "tool"]) if (name === k || hint === k) return k + "s";
  return null;
}

function Control({ p, kind, a }: { p: FieldProps; kind: Widget; a: Aria }) {
  const form = useContext(Form);
  const { insert, bad, ...aria } = a;
  const s = p.schema;
  const off = form.readOnly;
  if (kind === "choice") {
    const list = s.enum ?? (s.const === undefined ? [] : [s.const as Json]);
    const strange = p.value !== undefined && !list.some((e) => JSON.stringify(e) === JSON.stringify(p.value));
    return (
      <select {...aria} disabled={off} value={p.value === undefined ? "" : JSON.stringify(p.value)} onChange={(e) => p.onChange(e.target.value === "" ? undefined : (JSON.parse(e.target.value) as Json))}>
        {(!p.required || p.value === undefined) && <option value="">{s.default !== undefined ? w("field.default", { v: String(s.default) }) : "–"}</option>}
        {strange && <option value={JSON.stringify(p.value)}>{showAny(p.value)}</option>}
        {list.map((v) => <option key={JSON.stringify(v)} value={JSON.stringify(v)}>{typeof v === "string" ? v : JSON.stringify(v)}</option>)}
      </select>
    );
  }
  if (kind === "number" || kind === "integer") return <NumberInput p={p} aria={aria} bad={bad} />;
  if (kind === "json") return <JsonInput value={p.value} aria={aria} bad={bad} onChange={p.onChange} />;
  if (kind === "line") {
    const list = listFor(p.name, s);
    return <LineInput value={typeof p.value === "string" ? p.value : showAny(p.value)} placeholder={placeholderOf(s)} aria={aria} insert={insert} options={list ? form.names[list] : undefined} onChange={(v) => p.onChange(v === "" && !p.required ? undefined : v)} />;
  }
  if (kind === "any" || (kind === "text" && p.value !== null && typeof p.value === "object")) return <FreeInput p={p} aria={aria} insert={insert} />;
  const code = kind === "code" || kind === "expr";
  return (
    <TextInput
      text={showAny(p.value)}
      mono={code}
      aria={aria}
      insert={insert}
      rows={kind === "expr" ? 1 : kind === "code" ? 5 : 3}
      wrap={code ? (c) => c : (c) => `{{ ${c} }}`}
      placeholder={placeholderOf(s)}
      onChange={(v) => p.onChange(v === "" && !p.required ? undefined : v)}
    />
  );
}

type AriaOnly = Omit<Aria, "insert" | "bad">;

function LineInput({ value, onChange, aria, insert, options, placeholder }: { value: string; onChange: (v: string) => void; aria: AriaOnly; insert: Aria["insert"]; options?: string[]; placeholder?: string }) {
  const form = useContext(Form);
  const ref = useRef<HTMLInputElement>(null);
  useEffect(() => {
    insert.current = (code) => onChange(spliced(ref.current, value, `{{ ${code} }}`));
  });
  const list = options?.length ? aria.id + "-list" : undefined;
  return (
    <>
      <input ref={ref} {...aria} type="text" list={list} readOnly={form.readOnly} autoComplete="off" spellCheck={false} placeholder={placeholder} value={value} onChange={(e) => onChange(e.target.value)} />
      {list && <datalist id={list}>{options!.map((o) => <option key={o} value={o} />)}</datalist>}
    </>
  );
}

/* What is typed may be no number yet; the value follows when it is one. */
function NumberInput({ p, aria, bad }: { p: FieldProps; aria: AriaOnly; bad: Aria["bad"] }) {
  const form = useContext(Form);
  const [text, setText] = useState<string | null>(null);
  const shown = showAny(p.value);
  const seen = useRef(shown);
  useEffect(() => {
    // Changed from outside (undo, JSON): what was typed is void.
    if (seen.current !== shown) {
      seen.current = shown;
      setText(null);
      bad(null);
    }
  }, [shown, bad]);
  return (
    <input
      {...aria}
      type="text"
      inputMode="decimal"
      autoComplete="off"
      readOnly={form.readOnly}
      className="num"
      placeholder={placeholderOf(p.schema)}
      value={text ?? shown}
      onChange={(e) => {
        const r = readNumber(e.target.value, p.schema);
        setText(e.target.value);
        if (!r.ok) return bad(w(("read." + r.why) as Key, { n: r.bound ?? 0 }));
        bad(null);
        seen.current = showAny(r.value);
        p.onChange(r.value);
      }}
      onBlur={() => text !== null && readNumber(text, p.schema).ok && setText(null)}
    />
  );
}

/* Any value. What one types stays as it was typed, so that JSON is not laid out anew under the fingers. */
function FreeInput({ p, aria, insert }: { p: FieldProps; aria: AriaOnly; insert: Aria["insert"] }) {
  const [typed, setTyped] = useState<string | null>(null);
  const shown = showFree(p.value);
  const seen = useRef(shown);
  useEffect(() => {
    if (seen.current === shown) return;
    seen.current = shown;
    setTyped(null);
  }, [shown]);
  const change = (text: string) => {
    const v = readAny(text);
    setTyped(text);
    seen.current = showFree(v);
    p.onChange(v);
  };
  return <TextInput text={typed ?? shown} mono={typeof p.value === "object"} aria={aria} insert={insert} wrap={(c) => `{{ ${c} }}`} rows={p.bare ? 1 : 2} placeholder={placeholderOf(p.schema)} onChange={change} />;
}

export function JsonInput({ value, onChange, aria, bad, rows = 4 }: { value: Json | undefined; onChange: (v: Json | undefined) => void; aria: AriaOnly; bad: (why: string | null) => void; rows?: number }) {
  const form = useContext(Form);
  const [text, setText] = useState<string | null>(null);
  const shown = value === undefined ? "" : JSON.stringify(value, null, 2);
  const seen = useRef(shown);
  useEffect(() => {
    if (seen.current !== shown) {
      seen.current = shown;
      setText(null);
      bad(null);
    }
  }, [shown, bad]);
  const t = text ?? shown;
  return (
    <textarea
      {...aria}
      className="mono f-code"
      spellCheck={false}
      readOnly={form.readOnly}
      rows={Math.min(18, Math.max(rows, t.split("\n").length))}
      placeholder="{ }"
      value={t}
      onChange={(e) => {
        const v = e.target.value;
        setText(v);
        if (v.trim() === "") {
          bad(null);
          seen.current = "";
          return onChange(undefined);
        }
        // A template alone stands for a value that is known later.
        if (/^\{\{[\s\S]*\}\}$/.test(v.trim())) {
          bad(null);
          seen.current = JSON.stringify(v.trim());
          return onChange(v.trim());
        }
        const r = readJson(v);
        if (!r.ok) return bad(jsonWhy(r, "field"));
        bad(null);
        seen.current = JSON.stringify(r.value, null, 2);
        onChange(r.value);
      }}
    />
  );
}

export function jsonWhy(r: { at: { line: number; column: number }; expected: string }, where: "field" | "view"): string {
  const known = ["value", "text", "end-of-text", "end", "unique", "depth"].includes(r.expected);
  const why = known ? w(("json.bad." + r.expected) as Key) : w("json.bad.char", { c: r.expected.split(" ").join(" / ") });
  return where === "field" ? w("field.json.bad", { line: r.at.line, why }) : w("json.bad", { line: r.at.line, column: r.at.column, why });
}

function spliced(el: HTMLInputElement | HTMLTextAreaElement | null, text: string, piece: string): string {
  const a = el?.selectionStart ?? text.length;
  const z = el?.selectionEnd ?? text.length;
  if (el)
    requestAnimationFrame(() => {
      el.focus();
      el.setSelectionRange(a + piece.length, a + piece.length);
    });
  return text.slice(0, a) + piece + text.slice(z);
}

export function TextInput({ text, onChange, aria, insert, mono, rows, wrap, placeholder }: { text: string; onChange: (v: string) => void; aria: AriaOnly; insert: Aria["insert"]; mono: boolean; rows: number; wrap: (code: string) => string; placeholder?: string }) {
  const form = useContext(Form);
  const ref = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    insert.current = (code) => onChange(spliced(ref.current, text, wrap(code)));
  });
  // As tall as its text, up to a bound; then it scrolls.
  useLayoutEffect(() => {
    const el = ref.current;
    if (!el) return;
    el.style.height = "auto";
    el.style.height = Math.min(420, el.scrollHeight + 2) + "px";
  }, [text]);
  return <textarea ref={ref} {...aria} className={mono ? "mono f-code" : "f-prose"} rows={rows} spellCheck={!mono} readOnly={form.readOnly} placeholder={placeholder} value={text} onChange={(e) => onChange(e.target.value)} />;
}

// ---- references ----

const NONE: readonly string[] = [];

export function RefPicker({ onPick, provides = NONE }: { onPick: (code: string) => void; provides?: readonly string[] }) {
  const form = useContext(Form);
  const [open, setOpen] = useState(false);
  const [q, setQ] = useState("");
  const [at, setAt] = useState(0);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const away = (e: PointerEvent) => !root.current?.contains(e.target as Node) && setOpen(false);
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [open]);
  const found = !open ? [] : form.refs(provides).filter((r) => (r.code + " " + r.from).toLowerCase().includes(q.toLowerCase()));
  const pick = (r: Ref | undefined) => {
    if (!r) return;
    setOpen(false);
    onPick(r.code);
  };
  return (
    <div className="refs" ref={root}>
      <button type="button" className="f-ref mono" aria-haspopup="dialog" aria-expanded={open} aria-label={w("field.refs")} title={w("field.refs")} onClick={() => (setOpen(!open), setQ(""), setAt(0))}>
        {"{ }"}
      </button>
      {open && (
        <div className="refs-pop" role="dialog" aria-label={w("field.refs")}>
          <input
            type="search"
            autoFocus
            role="combobox"
            aria-expanded="true"
            aria-controls="refs-list"
            aria-label={w("field.refs.search")}
            placeholder={w("field.refs.search")}
            value={q}
            onChange={(e) => (setQ(e.target.value), setAt(0))}
            onKeyDown={(e) => {
              if (e.key === "Escape") {
                e.stopPropagation();
                setOpen(false);
                root.current?.querySelector<HTMLElement>("button")?.focus();
              } else if (e.key === "ArrowDown") setAt((n) => Math.min(found.length - 1, n + 1));
              else if (e.key === "ArrowUp") setAt((n) => Math.max(0, n - 1));
              else if (e.key === "Enter") pick(found[at]);
              else return;
              e.preventDefault();
            }}
          />
          <ul role="listbox" id="refs-list" className="refs-list">
            {found.length === 0 && <li className="faint">{w("field.refs.none")}</li>}
            {found.map((r, i) => (
              <li key={r.code}>
                <button type="button" role="option" tabIndex={-1} aria-selected={i === at} onMouseEnter={() => setAt(i)} onClick={() => pick(r)} ref={i === at ? (el) => void el?.scrollIntoView({ block: "nearest" }) : undefined}>
                  <span className="mono">{r.code}</span>
                  <span className="faint">{r.from}</span>
                </button>
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  );
}

// ---- shapes made of others ----

function BooleanField(p: FieldProps) {
  const form = useContext(Form);
  const id = useId();
  const said = form.problems(p.path, true);
  // A template may stand here as well; it is edited as text then.
  if (typeof p.value === "string") return <Labelled p={p} kind="any">{(a) => <Control p={p} kind="any" a={a} />}</Labelled>;
  const on = p.value === undefined ? p.schema.default === true : p.value === true;
  return (
    <div className="f f-bool">
      <input type="checkbox" id={id} data-field={p.path.join("/")} disabled={form.readOnly} checked={on} aria-describedby={id + "-note"} onChange={(e) => p.onChange(e.target.checked === (p.schema.default ?? false) && !p.required ? undefined : e.target.checked)} />
      <div>
        <label className="f-name" htmlFor={id}>{titleOf(p.name, p.schema)}</label>
        <span className={said.length ? "f-error" : "f-note"} id={id + "-note"}>{inline(said.join(" ") || (p.schema.description ?? ""))}</span>
      </div>
    </div>
  );
}

const isObject = (v: Json | undefined): v is { [key: string]: Json } => v !== null && typeof v === "object" && !Array.isArray(v);

function ObjectField(p: FieldProps) {
  const form = useContext(Form);
  const entries = useMemo(() => entriesOf({ ...p.schema, $defs: p.root.$defs }), [p.schema, p.root]);
  const v = isObject(p.value) ? p.value : undefined;
  if (p.value !== undefined && !v) return <Labelled p={p} kind="any">{(a) => <Control p={p} kind="any" a={a} />}</Labelled>;
  if (!v && !p.required && !p.bare)
    return (
      <Labelled p={p} kind="object" group>
        {() => !form.readOnly && <button type="button" className="f-add" data-field={p.path.join("/")} onClick={() => p.onChange(blank(p.schema, p.root))}><Icon name="plus" size={12} />{w("field.add")}</button>}
      </Labelled>
    );
  const set = (k: string, x: Json | undefined) => {
    const next = { ...(v ?? {}) };
    if (x === undefined) delete next[k];
    else next[k] = x;
    p.onChange(next);
  };
  return (
    <Labelled p={p} kind="object" group onClear={form.readOnly ? undefined : () => p.onChange(undefined)}>
      {() => (
        <div className={p.bare ? "f-members" : "f-members f-inset"}>
          {entries.map((e) => <Field key={e.name} name={e.name} schema={e.schema} root={p.root} path={[...p.path, e.name]} value={v?.[e.name]} required={e.required} onChange={(x) => set(e.name, x)} />)}
        </div>
      )}
    </Labelled>
  );
}

function ListField(p: FieldProps) {
  const form = useContext(Form);
  const item = p.schema.items ? resolve(p.schema.items, p.root) : {};
  if (p.value !== undefined && !Array.isArray(p.value)) return <Labelled p={p} kind="any">{(a) => <Control p={p} kind="any" a={a} />}</Labelled>;
  const list = Array.isArray(p.value) ? p.value : [];
  const simple = ["line", "number", "integer", "choice", "any"].includes(widgetOf("", item));
  const set = (next: Json[]) => p.onChange(next.length === 0 && !p.required ? undefined : next);
  const swap = (i: number, k: number) => {
    const next = [...list];
    [next[i], next[k]] = [next[k]!, next[i]!];
    set(next);
  };
  const full = p.schema.maxItems !== undefined && list.length >= p.schema.maxItems;
  return (
    <Labelled p={p} kind="list" group>
      {() => (
        <div className="f-list">
          {list.map((v, i) => (
            <div key={i} className={simple ? "f-row" : "f-card"}>
              {!simple && <span className="f-item-name">{w("field.item", { n: i + 1 })}</span>}
              <div className="f-item"><Field bare name={p.name} schema={p.schema.items ?? {}} root={p.root} path={[...p.path, String(i)]} value={v} required onChange={(x) => set(list.map((o, k) => (k === i ? (x ?? blank(item, p.root)) : o)))} /></div>
              {!form.readOnly && (
                <span className="f-tools">
                  {!simple && i > 0 && <button type="button" className="f-x flip-up" aria-label={w("field.up")} title={w("field.up")} onClick={() => swap(i, i - 1)}><Icon name="down" size={11} className="flip" /></button>}
                  {!simple && i < list.length - 1 && <button type="button" className="f-x" aria-label={w("field.down")} title={w("field.down")} onClick={() => swap(i, i + 1)}><Icon name="down" size={11} /></button>}
                  <button type="button" className="f-x" aria-label={w("field.remove")} title={w("field.remove")} onClick={() => set(list.filter((_, k) => k !== i))}><Icon name="close" size={11} /></button>
                </span>
              )}
            </div>
          ))}
          {!full && !form.readOnly && <button type="button" className="f-add" data-field={p.path.join("/")} onClick={() => set([...list, blank(p.schema.items ?? {}, p.root)])}><Icon name="plus" size={12} />{w("field.add")}</button>}
        </div>
      )}
    </Labelled>
  );
}

/* Some of a few. */
function ChecksField(p: FieldProps) {
  const form = useContext(Form);
  const list = Array.isArray(p.value) ? p.value : [];
  if (p.value !== undefined && !Array.isArray(p.value)) return <Labelled p={p} kind="any">{(a) => <Control p={p} kind="any" a={a} />}</Labelled>;
  const all = p.schema.items?.enum ?? [];
  const has = (v: Json) => list.some((x) => JSON.stringify(x) === JSON.stringify(v));
  return (
    <Labelled p={p} kind="checks" group>
      {() => (
        <div className="f-checks">
          {all.map((v, i) => (
            <label key={i} className="f-check">
              <input type="checkbox" disabled={form.readOnly} checked={has(v)} data-field={i === 0 ? p.path.join("/") : undefined} onChange={() => {
                const next = all.filter((x) => (JSON.stringify(x) === JSON.stringify(v) ? !has(x) : has(x)));
                p.onChange(next.length || p.required ? next : undefined);
              }} />
              {String(v)}
            </label>
          ))}
        </div>
      )}
    </Labelled>
  );
}

/* Tools of the server by their names, stored workflows among them, and functions of one's own. */
function ToolsField(p: FieldProps) {
  const form = useContext(Form);
  const all = useTools();
  if (p.value !== undefined && !Array.isArray(p.value)) return <Labelled p={p} kind="any">{(a) => <Control p={p} kind="any" a={a} />}</Labelled>;
  const { names, functions } = splitTools(p.value);
  const own = typesOf(p.schema.items ?? {}).includes("object");
  const set = (next: Json[]) => p.onChange(next.length || p.required ? next : undefined);
  const known = all.filter((t) => !t.name.startsWith("workflow:"));
  const strange = names.filter((n) => !known.some((t) => t.name === n));
  const flows = (form.names["workflows"] ?? []).filter((n) => !names.includes("workflow:" + n));
  return (
    <Labelled p={p} kind="tools" group>
      {({ insert: _i, bad, ...a }) => (
        <div className="f-checks f-tools-list" data-testid="tools-field">
          {known.map((t, i) => (
            <label key={t.name} className="f-check" title={t.description}>
              <input type="checkbox" disabled={form.readOnly || (!t.available && !names.includes(t.name))} checked={names.includes(t.name)} data-field={i === 0 ? p.path.join("/") : undefined} onChange={(e) => set(withTool(p.value, t.name, e.target.checked))} />
              <span className="mono">{t.name}</span>
              {!t.available ? <span className="faint">{t.reason}</span> : t.default === "off" && <span className="faint">{w("tools.off")}</span>}
            </label>
          ))}
          {strange.map((n) => (
            <label key={n} className="f-check">
              <input type="checkbox" disabled={form.readOnly} checked onChange={() => set(withTool(p.value, n, false))} />
              <span className="mono">{n}</span>
            </label>
          ))}
          {!form.readOnly && flows.length > 0 && (
            <select aria-label={w("tools.workflow")} value="" onChange={(e) => e.target.value && set(withTool(p.value, "workflow:" + e.target.value, true))}>
              <option value="">{w("tools.workflow")}</option>
              {flows.map((n) => <option key={n} value={n}>{n}</option>)}
            </select>
          )}
          {own && (
            <details className="f-functions" open={functions.length > 0}>
              <summary>{w("tools.functions")}</summary>
              <JsonInput value={functions.length ? functions : undefined} aria={{ ...a, "data-field": p.path.join("/") + "/functions" }} bad={bad} onChange={(v) => (v === undefined ? set(names) : Array.isArray(v) ? set([...names, ...v]) : bad(w("tools.functions.list")))} />
            </details>
          )}
        </div>
      )}
    </Labelled>
  );
}

let toolList: Promise<Tool[]> | null = null;

/* Asked for once a page. A list that cannot be had leaves the names that are there. */
function useTools(): Tool[] {
  const [all, setAll] = useState<Tool[]>([]);
  useEffect(() => {
    let on = true;
    toolList ??= tools().then((r) => r.items, () => ((toolList = null), []));
    void toolList.then((items) => on && setAll(items));
    return () => {
      on = false;
    };
  }, []);
  return all;
}

/* Names chosen freely, values of one kind. */
export function MapField(p: FieldProps) {
  const form = useContext(Form);
  const values = typeof p.schema.additionalProperties === "object" ? p.schema.additionalProperties : {};
  if (p.value !== undefined && !isObject(p.value)) return <Labelled p={p} kind="any">{(a) => <Control p={p} kind="any" a={a} />}</Labelled>;
  const entries = Object.entries(isObject(p.value) ? p.value : {});
  const set = (next: [string, Json][]) => p.onChange(next.length || p.required ? Object.fromEntries(next) : undefined);
  return (
    <Labelled p={p} kind="map" group>
      {() => (
        <div className="f-list">
          {entries.map(([k, v], i) => (
            <div key={i} className="f-row f-pair">
              <KeyInput value={k} taken={entries.map(([x]) => x)} onChange={(n) => set(entries.map(([x, y], at) => (at === i ? [n, y] : [x, y])))} />
              <div className="f-item"><Field bare name="value" schema={values} root={p.root} path={[...p.path, k]} value={v} required onChange={(x) => set(entries.map(([a, b], at) => (at === i ? [a, x ?? ""] : [a, b])))} /></div>
              {!form.readOnly && <button type="button" className="f-x" aria-label={w("field.remove")} title={w("field.remove")} onClick={() => set(entries.filter((_, at) => at !== i))}><Icon name="close" size={11} /></button>}
            </div>
          ))}
          {!form.readOnly && <button type="button" className="f-add" data-field={p.path.join("/")} onClick={() => set([...entries, [freeKey(entries.map(([k]) => k)), blank(values, p.root)]])}><Icon name="plus" size={12} />{w("field.add")}</button>}
        </div>
      )}
    </Labelled>
  );
}

export function freeKey(taken: string[], stem = "name"): string {
  if (!taken.includes(stem)) return stem;
  for (let i = 2; ; i++) if (!taken.includes(stem + i)) return stem + i;
}

/* A name takes effect when it is left, so that half-typed ones do not collide. */
export function KeyInput({ value, taken, onChange, label = w("field.key"), testId }: { value: string; taken: string[]; onChange: (v: string) => void; label?: string; testId?: string }) {
  const form = useContext(Form);
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const done = () => {
    const t = text.trim();
    if (t === value) return;
    if (t === "" || taken.includes(t)) setText(value);
    else onChange(t);
  };
  return <input type="text" className="mono f-key" aria-label={label} readOnly={form.readOnly} autoComplete="off" spellCheck={false} value={text} data-testid={testId} onChange={(e) => setText(e.target.value)} onBlur={done} onKeyDown={(e) => e.key === "Enter" && done()} />;
}

function VariantField(p: FieldProps) {
  const form = useContext(Form);
  const list = useMemo(() => variantsOf(p.schema, p.root), [p.schema, p.root]);
  const chosen = variantFor(p.value, list);
  const plain = chosen && chosen.fixed === undefined;
  return (
    <Labelled p={p} kind="variants" group={false}>
      {({ insert: _i, bad: _b, ...a }) => (
        <div className="f-variant">
          <select
            {...a}
            disabled={form.readOnly}
            value={chosen?.id ?? (p.value === undefined ? "" : "?")}
            onChange={(e) => {
              const v = list.find((x) => x.id === e.target.value);
              p.onChange(!v ? undefined : v.fixed !== undefined ? v.fixed : blank(v.schema, p.root));
            }}
          >
            {(!p.required || p.value === undefined) && <option value="">{p.schema.default !== undefined ? w("field.default", { v: showAny(p.schema.default) }) : w("field.unset")}</option>}
            {p.value !== undefined && !chosen && <option value="?">{showAny(p.value).slice(0, 40)}</option>}
            {list.map((v) => <option key={v.id} value={v.id}>{v.label}</option>)}
          </select>
          {plain && <Field bare name={p.name} schema={chosen.schema} root={p.root} path={p.path} value={p.value} required onChange={p.onChange} />}
        </div>
      )}
    </Labelled>
  );
}

function BodyField(p: FieldProps) {
  const form = useContext(Form);
  return (
    <Labelled p={p} kind="graph" group>
      {() => (
        <button type="button" className="f-body" data-field={p.path.join("/")} onClick={form.onOpenBody}>
          <Icon name="workflows" size={15} />
          <span>{w("field.body.open")}</span>
          <span className="faint num">{form.bodyCount ?? 0}</span>
          <Icon name="chevronRight" size={12} />
        </button>
      )}
    </Labelled>
  );
}

/* The settings people nearly always set stand open; the rest is one fold away, and open once it says something. */
const OFTEN = /^(profile|agent|system|prompt|query|question|content|text|expr|code|url|method|headers|cases|default|wait|merge|items|body|until|exit_on_score|voters|kind|draft|instructions|sources|workflow|inputs|server|tool|tools|arguments|payload|signal|seconds|response_format)$/;

export function splitEntries(entries: Entry[], value: { [key: string]: Json }): { open: Entry[]; folded: Entry[] } {
  if (entries.length <= 6) return { open: entries, folded: [] };
  const open = entries.filter((e) => e.required || OFTEN.test(e.name));
  return { open, folded: entries.filter((e) => !open.includes(e)).sort((a, b) => Number(value[b.name] !== undefined) - Number(value[a.name] !== undefined)) };
}

export function Folded({ entries, value, children }: { entries: Entry[]; value: { [key: string]: Json }; children: (e: Entry) => ReactNode }) {
  const used = entries.some((e) => value[e.name] !== undefined);
  const form = useContext(Form);
  const wrong = entries.some((e) => form.problems(["params", e.name], true).length > 0);
  const [open, setOpen] = useState(used);
  if (!entries.length) return null;
  const shown = open || wrong;
  return (
    <div className="f-fold">
      <button type="button" className="f-fold-head" aria-expanded={shown} onClick={() => setOpen(!shown)}>
        <Icon name={shown ? "chevronDown" : "chevronRight"} size={11} />
        {w("field.more", { n: entries.length })}
      </button>
      {shown && entries.map(children)}
    </div>
  );
}

export function Note({ children }: { children: ReactNode }) {
  return <p className="f-lead">{children}</p>;
}

