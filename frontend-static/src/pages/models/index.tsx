/* Profiles of models, their test, and what they cost. */
import { useEffect, useState } from "react";
import * as ops from "../../api/ops";
import type { FullProfile, ProfileTest, Provider } from "../../api/ops";
import { t } from "../../i18n";
import { navigate } from "../../state/router";
import { loadProfiles, roleAllows } from "../../state/session";
import { duration } from "../../util/format";
import { announce } from "../../ui/announce";
import { Button, Dialog, Tabs } from "../../ui/controls";
import { useKeys } from "../../ui/hooks";
import { Icon } from "../../ui/icons";
import { CheckField, Confirm, EmptyPage, SelectField, Show, TextField, TroubleNote, troubleOf, useLoad, useTask, type Trouble } from "../../ui/kit";
import { SimulatorNote } from "../../shell";
import type { AreaProps } from "../../areas";
import { LIMITS, PARAMS, PRICE, profileDraft, readProfile, TIMEOUTS, type Figure, type ProfileDraft, type ProfileErrors } from "./form";
import { Prices } from "./prices";
import { w, type Word } from "./words";
import "./models.css";

export default function Models({ query }: AreaProps) {
  const tab = query.get("tab") === "prices" ? "prices" : "profiles";
  const load = useLoad(() => ops.fullProfiles(), "profiles");
  const [dropping, setDropping] = useState<FullProfile | null>(null);
  const why = roleAllows("admin") ? null : w("why.admin");
  const edit = query.get("edit");
  const close = () => navigate("/models", true);
  const make = () => !why && navigate("/models?new", true);
  useEffect(() => {
    document.title = w("title") + " · Sluice";
  }, []);
  useKeys({ n: make });
  return (
    <div className="page models-page">
      <header className="page-head">
        <h1>{w("title")}</h1>
        <SimulatorNote />
        <span className="grow" />
        <Button kind="primary" icon="plus" why={why} onClick={make} testId="new-profile">{w("new")}</Button>
      </header>
      <p className="muted">{w("lead")}</p>
      <Tabs label={w("tabs")} value={tab} onChange={(v) => navigate(v === "prices" ? "/models?tab=prices" : "/models", true)} tabs={[{ id: "profiles", label: w("tab.profiles"), count: load.data?.items.length }, { id: "prices", label: w("tab.prices") }]} />
      {tab === "prices" ? (
        <Prices />
      ) : (
        <Show from={load} title={w("failed")}>
          {({ items }) => (
            <>
              {items.length === 0 ? (
                <EmptyPage icon="models" title={w("empty.title")} body={w("empty.body")} code={'export OPENAI_API_KEY=…   # makes a profile named openai\nsluice serve'}>
                  <Button kind="primary" icon="plus" why={why} onClick={make}>{w("new")}</Button>
                </EmptyPage>
              ) : (
                <ul className="profiles" data-testid="profiles">
                  {items.map((p) => <ProfileCard key={p.name} p={p} onEdit={() => navigate("/models?edit=" + encodeURIComponent(p.name), true)} onDrop={() => setDropping(p)} />)}
                </ul>
              )}
              {(query.has("new") || edit) && (
                <Editor key={edit ?? ""} name={edit} names={items.map((p) => p.name)} onClose={close} onDone={(n) => { announce(w("saved", { name: n })); close(); load.reload(); void loadProfiles(); }} />
              )}
            </>
          )}
        </Show>
      )}
      {dropping && <Drop p={dropping} onClose={() => setDropping(null)} onDone={() => { announce(w("deleted", { name: dropping.name })); setDropping(null); load.reload(); void loadProfiles(); }} />}
    </div>
  );
}

function ProfileCard({ p, onEdit, onDrop }: { p: FullProfile; onEdit: () => void; onDrop: () => void }) {
  const [busy, setBusy] = useState(false);
  const [result, setResult] = useState<ProfileTest | Trouble | null>(null);
  const keys = p.keys ?? [];
  const admin = roleAllows("admin") ? null : w("why.admin");
  const test = async () => {
    setBusy(true);
    setResult(null);
    try {
      setResult(await ops.testProfile(p.name));
    } catch (e) {
      setResult(troubleOf(e));
    }
    setBusy(false);
  };
  return (
    <li className="card profile" data-profile={p.name}>
      <div className="profile-main">
        <div className="profile-name">
          <b>{p.name}</b>
          {p.default && <span className="chip">{w("default")}</span>}
          {p.simulated && <span className="chip chip-sim"><Icon name="bolt" size={11} />{t("sim.short")}</span>}
          {p.kind === "embedding" && <span className="chip">{w("kind.embedding")}</span>}
        </div>
        <div className="profile-what"><span>{p.provider}</span> <span className="mono">{p.model}</span></div>
        <div className="faint profile-more">{[p.simulated ? null : keys.length === 0 ? w("keys.none") : w(keys.length === 1 ? "keys.1" : "keys.n", { n: keys.length, list: keys.join(" ") }), p.origin ? w(("origin." + p.origin) as Word) : null].filter(Boolean).join(" · ")}</div>
        <footer>
          <Button small icon="play" busy={busy} why={roleAllows("edit") ? null : w("why.editor")} onClick={() => void test()} testId="test-profile">{w(busy ? "testing" : "test")}</Button>
          <Button small why={admin} onClick={onEdit} testId="edit-profile">{w("edit.go")}</Button>
          <Button small kind="ghost" why={admin ?? (p.origin !== undefined && p.origin !== "stored" ? w("why.stored") : null)} onClick={onDrop} testId="delete-profile">{w("delete")}</Button>
        </footer>
      </div>
      {result && <Result r={result} />}
    </li>
  );
}

