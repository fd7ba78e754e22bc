/* Places for the nodes of a graph, with nested bodies inside their containers. Layers by longest path, order inside a layer by the mean
 * of the neighbours, a few sweeps. Positions written in the definition win when every node of that graph has one. */
import type { Graph } from "../../api/types";
import { bodyOf, layersOf } from "./paths";

export type Direction = "down" | "right";

export interface Placed {
  key: string; // ids joined by '/', without rounds
  id: string;
  parent: string | null;
  x: number; // relative to the parent
  y: number;
  width: number;
  height: number;
  container: boolean;
}

export const NODE_W = 196;
export const NODE_H = 58;
const GAP_MAIN = 46;
const GAP_CROSS = 22;
const PAD = 14;
export const GROUP_HEAD = 40;
const GROUP_W = 312; // its head holds a name, figures and the choice of a round

export function layout(graph: Graph, dir: Direction): Placed[] {
  const out: Placed[] = [];
  place(graph, dir, null, out, 0);
  return out;
}

function place(graph: Graph, dir: Direction, parent: string | null, out: Placed[], depth: number): { width: number; height: number } {
  const down = dir === "down";
  const boxes = graph.nodes.map((n) => {
    const key = parent === null ? n.id : parent + "/" + n.id;
    const body = depth < 8 ? bodyOf(n) : null;
    const inner: Placed[] = [];
    let width = NODE_W;
    let height = NODE_H;
    if (body && body.nodes.length) {
      const size = place(body, dir, key, inner, depth + 1);
      width = Math.max(GROUP_W, size.width + 2 * PAD);
      height = size.height + GROUP_HEAD + PAD;
      const dx = (width - size.width) / 2;
      for (const p of inner)
        if (p.parent === key) {
          p.x += dx;
          p.y += GROUP_HEAD;
        }
    }
    const box: Placed = { key, id: n.id, parent, x: 0, y: 0, width, height, container: inner.length > 0 };
    out.push(box, ...inner);
    return box;
  });

  const given = graph.nodes.map((n) => n.position);
  if (graph.nodes.length > 1 && given.every((p) => p && Number.isFinite(p.x) && Number.isFinite(p.y)) && boxes.every((b) => !b.container)) {
    const x0 = Math.min(...given.map((p) => p!.x));
    const y0 = Math.min(...given.map((p) => p!.y));
    boxes.forEach((b, i) => {
      b.x = given[i]!.x - x0;
      b.y = given[i]!.y - y0;
    });
    return extent(boxes);
  }

  const layer = layersOf(graph);
  const rows: Placed[][] = [];
  for (const b of boxes) (rows[layer.get(b.id) ?? 0] ??= []).push(b);
  const filled = rows.filter(Boolean);
  const near = new Map<string, string[]>();
  for (const e of graph.edges ?? []) {
    near.set(e.from, [...(near.get(e.from) ?? []), e.to]);
    near.set(e.to, [...(near.get(e.to) ?? []), e.from]);
  }

  const cross = (b: Placed) => (down ? b.width : b.height);
  const main = (b: Placed) => (down ? b.height : b.width);
  const centre = new Map<string, number>();
  const lay = (row: Placed[]) => {
    const total = row.reduce((s, b) => s + cross(b), 0) + GAP_CROSS * (row.length - 1);
    let at = -total / 2;
    for (const b of row) {
      centre.set(b.id, at + cross(b) / 2);
      at += cross(b) + GAP_CROSS;
    }
  };
  filled.forEach(lay);
  for (let sweep = 0; sweep < 4; sweep++)
    for (const row of sweep % 2 ? [...filled].reverse() : filled) {
      const weight = new Map(
        row.map((b) => {
          const n = (near.get(b.id) ?? []).flatMap((x) => centre.get(x) ?? []);
          return [b.id, n.length ? n.reduce((s, v) => s + v, 0) / n.length : centre.get(b.id)!];
        }),
      );
      row.sort((a, b) => weight.get(a.id)! - weight.get(b.id)! || centre.get(a.id)! - centre.get(b.id)!);
      lay(row);
    }

  let at = 0;
  for (const row of filled) {
    const thick = Math.max(...row.map(main));
    for (const b of row) {
      const c = centre.get(b.id)! - cross(b) / 2;
      const m = at + (down ? 0 : (thick - main(b)) / 2);
      b.x = down ? c : m;
      b.y = down ? m : c;
    }
    at += thick + GAP_MAIN;
  }
  const x0 = Math.min(0, ...boxes.map((b) => b.x));
  const y0 = Math.min(0, ...boxes.map((b) => b.y));
  for (const b of boxes) {
    b.x -= x0;
    b.y -= y0;
  }
  return extent(boxes);
}

function extent(boxes: Placed[]): { width: number; height: number } {
  return { width: Math.max(0, ...boxes.map((b) => b.x + b.width)), height: Math.max(0, ...boxes.map((b) => b.y + b.height)) };
}
