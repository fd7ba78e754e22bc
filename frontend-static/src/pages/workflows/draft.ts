import type { Definition } from "../../api/types";
import { draftUrl, newKey, writeDraft } from "../../state/drafts";
import { navigate } from "../../state/router";

/* A new workflow that begins as this one; nothing is sent to the server before it is saved. */
export function openAsDraft(definition: Definition): void {
  const key = newKey();
  writeDraft({ key, base: null, at: Date.now(), definition });
  navigate(draftUrl(key));
}
