/* Which lines are new, gone or the same. Longest common subsequence over the lines between the equal ends. */
export interface Line {
  kind: "same" | "gone" | "new";
  text: string;
}

const MOST = 4_000_000; // cells of the table; beyond it the middle is shown as replaced

export function diffLines(a: string[], b: string[]): Line[] {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const x = a.slice(head, a.length - tail);
  const y = b.slice(head, b.length - tail);
  const same = (lines: string[]): Line[] => lines.map((text) => ({ kind: "same", text }));
  const middle: Line[] = [];
  if (x.length * y.length > MOST) {
    middle.push(...x.map((text): Line => ({ kind: "gone", text })), ...y.map((text): Line => ({ kind: "new", text })));
  } else {
    const w = y.length + 1;
    const t = new Uint32Array((x.length + 1) * w);
    for (let i = x.length - 1; i >= 0; i--) for (let k = y.length - 1; k >= 0; k--) t[i * w + k] = x[i] === y[k] ? t[(i + 1) * w + k + 1]! + 1 : Math.max(t[(i + 1) * w + k]!, t[i * w + k + 1]!);
    let i = 0;
    let k = 0;
    while (i < x.length || k < y.length) {
      if (i < x.length && k < y.length && x[i] === y[k]) {
        middle.push({ kind: "same", text: x[i++]! });
        k++;
      } else if (i < x.length && (k >= y.length || t[(i + 1) * w + k]! >= t[i * w + k + 1]!)) middle.push({ kind: "gone", text: x[i++]! });
      else middle.push({ kind: "new", text: y[k++]! });
    }
  }
  return [...same(a.slice(0, head)), ...middle, ...same(a.slice(a.length - tail))];
}

/* Only the changed parts, each with a little of what stands around it; null marks what was left out. */
export function changedParts(lines: Line[], around = 3): (Line | null)[] {
  const show = new Set<number>();
  lines.forEach((l, i) => {
    if (l.kind !== "same") for (let k = Math.max(0, i - around); k <= Math.min(lines.length - 1, i + around); k++) show.add(k);
  });
  const out: (Line | null)[] = [];
  let last = -1;
  for (const i of [...show].sort((a, b) => a - b)) {
    if (i > last + 1) out.push(null);
    out.push(lines[i]!);
    last = i;
  }
  return out;
}
