/* Model prose as React elements. The text is data: nothing in it becomes HTML, an address is shown and followed only when it is http(s),
 * images are not loaded. A small dialect on purpose; what it does not know stays as it was written. */
import { memo, type ReactNode } from "react";

export interface Block {
  kind: "p" | "h" | "ul" | "ol" | "quote" | "code" | "table" | "hr";
  text: string;
  level?: number;
  lang?: string;
}

/* Splits into blocks. Text still growing is fine: an open fence runs to the end. */
export function parseBlocks(src: string): Block[] {
  const out: Block[] = [];
  const lines = src.split("\n");
  let i = 0;
  const gather = (test: (l: string) => boolean): string => {
    const got: string[] = [];
    while (i < lines.length && test(lines[i]!)) got.push(lines[i++]!);
    return got.join("\n");
  };
  while (i < lines.length) {
    const l = lines[i]!;
    let m: RegExpExecArray | null;
    if (l.trim() === "") i++;
    else if ((m = /^\s*(```+|~~~+)\s*([\w+-]*)/.exec(l))) {
      const fence = m[1]!;
      i++;
      const body = gather((x) => !x.trim().startsWith(fence));
      i++;
      out.push({ kind: "code", text: body, lang: m[2] ?? "" });
    } else if ((m = /^(#{1,6})\s+(.*)$/.exec(l))) {
      out.push({ kind: "h", text: m[2]!.replace(/\s+#+$/, ""), level: m[1]!.length });
      i++;
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(l)) {
      out.push({ kind: "hr", text: "" });
      i++;
    } else if (/^\s*>/.test(l)) out.push({ kind: "quote", text: gather((x) => /^\s*>/.test(x)).replace(/^\s*> ?/gm, "") });
    else if (/^\s*[-*+]\s+/.test(l)) out.push({ kind: "ul", text: gather((x) => /^\s*[-*+]\s+/.test(x) || /^\s{2,}\S/.test(x)) });
    else if (/^\s*\d+[.)]\s+/.test(l)) out.push({ kind: "ol", text: gather((x) => /^\s*\d+[.)]\s+/.test(x) || /^\s{2,}\S/.test(x)) });
    else if (/^\s*\|.*\|/.test(l) && /^\s*\|[\s:|-]+\|?\s*$/.test(lines[i + 1] ?? "")) out.push({ kind: "table", text: gather((x) => /^\s*\|/.test(x)) });
    else out.push({ kind: "p", text: gather((x) => x.trim() !== "" && !/^(#{1,6}\s|\s*(```|~~~)|\s*>|\s*[-*+]\s+\S|\s*\d+[.)]\s+\S)/.test(x)) || lines[i++]! });
  }
  return out;
}

const INLINE = /(`+)([^`]+?)\1|\*\*(?=\S)([^*]+?)\*\*|__(?=\S)([^_]+?)__|(?<![\w*])\*(?=\S)([^*\n]+?)\*(?!\*)|(?<![\w_])_(?=\S)([^_\n]+?)_(?!\w)|~~([^~]+?)~~|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)/g;

export function inline(text: string): ReactNode[] {
  const out: ReactNode[] = [];
  let at = 0;
  for (const m of text.matchAll(INLINE)) {
    if (m.index > at) out.push(text.slice(at, m.index));
    const k = m.index;
    if (m[2] !== undefined) out.push(<code key={k}>{m[2]}</code>);
    else if (m[3] ?? m[4]) out.push(<strong key={k}>{inline((m[3] ?? m[4])!)}</strong>);
    else if (m[5] ?? m[6]) out.push(<em key={k}>{inline((m[5] ?? m[6])!)}</em>);
    else if (m[7]) out.push(<s key={k}>{m[7]}</s>);
    else if (m[8] && m[9])
      out.push(
        <a key={k} href={m[9]} target="_blank" rel="noopener noreferrer nofollow" title={m[9]}>
          {m[8]}
        </a>,
      );
    at = m.index + m[0].length;
  }
  if (at < text.length) out.push(text.slice(at));
  return out;
}

function cells(row: string): string[] {
  return row.trim().replace(/^\||\|$/g, "").split("|").map((c) => c.trim());
}

const BlockView = memo(function BlockView({ block }: { block: Block }) {
  switch (block.kind) {
    case "h": {
      const H = (["h4", "h4", "h5", "h6", "h6", "h6"] as const)[(block.level ?? 1) - 1] ?? "h6";
      return <H>{inline(block.text)}</H>;
    }
    case "hr":
      return <hr />;
    case "code":
      return (
        <pre className="md-code" tabIndex={0}>
          <code>{block.text}</code>
        </pre>
      );
    case "quote":
      return (
        <blockquote>
          <Markdown text={block.text} />
        </blockquote>
      );
    case "ul":
    case "ol": {
      const items = block.text.split(/\n(?=(?:[-*+]|\d+[.)])\s)/);
      const List = block.kind;
      return (
        <List start={block.kind === "ol" ? Number(/\d+/.exec(block.text)?.[0] ?? 1) : undefined}>
          {items.map((it, n) => {
            const [first, ...rest] = it.replace(/^\s*(?:[-*+]|\d+[.)])\s+/, "").split("\n");
            const nested = rest.map((r) => r.replace(/^ {1,4}/, "")).join("\n");
            return (
              <li key={n}>
                {inline(first ?? "")}
                {nested && <Markdown text={nested} />}
              </li>
            );
          })}
        </List>
      );
    }
    case "table": {
      const [head, , ...rows] = block.text.split("\n");
      return (
        <div className="md-table" tabIndex={0}>
          <table>
            <thead>
              <tr>{cells(head ?? "").map((c, n) => <th key={n}>{inline(c)}</th>)}</tr>
            </thead>
            <tbody>
              {rows.map((r, n) => (
                <tr key={n}>{cells(r).map((c, k) => <td key={k}>{inline(c)}</td>)}</tr>
              ))}
            </tbody>
          </table>
        </div>
      );
    }
    default:
      return <p>{inline(block.text)}</p>;
  }
}, (a, b) => a.block.kind === b.block.kind && a.block.text === b.block.text);

export function Markdown({ text }: { text: string }): ReactNode {
  return parseBlocks(text).map((b, i) => <BlockView key={i} block={b} />);
}
