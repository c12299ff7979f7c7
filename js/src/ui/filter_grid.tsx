/** Filters as tiles, in their order, each with its gradient beside it where there is one. */

import { useMemo, useRef } from "preact/hooks";
import type { Place } from "../draw/axes";
import { filterOrder } from "../draw/filter_order";
import { number } from "../format";
import type { FilterSort, FiltersResult, WeightPicture } from "../wire/types";
import { filterSource, type WeightLook } from "./filter_look";
import { noun } from "./filters_words";
import type { FilterRange, FiltersProps } from "./props";
import { TileGrid } from "./tile_grid";

const NO_MARKS: ReadonlyMap<number, string> = new Map();

export interface FilterViewProps extends FiltersProps {
  filters: FiltersResult;
  weight: WeightPicture;
  name: string;
  look: WeightLook;
  /** The colours of the gradient. */
  second: WeightLook;
  /** The range in force. */
  shownRange: FilterRange;
}

export function FilterGrid(props: FilterViewProps) {
  const { filters, weight, look, second, sort, point } = props;
  const { gradient, kind, scores } = filters;
  const source = useMemo(() => filterSource(weight, kind), [weight, kind]);
  const beside = useMemo(
    () => (gradient ? { source: filterSource(gradient, kind), look: second.look } : null),
    [gradient, kind, second],
  );
  const count = weight.codes.shape[0] ?? 0;
  const index = useMemo(() => Array.from({ length: count }, (_, at) => at), [count]);
  const norms = weight.norms?.data ?? null;
  const given = filters.sort === sort ? (scores?.data ?? null) : null;
  const places = useStableOrder(filters, count, sort, norms, given);
  const extra = useMemo(() => {
    const word = { number: "norm", norm: "norm", activity: "activity", similarity: "cosine" }[sort];
    const values = sort === "number" || sort === "norm" ? norms : given;
    return values && ((filter: number) => `${word} ${number(values[filter])}`);
  }, [sort, norms, given]);
  const [high, wide] = weight.pool;
  const report = (tile: number, place: Place | null, over = false) =>
    props.onHover(
      place && {
        tile,
        row: place.row * high,
        column: place.column * wide,
        rows: high,
        columns: wide,
        gradient: over,
      },
    );
  return (
    <TileGrid
      name={props.name}
      source={source}
      index={index}
      places={places}
      look={look.look}
      selected={props.selected}
      marks={NO_MARKS}
      cross={point && { row: Math.floor(point.row / high), column: Math.floor(point.column / wide) }}
      least={56}
      beside={beside}
      noun={noun(filters)}
      extra={extra}
      onSelect={props.onSelect}
      onHover={report}
    />
  );
}

/**
 * The order of the tiles. It is kept while the same question is answered anew, because a training step that re-sorted
 * the tiles would move them away from under the pointer.
 */
function useStableOrder(
  filters: FiltersResult,
  count: number,
  sort: FilterSort,
  norms: Float32Array | null,
  scores: Float32Array | null,
): readonly number[] {
  const { layer, part, reference, input } = filters;
  const question = [layer, part, count, sort, reference, input, scores !== null].join("|");
  const kept = useRef({ question: "", order: [] as number[] });
  if (kept.current.question !== question) {
    kept.current = { question, order: filterOrder(count, sort, norms, scores) };
  }
  return kept.current.order;
}
