/* Opens a workflow in the editor: what the server has, what this browser kept of it, and the types there are to build with. */
import { useCallback, useEffect, useState } from "react";
import { api, ApiError } from "../../api/client";
import type { Definition, Workflow } from "../../api/types";
import { getWorkflow, nodeTypes, type NodeType } from "../../api/workflows";
import { draftUrl, isNewKey, newKey, readDraft, writeDraft, type Draft } from "../../state/drafts";
import { navigate } from "../../state/router";
import { roleAllows } from "../../state/session";
import { Button, Problem, Skeleton } from "../../ui/controls";
import { Link } from "../../ui/link";
import { told, type Told } from "./dialogs";
import { emptyDefinition } from "./model";
import { Workbench } from "./workbench";
import { w } from "./words";
import "./editor.css";

interface Opened {
  types: Map<string, NodeType>;
  saved: Workflow | null;
  draft: Draft | null;
  definition: Definition;
}

export default function Editor({ name, version, at }: { name: string; version: number | null; at: string | null }) {
  const [opened, setOpened] = useState<Opened | null>(null);
  const [failed, setFailed] = useState<(Told & { missing: boolean }) | null>(null);
  const [again, setAgain] = useState(0);
  const fresh = isNewKey(name);
  useEffect(() => {
    let on = true;
    setFailed(null);
    setOpened(null);
    Promise.all([nodeTypes(), fresh ? null : getWorkflow(name, version ?? undefined)]).then(
      ([types, saved]) => {
        if (!on) return;
        const draft = version === null ? readDraft(name) : null;
        setOpened({ types: new Map(types.map((x) => [x.name, x])), saved, draft, definition: draft?.definition ?? saved?.definition ?? emptyDefinition() });
      },
      (e) => on && setFailed({ ...told(e), missing: e instanceof ApiError && e.status === 404 }),
    );
    return () => {
      on = false;
    };
  }, [name, fresh, version, again]);
  const names = useNames();
  const begin = useCallback(() => {
    const key = newKey();
    writeDraft({ key, base: null, at: Date.now(), definition: emptyDefinition(name) });
    navigate(draftUrl(key), true);
  }, [name]);

  if (failed)
    return (
      <div className="page">
        <header className="page-head"><Link to="/workflows" className="back">{w("back")}</Link></header>
        {failed.missing ? (
          <div className="empty">
            <h2>{w("load.missing", { name })}</h2>
            <p>{w("load.missing.body")}</p>
            {roleAllows("edit") && <Button kind="primary" onClick={begin}>{w("load.begin", { name })}</Button>}
          </div>
        ) : (
          <Problem title={w("load.failed")} detail={failed.message} code={failed.code} requestId={failed.requestId} onRetry={() => setAgain((n) => n + 1)} />
        )}
      </div>
    );
  if (!opened) return <div className="ed-loading" aria-busy="true"><Skeleton rows={8} label={w("loading")} /></div>;
  return <Workbench name={name} types={opened.types} saved={opened.saved} draft={opened.draft} definition={opened.definition} names={names} at={at} />;
}

/* What a name in a parameter may be. Suggestions only: a list that cannot be had leaves the field free. */
function useNames(): { [list: string]: string[] } {
  const [names, setNames] = useState<{ [list: string]: string[] }>({});
  useEffect(() => {
    let on = true;
    const ask = (list: string, path: string) =>
      api.request<{ items?: { name: string }[] }>("GET", path).then(
        (r) => on && setNames((n) => ({ ...n, [list]: (r.items ?? []).map((x) => x.name) })),
        () => {},
      );
    void ask("profiles", "/llm/profiles");
    void ask("agents", "/agents");
    void ask("workflows", "/workflows");
    void ask("tools", "/tools");
    return () => {
      on = false;
    };
  }, []);
  return names;
}
