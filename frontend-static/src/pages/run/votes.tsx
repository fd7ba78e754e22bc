/* What the voters said. */
import type { Ballot } from "../../state/extras";
import { Icon } from "../../ui/icons";
import { w } from "./words";

export function tally(votes: readonly Ballot[]): string {
  const numbers = votes.flatMap((v) => (typeof v.vote === "number" ? [v.vote] : []));
  if (numbers.length) return w("vote.mean", { n: (numbers.reduce((s, v) => s + v, 0) / numbers.length).toFixed(1).replace(/\.0$/, "") });
  const n = (what: string) => votes.filter((v) => v.vote === what).length;
  return w("vote.tally", { yes: n("yes"), no: n("no") }) + (n("abstain") ? " · " + w("vote.abstain", { n: n("abstain") }) : "");
}

export function Votes({ votes }: { votes: readonly Ballot[] }) {
  return (
    <div className="votes">
      <p className="votes-tally num">{tally(votes)}</p>
      <ul>
        {votes.map((v) => (
          <li key={v.voter} className={v.vote === "yes" ? "st-succeeded" : v.vote === "no" ? "st-failed" : "st-queued"}>
            <span className="vote-mark num">{typeof v.vote === "number" ? v.vote : <Icon name={v.vote === "yes" ? "check" : v.vote === "no" ? "cross" : "skipped"} size={13} />}</span>
            <b>{v.voter}</b> {typeof v.vote === "string" && <span className="faint">{v.vote}</span>}
            {v.reason && <p>{v.reason}</p>}
          </li>
        ))}
      </ul>
    </div>
  );
}
