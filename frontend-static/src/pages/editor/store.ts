/* The state of one editor: the definition with its history, where one stands in it, what is selected, and what the server says of it. */
import { ApiError } from "../../api/client";
import type { Definition, Workflow } from "../../api/types";
import { createWorkflow, putWorkflow, validate, type Said } from "../../api/workflows";
import { dropDraft, isNewKey, writeDraft } from "../../state/drafts";
import { createStore } from "../../state/store";
import { begin, jump, push, redo, undo, type History } from "./history";
import { existing, graphAt, locatePointer, tidy, edgeKey, type Place, type Scope, type Types } from "./model";

export interface Problem extends Said {
  level: "error" | "warning";
  place: Place;
}

export interface EditState {
  history: History<Definition>;
  scope: Scope;
  nodes: ReadonlySet<string>;
  edges: ReadonlySet<string>;
  problems: readonly Problem[] | null; // null: not known yet
  checkFailed: string | null; // the server could not be asked
  saved: string; // the definition as the server has it
  base: number | null; // its version there; null: it has none yet
  saving: boolean;
  kept: boolean; // the draft is in this browser
}

const NONE: ReadonlySet<string> = new Set();
const CHECK_MS = 350;
const KEEP_MS = 400;

export const textOf = (d: Definition) => JSON.stringify(tidy(d));

export class EditorStore {
  readonly state;
  private checkTimer: ReturnType<typeof setTimeout> | null = null;
  private keepTimer: ReturnType<typeof setTimeout> | null = null;
  private asking: AbortController | null = null;
  private dirtyOf: { def: Definition; saved: string; dirty: boolean } | null = null;
  private closed = false;

  constructor(
    readonly key: string,
    readonly types: Types,
    saved: Workflow | null,
    definition: Definition,
    label: string,
  ) {
    this.state = createStore<EditState>({
      history: begin(definition, label),
      scope: [],
      nodes: NONE,
      edges: NONE,
      problems: null,
      checkFailed: null,
      saved: saved ? textOf(saved.definition) : "",
      base: saved?.version ?? null,
      saving: false,
      kept: true,
    });
    this.check(0);
  }

  get def(): Definition {
    return this.state.get().history.now.value;
  }
  get isNew(): boolean {
    return isNewKey(this.key);
  }

  /* Different from what the server has. A new one counts once there is something in it. */
  dirty(): boolean {
    const { history, saved } = this.state.get();
    const def = history.now.value;
    if (this.dirtyOf?.def !== def || this.dirtyOf.saved !== saved) {
      const dirty = saved === "" ? def.nodes.length > 0 || Object.keys(def.inputs?.properties ?? {}).length > 0 || Boolean(def.description) : textOf(def) !== saved;
      this.dirtyOf = { def, saved, dirty };
    }
    return this.dirtyOf.dirty;
  }

  private patch(p: Partial<EditState>): void {
    this.state.set((s) => ({ ...s, ...p }));
  }

  private after(history: History<Definition>, more: Partial<EditState> = {}): void {
    const s = { ...this.state.get(), ...more, history };
    const scope = existing(history.now.value, s.scope);
    const g = graphAt(history.now.value, scope);
    const same = scope.length === s.scope.length;
    // What is gone can be neither selected nor stood in.
    const nodes = same ? keep(s.nodes, (id) => g?.nodes.some((n) => n.id === id) ?? false) : NONE;
    const edges = same ? keep(s.edges, (k) => g?.edges?.some((e) => edgeKey(e) === k) ?? false) : NONE;
    this.state.set({ ...s, scope, nodes, edges });
    this.check(CHECK_MS);
    this.keepSoon();
  }

  /* One change. `tag` joins the changes of one field to one step of the history. */
  edit(def: Definition, label: string, o: { tag?: string; select?: string[]; edges?: string[] } = {}): void {
    const h = push(this.state.get().history, def, label, o.tag ?? null);
    if (h === this.state.get().history) return;
    this.after(h, { ...(o.select ? { nodes: new Set(o.select), edges: NONE } : {}), ...(o.edges ? { edges: new Set(o.edges), nodes: NONE } : {}) });
  }
  undo(): string | null {
    const h = this.state.get().history;
    if (!h.past.length) return null;
    this.after(undo(h));
    return h.now.label;
  }
  redo(): string | null {
    const h = redo(this.state.get().history);
    if (h === this.state.get().history) return null;
    this.after(h);
    return h.now.label;
  }
  jump(by: number): void {
    this.after(jump(this.state.get().history, by));
  }

