/* Personas: cards or a list, and the form that makes one. */
import { useEffect, useState } from "react";
import * as ops from "../../api/ops";
import type { Agent } from "../../api/ops";
import { t } from "../../i18n";
import { agentsView } from "../../state/prefs";
import { navigate } from "../../state/router";
import { profiles, roleAllows } from "../../state/session";
import { useStore } from "../../state/store";
import { ago, full } from "../../util/format";
import { announce } from "../../ui/announce";
import { Button, Dialog } from "../../ui/controls";
import { useKeys } from "../../ui/hooks";
import { Icon } from "../../ui/icons";
import { Confirm, EmptyPage, SelectField, Show, TextField, TroubleNote, useLoad, useTask } from "../../ui/kit";
import type { AreaProps } from "../../areas";
import { draftOf, readAgent, switchesOf, withSwitch, type AgentDraft, type AgentErrors } from "./form";
import { w } from "./words";
import "./agents.css";

export default function Agents({ query }: AreaProps) {
  const load = useLoad(() => ops.agents(), "agents");
  const view = useStore(agentsView);
  const [q, setQ] = useState("");
  const [dropping, setDropping] = useState<Agent | null>(null);
  const why = roleAllows("edit") ? null : w("why.editor");
  const edit = query.get("edit");
  const copy = query.get("copy");
  const fresh = query.has("new");
  const close = () => navigate("/agents", true);
  const make = () => !why && navigate("/agents?new", true);
  useEffect(() => {
    document.title = w("title") + " · Sluice";
  }, []);
  useKeys({ n: make, "/": () => document.querySelector<HTMLElement>("[name=agent-search]")?.focus() });
  return (
    <div className="page agents-page">
      <header className="page-head">
        <h1>{w("title")}</h1>
        <span className="grow" />
        <Button kind="ghost" icon="map" label={w("grid")} pressed={view === "grid"} onClick={() => agentsView.set("grid")} />
        <Button kind="ghost" icon="runs" label={w("list")} pressed={view === "list"} onClick={() => agentsView.set("list")} />
        <Button kind="primary" icon="plus" why={why} onClick={make} testId="new-agent">{w("new")}</Button>
      </header>
      <p className="muted">{w("lead")}</p>
      <Show from={load} title={w("failed")}>
        {({ items }) => {
          const all = [...items].sort((a, b) => a.name.localeCompare(b.name));
          const found = all.filter((a) => `${a.name} ${a.description ?? ""} ${a.system}`.toLowerCase().includes(q.toLowerCase()));
          const subject = edit ? all.find((a) => a.name === edit) : copy ? all.find((a) => a.name === copy) : undefined;
          return (
            <>
              {all.length === 0 ? (
                <EmptyPage icon="agents" title={w("empty.title")} body={w("empty.body")} code={`curl -X PUT ${location.origin}/api/v1/agents/critic \\\n  -H "Authorization: Bearer $SLUICE_TOKEN" -H "Content-Type: application/json" \\\n  -d '{ "system": "You look for what is missing." }'`}>
                  <Button kind="primary" icon="plus" why={why} onClick={make}>{w("new")}</Button>
                </EmptyPage>
              ) : (
                <>
                  {all.length > 5 && (
                    <label className="search agent-search">
                      <Icon name="search" size={14} />
                      <input type="search" name="agent-search" value={q} placeholder={w("search")} aria-label={w("search")} onChange={(e) => setQ(e.target.value)} />
                    </label>
                  )}
                  {found.length === 0 && <p className="muted">{w("none")}</p>}
                  <ul className={view === "grid" ? "agent-grid" : "agent-list"} data-testid="agents">
                    {found.map((a) => (
                      <li key={a.name} className="card agent" data-agent={a.name}>
                        <div className="agent-head">
                          <span className="agent-face" aria-hidden="true">{a.name.slice(0, 1).toUpperCase()}</span>
                          <div>
                            <b>{a.name}</b>
                            <span className="mono faint">{a.profile || w("profile.default")}{typeof a.params?.["temperature"] === "number" ? ` · T ${a.params["temperature"]}` : ""}</span>
                          </div>
                        </div>
                        <p className="agent-what">{a.description || a.system}</p>
                        <footer>
                          <Button small why={why} onClick={() => navigate("/agents?edit=" + encodeURIComponent(a.name), true)} testId="edit-agent">{w("edit.go")}</Button>
                          <Button small kind="ghost" why={why} onClick={() => navigate("/agents?copy=" + encodeURIComponent(a.name), true)} testId="copy-agent">{w("duplicate")}</Button>
                          <Button small kind="ghost" why={why} onClick={() => setDropping(a)} testId="delete-agent">{w("delete")}</Button>
                          <span className="grow" />
                          {a.updated_at && <span className="faint" title={w("updated", { when: full(a.updated_at) })}>{ago(a.updated_at)}</span>}
                        </footer>
                      </li>
                    ))}
                  </ul>
                </>
              )}
              {(fresh || subject) && <AgentForm key={edit ?? copy ?? ""} from={subject ?? null} mode={edit ? "edit" : copy ? "copy" : "new"} taken={new Set(edit ? [] : all.map((a) => a.name))} onClose={close} onDone={(name) => { announce(w("saved", { name })); close(); load.reload(); }} />}
            </>
          );
        }}
      </Show>
      {dropping && <Drop a={dropping} onClose={() => setDropping(null)} onDone={() => { announce(w("deleted", { name: dropping.name })); setDropping(null); load.reload(); }} />}
    </div>
  );
}

