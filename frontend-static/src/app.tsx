import { lazy, Suspense } from "react";
import { t, useLanguage } from "./i18n";
import { Link } from "./ui/link";
import { Boundary } from "./ui/boundary";
import { Problem, Skeleton } from "./ui/controls";
import { Shell } from "./shell";
import { SignIn } from "./pages/sign-in";
import { Runs } from "./pages/runs";
import { areaOf } from "./areas";
import { boot, session } from "./state/session";
import { useRoute } from "./state/router";
import { useStore } from "./state/store";

const RunPage = lazy(() => import("./pages/run"));
const DiffPage = lazy(() => import("./pages/run/diff"));

export function App() {
  const s = useStore(session);
  useLanguage(); // every word below is read anew
  return (
    <>
      <div id="announcer" className="sr-only" role="status" aria-live="polite" />
      {s.phase === "in" ? (
        <Shell who={s.who}>
          <Page />
        </Shell>
      ) : s.phase === "out" ? (
        <SignIn notice={s.notice} />
      ) : s.phase === "unreachable" ? (
        <main className="centre">
          <Problem title={t("unreachable.title")} detail={s.message} onRetry={() => void boot()} />
        </main>
      ) : (
        <main className="centre" aria-busy="true" />
      )}
    </>
  );
}

function Page() {
  const r = useRoute();
  switch (r.page) {
    case "runs":
      return <Runs status={r.status} workflow={r.workflow} start={r.start} />;
    case "run":
      return (
        <Boundary key={r.id}>
          <Suspense fallback={<div className="pad"><Skeleton rows={8} /></div>}>
            <RunPage key={r.id} id={r.id} node={r.node} />
          </Suspense>
        </Boundary>
      );
    case "diff":
      return (
        <Boundary key={r.id + r.with}>
          <Suspense fallback={<div className="pad"><Skeleton rows={8} /></div>}>
            <DiffPage key={r.id + r.with} id={r.id} other={r.with} />
          </Suspense>
        </Boundary>
      );
    case "area": {
      const a = areaOf(r);
      if (!a) return <Missing path={r.path} />;
      return (
        <Boundary key={a.id}>
          <Suspense fallback={<div className="pad"><Skeleton rows={8} /></div>}>
            <a.Page key={a.id} rest={r.rest} query={r.query} />
          </Suspense>
        </Boundary>
      );
    }
  }
}

/* Also for addresses below an area's own that lead nowhere. */
export function Missing({ path }: { path: string }) {
  return (
    <div className="empty">
      <h2>{t("missing.title")}</h2>
      <p>{t("missing.body", { path })}</p>
      <Link to="/" className="btn btn-plain">{t("missing.go")}</Link>
    </div>
  );
}
