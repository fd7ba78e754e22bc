import { useEffect, useId, useRef, useState, type ReactNode } from "react";
import { t } from "../i18n";
import { Icon, type IconName } from "./icons";

interface ButtonProps {
  children?: ReactNode;
  icon?: IconName;
  kind?: "plain" | "primary" | "danger" | "ghost";
  small?: boolean;
  label?: string; // for buttons that show only an icon
  why?: string | null; // set: the button is off, and this says why
  busy?: boolean;
  onClick?: () => void;
  type?: "button" | "submit";
  pressed?: boolean;
  hint?: string;
  autoFocus?: boolean;
  testId?: string;
}

/* A button that is off stays in the tab order, so that the reason can be read by everyone. */
export function Button(p: ButtonProps) {
  const off = Boolean(p.why) || p.busy === true;
  return (
    <button
      type={p.type ?? "button"}
      className={`btn btn-${p.kind ?? "plain"}${p.small ? " btn-sm" : ""}${!p.children ? " btn-icon" : ""}${p.busy ? " is-busy" : ""}`}
      aria-disabled={off || undefined}
      aria-label={p.label}
      aria-pressed={p.pressed}
      aria-description={p.why ?? undefined}
      data-tip={p.why ?? p.hint ?? (p.children ? undefined : p.label)}
      data-testid={p.testId}
      autoFocus={p.autoFocus}
      data-autofocus={p.autoFocus || undefined}
      onClick={(e) => {
        if (off) {
          e.preventDefault();
          return;
        }
        p.onClick?.();
      }}
    >
      {p.busy ? <Icon name="running" size={14} className="spin" /> : p.icon ? <Icon name={p.icon} size={14} /> : null}
      {p.children}
    </button>
  );
}

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http on another host has no clipboard interface; the old way still works from a click.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr-only";
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    return ok;
  }
}

export function CopyButton({ text, label, small = true, children }: { text: string | (() => string); label: string; small?: boolean; children?: ReactNode }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const id = setTimeout(() => setDone(false), 1400);
    return () => clearTimeout(id);
  }, [done]);
  return (
    <button
      type="button"
      className={`btn btn-ghost${small ? " btn-sm" : ""}${children ? " btn-copy" : " btn-icon"}`}
      aria-label={label}
      data-tip={done ? t("copied") : label}
      onClick={() => void copyText(typeof text === "function" ? text() : text).then(setDone)}
    >
      {children}
      <Icon name={done ? "check" : "copy"} size={13} />
    </button>
  );
}

