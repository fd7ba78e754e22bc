/* The graph of a run, read-only, with the live states of its nodes. Loaded apart, because React Flow is half of all the code. */
import { memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Background, BackgroundVariant, Handle, MarkerType, Position, ReactFlow, type Edge, type Node, type NodeProps, type ReactFlowInstance } from "@xyflow/react";
import "@xyflow/react/dist/base.css";
import "./canvas.css";
import type { Graph, GraphNode, RunNode } from "../../api/types";
import { t } from "../../i18n";
import type { RunStore } from "../../state/run-store";
import type { Extras } from "../../state/extras";
import { NODE_ENDS, RUN_ENDS, type RunState } from "../../state/run";
import { count, duration, span } from "../../util/format";
import { useNow, useSize } from "../../ui/hooks";
import { Icon, kindIcon } from "../../ui/icons";
import { NodeState, nodeWord } from "../../ui/status";
import { edgeState } from "./edges";
import { layout, type Direction } from "./layout";
import { bodyOf, splitPath } from "./paths";
import { tallyOfChecks } from "./checks";
import { tally } from "./votes";
import { w } from "./words";

interface StepData extends Record<string, unknown> {
  path: string;
  def: GraphNode;
  node: RunNode | undefined;
  dir: Direction;
  takenIn: number; // edges into it that were taken
}
interface GroupData extends StepData {
  rounds: readonly Instance[];
  round: number;
  pinned: boolean;
  figure: string | null; // 3/5
  share: number | null; // of a map that is done
  failed: number;
  onRound: (n: number | null) => void;
}

/* A round or an item of a container: how many of its nodes there are, and how it stands. */
interface Instance {
  n: number;
  state: "going" | "failed" | "done";
}
type StepNode = Node<StepData, "step">;
type GroupNode = Node<GroupData, "body">;

const Step = memo(function Step({ data, selected }: NodeProps<StepNode>) {
  const { node: n, def } = data;
  const status = n?.status ?? "pending";
  // The last arrival and the firing are one event, which does not count it.
  const arrived = Math.max(n?.arrived ?? 0, status === "completed" ? data.takenIn : 0);
  const live = status === "running" || status === "waiting" || status === "retrying";
  const kind = def.type;
  // Every node with several edges into it waits for them; worth a figure where they meet on purpose, or while some are missing.
  const meets = n?.expected !== undefined && n.expected !== null && n.expected > 1 && (kind === "join" || (arrived > 0 && arrived < n.expected && status !== "completed"));
  const joinCount = meets && (status !== "pending" || arrived > 0) ? `${Math.min(arrived, n.expected!)}/${n.expected}` : null;
  const tokens = n?.usage?.output_tokens;
  const delayed = status === "pending" && n?.reason ? n.reason : null;
  const retries = def["retry"] as { max?: number } | undefined;
  return (
    <div className={`node st-${status} kind-${kind}${selected ? " is-selected" : ""}${delayed ? " is-delayed" : ""}`} data-node={data.path} data-status={status} title={data.path + (n?.reason ? "\n" + n.reason : "")}>
      <Ends dir={data.dir} />
      <span className="node-kind"><Icon name={kindIcon(kind)} size={15} /></span>
      <span className="node-text">
        <b>{n?.name || def.name || def.id}</b>
        <span>
          {status === "retrying" && n ? (retries?.max ? w("retry.of", { n: n.attempt, m: retries.max }) : t("node.retrying.n", { n: n.attempt })) : delayed ? w("delayed", { reason: delayed }) : status === "pending" ? kind : <NodeLine n={n} live={live} word={nodeWord(status)} />}
          {tokens ? " · " + t("tokens.n", { n: count(tokens) }) : ""}
        </span>
      </span>
      {joinCount && <span className="node-chip num" title={t("join.tip")}>{joinCount}</span>}
      {n?.cached && <span className="node-chip" title={w("cached.tip")}><Icon name="bolt" size={11} /><span className="sr-only">{t("cached")}</span></span>}
      {n && n.attempt > 1 && status !== "retrying" && <span className="node-chip num" title={t("attempt.tip", { n: n.attempt })}>×{n.attempt}</span>}
      <NodeState status={delayed ? "ready" : status} word={false} />
    </div>
  );
});

