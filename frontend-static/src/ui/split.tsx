import { t } from "../i18n";

/* A bar between two panels: drag it, or focus it and use the arrows. `value` is in the unit of the caller. */
export function Splitter({ axis, value, min, max, step, label, toValue, onChange }: {
  axis: "x" | "y";
  value: number;
  min: number;
  max: number;
  step: number;
  label: string;
  toValue: (clientX: number, clientY: number) => number;
  onChange: (v: number) => void;
}) {
  const clamp = (v: number) => Math.min(max, Math.max(min, v));
  return (
    <div
      className={"splitter splitter-" + axis}
      role="separator"
      tabIndex={0}
      aria-orientation={axis === "x" ? "vertical" : "horizontal"}
      aria-label={label}
      aria-valuenow={Math.round(value)}
      aria-valuemin={min}
      aria-valuemax={max}
      title={t("split.hint")}
      onPointerDown={(e) => {
        e.preventDefault();
        e.currentTarget.setPointerCapture(e.pointerId);
      }}
      onPointerMove={(e) => {
        if (e.currentTarget.hasPointerCapture(e.pointerId)) onChange(clamp(toValue(e.clientX, e.clientY)));
      }}
      onKeyDown={(e) => {
        const less = axis === "x" ? "ArrowLeft" : "ArrowDown";
        const more = axis === "x" ? "ArrowRight" : "ArrowUp";
        if (e.key === less) onChange(clamp(value - step));
        else if (e.key === more) onChange(clamp(value + step));
        else return;
        e.preventDefault();
      }}
    />
  );
}
