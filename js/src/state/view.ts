/** State of the page alone: never sent to Python, gone with the page. */
import { signal } from "@preact/signals";
import type { FilterRange, Order } from "../ui/props";

/** Widths that the person chose; null follows the width of the frame. */
export interface Columns {
  left: number | null;
  right: number | null;
}

/** The usual widths: the middle keeps the most, and larger text gives the sides more room. */
export function usualColumns(frame: number, large: boolean): { left: number; right: number } {
  const scale = large ? 1.25 : 1;
  const between = (least: number, share: number, most: number) =>
    Math.round(Math.min(most, Math.max(least, frame * share)) * scale);
  return { left: between(224, 0.26, 312), right: between(248, 0.27, 300) };
}

export function createView(height: number) {
  return {
    find: signal(""),
    /** Names of tree nodes whose fold differs from the default. */
    folds: signal<ReadonlyMap<string, boolean>>(new Map()),
    order: signal<Order>("activity"),
    showAll: signal(false),
    /** null: what suits the kind of picture. */
    filterRange: signal<FilterRange | null>(null),
    columns: signal<Columns>({ left: null, right: null }),
    height: signal(height),
    large: signal(false),
    drawer: signal(false),
    inputsShown: signal(32),
  };
}

export type ViewState = ReturnType<typeof createView>;
