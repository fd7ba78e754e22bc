/* The frame around every page: where one can go, whether what one sees is live, and who one is. New areas are one row in `areas.tsx`. */
import { lazy, Suspense, useEffect, useState, type ReactNode } from "react";
import type { Session } from "./api/types";
import { LANGUAGES, setLanguage, t, useLanguage, type Key } from "./i18n";
import { areas } from "./areas";
import { timeLeft } from "./state/review";
import { near } from "./state/reviews";
import { live, profiles, roleAllows, signOut } from "./state/session";
import { pageHelp } from "./state/help";
import { theme, type Theme } from "./state/prefs";
import { runUrl, useRoute } from "./state/router";
import { useStore, type Store } from "./state/store";
import { announce } from "./ui/announce";
import { Button, Dialog } from "./ui/controls";
import { useKeys, useNow } from "./ui/hooks";
import { Icon, Logo, type IconName } from "./ui/icons";
import { Link } from "./ui/link";
import { duration } from "./util/format";
import { useSyncExternalStore } from "react";

const GoTo = lazy(() => import("./pages/goto"));

function Place({ to, icon, label, current, badge }: { to: string; icon: IconName; label: Key; current: boolean; badge?: Store<number> }) {
  return (
    <Link to={to} className="rail-item" current={current}>
      <Icon name={icon} size={18} />
      <span>{t(label)}</span>
      {badge && <Badge count={badge} />}
    </Link>
  );
}

function Badge({ count }: { count: Store<number> }) {
  const n = useStore(count);
  if (n === 0) return null;
  return (
    <b className="rail-badge num">
      {n > 99 ? "99+" : n}
      <span className="sr-only"> {t("nav.pending")}</span>
    </b>
  );
}

export function Shell({ who, children }: { who: Session; children: ReactNode }) {
  const r = useRoute();
  const mode = useStore(theme);
  const [help, setHelp] = useState(false);
  const lang = useLanguage();
  const [going, setGoing] = useState(false);
  const askHelp = () => {
    const own = pageHelp.get();
    if (own) own();
    else setHelp(true);
  };
  useKeys({ "?": askHelp });
  useEffect(() => {
    // Also while one types, as everywhere; a dialog that is open stays the only one.
    const on = (e: KeyboardEvent) => {
      if ((e.ctrlKey || e.metaKey) && !e.shiftKey && !e.altKey && e.key.toLowerCase() === "k" && !document.querySelector("dialog[open]")) {
        e.preventDefault();
        setGoing(true);
      }
    };
    document.addEventListener("keydown", on);
    return () => document.removeEventListener("keydown", on);
  }, []);
  const next: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
  const themeIcon: Record<Theme, IconName> = { system: "screen", light: "sun", dark: "moon" };
  return (
    <div className="shell">
      <a className="skip" href="#main">{t("nav.skip")}</a>
      <nav className="rail" aria-label={t("nav.label")}>
        <Link to="/" className="rail-logo" label="Sluice"><Logo /></Link>
        <div className="rail-places">
          <Place to="/" icon="runs" label="nav.runs" current={r.page === "runs" || r.page === "run"} />
          {areas.filter((a) => !a.needs || roleAllows(a.needs)).map((a) => (
            <Place key={a.id} to={"/" + a.id} icon={a.icon} label={a.label} current={r.page === "area" && r.area === a.id} badge={a.badge} />
          ))}
        </div>
        <div className="rail-end">
          {LANGUAGES.length > 1 && (
            <button type="button" className="rail-btn" data-tip={t("language")} aria-label={t("language")} onClick={() => setLanguage(LANGUAGES[(LANGUAGES.findIndex((l) => l.id === lang) + 1) % LANGUAGES.length]!.id)}>
              <span className="rail-lang">{LANGUAGES.find((l) => l.id === lang)?.short}</span>
            </button>
          )}
          <button type="button" className="rail-btn" aria-label={t("help.title")} data-tip={t("help.title") + " (?)"} onClick={askHelp}>
            <Icon name="help" size={17} />
          </button>
          <button type="button" className="rail-btn" aria-label={t("theme", { mode: t(("theme." + mode) as Key) })} data-tip={t("theme", { mode: t(("theme." + mode) as Key) })} onClick={() => theme.set(next[mode])} data-testid="theme">
            <Icon name={themeIcon[mode]} size={17} />
          </button>
          <button type="button" className="rail-btn" aria-label={t("signout", { name: who.name })} data-tip={t("signout.tip", { name: who.name, role: who.role })} onClick={() => void signOut()} data-testid="signout">
            <Icon name="out" size={17} />
          </button>
        </div>
      </nav>
      <div className="stage">
        <ConnectionBanner />
        <main id="main" tabIndex={-1}>{children}</main>
      </div>
      <Nearing />
      {going && (
        <Suspense fallback={null}>
          <GoTo onClose={() => setGoing(false)} />
        </Suspense>
      )}
      {help && <Help onClose={() => setHelp(false)} />}
    </div>
  );
}

