/** What the order of the tiles means, in a sentence or two. */

import { number, plural, signed } from "../format";
import type { RankingResult } from "../wire/types";
import type { Order } from "./props";

/** What the page knows of a ranking while it is shown. */
export interface Ranked {
  result: RankingResult | null;
  running: boolean;
  stopped: boolean;
  outdated: boolean;
}

function selectivityWords(result: RankingResult | null): string {
  const parts = [
    "Most class-selective first: (μmax − μrest) / (μmax + μrest), the largest mean of a class against the mean of the " +
      "other classes; 1: one class only, 0: all alike.",
  ];
  if (result !== null) {
    parts.push(`Over ${plural(result.inputs, "pinned input")} of ${result.classes} classes.`);
    if (result.without > 0) {
      parts.push(
        `${plural(result.without, "channel")} with a negative mean for some class come last: they have no index.`,
      );
    }
  }
  return parts.join(" ");
}

function influenceWords(result: RankingResult | null): string {
  const over = result === null ? "the pinned inputs" : plural(result.inputs, "pinned input");
  const name = result?.targets.find(({ index }) => index === result.target)?.name;
  const what = result === null ? "the chosen logit" : `the ${result.quantity} of “${name ?? result.target}”`;
  return `Largest change of ${what} first, when a channel is replaced by its mean over ${over} (never by zero).`;
}

/** One sentence for what the order is, more for how far it has come. */
export function orderWords(order: Order, ranked: Ranked, edits: number): string {
  if (order === "activity") return "Most active first: the largest mean absolute value for this input.";
  if (order === "number") return "In the order of their numbers.";
  const { result } = ranked;
  const parts = [order === "selectivity" ? selectivityWords(result) : influenceWords(result)];
  const [done, total] = [result?.channels.data.length ?? 0, result?.total ?? 0];
  if (result !== null && done < total) {
    const state = ranked.stopped ? "Stopped: " : "";
    parts.push(`${state}${done} of ${plural(total, "channel")} ranked; the others follow by activity.`);
  }
  if (edits > 0) parts.push("Edits are left out of the ranking.");
  if (ranked.outdated) parts.push("The model or its edits have changed since.");
  return parts.join(" ");
}

/** What is known of one channel, for its tile. */
export function scoreWords(result: RankingResult): (channel: number) => string {
  const places = new Map([...result.channels.data].map((channel, at) => [channel, at]));
  return (channel) => {
    const at = places.get(channel);
    if (at === undefined) return "not ranked yet";
    const score = result.scores.data[at] as number;
    if (result.by === "influence") return `changes the ${result.quantity} by ${signed(score)}`;
    return Number.isNaN(score)
      ? "no class selectivity"
      : `class selectivity ${number(score)}, most for ${result.preferred[at]}`;
  };
}