function Drop({ a, onClose, onDone }: { a: Agent; onClose: () => void; onDone: () => void }) {
  const task = useTask();
  return <Confirm title={w("delete.title", { name: a.name })} body={w("delete.body")} yes={w("delete")} busy={task.busy !== null} trouble={task.trouble} testId="delete-yes" onClose={onClose} onYes={() => void task.run("drop", () => ops.dropAgent(a.name)).then((ok) => ok && onDone())} />;
}

function freeName(name: string, taken: ReadonlySet<string>): string {
  for (let i = 2; ; i++) {
    const s = `${name}-${i}`;
    if (!taken.has(s)) return s;
  }
}

function AgentForm({ from, mode, taken, onClose, onDone }: { from: Agent | null; mode: "new" | "edit" | "copy"; taken: ReadonlySet<string>; onClose: () => void; onDone: (name: string) => void }) {
  const [d, setD] = useState<AgentDraft>(() => {
    const base = draftOf(from);
    return mode === "copy" ? { ...base, name: freeName(base.name, taken) } : base;
  });
  const [errors, setErrors] = useState<AgentErrors>({});
  const task = useTask();
  const all = useStore(profiles);
  const chat = (all ?? []).filter((p) => (p.kind ?? "chat") === "chat");
  const tools = useLoad(() => ops.tools(), "tools");
  const set = (k: Exclude<keyof AgentDraft, "tools">) => (v: string) => setD((x) => ({ ...x, [k]: v }));
  const say: { [e in NonNullable<AgentErrors[keyof AgentDraft]>]: string } = { name: w("name.bad"), system: w("system.needed"), number: w("number"), object: w("object"), taken: w("name.taken") };
  const err = (k: keyof AgentDraft) => (errors[k] ? say[errors[k]!] : undefined);
  const go = async () => {
    const { body, errors: bad } = readAgent(d, taken);
    setErrors(bad);
    if (Object.keys(bad).length) return;
    if (await task.run("save", () => ops.putAgent(d.name, body))) onDone(d.name);
  };
  return (
    <Dialog title={mode === "new" ? w("new") : w(mode, { name: from?.name ?? "" })} onClose={onClose} wide>
      <form className="dialog-body" data-testid="agent-form" noValidate onSubmit={(e) => { e.preventDefault(); void go(); }} onKeyDown={(e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) void go(); }}>
        <div className="two">
          <TextField label={w("name")} name="name" mono value={d.name} onChange={set("name")} note={mode === "edit" ? undefined : w("name.note")} error={err("name")} disabled={mode === "edit"} autoFocus={mode !== "edit"} />
          <SelectField label={w("profile")} name="profile" value={d.profile} onChange={set("profile")} options={[{ value: "", label: w("profile.default") }, ...chat.map((p) => ({ value: p.name, label: `${p.name} · ${p.model}` })), ...(d.profile && !chat.some((p) => p.name === d.profile) ? [{ value: d.profile, label: w("profile.gone", { name: d.profile }) }] : [])]} />
        </div>
        <TextField label={w("description")} name="description" optional value={d.description} onChange={set("description")} />
        <TextField label={w("system")} name="system" rows={9} value={d.system} onChange={set("system")} error={err("system")} note={w("system.words", { n: d.system.trim() ? d.system.trim().split(/\s+/).length : 0 })} autoFocus={mode === "edit"} />
        <div className="two">
          <TextField label={w("temperature")} name="temperature" optional type="number" value={d.temperature} onChange={set("temperature")} error={err("temperature")} />
          <TextField label={w("max_tokens")} name="max_tokens" optional type="number" value={d.max_tokens} onChange={set("max_tokens")} error={err("max_tokens")} />
        </div>
        <details className="fold-form" open={Object.keys(d.tools).length > 0}>
          <summary>{w("tools")}</summary>
          <p className="faint">{w("tools.note")}</p>
          <div className="agent-tools" data-testid="agent-tools">
            {switchesOf(tools.data?.items ?? [], d.tools).map((x) => (
              <SelectField key={x.name} label={x.name} name={"tool-" + x.name} value={d.tools[x.name] === undefined ? "" : d.tools[x.name] ? "on" : "off"} onChange={(v) => setD((o) => ({ ...o, tools: withSwitch(o.tools, x.name, v === "" ? null : v === "on") }))}
                options={[{ value: "", label: x.usual === null ? w("tools.usual") : w(x.usual === "on" ? "tools.usual.on" : "tools.usual.off") }, { value: "on", label: w("tools.on") }, { value: "off", label: w("tools.off") }]} />
            ))}
          </div>
        </details>
        <details className="fold-form" open={d.other !== "" || errors.other !== undefined}>
          <summary>{w("other")}</summary>
          <TextField label={w("other")} name="other" optional mono rows={3} value={d.other} onChange={set("other")} note={w("other.note")} error={err("other")} />
        </details>
        <TroubleNote of={task.trouble} title={w("save.failed")} />
        <footer className="dialog-foot">
          <span className="faint hint">Ctrl + Enter</span>
          <span className="grow" />
          <Button onClick={onClose}>{t("cancel.dismiss")}</Button>
          <Button kind="primary" type="submit" busy={task.busy !== null} testId="save-agent">{w("save")}</Button>
        </footer>
      </form>
    </Dialog>
  );
}
