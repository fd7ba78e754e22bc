/* What a run of the draft will take, as the server forecasts it. Asked for while it is looked at, a moment after the last change. */
import { useEffect, useState } from "react";
import type { Definition } from "../../api/types";
import { estimate, type Estimate } from "../../api/workflows";
import { count, duration, usd } from "../../util/format";
import { Skeleton } from "../../ui/controls";
import { Icon, kindIcon } from "../../ui/icons";
import { told } from "./dialogs";
import { kindOf } from "./kinds";
import { tidy } from "./model";
import { w } from "./words";

export function EstimateSection({ def, errors, onGo }: { def: Definition; errors: number; onGo: (path: string) => void }) {
  const [e, setE] = useState<Estimate | null>(null);
  const [failed, setFailed] = useState<string | null>(null);
  const [all, setAll] = useState(false);
  const ready = errors === 0 && def.nodes.length > 0;
  useEffect(() => {
    if (!ready) return;
    const stop = new AbortController();
    const id = setTimeout(() => {
      estimate(tidy(def), stop.signal).then(
        (x) => {
          setE(x);
          setFailed(null);
        },
        (x) => !stop.signal.aborted && setFailed(told(x).message),
      );
    }, 700);
    return () => {
      stop.abort();
      clearTimeout(id);
    };
  }, [def, ready]);
  if (def.nodes.length === 0) return null;
  const rows = [...(e?.nodes ?? [])].filter((n) => n.tokens > 0 || n.cost_usd > 0).sort((a, b) => b.cost_usd - a.cost_usd || b.tokens - a.tokens);
  const most = Math.max(1, ...rows.map((n) => n.tokens));
  return (
    <section className={"f-section estimate" + (ready ? "" : " is-old")} data-testid="estimate">
      <h3>{w("estimate.title")}</h3>
      {!ready ? <p className="f-note">{w("estimate.errors")}</p> : failed ? <p className="f-warn">{w("estimate.failed", { why: failed })}</p> : !e ? <Skeleton rows={2} /> : null}
      {e && (
        <>
          <dl className="estimate-figures">
            <Figure k={w("estimate.tokens")} v={count(e.tokens.expected)} range={e.tokens.min === e.tokens.max ? null : `${count(e.tokens.min)} – ${count(e.tokens.max)}`} />
            <Figure k={w("estimate.cost")} v={usd(e.cost_usd.expected)} range={e.cost_usd.min === e.cost_usd.max ? null : `${usd(e.cost_usd.min)} – ${usd(e.cost_usd.max)}`} />
            <Figure k={w("estimate.time")} v={duration(e.duration_s * 1000)} range={null} />
          </dl>
          {e.warnings.map((x) => <p key={x.code + x.message} className="estimate-warn"><Icon name="alert" size={12} /> {x.message}</p>)}
          {rows.length > 0 && (
            <ul className="estimate-nodes">
              {rows.slice(0, all ? rows.length : 5).map((n) => (
                <li key={n.path}>
                  <button type="button" className={"k-" + kindOf(n.type)} onClick={() => onGo(n.path)} title={n.model ? `${n.type} · ${n.model}` : n.type}>
                    <Icon name={kindIcon(n.type)} size={12} />
                    <span>{n.path}{n.runs.expected > 1 && <em className="faint num"> ×{n.runs.expected}</em>}</span>
                    <i aria-hidden="true"><i style={{ width: `${(n.tokens / most) * 100}%` }} /></i>
                    <span className="num faint">{count(n.tokens)}</span>
                  </button>
                </li>
              ))}
            </ul>
          )}
          {rows.length > 5 && <button type="button" className="link f-note" onClick={() => setAll(!all)}>{all ? w("estimate.less") : w("estimate.all", { n: rows.length })}</button>}
        </>
      )}
    </section>
  );
}

function Figure({ k, v, range }: { k: string; v: string; range: string | null }) {
  return (
    <div>
      <dt>{k}</dt>
      <dd className="num">{v}</dd>
      {range && <dd className="num faint">{range}</dd>}
    </div>
  );
}
