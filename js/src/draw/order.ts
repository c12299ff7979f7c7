/** Which tiles are shown and in which order. */

export const FIRST = 24;

/** The places of the tiles: by channel number, or the most active first; ties keep the number. */
export function ordered(index: ArrayLike<number>, activity: ArrayLike<number>, by: "activity" | "number"): number[] {
  const places = Array.from({ length: index.length }, (_, at) => at);
  const channel = (at: number): number => index[at] as number;
  // NaN activity means that nothing finite is there: such channels matter, so they come first.
  const active = (at: number): number => {
    const value = activity[at] as number;
    return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value;
  };
  if (by === "number") return places.sort((one, other) => channel(one) - channel(other));
  return places.sort((one, other) => {
    const difference = active(other) - active(one);
    return difference !== 0 && !Number.isNaN(difference) ? difference : channel(one) - channel(other);
  });
}

/** The first tiles of an order, and after them those that must not be missing (selected, edited). */
export function shown(order: readonly number[], all: boolean, keep: (place: number) => boolean): number[] {
  if (all || order.length <= FIRST) return [...order];
  return [...order.slice(0, FIRST), ...order.slice(FIRST).filter(keep)];
}
