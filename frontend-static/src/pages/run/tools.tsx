/* What the tools of a model were asked, and what they said. */
import type { Extras, ToolRun } from "../../state/extras";
import { duration } from "../../util/format";
import { Icon } from "../../ui/icons";
import { w } from "./words";

/* Of a node, or of what is in it. */
export const toolsIn = (x: Extras, path: string): ToolRun[] => x.tools.filter((r) => r.node === path || r.node.startsWith(path + "#"));

export function Tools({ runs, onSelect }: { runs: readonly ToolRun[]; onSelect: (path: string) => void }) {
  return (
    <ol className="tool-runs" data-testid="tool-runs">
      {runs.map((r) => (
        <li key={r.seq} className={r.ok ? "st-succeeded" : "st-failed"}>
          <header>
            <Icon name={r.ok ? "check" : "cross"} size={13} />
            <button type="button" className="link mono" title={r.node} onClick={() => onSelect(r.node)}>{r.tool}</button>
            <span className="grow" />
            <span className="faint num">{[r.iteration === null ? null : w("tool.turn", { n: r.iteration }), r.ms === null ? null : duration(r.ms)].filter(Boolean).join(" · ")}</span>
          </header>
          <pre className="mono faint">{r.arguments}</pre>
          <pre className="mono">{r.said}</pre>
        </li>
      ))}
    </ol>
  );
}
