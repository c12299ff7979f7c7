/** One number over the steps, with a cross-hair for the pointer and for the keys. */
import { useEffect, useMemo, useRef } from "preact/hooks";
import { prepare } from "../../draw/canvas";
import { drawAxes, drawCursor, drawCurve, drawMarks, nearest, unseen } from "../../draw/curve";
import { scaleOf, stepScale, toPixel, toValue } from "../../draw/scale";
import { number, plural } from "../../format";
import type { Curve, TrainingEvent } from "../../wire/types";
import { useSize } from "../pieces";
import { chartColours, eventRole } from "./colours";
import { curveLegend, curveSentence, scalarName } from "./words";

export interface CurveProps {
  curve: Curve;
  log: boolean;
  /** The first and the last step of all charts. */
  span: readonly [number, number];
  events: readonly TrainingEvent[];
  cursor: number | null;
  dark: boolean;
  onCursor(step: number | null): void;
}

/** Steps from the keyboard: by one point, by ten, to the ends. */
export function moveCursor(steps: ArrayLike<number>, cursor: number | null, key: string, far: boolean): number | null {
  const last = steps.length - 1;
  const at = cursor === null ? -1 : nearest(steps, cursor);
  const by = far ? 10 : 1;
  const to =
    { ArrowLeft: at < 0 ? last : at - by, ArrowRight: at < 0 ? 0 : at + by, Home: 0, End: last }[key] ?? Number.NaN;
  return Number.isNaN(to) || last < 0 ? null : (steps[Math.min(last, Math.max(0, to))] as number);
}

export function CurveChart(props: CurveProps) {
  const { curve, log, span, cursor, events } = props;
  const [box, size] = useSize<HTMLDivElement>({ width: 560, height: 220 });
  const canvas = useRef<HTMLCanvasElement>(null);
  const { font } = size;
  const left = Math.round(4.6 * font);
  const base = Math.round(size.height - 1.9 * font);
  const { x, y } = useMemo(() => {
    return {
      x: stepScale(span[0], span[1], left, size.width - 10),
      y: scaleOf(curve.values.data, log, base, 10),
    };
  }, [curve, log, span[0], span[1], left, base, size.width]);
  const at = cursor === null ? -1 : nearest(curve.steps.data, cursor);
  useEffect(() => {
    const node = canvas.current;
    const context = node === null ? null : prepare(node, size.width, size.height);
    if (node === null || context === null) return;
    const ratio = globalThis.devicePixelRatio || 1;
    context.save();
    context.scale(ratio, ratio);
    const colours = chartColours(node);
    drawAxes(context, x, y, colours, `${Math.round(font * 0.88)}px ${getComputedStyle(node).fontFamily}`, font);
    const style = getComputedStyle(node);
    const marks = events.map((event) => ({
      step: event.step,
      colour: style.getPropertyValue(`--nnw-${eventRole(event.kind)}`).trim() || colours.dim,
    }));
    drawMarks(context, marks, x, base);
    const data = {
      steps: curve.steps.data,
      values: curve.values.data,
      meanSteps: curve.mean_steps.data,
      means: curve.means.data,
    };
    drawCurve(context, data, x, y, colours);
    if (cursor !== null) {
      const value = at < 0 ? Number.NaN : (curve.values.data[at] as number);
      const shown = Number.isFinite(value) && (!log || value > 0);
      const step = at < 0 ? cursor : (curve.steps.data[at] as number);
      drawCursor(context, x, step, 6, base, colours, shown ? toPixel(y, value) : null);
    }
    context.restore();
  }, [curve, x, y, cursor, events, size.width, size.height, font, props.dark, at, log, base]);
  const value = at < 0 ? null : (curve.values.data[at] as number);
  const words = at < 0 ? "" : `step ${(curve.steps.data[at] as number).toLocaleString("en-US")}: ${number(value, 4)}`;
  const { bad, low } = unseen(curve.values.data, log);
  const onMove = (event: PointerEvent) => {
    const bounds = (event.currentTarget as HTMLElement).getBoundingClientRect();
    props.onCursor(toValue(x, Math.min(x.to, Math.max(x.from, event.clientX - bounds.left))));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const to = event.key === "Escape" ? null : moveCursor(curve.steps.data, cursor, event.key, event.shiftKey);
    if (to === null && event.key !== "Escape") return;
    props.onCursor(to);
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <figure class="nnw-chart">
      <div
        ref={box}
        class="nnw-chart-box"
        role="slider"
        tabIndex={0}
        aria-label={`Cursor on the ${scalarName(curve.name)}`}
        aria-valuemin={span[0]}
        aria-valuemax={span[1]}
        aria-valuenow={Math.round(cursor ?? span[1])}
        aria-valuetext={words || curveSentence(curve)}
        onPointerMove={onMove}
        onPointerLeave={() => props.onCursor(null)}
        onBlur={() => props.onCursor(null)}
        onKeyDown={onKeyDown}
      >
        <canvas ref={canvas} aria-hidden="true" style={{ width: "100%", height: "100%" }} />
        {words !== "" && <output class="nnw-readout">{words}</output>}
      </div>
      <figcaption class="nnw-dim nnw-foot-line">
        {[
          curveLegend(curve),
          curve.count > curve.steps.data.length
            ? `${curve.count.toLocaleString("en-US")} values thinned to ${curve.steps.data.length.toLocaleString("en-US")}, extremes kept`
            : "",
          bad > 0 ? `× ${plural(bad, "value")} not finite` : "",
          low > 0 ? `${plural(low, "value")} of 0 or less cannot be shown on a logarithmic axis` : "",
        ]
          .filter(Boolean)
          .join(" · ")}
        <span class="nnw-axis-name">step</span>
        <span class="nnw-hidden">{curveSentence(curve)}</span>
      </figcaption>
    </figure>
  );
}
