/* Addresses are ordinary paths; the server answers every one of them with this page. */
import { createStore, useStore } from "./store";

/* Pages beside the runs have no row here: `areas.tsx` gives them the first part of the address, the rest is theirs to read. */
export type Route =
  | { page: "runs"; status: string; workflow: string; start: string | null }
  | { page: "run"; id: string; node: string | null }
  | { page: "diff"; id: string; with: string }
  | { page: "area"; area: string; rest: string[]; query: URLSearchParams; path: string };

export function parseRoute(path: string, search: string): Route {
  const q = new URLSearchParams(search);
  const parts = path.split("/").filter(Boolean).map(safeDecode);
  if (parts.length === 0 || (parts.length === 1 && parts[0] === "runs"))
    return { page: "runs", status: q.get("status") ?? "", workflow: q.get("workflow") ?? "", start: q.get("start") };
  if (parts.length === 2 && parts[0] === "runs") return { page: "run", id: parts[1]!, node: q.get("node") };
  if (parts.length === 3 && parts[0] === "runs" && parts[2] === "diff") return { page: "diff", id: parts[1]!, with: q.get("with") ?? "" };
  return { page: "area", area: parts[0]!, rest: parts.slice(1), query: q, path };
}

function safeDecode(s: string): string {
  try {
    return decodeURIComponent(s);
  } catch {
    return s;
  }
}

const here = () => parseRoute(location.pathname, location.search);
export const route = createStore<Route>(typeof location === "undefined" ? { page: "runs", status: "", workflow: "", start: null } : here());

/* A page with work that would be lost may ask before it is left. It answers true to let the reader go. */
let guard: ((to: string) => boolean) | null = null;
export function setGuard(fn: ((to: string) => boolean) | null): void {
  guard = fn;
}

let shown = typeof location === "undefined" ? "/" : location.pathname + location.search;

export function navigate(to: string, replace = false): void {
  if (guard && !guard(to)) return;
  if (replace) history.replaceState(null, "", to);
  else {
    history.pushState(null, "", to);
    window.scrollTo(0, 0);
  }
  shown = location.pathname + location.search;
  route.set(here());
}

export function listenToHistory(): void {
  window.addEventListener("popstate", () => {
    const to = location.pathname + location.search;
    if (guard && !guard(to)) {
      history.pushState(null, "", shown); // back where the work is; the page has asked
      return;
    }
    shown = to;
    route.set(here());
  });
}

export const useRoute = () => useStore(route);

export function runsUrl(o: { status?: string; workflow?: string; start?: string | null }): string {
  const q = new URLSearchParams();
  if (o.status) q.set("status", o.status);
  if (o.workflow) q.set("workflow", o.workflow);
  if (o.start !== undefined && o.start !== null) q.set("start", o.start);
  const s = q.toString();
  return s ? "/?" + s : "/";
}

export const runUrl = (id: string, node?: string | null) => `/runs/${encodeURIComponent(id)}` + (node ? `?node=${encodeURIComponent(node)}` : "");
export const diffUrl = (id: string, other: string) => `/runs/${encodeURIComponent(id)}/diff?with=${encodeURIComponent(other)}`;
