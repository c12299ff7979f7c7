/** The line under the feature maps: what their order means, how far a ranking has come, and how to go on with it. */

import type { MapsResult, RankingResult } from "../wire/types";
import { ErrorStrip, Select } from "./pieces";
import type { FeatureMapsProps, Order, RankingProps } from "./props";
import { orderWords } from "./ranking_words";

/** The ranking, if it is about these maps and this order. */
export function rankingOf(maps: MapsResult, order: Order, ranking: RankingProps | null): RankingResult | null {
  const result = ranking?.result ?? null;
  if (result === null || result.by !== order) return null;
  return result.layer === maps.layer && result.call === maps.call ? result : null;
}

export interface OrderLineProps extends Pick<FeatureMapsProps, "order" | "edits"> {
  ranking: RankingProps | null;
  result: RankingResult | null;
}

export function OrderLine({ order, edits, ranking, result }: OrderLineProps) {
  const ranked = order === "selectivity" || order === "influence";
  const state = {
    result,
    running: ranking?.busySince != null,
    stopped: ranking?.stopped ?? false,
    outdated: ranking?.outdated ?? false,
  };
  const words = state.stopped ? "go on" : "rank again";
  const again = ranking !== null && ranked && !state.running && (state.stopped || state.outdated || ranking.error);
  return (
    <>
      {ranked && <ErrorStrip error={ranking?.error ?? null} />}
      <p class="nnw-order">
        <span role="status">{orderWords(order, state, edits.length)}</span>
        {order === "influence" && ranking && result && result.targets.length > 1 && (
          <Select
            label={`on the ${result.quantity} of`}
            value={String(result.target)}
            choices={result.targets.map(({ index, name }) => ({
              value: String(index),
              label: `${result.quantity} of ${name}`,
            }))}
            onChoose={(value) => ranking.onTarget(Number(value))}
          />
        )}
        {again && (
          <button type="button" class="nnw-button" onClick={ranking.onAgain}>
            {words}
          </button>
        )}
      </p>
    </>
  );
}
