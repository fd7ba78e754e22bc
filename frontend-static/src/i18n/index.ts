/* Every word on the page comes from here. {name} in a sentence is filled in. */
import { createStore, useStore } from "../state/store";
import { en } from "./en";
import { zhCN } from "./zh-CN";

export type Key = keyof typeof en;
export type Language = "en" | "zh-CN";

const words: Record<Language, Partial<Record<Key, string>>> = { en, "zh-CN": zhCN };
const complete = (d: Partial<Record<Key, string>>) => Object.keys(en).every((k) => d[k as Key] !== undefined);

export const LANGUAGES: { id: Language; short: string }[] = ([{ id: "en", short: "EN" }, { id: "zh-CN", short: "中" }] as const).filter((l) => complete(words[l.id]));
const offered = (l: string | null | undefined): Language | null => LANGUAGES.find((x) => x.id === l)?.id ?? null;

/* What was chosen here before, else what the browser asks for, else English. */
function first(): Language {
  if (typeof navigator === "undefined") return "en";
  let kept: string | null = null;
  try {
    kept = localStorage.getItem("sluice.language");
  } catch {
    /* nothing is kept in this window */
  }
  return offered(kept) ?? (/^zh\b/i.test(navigator.language ?? "") ? offered("zh-CN") : null) ?? "en";
}
const language = createStore<Language>(first());
if (typeof document !== "undefined") document.documentElement.lang = language.get();

export function setLanguage(l: Language): void {
  language.set(l);
  document.documentElement.lang = l;
  try {
    localStorage.setItem("sluice.language", l);
  } catch {
    /* then it lasts as long as the page */
  }
}
export const useLanguage = () => useStore(language);

type Vars = { [name: string]: string | number };
const fill = (s: string, vars: Vars | undefined) => (vars ? s.replace(/\{(\w+)\}/g, (m, k: string) => (k in vars ? String(vars[k]) : m)) : s);

export function t(key: Key, vars?: Vars): string {
  return fill(words[language.get()][key] ?? en[key] ?? key, vars);
}

/* The words of a page that is loaded apart come with it: `const w = dictionary(en, zhCN)` in the page's own words.ts. Both languages
 * must be whole, the compiler sees to it. */
export function dictionary<K extends string>(english: { readonly [key in K]: string }, chinese: { readonly [key in K]: string }): (key: K, vars?: Vars) => string {
  return (key, vars) => fill((language.get() === "zh-CN" ? chinese : english)[key] ?? key, vars);
}
