/* The definition as text, both ways: what can be read becomes the definition at once, what changes elsewhere is shown here. */
import { useEffect, useMemo, useRef, useState } from "react";
import type { Definition } from "../../api/types";
import { Button, CopyButton } from "../../ui/controls";
import { useStore } from "../../state/store";
import { jsonWhy } from "./form";
import { lineOf, readJson } from "./json-text";
import { tidy } from "./model";
import type { EditorStore } from "./store";
import { w } from "./words";

export const printed = (d: Definition) => JSON.stringify(tidy(d), null, 2);

export const isDefinition = (v: unknown): v is Definition => typeof v === "object" && v !== null && !Array.isArray(v) && Array.isArray((v as Definition).nodes) && (v as Definition).nodes.every((n) => n && typeof n === "object" && typeof n.id === "string" && typeof n.type === "string");

const LINE = 19;

export function JsonPane({ store, readOnly, jump }: { store: EditorStore; readOnly: boolean; jump: { pointer: string; n: number } | null }) {
  const s = useStore(store.state);
  const def = s.history.now.value;
  const [text, setText] = useState(() => printed(def));
  const seen = useRef<Definition>(def);
  const area = useRef<HTMLTextAreaElement>(null);
  const gutter = useRef<HTMLDivElement>(null);
  const read = useMemo(() => readJson(text), [text]);
  // Changed elsewhere (undo, another version): the text follows. What one types here comes back as the same definition.
  useEffect(() => {
    if (seen.current === def) return;
    seen.current = def;
    setText(printed(def));
  }, [def]);
  const why = !read.ok ? jsonWhy(read, "view") : isDefinition(read.value) ? null : w("json.bad", { line: 1, column: 1, why: w("json.bad.object") });
  const marks = useMemo(() => {
    const out = new Map<number, { level: "error" | "warning"; text: string }>();
    if (!read.ok) out.set(read.at.line, { level: "error", text: why ?? "" });
    else
      for (const p of s.problems ?? []) {
        const line = lineOf(read.spots, p.pointer.replace(/^\/definition/, ""));
        const old = out.get(line);
        out.set(line, { level: old?.level === "error" ? "error" : p.level, text: (old ? old.text + "\n" : "") + p.message });
      }
    return out;
  }, [read, s.problems, why]);
  useEffect(() => {
    if (!jump || !read.ok || !area.current) return;
    const line = lineOf(read.spots, jump.pointer.replace(/^\/definition/, ""));
    const lines = text.split("\n");
    const at = lines.slice(0, line - 1).reduce((n, l) => n + l.length + 1, 0);
    area.current.focus();
    area.current.setSelectionRange(at, at + (lines[line - 1]?.length ?? 0));
    area.current.scrollTop = Math.max(0, (line - 8) * LINE);
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [jump?.n]);

  const change = (next: string) => {
    setText(next);
    const r = readJson(next);
    if (!r.ok || !isDefinition(r.value)) return;
    const value = r.value as unknown as Definition;
    if (JSON.stringify(tidy(value)) === JSON.stringify(tidy(store.def))) return;
    seen.current = value;
    store.edit(value, w("did.json"), { tag: "json" });
  };
  const count = text.split("\n").length;
  return (
    <section className="ed-json" aria-label={w("json.label")}>
      <div className="ed-json-body">
        <div className="ed-gutter" ref={gutter} aria-hidden="true">
          <div style={{ height: count * LINE + 24 }}>
            {Array.from({ length: count }, (_, i) => {
              const m = marks.get(i + 1);
              return <span key={i} className={m ? "is-" + m.level : undefined} title={m?.text}>{i + 1}</span>;
            })}
          </div>
        </div>
        <textarea
          ref={area}
          className="mono"
          wrap="off"
          spellCheck={false}
          readOnly={readOnly}
          aria-label={w("json.label")}
          aria-invalid={why !== null}
          aria-describedby="json-why"
          data-testid="json"
          value={text}
          onChange={(e) => change(e.target.value)}
          onScroll={(e) => gutter.current && (gutter.current.scrollTop = e.currentTarget.scrollTop)}
          onKeyDown={(e) => {
            // Tab leaves the field, as everywhere; nobody who walks by keyboard is caught in here.
            if (e.key === "Escape") e.currentTarget.blur();
          }}
        />
      </div>
      <footer className="ed-json-foot">
        <span id="json-why" className={why ? "f-error" : "f-note"} role="status" data-testid="json-why">{why}</span>
        <span className="grow" />
        <Button small kind="ghost" why={read.ok ? null : why} onClick={() => read.ok && setText(JSON.stringify(read.value, null, 2))}>{w("json.format")}</Button>
        <CopyButton text={text} label={w("json.copy")} />
      </footer>
    </section>
  );
}
