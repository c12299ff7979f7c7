/** The gradient norm of every layer over the recorded steps: a row a layer, in the model's order. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { paintPlane, prepare } from "../../draw/canvas";
import { colormap, gradient } from "../../draw/colormap";
import { drawAxes, drawCursor } from "../../draw/curve";
import { stepScale, toValue } from "../../draw/scale";
import { columnAt, logRange, normAt, type StripData, stripPlane } from "../../draw/strip";
import { number, plural } from "../../format";
import type { LayerStrip } from "../../wire/types";
import { useSize } from "../pieces";
import { chartColours } from "./colours";
import { moveCursor } from "./curve";

export interface GradientsProps {
  layers: LayerStrip;
  span: readonly [number, number];
  cursor: number | null;
  dark: boolean;
  onCursor(step: number | null): void;
}

const ROW = 1.7;
const AXIS = 1.9;
/** A picture need not be finer than what a person can point at. */
const PIXELS = 3;

export function Gradients(props: GradientsProps) {
  const { layers, span, cursor } = props;
  const [box, size] = useSize<HTMLDivElement>({ width: 300, height: 100 });
  const canvas = useRef<HTMLCanvasElement>(null);
  const axis = useRef<HTMLCanvasElement>(null);
  const [row, setRow] = useState<number | null>(null);
  const { font } = size;
  const rows = layers.names.length;
  const data = useMemo<StripData>(
    () => ({ first: layers.first.data, last: layers.last.data, values: layers.values.data, rows }),
    [layers, rows],
  );
  const range = useMemo(() => logRange(data.values), [data]);
  const map = colormap("viridis", false, "layer", props.dark);
  const height = rows * ROW * font;
  const x = stepScale(span[0], span[1], 0, size.width);
  useEffect(() => {
    const node = canvas.current;
    const context = node === null ? null : prepare(node, size.width, height);
    if (node === null || context === null) return;
    const ratio = globalThis.devicePixelRatio || 1;
    const columns = Math.max(1, Math.floor(size.width / PIXELS));
    const plane = stripPlane(data, span[0], Math.max(span[1], span[0] + 1), columns);
    const whole = { x: 0, y: 0, width: node.width, height: node.height };
    paintPlane(context, plane.values, rows, columns, whole, map, range ?? { lo: 0, hi: 1 });
    for (let at = 0; at < plane.blank.length; at++) {
      if (!plane.blank[at]) continue;
      const wide = node.width / columns;
      const high = node.height / rows;
      context.clearRect((at % columns) * wide, Math.floor(at / columns) * high, wide, high);
    }
    context.save();
    context.scale(ratio, ratio);
    const colours = chartColours(node);
    context.fillStyle = colours.ground;
    for (let at = 1; at < rows; at++) context.fillRect(0, Math.round(at * ROW * font) - 1, size.width, 1);
    if (cursor !== null) drawCursor(context, x, cursor, 0, height, colours, null);
    context.restore();
    const below = axis.current === null ? null : prepare(axis.current, size.width, AXIS * font);
    if (below === null) return;
    below.save();
    below.scale(ratio, ratio);
    drawAxes(below, x, null, colours, `${Math.round(font * 0.88)}px ${getComputedStyle(node).fontFamily}`, font);
    below.restore();
  }, [data, range, span[0], span[1], size.width, font, cursor, props.dark, rows, height]);
  const column = cursor === null ? data.first.length - 1 : columnAt(data, cursor);
  const when = column < 0 ? "" : stretch(layers, column);
  const at = row === null || row >= rows ? null : normAt(data, row, column);
  const said = (value: number | null) => (value === null ? "–" : number(value));
  const words = row === null || row >= rows ? "" : `${layers.names[row] || "(the model)"}, ${when}: ${said(at)}`;
  const point = (event: PointerEvent) => {
    const bounds = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const under = Math.floor((event.clientY - bounds.top) / (ROW * font));
    setRow(under >= 0 && under < rows ? under : null);
    props.onCursor(toValue(x, Math.min(x.to, Math.max(x.from, event.clientX - bounds.left))));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const by = event.key === "ArrowDown" ? 1 : -1;
      setRow(Math.min(rows - 1, Math.max(0, (row ?? (by > 0 ? -1 : rows)) + by)));
    } else if (event.key === "Escape") {
      setRow(null);
      props.onCursor(null);
    } else {
      const to = moveCursor(layers.first.data, cursor, event.key, event.shiftKey);
      if (to === null) return;
      props.onCursor(to);
    }
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <figure class="nnw-gradients" style={{ "--strip-row": `${ROW}em`, "--strip-axis": `${AXIS}em` }}>
      <div class="nnw-strip-scroll">
        <div class="nnw-strip-names" aria-hidden="true">
          {layers.names.map((name, place) => (
            <span key={name} class={place === row ? "nnw-strip-on" : ""} title={name}>
              <bdi>{name || "(the model)"}</bdi>
            </span>
          ))}
        </div>
        <div
          ref={box}
          class="nnw-strip-box"
          role="slider"
          tabIndex={0}
          aria-label="Cursor on the gradient norms"
          aria-valuemin={span[0]}
          aria-valuemax={span[1]}
          aria-valuenow={Math.round(cursor ?? span[1])}
          aria-valuetext={words || stripSentence(layers, data)}
          onPointerMove={point}
          onPointerLeave={() => {
            setRow(null);
            props.onCursor(null);
          }}
          onBlur={() => {
            setRow(null);
            props.onCursor(null);
          }}
          onKeyDown={onKeyDown}
        >
          <canvas ref={canvas} aria-hidden="true" style={{ width: "100%", height: `${height}px` }} />
        </div>
        <div class="nnw-strip-values" aria-hidden="true">
          {layers.names.map((name, place) => (
            <span key={name} class={place === row ? "nnw-strip-on" : ""}>
              {said(normAt(data, place, column))}
            </span>
          ))}
        </div>
        <span class="nnw-strip-under" />
        <div class="nnw-strip-under">
          <canvas ref={axis} aria-hidden="true" style={{ width: "100%", height: `${AXIS * font}px` }} />
        </div>
        <span class="nnw-strip-under" />
      </div>
      <figcaption class="nnw-dim nnw-foot-line">
        {range !== null && (
          <span class="nnw-strip-scale">
            {number(10 ** range.lo)}
            <span class="nnw-strip-bar" style={{ background: gradient(map) }} />
            {number(10 ** range.hi)} <span>(logarithmic)</span>
          </span>
        )}
        <span class="nnw-strip-when" title="A colour holds until the next recorded step">
          {when === "" ? "" : `${when}, held until the next`}
        </span>
        <span class="nnw-hidden">{stripSentence(layers, data)}</span>
      </figcaption>
    </figure>
  );
}

