/** The filters bound to the store. */
import { Filters } from "../filters";
import type { PanelProps } from "../mount";
import { tableName } from "./colours";

export function FiltersPanel({ store, dark }: PanelProps) {
  const { view, durable, filters } = store;
  const { channel, colormap } = durable.signals;
  const { value } = filters;
  return (
    <Filters
      filters={value.value}
      stale={value.value !== null && value.value.layer !== store.selected.value}
      error={filters.error.value}
      selected={channel.value}
      dark={dark}
      colormap={tableName(colormap.value)}
      busySince={filters.busySince.value}
      onMode={(mode) => {
        view.filterMode.value = mode;
      }}
      onSelect={(number) => durable.set({ channel: number })}
      onCancel={() => filters.cancel()}
    />
  );
}
