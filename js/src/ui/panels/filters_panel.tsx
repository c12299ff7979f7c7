/** The filters bound to the store. */
import { rowsAreChannels } from "../../state/weights";
import { Filters } from "../filters";
import { hoverWords } from "../filters_words";
import type { PanelProps } from "../mount";
import { keptName, tableName } from "./colours";

export function FiltersPanel({ store, dark }: PanelProps) {
  const { view, durable, weights } = store;
  const { channel, colormap } = durable.signals;
  const filters = weights.region.value.value;
  const choice = weights.choice.value;
  const channels = filters !== null && rowsAreChannels(filters);
  return (
    <Filters
      filters={filters}
      stale={weights.stale.value}
      error={weights.region.error.value}
      selected={channels ? channel.value : (choice.reference ?? -1)}
      dark={dark}
      sort={choice.sort}
      gradient={weights.gradient.value}
      range={view.filterRange.value}
      point={weights.point.value}
      words={filters === null ? "" : hoverWords(filters, weights.point.value, weights.value.value)}
      colormap={tableName(colormap.value)}
      busySince={weights.region.busySince.value}
      onChoose={(change) => weights.choose(change)}
      onSight={(window, room) => weights.see(window, room)}
      onSelect={(number) => {
        if (channels) durable.set({ channel: number });
        else weights.choose({ reference: number });
      }}
      onGradient={(shown) => {
        weights.gradient.value = shown;
      }}
      onRange={(range) => {
        view.filterRange.value = range;
      }}
      onColormap={(name) => durable.set({ colormap: keptName(name) })}
      onHover={(point) => weights.hover(point)}
      onCancel={() => weights.cancel()}
    />
  );
}
