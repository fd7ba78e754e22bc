/* The REST interface. The session is an HttpOnly cookie the page cannot read; every request carries X-Sluice-Client, which a foreign
 * page cannot send without a preflight the server refuses. */
import type { JournalItem, Json, Page, Profile, Run, RunSummary, Session, Workflow, WorkflowSummary } from "./types";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string | null,
    readonly fields: { pointer: string; message: string }[],
    readonly retryAfterS: number | null,
    readonly body: unknown,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

type Query = { [key: string]: string | number | null | undefined };

export class Api {
  /* Called once for each answer 401 outside of signing in: the session ended. */
  onSignedOut: () => void = () => {};

  constructor(private readonly fetcher: typeof fetch = (...a) => fetch(...a)) {}

  async request<T>(
    method: string,
    path: string,
    o: { query?: Query; body?: unknown; headers?: Record<string, string>; signal?: AbortSignal; quiet401?: boolean } = {},
  ): Promise<T> {
    let url = "/api/v1" + path;
    if (o.query) {
      const q = new URLSearchParams();
      for (const [k, v] of Object.entries(o.query)) if (v !== null && v !== undefined && v !== "") q.set(k, String(v));
      const s = q.toString();
      if (s) url += "?" + s;
    }
    let res: Response;
    try {
      res = await this.fetcher(url, {
        method,
        credentials: "same-origin",
        cache: "no-store",
        headers: {
          "X-Sluice-Client": "ui",
          ...(o.body === undefined ? {} : { "Content-Type": "application/json" }),
          ...o.headers,
        },
        body: o.body === undefined ? undefined : JSON.stringify(o.body),
        signal: o.signal,
      });
    } catch (e) {
      if (e instanceof DOMException && e.name === "AbortError") throw e;
      throw new ApiError(0, "unreachable", "The server did not answer.", null, [], null, null);
    }
    const text = await res.text();
    let body: unknown = null;
    if (text) {
      try {
        body = JSON.parse(text);
      } catch {
        body = null;
      }
    }
    if (!res.ok) {
      if (res.status === 401 && !o.quiet401) this.onSignedOut();
      const p = (body ?? {}) as { code?: string; detail?: string; title?: string; errors?: { pointer: string; message: string }[]; request_id?: string; retry_after?: number };
      const retry = Number(res.headers.get("Retry-After") ?? p.retry_after);
      throw new ApiError(
        res.status,
        p.code ?? "http_" + res.status,
        p.detail ?? p.title ?? `The server answered ${res.status}.`,
        res.headers.get("X-Request-Id") ?? p.request_id ?? null,
        Array.isArray(p.errors) ? p.errors : [],
        Number.isFinite(retry) && retry > 0 ? retry : null,
        body,
      );
    }
    return body as T;
  }

  signIn(token: string): Promise<unknown> {
    return this.request("POST", "/session", { headers: { Authorization: "Bearer " + token }, quiet401: true });
  }
  session(): Promise<Session> {
    return this.request("GET", "/session", { quiet401: true });
  }
  signOut(): Promise<unknown> {
    return this.request("DELETE", "/session", { quiet401: true });
  }
  async ticket(): Promise<string> {
    return (await this.request<{ ticket: string }>("POST", "/ws-ticket")).ticket;
  }

  runs(q: { status?: string; workflow?: string; limit?: number; cursor?: string | null }, signal?: AbortSignal): Promise<Page<RunSummary>> {
    return this.request("GET", "/runs", { query: q, signal });
  }
  run(id: string, signal?: AbortSignal): Promise<Run> {
    return this.request("GET", `/runs/${encodeURIComponent(id)}`, { signal });
  }
  events(id: string, afterSeq: number, limit: number, signal?: AbortSignal): Promise<Page<JournalItem>> {
    return this.request("GET", `/runs/${encodeURIComponent(id)}/events`, { query: { after_seq: afterSeq, limit }, signal });
  }
  startRun(
    workflow: string,
    version: number | undefined,
    inputs: { [key: string]: Json },
    idempotencyKey: string,
  ): Promise<{ id: string; status: string }> {
    return this.request("POST", "/runs", { body: { workflow, version, inputs }, headers: { "Idempotency-Key": idempotencyKey } });
  }
  act(id: string, action: "pause" | "resume" | "cancel", body: object = {}): Promise<Run> {
    return this.request("POST", `/runs/${encodeURIComponent(id)}/${action}`, { body });
  }

  workflows(cursor?: string | null): Promise<Page<WorkflowSummary>> {
    return this.request("GET", "/workflows", { query: { limit: 100, cursor } });
  }
  workflow(name: string): Promise<Workflow> {
    return this.request("GET", `/workflows/${encodeURIComponent(name)}`);
  }
  profiles(): Promise<{ items: Profile[] }> {
    return this.request("GET", "/llm/profiles");
  }
}

export const api = new Api();
