/** A matrix of weights under a window, with its gradient beside it where there is one: both show the same part. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { type Patch, rankOf, rowAt } from "../draw/heat";
import { isWhole, type Sight, suffices, toSight, toWindow, whole, zoomed } from "../draw/sight";
import type { WeightPicture } from "../wire/types";
import type { FilterViewProps } from "./filter_grid";
import { filterSource } from "./filter_look";
import { RangeAndColours } from "./filters_toolbar";
import { HeatMap } from "./heat_map";

/** A wheel or a drag that rests this long is asked. */
const REST_MS = 80;

export function FilterMatrix(props: FilterViewProps) {
  const { filters, weight, point, onSight } = props;
  const [rows = 0, columns = 0] = filters.shape;
  const window = filters.window ?? ([0, rows, 0, columns] as const);
  const order = filters.order?.data ?? null;
  const key = `${filters.layer}|${filters.part}|${filters.section}`;
  const [kept, setKept] = useState<{ key: string; sight: Sight }>({ key, sight: toSight(window) });
  const [room, setRoom] = useState<[number, number] | null>(null);
  const sight = kept.key === key ? kept.sight : toSight(window);
  const patch = useMemo(() => patchOf(weight, window, filters.kind), [weight, filters]);
  const beside = useMemo(() => (filters.gradient ? patchOf(filters.gradient, window, filters.kind) : null), [filters]);

  useEffect(() => {
    if (room === null || suffices(patch, sight, room)) return;
    const asked = setTimeout(() => onSight(isWhole(sight, rows, columns) ? null : toWindow(sight), room), REST_MS);
    return () => clearTimeout(asked);
  }, [patch, sight.top, sight.bottom, sight.left, sight.right, room]);

  // In places of the picture; the point names the row itself.
  const cross = useMemo(() => {
    if (!point) return null;
    const row = order === null ? point.row : rankOf(order, window, point.row);
    return row < 0 ? null : { row, column: point.column };
  }, [point, order, window]);
  const toSightOf = (next: Sight) => setKept({ key, sight: next });
  const shared = {
    rows,
    columns,
    axes: filters.axes,
    order,
    sight,
    selected: props.selected,
    cross,
    words: props.words ?? "",
    dark: props.dark,
    onSight: toSightOf,
    onSelect: props.onSelect,
  };
  const report = (gradient: boolean) => (place: { row: number; column: number } | null) => {
    const row = place && rowAt(order, window, place.row);
    if (!place || row === null) return props.onHover(null);
    const [high, wide] = weight.pool;
    props.onHover({
      tile: 0,
      row,
      column: place.column,
      // Sorted rows of one block do not lie side by side: the first of them speaks for itself.
      rows: order === null ? Math.min(high, rows - row) : 1,
      columns: Math.min(wide, columns - place.column),
      gradient,
    });
  };
  const zoom = (factor: number) =>
    toSightOf(
      zoomed(
        sight,
        factor,
        { row: (sight.top + sight.bottom) / 2, column: (sight.left + sight.right) / 2 },
        rows,
        columns,
      ),
    );
  const all = isWhole(sight, rows, columns);
  return (
    <>
      <div class="nnw-heat-buttons" role="group" aria-label="Zoom">
        <button
          type="button"
          class="nnw-button"
          title="Zoom in (+); or drag over the part to enlarge"
          onClick={() => zoom(0.5)}
        >
          zoom in
        </button>
        <button type="button" class="nnw-button" title="Zoom out (−)" disabled={all} onClick={() => zoom(2)}>
          zoom out
        </button>
        <button
          type="button"
          class="nnw-button"
          title="Show the whole matrix (0)"
          disabled={all}
          onClick={() => toSightOf(whole(rows, columns))}
        >
          whole
        </button>
        <span class="nnw-space" />
        <RangeAndColours {...props} map={props.look.look.map} range={props.shownRange} />
      </div>
      <div class="nnw-heats">
        <HeatMap
          {...shared}
          name={props.name}
          patch={patch}
          look={props.look.look}
          title={beside ? "weight" : ""}
          onHover={report(false)}
          onRoom={(high, wide) => setRoom([high, wide])}
        />
        {beside && (
          <HeatMap
            {...shared}
            name={`Gradient. ${props.name}`}
            patch={beside}
            look={props.second.look}
            title="gradient"
            onHover={report(true)}
          />
        )}
      </div>
    </>
  );
}

function patchOf(
  picture: WeightPicture,
  window: readonly [number, number, number, number],
  kind: FilterViewProps["filters"]["kind"],
): Patch {
  return {
    source: filterSource(picture, kind),
    window,
    pool: picture.pool,
    rowNorms: picture.row_norms?.data ?? new Float32Array(0),
    columnNorms: picture.column_norms?.data ?? new Float32Array(0),
  };
}
