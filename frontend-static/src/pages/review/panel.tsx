/* One question to a person: what was drafted, and the answers that are possible. Used inside the run and from the list of approvals. */
import { useEffect, useMemo, useRef, useState } from "react";
import * as ops from "../../api/ops";
import type { Json } from "../../api/types";
import { t } from "../../i18n";
import type { Review } from "../../state/extras";
import { standing, timeLeft } from "../../state/review";
import { roleAllows, session } from "../../state/session";
import { duration } from "../../util/format";
import { diff } from "../../util/diff";
import { Button } from "../../ui/controls";
import { useNow } from "../../ui/hooks";
import { Icon } from "../../ui/icons";
import { JsonView } from "../../ui/json";
import { TextField, TroubleNote, useTask } from "../../ui/kit";
import { Markdown } from "../../ui/markdown";
import { errorText, FieldView } from "../start";
import { fieldsOf, initialDraft, readDraft, type Draft, type Field } from "../form";
import { w } from "./words";
import "./review.css";

export function TimeLeft({ deadline }: { deadline: string | null }) {
  const now = useNow(1000, deadline !== null);
  const left = timeLeft(deadline, now);
  if (!left) return <span className="faint">{w("due.none")}</span>;
  const text = left.ms === 0 ? w("due.over") : duration(Math.ceil(left.ms / 1000) * 1000).replace(".0", "");
  return (
    <span className={"countdown num" + (left.urgent ? " is-urgent" : "")} role="timer" data-testid="countdown">
      <Icon name="waiting" size={13} /> {text}
    </span>
  );
}

const textOf = (v: Json): string => (v === null ? "" : typeof v === "string" ? v : JSON.stringify(v, null, 2));

