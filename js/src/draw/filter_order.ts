/** The order of filters: by number, or the largest score first. */

import type { FilterSort } from "../wire/types";

/** The places of the tiles; NaN comes before everything, because such filters matter, and ties keep the number. */
export function filterOrder(
  count: number,
  sort: FilterSort,
  norms: ArrayLike<number> | null,
  scores: ArrayLike<number> | null,
): number[] {
  const places = Array.from({ length: count }, (_, at) => at);
  const by = sort === "number" ? null : sort === "norm" ? norms : scores;
  if (by === null || by.length !== count) return places;
  const rank = (at: number): number => {
    const value = by[at] as number;
    return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value;
  };
  return places.sort((one, other) => {
    const [first, second] = [rank(one), rank(other)];
    return first === second ? one - other : second - first;
  });
}
