/* The canvas of one graph: cards, edges, and what a hand or a keyboard does with them. The definition stays the only truth; React Flow
 * is told what to draw, and what it reports becomes a change of the definition. */
import { memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import {
  Background, BackgroundVariant, BaseEdge, EdgeLabelRenderer, getBezierPath, Handle, MarkerType, MiniMap, NodeToolbar, Position, ReactFlow, SelectionMode,
  type Connection, type Edge, type EdgeProps, type Node, type NodeChange, type EdgeChange, type NodeProps, type ReactFlowInstance,
} from "@xyflow/react";
import "@xyflow/react/dist/base.css";
import type { Graph, GraphNode } from "../../api/types";
import { Icon, kindIcon, type IconName } from "../../ui/icons";
import { kindOf } from "./kinds";
import { edgeKey, GRID, isContainer, type Point } from "./model";
import { CARD_H, CARD_W, placesOf } from "./places";
import type { EditorStore, Problem } from "./store";
import { summaryOf } from "./summary";
import { w } from "./words";

export const DRAG_TYPE = "application/x-sluice-node";

export interface CanvasActions {
  connect: (from: string, to: string) => void;
  connectTo: (from: string) => void; // asks where to
  moved: (to: Map<string, Point>) => void;
  drop: (type: string, at: Point) => void;
  insert: (edge: string, at: Point) => void;
  append: (from: string, at: Point | null) => void; // asks what to put behind it
  open: (id: string) => void;
  edit: (id: string) => void;
  duplicate: () => void;
  remove: () => void;
}

interface CardData extends Record<string, unknown> {
  node: GraphNode;
  container: boolean;
  errors: number;
  warnings: number;
  alone: boolean; // the only thing selected: shows its tools
  act: CanvasActions;
  readOnly: boolean;
}
type CardNode = Node<CardData, "card">;
interface WireData extends Record<string, unknown> {
  label: string | null;
  bad: boolean;
  act: CanvasActions;
  readOnly: boolean;
}
type Wire = Edge<WireData, "wire">;

const Card = memo(function Card({ id, data, selected }: NodeProps<CardNode>) {
  const { node: n, errors, warnings, container, act } = data;
  const said = errors + warnings;
  return (
    <div className={`card k-${kindOf(n.type)}${selected ? " is-selected" : ""}${container ? " is-container" : ""}${errors ? " has-errors" : ""}`} data-testid={"card-" + id}>
      <Handle type="target" position={Position.Left} isConnectable={!data.readOnly} />
      <span className="k-tile"><Icon name={kindIcon(n.type)} size={16} /></span>
      <span className="card-text">
        <b>{n.name || n.id}</b>
        <span><em>{n.type}</em>{summaryOf(n) && <> {summaryOf(n)}</>}</span>
      </span>
      {n.when && <span className="card-mark mono" title={`${w("common.when")}: ${n.when}`}>if</span>}
      {said > 0 && <span className={"card-problems" + (errors ? "" : " is-warning")} title={said === 1 ? w("node.problem") : w("node.problems", { n: said })}>{said}</span>}
      {container && (
        <button type="button" className="card-open nodrag" aria-label={w("node.open")} title={w("node.open")} tabIndex={-1} onClick={(e) => (e.stopPropagation(), act.open(id))}>
          <Icon name="chevronRight" size={13} />
        </button>
      )}
      <Handle type="source" position={Position.Right} isConnectable={!data.readOnly} />
      {data.alone && !data.readOnly && (
        <NodeToolbar isVisible position={Position.Top} offset={8}>
          <div className="card-tools" role="toolbar" aria-label={n.name || n.id}>
            <Tool icon="plus" label={w("node.append")} onClick={() => act.append(id, null)} />
            <Tool icon="connect" label={w("node.connect")} onClick={() => act.connectTo(id)} testId="tool-connect" />
            {container && <Tool icon="workflows" label={w("node.open")} onClick={() => act.open(id)} testId="tool-open" />}
            <Tool icon="copy" label={w("node.copy")} onClick={act.duplicate} />
            <Tool icon="trash" label={w("node.delete")} onClick={act.remove} />
          </div>
        </NodeToolbar>
      )}
    </div>
  );
});

function Tool({ icon, label, onClick, testId }: { icon: IconName; label: string; onClick: () => void; testId?: string }) {
  return (
    <button type="button" aria-label={label} title={label} onClick={onClick} data-testid={testId}>
      <Icon name={icon} size={13} />
    </button>
  );
}

const WireEdge = memo(function WireEdge(p: EdgeProps<Wire>) {
  const [path, x, y] = getBezierPath(p);
  const d = p.data!;
  return (
    <>
      <BaseEdge id={p.id} path={path} markerEnd={p.markerEnd} interactionWidth={18} />
      <EdgeLabelRenderer>
        <div className={"wire-mid nopan" + (p.selected ? " is-selected" : "")} style={{ transform: `translate(-50%, -50%) translate(${x}px, ${y}px)` }}>
          {d.label && <span className={"wire-label mono" + (d.bad ? " is-bad" : "")}>{d.label}</span>}
          {!d.readOnly && (
            <button type="button" className="wire-plus nodrag" tabIndex={-1} aria-label={w("node.insert")} title={w("node.insert")} onClick={(e) => (e.stopPropagation(), d.act.insert(p.id, { x: x - CARD_W / 2, y: y - CARD_H / 2 }))}>
              <Icon name="plus" size={11} />
            </button>
          )}
        </div>
      </EdgeLabelRenderer>
    </>
  );
});

const nodeTypes = { card: Card };
const edgeTypes = { wire: WireEdge };
const one = { width: 10, height: 10 };
const HANDLES = [
  { type: "target" as const, position: Position.Left, x: -5, y: CARD_H / 2 - 5, ...one },
  { type: "source" as const, position: Position.Right, x: CARD_W - 5, y: CARD_H / 2 - 5, ...one },
];

export interface CanvasApi {
  fit: () => void;
  zoom: (by: 1 | -1) => void;
  show: (id: string) => boolean; // false: it is not drawn yet
  centre: () => Point;
}

/* Memoised: the workbench hands it what it shows a moment late when there is much of it, so that typing never waits for the canvas. */
export const Canvas = memo(function Canvas({ store, graph, scopeKey, nodes: chosen, edges: chosenEdges, problems, act, readOnly, snap, map, onReady }: {
  store: EditorStore;
  graph: Graph;
  scopeKey: string;
  nodes: ReadonlySet<string>;
  edges: ReadonlySet<string>;
  problems: readonly Problem[];
  act: CanvasActions;
  readOnly: boolean;
  snap: boolean;
  map: boolean;
  onReady: (api: CanvasApi) => void;
}) {
  const [flow, setFlow] = useState<ReactFlowInstance<CardNode, Wire> | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const places = useMemo(() => placesOf(graph), [graph]);
  const [drag, setDrag] = useState<ReadonlyMap<string, Point> | null>(null);
  const latest = useRef({ drag, places });
  latest.current = { drag, places };
  useEffect(() => setDrag(null), [graph]);

  const counts = useMemo(() => {
    const out = new Map<string, { errors: number; warnings: number }>();
    for (const p of problems) {
      const s = p.place.scope;
      const at = s.join("/");
      // A problem inside of a body counts for the card of its container, too.
      const id = at === scopeKey ? p.place.node : at.startsWith(scopeKey === "" ? "" : scopeKey + "/") ? s[scopeKey === "" ? 0 : scopeKey.split("/").length] : undefined;
      const key = id ?? (at === scopeKey && p.place.edge ? ">" + p.place.edge : null);
      if (!key) continue;
      const c = out.get(key) ?? { errors: 0, warnings: 0 };
      c[p.level === "error" ? "errors" : "warnings"]++;
      out.set(key, c);
    }
    return out;
  }, [problems, scopeKey]);

  // A card that did not change stays the same object, so a letter typed into one form draws one card anew, not all of them.
  const cards = useRef(new Map<string, CardNode>());
  const nodes = useMemo<CardNode[]>(() => {
    const before = cards.current;
    cards.current = new Map();
    return graph.nodes.map((n) => {
      const position = drag?.get(n.id) ?? places.get(n.id) ?? { x: 0, y: 0 };
      const c = counts.get(n.id);
      const data: CardData = { node: n, container: isContainer(n, store.types), errors: c?.errors ?? 0, warnings: c?.warnings ?? 0, alone: chosen.size === 1 && chosenEdges.size === 0 && chosen.has(n.id) && !drag, act, readOnly };
      const old = before.get(n.id);
      const selected = chosen.has(n.id);
      const same = old && old.position.x === position.x && old.position.y === position.y && old.selected === selected && (Object.keys(data) as (keyof CardData)[]).every((k) => old.data[k] === data[k]);
      const card: CardNode = same ? old : {
        id: n.id,
        type: "card",
        position,
        width: CARD_W,
        height: CARD_H,
        measured: { width: CARD_W, height: CARD_H },
        handles: HANDLES,
        selected,
        ariaLabel: `${n.name ?? n.id}, ${n.type}`,
        data,
      };
      cards.current.set(n.id, card);
      return card;
    });
  }, [graph, places, drag, chosen, chosenEdges, counts, act, readOnly, store]);
  const graphEdges = graph.edges;
  const edges = useMemo<Wire[]>(
    () =>
      (graphEdges ?? []).map((e) => {
        const id = edgeKey(e);
        const on = chosenEdges.has(id);
        return {
          id,
          type: "wire",
          source: e.from,
          target: e.to,
          selected: on,
          ariaLabel: `${e.from} → ${e.to}`,
          markerEnd: { type: MarkerType.ArrowClosed, width: 15, height: 15, color: on ? "var(--accent)" : "var(--edge-taken)" },
          data: { label: e.case ?? (e.when ? "if " + (e.when.length > 22 ? e.when.slice(0, 21) + "…" : e.when) : null), bad: counts.has(">" + id), act, readOnly },
        };
      }),
    [graphEdges, chosenEdges, counts, act, readOnly],
  );

  const fit = useCallback(() => void flow?.fitView({ padding: 0.07, maxZoom: 1, duration: 0 }), [flow]);
  // A graph that is entered is shown whole.
  const first = graph.nodes.length > 0;
  useEffect(() => {
    if (!flow || !first) return;
    const id = requestAnimationFrame(fit);
    return () => cancelAnimationFrame(id);
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [flow, scopeKey]);
  useEffect(() => {
    if (!flow) return;
    onReady({
      fit,
      zoom: (by) => void (by > 0 ? flow.zoomIn() : flow.zoomOut()),
      show(id) {
        const p = latest.current.places.get(id);
        const r = box.current?.getBoundingClientRect();
        if (!p || !r) return false;
        const a = flow.flowToScreenPosition(p);
        const z = flow.flowToScreenPosition({ x: p.x + CARD_W, y: p.y + CARD_H });
        if (a.x < r.left + 8 || a.y < r.top + 8 || z.x > r.right - 8 || z.y > r.bottom - 8) void flow.setCenter(p.x + CARD_W / 2, p.y + CARD_H / 2, { zoom: flow.getZoom() });
        return true;
      },
      centre() {
        const r = box.current!.getBoundingClientRect();
        return flow.screenToFlowPosition({ x: r.left + r.width / 2, y: r.top + r.height / 2 });
      },
    });
  }, [flow, fit, onReady]);

  const onNodesChange = useCallback(
    (changes: NodeChange<CardNode>[]) => {
      let next: Map<string, Point> | null = null;
      let select: Set<string> | null = null;
      for (const c of changes) {
        if (c.type === "position" && c.position) (next ??= new Map(latest.current.drag ?? [])).set(c.id, c.position);
        else if (c.type === "select") {
          select ??= new Set(store.state.get().nodes);
          if (c.selected) select.add(c.id);
          else select.delete(c.id);
        }
      }
      if (next) setDrag(next);
      if (select) store.select(select, select.size ? [] : store.state.get().edges);
    },
    [store],
  );
  const onEdgesChange = useCallback(
    (changes: EdgeChange<Wire>[]) => {
      let select: Set<string> | null = null;
      for (const c of changes)
        if (c.type === "select") {
          select ??= new Set(store.state.get().edges);
          if (c.selected) select.add(c.id);
          else select.delete(c.id);
        }
      if (select) store.select(select.size ? [] : store.state.get().nodes, select);
    },
    [store],
  );
  const dropped = () => {
    const d = latest.current.drag;
    if (d?.size) act.moved(new Map(d));
    else setDrag(null);
  };

  return (
    <div
      className="ed-flow"
      ref={box}
      onDragOver={(e) => {
        if (e.dataTransfer.types.includes(DRAG_TYPE)) {
          e.preventDefault();
          e.dataTransfer.dropEffect = "copy";
        }
      }}
      onDrop={(e) => {
        const type = e.dataTransfer.getData(DRAG_TYPE);
        if (!type || !flow) return;
        e.preventDefault();
        const p = flow.screenToFlowPosition({ x: e.clientX, y: e.clientY });
        act.drop(type, { x: p.x - CARD_W / 2, y: p.y - CARD_H / 2 });
      }}
    >
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={nodeTypes}
        edgeTypes={edgeTypes}
        onInit={setFlow}
        onNodesChange={onNodesChange}
        onEdgesChange={onEdgesChange}
        onNodeDragStop={dropped}
        onSelectionDragStop={dropped}
        onConnect={(c: Connection) => act.connect(c.source, c.target)}
        onConnectEnd={(e, c) => {
          // A line that ends on the empty canvas asks what shall be there.
          if (c.isValid || !c.fromNode || c.toNode || c.fromHandle?.type !== "source" || !flow) return;
          const at = "changedTouches" in e ? e.changedTouches[0] : e;
          if (!at || !(e.target as Element).closest(".react-flow__pane")) return;
          const p = flow.screenToFlowPosition({ x: at.clientX, y: at.clientY });
          act.append(c.fromNode.id, { x: p.x, y: p.y - CARD_H / 2 });
        }}
        isValidConnection={(c) => c.source !== c.target}
        onNodeDoubleClick={(_, n) => (n.data.container ? act.open(n.id) : act.edit(n.id))}
        onPaneClick={() => store.select([])}
        nodesDraggable={!readOnly}
        nodesConnectable={!readOnly}
        deleteKeyCode={null}
        disableKeyboardA11y
        selectionKeyCode="Shift"
        multiSelectionKeyCode={["Meta", "Control", "Shift"]}
        selectionMode={SelectionMode.Partial}
        snapToGrid={snap}
        snapGrid={[GRID, GRID]}
        connectionRadius={36}
        minZoom={0.15}
        maxZoom={1.75}
        proOptions={{ hideAttribution: true }}
      >
        <Background variant={BackgroundVariant.Dots} gap={GRID} size={1.2} color="var(--dots)" />
        {map && graph.nodes.length > 0 && <MiniMap pannable zoomable ariaLabel={w("canvas.map")} nodeBorderRadius={14} nodeClassName={(n) => "k-" + kindOf((n.data as CardData).node.type)} position="bottom-right" />}
      </ReactFlow>
    </div>
  );
});