  select(nodes: Iterable<string>, edges: Iterable<string> = []): void {
    const s = this.state.get();
    const n = new Set(nodes);
    const e = new Set(edges);
    if (equal(n, s.nodes) && equal(e, s.edges)) return;
    this.patch({ nodes: n, edges: e });
  }
  enter(scope: Scope, select: string[] = []): void {
    this.patch({ scope, nodes: new Set(select), edges: NONE });
  }
  goTo(p: Place): void {
    this.patch({ scope: p.scope, nodes: p.node ? new Set([p.node]) : NONE, edges: p.edge ? new Set([p.edge]) : NONE });
  }

  // ---- what the server says of it ----

  check(afterMs: number): void {
    if (this.checkTimer) clearTimeout(this.checkTimer);
    this.checkTimer = setTimeout(() => void this.ask(), afterMs);
  }

  private async ask(): Promise<void> {
    this.asking?.abort();
    const stop = new AbortController();
    this.asking = stop;
    const def = this.def;
    try {
      const v = await validate(tidy(def), stop.signal);
      if (this.closed || stop.signal.aborted) return;
      const say = (level: Problem["level"]) => (p: Said) => ({ ...p, level, place: locatePointer(def, p.pointer) });
      this.patch({ problems: [...(v.errors ?? []).map(say("error")), ...(v.warnings ?? []).map(say("warning"))], checkFailed: null });
    } catch (e) {
      if (this.closed || stop.signal.aborted) return;
      this.patch({ checkFailed: e instanceof Error ? e.message : String(e) });
    }
  }

  // ---- keeping ----

  private keepSoon(): void {
    if (this.keepTimer) clearTimeout(this.keepTimer);
    this.keepTimer = setTimeout(() => this.keepNow(), KEEP_MS);
  }
  keepNow(): void {
    if (this.keepTimer) clearTimeout(this.keepTimer);
    this.keepTimer = null;
    if (this.closed) return;
    if (!this.dirty()) {
      dropDraft(this.key);
      this.patch({ kept: true });
    } else this.patch({ kept: writeDraft({ key: this.key, base: this.state.get().base, at: Date.now(), definition: this.def }) });
  }

  /* The name and version it has now. Throws what the server refuses. */
  async save(): Promise<{ name: string; version: number }> {
    const def = tidy(this.def);
    this.patch({ saving: true });
    try {
      const r = this.isNew ? await createWorkflow(def) : await putOrCreate(this.key, def);
      dropDraft(this.key);
      this.patch({ saved: JSON.stringify(def), base: r.version, saving: false });
      this.keepSoon(); // what was typed while it was on its way
      return r;
    } catch (e) {
      this.patch({ saving: false });
      throw e;
    }
  }

  close(keepDraft: boolean): void {
    if (this.closed) return;
    if (keepDraft) this.keepNow();
    else dropDraft(this.key);
    this.closed = true;
    this.asking?.abort();
    for (const t of [this.checkTimer, this.keepTimer]) if (t) clearTimeout(t);
  }
  /* React's strict mode closes an effect and opens it again. */
  reopen(): void {
    this.closed = false;
    this.check(0);
  }
}

async function putOrCreate(name: string, def: Definition): Promise<{ name: string; version: number }> {
  try {
    return await putWorkflow(name, def);
  } catch (e) {
    // It was archived meanwhile: the name is free again.
    if (e instanceof ApiError && e.status === 404) return createWorkflow(def);
    throw e;
  }
}

function keep(s: ReadonlySet<string>, fn: (v: string) => boolean): ReadonlySet<string> {
  const out = [...s].filter(fn);
  return out.length === s.size ? s : new Set(out);
}
function equal(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((x) => b.has(x));
}
