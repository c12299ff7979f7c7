/** The theme's roles as a canvas takes them. */
import type { ChartColours } from "../../draw/curve";

export function chartColours(element: Element): ChartColours {
  const style = getComputedStyle(element);
  const role = (name: string, fallback: string) => style.getPropertyValue(`--nnw-${name}`).trim() || fallback;
  return {
    text: style.color || "#111",
    dim: role("dim", "#57606a"),
    line: role("line", "#d8dce0"),
    accent: role("accent", "#1a5dc8"),
    error: role("error", "#b3161b"),
    ground: style.backgroundColor === "rgba(0, 0, 0, 0)" ? "transparent" : style.backgroundColor,
  };
}

/** The role of an event, by its kind. */
export function eventRole(kind: string): "error" | "warn" | "edit" | "dim" {
  if (kind === "finding" || kind === "error" || kind === "disk") return "error";
  if (kind === "skipped step") return "warn";
  return kind === "lr changed" ? "edit" : "dim";
}
