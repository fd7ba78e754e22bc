/* What was typed, as values. */
import type { Json } from "../api/types";

/* "" is nothing, otherwise a number; NaN when it is none. */
export const numberOf = (s: string): number | undefined => (s.trim() === "" ? undefined : Number(s));

export function parseJson(s: string): { value: Json | undefined; bad: boolean } {
  if (s.trim() === "") return { value: undefined, bad: false };
  try {
    return { value: JSON.parse(s) as Json, bad: false };
  } catch {
    return { value: undefined, bad: true };
  }
}
