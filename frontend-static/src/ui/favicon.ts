/* The tab tells that a run needs somebody. Shape differs with the state, not only the colour. */
export type FaviconState = "idle" | "running" | "needs" | "failed";

const marks: Record<FaviconState, string> = {
  idle: "",
  running: "<circle cx='25' cy='25' r='6' fill='%234cc1e6' stroke='%23fff' stroke-width='2'/>",
  needs: "<path d='M25 15l7.500 14h-15z' fill='%23f5b83d' stroke='%23fff' stroke-width='2'/>",
  failed: "<rect x='18' y='18' width='13' height='13' rx='2' fill='%23d63a3a' stroke='%23fff' stroke-width='2'/>",
};

export function setFavicon(s: FaviconState): void {
  const link = document.getElementById("favicon") as HTMLLinkElement | null;
  if (link)
    link.href =
      "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='8' fill='%230b7a9e'/%3E%3Cpath d='M6 12c3.3-3 6.7-3 10 0s6.7 3 10 0M6 21c3.3-3 6.7-3 10 0s6.7 3 10 0' fill='none' stroke='%23fff' stroke-width='3' stroke-linecap='round'/%3E%3C/svg%3E".replace(
        "%3C/svg%3E",
        marks[s].replace(/</g, "%3C").replace(/>/g, "%3E") + "%3C/svg%3E",
      );
}
