/* Tokens: the secret of a new one is shown once, and is gone with the dialog. */
import { useState } from "react";
import { admin, type Token } from "../../api/ops";
import { t } from "../../i18n";
import { ago, full } from "../../util/format";
import { Button, Code, Dialog } from "../../ui/controls";
import { Confirm, SelectField, Show, TextField, TroubleNote, useLoad, useTask } from "../../ui/kit";
import { w, type Word } from "./words";

const ROLES = ["viewer", "runner", "editor", "admin"] as const;

export function Tokens() {
  const load = useLoad(() => admin.tokens(), "tokens");
  const [making, setMaking] = useState(false);
  const [secret, setSecret] = useState<{ name: string; token: string } | null>(null);
  const [revoking, setRevoking] = useState<Token | null>(null);
  return (
    <>
      <div className="filters">
        <p className="muted">{w("tokens.lead")}</p>
        <span className="grow" />
        <Button kind="primary" icon="plus" onClick={() => setMaking(true)} testId="new-token">{w("tokens.new")}</Button>
      </div>
      <Show from={load} title={w("failed")}>
        {({ items }) => (
          <div className="table-wrap">
            <table className="runs" data-testid="tokens">
              <thead><tr><th scope="col">{w("tokens.name")}</th><th scope="col">{w("tokens.role")}</th><th scope="col">{w("tokens.ends")}</th><th scope="col" className="r">{w("tokens.made")}</th><th scope="col" className="r">{w("tokens.expires")}</th><th scope="col"><span className="sr-only">{w("tokens.revoke")}</span></th></tr></thead>
              <tbody>
                {items.map((x) => {
                  const over = x.expires_at && Date.parse(x.expires_at) < Date.now();
                  return (
                    <tr key={x.id} data-token={x.name} className={x.revoked_at || over ? "is-gone" : ""}>
                      <td><b>{x.name}</b></td>
                      <td>{x.role}</td>
                      <td className="mono faint">…{x.last4}</td>
                      <td className="r num" title={full(x.created_at)}>{ago(x.created_at)}</td>
                      <td className="r num" title={full(x.expires_at)}>{x.expires_at ? (over ? w("tokens.expired") : full(x.expires_at)) : <span className="faint">{w("tokens.never")}</span>}</td>
                      <td className="r">{x.revoked_at ? <span className="faint">{w("tokens.revoked", { when: ago(x.revoked_at) })}</span> : <Button small kind="ghost" onClick={() => setRevoking(x)} testId="revoke-token">{w("tokens.revoke")}</Button>}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
        )}
      </Show>
      {making && <Make onClose={() => setMaking(false)} onMade={(s) => { setMaking(false); setSecret(s); load.reload(); }} />}
      {secret && (
        <Dialog title={w("tokens.secret", { name: secret.name })} onClose={() => setSecret(null)} wide>
          <div className="dialog-body" data-testid="token-secret">
            <p><b>{w("tokens.secret.body")}</b></p>
            <Code text={secret.token} label={t("copy")} />
            <footer className="dialog-foot"><span className="grow" /><Button kind="primary" onClick={() => setSecret(null)} testId="secret-done">{w("tokens.secret.done")}</Button></footer>
          </div>
        </Dialog>
      )}
      {revoking && <Revoke x={revoking} onClose={() => setRevoking(null)} onDone={() => { setRevoking(null); load.reload(); }} />}
    </>
  );
}

function Make({ onClose, onMade }: { onClose: () => void; onMade: (s: { name: string; token: string }) => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<string>("runner");
  const [ends, setEnds] = useState("");
  const [bad, setBad] = useState(false);
  const task = useTask();
  const go = async () => {
    setBad(!name.trim());
    if (!name.trim()) return;
    let made: { name: string; token: string } | null = null;
    const ok = await task.run("make", async () => {
      const r = await admin.makeToken({ name: name.trim(), role, ...(ends ? { expires_at: new Date(ends).toISOString() } : {}) });
      made = { name: r.name, token: r.token };
    });
    if (ok && made) onMade(made);
  };
  return (
    <Dialog title={w("tokens.new")} onClose={onClose}>
      <form className="dialog-body" data-testid="token-form" noValidate onSubmit={(e) => { e.preventDefault(); void go(); }}>
        <TextField label={w("tokens.name")} name="name" value={name} onChange={setName} autoFocus error={bad ? w("tokens.name.bad") : undefined} />
        <SelectField label={w("tokens.role")} name="role" value={role} onChange={setRole} note={w(("role." + role) as Word)} options={ROLES.map((r) => ({ value: r, label: r }))} />
        <TextField label={w("tokens.expires")} name="expires" optional type="datetime-local" value={ends} onChange={setEnds} note={w("tokens.expires.note")} />
        <TroubleNote of={task.trouble} title={w("tokens.failed")} />
        <footer className="dialog-foot">
          <span className="grow" />
          <Button onClick={onClose}>{t("cancel.dismiss")}</Button>
          <Button kind="primary" type="submit" busy={task.busy !== null} testId="make-token">{w("tokens.new")}</Button>
        </footer>
      </form>
    </Dialog>
  );
}

function Revoke({ x, onClose, onDone }: { x: Token; onClose: () => void; onDone: () => void }) {
  const task = useTask();
  return <Confirm title={w("tokens.revoke.title", { name: x.name })} body={w("tokens.revoke.body")} yes={w("tokens.revoke")} busy={task.busy !== null} trouble={task.trouble} testId="revoke-yes" onClose={onClose} onYes={() => void task.run("revoke", () => admin.revokeToken(x.id)).then((ok) => ok && onDone())} />;
}
