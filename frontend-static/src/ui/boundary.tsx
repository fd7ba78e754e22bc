/* A page that fails to be drawn says so; the frame around it stays, so that one can go elsewhere. */
import { Component, type ReactNode } from "react";
import { t } from "../i18n";
import { Problem } from "./controls";

export class Boundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: unknown): { error: Error } {
    return { error: error instanceof Error ? error : new Error(String(error)) };
  }

  render(): ReactNode {
    const { error } = this.state;
    if (!error) return this.props.children;
    // A page whose code is gone from the server was replaced by a newer one; only loading it anew helps.
    const stale = /dynamically imported module|Importing a module|preload/i.test(error.message);
    return (
      <div className="page">
        <Problem title={t("broken.title")} detail={stale ? t("broken.stale") : error.message} onRetry={() => (stale ? location.reload() : this.setState({ error: null }))} />
      </div>
    );
  }
}
