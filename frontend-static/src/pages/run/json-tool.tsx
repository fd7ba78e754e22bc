/* A value with what one does with values: search in it, copy it or a path in it, keep it as a file. */
import { useDeferredValue, useMemo, useState, type ReactNode } from "react";
import type { Json } from "../../api/types";
import { t } from "../../i18n";
import { w } from "./words";
import { Button, CopyButton } from "../../ui/controls";
import { Icon } from "../../ui/icons";
import { JsonView } from "../../ui/json";

const HITS = 200;

export interface Hit {
  path: string;
  value: Json;
}

/* Places whose name or plain value contains the words, in the notation of expressions: outputs.items[3].text */
export function searchJson(value: Json, words: string, limit = HITS): Hit[] {
  const q = words.trim().toLowerCase();
  const out: Hit[] = [];
  if (!q) return out;
  const walk = (v: Json, path: string, name: string) => {
    if (out.length >= limit) return;
    const plain = v === null || typeof v !== "object";
    if (name.toLowerCase().includes(q) || (plain && String(v).toLowerCase().includes(q))) out.push({ path, value: v });
    if (plain) return;
    if (Array.isArray(v)) v.forEach((x, i) => walk(x, `${path}[${i}]`, ""));
    else for (const [k, x] of Object.entries(v)) walk(x, /^[A-Za-z_]\w*$/.test(k) ? (path ? `${path}.${k}` : k) : `${path}[${JSON.stringify(k)}]`, k);
  };
  walk(value, "", "");
  return out;
}

export function JsonTool({ value, name, children }: { value: Json; name: string; children?: ReactNode }) {
  const [q, setQ] = useState("");
  const late = useDeferredValue(q);
  const hits = useMemo(() => searchJson(value, late), [value, late]);
  const big = value !== null && typeof value === "object" && Object.keys(value).length > 0;
  return (
    <div className="json-tool">
      <div className="json-bar">
        {big && (
          <label className="search search-sm">
            <Icon name="search" size={12} />
            <input type="search" value={q} placeholder={w("json.search")} aria-label={w("json.search")} onChange={(e) => setQ(e.target.value)} />
          </label>
        )}
        <span className="grow" />
        <CopyButton text={() => JSON.stringify(value, null, 2)} label={t("copy.json")} />
        <Button small kind="ghost" icon="down" label={w("json.download")} onClick={() => save(value, name)} />
      </div>
      {late.trim() ? (
        hits.length === 0 ? (
          <p className="faint">{w("json.none")}</p>
        ) : (
          <ul className="json-hits">
            {hits.map((h) => (
              <li key={h.path}>
                <span className="json-path mono">{h.path} <CopyButton text={h.path} label={w("json.path", { path: h.path })} /></span>
                <JsonView value={h.value} />
              </li>
            ))}
          </ul>
        )
      ) : (
        (children ?? <JsonView value={value} />)
      )}
    </div>
  );
}

function save(value: Json, name: string): void {
  const url = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }));
  const a = document.createElement("a");
  a.href = url;
  a.download = name.replace(/[^\w.#-]+/g, "_") + ".json";
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
