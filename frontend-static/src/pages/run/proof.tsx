/* The proof of a cancel: which calls were called off before their end, how soon their sockets were closed, and what had come by then. */
import { useEffect, useState } from "react";
import * as ops from "../../api/ops";
import { bytes, count, full, usd } from "../../util/format";
import { named, w } from "./words";

const SOON_MS = 1500; // rows are written a moment after the order

/* Of one node, or of the whole run. `when` changes when there may be more of them. */
export function CalledOff({ runId, path = null, when }: { runId: string; path?: string | null; when: string }) {
  const [rows, setRows] = useState<ops.CalledOff[]>([]);
  useEffect(() => {
    let gone = false;
    const ask = () => void ops.ledger(runId).then((l) => { if (!gone) setRows(l.items); }, () => undefined); // an older server has none
    ask();
    const again = setTimeout(ask, SOON_MS);
    return () => {
      gone = true;
      clearTimeout(again);
    };
  }, [runId, when]);
  const own = path === null ? rows : rows.filter((r) => r.node_id === path);
  if (own.length === 0) return null;
  return (
    <div className="proof" data-testid="proof">
      <h3>{w("proof")}</h3>
      <ul>
        {own.map((r, i) => (
          <li key={i} title={full(r.requested_at)}>
            <span className="chip">{named("off", r.reason)}</span>
            {path === null && <span className="mono">{r.node_id}</span>}
            <span className="num">{r.close_us === undefined ? w("proof.none") : w(r.closed === "stream" ? "proof.stream" : "proof.socket", { ms: (r.close_us / 1000).toFixed(r.close_us < 9950 ? 1 : 0) })}</span>
            <span className="num faint">{bytes(r.bytes)}</span>
            {r.kind === "llm" && <span className="num faint">{w(r.estimated ? "proof.about" : "proof.tokens", { n: count((r.input_tokens ?? 0) + (r.output_tokens ?? 0)) })}</span>}
            {r.estimated_cost_usd ? <span className="num faint">{usd(r.estimated_cost_usd)}</span> : null}
          </li>
        ))}
      </ul>
    </div>
  );
}
