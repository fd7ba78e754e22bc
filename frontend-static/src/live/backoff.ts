/* Waiting times between attempts to connect: doubling, capped, and spread over [half, full] so that a thousand pages that lost the
 * same server do not return in the same millisecond. */
export function backoffMs(attempt: number, random: () => number, baseMs = 300, capMs = 15_000): number {
  const full = Math.min(capMs, baseMs * 2 ** Math.min(attempt - 1, 16));
  return Math.round(full / 2 + (full / 2) * random());
}
