/* What a screen reader is told about changes: at most one sentence every two seconds, the newest wins. */
let timer: ReturnType<typeof setTimeout> | null = null;
let waiting: string | null = null;

function say(text: string): void {
  const el = document.getElementById("announcer");
  if (el) el.textContent = text;
}

export function announce(text: string): void {
  if (timer) {
    waiting = text;
    return;
  }
  say(text);
  timer = setTimeout(() => {
    timer = null;
    if (waiting) {
      const w = waiting;
      waiting = null;
      announce(w);
    }
  }, 2000);
}
