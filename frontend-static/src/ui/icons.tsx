/* Drawn on a 16 px grid with one stroke width, so they sit beside 14 px text. Decorative: the word stands next to them. */
import type { ReactNode } from "react";

const paths = {
  runs: <path d="M2.5 4h7M2.5 8h11M2.5 12h5M12 3.2v3M10.500 4.700h3" />,
  queued: <><circle cx="8" cy="8" r="5.5" /><path d="M8 5v3l2 1.300" /></>,
  running: <path d="M13.500 8A5.500 5.500 0 1 1 8 2.500" />,
  paused: <path d="M5.500 3.500v9M10.500 3.500v9" strokeWidth="2" />,
  waiting: <path d="M4.500 2.500h7M4.500 13.500h7M5 2.500c0 3.500 6 4 6 7.500v3.500M11 2.500c0 3.500-6 4-6 7.500v3.500" />,
  locked: <><rect x="3.500" y="7" width="9" height="6.500" rx="1.500" /><path d="M5.500 7V5a2.500 2.500 0 0 1 5 0v2" /></>,
  check: <path d="M3 8.500 6.500 12 13 4.500" strokeWidth="1.900" />,
  cross: <path d="m4 4 8 8M12 4l-8 8" strokeWidth="1.900" />,
  stopped: <><circle cx="8" cy="8" r="5.500" /><path d="m4.200 11.800 7.600-7.600" /></>,
  skipped: <path d="M3 8h2.200M6.900 8h2.200M10.800 8H13" />,
  pending: <circle cx="8" cy="8" r="5" strokeDasharray="1.800 2.100" />,
  ready: <><circle cx="8" cy="8" r="5.500" /><circle cx="8" cy="8" r="1.600" fill="currentColor" stroke="none" /></>,
  retry: <path d="M13 8a5 5 0 1 1-1.500-3.500L13.500 6M13.500 2.800V6h-3.200" />,
  bolt: <path d="M9 2 4 9h3.500L7 14l5-7H8.500z" />,
  play: <path d="M5 3.200v9.600L12.500 8z" fill="currentColor" stroke="none" />,
  copy: <><rect x="5.500" y="5.500" width="7.500" height="8" rx="1.500" /><path d="M10.500 5.500V4A1.500 1.500 0 0 0 9 2.500H4.500A1.500 1.500 0 0 0 3 4v5.500A1.500 1.500 0 0 0 4.500 11h1" /></>,
  chevronRight: <path d="m6 3.500 4.500 4.500L6 12.500" />,
  chevronLeft: <path d="M10 3.500 5.500 8l4.500 4.500" />,
  chevronDown: <path d="m3.500 6 4.500 4.500L12.500 6" />,
  close: <path d="m4 4 8 8M12 4l-8 8" />,
  search: <><circle cx="7" cy="7" r="4" /><path d="m10 10 3.500 3.500" /></>,
  sun: <><circle cx="8" cy="8" r="2.700" /><path d="M8 1.500v1.600M8 12.900v1.600M1.500 8h1.600M12.900 8h1.600M3.400 3.400l1.100 1.100M11.500 11.500l1.100 1.100M3.400 12.600l1.100-1.100M11.500 4.500l1.100-1.100" /></>,
  moon: <path d="M13 9.700A5.500 5.500 0 0 1 6.300 3a5.500 5.500 0 1 0 6.700 6.700z" />,
  screen: <><rect x="2" y="3" width="12" height="8" rx="1.500" /><path d="M6 13.500h4" /></>,
  out: <path d="M9.500 2.500H4A1.500 1.500 0 0 0 2.500 4v8A1.500 1.500 0 0 0 4 13.500h5.500M7 8h7M11.500 5.500 14 8l-2.500 2.500" />,
  down: <path d="M8 3v9.500M4 8.500l4 4 4-4" />,
  plus: <path d="M8 3v10M3 8h10" />,
  person: <><circle cx="8" cy="5.300" r="2.600" /><path d="M3 13.500c.400-3 2.400-4.300 5-4.300s4.600 1.300 5 4.300" /></>,
  fit: <path d="M2.500 6V2.500H6M10 2.500h3.500V6M13.500 10v3.500H10M6 13.500H2.500V10" />,
  panel: <><rect x="2" y="3" width="12" height="10" rx="1.500" /><path d="M10 3v10" /></>,
  help: <><circle cx="8" cy="8" r="5.800" /><path d="M6.300 6.400c.1-1.100.9-1.600 1.800-1.600 1 0 1.700.6 1.700 1.500 0 1.300-1.800 1.300-1.800 2.600M8 11.200v.1" /></>,
  undo: <path d="M5.500 3 2.500 6l3 3M2.500 6h6.500a4 4 0 0 1 0 8H6" />,
  redo: <path d="m10.500 3 3 3-3 3M13.500 6H7a4 4 0 0 0 0 8h3" />,
  connect: <><path d="M2 8h7.500M6.500 5l3 3-3 3" /><circle cx="12.500" cy="8" r="1.600" /></>,
  trash: <path d="M3 4.500h10M6.500 4.500v-2h3v2M4.500 4.500l.6 9h5.800l.6-9M6.700 7v4M9.300 7v4" />,
  minus: <path d="M3 8h10" />,
  grid: <path d="M2.500 6h11M2.500 10h11M6 2.500v11M10 2.500v11" />,
  arrange: <><rect x="1.800" y="6" width="4" height="4" rx="1" /><rect x="10.200" y="2.200" width="4" height="4" rx="1" /><rect x="10.200" y="9.800" width="4" height="4" rx="1" /><path d="M5.800 8h1.700q.8 0 .8-.8V5q0-.8.8-.8h1.100M7.500 8q.8 0 .8.8V11q0 .8.8.8h1.100" /></>,
  alert: <><path d="M8 2.200 14.500 13.500h-13z" /><path d="M8 6.500v3.200M8 11.600v.1" /></>,
  // areas
  workflows: <><rect x="2" y="2.500" width="4.500" height="4" rx="1" /><rect x="9.500" y="9.500" width="4.500" height="4" rx="1" /><path d="M6.500 4.500H9a2 2 0 0 1 2 2v3" /></>,
  templates: <><rect x="2.500" y="2.500" width="11" height="11" rx="1.500" /><path d="M2.500 6h11M6.500 6v7.500" /></>,
  approvals: <><path d="M13.500 8A5.500 5.500 0 1 1 10 2.900" /><path d="M5.500 7.500 8 10l5.500-6" /></>,
  agents: <><rect x="3" y="5" width="10" height="8" rx="2" /><path d="M8 5V2.500M6 8.500v.8M10 8.500v.8M1.500 8.500v2M14.500 8.500v2" /></>,
  models: <><rect x="4" y="4" width="8" height="8" rx="1.500" /><path d="M6.500 1.800V4M9.500 1.800V4M6.500 12v2.200M9.500 12v2.200M1.800 6.500H4M1.800 9.500H4M12 6.500h2.200M12 9.500h2.200" /></>,
  dashboard: <path d="M2.500 13.500h11M4.500 11V8M8 11V3.500M11.500 11V6" />,
  admin: <path d="M2.500 4.500h6M12 4.500h1.500M2.500 11.500H4M7.500 11.500h6M8.500 4.500a1.750 1.750 0 1 0 3.500 0 1.750 1.750 0 1 0-3.500 0M4 11.500a1.750 1.750 0 1 0 3.500 0 1.750 1.750 0 1 0-3.500 0" />,
  // kinds of nodes
  llm: <path d="M2.500 4.500A1.500 1.500 0 0 1 4 3h8a1.500 1.500 0 0 1 1.500 1.500v5A1.500 1.500 0 0 1 12 11H7.500L4.500 13.500V11H4a1.500 1.500 0 0 1-1.500-1.500zM5.500 6h5M5.500 8.200h3" />,
  vote: <><rect x="2.500" y="7" width="11" height="6.500" rx="1.200" /><path d="m5 4.200 2.200 2.300L11 2" /></>,
  router: <path d="M2 8h3.500L9 4h4M11 2l2 2-2 2M5.500 8 9 12h4M11 10l2 2-2 2" />,
  parallel: <path d="M2.500 8h3M5.500 8c2.500 0 2-4.500 4.500-4.500h3.500M5.500 8h8M5.500 8c2.500 0 2 4.500 4.500 4.500h3.500" />,
  join: <path d="M13.500 8h-3M10.500 8C8 8 8.500 3.500 6 3.500H2.500M10.500 8h-8M10.500 8c-2.500 0-2 4.500-4.500 4.500H2.500" />,
  branch: <path d="M8 2.200 13.800 8 8 13.800 2.200 8zM8 6v2.200l1.500 1.500" />,
  loop: <path d="M3 7V6.500A2.500 2.500 0 0 1 5.500 4h7.500M11 2l2 2-2 2M13 9v.500a2.500 2.500 0 0 1-2.500 2.500H3M5 14l-2-2 2-2" />,
  map: <><rect x="2.500" y="2.500" width="4.500" height="4.500" rx="1" /><rect x="9" y="2.500" width="4.500" height="4.500" rx="1" /><rect x="2.500" y="9" width="4.500" height="4.500" rx="1" /><rect x="9" y="9" width="4.500" height="4.500" rx="1" /></>,
  memory: <><ellipse cx="8" cy="4" rx="5" ry="1.800" /><path d="M3 4v8c0 1 2.200 1.800 5 1.800s5-.8 5-1.800V4M3 8c0 1 2.200 1.800 5 1.800S13 9 13 8" /></>,
  globe: <><circle cx="8" cy="8" r="5.700" /><path d="M2.300 8h11.400M8 2.300c3.300 3.500 3.300 7.900 0 11.400M8 2.300C4.700 5.800 4.700 10.200 8 13.700" /></>,
  text: <path d="M3 3.500h10M8 3.500v9.500M6 13h4" />,
  code: <path d="M5.500 4.500 2 8l3.500 3.500M10.500 4.500 14 8l-3.500 3.500" />,
  box: <path d="M8 2 13.500 5v6L8 14 2.500 11V5zM2.500 5 8 8l5.500-3M8 8v6" />,
} satisfies Record<string, ReactNode>;

