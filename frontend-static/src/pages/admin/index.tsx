/* The administration: each part under its own address, loaded when it is looked at. */
import { useEffect, useState } from "react";
import { admin, type ServerState } from "../../api/ops";
import { navigate } from "../../state/router";
import { roleAllows, session } from "../../state/session";
import { useStore } from "../../state/store";
import { announce } from "../../ui/announce";
import { Button, Tabs } from "../../ui/controls";
import { Confirm, EmptyPage, TroubleNote, useTask } from "../../ui/kit";
import type { AreaProps } from "../../areas";
import { Audit, Caches, Instances } from "./lists";
import { Breakers, LimitsTab } from "./guards";
import { Tokens } from "./tokens";
import { w, type Word } from "./words";
import "./admin.css";

const PARTS = ["breakers", "limits", "tokens", "cache", "instances", "audit"] as const;
type Part = (typeof PARTS)[number];

export default function Admin({ rest }: AreaProps) {
  const part = (PARTS as readonly string[]).includes(rest[0] ?? "") ? (rest[0] as Part) : "breakers";
  const s = useStore(session);
  useEffect(() => {
    document.title = `${w(("tab." + part) as Word)} · ${w("title")} · Sluice`;
  }, [part]);
  if (!roleAllows("admin"))
    return (
      <div className="page">
        <EmptyPage icon="locked" title={w("no.title")} body={w("no.body", { role: s.phase === "in" ? s.who.role : "" })} code="sluice token create --role admin --name ana" />
      </div>
    );
  return (
    <div className="page admin">
      <header className="page-head">
        <h1>{w("title")}</h1>
        <span className="grow" />
        <Server />
      </header>
      <Tabs label={w("sections")} value={part} onChange={(p) => navigate("/admin/" + p, true)} tabs={PARTS.map((p) => ({ id: p, label: w(("tab." + p) as Word) }))} />
      {part === "breakers" ? <Breakers /> : part === "limits" ? <LimitsTab /> : part === "tokens" ? <Tokens /> : part === "cache" ? <Caches /> : part === "instances" ? <Instances /> : <Audit />}
    </div>
  );
}

/* Pause, go on, drain: of this server and everything on it. What was done is said until the next answer. */
function Server() {
  const [asking, setAsking] = useState<"pause" | "drain" | null>(null);
  const [done, setDone] = useState<{ what: "pause" | "resume" | "drain"; state: ServerState } | null>(null);
  const task = useTask();
  const go = async (what: "pause" | "resume" | "drain") => {
    const ok = await task.run(what, async () => setDone({ what, state: await admin.all(what) }));
    if (ok) setAsking(null);
  };
  const said = done ? (done.what === "pause" ? w("server.paused", { n: done.state.runs_paused ?? 0 }) : done.what === "drain" ? w("server.drained", { n: done.state.runs_active ?? 0 }) : w("server.resumed", { n: done.state.runs_resumed ?? 0 })) : null;
  useEffect(() => {
    if (said) announce(said);
  }, [said]);
  return (
    <>
      {said && <span className={"server-said " + (done!.what === "resume" ? "st-succeeded" : "st-paused")} data-testid="server-state" role="status">{said}</span>}
      {!asking && task.trouble && <TroubleNote of={task.trouble} title={w("server.failed")} />}
      <Button icon="play" busy={task.busy === "resume"} onClick={() => void go("resume")} testId="server-resume">{w("server.resume")}</Button>
      <Button icon="paused" onClick={() => setAsking("pause")} testId="server-pause">{w("server.pause")}</Button>
      <Button icon="out" onClick={() => setAsking("drain")} testId="server-drain">{w("server.drain")}</Button>
      {asking && <Confirm title={w(`server.${asking}.title`)} body={w(`server.${asking}.body`)} yes={w(`server.${asking}`)} busy={task.busy !== null} trouble={task.trouble} testId="server-yes" onYes={() => void go(asking)} onClose={() => setAsking(null)} />}
    </>
  );
}
