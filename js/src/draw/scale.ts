/** From values to pixels and back, straight or logarithmic, with round numbers to write beside them. */
import { number } from "../format";

export interface Scale {
  readonly log: boolean;
  /** The ends in values. */
  readonly lo: number;
  readonly hi: number;
  /** The ends in pixels. */
  readonly from: number;
  readonly to: number;
}

export interface Tick {
  readonly value: number;
  readonly text: string;
}

const LEAST_DECADES = 0.05;

/** A scale over the values that can be shown on it: finite ones, above zero where it is logarithmic. */
export function scaleOf(values: ArrayLike<number>, log: boolean, from: number, to: number): Scale {
  let lo = Number.POSITIVE_INFINITY;
  let hi = Number.NEGATIVE_INFINITY;
  for (let at = 0; at < values.length; at++) {
    const value = values[at] as number;
    if (!Number.isFinite(value) || (log && value <= 0)) continue;
    if (value < lo) lo = value;
    if (value > hi) hi = value;
  }
  if (lo > hi) [lo, hi] = log ? [0.1, 1] : [0, 1];
  if (log) {
    const middle = Math.log10(lo) / 2 + Math.log10(hi) / 2;
    const half = Math.max((Math.log10(hi) - Math.log10(lo)) * 0.54, LEAST_DECADES);
    return { log, lo: 10 ** (middle - half), hi: 10 ** (middle + half), from, to };
  }
  const reach = hi - lo || Math.abs(hi) || 1;
  const low = lo - 0.04 * reach;
  // What is never negative stands on its zero.
  return { log, lo: lo >= 0 && low < 0 ? 0 : low, hi: hi + 0.04 * reach, from, to };
}

/** A scale without margins, for steps. */
export function stepScale(first: number, last: number, from: number, to: number): Scale {
  return { log: false, lo: first, hi: Math.max(last, first + 1), from, to };
}

export function toPixel(scale: Scale, value: number): number {
  const part = scale.log
    ? Math.log(value / scale.lo) / Math.log(scale.hi / scale.lo)
    : (value - scale.lo) / (scale.hi - scale.lo);
  return scale.from + part * (scale.to - scale.from);
}

export function toValue(scale: Scale, pixel: number): number {
  const part = (pixel - scale.from) / (scale.to - scale.from);
  return scale.log ? scale.lo * (scale.hi / scale.lo) ** part : scale.lo + part * (scale.hi - scale.lo);
}

/** Round numbers inside the ends, at most so many; steps are whole. */
export function ticks(scale: Scale, most: number, whole = false): Tick[] {
  if (scale.log) {
    const decades = logTicks(scale, most);
    if (decades.length > 1) return decades.map(tick);
  }
  const step = roundStep((scale.hi - scale.lo) / Math.max(1, most), whole);
  const found: Tick[] = [];
  for (let at = Math.ceil(scale.lo / step - 1e-9); at * step <= scale.hi * (1 + 1e-12) + 1e-300; at++) {
    // Rounded away: what 3 × 0.1 leaves behind.
    const value = Number((at * step).toPrecision(12));
    found.push(whole ? { value, text: value.toLocaleString("en-US") } : tick(value));
    if (found.length > 2 * most) break;
  }
  return found;
}

/** Three significant digits without the noughts that say nothing: 0.1, 1e−6. */
function tick(value: number): Tick {
  const [mantissa = "", exponent] = number(Number(value.toPrecision(3))).split("e");
  const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
  return { value, text: exponent === undefined ? short : `${short}e${exponent}` };
}

function roundStep(least: number, whole: boolean): number {
  if (!(least > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((part) => part * power).find((size) => size >= least * (1 - 1e-9)) ?? 10 * power;
  return whole ? Math.max(1, step) : step;
}

function logTicks(scale: Scale, most: number): number[] {
  const first = Math.floor(Math.log10(scale.lo));
  const last = Math.ceil(Math.log10(scale.hi));
  for (const parts of [[1, 2, 5], [1, 3], [1]]) {
    for (const every of parts.length > 1 ? [1] : [1, 2, 3, 5, 10, 20, 50]) {
      const found: number[] = [];
      for (let power = Math.ceil(first / every) * every; power <= last; power += every) {
        found.push(...parts.map((part) => part * 10 ** power));
      }
      const inside = found.filter((value) => value >= scale.lo && value <= scale.hi);
      if (inside.length <= most) return inside;
    }
  }
  return [];
}
