/** One number over the steps: axes, each step thin, means thick, what is not finite at the edge. */
import { type Scale, type Tick, ticks, toPixel } from "./scale";

export interface CurveData {
  readonly steps: ArrayLike<number>;
  readonly values: ArrayLike<number>;
  readonly meanSteps: ArrayLike<number>;
  readonly means: ArrayLike<number>;
}

export interface ChartColours {
  readonly text: string;
  readonly dim: string;
  readonly line: string;
  readonly accent: string;
  readonly error: string;
  readonly ground: string;
}

export interface Mark {
  readonly step: number;
  readonly colour: string;
}

/** The index of the point nearest to a step, -1 without any; `steps` rise. */
export function nearest(steps: ArrayLike<number>, step: number): number {
  let low = 0;
  let high = steps.length - 1;
  if (high < 0) return -1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((steps[middle] as number) < step) low = middle + 1;
    else high = middle;
  }
  const before = low - 1;
  return before >= 0 && step - (steps[before] as number) < (steps[low] as number) - step ? before : low;
}

/** Runs of points that can be joined by a line, as [first, last] indices. */
export function runs(values: ArrayLike<number>, log: boolean): [number, number][] {
  const found: [number, number][] = [];
  let start = -1;
  for (let at = 0; at <= values.length; at++) {
    const value = at < values.length ? (values[at] as number) : Number.NaN;
    const shown = Number.isFinite(value) && (!log || value > 0);
    if (shown && start < 0) start = at;
    if (!shown && start >= 0) {
      found.push([start, at - 1]);
      start = -1;
    }
  }
  return found;
}

/** How many values an axis cannot show: not finite, or not above zero on a logarithmic one. */
export function unseen(values: ArrayLike<number>, log: boolean): { bad: number; low: number } {
  let bad = 0;
  let low = 0;
  for (let at = 0; at < values.length; at++) {
    const value = values[at] as number;
    if (!Number.isFinite(value)) bad += 1;
    else if (log && value <= 0) low += 1;
  }
  return { bad, low };
}

export function drawAxes(
  context: CanvasRenderingContext2D,
  x: Scale,
  y: Scale | null,
  colours: ChartColours,
  font: string,
  size: number,
): void {
  context.font = font;
  context.lineWidth = 1;
  const base = y === null ? 0 : y.from;
  if (y !== null) {
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const { value, text } of ticks(y, Math.max(2, Math.floor(Math.abs(y.from - y.to) / (3.2 * size))))) {
      const at = Math.round(toPixel(y, value)) + 0.5;
      context.strokeStyle = colours.line;
      stroke(context, x.from, at, x.to, at);
      context.fillStyle = colours.dim;
      context.fillText(text, x.from - 6, at);
    }
  }
  if (y !== null) {
    context.strokeStyle = colours.line;
    stroke(context, x.from, Math.round(base) + 0.5, x.to, Math.round(base) + 0.5);
  }
  context.textBaseline = "top";
  for (const { value, text, align } of stepTicks(context, x, size)) {
    const at = Math.round(toPixel(x, value)) + 0.5;
    context.strokeStyle = colours.line;
    stroke(context, at, base, at, base + 4);
    context.fillStyle = colours.dim;
    context.textAlign = align;
    context.fillText(text, at, base + 6);
  }
}

/** Those of which the words do not run out of the picture. */
function stepTicks(context: CanvasRenderingContext2D, x: Scale, size: number): (Tick & { align: CanvasTextAlign })[] {
  const most = Math.max(1, Math.floor((x.to - x.from) / (7 * size)));
  return ticks(x, most, true).map((tick) => {
    const half = context.measureText(tick.text).width / 2;
    return { ...tick, align: toPixel(x, tick.value) + half > x.to + 8 ? "right" : "center" };
  });
}

function stroke(context: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

export function drawCurve(
  context: CanvasRenderingContext2D,
  data: CurveData,
  x: Scale,
  y: Scale,
  colours: ChartColours,
): void {
  const smooth = data.means.length > 1;
  context.save();
  context.beginPath();
  context.rect(x.from - 1, Math.min(y.from, y.to) - 2, x.to - x.from + 2, Math.abs(y.to - y.from) + 4);
  context.clip();
  context.lineJoin = "round";
  context.strokeStyle = colours.accent;
  context.fillStyle = colours.accent;
  context.globalAlpha = smooth ? 0.45 : 1;
  context.lineWidth = smooth ? 1 : 1.5;
  path(context, data.steps, data.values, x, y);
  context.globalAlpha = 1;
  if (smooth) {
    context.lineWidth = 2.25;
    path(context, data.meanSteps, data.means, x, y);
  }
  context.restore();
  drawBad(context, data, x, y, colours);
}

function path(
  context: CanvasRenderingContext2D,
  steps: ArrayLike<number>,
  values: ArrayLike<number>,
  x: Scale,
  y: Scale,
): void {
  for (const [first, last] of runs(values, y.log)) {
    if (first === last) {
      context.beginPath();
      context.arc(toPixel(x, steps[first] as number), toPixel(y, values[first] as number), 2, 0, 2 * Math.PI);
      context.fill();
      continue;
    }
    context.beginPath();
    for (let at = first; at <= last; at++) {
      context.lineTo(toPixel(x, steps[at] as number), toPixel(y, values[at] as number));
    }
    context.stroke();
  }
}

/** A cross at the upper edge wherever a value is not finite. */
function drawBad(context: CanvasRenderingContext2D, data: CurveData, x: Scale, y: Scale, colours: ChartColours): void {
  context.strokeStyle = colours.error;
  context.lineWidth = 1.5;
  const top = Math.min(y.from, y.to) + 4;
  let last = Number.NEGATIVE_INFINITY;
  for (let at = 0; at < data.values.length; at++) {
    if (Number.isFinite(data.values[at])) continue;
    const middle = toPixel(x, data.steps[at] as number);
    if (middle - last < 5) continue;
    last = middle;
    stroke(context, middle - 3, top - 3, middle + 3, top + 3);
    stroke(context, middle - 3, top + 3, middle + 3, top - 3);
  }
}

/** Short lines at the foot, where something happened. */
export function drawMarks(context: CanvasRenderingContext2D, marks: readonly Mark[], x: Scale, base: number): void {
  context.lineWidth = 2;
  for (const { step, colour } of marks) {
    if (step < x.lo || step > x.hi) continue;
    context.strokeStyle = colour;
    const at = Math.round(toPixel(x, step));
    stroke(context, at, base, at, base - 7);
  }
}

export function drawCursor(
  context: CanvasRenderingContext2D,
  x: Scale,
  step: number,
  top: number,
  base: number,
  colours: ChartColours,
  dot: number | null,
): void {
  if (step < x.lo || step > x.hi) return;
  const at = Math.round(toPixel(x, step)) + 0.5;
  context.strokeStyle = colours.text;
  context.lineWidth = 1;
  stroke(context, at, top, at, base);
  if (dot === null) return;
  context.beginPath();
  context.arc(at, dot, 3.5, 0, 2 * Math.PI);
  context.fillStyle = colours.ground;
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = colours.accent;
  context.stroke();
}