/* `latest` finds out who answered, where no journal is followed. */
export function ReviewPanel({ runId, review, now, onDone, latest, autoFocus = false }: { runId: string; review: Review; now: Review | undefined; onDone?: () => void; latest?: () => Promise<Review | undefined>; autoFocus?: boolean }) {
  const [asked] = useState(review); // the question that is on the screen, whatever comes after it
  const fields = useMemo(() => fieldsOf(asked.fields ?? undefined), [asked]);
  const asJson = fields.length === 0 && asked.draft !== null && typeof asked.draft !== "string";
  const [text, setText] = useState(() => textOf(asked.draft));
  const [draft, setDraft] = useState<Draft>(() => fromDraft(fields, asked.draft));
  const [errors, setErrors] = useState<{ [name: string]: string }>({});
  const [editing, setEditing] = useState(false);
  const [rejecting, setRejecting] = useState(false);
  const [comment, setComment] = useState("");
  const [complaint, setComplaint] = useState<string | undefined>();
  const [sent, setSent] = useState<string | null>(null);
  const [refused, setRefused] = useState(false);
  const [found, setFound] = useState<Review | undefined>();
  const task = useTask();
  const root = useRef<HTMLElement>(null);
  const s = session.get();
  const me = s.phase === "in" ? s.who.name : "";
  const deadlineMs = asked.deadlineAt ? Date.parse(asked.deadlineAt) : null;
  const clockMs = useNow(1000, deadlineMs !== null && sent === null);
  const at = standing({ seen: asked.asked, now: now ?? found, sent, refused, me, deadlineMs, clockMs });
  const why = !roleAllows("run") ? w("why.role") : at.phase === "late" ? w("why.over") : null;
  const changed = fields.length ? JSON.stringify(readDraft(fields, draft).inputs) !== JSON.stringify(readDraft(fields, fromDraft(fields, asked.draft)).inputs) : editing && text !== textOf(asked.draft);

  useEffect(() => {
    if (autoFocus) root.current?.querySelector<HTMLElement>("textarea, input, select, .btn-primary")?.focus();
  }, [autoFocus]);
  const ended = at.phase === "mine" || at.phase === "taken" || at.phase === "expired";
  const done = useRef(onDone);
  useEffect(() => {
    done.current = onDone;
  });
  useEffect(() => {
    if (at.phase === "mine") done.current?.();
  }, [at.phase]);

  async function send(action: ops.ReviewAction) {
    let content: Json | undefined;
    setComplaint(undefined);
    if (action === "modify" || action === "approve") {
      if (fields.length) {
        const { inputs, errors: bad } = readDraft(fields, draft);
        const said = Object.fromEntries(Object.entries(bad).map(([k, e]) => [k, errorText(e)]));
        setErrors(said);
        const first = Object.keys(said)[0];
        if (first) return root.current?.querySelector<HTMLElement>(`[name="${CSS.escape(first)}"]`)?.focus();
        // A draft that is no object, or lacks what the form has a default for, would not be taken as it is.
        const has = isObject(asked.draft) ? asked.draft : {};
        if (action === "modify" || !isObject(asked.draft) || Object.keys(inputs).some((k) => !(k in has))) content = inputs;
      } else if (action === "modify") {
        if (asJson) {
          try {
            content = JSON.parse(text) as Json;
          } catch {
            return setComplaint(w("json.bad"));
          }
        } else content = text;
      }
    }
    if (action === "reject" && !comment.trim()) {
      setComplaint(w("comment.needed"));
      return root.current?.querySelector<HTMLElement>("[name=comment]")?.focus();
    }
    const act = action === "approve" && content !== undefined ? "modify" : action;
    await task.run(action, async () => {
      try {
        await ops.review(runId, asked.node, act, { ...(content === undefined ? {} : { content }), ...(comment.trim() ? { reason: comment.trim() } : {}) });
        setSent(act);
      } catch (e) {
        if ((e as { status?: number }).status === 409) {
          setRefused(true);
          if (latest) setFound(await latest().catch(() => undefined));
          return;
        }
        throw e;
      }
    });
  }

  if (ended) {
    const word = at.action ? w(("action." + at.action) as "action.approve") : "";
    return (
      <section className={`review is-done is-${at.phase}`} data-testid="review-done" data-phase={at.phase} role="status">
        <Icon name={at.phase === "mine" ? "check" : "person"} size={15} />
        <span>{at.phase === "mine" ? w("done.mine", { action: word }) : at.phase === "expired" ? w("done.expired") : at.by ? w("done.taken", { who: at.by, action: word }) : w("done.taken.unknown")}</span>
        {(now ?? found)?.reason && <q>{(now ?? found)?.reason}</q>}
      </section>
    );
  }

  return (
    <section className="review" ref={root} data-testid="review" data-node={asked.node} aria-label={w("panel", { node: asked.node })}>
      {asked.instructions && (
        <div className="review-ask">
          <h4>{w("instructions")}</h4>
          <div className="prose"><Markdown text={asked.instructions} /></div>
        </div>
      )}
      {fields.length > 0 ? (
        <div className="review-form">
          {asked.draft !== null && typeof asked.draft === "string" && <div className="review-draft prose"><Markdown text={asked.draft} /></div>}
          {fields.map((f) => <FieldView key={f.name} f={f} first={false} value={draft[f.name]!} error={errors[f.name]} onChange={(v) => setDraft((d) => ({ ...d, [f.name]: v }))} />)}
        </div>
      ) : editing ? (
        <div className="review-edit">
          <TextField label={w("yours")} name="content" rows={Math.min(18, Math.max(5, text.split("\n").length + 2))} mono={asJson} value={text} onChange={setText} autoFocus error={complaint && !rejecting ? complaint : undefined} />
          <div>
            <h4>{w("changes")}</h4>
            <Changes a={textOf(asked.draft)} b={text} />
          </div>
        </div>
      ) : asked.draft === null ? (
        <p className="faint">{w("draft.none")}</p>
      ) : (
        <div className="review-draft" tabIndex={0} aria-label={w("draft")}>
          {typeof asked.draft === "string" ? <div className="prose"><Markdown text={asked.draft} /></div> : <JsonView value={asked.draft} />}
        </div>
      )}
      {rejecting && (
        <div className="review-reject">
          <TextField label={w("comment.reject")} note={w("reject.lead")} name="comment" rows={3} value={comment} onChange={setComment} autoFocus error={complaint} />
        </div>
      )}
      <TroubleNote of={task.trouble} title={w("failed.send")} />
      <footer className="review-foot">
        {rejecting ? (
          <>
            <Button kind="danger" icon="cross" busy={task.busy === "reject"} why={why} onClick={() => void send("reject")} testId="review-reject-go">{w("reject.go")}</Button>
            <Button onClick={() => { setRejecting(false); setComplaint(undefined); }}>{t("cancel.dismiss")}</Button>
          </>
        ) : (
          <>
            <Button kind="primary" icon="check" busy={task.busy === "approve" || task.busy === "modify"} why={why} onClick={() => void send(changed ? "modify" : "approve")} testId="review-approve">{w(changed ? "approve.changed" : "approve")}</Button>
            {fields.length === 0 && (editing ? <Button onClick={() => { setEditing(false); setText(textOf(asked.draft)); setComplaint(undefined); }}>{w("edit.stop")}</Button> : <Button icon="text" why={why} onClick={() => setEditing(true)} testId="review-edit">{w("edit")}</Button>)}
            <Button icon="cross" why={why} onClick={() => setRejecting(true)} testId="review-reject">{w("reject")}</Button>
            {asked.allowSkip && <Button kind="ghost" icon="skipped" busy={task.busy === "skip"} why={why} hint={w("skip.hint")} onClick={() => void send("skip")} testId="review-skip">{w("skip")}</Button>}
          </>
        )}
        <span className="grow" />
        <TimeLeft deadline={asked.deadlineAt} />
      </footer>
    </section>
  );
}

function isObject(v: Json): v is { [key: string]: Json } {
  return v !== null && typeof v === "object" && !Array.isArray(v);
}

/* A draft that is an object fills the form's fields; the schema's defaults fill the rest. */
function fromDraft(fields: Field[], draft: Json): Draft {
  const d = initialDraft(fields);
  if (isObject(draft))
    for (const f of fields) {
      const v = draft[f.name];
      if (v === undefined) continue;
      d[f.name] = f.kind === "boolean" ? v === true : f.kind === "json" || f.kind === "choice" ? JSON.stringify(v) : textOf(v);
    }
  return d;
}

export function Changes({ a, b }: { a: string; b: string }) {
  const parts = useMemo(() => diff(a, b), [a, b]);
  if (a === b) return <p className="faint">{w("changes.none")}</p>;
  return (
    <pre className="diff" data-testid="diff">
      {parts.map((p, i) => (p.kind === "same" ? <span key={i}>{p.text}</span> : p.kind === "gone" ? <del key={i}>{p.text}</del> : <ins key={i}>{p.text}</ins>))}
    </pre>
  );
}
