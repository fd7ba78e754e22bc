/* Claims: what came of looking them up, and those of an answer that nobody has looked up yet. */
import type { Check, Flagged } from "../../state/extras";
import { Icon } from "../../ui/icons";
import "../editor/kinds.css";
import { w, type Word } from "./words";

const wordOf = (c: Check): Word => (c.verified === null ? "check.looks" : c.verified ? "check.verified" : c.verdict === "contradicted" ? "check.contradicted" : "check.unverified");
const stateOf = (c: Check) => (c.verified === null ? "st-running" : c.verified ? "st-succeeded" : c.verdict === "contradicted" ? "st-failed" : "st-queued");

export function tallyOfChecks(checks: readonly Check[]): string {
  return w("check.tally", { n: checks.filter((c) => c.verified).length, of: checks.length });
}

export function Checks({ checks }: { checks: readonly Check[] }) {
  return (
    <div className="checks k-check" data-testid="checks">
      <p className="votes-tally num">{tallyOfChecks(checks)}</p>
      <ul>
        {checks.map((c) => (
          <li key={c.claim} className={stateOf(c)} data-verified={String(c.verified)}>
            <span className="vote-mark"><Icon name={c.verified === null ? "search" : c.verified ? "check" : c.verdict === "contradicted" ? "cross" : "help"} size={13} /></span>
            <div>
              <p>{c.claim}</p>
              <p className="check-line">
                <b>{w(wordOf(c), { where: c.source ?? "" })}</b>
                {c.confidence !== null && <span className="num faint">{Math.round(c.confidence * 100)} %</span>}
                {c.reason && <span className="faint">{c.reason}</span>}
              </p>
              {c.sources.map((s, i) => (
                <blockquote key={i} className="check-source">
                  <span className="chip">{s.source}</span> {/^https?:/.test(s.url ?? "") ? <a href={s.url!} target="_blank" rel="noopener noreferrer nofollow">{s.title ?? s.url}</a> : s.title}
                  <p>{s.excerpt}</p>
                </blockquote>
              ))}
            </div>
          </li>
        ))}
      </ul>
    </div>
  );
}

export function FlaggedClaims({ claims, count }: { claims: Flagged["claims"]; count: number }) {
  return (
    <div className="checks" data-testid="flagged">
      <p className="muted">{w("claims.lead")}</p>
      <ul>
        {claims.map((c, i) => (
          <li key={i} className="st-retrying">
            <span className="vote-mark"><Icon name="alert" size={13} /></span>
            <div>
              <p>{c.text}</p>
              <p className="check-line"><b>{w("claims.pending")}</b> <span className="faint">{c.kind}</span> <span className="claim-mark">{c.mark}</span></p>
            </div>
          </li>
        ))}
      </ul>
      {count > claims.length && <p className="faint">{w("claims.more", { n: count - claims.length })}</p>}
    </div>
  );
}
