/** The line above the feature maps: whose output, which call and tensor, range, order, colours. */

import { COLORMAPS, type Colormap } from "../draw/colormap";
import type { MapsResult } from "../wire/types";
import { type Choice, Segments, Select } from "./pieces";
import type { Appearance, FeatureMapsProps, Order, Scaling } from "./props";

const RANGES: readonly Choice<Scaling>[] = [
  { value: "layer", label: "layer", title: "One range for all channels: bright means strong" },
  { value: "channel", label: "channel", title: "Each channel its own range: weak patterns show too" },
];
const SYMMETRIC: Choice<Scaling> = {
  value: "symmetric",
  label: "±",
  title: "One range for all channels with zero in its middle that holds every value",
};
const ORDERS: readonly Choice<Order>[] = [
  { value: "activity", label: "by activity" },
  { value: "number", label: "by number" },
];
/** What Python has to find out first. */
const RANKINGS: readonly Choice<Order>[] = [
  { value: "selectivity", label: "by class" },
  { value: "influence", label: "by influence" },
];

export interface ToolbarProps
  extends Pick<
    FeatureMapsProps,
    "scaling" | "colormap" | "order" | "onAppearance" | "onCall" | "onOutput" | "ranking"
  > {
  maps: MapsResult;
  map: Colormap;
  /** Some values lie beyond the range of the layer. */
  clipped: boolean;
}

/** The words for the choice of colours; "automatic" says what it chose. */
export function colourChoices(map: Colormap): Choice<string>[] {
  return COLORMAPS.map(({ name, label }) => {
    const chosen = COLORMAPS.find((other) => other.name === map.name)?.label ?? map.name;
    return { value: name, label: name === "auto" ? `auto: ${chosen}` : label };
  });
}

export function MapsToolbar({
  maps,
  map,
  clipped,
  scaling,
  colormap,
  order,
  onAppearance,
  onCall,
  onOutput,
  ranking = null,
}: ToolbarProps) {
  const change = (appearance: Appearance) => onAppearance(appearance);
  // With a diverging map every range is symmetric already; only where values are clipped there is more to hold.
  const ranges =
    scaling === "symmetric" || clipped || (maps.signed && !map.diverging) ? [...RANGES, SYMMETRIC] : RANGES;
  const calls = Array.from({ length: maps.calls }, (_, call) => ({
    value: String(call),
    label: `${call + 1} of ${maps.calls}`,
  }));
  return (
    <div class="nnw-toolbar" role="group" aria-label="Appearance of the feature maps">
      <strong class="nnw-layer-name" title={`${maps.layer || "the whole model"} · ${maps.type}`}>
        {maps.layer || maps.type}
      </strong>
      {maps.calls > 1 && (
        <Select
          label="call"
          showLabel
          value={String(maps.call)}
          choices={calls}
          onChoose={(value) => onCall(Number(value))}
        />
      )}
      {maps.outputs.length > 1 && (
        <Select
          label="output"
          showLabel
          value={maps.output}
          choices={maps.outputs.map((path) => ({ value: path, label: path || "tensor" }))}
          onChoose={onOutput}
        />
      )}
      <span class="nnw-space" />
      {maps.layout === "maps" && (
        <Segments label="range" value={scaling} choices={ranges} onChoose={(value) => change({ scaling: value })} />
      )}
      {maps.layout === "maps" && (
        <Select
          label="order"
          value={order}
          choices={ranking ? [...ORDERS, ...RANKINGS] : ORDERS}
          onChoose={(value) => change({ order: value })}
        />
      )}
      {maps.layout !== "scalar" && (
        <Select
          label="colours"
          value={colormap}
          choices={colourChoices(map)}
          onChoose={(value) => change({ colormap: value })}
        />
      )}
    </div>
  );
}
