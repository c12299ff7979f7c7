/** Vectors of a layer as bars from zero: a scale, a shift, a bias, each with its gradient below it. */

import { Fragment } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { prepare } from "../draw/canvas";
import { type Colormap, css, ENTRIES } from "../draw/colormap";
import { hull, type Range } from "../draw/range";
import { barLevel, stripBars } from "../draw/strip_bars";
import { number, plural } from "../format";
import type { WeightStrip } from "../wire/types";
import { FONT, useSize } from "./pieces";

export interface StripsProps {
  name: string;
  strips: readonly WeightStrip[];
  map: Colormap;
  selected: number;
  /** The value under the pointer, counted as it is drawn. */
  at: number | null;
  words: string;
  onHover(at: number | null): void;
  onSelect(channel: number): void;
}

const HEIGHT = 64;
const LOWER = 40;
const LABEL = 132;

export function Strips({ name, strips, map, selected, at, words, onHover, onSelect }: StripsProps) {
  const [area, size] = useSize<HTMLDivElement>({ width: 560, height: 380 });
  const label = Math.round((LABEL * size.font) / FONT);
  const width = Math.max(60, size.width - label - 24);
  const longest = Math.max(1, ...strips.map((strip) => strip.values.data.length));
  const pool = strips[0]?.pool ?? 1;
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step !== undefined) onHover(at === null ? 0 : Math.min(longest - 1, Math.max(0, at + step)));
    else if (event.key === "Home") onHover(0);
    else if (event.key === "End") onHover(longest - 1);
    else if ((event.key === "Enter" || event.key === " ") && at !== null) onSelect(at * pool);
    else if (event.key === "Escape" && at !== null) onHover(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const chart = (strip: WeightStrip, values: Float32Array, height: number) => (
    <Chart
      name={`${strip.name}, ${plural(strip.count, "value")}`}
      values={values}
      width={width}
      height={height}
      map={map}
      at={at}
      selected={selected < 0 ? -1 : Math.floor(selected / strip.pool)}
      onHover={onHover}
      onSelect={(place) => onSelect(place * strip.pool)}
    />
  );
  return (
    <div class="nnw-scroll" ref={area}>
      <div class="nnw-strips" role="grid" aria-label={name} tabIndex={0} onKeyDown={onKeyDown}>
        {strips.map((strip) => {
          const bad = strip.nan + strip.posinf + strip.neginf;
          const slope = strip.gradient && extent(strip.gradient.data);
          return (
            <Fragment key={strip.name}>
              <div class="nnw-strip-row" role="row">
                <div class="nnw-strip-words" role="rowheader" style={{ width: `${label}px` }}>
                  <strong title={strip.name}>{strip.name}</strong>
                  <span class="nnw-dim">
                    {number(strip.minimum)} to {number(strip.maximum)}
                  </span>
                  {bad > 0 ? (
                    <span class="nnw-bad">{plural(bad, "value")} not finite</span>
                  ) : (
                    <span class="nnw-dim">mean {number(strip.mean)}</span>
                  )}
                </div>
                {chart(strip, strip.values.data, HEIGHT)}
              </div>
              {strip.gradient && slope && (
                <div class="nnw-strip-row nnw-strip-gradient" role="row">
                  <div class="nnw-strip-words" role="rowheader" style={{ width: `${label}px` }}>
                    <span>gradient of {strip.name}</span>
                    <span class="nnw-dim">
                      {number(slope.lo)} to {number(slope.hi)}
                    </span>
                  </div>
                  {chart(strip, strip.gradient.data, LOWER)}
                </div>
              )}
            </Fragment>
          );
        })}
        <div class="nnw-hidden" role="row">
          <span role="gridcell" aria-live="polite">
            {at === null ? "" : words}
          </span>
        </div>
      </div>
    </div>
  );
}

/** The least and the largest of the finite values. */
function extent(values: Float32Array): Range {
  const finite = values.filter((value) => Number.isFinite(value));
  return finite.length === 0 ? { lo: Number.NaN, hi: Number.NaN } : hull(finite, finite);
}

function Chart(props: {
  name: string;
  values: Float32Array;
  width: number;
  height: number;
  map: Colormap;
  at: number | null;
  selected: number;
  onHover(at: number | null): void;
  onSelect(place: number): void;
}) {
  const { values, width, height, map, at, selected } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    const context = canvas.current && prepare(canvas.current, width, height);
    if (!context) return;
    const ratio = context.canvas.width / width;
    const bars = stripBars(values, context.canvas.width);
    const tall = context.canvas.height;
    const zero = barLevel(0, bars, tall);
    const style = getComputedStyle(context.canvas);
    const gap = bars.each >= 5 * ratio ? ratio : 0;
    const shades = [Math.round(ENTRIES * 0.1), Math.round(ENTRIES * 0.9)].map((place) =>
      css(map.table[place] as number),
    );
    bars.low.forEach((low, place) => {
      const high = bars.high[place] as number;
      const x = place * bars.each;
      const wide = Math.max(1, bars.each - gap);
      const top = Math.min(zero, barLevel(high, bars, tall));
      const bottom = Math.max(zero, barLevel(low, bars, tall));
      context.fillStyle = shades[1] as string;
      if (high > 0) context.fillRect(x, top, wide, zero - top);
      context.fillStyle = shades[0] as string;
      if (low < 0) context.fillRect(x, zero, wide, bottom - zero);
    });
    context.fillStyle = style.outlineColor;
    for (const place of bars.bad) context.fillRect(place * bars.each, 0, Math.max(2, bars.each - gap), tall);
    context.fillStyle = style.color;
    context.fillRect(0, Math.min(tall - 1, Math.round(zero)), context.canvas.width, 1);
  }, [values, width, height, map]);
  const place = (event: MouseEvent): number => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const part = box.width > 0 ? (event.clientX - box.left) / box.width : 0;
    return Math.min(values.length - 1, Math.max(0, Math.floor(part * values.length)));
  };
  const band = (which: number) => ({
    left: `${(100 * which) / values.length}%`,
    width: `${100 / values.length}%`,
    top: "0",
    height: "100%",
  });
  return (
    <div
      class="nnw-strip-chart"
      role="gridcell"
      aria-label={props.name}
      style={{ width: `${width}px`, height: `${height}px` }}
      onPointerMove={(event) => props.onHover(place(event))}
      onPointerLeave={() => props.onHover(null)}
      onClick={(event) => props.onSelect(place(event))}
    >
      <canvas ref={canvas} aria-hidden="true" style={{ width: `${width}px`, height: `${height}px` }} />
      {selected >= 0 && selected < values.length && <i class="nnw-band" style={band(selected)} />}
      {at !== null && at < values.length && <i class="nnw-strip-cross" style={band(at)} />}
    </div>
  );
}
