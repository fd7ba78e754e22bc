/* Ctrl+K: to any page, workflow or run by a few letters. Loaded when it is first asked for. */
import { useEffect, useMemo, useState } from "react";
import { api } from "../../api/client";
import type { RunSummary, WorkflowSummary } from "../../api/types";
import { areas } from "../../areas";
import { dictionary, t } from "../../i18n";
import { draftUrl, newKey } from "../../state/drafts";
import { navigate, runsUrl, runUrl } from "../../state/router";
import { roleAllows } from "../../state/session";
import { ago, shortId } from "../../util/format";
import { Dialog } from "../../ui/controls";
import { Icon, type IconName } from "../../ui/icons";
import { runWord } from "../../ui/status";

const en = {
  title: "Go to",
  search: "A page, a workflow, a run, or a run's id",
  none: "Nothing fits “{q}”.",
  page: "page",
  start: "Start {name}",
  "start.d": "run",
  edit: "Edit {name}",
  "edit.d": "workflow",
  view: "Look at {name}",
  new: "New workflow",
  "new.d": "editor",
  run: "Run {id}",
} as const;
const zhCN: { readonly [k in keyof typeof en]: string } = {
  title: "前往",
  search: "页面、工作流、运行或运行 ID",
  none: "没有符合“{q}”的内容。",
  page: "页面",
  start: "启动 {name}",
  "start.d": "运行",
  edit: "编辑 {name}",
  "edit.d": "工作流",
  view: "查看 {name}",
  new: "新建工作流",
  "new.d": "编辑器",
  run: "运行 {id}",
};
const w = dictionary<keyof typeof en>(en, zhCN);

interface Item {
  key: string;
  icon: IconName;
  text: string;
  detail: string;
  to: string;
}

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export default function GoTo({ onClose }: { onClose: () => void }) {
  const [q, setQ] = useState("");
  const [at, setAt] = useState(0);
  const [flows, setFlows] = useState<WorkflowSummary[]>([]);
  const [runs, setRuns] = useState<RunSummary[]>([]);
  useEffect(() => {
    let on = true;
    // Pages can be gone to while these are on their way, and also when they cannot be had.
    api.workflows().then((p) => on && setFlows(p.items), () => {});
    api.runs({ limit: 20 }).then((p) => on && setRuns(p.items), () => {});
    return () => {
      on = false;
    };
  }, []);
  const items = useMemo<Item[]>(() => {
    const out: Item[] = [{ key: "runs", icon: "runs", text: t("nav.runs"), detail: w("page"), to: "/" }];
    for (const a of areas) if (!a.needs || roleAllows(a.needs)) out.push({ key: a.id, icon: a.icon, text: t(a.label), detail: w("page"), to: "/" + a.id });
    if (roleAllows("edit")) out.push({ key: "new", icon: "plus", text: w("new"), detail: w("new.d"), to: draftUrl(newKey()) });
    for (const f of flows) {
      if (roleAllows("run")) out.push({ key: "start " + f.name, icon: "play", text: w("start", { name: f.name }), detail: w("start.d"), to: runsUrl({ start: f.name }) });
      out.push({ key: "edit " + f.name, icon: "workflows", text: w(roleAllows("edit") ? "edit" : "view", { name: f.name }), detail: w("edit.d"), to: draftUrl(f.name) });
    }
    for (const r of runs) out.push({ key: r.id, icon: "runs", text: `${r.workflow} ${shortId(r.id)}`, detail: `${runWord(r.status)} · ${ago(r.created_at)}`, to: runUrl(r.id) });
    return out;
  }, [flows, runs]);
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const found = ID.test(q.trim())
    ? [{ key: "id", icon: "runs" as const, text: w("run", { id: shortId(q.trim()) }), detail: "", to: runUrl(q.trim().toLowerCase()) }]
    : items.filter((i) => words.every((x) => (i.text + " " + i.detail + " " + i.key).toLowerCase().includes(x))).slice(0, 40);
  const go = (i: Item | undefined) => {
    if (!i) return;
    onClose();
    navigate(i.to);
  };
  return (
    <Dialog title={w("title")} onClose={onClose}>
      <div className="dialog-body goto">
        <label className="search">
          <Icon name="search" size={14} />
          <input
            type="search"
            data-autofocus
            role="combobox"
            aria-expanded="true"
            aria-controls="goto-list"
            aria-activedescendant={found[at] ? "goto-" + at : undefined}
            aria-label={w("search")}
            placeholder={w("search")}
            data-testid="goto"
            value={q}
            onChange={(e) => (setQ(e.target.value), setAt(0))}
            onKeyDown={(e) => {
              if (e.key === "ArrowDown") setAt(Math.min(found.length - 1, at + 1));
              else if (e.key === "ArrowUp") setAt(Math.max(0, at - 1));
              else if (e.key === "Enter") go(found[at]);
              else return;
              e.preventDefault();
            }}
          />
        </label>
        <div role="listbox" id="goto-list" className="goto-list">
          {found.length === 0 && <p className="faint">{w("none", { q })}</p>}
          {found.map((i, n) => (
            <button key={i.key} id={"goto-" + n} type="button" role="option" tabIndex={-1} aria-selected={n === at} onMouseMove={() => setAt(n)} onClick={() => go(i)} ref={n === at ? (el) => void el?.scrollIntoView({ block: "nearest" }) : undefined}>
              <Icon name={i.icon} size={14} />
              <span>{i.text}</span>
              <span className="faint">{i.detail}</span>
            </button>
          ))}
        </div>
      </div>
    </Dialog>
  );
}
