import { useState } from "react";
import type { Json } from "../api/types";
import { t } from "../i18n";

const LONG = 600;
const MANY = 100;

/* A value as a tree. Large parts are drawn only when opened. */
export function JsonView({ value, name, depth = 0 }: { value: Json | undefined; name?: string; depth?: number }) {
  if (value === undefined) return null;
  if (value !== null && typeof value === "object") return <Branch value={value} name={name} depth={depth} />;
  return (
    <div className="j-row" style={{ paddingLeft: depth * 14 }}>
      {name !== undefined && <span className="j-key">{name}</span>}
      <Leaf value={value} />
    </div>
  );
}

function Branch({ value, name, depth }: { value: Json[] | { [key: string]: Json }; name?: string; depth: number }) {
  const entries = Array.isArray(value) ? value.map((v, i) => [String(i), v] as const) : Object.entries(value);
  const [open, setOpen] = useState(depth < 2 && entries.length <= MANY);
  const [shown, setShown] = useState(MANY);
  const brief = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
  if (depth === 0 && name === undefined)
    return (
      <div className="j-root">
        {entries.length === 0 && <span className="faint">{brief === "[0]" ? "[ ]" : "{ }"}</span>}
        {entries.slice(0, shown).map(([k, v]) => (
          <JsonView key={k} name={k} value={v} depth={0} />
        ))}
        {entries.length > shown && <More n={entries.length - shown} onClick={() => setShown(shown + MANY * 5)} depth={0} />}
      </div>
    );
  return (
    <div>
      <button type="button" className="j-row j-fold" style={{ paddingLeft: depth * 14 }} aria-expanded={open} onClick={() => setOpen(!open)}>
        <span className={"j-tri" + (open ? " is-open" : "")} aria-hidden="true" />
        <span className="j-key">{name}</span>
        <span className="faint">{brief}</span>
      </button>
      {open &&
        entries.slice(0, shown).map(([k, v]) => <JsonView key={k} name={k} value={v} depth={depth + 1} />)}
      {open && entries.length > shown && <More n={entries.length - shown} onClick={() => setShown(shown + MANY * 5)} depth={depth + 1} />}
    </div>
  );
}

function More({ n, onClick, depth }: { n: number; onClick: () => void; depth: number }) {
  return (
    <button type="button" className="j-row link" style={{ paddingLeft: depth * 14 }} onClick={onClick}>
      {t("more", { n })}
    </button>
  );
}

function Leaf({ value }: { value: null | boolean | number | string }) {
  const [all, setAll] = useState(false);
  if (typeof value === "string") {
    const cut = !all && value.length > LONG;
    return (
      <span className="j-str">
        {cut ? value.slice(0, LONG) + "…" : value}
        {cut && (
          <button type="button" className="link" onClick={() => setAll(true)}>
            {t("more.chars", { n: value.length - LONG })}
          </button>
        )}
        {value === "" && <span className="faint">“”</span>}
      </span>
    );
  }
  return <span className={typeof value === "number" ? "j-num" : "j-lit"}>{String(value)}</span>;
}