export type IconName = keyof typeof paths;

export function Icon({ name, size = 16, className = "" }: { name: IconName; size?: number; className?: string }) {
  return (
    <svg className={"icon " + className} width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.400" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true" focusable="false">
      {paths[name]}
    </svg>
  );
}

export function kindIcon(type: string): IconName {
  switch (type) {
    case "llm":
      return "llm";
    case "vote":
      return "vote";
    case "router":
      return "router";
    case "parallel":
      return "parallel";
    case "join":
      return "join";
    case "branch":
      return "branch";
    case "loop":
      return "loop";
    case "map":
      return "map";
    case "memory_retrieval":
    case "memory_store":
    case "embed":
      return "memory";
    case "human_review":
      return "person";
    case "http":
    case "webhook":
    case "search":
      return "globe";
    case "template":
    case "context":
      return "text";
    case "transform":
    case "tool":
      return "code";
    case "delay":
    case "wait_signal":
      return "queued";
    case "fact_check":
      return "check";
    default:
      return "box";
  }
}

export function Logo({ size = 26 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" className="logo">
      <rect width="32" height="32" rx="8" fill="var(--accent-solid)" />
      <path d="M6 12c3.300-3 6.700-3 10 0s6.700 3 10 0M6 21c3.300-3 6.700-3 10 0s6.700 3 10 0" fill="none" stroke="#fff" strokeWidth="2.800" strokeLinecap="round" />
    </svg>
  );
}
