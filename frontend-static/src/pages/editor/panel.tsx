/* The right side: what is selected, as a form. Nothing selected: the workflow itself. */
import { useCallback, useEffect, useMemo, useState, type ReactNode } from "react";
import type { Definition, GraphEdge, GraphNode, Json, JsonSchema } from "../../api/types";
import type { ParamSchema } from "../../api/workflows";
import { useStore } from "../../state/store";
import { Button, Tabs } from "../../ui/controls";
import { Icon, kindIcon } from "../../ui/icons";
import { EstimateSection } from "./estimate";
import { entriesOf, titleOf } from "./fields";
import { Field, Folded, Form, freeKey, JsonInput, KeyInput, Note, RefPicker, splitEntries, TextInput, type FormContext } from "./form";
import { kindOf } from "./kinds";
import { bodyOf, casesOf, countNodes, edgeKey, followCases, graphAt, ID, nodeAt, remove, rename, setEdge, setMember, setNode, setParam, type Scope } from "./model";
import { references } from "./refs";
import type { EditorStore, Problem } from "./store";
import { w } from "./words";

export interface PanelProps {
  store: EditorStore;
  problems: readonly Problem[];
  names: FormContext["names"];
  readOnly: boolean;
  focus: { path: string; n: number } | null; // a field to go to
  onOpen: (id: string) => void;
}

export function Panel(p: PanelProps) {
  const s = useStore(p.store.state);
  const def = s.history.now.value;
  const g = graphAt(def, s.scope);
  const one = s.nodes.size === 1 && s.edges.size === 0 ? nodeAt(g, [...s.nodes][0]!) : undefined;
  const edge = s.edges.size === 1 && s.nodes.size === 0 ? g?.edges?.find((e) => s.edges.has(edgeKey(e))) : undefined;
  if (one) return <NodePanel key={s.scope.join("/") + "/" + one.id} {...p} def={def} scope={s.scope} node={one} />;
  if (edge) return <EdgePanel {...p} def={def} scope={s.scope} edge={edge} />;
  if (s.nodes.size + s.edges.size > 1)
    return (
      <div className="ed-panel-in">
        <header className="ed-panel-head"><h2>{w("panel.many", { n: s.nodes.size + s.edges.size })}</h2></header>
        <div className="ed-panel-body"><Note>{w("panel.many.body")}</Note></div>
      </div>
    );
  return <DocumentPanel {...p} def={def} />;
}

const under = (rest: readonly string[], path: readonly string[]) => path.every((x, i) => rest[i] === x);

function problemsOf(list: readonly Problem[], mine: (p: Problem) => boolean) {
  const own = list.filter(mine);
  return (path: readonly string[], deep: boolean) => own.filter((x) => under(x.place.rest, path) && (deep || x.place.rest.length === path.length)).map((x) => x.message);
}

/* A wish to go to a field. It is granted once: the panel of the next node that is looked at must not take the keyboard away again. */
let asked = 0;
let granted = 0;
export const askFocus = (path: string) => ({ path, n: ++asked });

