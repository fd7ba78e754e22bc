import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import "./ui/fonts.css";
import "./ui/tokens.css";
import "./ui/base.css";
import "./ui/controls.css";
import "./pages/pages.css";
import { App } from "./app";
import { live, boot } from "./state/session";
import { listenToHistory } from "./state/router";
import { applyTheme, theme } from "./state/prefs";
import { watchReviews } from "./state/reviews";

applyTheme();
theme.subscribe(applyTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
listenToHistory();
window.addEventListener("online", () => live.retryNow());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") live.retryNow();
});
// What is not live must not look alive: the styles stop every movement.
live.onStatus(() => {
  document.documentElement.dataset["live"] = live.status.phase;
});
// An address with a token may also be pasted into a page that is already open.
window.addEventListener("hashchange", () => {
  if (location.hash.includes("token=")) void boot();
});
watchReviews();
void boot();

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