function Result({ r }: { r: ProfileTest | Trouble }) {
  if ("ok" in r && r.ok)
    return (
      <div className="test-result is-ok" role="status" data-testid="test-result" data-ok="true">
        <Icon name="check" size={14} />
        <div>
          <b className="num">{w("test.ok", { t: duration(r.total_ms ?? 0), f: duration(r.first_token_ms ?? 0) })}</b> {r.simulated && <span className="chip chip-sim">{w("test.sim")}</span>}
          {r.text && <q>{r.text.slice(0, 200)}</q>}
        </div>
      </div>
    );
  const e = "ok" in r ? r.error : { code: r.code, message: r.message };
  return (
    <div className="test-result is-bad" role="alert" data-testid="test-result" data-ok="false">
      <Icon name="cross" size={14} />
      <div><b>{w("test.failed")}</b> {e?.message} <code>{e?.code}</code> {"ok" in r && r.http_status ? <span className="num">{w("test.http", { n: r.http_status })}</span> : null}</div>
    </div>
  );
}

function Drop({ p, onClose, onDone }: { p: FullProfile; onClose: () => void; onDone: () => void }) {
  const task = useTask();
  return <Confirm title={w("delete.title", { name: p.name })} body={w("delete.body")} yes={w("delete")} busy={task.busy !== null} trouble={task.trouble} testId="delete-yes" onClose={onClose} onYes={() => void task.run("drop", () => ops.dropProfile(p.name)).then((ok) => ok && onDone())} />;
}

function Editor({ name, names, onClose, onDone }: { name: string | null; names: string[]; onClose: () => void; onDone: (name: string) => void }) {
  const load = useLoad(async () => {
    const [list, one] = await Promise.all([ops.providers(), name ? ops.fullProfile(name) : Promise.resolve(null)]);
    return { providers: list.items, one };
  }, name ?? "");
  return (
    <Dialog title={name ? w("edit", { name }) : w("new")} onClose={onClose} wide>
      <Show from={load} title={w("failed")} rows={7}>{({ providers, one }) => <Form providers={providers} from={one} names={names} onClose={onClose} onDone={onDone} />}</Show>
    </Dialog>
  );
}

const figureWord: { [k in Figure]: Word } = { temperature: "temperature", top_p: "top_p", max_tokens: "max_tokens", rpm: "rpm", tpm: "tpm", max_concurrency: "max_concurrency", connect_ms: "connect_ms", first_byte_ms: "first_byte_ms", idle_ms: "idle_ms", total_ms: "total_ms", input_usd_per_1m: "input", output_usd_per_1m: "output", cached_usd_per_1m: "cached" };

