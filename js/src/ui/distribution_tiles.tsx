/** The feature maps under a distribution: those with values in the brushed range. */
import { useMemo } from "preact/hooks";
import type { Look } from "../draw/canvas";
import { layerRange } from "../draw/clip";
import { tileSource } from "../draw/codes";
import { colormap as chooseColormap } from "../draw/colormap";
import { ordered } from "../draw/order";
import { plural } from "../format";
import type { MapsResult, PageEdit } from "../wire/types";
import { editMarks } from "./edits";
import type { ColormapName, Order, Scaling } from "./props";
import { TileGrid } from "./tile_grid";

export interface TilesProps {
  maps: MapsResult;
  /** Those to show; null: all. */
  channels: ReadonlySet<number> | null;
  /** The brushed range, in words. */
  range: string;
  scaling: Scaling;
  colormap: ColormapName;
  order: Order;
  dark: boolean;
  selected: number;
  edits: readonly PageEdit[];
  stale: boolean;
  onSelect(channel: number): void;
}

export function DistributionTiles(props: TilesProps) {
  const { maps, channels, scaling, dark } = props;
  const source = useMemo(() => tileSource(maps), [maps]);
  const map = chooseColormap(props.colormap, maps.signed, scaling, dark);
  const layer = useMemo(() => layerRange(source, scaling).range, [source, scaling]);
  const look: Look = useMemo(() => ({ map, scaling, layer }), [map.table, map.diverging, scaling, layer]);
  const marks = useMemo(() => editMarks(props.edits, maps.layer), [props.edits, maps.layer]);
  const index = maps.index.data;
  const places = useMemo(() => {
    const order = ordered(index, { activity: maps.activity.data, ranking: null }, props.order);
    return channels === null ? order : order.filter((place) => channels.has(index[place] as number));
  }, [index, maps.activity.data, props.order, channels]);
  const words =
    channels === null
      ? `All ${plural(maps.total, "feature map")}`
      : `${channels.size} of ${plural(maps.total, "feature map")} with a value from ${props.range}`;
  return (
    <section class="nnw-distribution-tiles" aria-label="Feature maps in the range">
      <p class="nnw-dim">{words}</p>
      <div class={`nnw-picture${props.stale ? " nnw-stale" : ""}`}>
        <TileGrid
          name={words}
          source={source}
          index={index}
          places={places}
          look={look}
          selected={props.selected}
          marks={marks}
          cross={null}
          least={56}
          onSelect={props.onSelect}
        />
      </div>
    </section>
  );
}