/* The browser's own dialog: it traps the focus, closes on Escape and gives the focus back. */
export function Dialog({ title, onClose, children, wide = false, alert = false, kind }: { title: string; onClose: () => void; children: ReactNode; wide?: boolean; alert?: boolean; kind?: string }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const d = ref.current;
    if (!d || d.open) return;
    d.showModal();
    // The browser would choose the first thing that can be focused, which is the cross.
    d.querySelector<HTMLElement>("[data-autofocus]")?.focus();
  }, []);
  return (
    <dialog
      ref={ref}
      className={"dialog" + (wide ? " dialog-wide" : "") + (kind ? " dialog-" + kind : "")}
      aria-labelledby={id}
      role={alert ? "alertdialog" : undefined}
      onClose={onClose}
      onCancel={(e) => {
        if (e.target === ref.current) {
          e.preventDefault();
          onClose();
        }
      }}
      onClick={(e) => {
        if (e.target === ref.current) onClose();
      }}
    >
      <div className="dialog-in">
        <header className="dialog-head">
          <h2 id={id}>{title}</h2>
          <Button icon="close" kind="ghost" small label={t("close")} onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

export interface MenuItem {
  label: string;
  detail?: string;
  why?: string | null; // set: not possible now, and this says why
  onPick: () => void;
}

export function Menu({ label, items, why, testId }: { label: string; items: MenuItem[]; why?: string | null; testId?: string }) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    root.current?.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const away = (e: PointerEvent) => {
      if (!root.current?.contains(e.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [open]);
  const close = () => {
    setOpen(false);
    root.current?.querySelector<HTMLElement>("button")?.focus();
  };
  return (
    <div
      className="menu"
      ref={root}
      onKeyDown={(e) => {
        if (!open) return;
        const all = [...(root.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
        const at = all.indexOf(document.activeElement as HTMLElement);
        if (e.key === "Escape") {
          e.stopPropagation();
          close();
        } else if (e.key === "ArrowDown") all[(at + 1) % all.length]?.focus();
        else if (e.key === "ArrowUp") all[(at - 1 + all.length) % all.length]?.focus();
        else if (e.key === "Tab") setOpen(false);
        else return;
        if (e.key !== "Tab") e.preventDefault();
      }}
    >
      <button type="button" className="btn btn-plain btn-icon" aria-haspopup="menu" aria-expanded={open} aria-label={label} aria-disabled={why ? true : undefined} data-tip={why ?? (open ? undefined : label)} data-testid={testId} onClick={() => !why && setOpen(!open)}>
        <Icon name="chevronDown" size={12} />
      </button>
      {open && (
        <div className="menu-list" role="menu">
          {items.map((i) => (
            <button
              key={i.label}
              type="button"
              role="menuitem"
              className="menu-item"
              aria-disabled={i.why ? true : undefined}
              onClick={() => {
                if (i.why) return;
                close();
                i.onPick();
              }}
            >
              <b>{i.label}</b>
              {(i.why ?? i.detail) && <span>{i.why ?? i.detail}</span>}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

export function Skeleton({ rows = 6, label = t("loading") }: { rows?: number; label?: string }) {
  return (
    <div className="skeleton" role="status" aria-label={label}>
      {Array.from({ length: rows }, (_, i) => (
        <i key={i} style={{ width: `${92 - ((i * 17) % 40)}%` }} />
      ))}
    </div>
  );
}

export function Problem({ title, detail, code, requestId, onRetry }: { title: string; detail?: string; code?: string; requestId?: string | null; onRetry?: () => void }) {
  return (
    <div className="problem" role="alert">
      <Icon name="cross" size={18} />
      <div>
        <h3>{title}</h3>
        {detail && <p>{detail}</p>}
        {(code || requestId) && (
          <p className="mono faint">
            {code}
            {requestId && ` · ${t("request")} ${requestId}`}
          </p>
        )}
        {onRetry && (
          <Button small icon="retry" onClick={onRetry}>
            {t("retry")}
          </Button>
        )}
      </div>
    </div>
  );
}

export function Code({ text, label }: { text: string; label: string }) {
  return (
    <div className="codeblock">
      <pre>{text}</pre>
      <CopyButton text={text} label={label} />
    </div>
  );
}

export function Tabs<T extends string>({ tabs, value, onChange, label }: { tabs: { id: T; label: string; count?: number }[]; value: T; onChange: (v: T) => void; label: string }) {
  return (
    <div
      className="tabs"
      role="tablist"
      aria-label={label}
      onKeyDown={(e) => {
        const at = tabs.findIndex((x) => x.id === value);
        const to = e.key === "ArrowRight" ? at + 1 : e.key === "ArrowLeft" ? at - 1 : null;
        if (to === null) return;
        e.preventDefault();
        const next = tabs[(to + tabs.length) % tabs.length]!;
        onChange(next.id);
        const el = e.currentTarget.querySelector<HTMLElement>(`[data-tab="${next.id}"]`);
        el?.focus();
        el?.scrollIntoView({ block: "nearest", inline: "nearest" });
      }}
    >
      {tabs.map((x) => (
        <button key={x.id} type="button" role="tab" data-tab={x.id} aria-selected={x.id === value} tabIndex={x.id === value ? 0 : -1} onClick={() => onChange(x.id)}>
          {x.label}
          {x.count !== undefined && <span className="count">{x.count}</span>}
        </button>
      ))}
    </div>
  );
}
