/* The files of a run: each as it is now, its earlier versions, and what a version changed. */
import { useEffect, useState } from "react";
import * as ops from "../../api/ops";
import type { Run, RunFile } from "../../api/types";
import { Button } from "../../ui/controls";
import { bytes, full } from "../../util/format";
import { Changes } from "../review/panel";
import { whyNoFork, type ForkFrom } from "./rerun";
import { w } from "./words";

function Body({ runId, path, latest, onFork }: { runId: string; path: string; latest: number; onFork: (from: ForkFrom) => void }) {
  const [versions, setVersions] = useState<RunFile[]>([]);
  const [chosen, setChosen] = useState<number | null>(null); // null: the latest, also when another comes
  const [texts, setTexts] = useState<{ now: RunFile; before: string } | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  const [comparing, setComparing] = useState(false);
  const version = chosen ?? latest;
  useEffect(() => {
    let gone = false;
    void ops.fileHistory(runId, path).then((h) => { if (!gone) setVersions(h.items); }, () => undefined); // the texts say what is wrong
    return () => void (gone = true);
  }, [runId, path, latest]);
  useEffect(() => {
    let gone = false;
    const ask = async () => {
      const now = await ops.file(runId, path, version);
      const before = version > 1 ? ((await ops.file(runId, path, version - 1)).content ?? "") : "";
      if (!gone) {
        setTexts({ now, before });
        setTrouble(null);
      }
    };
    void ask().catch((e: unknown) => { if (!gone) setTrouble(e instanceof Error ? e.message : String(e)); });
    return () => void (gone = true);
  }, [runId, path, version]);
  if (trouble) return <p className="file-body faint" role="alert">{w("file.failed", { why: trouble })}</p>;
  if (!texts) return null;
  return (
    <div className="file-body">
      <div className="file-bar">
        <label>
          {w("file.version")}{" "}
          <select value={version} onChange={(e) => setChosen(Number(e.target.value) === latest ? null : Number(e.target.value))} data-testid="file-version">
            {(versions.length ? versions : [texts.now]).map((v) => <option key={v.version} value={v.version}>{v.version}</option>)}
          </select>
        </label>
        <span className="faint" title={full(texts.now.at)}>{w("file.by", { node: texts.now.by })}</span>
        {version > 1 && <Button small kind="ghost" pressed={comparing} onClick={() => setComparing(!comparing)} testId="file-changes">{comparing ? w("file.text") : w("file.changes", { n: version - 1 })}</Button>}
        <Button small kind="ghost" icon="retry" why={whyNoFork()} hint={w("file.back.hint")} onClick={() => onFork({ atSeq: texts.now.seq, file: { path, version: texts.now.version } })} testId="file-back">{w("file.back")}</Button>
      </div>
      {comparing && version > 1 ? <Changes a={texts.before} b={texts.now.content ?? ""} /> : <pre className="diff" data-testid="file-text">{texts.now.content}</pre>}
    </div>
  );
}

export function Files({ run, onFork }: { run: Run; onFork: (from: ForkFrom) => void }) {
  const [open, setOpen] = useState<string | null>(null);
  const files = run.files ?? [];
  if (files.length === 0) return null;
  return (
    <div className="files" data-testid="files">
      {[...files].sort((a, b) => a.path.localeCompare(b.path)).map((f) => (
        <details key={f.path} open={open === f.path}>
          <summary onClick={(e) => { e.preventDefault(); setOpen(open === f.path ? null : f.path); }}>
            <span className="mono">{f.path}</span>
            <span className="chip num">v{f.version}</span>
            <span className="num faint">{bytes(f.bytes)}</span>
          </summary>
          {open === f.path && <Body runId={run.id} path={f.path} latest={f.version} onFork={onFork} />}
        </details>
      ))}
    </div>
  );
}
