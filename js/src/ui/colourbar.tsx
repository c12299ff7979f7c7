/** The colour bar: which colour stands for which value. */

import { type Colormap, gradient } from "../draw/colormap";
import type { Range } from "../draw/range";
import { number, percent, signed } from "../format";

export interface ColourBarProps {
  map: Colormap;
  /** The values at the two ends, or null where each tile has its own range. */
  range: Range | null;
  /** Which fraction of the values lies beyond the ends. */
  clipped?: number;
}

export function ColourBar({ map, range, clipped = 0 }: ColourBarProps) {
  const write = map.diverging ? signed : number;
  const low = range ? write(range.lo) : map.diverging ? "−" : "lowest";
  const high = range ? write(range.hi) : map.diverging ? "+" : "highest";
  const words = range
    ? `Colours from ${low} to ${high}`
    : `Each channel has its own range${map.diverging ? ", zero in the middle" : ""}`;
  return (
    <span class="nnw-colourbar" role="img" aria-label={words} data-lo={range?.lo} data-hi={range?.hi}>
      <span>{low}</span>
      <span class={`nnw-colourbar-scale${clipped > 0 ? " nnw-clipped" : ""}`} style={{ background: gradient(map) }} />
      <span>{high}</span>
      {!range && <span class="nnw-dim">each its own range</span>}
      {clipped > 0 && <span class="nnw-dim">{percent(clipped)} clipped</span>}
    </span>
  );
}
