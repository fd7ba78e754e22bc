/* Everything runs ask of people, the most urgent first. */
import { useEffect, useState } from "react";
import { api } from "../../api/client";
import type { PendingReview } from "../../api/ops";
import { foldAll, noExtras, requestOf, type Review } from "../../state/extras";
import { loadReviews, pending, reviewKey } from "../../state/reviews";
import { logEntry } from "../../state/run";
import { runUrl } from "../../state/router";
import { useStore } from "../../state/store";
import { ago, full } from "../../util/format";
import { announce } from "../../ui/announce";
import { Button, Dialog } from "../../ui/controls";
import { useNow } from "../../ui/hooks";
import { EmptyPage, Show, useLoad } from "../../ui/kit";
import { Link } from "../../ui/link";
import { ConnectionPill } from "../../shell";
import { ReviewPanel, TimeLeft } from "./panel";
import { w } from "./words";

const asReview = (p: PendingReview): Review => ({
  node: p.node,
  ...requestOf({ draft: p.draft, instructions: p.instructions ?? null, fields: (p.fields ?? null) as never, allow_skip: p.allow_skip ?? false, deadline_at: p.deadline_at ?? null }),
  asked: 0,
  requestedAt: p.requested_at,
  reminded: 0,
  answered: 0,
  action: null,
  content: null,
  reason: null,
  reviewer: null,
});

/* Who was first is in the run's journal. */
async function whoActed(run: string, node: string): Promise<Review | undefined> {
  let after = 0;
  let x = noExtras;
  for (let i = 0; i < 100; i++) {
    const page = await api.events(run, after, 500);
    x = foldAll(x, page.items.flatMap((e) => logEntry({ ...e, run_id: run } as never) ?? []));
    if (page.items.length < 500) break;
    after = page.items[page.items.length - 1]!.seq;
  }
  return x.reviews.get(node);
}

export default function Approvals() {
  const list = useStore(pending);
  const load = useLoad(() => loadReviews().then(() => true), "reviews");
  const [open, setOpen] = useState<PendingReview | null>(null);
  const now = useNow(10_000);
  useEffect(() => {
    document.title = w("title") + " · Sluice";
  }, []);
  const n = list?.items.length ?? 0;
  useEffect(() => {
    if (n) announce(w("waiting", { n }));
  }, [n]);
  return (
    <div className="page approvals">
      <header className="page-head">
        <h1>{w("title")}</h1>
        {n > 0 && <span className="chip num">{w("waiting", { n })}</span>}
        <span className="grow" />
        <ConnectionPill />
      </header>
      <p className="muted">{w("lead")}</p>
      <Show from={load} title={w("failed")}>
        {() =>
          n === 0 ? (
            <EmptyPage icon="approvals" title={w("empty.title")} body={w("empty.body")} code={'{ "id": "sign_off", "type": "human_review",\n  "params": { "draft": "{{ nodes.report.text }}",\n              "instructions": "Check the figures.", "timeout_s": 3600 } }'}>
              <Link to="/workflows" className="btn btn-plain">{w("empty.go")}</Link>
            </EmptyPage>
          ) : (
            <div className="table-wrap">
              <table className="runs" data-testid="approvals">
                <thead>
                  <tr>
                    <th scope="col">{w("where")}</th>
                    <th scope="col">{w("what")}</th>
                    <th scope="col" className="r">{w("asked")}</th>
                    <th scope="col" className="r">{w("due")}</th>
                    <th scope="col"><span className="sr-only">{w("open")}</span></th>
                  </tr>
                </thead>
                <tbody>
                  {list!.items.map((p) => (
                    <tr key={reviewKey(p)} data-run={p.run_id}>
                      <td><Link to={runUrl(p.run_id, p.node)} label={w("openRun")}><b>{p.workflow}</b></Link> <span className="mono faint">{p.node}</span></td>
                      <td className="c-draft">{p.instructions || (typeof p.draft === "string" ? p.draft : JSON.stringify(p.draft))}</td>
                      <td className="r num" title={full(p.requested_at)}>{ago(p.requested_at, now)}</td>
                      <td className="r"><TimeLeft deadline={p.deadline_at ?? null} /></td>
                      <td className="r"><Button small kind="primary" onClick={() => setOpen(p)} testId="open-review">{w("open")}</Button></td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Show>
      {open && (
        <Dialog title={w("panel", { node: open.node })} onClose={() => { setOpen(null); void loadReviews().catch(() => {}); }} wide>
          <div className="dialog-body">
            <p className="muted lead"><Link to={runUrl(open.run_id, open.node)}>{open.workflow}</Link> <span className="mono faint">{open.run_id}</span></p>
            <ReviewPanel key={reviewKey(open)} runId={open.run_id} review={asReview(open)} now={undefined} latest={() => whoActed(open.run_id, open.node)} autoFocus onDone={() => void loadReviews().catch(() => {})} />
          </div>
        </Dialog>
      )}
    </div>
  );
}
