/** Which tiles are shown and in which order. */

import type { Order } from "../ui/props";
import type { RankingResult } from "../wire/types";

export const FIRST = 24;

/** What tiles are ordered by beside their number: activity, and the ranking that an order names, as far as it came. */
export interface Ranks {
  activity: ArrayLike<number>;
  ranking: Pick<RankingResult, "by" | "channels" | "scores"> | null;
}

/**
 * The places of the tiles: by channel number, or the largest first; ties keep the number. Channels that are not ranked
 * yet, or have no class selectivity, follow by activity.
 */
export function ordered(index: ArrayLike<number>, { activity, ranking }: Ranks, by: Order): number[] {
  const places = Array.from({ length: index.length }, (_, at) => at);
  const channel = (at: number): number => index[at] as number;
  if (by === "number") return places.sort((one, other) => channel(one) - channel(other));
  const known = by === "activity" ? new Map<number, number>() : scoresOf(by, ranking);
  // What is not finite matters, so it comes first; a difference of two infinities is NaN.
  const largest = (value: number): number => (Number.isNaN(value) ? Number.POSITIVE_INFINITY : value);
  const keys = places.map((at) => ({
    score: known.get(channel(at)) ?? Number.NEGATIVE_INFINITY,
    active: largest(activity[at] as number),
  }));
  return places.sort((one, other) => {
    const [a, b] = [keys[one], keys[other]] as [(typeof keys)[0], (typeof keys)[0]];
    if (a.score !== b.score) return b.score - a.score;
    const tied = a.score > Number.NEGATIVE_INFINITY || a.active === b.active;
    return tied ? channel(one) - channel(other) : b.active - a.active;
  });
}

/** How far to the front a channel belongs: the size of a change, whichever its sign, or its class selectivity. */
function scoresOf(by: Order, ranking: Ranks["ranking"]): Map<number, number> {
  const found = new Map<number, number>();
  if (ranking === null || ranking.by !== by) return found;
  ranking.channels.data.forEach((channel, at) => {
    const score = ranking.scores.data[at] as number;
    if (by === "influence") found.set(channel, Number.isNaN(score) ? Number.POSITIVE_INFINITY : Math.abs(score));
    else if (!Number.isNaN(score)) found.set(channel, score);
  });
  return found;
}

/** The first tiles of an order, and after them those that must not be missing (selected, edited). */
export function shown(order: readonly number[], all: boolean, keep: (place: number) => boolean): number[] {
  if (all || order.length <= FIRST) return [...order];
  return [...order.slice(0, FIRST), ...order.slice(FIRST).filter(keep)];
}
