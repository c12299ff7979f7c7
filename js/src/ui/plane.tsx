/** The two pictures of the inspector: a plane of values and the input, each with the cross-hair. */

import { useLayoutEffect, useRef } from "preact/hooks";
import { type Place, pixelAt } from "../draw/axes";
import { paintPicture, prepare } from "../draw/canvas";
import type { InputItem } from "../wire/types";
import { useSize } from "./pieces";

export interface PlaneProps {
  name: string;
  rows: number;
  columns: number;
  cross: Place | null;
  where: string;
  version: readonly unknown[];
  paint(context: CanvasRenderingContext2D): void;
  onMove(place: Place | null): void;
}

/** Very flat planes keep a height that can be pointed at. */
function ratio(rows: number, columns: number): number {
  return Math.min(1.25, Math.max(0.15, rows / Math.max(1, columns)));
}

/** A plane of values with its cross-hair, for the pointer and the arrow keys. */
export function Plane({ name, rows, columns, cross, where, version, paint, onMove }: PlaneProps) {
  const [box, size] = useSize<HTMLDivElement>({ width: 130, height: 130 });
  const canvas = useRef<HTMLCanvasElement>(null);
  const height = Math.round(size.width * ratio(rows, columns));
  useLayoutEffect(() => {
    const context = canvas.current && prepare(canvas.current, size.width, height);
    if (context) paint(context);
  }, [size.width, height, ...version]);

  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, [number, number]> = {
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
    };
    const step = steps[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && cross) onMove(null);
    else if (step) {
      const from = cross ?? { row: Math.floor(rows / 2) - step[0], column: Math.floor(columns / 2) - step[1] };
      onMove({
        row: Math.min(rows - 1, Math.max(0, from.row + step[0])),
        column: Math.min(columns - 1, Math.max(0, from.column + step[1])),
      });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div
      ref={box}
      class="nnw-plane"
      role="img"
      aria-label={where ? `${name}. ${where}` : name}
      tabIndex={0}
      onKeyDown={onKeyDown}
      onPointerMove={(event) => {
        const area = event.currentTarget.getBoundingClientRect();
        onMove(pixelAt(event.clientX - area.left, event.clientY - area.top, area.width, area.height, rows, columns));
      }}
      onPointerLeave={() => onMove(null)}
      style={{ height: `${height}px` }}
    >
      <canvas ref={canvas} aria-hidden="true" style={{ width: `${size.width}px`, height: `${height}px` }} />
      <Cross place={cross} rows={rows} columns={columns} />
    </div>
  );
}

function Cross({ place, rows, columns }: { place: Place | null; rows: number; columns: number }) {
  if (!place) return null;
  return (
    <i
      class="nnw-cross"
      style={{
        left: `${(100 * place.column) / columns}%`,
        top: `${(100 * place.row) / rows}%`,
        width: `${100 / columns}%`,
        height: `${100 / rows}%`,
      }}
    />
  );
}

/** The input as a picture, with the cross-hair at the same place of its field. */
export function InputPicture(props: {
  input: InputItem;
  rows: number;
  columns: number;
  cross: Place | null;
  onMove: ((place: Place | null) => void) | null;
}) {
  const { input, rows, columns, cross, onMove } = props;
  const [box, size] = useSize<HTMLDivElement>({ width: 130, height: 130 });
  const canvas = useRef<HTMLCanvasElement>(null);
  const [high = 1, wide = 1] = input.picture?.shape ?? [];
  const height = Math.round(size.width * ratio(high, wide));
  useLayoutEffect(() => {
    const context = canvas.current && prepare(canvas.current, size.width, height);
    if (!context || !input.picture) return;
    paintPicture(context, input.picture.data, high, wide, {
      x: 0,
      y: 0,
      width: context.canvas.width,
      height: context.canvas.height,
    });
  }, [size.width, height, input]);
  return (
    <div
      ref={box}
      class="nnw-plane nnw-input-picture"
      role="img"
      aria-label={`Input ${input.caption || input.index}`}
      onPointerMove={(event) => {
        const area = event.currentTarget.getBoundingClientRect();
        onMove?.(pixelAt(event.clientX - area.left, event.clientY - area.top, area.width, area.height, rows, columns));
      }}
      onPointerLeave={() => onMove?.(null)}
      style={{ height: `${height}px` }}
    >
      <canvas ref={canvas} aria-hidden="true" style={{ width: `${size.width}px`, height: `${height}px` }} />
      <Cross place={cross} rows={rows} columns={columns} />
    </div>
  );
}
