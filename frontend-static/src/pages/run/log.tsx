import { useEffect, useMemo, useRef, useState } from "react";
import { t } from "../../i18n";
import type { RunStore } from "../../state/run-store";
import type { LogEntry, RunState } from "../../state/run";
import { useStore } from "../../state/store";
import { clock } from "../../util/format";
import { Button, CopyButton } from "../../ui/controls";
import { useFollow, useSize } from "../../ui/hooks";
import { Icon } from "../../ui/icons";
import { JsonView } from "../../ui/json";
import { nodeWord } from "../../ui/status";

import { whyNoFork, type ForkFrom } from "./rerun";
import { Timeline } from "./timeline";
import { w } from "./words";

const ROW = 24;
type Kind = "all" | "run" | "node" | "usage" | "other";

export function kindOf(event: string): Exclude<Kind, "all"> {
  if (event.startsWith("execution:") || event.startsWith("circuit_breaker:")) return "run";
  if (event === "node_state_change" || event === "stream_reset" || event === "node:parallel_start") return "node";
  if (event === "token_usage") return "usage";
  return "other";
}

export function matches(e: LogEntry, kind: Kind, q: string): boolean {
  if (kind !== "all" && kindOf(e.event) !== kind) return false;
  if (!q) return true;
  const s = q.toLowerCase();
  return e.event.toLowerCase().includes(s) || (e.node ?? "").toLowerCase().includes(s) || String(e.seq) === s || JSON.stringify(e.data).toLowerCase().includes(s);
}

export function EventLog({ store, state, selected, open, onToggle, onSelect, onFork, step }: { store: RunStore; state: RunState; selected: string | null; open: boolean; onToggle: () => void; onSelect: (path: string) => void; onFork: (from: ForkFrom) => void; step: { by: number; n: number } }) {
  const [timeline, setTimeline] = useState(false);
  const log = useStore(store.log);
  const [kind, setKind] = useState<Kind>("all");
  const [q, setQ] = useState("");
  const [picked, setPicked] = useState<number | null>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const { height } = useSize(scroller);
  const { pin, following, jump } = useFollow(scroller);
  useEffect(() => {
    if (open) void store.loadLog();
  }, [open, store]);
  const rows = useMemo(() => (kind === "all" && !q ? log : log.filter((e) => matches(e, kind, q))), [log, kind, q]);
  useEffect(pin, [pin, rows, height]);
  const entry = picked === null ? undefined : log.find((e) => e.seq === picked);

  const pick = (e: LogEntry | undefined) => {
    if (!e) return;
    setPicked(e.seq);
    const at = rows.indexOf(e);
    const el = scroller.current;
    if (el && at >= 0) {
      if (at * ROW < el.scrollTop) el.scrollTop = at * ROW;
      else if ((at + 1) * ROW > el.scrollTop + el.clientHeight) el.scrollTop = (at + 1) * ROW - el.clientHeight;
    }
  };
  const lastStep = useRef(step.n);
  useEffect(() => {
    if (lastStep.current === step.n || !open) return;
    lastStep.current = step.n;
    const at = rows.findIndex((e) => e.seq === picked);
    pick(rows[at < 0 ? rows.length - 1 : Math.max(0, Math.min(rows.length - 1, at + step.by))]);
  });

  const from = Math.max(0, Math.floor(top / ROW) - 8);
  const to = Math.min(rows.length, Math.ceil((top + height) / ROW) + 8);
  const last = log[log.length - 1];
  return (
    <section className="panel log" aria-label={t("log.title")}>
      <header className="panel-head">
        <button type="button" className="log-toggle" aria-expanded={open} onClick={onToggle} data-testid="log-toggle">
          <Icon name="chevronRight" size={12} className={open ? "turn" : ""} />
          <h2>{t("log.title")}</h2>
        </button>
        <Button small kind="ghost" pressed={open && timeline} onClick={() => { setTimeline(!timeline || !open); if (!open) onToggle(); }} testId="timeline-toggle">{w("timeline")}</Button>
        {open && timeline ? null : open ? (
          <>
            <label className="search search-sm">
              <Icon name="search" size={12} />
              <input type="search" value={q} placeholder={t("log.filter")} aria-label={t("log.filter")} onChange={(e) => setQ(e.target.value)} />
            </label>
            <select className="select-sm" value={kind} aria-label={t("log.kind")} onChange={(e) => setKind(e.target.value as Kind)}>
              <option value="all">{t("log.all")}</option>
              <option value="run">{t("log.run")}</option>
              <option value="node">{t("log.node")}</option>
              <option value="usage">{t("log.usage")}</option>
              <option value="other">{t("log.other")}</option>
            </select>
            <span className="faint num">{rows.length === log.length ? log.length : `${rows.length} / ${log.length}`}</span>
            <span className="grow" />
            {!following && <Button small kind="ghost" icon="down" onClick={jump}>{t("streams.jump")}</Button>}
          </>
        ) : (
          last && (
            <span className="log-last faint">
              <span className="num">#{last.seq}</span> {last.event} {last.node && <span className="mono">{last.node}</span>} {brief(last)}
            </span>
          )
        )}
      </header>
      {open && timeline && <Timeline state={state} selected={selected} onSelect={onSelect} />}
      {open && !timeline && (
        <div className="log-split">
          <div className="log-rows" ref={scroller} onScroll={(e) => setTop(e.currentTarget.scrollTop)} tabIndex={0} role="listbox" aria-label={t("log.title")} data-testid="log"
            onKeyDown={(e) => {
              const by = e.key === "ArrowDown" ? 1 : e.key === "ArrowUp" ? -1 : 0;
              if (!by) return;
              e.preventDefault();
              const at = rows.findIndex((x) => x.seq === picked);
              pick(rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.max(0, Math.min(rows.length - 1, at + by))]);
            }}>
            <div style={{ height: rows.length * ROW, position: "relative" }}>
              {rows.slice(from, to).map((e, i) => (
                <div key={e.seq} role="option" aria-selected={e.seq === picked} className={`log-row k-${kindOf(e.event)}`} style={{ top: (from + i) * ROW }} onClick={() => pick(e)} onDoubleClick={() => e.node && onSelect(e.node)}>
                  <span className="num faint">{e.seq}</span>
                  <span className="num faint">{clock(e.ts)}</span>
                  <span className="log-event">{e.event}</span>
                  <span className="mono log-node">{e.node ?? ""}</span>
                  <span className="log-brief">{brief(e)}</span>
                </div>
              ))}
            </div>
            {rows.length === 0 && <p className="faint pad">{log.length ? t("log.nomatch") : t("log.empty")}</p>}
          </div>
          {entry && (
            <div className="log-detail">
              <header>
                <b className="num">#{entry.seq}</b> <span>{entry.event}</span>
                <span className="grow" />
                {entry.node && <Button small kind="ghost" onClick={() => onSelect(entry.node!)}>{t("log.goto")}</Button>}
                <Button small kind="ghost" icon="retry" why={whyNoFork()} hint={w("fork.seq.hint")} onClick={() => onFork({ atSeq: entry.seq })} testId="fork-event">{w("fork")}</Button>
                <CopyButton text={() => JSON.stringify(entry, null, 2)} label={t("copy.json")} />
                <Button small kind="ghost" icon="close" label={t("close")} onClick={() => setPicked(null)} />
              </header>
              <JsonView value={entry.data as never} />
            </div>
          )}
        </div>
      )}
    </section>
  );
}