function NodeLine({ n, live, word }: { n: RunNode | undefined; live: boolean; word: string }) {
  const now = useNow(1000, live);
  const ms = span(n?.started_at, n?.finished_at, now);
  if (n?.status === "skipped" || n?.status === "ready" || ms === null) return <>{word.toLowerCase()}</>;
  return <>{live ? `${Math.floor(ms / 1000)} s` : duration(ms)}</>;
}

function Ends({ dir }: { dir: Direction }) {
  return (
    <>
      <Handle type="target" position={dir === "down" ? Position.Top : Position.Left} isConnectable={false} />
      <Handle type="source" position={dir === "down" ? Position.Bottom : Position.Right} isConnectable={false} />
    </>
  );
}

const Body = memo(function Body({ data, selected }: NodeProps<GroupNode>) {
  const { node: n, def, rounds, round } = data;
  const status = n?.status ?? "pending";
  const at = rounds.findIndex((r) => r.n === round);
  const title = n?.name || def.name || def.id;
  const signs = { going: "", failed: " ✗", done: " ✓" };
  return (
    <div className={`group st-${status}${selected ? " is-selected" : ""}`} data-node={data.path} data-status={status} title={data.path + (n?.reason ? "\n" + n.reason : "")}>
      <Ends dir={data.dir} />
      <div className="group-head">
        <Icon name={kindIcon(def.type)} size={14} />
        <b>{title}</b>
        {data.figure && <span className="node-chip num" data-testid="iteration">{data.figure}</span>}
        {data.failed > 0 && <span className="node-chip num st-failed">{w("map.failed", { n: data.failed })}</span>}
        <NodeState status={status} word={false} />
        <span className="grow" />
        {rounds.length > 1 && (
          <span className="rounds nodrag nopan" onClick={(e) => e.stopPropagation()}>
            <button type="button" aria-label={t("round.prev")} disabled={at <= 0} onClick={() => data.onRound(rounds[at - 1]!.n)}><Icon name="chevronLeft" size={11} /></button>
            <select aria-label={w("round.choose", { node: title })} value={data.pinned ? String(round) : ""} onChange={(e) => data.onRound(e.target.value ? Number(e.target.value) : null)} data-testid="round">
              <option value="">#{rounds[rounds.length - 1]!.n} {w("round.latest")}</option>
              {rounds.map((r) => <option key={r.n} value={r.n}>#{r.n}{signs[r.state]}</option>)}
            </select>
            <button type="button" aria-label={t("round.next")} disabled={at < 0 || at >= rounds.length - 1} onClick={() => data.onRound(rounds[at + 1]!.n)}><Icon name="chevronRight" size={11} /></button>
          </span>
        )}
      </div>
      {data.share !== null && <i className="group-progress" aria-hidden="true"><i style={{ width: `${data.share * 100}%` }} /></i>}
    </div>
  );
});

/* Every container's instances, in one pass over the nodes. */
function instancesOf(state: RunState): Map<string, Instance[]> {
  const found = new Map<string, Map<number, { ended: boolean; failed: boolean }>>();
  for (const [path, n] of state.nodes) {
    const cut = path.lastIndexOf("/");
    if (cut < 0) continue;
    const m = /^(.*)#(\d+)$/.exec(path.slice(0, cut));
    if (!m) continue;
    let of = found.get(m[1]!);
    if (!of) found.set(m[1]!, (of = new Map()));
    const i = of.get(Number(m[2])) ?? { ended: true, failed: false };
    of.set(Number(m[2]), { ended: i.ended && NODE_ENDS.has(n.status), failed: i.failed || n.status === "failed" });
  }
  return new Map([...found].map(([p, of]) => [p, [...of].sort((a, b) => a[0] - b[0]).map(([n, i]): Instance => ({ n, state: i.failed ? "failed" : i.ended ? "done" : "going" }))]));
}

const nodeTypes = { step: Step, body: Body };

export default function Canvas({ store, state, extras, selected, onSelect, fitSignal }: { store: RunStore; state: RunState; extras: Extras; selected: string | null; onSelect: (path: string | null) => void; fitSignal: number }) {
  const box = useRef<HTMLDivElement>(null);
  const { width, height } = useSize(box);
  const def = state.run.definition;
  const [flow, setFlow] = useState<ReactFlowInstance<StepNode | GroupNode, Edge> | null>(null);
  const [chosen, setChosen] = useState<{ [container: string]: number }>({});
  const dir: Direction = width > height * 1.25 ? "right" : "down";
  const places = useMemo(() => (def ? layout(def, dir) : []), [def, dir]);
  const flowing = useFlowing(store, state);
  const instances = useMemo(() => instancesOf(state), [state.nodes]); // eslint-disable-line react-hooks/exhaustive-deps -- of the state only the nodes are read
  // Who looks at a node of an earlier round sees that round.
  useEffect(() => {
    if (!selected?.includes("#")) return;
    const steps = splitPath(selected);
    setChosen((c) => {
      const next = { ...c };
      let prefix = "";
      for (const s of steps.slice(0, -1)) {
        if (s.index === null) return c;
        next[prefix + s.id] = s.index;
        prefix += `${s.id}#${s.index}/`;
      }
      return next;
    });
  }, [selected]);

  const { nodes, edges } = useMemo(() => {
    const nodes: (StepNode | GroupNode)[] = [];
    const edges: Edge[] = [];
    if (!def) return { nodes, edges };
    const byKey = new Map(places.map((p) => [p.key, p]));
    const walk = (graph: Graph, prefix: string, keyPrefix: string, parent: string | undefined) => {
      const taken = new Map<string, number>();
      for (const e of graph.edges ?? [])
        if (edgeState(e, state.nodes.get(prefix + e.from), state.nodes.get(prefix + e.to)) === "taken") taken.set(e.to, (taken.get(e.to) ?? 0) + 1);
      for (const g of graph.nodes) {
        const key = keyPrefix + g.id;
        const path = prefix + g.id;
        const at = byKey.get(key);
        if (!at) continue;
        const common = {
          id: key,
          position: { x: at.x, y: at.y },
          width: at.width,
          height: at.height,
          // Sizes and ends are known beforehand, so edges are there with the first paint and survive every update.
          measured: { width: at.width, height: at.height },
          handles: endsOf(at.width, at.height, dir),
          parentId: parent,
          draggable: false,
          connectable: false,
          deletable: false,
          selected: selected === path,
          ariaLabel: `${g.name ?? g.id}: ${nodeWord(state.nodes.get(path)?.status ?? "pending")}`,
        };
        const data: StepData = { path, def: g, node: state.nodes.get(path), dir, takenIn: taken.get(g.id) ?? 0 };
        const body = bodyOf(g);
        if (at.container && body) {
          const rounds = instances.get(path) ?? [];
          const pinned = chosen[path] !== undefined && rounds.some((r) => r.n === chosen[path]);
          const round = pinned ? chosen[path]! : (rounds.at(-1)?.n ?? 1);
          const onRound = (n: number | null) =>
            setChosen((c) => {
              const { [path]: _old, ...rest } = c;
              void _old;
              return n === null ? rest : { ...rest, [path]: n };
            });
          nodes.push({ ...common, type: "body", data: { ...data, rounds, round, pinned, ...figuresOf(g, path, rounds.length, extras), onRound } });
          walk(body, `${path}#${round}/`, key + "/", key);
        } else nodes.push({ ...common, type: "step", data });
      }
      for (const e of graph.edges ?? []) {
        const to = state.nodes.get(prefix + e.to);
        const s = edgeState(e, state.nodes.get(prefix + e.from), to);
        const moving = s === "taken" && (flowing.has(prefix + e.to) || [...flowing].some((p) => p.startsWith(prefix + e.to + "#")));
        const colour = s === "taken" ? (moving ? "var(--st-running)" : "var(--edge-taken)") : "var(--edge)";
        edges.push({
          id: `${keyPrefix}${e.from}>${e.to}>${e.case ?? ""}`,
          source: keyPrefix + e.from,
          target: keyPrefix + e.to,
          className: `edge-${s}${moving ? " edge-flow" : ""}`,
          label: e.case,
          focusable: false,
          selectable: false,
          markerEnd: { type: MarkerType.ArrowClosed, width: 15, height: 15, color: colour },
          zIndex: parent ? 1 : 0,
        });
      }
    };
    walk(def, "", "", undefined);
    return { nodes, edges };
  }, [def, places, state.nodes, instances, extras, chosen, selected, dir, flowing]);

  const fit = useCallback(() => void flow?.fitView({ padding: 0.08, maxZoom: 1.1, duration: 0 }), [flow]);
  useEffect(() => {
    const id = requestAnimationFrame(fit);
    return () => cancelAnimationFrame(id);
  }, [fit, dir, width, height, fitSignal, places]);

  if (!def) return <div className="quiet"><p>{t("canvas.none")}</p></div>;
  return (
    <div className="canvas" ref={box}>
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={nodeTypes}
        onInit={setFlow}
        nodesDraggable={false}
        nodesConnectable={false}
        edgesFocusable={false}
        deleteKeyCode={null}
        selectionKeyCode={null}
        multiSelectionKeyCode={null}
        minZoom={0.15}
        maxZoom={2}
        fitView
        fitViewOptions={{ padding: 0.08, maxZoom: 1.1 }}
        onNodeClick={(_, n) => onSelect(n.data.path)}
        onPaneClick={() => onSelect(null)}
        onNodesChange={(changes) => {
          // Enter on a focused node selects it; everything else about the nodes is ours.
          for (const c of changes) if (c.type === "select" && c.selected) onSelect(nodes.find((n) => n.id === c.id)?.data.path ?? null);
        }}
        proOptions={{ hideAttribution: true }}
      >
        <Background variant={BackgroundVariant.Dots} gap={18} size={1.2} color="var(--dots)" />
      </ReactFlow>
    </div>
  );
}

/* 3/5: the round of a loop, the items of a map that are done, the votes of a panel, the claims that stand. */
function figuresOf(g: GraphNode, path: string, begun: number, x: Extras): { figure: string | null; share: number | null; failed: number } {
  const p = x.progress.get(path);
  if (p) return { figure: w("round.of", { n: p.done, m: p.of }), share: p.of > 0 ? Math.min(1, p.done / p.of) : null, failed: p.failed };
  const votes = x.votes.get(path);
  if (votes) return { figure: tally(votes), share: null, failed: 0 };
  const checks = x.checks.get(path);
  if (checks) return { figure: tallyOfChecks(checks), share: null, failed: 0 };
  const max = g.params?.["max_rounds"];
  if (g.type !== "loop" || begun === 0) return { figure: null, share: null, failed: 0 };
  const of = typeof max === "number" ? max : x.rounds.get(path)?.at(-1)?.of;
  return { figure: of ? w("round.of", { n: begun, m: of }) : `#${begun}`, share: null, failed: 0 };
}

function endsOf(w: number, h: number, dir: Direction) {
  const one = { width: 1, height: 1 };
  return dir === "down"
    ? [{ type: "target" as const, position: Position.Top, x: w / 2, y: 0, ...one }, { type: "source" as const, position: Position.Bottom, x: w / 2, y: h, ...one }]
    : [{ type: "target" as const, position: Position.Left, x: 0, y: h / 2, ...one }, { type: "source" as const, position: Position.Right, x: w, y: h / 2, ...one }];
}

/* The nodes whose text grew in the last moment: their edges flow. */
function useFlowing(store: RunStore, state: RunState): ReadonlySet<string> {
  const [set, setSet] = useState<ReadonlySet<string>>(() => new Set());
  const running = !RUN_ENDS.has(state.run.status);
  useEffect(() => {
    const look = () => {
      const now = Date.now();
      const active = [...store.streams].filter(([, s]) => running && now - s.lastAt < 1200).map(([p]) => p);
      setSet((old) => (old.size === active.length && active.every((p) => old.has(p)) ? old : new Set(active)));
    };
    look();
    if (!running) return;
    const id = setInterval(look, 400);
    return () => clearInterval(id);
  }, [store, running]);
  return set;
}
