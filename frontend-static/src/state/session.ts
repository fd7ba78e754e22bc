/* Who is signed in, and the one live connection that goes with it. */
import { api, ApiError } from "../api/client";
import type { Profile, Session } from "../api/types";
import { browserEnv, LiveClient } from "../live/client";
import { createStore } from "./store";

export type SessionState =
  | { phase: "checking" }
  | { phase: "in"; who: Session }
  | { phase: "out"; notice: string | null }
  | { phase: "unreachable"; message: string };

export const session = createStore<SessionState>({ phase: "checking" });
export const profiles = createStore<Profile[] | null>(null);
export const live = new LiveClient(browserEnv(() => api.ticket()));

api.onSignedOut = () => {
  if (session.get().phase !== "in") return;
  live.stop();
  session.set({ phase: "out", notice: "ended" });
};

/* The address printed by the server carries the token behind '#', where no server or referrer sees it. It leaves the address bar and
 * the history entry before anything else happens. */
export function takeTokenFromAddress(): string | null {
  const m = /^#(?:.*&)?token=([^&]+)/.exec(location.hash);
  if (!m) return null;
  history.replaceState(null, "", location.pathname + location.search);
  try {
    return decodeURIComponent(m[1]!);
  } catch {
    return m[1]!;
  }
}

export async function signIn(token: string): Promise<void> {
  await api.signIn(token.trim());
  await enter();
}

export async function enter(): Promise<void> {
  const who = await api.session();
  session.set({ phase: "in", who });
  live.ensure();
  void loadProfiles();
}

export async function loadProfiles(): Promise<void> {
  try {
    profiles.set((await api.profiles()).items);
  } catch {
    profiles.set(null);
  }
}

export async function boot(): Promise<void> {
  const token = takeTokenFromAddress();
  session.set({ phase: "checking" });
  try {
    if (token) await signIn(token);
    else await enter();
  } catch (e) {
    if (e instanceof ApiError && (e.status === 401 || e.status === 403)) session.set({ phase: "out", notice: token ? "refused" : null });
    else if (e instanceof ApiError) session.set({ phase: "unreachable", message: e.status ? `${e.message} (${e.code})` : e.message });
    else throw e;
  }
}

export async function signOut(): Promise<void> {
  try {
    await api.signOut();
  } catch {
    /* a session that cannot be ended now ends on its own; the page forgets it either way */
  }
  live.stop();
  session.set({ phase: "out", notice: "bye" });
}

const needs = { run: 1, edit: 2, admin: 3 } as const;
const ranks = { viewer: 0, runner: 1, editor: 2, admin: 3 } as const;

export function roleAllows(what: keyof typeof needs): boolean {
  const s = session.get();
  return s.phase === "in" && (ranks[s.who.role] ?? 0) >= needs[what];
}
