/* What changed between two texts, word by word; line by line when they are long. Common ends are cut off first, so a small change in a
 * long text stays cheap. */
export interface Part {
  kind: "same" | "gone" | "new";
  text: string;
}

const CELLS = 1_500_000; // of the table; beyond it coarser units, then one replacement

export function diff(a: string, b: string): Part[] {
  if (a === b) return a ? [{ kind: "same", text: a }] : [];
  return units(a, b, /\s+|[^\s]+/gu) ?? units(a, b, /[^\n]*\n|[^\n]+$/gu) ?? tidy([{ kind: "gone", text: a }, { kind: "new", text: b }]);
}

function units(a: string, b: string, unit: RegExp): Part[] | null {
  const x: string[] = a.match(unit) ?? [];
  const y: string[] = b.match(unit) ?? [];
  let head = 0;
  while (head < x.length && head < y.length && x[head] === y[head]) head++;
  let tail = 0;
  while (tail < x.length - head && tail < y.length - head && x[x.length - 1 - tail] === y[y.length - 1 - tail]) tail++;
  const p = x.slice(head, x.length - tail);
  const q = y.slice(head, y.length - tail);
  if ((p.length + 1) * (q.length + 1) > CELLS) return null;
  const w = q.length + 1;
  const lcs = new Uint32Array((p.length + 1) * w);
  for (let i = p.length - 1; i >= 0; i--) for (let j = q.length - 1; j >= 0; j--) lcs[i * w + j] = p[i] === q[j] ? lcs[(i + 1) * w + j + 1]! + 1 : Math.max(lcs[(i + 1) * w + j]!, lcs[i * w + j + 1]!);
  const out: Part[] = [{ kind: "same", text: x.slice(0, head).join("") }];
  let i = 0;
  let j = 0;
  while (i < p.length || j < q.length) {
    if (i < p.length && j < q.length && p[i] === q[j]) {
      out.push({ kind: "same", text: p[i]! });
      i++;
      j++;
    } else if (j >= q.length || (i < p.length && lcs[(i + 1) * w + j]! >= lcs[i * w + j + 1]!)) out.push({ kind: "gone", text: p[i++]! });
    else out.push({ kind: "new", text: q[j++]! });
  }
  out.push({ kind: "same", text: x.slice(x.length - tail).join("") });
  return tidy(out);
}

/* Neighbours of one kind are one part, and a replacement reads "old, new" rather than word by word. */
function tidy(parts: Part[]): Part[] {
  const out: Part[] = [];
  let gone = "";
  let fresh = "";
  const flush = () => {
    if (gone) out.push({ kind: "gone", text: gone });
    if (fresh) out.push({ kind: "new", text: fresh });
    gone = fresh = "";
  };
  for (let k = 0; k < parts.length; k++) {
    const p = parts[k]!;
    if (p.text === "") continue;
    // A lone blank between two changes belongs to both.
    const bridge = p.kind === "same" && /^\s+$/.test(p.text) && !p.text.includes("\n") && (gone || fresh) && parts.slice(k + 1).find((n) => n.text !== "")?.kind !== "same" && k + 1 < parts.length;
    if (p.kind === "gone") gone += p.text;
    else if (p.kind === "new") fresh += p.text;
    else if (bridge && parts.slice(k + 1).some((n) => n.text !== "")) {
      gone += p.text;
      fresh += p.text;
    } else {
      flush();
      const last = out[out.length - 1];
      if (last?.kind === "same") last.text += p.text;
      else out.push({ ...p });
    }
  }
  flush();
  return out;
}
