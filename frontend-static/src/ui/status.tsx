/* States are told by icon, word and colour together, never by colour alone. */
import type { NodeStatus, RunStatus } from "../api/types";
import { t, type Key } from "../i18n";
import { Icon, type IconName } from "./icons";

const runIcons: Record<RunStatus, IconName> = {
  queued: "queued",
  running: "running",
  paused: "paused",
  waiting: "waiting",
  locked: "locked",
  succeeded: "check",
  failed: "cross",
  cancelled: "stopped",
};

const nodeIcons: Record<NodeStatus, IconName> = {
  pending: "pending",
  ready: "ready",
  running: "running",
  waiting: "waiting",
  retrying: "retry",
  completed: "check",
  failed: "cross",
  skipped: "skipped",
  cancelled: "stopped",
};

export const RUN_STATUSES = Object.keys(runIcons) as RunStatus[];

export const runWord = (s: RunStatus) => (s in runIcons ? t(("run.state." + s) as Key) : s);
export const nodeWord = (s: NodeStatus) => (s in nodeIcons ? t(("node.state." + s) as Key) : s);

export function RunBadge({ status, large = false }: { status: RunStatus; large?: boolean }) {
  return (
    <span className={`badge st-${status}${large ? " badge-lg" : ""}`} data-status={status}>
      <Icon name={runIcons[status] ?? "pending"} size={large ? 15 : 13} />
      {runWord(status)}
    </span>
  );
}

export function NodeState({ status, word = true }: { status: NodeStatus; word?: boolean }) {
  return (
    <span className={`nstate st-${status}`} title={word ? undefined : nodeWord(status)}>
      <Icon name={nodeIcons[status] ?? "pending"} size={13} />
      {word ? nodeWord(status) : <span className="sr-only">{nodeWord(status)}</span>}
    </span>
  );
}
