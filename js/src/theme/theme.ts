/** Light or dark, as the page around the widget is. */
import { type ReadonlySignal, signal } from "@preact/signals";

const ATTRIBUTE = "data-jp-theme-light";

/** JupyterLab says so on the body; elsewhere the colour behind the widget tells. */
export function isDark(page: HTMLElement): boolean {
  const light = page.getAttribute(ATTRIBUTE);
  if (light !== null) return light === "false";
  const parts =
    getComputedStyle(page)
      .backgroundColor.match(/[\d.]+/g)
      ?.map(Number) ?? [];
  const [red = 255, green = 255, blue = 255, alpha = 1] = parts;
  return alpha > 0.5 && 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}

/** Follows the theme until `abort`. */
export function followTheme(abort: AbortSignal): ReadonlySignal<boolean> {
  const page = document.body;
  const dark = signal(isDark(page));
  const observer = new MutationObserver(() => {
    dark.value = isDark(page);
  });
  observer.observe(page, { attributes: true, attributeFilter: [ATTRIBUTE, "class", "style"] });
  abort.addEventListener("abort", () => observer.disconnect(), { once: true });
  return dark;
}
