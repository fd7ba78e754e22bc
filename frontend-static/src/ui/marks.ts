/* Words of a text that is on the page, marked without touching the page: React's elements stay as they are. Browsers that cannot do it
 * show the text as ever. Styled as ::highlight(claims). */
import { useEffect, type RefObject } from "react";

interface Marks {
  add(r: Range): void;
  delete(r: Range): void;
}

/* Where the words stand, each in its own sentence and after the one before it; null: not there. Positions in `text`. */
export function placesOf(text: string, claims: readonly { text: string; mark: string }[]): ([number, number] | null)[] {
  let from = 0;
  return claims.map((c) => {
    // What Markdown makes of a sentence is not the sentence; its first words mostly are.
    const head = c.text.slice(0, 24);
    const at = text.indexOf(head, from);
    const start = text.indexOf(c.mark, at < 0 ? from : at);
    if (start < 0 || !c.mark) return null;
    from = start + c.mark.length;
    return [start, from];
  });
}

function marks(): Marks | null {
  const all = (CSS as unknown as { highlights?: Map<string, Marks> }).highlights;
  const make = (window as unknown as { Highlight?: new () => Marks }).Highlight;
  if (!all || !make) return null;
  let own = all.get("claims");
  if (!own) all.set("claims", (own = new make()));
  return own;
}

export function useMarks(root: RefObject<HTMLElement | null>, claims: readonly { text: string; mark: string }[], version: unknown): void {
  useEffect(() => {
    const set = claims.length && root.current ? marks() : null;
    if (!set) return;
    const nodes: { node: Text; at: number }[] = [];
    let text = "";
    const walk = document.createTreeWalker(root.current!, NodeFilter.SHOW_TEXT);
    for (let n = walk.nextNode(); n; n = walk.nextNode()) {
      nodes.push({ node: n as Text, at: text.length });
      text += (n as Text).data;
    }
    const point = (at: number) => {
      let i = nodes.length - 1;
      while (i > 0 && nodes[i]!.at > at) i--;
      const n = nodes[i]!;
      return [n.node, Math.min(at - n.at, n.node.length)] as const;
    };
    const ranges = placesOf(text, claims).flatMap((p) => {
      if (!p) return [];
      const r = document.createRange();
      r.setStart(...point(p[0]));
      const [node, at] = point(p[1] - 1);
      r.setEnd(node, Math.min(at + 1, node.length));
      return [r];
    });
    for (const r of ranges) set.add(r);
    return () => ranges.forEach((r) => set.delete(r));
  }, [root, claims, version]);
}
