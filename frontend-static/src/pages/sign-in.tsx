import { useState } from "react";
import { ApiError } from "../api/client";
import { t } from "../i18n";
import { signIn } from "../state/session";
import { Button, Code } from "../ui/controls";
import { Logo } from "../ui/icons";

export function SignIn({ notice }: { notice: string | null }) {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(notice === "refused" ? t("signin.refused") : null);
  async function go() {
    if (!token.trim()) return setError(t("signin.empty"));
    setBusy(true);
    setError(null);
    try {
      // The whole printed address may be pasted as well as the token alone.
      const m = /token=([^&\s]+)/.exec(token);
      await signIn(m ? decodeURIComponent(m[1]!) : token);
    } catch (e) {
      setBusy(false);
      setError(e instanceof ApiError ? (e.status === 401 || e.status === 403 ? t("signin.refused") : `${e.message} (${e.code})`) : String(e));
    }
  }
  return (
    <main className="signin">
      <form
        className="signin-card"
        onSubmit={(e) => {
          e.preventDefault();
          void go();
        }}
      >
        <div className="signin-head">
          <Logo size={36} />
          <div>
            <h1>Sluice</h1>
            <p className="muted">{t("signin.lead")}</p>
          </div>
        </div>
        {notice === "ended" && <p className="note">{t("signin.ended")}</p>}
        {notice === "bye" && <p className="note">{t("signin.bye")}</p>}
        <label className="field">
          <span className="field-name">{t("signin.token")}</span>
          <input
            type="password"
            name="token"
            autoComplete="off"
            spellCheck={false}
            autoFocus
            className="mono"
            value={token}
            onChange={(e) => setToken(e.target.value)}
            aria-invalid={error !== null}
            aria-describedby="signin-error"
            data-testid="token"
          />
          <span className="field-error" id="signin-error" role="alert">{error}</span>
        </label>
        <Button type="submit" kind="primary" busy={busy} testId="signin">{t("signin.go")}</Button>
        <hr />
        <h2>{t("signin.where")}</h2>
        <p className="muted">{t("signin.where.up")}</p>
        <p className="muted">{t("signin.where.file")}</p>
        <Code text="cat data/admin-token" label={t("copy")} />
        <p className="faint">{t("signin.cookie")}</p>
      </form>
    </main>
  );
}