export function brief(e: LogEntry): string {
  const d = e.data;
  const err = d["error"] as { code?: string; message?: string } | null | undefined;
  if (e.event === "node_state_change") {
    const parts = [nodeWord(String(d["status"]) as never).toLowerCase()];
    if (Number(d["attempt"]) > 1) parts.push(t("attempt.n", { n: Number(d["attempt"]) }));
    if (d["expected"] !== undefined && d["expected"] !== null) parts.push(`${d["arrived"] ?? 0}/${d["expected"]}`);
    if (err?.code) parts.push(err.code);
    if (typeof d["reason"] === "string") parts.push(d["reason"]);
    return parts.join(" · ");
  }
  if (e.event === "token_usage") return `${d["model"] ?? ""} ${d["input_tokens"] ?? 0} → ${d["output_tokens"] ?? 0}`;
  if (e.event === "tool_execution") return `${d["tool"] ?? ""} ${d["arguments"] ?? ""} → ${err?.code ?? d["result"] ?? ""}`;
  if (err?.code) return `${err.code}: ${err.message ?? ""}`;
  if (e.event === "loop:round") return [`#${d["round"]}/${d["of"]}`, d["score"] === null ? null : d["score"], d["note"], d["exit_reason"] ?? d["decision"]].filter((x) => x !== null && x !== undefined).join(" · ");
  if (e.event === "progress") return `${d["done"] ?? 0}/${d["of"] ?? 0}`;
  if (e.event === "vote:cast") return `${d["voter"] ?? ""}: ${d["vote"] ?? ""}`;
  if (e.event === "human_review:reminder") return `${d["in_s"] ?? 0} s`;
  if (e.event === "factcheck:checking") return `${d["source"] ?? ""}: ${d["claim"] ?? ""}`;
  if (e.event === "factcheck:result") return [d["verdict"], typeof d["confidence"] === "number" ? d["confidence"].toFixed(2) : null, d["claim"]].filter((x) => typeof x === "string").join(" · ");
  if (e.event === "claims:flagged") return String(d["count"] ?? 0);
  if (e.event === "human_review:resolved") return [d["action"], d["reviewer"], d["reason"]].filter((x) => typeof x === "string").join(" · ");
  if (e.event === "user_input") return String(d["text"] ?? "");
  if (e.event === "signal:received") return String(d["signal"] ?? "");
  if (e.event === "memory_retrieved") return `${d["count"] ?? 0} · ${d["query"] ?? ""}`;
  const said = d["message"] ?? d["reason"];
  return typeof said === "string" ? said : "";
}