export function useLive() {
  return useSyncExternalStore(
    (fn) => live.onStatus(fn),
    () => live.status,
  );
}

/* A person is waited for, and not for much longer: said on every page. */
function Nearing() {
  const n = useStore(near);
  const now = useNow(1000, n !== null);
  const left = n ? timeLeft(n.deadline, now) : null;
  const said = n && left && left.ms > 0 ? n.run + n.node + n.deadline : "";
  useEffect(() => {
    if (said) announce(t("near.announce"));
  }, [said]);
  if (!n || !left || left.ms === 0) return null;
  return (
    <div className="toast" role="status" data-testid="near">
      <Icon name="waiting" size={16} />
      <span>{t("near.text", { node: n.node, t: duration(Math.ceil(left.ms / 1000) * 1000).replace(".0", "") })}</span>
      <Link to={runUrl(n.run, n.node)} className="btn btn-plain btn-sm">{t("near.open")}</Link>
      <Button small kind="ghost" icon="close" label={t("close")} onClick={() => near.set(null)} />
    </div>
  );
}

/* Whether what one sees is live, and up to which event. */
export function ConnectionPill({ seq }: { seq?: number | null }) {
  const s = useLive();
  const word = s.phase === "live" ? t("live.live") : s.phase === "reconnecting" ? t("live.reconnecting", { n: s.attempt }) : s.phase === "offline" ? t("live.offline") : t("live.connecting");
  const tip = s.phase === "live" ? t("live.tip") : s.reason ? t("live.tip.lost", { reason: s.reason }) : word;
  return (
    <button type="button" className={"pill pill-" + (s.phase === "idle" ? "connecting" : s.phase)} data-tip={tip} data-testid="connection" data-phase={s.phase} onClick={() => live.retryNow()}>
      <i aria-hidden="true" />
      <span>{word}</span>
      {seq ? <span className="faint num">#{seq}</span> : null}
    </button>
  );
}

function ConnectionBanner() {
  const s = useLive();
  const now = useNow(1000, s.phase === "offline");
  if (s.phase !== "offline") return null;
  const wait = s.retryAt === null ? 0 : Math.max(0, Math.ceil((s.retryAt - now) / 1000));
  return (
    <div className="banner banner-warn" role="alert">
      <span>{wait > 0 ? t("live.banner", { s: wait }) : t("live.banner.now")}</span>
      <Button small onClick={() => live.retryNow()}>{t("live.retry")}</Button>
    </div>
  );
}

/* Said wherever answers are shown: words of the simulator must never pass for words of a model. */
export function SimulatorNote({ run }: { run?: boolean }) {
  const all = useStore(profiles);
  const chat = all?.filter((p) => (p.kind ?? "chat") === "chat") ?? [];
  const byDefault = (chat.find((p) => p.default) ?? (chat.length === 1 ? chat[0] : undefined))?.simulated === true;
  if (run === undefined ? !byDefault : !run) return null;
  return (
    <span className="chip chip-sim" tabIndex={0} data-tip={run ? t("sim.run.tip") : t("sim.tip")} data-testid="simulated">
      <Icon name="bolt" size={12} />
      {run ? t("sim.run") : t("sim.default")}
    </span>
  );
}

function Help({ onClose }: { onClose: () => void }) {
  const keys: [string, Key][] = [
    ["?", "help.help"],
    ["Ctrl K", "help.goto"],
    ["n", "help.new"],
    ["/", "help.search"],
    ["p", "help.pause"],
    ["c", "help.cancel"],
    ["f", "help.fit"],
    ["e", "help.log"],
    ["i", "help.inspector"],
    ["j k", "help.jk"],
    ["Esc", "help.esc"],
  ];
  return (
    <Dialog title={t("help.title")} onClose={onClose}>
      <dl className="keys">
        {keys.map(([k, d]) => (
          <div key={k}>
            <dt>{k.split(" ").map((x) => <kbd key={x}>{x}</kbd>)}</dt>
            <dd>{t(d)}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
