import { useEffect, useRef, useState } from "react";
import type { AreaProps } from "../../areas";
import { Missing } from "../../app";
import type { Definition, Graph, GraphNode } from "../../api/types";
import { deleteTemplate, templates, type Template } from "../../api/workflows";
import { roleAllows } from "../../state/session";
import { Button, Problem, Skeleton } from "../../ui/controls";
import { useKeys } from "../../ui/hooks";
import { Icon, kindIcon } from "../../ui/icons";
import { kindOf } from "../editor/kinds";
import { bodyOf } from "../editor/model";
import { openAsDraft } from "../workflows/draft";
import { Ask, failedOf } from "../workflows/list";
import { w } from "../workflows/words";
import "../editor/kinds.css";
import "../workflows/workflows.css";

export default function Templates({ rest }: AreaProps) {
  return rest.length ? <Missing path={"/templates/" + rest.join("/")} /> : <All />;
}

const every = (g: Graph | undefined): GraphNode[] => (g?.nodes ?? []).flatMap((n) => [n, ...every(bodyOf(n) ?? undefined)]);

function All() {
  const [list, setList] = useState<Template[] | null>(null);
  const [failed, setFailed] = useState<ReturnType<typeof failedOf> | null>(null);
  const [again, setAgain] = useState(0);
  const [q, setQ] = useState("");
  const [category, setCategory] = useState<string | null>(null);
  const [deleting, setDeleting] = useState<Template | null>(null);
  const search = useRef<HTMLInputElement>(null);
  const mayEdit = roleAllows("edit");
  useKeys({ "/": () => search.current?.focus() });
  useEffect(() => {
    document.title = w("t.title") + " · Sluice";
  }, []);
  useEffect(() => {
    let on = true;
    setFailed(null);
    templates().then(
      (p) => on && setList(p.items),
      (e) => on && setFailed(failedOf(e)),
    );
    return () => {
      on = false;
    };
  }, [again]);
  const categories = [...new Set((list ?? []).map((x) => x.category || ""))].sort((a, b) => (a === "" ? 1 : b === "" ? -1 : a.localeCompare(b)));
  const found = (list ?? []).filter((x) => (category === null || (x.category || "") === category) && (x.name + " " + x.title + " " + (x.description ?? "")).toLowerCase().includes(q.toLowerCase()));
  const use = (x: Template) => x.definition && openAsDraft({ ...x.definition, name: x.definition.name || x.name } as Definition);
  return (
    <div className="page" data-testid="templates">
      <header className="page-head">
        <h1>{w("t.title")}</h1>
        <span className="grow" />
        <label className="search search-sm">
          <Icon name="search" size={13} />
          <input ref={search} type="search" placeholder={w("t.search")} aria-label={w("t.search")} value={q} onChange={(e) => setQ(e.target.value)} />
        </label>
      </header>
      {categories.length > 1 && (
        <div className="toggles" role="group">
          {[null, ...categories].map((c) => <button key={c ?? "*"} type="button" className="toggle st-ready" aria-pressed={category === c} onClick={() => setCategory(c)}>{c === null ? w("t.all") : c || w("t.other")}</button>)}
        </div>
      )}
      {failed ? (
        <Problem title={w("t.failed")} detail={failed.message} code={failed.code} requestId={failed.requestId} onRetry={() => setAgain(again + 1)} />
      ) : !list ? (
        <div className="table-wrap"><Skeleton rows={6} /></div>
      ) : found.length === 0 ? (
        <div className="empty">
          <h2>{list.length ? w("t.nomatch", { q: q || (category ?? "") }) : w("t.none.title")}</h2>
          {list.length === 0 && <p>{w("t.none.body")}</p>}
          {list.length > 0 && <Button onClick={() => (setQ(""), setCategory(null))}>{w("clear")}</Button>}
        </div>
      ) : (
        <ul className="templates">
          {found.map((x) => {
            const nodes = every(x.definition);
            const kinds = [...new Map(nodes.map((n) => [n.type, n])).values()];
            const inputs = Object.keys(x.definition?.inputs?.properties ?? {});
            return (
              <li key={x.name} className="template" data-template={x.name}>
                <header>
                  <h2>{x.title || x.name}</h2>
                  {x.system && <span className="tag" title={w("t.system.tip")}>{w("t.system")}</span>}
                </header>
                <p>{x.description || x.definition?.description || w("nodesc")}</p>
                {nodes.length > 0 && (
                  <div className="template-kinds" title={w("t.preview")}>
                    {kinds.slice(0, 9).map((n) => <span key={n.type} className={"k-tile k-" + kindOf(n.type)} title={n.type}><Icon name={kindIcon(n.type)} size={13} /></span>)}
                    <span className="faint num">{w("t.nodes", { n: nodes.length })}{inputs.length > 0 && " · " + w("t.inputs", { list: inputs.join(", ") })}</span>
                  </div>
                )}
                <footer>
                  <span className="faint">{x.category}</span>
                  <span className="grow" />
                  {!x.system && mayEdit && <Button small kind="ghost" onClick={() => setDeleting(x)}>{w("t.delete")}</Button>}
                  <Button small kind="primary" onClick={() => use(x)} why={mayEdit ? null : w("role")} hint={w("t.use.tip")} testId={"use-" + x.name}>{w("t.use")}</Button>
                </footer>
              </li>
            );
          })}
        </ul>
      )}
      {deleting && (
        <Ask title={w("t.delete.title", { title: deleting.title })} body={w("t.delete.body")} yes={w("t.delete")} onClose={() => setDeleting(null)} onYes={() => {
          const name = deleting.name;
          setDeleting(null);
          deleteTemplate(name).then(
            () => setAgain((n) => n + 1),
            (e) => setFailed(failedOf(e)),
          );
        }} />
      )}
    </div>
  );
}