function stretch(layers: LayerStrip, column: number): string {
  const first = layers.first.data[column] as number;
  const last = layers.last.data[column] as number;
  const from = first.toLocaleString("en-US");
  return first === last ? `step ${from}` : `largest of steps ${from} to ${last.toLocaleString("en-US")}`;
}

function stripSentence(layers: LayerStrip, data: StripData): string {
  const column = data.first.length - 1;
  const known = layers.names
    .map((name, row) => ({ name, value: normAt(data, row, column) }))
    .filter((one): one is { name: string; value: number } => one.value !== null);
  const bad = known.filter((one) => !Number.isFinite(one.value)).map((one) => one.name);
  const good = known.filter((one) => Number.isFinite(one.value)).sort((a, b) => a.value - b.value);
  const least = good[0];
  const most = good.at(-1);
  if (least === undefined || most === undefined) return `Gradient norms of ${plural(known.length, "layer")}.`;
  const wrong = bad.length > 0 ? ` Not finite: ${bad.slice(0, 5).join(", ")}.` : "";
  return (
    `Gradient norms of ${plural(known.length, "layer")}: at ${stretch(layers, column)} smallest in ${least.name} ` +
    `(${number(least.value)}), largest in ${most.name} (${number(most.value)}).${wrong}`
  );
}
