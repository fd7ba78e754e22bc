/* The editor itself: palette, canvas or text, panel, problems; and what the keyboard does. */
import { useCallback, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import { ApiError } from "../../api/client";
import type { Definition, Workflow } from "../../api/types";
import { archiveWorkflow, getWorkflow, type NodeType } from "../../api/workflows";
import { draftUrl, dropDraft, newKey, writeDraft, type Draft } from "../../state/drafts";
import { pageHelp } from "../../state/help";
import { navigate, setGuard } from "../../state/router";
import { t } from "../../i18n";
import { roleAllows } from "../../state/session";
import { useStore } from "../../state/store";
import { ago } from "../../util/format";
import { announce } from "../../ui/announce";
import { Button, Menu } from "../../ui/controls";
import { Icon } from "../../ui/icons";
import { Link } from "../../ui/link";
import { inline } from "../../ui/markdown";
import { Canvas, type CanvasActions, type CanvasApi } from "./canvas";
import { Confirm, Keys, SaveTemplate, TestRun, told, Versions, type Told } from "./dialogs";
import { isDefinition, JsonPane, printed } from "./json-view";
import { readJson } from "./json-text";
import * as m from "./model";
import { PickNode, PickType, TypeList } from "./palette";
import { askFocus, Panel } from "./panel";
import { arranged, freePlace, neighbour, placesOf, withPlaces } from "./places";
import { EditorStore, textOf, type Problem } from "./store";
import { nodesWord, w } from "./words";

type Asking =
  | { what: "test" | "versions" | "template" | "archive" | "keys" }
  | { what: "connect"; from: string }
  | { what: "insert"; edge: string; at: m.Point }
  | { what: "append"; from: string; at: m.Point | null }
  | { what: "newer"; version: number; by: string | null }
  | { what: "leave"; to: string };

export function Workbench({ name, types, saved, draft, definition, names, at }: {
  name: string;
  types: Map<string, NodeType>;
  saved: Workflow | null;
  draft: Draft | null;
  definition: Definition;
  names: { [list: string]: string[] };
  at: string | null;
}) {
  const store = useMemo(() => new EditorStore(name, types, saved, definition, w(draft ? "did.draft" : "did.open")), [name, types, saved, draft, definition]);
  const s = useStore(store.state);
  const def = s.history.now.value;
  const graph = useMemo(() => m.graphAt(def, s.scope) ?? { nodes: [], edges: [] }, [def, s.scope]);
  const scopeKey = s.scope.join("/");
  const readOnly = !roleAllows("edit");
  const dirty = store.dirty();
  const [view, setView] = useState<"canvas" | "json">("canvas");
  const [asking, setAsking] = useState<Asking | null>(null);
  const [notice, setNotice] = useState<"draft" | null>(draft && (saved ? store.dirty() : false) ? "draft" : null);
  const [failed, setFailed] = useState<Told | null>(null);
  const [flash, setFlash] = useState<string | null>(null);
  const [showProblems, setShowProblems] = useState(false);
  const [focus, setFocus] = useState<{ path: string; n: number } | null>(null);
  const [jsonJump, setJsonJump] = useState<{ pointer: string; n: number } | null>(null);
  const [snap, setSnap] = useState(true);
  const [map, setMap] = useState(true);
  const search = useRef<HTMLInputElement>(null);
  const nameField = useRef<HTMLInputElement>(null);
  const file = useRef<HTMLInputElement>(null);
  const canvas = useRef<CanvasApi | null>(null);
  const letGo = useRef(false); // leaving was agreed to
  const ready = useCallback((api: CanvasApi) => {
    canvas.current = api;
  }, []);

  useEffect(() => {
    store.reopen();
    return () => store.close(true);
  }, [store]);
  useEffect(() => {
    pageHelp.set(() => () => setAsking({ what: "keys" })); // a store takes a function as an update
    return () => pageHelp.set(null);
  }, []);
  useEffect(() => {
    document.title = `${def.name || w("new.title")} · Sluice`;
  }, [def.name]);
  useEffect(() => {
    // ?at=refine/judge opens where somebody looked at a run.
    if (!at) return;
    const ids = at.split("/").map((x) => x.replace(/#\d+$/, ""));
    const id = ids.pop()!;
    if (m.graphAt(store.def, ids)?.nodes.some((n) => n.id === id)) store.enter(ids, [id]);
  }, [store, at]);

  // ---- leaving ----
  useEffect(() => {
    letGo.current = false;
    setGuard((to) => {
      if (letGo.current || !store.dirty() || to.split("?")[0] === location.pathname) return true;
      store.keepNow();
      setAsking({ what: "leave", to });
      return false;
    });
    const before = (e: BeforeUnloadEvent) => {
      store.keepNow();
      // Kept work needs no question; what the browser would not keep does.
      if (store.dirty() && !store.state.get().kept) e.preventDefault();
    };
    window.addEventListener("beforeunload", before);
    return () => {
      setGuard(null);
      window.removeEventListener("beforeunload", before);
    };
  }, [store]);
  const go = (to: string, replace = false) => {
    letGo.current = true;
    navigate(to, replace);
  };

  useEffect(() => {
    if (!flash) return;
    const id = setTimeout(() => setFlash(null), 2600);
    return () => clearTimeout(id);
  }, [flash]);
  const say = useCallback((text: string) => {
    announce(text);
    setFlash(text);
  }, []);

  // ---- what hands and keys do ----
  const one = s.nodes.size === 1 ? m.nodeAt(graph, [...s.nodes][0]!) : undefined;
  const placed = useCallback(() => withPlaces(store.def, store.state.get().scope, m.graphAt(store.def, store.state.get().scope) ?? { nodes: [] }), [store]);
  const add = useCallback(
    (type: string, point: m.Point | null, after: string | null) => {
      const scope = store.state.get().scope;
      const g = m.graphAt(store.def, scope) ?? { nodes: [] };
      const base = placed();
      const where = point ?? freePlace(placesOf(m.graphAt(base, scope) ?? g), after);
      const r = m.addNode(base, scope, type, store.types, { x: snapped(where.x), y: snapped(where.y) }, after ?? undefined);
      store.edit(r.def, w("did.add", { name: type }), { select: [r.id] });
      announce(w("did.add", { name: type }));
      soon(() => (canvas.current?.show(r.id) ?? false) && focusCard(r.id));
    },
    [store, placed],
  );
  const connect = useCallback(
    (from: string, to: string) => {
      const scope = store.state.get().scope;
      const r = m.connect(store.def, scope, from, to);
      if (r.why) return say(w(`connect.${r.why}`));
      const g = m.graphAt(store.def, scope);
      store.edit(r.def, w("did.connect", { from: m.nodeAt(g, from)?.name ?? from, to: m.nodeAt(g, to)?.name ?? to }));
      announce(w("did.connect", { from, to }));
    },
    [store, say],
  );
  const removeChosen = useCallback(
    (label?: string) => {
      const { nodes, edges, scope } = store.state.get();
      if (!nodes.size && !edges.size) return;
      const text = label ?? w("did.remove", { n: nodes.size ? nodesWord(nodes.size) : w("panel.edge") });
      store.edit(m.remove(store.def, scope, nodes, edges), text);
      announce(text);
    },
    [store],
  );
  const pasteClip = useCallback(
    (clip: m.Clip, label: (n: string) => string) => {
      const scope = store.state.get().scope;
      const r = m.paste(placed(), scope, clip, { x: 40, y: 40 }, store.types);
      // Cards without a place get a free one each.
      let d = r.def;
      for (const id of r.ids) {
        const n = m.nodeAt(m.graphAt(d, scope), id)!;
        if (!n.position) d = m.move(d, scope, new Map([[id, freePlace(placesOf({ nodes: m.graphAt(d, scope)!.nodes.filter((x) => x.position) }), null)]]));
      }
      store.edit(d, label(nodesWord(r.ids.length)), { select: r.ids });
      announce(label(nodesWord(r.ids.length)));
    },
    [store, placed],
  );
  const duplicate = useCallback(() => {
    const { nodes, scope } = store.state.get();
    if (nodes.size) pasteClip(m.copy(placed(), scope, nodes), (n) => w("did.copy", { n }));
  }, [store, pasteClip, placed]);
  const open = useCallback(
    (id: string) => {
      const scope = store.state.get().scope;
      if (scope.length >= m.MAX_DEPTH) return;
      store.enter([...scope, id]);
    },
    [store],
  );
  const edit = useCallback(
    (id: string, field = "") => {
      store.select([id]);
      setFocus(askFocus(field));
    },
    [store],
  );
  const leaveBody = useCallback(() => {
    const scope = store.state.get().scope;
    if (scope.length) store.enter(scope.slice(0, -1), [scope.at(-1)!]);
  }, [store]);
  const arrange = useCallback(() => {
    const scope = store.state.get().scope;
    const g = m.graphAt(store.def, scope);
    if (!g?.nodes.length) return;
    store.edit(m.move(store.def, scope, arranged(g)), w("did.layout"));
    requestAnimationFrame(() => canvas.current?.fit());
  }, [store]);

  const act = useMemo<CanvasActions>(
    () => ({
      connect,
      connectTo: (from) => setAsking({ what: "connect", from }),
      moved: (to) => store.edit(m.move(placed(), store.state.get().scope, to), w("did.move", { n: nodesWord(to.size) })),
      drop: (type, point) => add(type, point, null),
      append: (from, point) => setAsking({ what: "append", from, at: point }),
      insert: (edge, point) => setAsking({ what: "insert", edge, at: point }),
      open,
      edit: (id) => edit(id),
      duplicate,
      remove: () => removeChosen(),
    }),
    [connect, store, placed, add, open, edit, duplicate, removeChosen],
  );

  const goTo = useCallback(
    (p: Problem) => {
      if (view === "json") return setJsonJump((j) => ({ pointer: p.pointer, n: (j?.n ?? 0) + 1 }));
      store.goTo(p.place);
      setFocus(askFocus(p.place.rest.join("/")));
      if (p.place.node) soon(() => canvas.current?.show(p.place.node!) ?? false);
    },
    [store, view],
  );

  // ---- saving and running ----
  // Nothing drawn yet: that it lacks nodes is no news to anybody.
  const problems = def.nodes.length === 0 ? NOTHING : s.problems;
  const errors = (problems ?? []).filter((p) => p.level === "error").length;
  const warnings = (problems?.length ?? 0) - errors;
  const drawn = useDeferredValue(useMemo(() => ({ graph, scopeKey, nodes: s.nodes, edges: s.edges, problems: problems ?? NOTHING }), [graph, scopeKey, s.nodes, s.edges, problems]));
  const nameBad = def.name !== "" && !m.NAME.test(def.name);
  const save = useCallback(async (anyway = false) => {
    if (readOnly || store.state.get().saving || !store.dirty()) return;
    setFailed(null);
    if (!m.NAME.test(store.def.name)) {
      say(store.def.name === "" ? w("name.missing") : w("name.bad"));
      nameField.current?.focus();
      return;
    }
    const before = store.state.get().base;
    // Somebody may have saved since this was opened. A version is never lost, but it should be seen before it is outdated.
    if (before !== null && !anyway) {
      const latest = await getWorkflow(store.key).catch(() => null); // gone or unreachable: saving itself will tell
      if (latest && latest.version > before && textOf(latest.definition) !== textOf(store.def)) return setAsking({ what: "newer", version: latest.version, by: latest.created_by ?? null });
    }
    try {
      const r = await store.save();
      setNotice(null);
      say(w(before === r.version ? "save.same" : "save.done", { version: r.version }));
      if (store.isNew) go(draftUrl(r.name), true);
    } catch (e) {
      if (e instanceof ApiError && e.status === 422) setShowProblems(true);
      if (e instanceof ApiError && e.status === 409 && store.isNew) {
        nameField.current?.focus();
        return setFailed({ ...told(e), message: w("name.taken", { name: store.def.name }) });
      }
      setFailed(told(e));
    }
  }, [store, readOnly, say]);
  const test = useCallback(() => {
    if (!roleAllows("run")) return;
    store.keepNow();
    setAsking({ what: "test" });
  }, [store]);

  const replace = useCallback(
    (d: Definition, label: string) => {
      store.edit(store.isNew || !saved ? d : { ...d, name: store.def.name }, label);
      store.enter([]);
      requestAnimationFrame(() => canvas.current?.fit());
    },
    [store, saved],
  );
  const importText = useCallback(
    (text: string) => {
      const r = readJson(text);
      if (!r.ok) return say(w("import.bad", { why: w("import.notjson", { line: r.at.line }) }));
      const v = (r.value as { definition?: unknown } | null)?.definition ?? r.value;
      if (!isDefinition(v)) return say(w("import.bad", { why: w("import.nonodes") }));
      replace(v, w("did.import"));
      say(w("import.done"));
    },
    [replace, say],
  );

  // ---- keys ----
  useEffect(() => {
    const typing = (t: EventTarget | null) => t instanceof Element && t.closest("input, textarea, select, [contenteditable], dialog, [role=menu], .refs-pop") !== null;
    const onKey = (e: KeyboardEvent) => {
      if (e.defaultPrevented) return;
      const t = e.target as Element;
      const mod = e.ctrlKey || e.metaKey;
      const inDialog = t.closest("dialog") !== null;
      const done = () => e.preventDefault();
      if (mod && !inDialog && (e.key.toLowerCase() === "s" || e.key === "Enter")) {
        done();
        if (e.key === "Enter") test();
        else void save();
        return;
      }
      if (e.key === "Escape" && !inDialog && typing(t) && t.closest(".ed-panel")) {
        // Out of the form, back to the card.
        const id = [...store.state.get().nodes][0];
        (t as HTMLElement).blur();
        if (id) focusCard(id);
        return done();
      }
      if (typing(t)) return;
      const { nodes, edges, scope } = store.state.get();
      const g = m.graphAt(store.def, scope);
      const id = nodes.size === 1 ? [...nodes][0]! : null;
      if (mod) {
        const k = e.key.toLowerCase();
        if (k === "z" || k === "y") {
          done();
          const back = k === "z" && !e.shiftKey;
          const what = back ? store.undo() : store.redo();
          if (what) announce(w(back ? "said.undone" : "said.redone", { what }));
        } else if (k === "d" && view === "canvas" && !readOnly) {
          done();
          duplicate();
        } else if (k === "a" && view === "canvas") {
          done();
          store.select(g?.nodes.map((n) => n.id) ?? []);
        }
        return;
      }
      if (view !== "canvas") return;
      const onControl = t.closest("button, a, [role=tab], [role=option], summary") !== null;
      const arrow = e.key === "ArrowLeft" || e.key === "ArrowRight" || e.key === "ArrowUp" || e.key === "ArrowDown" ? e.key : null;
      if (arrow && !t.closest("[role=tablist], [role=separator]") && g) {
        done();
        const places = placesOf(g);
        if (e.altKey || e.shiftKey) {
          if (!nodes.size || readOnly) return;
          const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[arrow] as [number, number];
          store.edit(m.move(withPlaces(store.def, scope, g), scope, new Map([...nodes].map((n) => [n, { x: places.get(n)!.x + by[0] * m.GRID, y: places.get(n)!.y + by[1] * m.GRID }]))), w("did.move", { n: nodesWord(nodes.size) }), { tag: "nudge" });
          return;
        }
        const to = id ? neighbour(places, id, arrow) : (g.nodes[0]?.id ?? null);
        if (to) {
          store.select([to]);
          canvas.current?.show(to);
          focusCard(to);
        }
        return;
      }
      switch (e.key) {
        case "/":
          done();
          search.current?.focus();
          search.current?.select();
          break;
        case "Escape":
          done();
          if (nodes.size || edges.size) store.select([]);
          else leaveBody();
          break;
        case "Delete":
        case "Backspace":
          if (readOnly || onControl) return;
          done();
          removeChosen();
          break;
        case "a":
          if (!id || readOnly) return;
          done();
          setAsking({ what: "append", from: id, at: null });
          break;
        case "e":
          if (!id || readOnly) return;
          done();
          setAsking({ what: "connect", from: id });
          break;
        case "o":
          if (!id || !g || !m.isContainer(m.nodeAt(g, id)!, store.types)) return;
          done();
          open(id);
          break;
        case "Enter":
        case " ": {
          if (onControl) return;
          const card = t.closest<HTMLElement>(".react-flow__node")?.dataset["id"];
          if (card && !nodes.has(card)) store.select([card]);
          else if (id) edit(id);
          else return;
          done();
          break;
        }
        case "F2":
          if (!id) return;
          done();
          edit(id, "name");
          break;
        case "f":
          done();
          canvas.current?.fit();
          break;
        case "l":
          if (readOnly) return;
          done();
          arrange();
          break;
        case "+":
        case "=":
          done();
          canvas.current?.zoom(1);
          break;
        case "-":
          done();
          canvas.current?.zoom(-1);
          break;
      }
    };
    const onCopy = (e: ClipboardEvent) => {
      const { nodes, scope } = store.state.get();
      if (typing(e.target) || view !== "canvas" || !nodes.size || !e.clipboardData || String(getSelection() ?? "") !== "") return;
      e.clipboardData.setData("text/plain", JSON.stringify(m.copy(placed(), scope, nodes), null, 2));
      e.preventDefault();
      if (e.type === "cut" && !readOnly) removeChosen(w("did.cut", { n: nodesWord(nodes.size) }));
      else announce(w("said.copied", { n: nodesWord(nodes.size) }));
    };
    const onPaste = (e: ClipboardEvent) => {
      if (typing(e.target) || view !== "canvas" || readOnly) return;
      const text = e.clipboardData?.getData("text/plain") ?? "";
      if (!/^\s*\{/.test(text)) return;
      e.preventDefault();
      const r = readJson(text);
      const v = r.ok ? ((r.value as { definition?: unknown } | null)?.definition ?? r.value) : null;
      if (m.isClip(v)) pasteClip(v, (n) => w("did.paste", { n }));
      else if (isDefinition(v) && store.def.nodes.length > 0) pasteClip({ sluice_clip: 1, nodes: v.nodes, edges: v.edges ?? [] }, (n) => w("did.paste", { n }));
      else importText(text);
    };
    document.addEventListener("keydown", onKey);
    document.addEventListener("copy", onCopy);
    document.addEventListener("cut", onCopy);
    document.addEventListener("paste", onPaste);
    return () => {
      document.removeEventListener("keydown", onKey);
      document.removeEventListener("copy", onCopy);
      document.removeEventListener("cut", onCopy);
      document.removeEventListener("paste", onPaste);
    };
  }, [store, view, readOnly, save, test, duplicate, removeChosen, open, edit, leaveBody, arrange, pasteClip, placed, importText]);

  const exportFile = () => {
    const url = URL.createObjectURL(new Blob([printed(def) + "\n"], { type: "application/json" }));
    const a = document.createElement("a");
    a.href = url;
    a.download = (def.name || "workflow") + ".json";
    a.click();
    setTimeout(() => URL.revokeObjectURL(url), 5000);
  };
  const copyAs = () => {
    const key = newKey();
    writeDraft({ key, base: null, at: Date.now(), definition: { ...def, name: def.name ? def.name.slice(0, 59) + "-copy" : "" } });
    go(draftUrl(key));
  };

  const fromName = asking?.what === "connect" ? (m.nodeAt(graph, asking.from)?.name ?? asking.from) : "";
  return (
    <div className="ed" data-testid="editor" data-dirty={dirty} data-version={s.base ?? ""} data-errors={s.problems === null ? "" : errors}>
      <header className="ed-head">
        <Link to="/workflows" className="back" label={w("back")}><Icon name="chevronLeft" size={14} /></Link>
        {store.isNew ? (
          <input ref={nameField} className="ed-name" type="text" aria-label={w("name.label")} aria-invalid={nameBad} title={nameBad ? w("name.bad") : undefined} placeholder={w("name.placeholder")} autoComplete="off" spellCheck={false} readOnly={readOnly} value={def.name} data-testid="workflow-name" onChange={(e) => store.edit({ ...store.def, name: e.target.value }, w("name.label"), { tag: "name" })} />
        ) : (
          <h1>{def.name}</h1>
        )}
        {s.base !== null && <span className="faint num">v{s.base}</span>}
        {dirty && <span className="tag ed-unsaved" title={s.kept ? w("unsaved.tip") : w("unsaved.lost")}>{s.kept ? w("unsaved") : w("unsaved.lost")}</span>}
        {def.nodes.length > 0 && <ProblemChip problems={problems} failed={s.checkFailed} errors={errors} warnings={warnings} open={showProblems} onToggle={() => setShowProblems(!showProblems)} />}
        <span className="ed-flash" aria-hidden="true">{flash}</span>
        <span className="grow" />
        <Button small kind="ghost" icon="undo" label={s.history.past.length ? w("undo", { what: s.history.now.label }) : w("undo.none")} onClick={() => store.undo()} why={s.history.past.length ? null : w("undo.none")} testId="undo" />
        <Button small kind="ghost" icon="redo" label={s.history.future.length ? w("redo", { what: s.history.future[0]!.label }) : w("redo.none")} onClick={() => store.redo()} why={s.history.future.length ? null : w("redo.none")} testId="redo" />
        <span className="ed-menu ed-menu-tight"><Menu label={w("history")} items={historyItems(store)} /></span>
        <div className="seg" role="group" aria-label={w("view")}>
          {(["canvas", "json"] as const).map((v) => <button key={v} type="button" aria-pressed={view === v} onClick={() => setView(v)} data-testid={"view-" + v}>{w(`view.${v}`)}</button>)}
        </div>
        <Button icon="play" onClick={test} why={!roleAllows("run") ? t("role.viewer") : def.nodes.length === 0 ? w("canvas.empty.title") : errors ? w("test.errors") : null} hint={w("test.tip")} testId="test-run">{w("test")}</Button>
        <Button kind="primary" onClick={() => void save()} busy={s.saving} why={readOnly ? w("save.role") : !dirty ? w("save.none") : null} hint={w("save.tip")} testId="save">{w("save")}</Button>
        <span className="ed-menu">
          <Menu
            label={w("more")}
            items={[
              ...(s.base !== null && !store.isNew ? [{ label: w("more.versions"), detail: w("more.versions.d"), onPick: () => setAsking({ what: "versions" }) }] : []),
              { label: w("more.export"), detail: w("more.export.d"), onPick: exportFile },
              ...(readOnly ? [] : [{ label: w("more.import"), detail: w("more.import.d"), onPick: () => file.current?.click() }]),
              ...(readOnly ? [] : [{ label: w("more.copy"), detail: w("more.copy.d"), onPick: copyAs }]),
              ...(readOnly ? [] : [{ label: w("more.template"), detail: w("more.template.d"), onPick: () => setAsking({ what: "template" as const }) }]),
              { label: w("help.open"), onPick: () => setAsking({ what: "keys" }) },
              ...(s.base !== null && !readOnly ? [{ label: w("more.archive"), detail: w("more.archive.d"), onPick: () => setAsking({ what: "archive" as const }) }] : []),
            ]}
          />
        </span>
        <input ref={file} type="file" accept="application/json,.json" hidden onChange={(e) => {
          const f = e.target.files?.[0];
          e.target.value = "";
          if (f) void f.text().then(importText);
        }} />
      </header>
      {notice === "draft" && draft && (
        <div className="banner ed-banner" role="status">
          <span>{draft.base !== null && saved && draft.base < saved.version ? w("draft.older", { from: draft.base, to: saved.version }) : w("draft.restored", { when: ago(new Date(draft.at).toISOString()) })}</span>
          <Button small kind="ghost" onClick={() => (store.edit(saved?.definition ?? m.emptyDefinition(), w("did.discard")), setNotice(null), dropDraft(name))} testId="discard-draft">{w("draft.discard")}</Button>
          <Button small onClick={() => setNotice(null)}>{w("draft.dismiss")}</Button>
        </div>
      )}
      {failed && (
        <div className="banner banner-bad ed-banner" role="alert">
          <span><b>{w("save.failed")}.</b> {failed.message} <span className="mono faint">{failed.code}{failed.requestId && " · " + failed.requestId}</span></span>
          <Button small kind="ghost" icon="close" label={w("cancel")} onClick={() => setFailed(null)} />
        </div>
      )}
      <div className="ed-grid">
        {view === "canvas" && !readOnly && (
          <aside className="ed-palette" aria-label={w("palette.title")}>
            <TypeList types={types} input={search} draggable onPick={(type) => add(type, null, one?.id ?? null)} hint={one ? w("palette.after", { name: one.name || one.id }) : w("palette.hint")} />
          </aside>
        )}
        <section className="ed-main">
          {view === "json" ? (
            <JsonPane store={store} readOnly={readOnly} jump={jsonJump} />
          ) : (
            <>
              <div className="ed-bar">
                <nav aria-label={w("canvas.path")} className="crumbs">
                  <button type="button" aria-current={s.scope.length === 0 ? "location" : undefined} onClick={() => store.enter([])} data-testid="crumb-root">{def.name || w("canvas.root")}</button>
                  {s.scope.map((id, i) => (
                    <span key={i}>
                      <Icon name="chevronRight" size={11} />
                      <button type="button" aria-current={i === s.scope.length - 1 ? "location" : undefined} onClick={() => store.enter(s.scope.slice(0, i + 1))}>
                        {m.nodeAt(m.graphAt(def, s.scope.slice(0, i)), id)?.name || id}
                      </button>
                    </span>
                  ))}
                </nav>
                <span className="grow" />
                <Button small kind="ghost" pressed={snap} icon="grid" label={w("canvas.snap")} onClick={() => setSnap(!snap)} />
                <Button small kind="ghost" pressed={map} icon="panel" label={w("canvas.map")} onClick={() => setMap(!map)} />
                {!readOnly && <Button small kind="ghost" icon="arrange" label={w("canvas.layout")} onClick={arrange} testId="arrange" />}
                <Button small kind="ghost" icon="minus" label={w("canvas.out")} onClick={() => canvas.current?.zoom(-1)} />
                <Button small kind="ghost" icon="plus" label={w("canvas.in")} onClick={() => canvas.current?.zoom(1)} />
                <Button small kind="ghost" icon="fit" label={w("canvas.fit")} onClick={() => canvas.current?.fit()} />
              </div>
              <div className={"ed-canvas" + (s.scope.length ? " is-inner" : "")} role="application" aria-label={w("canvas.label")} data-testid="canvas" onFocusCapture={(e) => {
                const card = (e.target as Element).closest<HTMLElement>(".react-flow__node");
                const id = card?.dataset["id"];
                if (id && card === e.target && card.matches(":focus-visible") && !s.nodes.has(id)) store.select([id]);
              }}>
                <Canvas store={store} {...drawn} act={act} readOnly={readOnly} snap={snap} map={map} onReady={ready} />
                {graph.nodes.length === 0 && (
                  <div className="ed-empty">
                    <Icon name={s.scope.length ? "loop" : "workflows"} size={28} />
                    <h2>{w("canvas.empty.title")}</h2>
                    <p>{s.scope.length ? w("canvas.empty.inner") : w("canvas.empty.body")}</p>
                    {s.scope.length === 0 && <p className="faint">{w("canvas.empty.paste")}</p>}
                  </div>
                )}
              </div>
            </>
          )}
          {showProblems && <Problems problems={problems} failed={s.checkFailed} def={def} onGo={goTo} onClose={() => setShowProblems(false)} />}
        </section>
        {view === "canvas" && <aside className="ed-panel" aria-label={w("panel.node")}><Panel store={store} problems={problems ?? NOTHING} names={names} readOnly={readOnly} focus={focus} onOpen={open} /></aside>}
      </div>

      {asking?.what === "test" && <TestRun definition={m.tidy(def)} onClose={() => setAsking(null)} onStarted={() => (store.keepNow(), (letGo.current = true))} />}
      {asking?.what === "versions" && <Versions name={name} current={def} readOnly={readOnly} onClose={() => setAsking(null)} onRestore={(x) => (setAsking(null), replace(x.definition, w("did.restore", { version: x.version })))} />}
      {asking?.what === "template" && <SaveTemplate definition={m.tidy(def)} onClose={() => setAsking(null)} onSaved={(title) => (setAsking(null), say(w("template.done", { title })))} />}
      {asking?.what === "keys" && <Keys onClose={() => setAsking(null)} />}
      {asking?.what === "archive" && (
        <Confirm title={w("archive.title", { name })} body={w("archive.body")} yes={w("archive.yes")} danger onClose={() => setAsking(null)} onYes={() => {
          archiveWorkflow(name).then(
            () => (store.close(false), go("/workflows")),
            (e) => (setAsking(null), setFailed(told(e))),
          );
        }} />
      )}
      {asking?.what === "newer" && (
        <Confirm
          title={w("newer.title", { version: asking.version })}
          body={w("newer.body", { from: s.base ?? 0, who: asking.by ?? "?" })}
          yes={w("newer.save")}
          no={w("cancel")}
          onClose={() => setAsking(null)}
          onYes={() => (setAsking(null), void save(true))}
          extra={{ label: w("newer.compare"), onPick: () => setAsking({ what: "versions" }) }}
        />
      )}
      {asking?.what === "leave" && (
        <Confirm title={w("leave.title")} body={s.kept ? w("leave.body") : w("unsaved.lost")} yes={w("leave.go")} onClose={() => setAsking(null)} onYes={() => go(asking.to)} extra={{ label: w("leave.discard"), onPick: () => (store.close(false), go(asking.to)) }} />
      )}
      {asking?.what === "connect" && (
        <PickNode
          title={w("connect.title", { name: fromName })}
          none={w("connect.none")}
          nodes={m.targets(graph, asking.from).map((id) => ({ id, name: m.nodeAt(graph, id)!.name || id, type: m.nodeAt(graph, id)!.type }))}
          onClose={() => setAsking(null)}
          onPick={(to) => {
            setAsking(null);
            connect(asking.from, to);
            soon(() => focusCard(asking.from));
          }}
        />
      )}
      {asking?.what === "append" && (
        <PickType types={types} title={w("append.title", { name: m.nodeAt(graph, asking.from)?.name ?? asking.from })} onClose={() => setAsking(null)} onPick={(type) => {
          setAsking(null);
          add(type, asking.at, asking.from);
        }} />
      )}
      {asking?.what === "insert" && (
        <PickType types={types} title={w("insert.title")} onClose={() => setAsking(null)} onPick={(type) => {
          setAsking(null);
          const scope = store.state.get().scope;
          const r = m.splitEdge(placed(), scope, asking.edge, type, types, { x: snapped(asking.at.x), y: snapped(asking.at.y) });
          store.edit(r.def, w("did.add", { name: type }), { select: [r.id] });
        }} />
      )}
    </div>
  );
}

const NOTHING: readonly Problem[] = [];
const snapped = (v: number) => Math.round(v / m.GRID) * m.GRID;

function focusCard(id: string): boolean {
  const card = document.querySelector<HTMLElement>(`.react-flow__node[data-id="${CSS.escape(id)}"]`);
  card?.focus({ preventScroll: true });
  return card !== null;
}

/* The canvas may draw a moment later than the rest: tries again for a few frames until it could be done. */
function soon(fn: () => boolean, left = 12): void {
  requestAnimationFrame(() => {
    if (!fn() && left > 0) soon(fn, left - 1);
  });
}

function historyItems(store: EditorStore): { label: string; detail?: string; onPick: () => void }[] {
  const { past, now, future } = store.state.get().history;
  const near = 12;
  return [
    ...future.slice(0, 4).map((s, i) => ({ label: s.label, detail: w("redo", { what: "" }).trim(), onPick: () => store.jump(i + 1) })).reverse(),
    { label: now.label, detail: w("history.now"), onPick: () => {} },
    ...past.slice(-near).reverse().map((s, i) => ({ label: s.label, onPick: () => store.jump(-(i + 1)) })),
  ];
}

function ProblemChip({ problems, failed, errors, warnings, open, onToggle }: { problems: readonly Problem[] | null; failed: string | null; errors: number; warnings: number; open: boolean; onToggle: () => void }) {
  const kind = failed ? "warn" : problems === null ? "idle" : errors ? "bad" : warnings ? "warn" : "ok";
  const text = failed ? w("problems.failed", { why: "" }).replace(/[:：]\s*$/, "") : problems === null ? w("problems.checking") : errors || warnings ? [errors === 1 ? w("problems.error") : errors ? w("problems.errors", { n: errors }) : "", warnings === 1 ? w("problems.warning") : warnings ? w("problems.warnings", { n: warnings }) : ""].filter(Boolean).join(", ") : w("problems.none");
  return (
    <button type="button" className={"ed-chip is-" + kind} aria-expanded={open} title={open ? w("problems.hide") : w("problems.show")} onClick={onToggle} data-testid="problems-chip">
      <Icon name={kind === "ok" ? "check" : kind === "idle" ? "pending" : "alert"} size={12} />
      <span className="num">{text}</span>
    </button>
  );
}

function Problems({ problems, failed, def, onGo, onClose }: { problems: readonly Problem[] | null; failed: string | null; def: Definition; onGo: (p: Problem) => void; onClose: () => void }) {
  const where = (p: Problem) => {
    const { scope, node, edge } = p.place;
    if (edge) return [...scope, edge.replace(/>([^>]*)$/, "").replace(">", " → ")].join(" / ");
    if (!node) return scope.length ? scope.join(" / ") : w("problems.where.doc");
    const n = m.nodeAt(m.graphAt(def, scope), node);
    return [...scope, n?.name || node].join(" / ");
  };
  return (
    <section className="ed-problems" aria-label={w("problems.title")} data-testid="problems">
      <header>
        <h2>{w("problems.title")}</h2>
        <span className="grow" />
        <Button small kind="ghost" icon="close" label={w("problems.hide")} onClick={onClose} />
      </header>
      <ul>
        {failed && <li className="ed-problem"><span className="f-warn">{w("problems.failed", { why: failed })}</span></li>}
        {!failed && problems?.length === 0 && <li className="ed-problem faint">{w("problems.clean")}</li>}
        {problems?.map((p, i) => (
          <li key={i}>
            <button type="button" className={"ed-problem is-" + p.level} onClick={() => onGo(p)}>
              <Icon name={p.level === "error" ? "cross" : "alert"} size={12} />
              <b>{where(p)}</b>
              {p.place.rest.length > 0 && <span className="mono faint">{p.place.rest.filter((x) => x !== "params").join(".")}</span>}
              <span>{inline(p.message)}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
