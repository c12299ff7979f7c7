/** The distribution bound to the store. */
import { useMemo } from "preact/hooks";
import { MOST_COMPARED } from "../../state/distribution";
import { Distribution } from "../distribution";
import type { PanelProps } from "../mount";
import { tableName } from "./colours";

export function DistributionPanel({ store, dark }: PanelProps) {
  const { view, look, durable, distribution } = store;
  const { selected, quantity, log_counts, scaling, colormap, channel, edits } = durable.signals;
  const rows = store.layers.value.value?.rows;
  const choices = useMemo(() => {
    const observable = rows?.filter((row) => row.reason === "" && row.name !== "" && (row.calls ?? 1) > 0);
    return observable?.map((row) => row.name) ?? [];
  }, [rows]);
  return (
    <Distribution
      result={distribution.region.value.value}
      layer={store.selected.value}
      choices={choices}
      most={MOST_COMPARED}
      quantity={quantity.value}
      log={log_counts.value}
      brush={distribution.brush.value}
      maps={look.shown.maps.value}
      mapsStale={look.stale.maps.value}
      manager={store.manager}
      stale={distribution.stale.value}
      error={distribution.region.error.value}
      busySince={distribution.region.busySince.value}
      scaling={scaling.value}
      colormap={tableName(colormap.value)}
      order={view.order.value}
      dark={dark}
      selected={channel.value}
      edits={edits.value}
      onQuantity={(value) => durable.set({ quantity: value, parameter: "" })}
      onParameter={(name) => durable.set({ parameter: name })}
      onLog={(log) => durable.set({ log_counts: log })}
      onCompare={(layer) => durable.set({ selected: [...selected.value.slice(0, MOST_COMPARED), layer] })}
      onDrop={(layer) => durable.set({ selected: selected.value.filter((name, at) => at === 0 || name !== layer) })}
      onBrush={(brush) => {
        distribution.brush.value = brush;
      }}
      onSelect={(number) => durable.set({ channel: number })}
      onAgain={() => void distribution.ask(true)}
      onCancel={() => distribution.cancel()}
    />
  );
}
