/** The feature maps bound to the store. */
import { FeatureMaps } from "../feature_maps";
import type { PanelProps } from "../mount";
import { keptName, tableName } from "./colours";

export function FeatureMapsPanel({ store, dark }: PanelProps) {
  const { view, look, durable, distribution, ranking } = store;
  const { scaling, colormap, channel, edits } = durable.signals;
  return (
    <FeatureMaps
      maps={look.shown.maps.value}
      stale={look.stale.maps.value || store.waiting.value}
      selected={channel.value}
      edits={edits.value}
      scaling={scaling.value}
      colormap={tableName(colormap.value)}
      order={view.order.value}
      showAll={view.showAll.value}
      ranking={{
        result: ranking.result.value,
        error: ranking.error.value,
        busySince: ranking.busySince.value,
        stopped: ranking.stopped.value,
        outdated: ranking.outdated.value,
        onTarget: (target) => {
          ranking.target.value = target;
        },
        onCancel: () => ranking.cancel(),
        onAgain: () => void ranking.ask(true),
      }}
      sortKey={durable.signals.input.value}
      busySince={look.busySince.value}
      error={look.error.value}
      dark={dark}
      only={distribution.only.value}
      hover={store.hover.point.value}
      value={store.hover.value.value}
      onSelect={(number) => durable.set({ channel: number })}
      onAppearance={({ order, showAll, scaling, colormap }) => {
        if (order !== undefined) view.order.value = order;
        if (showAll !== undefined) view.showAll.value = showAll;
        if (scaling !== undefined) durable.set({ scaling });
        if (colormap !== undefined) durable.set({ colormap: keptName(colormap) });
      }}
      onCall={(call) => durable.set({ call })}
      onOutput={(output) => durable.set({ output })}
      onHover={(point) => store.hover.set(point)}
      onAll={() => {
        distribution.brush.value = null;
      }}
      onCancel={() => look.cancel()}
    />
  );
}
