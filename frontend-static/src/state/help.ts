import { createStore } from "./store";

/* A page with keys of its own shows them itself: the frame calls this instead of opening its list. */
export const pageHelp = createStore<(() => void) | null>(null);
