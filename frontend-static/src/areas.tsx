/* Every page beside the runs, in the order of the navigation. `id` is the first part of its address; what follows is handed to the page.
 * A page is loaded when it is first opened, and brings its own words (see dictionary() in i18n) and styles. */
import { lazy, type ComponentType, type LazyExoticComponent } from "react";
import type { Key } from "./i18n";
import type { Route } from "./state/router";
import { pendingCount } from "./state/reviews";
import type { Store } from "./state/store";
import type { IconName } from "./ui/icons";

export interface AreaProps {
  rest: string[]; // /workflows/a/b gives ["a", "b"]
  query: URLSearchParams;
}

export interface Area {
  id: string;
  icon: IconName;
  label: Key;
  Page: ComponentType<AreaProps> | LazyExoticComponent<ComponentType<AreaProps>>;
  badge?: Store<number>; // how many things there wait for a person; 0 shows nothing
  needs?: "run" | "edit" | "admin"; // who cannot do this does not see the entry
}

export const areas: Area[] = [
  { id: "workflows", icon: "workflows", label: "nav.workflows", Page: lazy(() => import("./pages/workflows")) },
  { id: "templates", icon: "templates", label: "nav.templates", Page: lazy(() => import("./pages/templates")) },
  { id: "approvals", icon: "approvals", label: "nav.approvals", badge: pendingCount, Page: lazy(() => import("./pages/review")) },
  { id: "memory", icon: "memory", label: "nav.memory", Page: lazy(() => import("./pages/memory")) },
  { id: "agents", icon: "agents", label: "nav.agents", Page: lazy(() => import("./pages/agents")) },
  { id: "models", icon: "models", label: "nav.models", Page: lazy(() => import("./pages/models")) },
  { id: "dashboard", icon: "dashboard", label: "nav.dashboard", Page: lazy(() => import("./pages/dashboard")) },
  { id: "admin", icon: "admin", label: "nav.admin", needs: "admin", Page: lazy(() => import("./pages/admin")) },
];

export const areaOf = (r: Route): Area | undefined => (r.page === "area" ? areas.find((a) => a.id === r.area) : undefined);
