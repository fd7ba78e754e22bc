/* Addresses are ordinary paths; the server answers every one of them with this page. */
import { createStore, useStore } from "./store";

export type Route = { page: "runs"; status: string; workflow: string; start: string | null } | { page: "run"; id: string; node: string | null } | { page: "missing"; path: string };

export function parseRoute(path: string, search: string): Route {
  const q = new URLSearchParams(search);
  const parts = path.split("/").filter(Boolean).map(safeDecode);
  if (parts.length === 0 || (parts.length === 1 && parts[0] === "runs"))
    return { page: "runs", status: q.get("status") ?? "", workflow: q.get("workflow") ?? "", start: q.get("start") };
  if (parts.length === 2 && parts[0] === "runs") return { page: "run", id: parts[1]!, node: q.get("node") };
  return { page: "missing", path };
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

export function navigate(to: string, replace = false): void {
  if (replace) history.replaceState(null, "", to);
  else {
    history.pushState(null, "", to);
    window.scrollTo(0, 0);
  }
  route.set(here());
}

export function listenToHistory(): void {
  window.addEventListener("popstate", () => route.set(here()));
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
