import { lazy } from "react";
import type { AreaProps } from "../../areas";
import { Missing } from "../../app";
import { List } from "./list";

const Editor = lazy(() => import("../editor"));

export default function Workflows({ rest, query }: AreaProps) {
  if (rest.length === 0) return <List />;
  if (rest.length === 1) return <Editor key={rest[0]} name={rest[0]!} version={Number(query.get("version")) || null} at={query.get("at")} />;
  return <Missing path={"/workflows/" + rest.join("/")} />;
}
