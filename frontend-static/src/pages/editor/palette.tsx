/* The node types to choose from. The same list stands at the side and in the small dialog that asks what to put somewhere. */
import { useEffect, useMemo, useRef, useState, type RefObject } from "react";
import type { NodeType } from "../../api/workflows";
import { Dialog } from "../../ui/controls";
import { Icon, kindIcon } from "../../ui/icons";
import { DRAG_TYPE } from "./canvas";
import { GROUPS, kindOf } from "./kinds";
import type { Types } from "./model";
import { w } from "./words";

function grouped(types: Types, q: string): { label: string; types: NodeType[] }[] {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (x: NodeType) => words.every((p) => (x.name + " " + (x.summary ?? "")).toLowerCase().includes(p));
  // While one searches, the best fit stands first, so that Enter takes it.
  if (words.length) {
    const rank = (x: NodeType) => (x.name.startsWith(words[0]!) ? 0 : x.name.includes(words[0]!) ? 1 : 2);
    const found = [...types.values()].filter(fits).sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
    return found.length ? [{ label: w("palette.title"), types: found }] : [];
  }
  const known = new Set(GROUPS.flatMap((g) => g.types));
  const rest = [...types.values()].filter((x) => !known.has(x.name));
  return [...GROUPS.map((g) => ({ label: w(g.label), types: g.types.flatMap((n) => types.get(n) ?? []) })), { label: w("group.more"), types: rest }].filter((g) => g.types.length > 0);
}

export function TypeList({ types, onPick, input, hint, draggable = false, autoFocus = false }: { types: Types; onPick: (type: string) => void; input?: RefObject<HTMLInputElement | null>; hint?: string; draggable?: boolean; autoFocus?: boolean }) {
  const [q, setQ] = useState("");
  const [at, setAt] = useState(0);
  const list = useRef<HTMLDivElement>(null);
  const groups = useMemo(() => grouped(types, q), [types, q]);
  const flat = groups.flatMap((g) => g.types);
  useEffect(() => void list.current?.querySelector(`[data-at="${at}"]`)?.scrollIntoView({ block: "nearest" }), [at]);
  const pick = (x: NodeType | undefined) => {
    if (!x) return;
    onPick(x.name);
    setQ("");
    setAt(0);
  };
  let n = -1;
  return (
    <>
      <label className="search palette-search">
        <Icon name="search" size={14} />
        <input
          ref={input}
          type="search"
          role="combobox"
          aria-expanded="true"
          aria-controls="palette-list"
          aria-activedescendant={flat[at] ? "type-" + flat[at].name : undefined}
          autoFocus={autoFocus}
          data-autofocus={autoFocus || undefined}
          placeholder={w("palette.search")}
          aria-label={w("palette.search")}
          value={q}
          data-testid="palette-search"
          onChange={(e) => (setQ(e.target.value), setAt(0))}
          onKeyDown={(e) => {
            if (e.key === "ArrowDown") setAt(Math.min(flat.length - 1, at + 1));
            else if (e.key === "ArrowUp") setAt(Math.max(0, at - 1));
            else if (e.key === "Enter") pick(flat[at]);
            else if (e.key === "Escape" && q) setQ("");
            else if (e.key === "Escape") return e.currentTarget.blur();
            else return;
            e.preventDefault();
            e.stopPropagation();
          }}
        />
        {!q && <kbd>/</kbd>}
      </label>
      <div className="palette-list" ref={list} role="listbox" id="palette-list" aria-label={w("palette.title")}>
        {flat.length === 0 && <p className="faint palette-none">{w("palette.none", { q })}</p>}
        {groups.map((g) => (
          <div key={g.label} role="group" aria-label={g.label}>
            <h3>{g.label}</h3>
            {g.types.map((x) => {
              const k = ++n;
              return (
                <button
                  key={x.name}
                  type="button"
                  role="option"
                  tabIndex={-1}
                  id={"type-" + x.name}
                  data-at={k}
                  data-testid={"type-" + x.name}
                  aria-selected={k === at}
                  className={"palette-item k-" + kindOf(x.name) + (q && k === at ? " is-at" : "")}
                  title={x.summary}
                  draggable={draggable}
                  onDragStart={(e) => {
                    e.dataTransfer.setData(DRAG_TYPE, x.name);
                    e.dataTransfer.effectAllowed = "copy";
                  }}
                  onClick={() => pick(x)}
                >
                  <span className="k-tile"><Icon name={kindIcon(x.name)} size={14} /></span>
                  <span className="palette-text"><b>{x.name.replace(/_/g, " ")}</b>{(q || !draggable) && x.summary && <span>{x.summary}</span>}</span>
                </button>
              );
            })}
          </div>
        ))}
      </div>
      {hint && <p className="palette-hint">{hint}</p>}
    </>
  );
}

export function PickType({ types, title, onPick, onClose }: { types: Types; title: string; onPick: (type: string) => void; onClose: () => void }) {
  return (
    <Dialog title={title} onClose={onClose}>
      <div className="dialog-body pick-type"><TypeList types={types} autoFocus onPick={onPick} /></div>
    </Dialog>
  );
}

/* Where an edge from a node shall lead. */
export function PickNode({ title, nodes, none, onPick, onClose }: { title: string; nodes: { id: string; name: string; type: string }[]; none: string; onPick: (id: string) => void; onClose: () => void }) {
  const [q, setQ] = useState("");
  const [at, setAt] = useState(0);
  const found = nodes.filter((x) => (x.id + " " + x.name + " " + x.type).toLowerCase().includes(q.toLowerCase()));
  return (
    <Dialog title={title} onClose={onClose}>
      <div className="dialog-body pick-type">
        {nodes.length === 0 ? <p className="muted">{none}</p> : (
          <>
            <label className="search palette-search">
              <Icon name="search" size={14} />
              <input type="search" autoFocus data-autofocus role="combobox" aria-expanded="true" aria-controls="pick-list" placeholder={w("connect.search")} aria-label={w("connect.search")} value={q} data-testid="connect-search" onChange={(e) => (setQ(e.target.value), setAt(0))} onKeyDown={(e) => {
                if (e.key === "ArrowDown") setAt(Math.min(found.length - 1, at + 1));
                else if (e.key === "ArrowUp") setAt(Math.max(0, at - 1));
                else if (e.key === "Enter") {
                  if (found[at]) onPick(found[at].id);
                } else return;
                e.preventDefault();
              }} />
            </label>
            <div className="palette-list" role="listbox" id="pick-list">
              {found.map((x, i) => (
                <button key={x.id} type="button" role="option" tabIndex={-1} aria-selected={i === at} className={"palette-item k-" + kindOf(x.type) + (i === at ? " is-at" : "")} onMouseEnter={() => setAt(i)} onClick={() => onPick(x.id)} ref={i === at ? (el) => void el?.scrollIntoView({ block: "nearest" }) : undefined}>
                  <span className="k-tile"><Icon name={kindIcon(x.type)} size={14} /></span>
                  <span className="palette-text"><b>{x.name}</b><span className="mono">{x.id}</span></span>
                </button>
              ))}
            </div>
          </>
        )}
      </div>
    </Dialog>
  );
}