function Form({ providers, from, names, onClose, onDone }: { providers: Provider[]; from: FullProfile | null; names: string[]; onClose: () => void; onDone: (name: string) => void }) {
  const [d, setD] = useState<ProfileDraft>(() => profileDraft(from));
  const [errors, setErrors] = useState<ProfileErrors>({});
  const task = useTask();
  const set = (patch: Partial<ProfileDraft>) => setD((x) => ({ ...x, ...patch }));
  const provider = providers.find((p) => p.id === d.provider);
  const say: { [e in ProfileErrors[string]]: string } = { name: w("name.bad"), taken: w("name.taken"), model: w("model.needed"), number: w("number") };
  const err = (k: string) => {
    const field = task.trouble?.fields.find((f) => f.pointer === "/" + k || f.pointer.endsWith("/" + k));
    return errors[k] ? say[errors[k]!] : field?.message;
  };
  const figures = (keys: readonly Figure[]) => (
    <div className="two">{keys.map((k) => <TextField key={k} label={w(figureWord[k])} name={k} optional type="number" value={d.figures[k]} error={err(k)} onChange={(v) => set({ figures: { ...d.figures, [k]: v } })} />)}</div>
  );
  const filled = (keys: readonly Figure[]) => keys.some((k) => d.figures[k] !== "" || errors[k]);
  const go = async () => {
    const { body, errors: bad } = readProfile(d, new Set(from ? [] : names), provider?.base_url ?? null);
    setErrors(bad);
    if (Object.keys(bad).length) return;
    if (await task.run("save", () => ops.putProfile(d.name, body))) onDone(d.name);
  };
  const others = names.filter((n) => n !== d.name && !d.fallbacks.includes(n));
  const move = (i: number, by: number) => {
    const list = [...d.fallbacks];
    const [x] = list.splice(i, 1);
    list.splice(i + by, 0, x!);
    set({ fallbacks: list });
  };
  return (
    <form className="dialog-body" data-testid="profile-form" noValidate onSubmit={(e) => { e.preventDefault(); void go(); }}>
      <div className="two">
        <TextField label={w("name")} name="name" mono value={d.name} onChange={(v) => set({ name: v })} note={from ? undefined : w("name.note")} error={err("name")} disabled={from !== null} autoFocus={from === null} />
        <SelectField label={w("kind")} name="kind" value={d.kind} onChange={(v) => set({ kind: v })} options={[{ value: "chat", label: w("kind.chat") }, { value: "embedding", label: w("kind.embedding") }]} />
      </div>
      <div className="two">
        <SelectField label={w("provider")} name="provider" value={d.provider} onChange={(v) => set({ provider: v })} note={err("provider")} options={[...providers.map((p) => ({ value: p.id, label: p.supported === false ? w("provider.off", { name: p.id }) : p.id, disabled: p.supported === false })), ...(provider ? [] : [{ value: d.provider, label: d.provider }])]} />
        <TextField label={w("model")} name="model" mono value={d.model} placeholder={provider?.model ?? undefined} onChange={(v) => set({ model: v })} error={err("model")} autoFocus={from !== null} />
      </div>
      <TextField label={w("base_url")} name="base_url" optional mono value={d.base_url} onChange={(v) => set({ base_url: v })} note={provider?.base_url ? w("base_url.note", { url: provider.base_url }) : w("base_url.plain")} error={err("base_url")} />
      <fieldset className="keys-set">
        <legend className="field-name">{w("keys")}</legend>
        {d.keys.map((k, i) => (
          <input key={i} type="password" name={"api_key_" + i} autoComplete="new-password" spellCheck={false} className="mono" aria-label={w("keys.n.th", { n: i + 1 })} value={k} disabled={d.dropKeys} onChange={(e) => set({ keys: d.keys.map((x, n) => (n === i ? e.target.value : x)) })} />
        ))}
        <p className="field-note">{from?.keys?.length ? w("keys.keep", { list: from.keys.join(" ") }) : w("keys.note")} {provider?.variable && w("keys.env", { name: provider.variable })}</p>
        <div className="filters">
          <Button small kind="ghost" icon="plus" onClick={() => set({ keys: [...d.keys, ""] })}>{w("keys.add")}</Button>
          {from && (from.keys?.length ?? 0) > 0 && from.origin === "stored" && <CheckField label={w("keys.drop")} checked={d.dropKeys} onChange={(v) => set({ dropKeys: v })} />}
        </div>
      </fieldset>
      <details className="fold-form" open={filled(PARAMS) || d.thinking !== ""}>
        <summary>{w("params")}</summary>
        <div>
          {figures(PARAMS)}
          <SelectField label={w("thinking")} optional value={d.thinking} onChange={(v) => set({ thinking: v })} options={["", "low", "medium", "high"].map((v) => ({ value: v, label: v || "–" }))} />
        </div>
      </details>
      <details className="fold-form" open={filled(LIMITS)}><summary>{w("limits")}</summary><div>{figures(LIMITS)}</div></details>
      <details className="fold-form"><summary>{w("timeouts")}</summary><div>{figures(TIMEOUTS)}</div></details>
      <details className="fold-form" open={d.fallbacks.length > 0}>
        <summary>{w("fallbacks")}</summary>
        <div>
          <p className="field-note">{w("fallbacks.note")}</p>
          <ol className="plain-list">
            {d.fallbacks.map((f, i) => (
              <li key={f}>
                <span className="num faint">{i + 1}.</span> <b>{f}</b>
                <span className="grow" />
                <Button small kind="ghost" icon="chevronLeft" label={w("up")} why={i === 0 ? w("up") : null} onClick={() => move(i, -1)} />
                <Button small kind="ghost" icon="chevronRight" label={w("down")} why={i === d.fallbacks.length - 1 ? w("down") : null} onClick={() => move(i, 1)} />
                <Button small kind="ghost" icon="close" label={w("remove")} onClick={() => set({ fallbacks: d.fallbacks.filter((x) => x !== f) })} />
              </li>
            ))}
          </ol>
          {others.length > 0 && <SelectField label={w("fallbacks.add")} value="" onChange={(v) => v && set({ fallbacks: [...d.fallbacks, v] })} options={[{ value: "", label: "–" }, ...others.map((n) => ({ value: n, label: n }))]} />}
        </div>
      </details>
      <details className="fold-form" open={filled(PRICE)}><summary>{w("price")}</summary><div>{figures(PRICE)}<p className="field-note">{w("price.note")}</p></div></details>
      {d.kind === "chat" && <CheckField name="default" label={w("makeDefault")} checked={d.isDefault} onChange={(v) => set({ isDefault: v })} />}
      <TroubleNote of={task.trouble} title={w("save.failed")} />
      <footer className="dialog-foot">
        <span className="grow" />
        <Button onClick={onClose}>{t("cancel.dismiss")}</Button>
        <Button kind="primary" type="submit" busy={task.busy !== null} testId="save-profile">{w("save")}</Button>
      </footer>
    </form>
  );
}