function useFocus(focus: PanelProps["focus"], pick: (path: string) => void) {
  useEffect(() => {
    if (!focus || focus.n <= granted) return;
    pick(focus.path);
    const id = setTimeout(() => {
      granted = focus.n;
      const fields = [...document.querySelectorAll<HTMLElement>(".ed-panel [data-field]")];
      const at = (path: string) => fields.find((f) => f.dataset["field"] === path);
      let path = focus.path;
      let el = at(path);
      while (!el && path.includes("/")) {
        path = path.slice(0, path.lastIndexOf("/"));
        el = at(path);
      }
      el ??= focus.path === "" ? document.querySelector<HTMLElement>(".ed-panel-body [data-field]") ?? undefined : undefined;
      el?.focus();
      el?.scrollIntoView({ block: "nearest" });
    }, 60);
    return () => clearTimeout(id);
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [focus?.n]);
}

const COMMON = ["when", "timeout_s", "retry", "on_error", "fallback", "cache"];

/* The words change with the language, so it is made anew each time. */
const commonSchemas = (): { [key: string]: ParamSchema } => ({
  when: { type: "string", "x-expr": "value", title: w("common.when"), description: w("common.when.d") },
  timeout_s: { type: "number", exclusiveMinimum: 0, maximum: 4000000, "x-constant": true, title: w("common.timeout"), description: w("common.timeout.d") },
  retry: {
    type: "object", title: w("common.retry"), description: w("common.retry.d"),
    properties: {
      max: { type: "integer", minimum: 0, maximum: 20, default: 3, "x-constant": true, title: w("common.retry.max") },
      backoff_ms: { type: "integer", minimum: 0, maximum: 3600000, default: 500, "x-constant": true, title: w("common.retry.backoff") },
      factor: { type: "number", minimum: 1, maximum: 10, default: 2, "x-constant": true, title: w("common.retry.factor") },
      max_backoff_ms: { type: "integer", minimum: 0, maximum: 3600000, default: 30000, "x-constant": true, title: w("common.retry.most") },
      jitter: { type: "boolean", default: true, title: w("common.retry.jitter") },
    },
  },
  on_error: { type: "string", enum: ["fail", "continue", "fallback"], default: "fail", title: w("common.onerror"), description: w("common.onerror.d") },
  fallback: { title: w("common.fallback"), description: w("common.fallback.d") },
  cache: {
    type: "object", required: ["ttl_s"], title: w("common.cache"), description: w("common.cache.d"),
    properties: {
      ttl_s: { type: "integer", minimum: 1, maximum: 31622400, default: 1800, "x-constant": true, title: w("common.cache.ttl") },
      key: { type: "string", title: w("common.cache.key"), description: w("common.cache.key.d") },
    },
  },
});

function NodePanel({ store, def, scope, node, problems, names, readOnly, focus, onOpen }: PanelProps & { def: Definition; scope: Scope; node: GraphNode }) {
  const type = store.types.get(node.type);
  const schema = type?.params_schema;
  const entries = useMemo(() => entriesOf(schema), [schema]);
  const params = (node.params ?? {}) as { [key: string]: Json };
  const { open, folded } = splitEntries(entries, params);
  const [tab, setTab] = useState<"params" | "behaviour">("params");
  useFocus(focus, (path) => setTab(COMMON.includes(path.split("/")[0]!) ? "behaviour" : "params"));
  const mine = (p: Problem) => p.place.node === node.id && p.place.scope.join("/") === scope.join("/");
  const find = problemsOf(problems, mine);
  // What belongs to no field is said at the top.
  const general = problems.filter((p) => mine(p) && (p.place.rest.length === 0 || p.place.rest[0] === "type" || (p.place.rest[0] === "params" && (p.place.rest.length === 1 || !entries.some((e) => e.name === p.place.rest[1])))));
  const behaviours = problems.filter((p) => mine(p) && COMMON.includes(p.place.rest[0] ?? "")).length;
  const label = node.name || node.id;
  const edit = (next: GraphNode, field: string, tag: string) => store.edit(setNode(store.def, scope, node.id, () => next), w("did.param", { field, name: label }), { tag: `${scope.join("/")}/${node.id}/${tag}` });
  const setP = (key: string, s: ParamSchema, v: Json | undefined) => {
    const now = nodeAt(graphAt(store.def, scope), node.id) ?? node;
    const next = setParam(now, key, v);
    let d = setNode(store.def, scope, node.id, () => next);
    if (key === "cases" || key === "default") d = followCases(d, scope, node.id, casesOf(now), casesOf(next));
    store.edit(d, w("did.param", { field: titleOf(key, s), name: label }), { tag: `${scope.join("/")}/${node.id}/${key}` });
  };
  const form: FormContext = {
    problems: find,
    refs: useCallback((provides: readonly string[]) => references(def, scope, node.id, store.types, provides), [def, scope, node.id, store]),
    names,
    readOnly,
    onOpenBody: () => onOpen(node.id),
    bodyCount: bodyOf(node)?.nodes.length ?? 0,
  };
  const field = (e: (typeof entries)[number]) => <Field key={e.name} name={e.name} schema={e.schema} root={schema ?? {}} path={["params", e.name]} value={params[e.name]} required={e.required} onChange={(v) => setP(e.name, e.schema, v)} />;
  return (
    <Form.Provider value={form}>
      <div className="ed-panel-in" data-testid="node-panel" data-node={node.id}>
        <header className={"ed-panel-head k-" + kindOf(node.type)}>
          <span className="k-tile"><Icon name={kindIcon(node.type)} size={16} /></span>
          <div className="ed-panel-title">
            <input type="text" className="ed-title" aria-label={w("field.name")} placeholder={node.id} readOnly={readOnly} data-field="name" maxLength={200} value={node.name ?? ""} onChange={(e) => edit(setMember(node, "name", e.target.value || undefined), w("field.name"), "name")} />
            <span className="faint"><span className="mono">{node.type}</span></span>
          </div>
        </header>
        <div className="ed-panel-sub">
          {type?.summary && <Note>{type.summary}</Note>}
          {general.map((p) => <p key={p.pointer + p.message} className={p.level === "error" ? "f-error" : "f-warn"}>{p.message}</p>)}
        </div>
        <Tabs label={w("panel.node")} value={tab} onChange={setTab} tabs={[{ id: "params", label: w("tab.params") }, { id: "behaviour", label: w("tab.behaviour"), count: behaviours || COMMON.filter((k) => node[k] !== undefined).length || undefined }]} />
        <div className="ed-panel-body" role="tabpanel">
          {tab === "params" ? (
            <>
              <IdField id={node.id} readOnly={readOnly} taken={(id) => nodeAt(graphAt(store.def, scope), id) !== undefined} onChange={(id) => store.edit(rename(store.def, scope, node.id, id, store.types).def, w("did.rename", { name: id }), { select: [id] })} problems={find(["id"], true)} />
              {open.map(field)}
              <Folded entries={folded} value={params}>{field}</Folded>
            </>
          ) : (
            Object.entries(commonSchemas()).map(([k, s]) => (
              <Field key={k} name={k} schema={s} root={s} path={[k]} value={node[k] as Json | undefined} onChange={(v) => edit(setMember(nodeAt(graphAt(store.def, scope), node.id) ?? node, k, v), s.title!, k)} />
            ))
          )}
        </div>
      </div>
    </Form.Provider>
  );
}

function IdField({ id, taken, onChange, problems, readOnly }: { id: string; taken: (id: string) => boolean; onChange: (id: string) => void; problems: string[]; readOnly: boolean }) {
  const [text, setText] = useState(id);
  useEffect(() => setText(id), [id]);
  const why = text === id ? problems.join(" ") || null : !ID.test(text) ? w("field.id.form") : taken(text) ? w("field.id.taken") : null;
  const done = () => {
    if (text === id) return;
    if (why) setText(id);
    else onChange(text);
  };
  return (
    <div className={"f" + (why ? " is-bad" : "")}>
      <div className="f-head"><label className="f-name" htmlFor="node-id">{w("field.id")}</label></div>
      <input id="node-id" type="text" className="mono" data-field="id" autoComplete="off" spellCheck={false} readOnly={readOnly} value={text} aria-invalid={why !== null} onChange={(e) => setText(e.target.value)} onBlur={done} onKeyDown={(e) => (e.key === "Enter" ? done() : e.key === "Escape" && text !== id ? (e.stopPropagation(), setText(id)) : undefined)} />
      <span className={why ? "f-error" : "f-note"}>{why ?? w("field.id.d", { id })}</span>
    </div>
  );
}

function EdgePanel({ store, def, scope, edge, problems, readOnly, names, focus }: PanelProps & { def: Definition; scope: Scope; edge: GraphEdge }) {
  useFocus(focus, () => {});
  const key = edgeKey(edge);
  const g = graphAt(def, scope);
  const from = nodeAt(g, edge.from);
  const cases = from ? casesOf(from) : [];
  const named = (id: string) => nodeAt(g, id)?.name || id;
  const label = w("did.edge", { from: named(edge.from), to: named(edge.to) });
  const mine = (p: Problem) => p.place.edge === key && p.place.scope.join("/") === scope.join("/");
  // The source itself may be read, too: as if one stood right behind it.
  const refs = useCallback(() => references(def, scope, edge.to, store.types), [def, scope, edge.to, store]);
  const general = problems.filter((p) => mine(p) && !["when", "case"].includes(p.place.rest[0] ?? ""));
  const set = (e: GraphEdge, tag: string) => store.edit(setEdge(store.def, scope, key, e), label, { tag: key + tag, edges: [edgeKey(e)] });
  return (
    <Form.Provider value={{ problems: problemsOf(problems, mine), refs, names, readOnly }}>
      <div className="ed-panel-in" data-testid="edge-panel">
        <header className="ed-panel-head">
          <span className="k-tile"><Icon name="chevronRight" size={15} /></span>
          <div className="ed-panel-title"><b>{named(edge.from)} → {named(edge.to)}</b><span className="faint">{w("panel.edge")}</span></div>
        </header>
        <div className="ed-panel-body">
          {general.map((p) => <p key={p.message} className="f-error">{p.message}</p>)}
          {(cases.length > 0 || edge.case !== undefined) && (
            <Field name="case" root={{}} path={["case"]} schema={{ enum: [...new Set([...cases, ...(edge.case !== undefined ? [edge.case] : [])])], title: w("edge.case"), description: w("edge.case.d") }} value={edge.case} onChange={(v) => {
              const { case: _c, when: _w, ...rest } = edge;
              void _c;
              void _w;
              set(v === undefined ? rest : { ...rest, case: String(v) }, "case");
            }} />
          )}
          {edge.case === undefined && (
            <Field name="when" root={{}} path={["when"]} schema={{ type: "string", "x-expr": "value", title: w("edge.when"), description: w("edge.when.d", { from: named(edge.from) }) }} value={edge.when} onChange={(v) => {
              const { when: _w, ...rest } = edge;
              void _w;
              set(v === undefined ? rest : { ...rest, when: String(v) }, "when");
            }} />
          )}
          {!readOnly && <div><Button small icon="cross" onClick={() => store.edit(remove(store.def, scope, new Set(), new Set([key])), w("edge.delete"))}>{w("edge.delete")}</Button></div>}
        </div>
      </div>
    </Form.Provider>
  );
}

// ---- the workflow itself ----

function DocumentPanel({ store, def, problems, names, readOnly, focus }: PanelProps & { def: Definition }) {
  const [tab, setTab] = useState<"general" | "inputs" | "outputs">("general");
  useFocus(focus, (path) => setTab(path.startsWith("inputs") ? "inputs" : path.startsWith("outputs") ? "outputs" : "general"));
  const mine = (p: Problem) => p.place.node === null && p.place.edge === null && p.place.scope.length === 0;
  const form: FormContext = { problems: problemsOf(problems, mine), refs: useCallback(() => references(def, [], null, store.types), [def, store]), names, readOnly };
  const general = problems.filter((p) => mine(p) && !["inputs", "outputs", "limits", "description", "durability", "name"].includes(p.place.rest[0] ?? ""));
  const set = (patch: Partial<Definition>, field: string, tag: string) => store.edit({ ...store.def, ...patch }, w("did.doc", { field }), { tag });
  const n = (k: string) => problems.filter((p) => mine(p) && p.place.rest[0] === k).length || undefined;
  return (
    <Form.Provider value={form}>
      <div className="ed-panel-in" data-testid="document-panel">
        <header className="ed-panel-head">
          <span className="k-tile"><Icon name="workflows" size={16} /></span>
          <div className="ed-panel-title"><b>{w("panel.workflow")}</b><span className="faint num">{w("doc.figures", { nodes: countNodes(def), edges: def.edges?.length ?? 0 })}</span></div>
        </header>
        {general.length > 0 && <div className="ed-panel-sub">{general.map((p) => <p key={p.pointer + p.message} className={p.level === "error" ? "f-error" : "f-warn"}>{p.message}</p>)}</div>}
        <Tabs label={w("panel.workflow")} value={tab} onChange={setTab} tabs={[{ id: "general", label: w("tab.general") }, { id: "inputs", label: w("tab.inputs"), count: n("inputs") ?? (Object.keys(def.inputs?.properties ?? {}).length || undefined) }, { id: "outputs", label: w("tab.outputs"), count: n("outputs") ?? (Object.keys(def.outputs ?? {}).length || undefined) }]} />
        <div className="ed-panel-body" role="tabpanel">
          {tab === "general" && <General def={def} set={set} />}
          {tab === "general" && (
            <EstimateSection def={def} errors={problems.filter((p) => p.level === "error").length} onGo={(path) => {
              const ids = path.split("/");
              const id = ids.pop()!;
              if (nodeAt(graphAt(store.def, ids), id)) store.enter(ids, [id]);
            }} />
          )}
          {tab === "inputs" && <Inputs schema={def.inputs} onChange={(inputs, field, tag) => set({ inputs }, field, tag)} readOnly={readOnly} />}
          {tab === "outputs" && <Outputs outputs={def.outputs ?? {}} onChange={(outputs, field, tag) => set({ outputs }, field, tag)} readOnly={readOnly} />}
        </div>
      </div>
    </Form.Provider>
  );
}

function General({ def, set }: { def: Definition; set: (patch: Partial<Definition>, field: string, tag: string) => void }) {
  const limits: [keyof NonNullable<Definition["limits"]>, string, ParamSchema][] = [
    ["timeout_s", w("doc.timeout"), { type: "number", exclusiveMinimum: 0 }],
    ["max_tokens", w("doc.tokens"), { type: "integer", minimum: 1 }],
    ["max_cost_usd", w("doc.cost"), { type: "number", exclusiveMinimum: 0 }],
  ];
  return (
    <>
      <Field name="description" root={{}} path={["description"]} schema={{ type: "string", "x-ui": "textarea", "x-constant": true, title: w("doc.description"), description: w("doc.description.d") }} value={def.description || undefined} onChange={(v) => set({ description: v === undefined ? "" : String(v) }, w("doc.description"), "description")} />
      <Section title={w("doc.limits")}>
        <div className="f-three">
          {limits.map(([k, title, s]) => (
            <Field key={k} name={k} root={{}} path={["limits", k]} schema={{ ...s, title }} value={def.limits?.[k]} onChange={(v) => {
              const next = { ...def.limits };
              if (v === undefined) delete next[k];
              else next[k] = v as number;
              set({ limits: next }, title, "limits." + k);
            }} />
          ))}
        </div>
      </Section>
      <Field name="durability" root={{}} path={["durability"]} schema={{ enum: ["step", "run", "none"], default: "step", title: w("doc.durability"), description: w("doc.durability.d") }} value={def.durability} onChange={(v) => set({ durability: v === undefined ? undefined : String(v) }, w("doc.durability"), "durability")} />
    </>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="f-section">
      <h3>{title}</h3>
      {children}
    </section>
  );
}

const KINDS = ["string", "text", "number", "integer", "boolean", "choice", "array", "object"] as const;
type InputKind = (typeof KINDS)[number] | "other";

export function inputKind(s: JsonSchema): InputKind {
  if (s.enum) return "choice";
  if (s.type === "string") return s.format === "multiline" ? "text" : "string";
  return (KINDS as readonly unknown[]).includes(s.type) ? (s.type as InputKind) : "other";
}

/* What both kinds share is kept: title, description; bounds of another kind are not. */
export function withKind(s: JsonSchema, kind: InputKind): JsonSchema {
  const { title, description } = s;
  const base: JsonSchema = { ...(title === undefined ? {} : { title }), ...(description === undefined ? {} : { description }) };
  if (kind === "choice") return { type: "string", enum: ["one", "two"], ...base };
  if (kind === "text") return { type: "string", format: "multiline", ...base };
  if (kind === "array") return { type: "array", ...base };
  return { type: kind, ...base };
}

function Inputs({ schema, onChange, readOnly }: { schema: JsonSchema | undefined; onChange: (s: JsonSchema, field: string, tag: string) => void; readOnly: boolean }) {
  const [raw, setRaw] = useState(false);
  const [bad, setBad] = useState<string | null>(null);
  const s: JsonSchema & { additionalProperties?: unknown } = schema ?? { type: "object", properties: {} };
  const props = Object.entries(s.properties ?? {});
  const put = (name: string, p: JsonSchema, tag: string) => onChange({ ...s, properties: { ...s.properties, [name]: p } }, name, "inputs." + name + tag);
  const need = (name: string, on: boolean) => onChange({ ...s, required: on ? [...(s.required ?? []), name] : (s.required ?? []).filter((x) => x !== name) }, name, "inputs.required." + name);
  return (
    <>
      <Note>{props.length ? w("inputs.lead") : w("inputs.none")}</Note>
      {props.map(([name, p]) => (
        <div className="f-card f-input" key={name} data-testid="input-row">
          <div className="f-row">
            <KeyInput value={name} taken={props.map(([k]) => k)} label={w("field.key")} testId="input-name" onChange={(to) => onChange({ ...s, properties: Object.fromEntries(props.map(([k, v]) => [k === name ? to : k, v])), required: (s.required ?? []).map((k) => (k === name ? to : k)) }, to, "inputs.rename")} />
            <select aria-label={w("inputs.type")} value={inputKind(p)} disabled={readOnly} onChange={(e) => put(name, withKind(p, e.target.value as InputKind), "kind")}>
              {KINDS.map((k) => <option key={k} value={k}>{w(`type.${k}`)}</option>)}
              {inputKind(p) === "other" && <option value="other">{w("type.other")}</option>}
            </select>
            {!readOnly && <button type="button" className="f-x" aria-label={w("field.remove")} title={w("field.remove")} onClick={() => onChange({ ...s, properties: Object.fromEntries(props.filter(([k]) => k !== name)), required: (s.required ?? []).filter((k) => k !== name) }, name, "inputs.remove")}><Icon name="close" size={11} /></button>}
          </div>
          <input type="text" aria-label={w("inputs.description")} placeholder={w("inputs.description")} readOnly={readOnly} data-field={`inputs/properties/${name}`} value={p.description ?? ""} onChange={(e) => {
            const { description: _d, ...rest } = p;
            void _d;
            put(name, e.target.value ? { ...rest, description: e.target.value } : rest, "description");
          }} />
          {p.enum && (
            <textarea rows={Math.max(2, p.enum.length)} aria-label={w("inputs.options")} placeholder={w("inputs.options")} readOnly={readOnly} defaultValue={p.enum.map((e) => String(e)).join("\n")} key={"enum" + name} onBlur={(e) => {
              const list = [...new Set(e.target.value.split("\n").map((x) => x.trim()).filter(Boolean))];
              if (list.length && JSON.stringify(list) !== JSON.stringify(p.enum)) put(name, { ...p, enum: list }, "enum");
            }} />
          )}
          <div className="f-row f-input-foot">
            <label className="f-check"><input type="checkbox" disabled={readOnly} checked={s.required?.includes(name) ?? false} onChange={(e) => need(name, e.target.checked)} />{w("inputs.required")}</label>
            {["string", "number", "integer", "choice"].includes(inputKind(p)) && (
              <input type="text" aria-label={w("inputs.default")} placeholder={w("inputs.default")} readOnly={readOnly} defaultValue={p.default === undefined ? "" : String(p.default)} key={"default" + name + String(p.default)} onBlur={(e) => {
                const { default: _d, ...rest } = p;
                void _d;
                const t = e.target.value;
                const v = inputKind(p) === "number" || inputKind(p) === "integer" ? Number(t) : t;
                if (t === "") {
                  if (p.default !== undefined) put(name, rest, "default");
                } else if (!Number.isNaN(v) && v !== p.default) put(name, { ...rest, default: v }, "default");
              }} />
            )}
          </div>
        </div>
      ))}
      {!readOnly && (
        <button type="button" className="f-add" data-field="inputs" data-testid="add-input" onClick={() => {
          const name = freeKey(props.map(([k]) => k), "topic");
          onChange({ ...s, type: "object", properties: { ...s.properties, [name]: { type: "string" } }, required: [...(s.required ?? []), name] }, name, "inputs.add");
        }}><Icon name="plus" size={12} />{w("inputs.add")}</button>
      )}
      <label className="f-check"><input type="checkbox" disabled={readOnly} checked={s.additionalProperties === false} onChange={(e) => {
        const { additionalProperties: _a, ...rest } = s;
        void _a;
        onChange((e.target.checked ? { ...rest, additionalProperties: false } : rest) as JsonSchema, w("inputs.strict"), "inputs.strict");
      }} />{w("inputs.strict")}</label>
      <div className="f-fold">
        <button type="button" className="f-fold-head" aria-expanded={raw} onClick={() => setRaw(!raw)}><Icon name={raw ? "chevronDown" : "chevronRight"} size={11} />{w("inputs.schema")}</button>
        {raw && (
          <div className={"f" + (bad ? " is-bad" : "")}>
            <JsonInput rows={8} value={s as unknown as Json} bad={setBad} aria={{ id: "inputs-raw", "aria-describedby": "inputs-raw-note", "aria-invalid": bad !== null, "aria-required": false, "data-field": "inputs/raw" }} onChange={(v) => v !== null && typeof v === "object" && !Array.isArray(v) && onChange(v as unknown as JsonSchema, w("inputs.schema"), "inputs.raw")} />
            <span className={bad ? "f-error" : "f-note"} id="inputs-raw-note">{bad}</span>
          </div>
        )}
      </div>
    </>
  );
}

function Outputs({ outputs, onChange, readOnly }: { outputs: { [key: string]: Json }; onChange: (o: { [key: string]: Json }, field: string, tag: string) => void; readOnly: boolean }) {
  const list = Object.entries(outputs);
  const put = (next: [string, Json][], field: string, tag: string) => onChange(Object.fromEntries(next), field, tag);
  return (
    <>
      <Note>{w("outputs.lead")}</Note>
      {list.map(([k, v]) => <OutputRow key={k} name={k} value={v} taken={list.map(([x]) => x)} readOnly={readOnly} onRename={(to) => put(list.map(([a, b]) => [a === k ? to : a, b]), to, "outputs.rename")} onChange={(x) => put(list.map(([a, b]) => [a, a === k ? x : b]), k, "outputs." + k)} onRemove={() => put(list.filter(([a]) => a !== k), k, "outputs.remove")} />)}
      {!readOnly && <button type="button" className="f-add" data-field="outputs" data-testid="add-output" onClick={() => put([...list, [freeKey(list.map(([k]) => k), "result"), ""]], w("outputs.add"), "outputs.add")}><Icon name="plus" size={12} />{w("outputs.add")}</button>}
    </>
  );
}

function OutputRow({ name, value, taken, onRename, onChange, onRemove, readOnly }: { name: string; value: Json; taken: string[]; onRename: (to: string) => void; onChange: (v: Json) => void; onRemove: () => void; readOnly: boolean }) {
  const [insert] = useState<{ current: ((code: string) => void) | null }>({ current: null });
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return (
    <Form.Consumer>
      {(form) => {
        const said = form.problems(["outputs", name], true);
        return (
          <div className={"f-card f-output" + (said.length ? " is-bad" : "")} data-testid="output-row">
            <div className="f-row">
              <KeyInput value={name} taken={taken} label={w("field.key")} testId="output-name" onChange={onRename} />
              {!readOnly && <RefPicker onPick={(c) => insert.current?.(c)} />}
              {!readOnly && <button type="button" className="f-x" aria-label={w("field.remove")} title={w("field.remove")} onClick={onRemove}><Icon name="close" size={11} /></button>}
            </div>
            <TextInput text={text} mono rows={1} insert={insert} wrap={(c) => `{{ ${c} }}`} placeholder="{{ nodes.… }}" aria={{ id: "out-" + name, "aria-describedby": "out-" + name + "-note", "aria-invalid": said.length > 0, "aria-required": true, "data-field": "outputs/" + name }} onChange={(v) => {
              if (typeof value !== "string")
                try {
                  return onChange(JSON.parse(v) as Json);
                } catch {
                  /* an object half typed is a text until it can be read again */
                }
              onChange(v);
            }} />
            <span className="f-error" id={"out-" + name + "-note"}>{said.join(" ")}</span>
          </div>
        );
      }}
    </Form.Consumer>
  );
}

