/* Where the cards of one graph lie. The definition's own positions count when every node has one; else they are laid out, and the first
 * thing that moves writes the positions of all, so that they never jump. */
import type { Definition, Graph } from "../../api/types";
import { layout, NODE_H } from "../run/layout";
import { GRID, move, type Point, type Scope } from "./model";

export const CARD_W = 204;
export const CARD_H = 58;

const grid = (v: number) => Math.round(v / GRID) * GRID;

/* It depends on ids and edges alone, and is asked for with every letter that is typed into a field. */
let last: { key: string; places: Map<string, Point> } | null = null;

export function arranged(g: Graph): Map<string, Point> {
  const key = JSON.stringify([g.nodes.map((n) => n.id), g.edges?.map((e) => [e.from, e.to, e.case !== undefined || e.when !== undefined])]);
  if (last?.key !== key) last = { key, places: lay(g) };
  return new Map(last.places);
}

function lay(g: Graph): Map<string, Point> {
  // Containers are cards here, so their bodies have no part in it.
  const flat: Graph = { nodes: g.nodes.map((n) => ({ id: n.id, type: n.type })), edges: g.edges };
  // Edges that carry a case or a condition need room for it.
  const sx = g.edges?.some((e) => e.case !== undefined || e.when !== undefined) ? 1.19 : 1.08;
  const sy = CARD_H / NODE_H + 0.1;
  return new Map(layout(flat, "right").map((p) => [p.id, { x: grid(p.x * sx), y: grid(p.y * sy) }]));
}

const ok = (p: Point | undefined): p is Point => p !== undefined && Number.isFinite(p.x) && Number.isFinite(p.y);

export function placesOf(g: Graph): Map<string, Point> {
  if (g.nodes.every((n) => ok(n.position))) return new Map(g.nodes.map((n) => [n.id, n.position!]));
  return arranged(g);
}

export function withPlaces(def: Definition, scope: Scope, g: Graph): Definition {
  return g.nodes.every((n) => ok(n.position)) ? def : move(def, scope, arranged(g));
}

/* A free place right of a card, or right of everything. */
export function freePlace(places: ReadonlyMap<string, Point>, after: string | null): Point {
  const all = [...places.values()];
  const from = after === null ? undefined : places.get(after);
  const x = from ? from.x + CARD_W + 80 : all.length ? Math.max(...all.map((p) => p.x)) + CARD_W + 80 : 0;
  let y = from ? from.y : all.length ? all.reduce((a, b) => (b.x > a.x ? b : a)).y : 0;
  while (all.some((p) => Math.abs(p.x - x) < CARD_W + 10 && Math.abs(p.y - y) < CARD_H + 10)) y += CARD_H + 40;
  return { x: grid(x), y: grid(y) };
}

/* The next card in a direction: near, and not far off the line. */
export function neighbour(places: ReadonlyMap<string, Point>, from: string, key: "ArrowLeft" | "ArrowRight" | "ArrowUp" | "ArrowDown"): string | null {
  const a = places.get(from);
  if (!a) return null;
  let best: string | null = null;
  let least = Infinity;
  for (const [id, b] of places) {
    if (id === from) continue;
    const dx = b.x - a.x;
    const dy = b.y - a.y;
    const along = key === "ArrowRight" ? dx : key === "ArrowLeft" ? -dx : key === "ArrowDown" ? dy : -dy;
    const off = key === "ArrowRight" || key === "ArrowLeft" ? Math.abs(dy) : Math.abs(dx);
    if (along <= 0) continue;
    const cost = along + off * 2.2;
    if (cost < least) {
      least = cost;
      best = id;
    }
  }
  return best;
}
