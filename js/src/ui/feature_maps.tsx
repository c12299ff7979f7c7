/** The feature maps of one layer: toolbar, sentence, picture, colour bar and what exactly is shown. */

import { useMemo, useRef, useState } from "preact/hooks";
import { axisWords, type Place, toPlace, toPoint } from "../draw/axes";
import type { Look } from "../draw/canvas";
import { layerRange } from "../draw/clip";
import { dequantise, tileSource } from "../draw/codes";
import { colormap as chooseColormap } from "../draw/colormap";
import { ordered, shown } from "../draw/order";
import { symmetric } from "../draw/range";
import { asSentence, count, number, plural, signed, trueMinus } from "../format";
import type { MapsResult, RankingResult } from "../wire/types";
import { ColourBar } from "./colourbar";
import { editMarks } from "./edits";
import { MapsToolbar } from "./maps_toolbar";
import { OrderLine, rankingOf } from "./order_line";
import { Busy, Empty, ErrorStrip } from "./pieces";
import type { FeatureMapsProps, Point } from "./props";
import { scoreWords } from "./ranking_words";
import { Sheet } from "./sheet";
import { TileGrid } from "./tile_grid";

/** "24 of 192 channels · 56×56, pooled 2×2 · no NaN". */
export function footerText(maps: MapsResult, tiles: number): string {
  const [, rows = 1, columns = 1] = maps.codes.shape;
  const pooled = maps.pool[0] > 1 || maps.pool[1] > 1;
  const bad = [
    maps.nan > 0 ? `${number(maps.nan)} NaN hatched` : "no NaN",
    ...(maps.posinf > 0 ? [`${number(maps.posinf)} +∞`] : []),
    ...(maps.neginf > 0 ? [`${number(maps.neginf)} −∞`] : []),
  ].join(", ");
  const parts = [`${rows}×${columns}, ${pooled ? `pooled ${maps.pool[0]}×${maps.pool[1]}` : "unpooled"}`, bad];
  if (maps.layout === "maps") parts.unshift(`${count(tiles)} of ${plural(maps.total, "channel")}`);
  return parts.join(" · ");
}

/** "channel 12, row 20, column 17", in the words of the axes. */
function pointWords(maps: MapsResult, point: Point): string {
  const [row, column] = axisWords(maps);
  if (maps.layout === "maps") return `channel ${point.channel}, ${row} ${point.row}, ${column} ${point.column}`;
  if (maps.layout === "vector") return `${column} ${point.column}`;
  return `${row} ${point.row}, ${column} ${point.column}`;
}

const samePoint = (one: Point, other: Point): boolean =>
  one.channel === other.channel && one.row === other.row && one.column === other.column;

export function FeatureMaps(props: FeatureMapsProps) {
  const { maps, stale, error, busySince, onCancel } = props;
  return (
    <section class="nnw-picture-panel nnw-maps" aria-label="Feature maps" aria-busy={stale}>
      <ErrorStrip error={error} />
      {maps ? (
        <Shown {...props} maps={maps} />
      ) : (
        <div class="nnw-view">
          <Busy since={busySince} onCancel={onCancel} />
          <Empty>
            {error
              ? "There is no picture of this layer. Choose another layer on the left, or mend the error and run the cell again."
              : busySince !== null || stale
                ? "Waiting for the first picture of this layer."
                : "Choose a layer on the left to see what flows through it."}
          </Empty>
        </div>
      )}
    </section>
  );
}

function Shown(props: FeatureMapsProps & { maps: MapsResult }) {
  const { maps, scaling, dark, edits, selected, value, showAll } = props;
  const source = useMemo(() => tileSource(maps), [maps]);
  const map = chooseColormap(props.colormap, maps.signed, scaling, dark);
  const { range: layer, clipped } = useMemo(() => layerRange(source, scaling), [source, scaling]);
  const look: Look = useMemo(() => ({ map, scaling, layer }), [map.table, map.diverging, scaling, layer]);
  const marks = useMemo(() => editMarks(edits, maps.layer), [edits, maps.layer]);
  const ranking = rankingOf(maps, props.order, props.ranking ?? null);
  const order = useStableOrder(maps, props.order, props.sortKey ?? 0, ranking);
  const scores = useMemo(() => (ranking === null ? null : scoreWords(ranking)), [ranking]);
  const channels = maps.index.data;
  const only = maps.layout === "maps" ? (props.only ?? null) : null;
  const places = useMemo(
    () =>
      only === null
        ? shown(order, showAll, (place) => channels[place] === selected || marks.has(channels[place] as number))
        : order.filter((place) => only.channels.has(channels[place] as number)),
    [order, showAll, selected, marks, channels, only],
  );
  const [own, setOwn] = useState<Point | null>(null);
  const hover = props.hover === undefined ? own : props.hover;

  const report = (point: Point | null) => {
    if (point === hover || (point && hover && samePoint(point, hover))) return;
    setOwn(point);
    props.onHover(point);
  };
  const perTile = scaling === "channel" && maps.layout === "maps";
  const range = perTile ? null : map.diverging || scaling === "symmetric" ? symmetric(layer) : layer;
  const exact = hover && value && samePoint(value, hover) ? trueMinus(value.text) : "…";

  return (
    <>
      <MapsToolbar {...props} map={map} clipped={clipped > 0} />
      <p class="nnw-sentence">
        {maps.sentence}
        {maps.guessed && maps.layout !== "scalar" && <span class="nnw-dim"> Axes are a guess.</span>}
        {maps.note && <span class="nnw-dim"> {asSentence(maps.note)}</span>}
      </p>
      {only && (
        <p class="nnw-only" role="status">
          Only the {only.channels.size} of {plural(only.total, "channel")} with a value from {number(only.lo)} to{" "}
          {number(only.hi)}, the range chosen in the distribution
          {only.outdated ? ", when they were last counted. " : ". "}
          <button type="button" class="nnw-button" onClick={props.onAll}>
            show all channels
          </button>
        </p>
      )}
      <div class="nnw-view">
        {props.busySince === null && props.ranking ? (
          <Busy
            since={props.ranking.busySince}
            part={ranking === null ? 0 : ranking.channels.data.length / Math.max(1, ranking.total)}
            onCancel={props.ranking.onCancel}
          />
        ) : (
          <Busy since={props.busySince} onCancel={props.onCancel} />
        )}
        <div class={`nnw-picture${props.stale ? " nnw-stale" : ""}`}>
          {maps.count === 0 ? (
            <Empty>This output has no values: its shape is {maps.shape.join("×") || "empty"}.</Empty>
          ) : maps.layout === "maps" ? (
            <TileGrid
              name={maps.sentence}
              source={source}
              index={channels}
              places={places}
              look={look}
              selected={selected}
              marks={marks}
              extra={scores}
              cross={hover && toPlace(maps, hover)}
              onSelect={props.onSelect}
              onHover={(channel, place) => report(place && toPoint(maps, channel, place))}
            />
          ) : maps.layout === "scalar" ? (
            <p class="nnw-scalar">{signed(dequantise(source.codes[0] ?? 0, source.lo[0] ?? 0, source.hi[0] ?? 0))}</p>
          ) : (
            <Sheet
              name={maps.sentence}
              source={source}
              along={maps.channel_axis === "tile" ? "none" : maps.channel_axis}
              axes={axisWords(maps)}
              pool={maps.pool}
              look={look}
              selected={selected}
              marks={marks}
              cross={hover && toPlace(maps, hover)}
              onSelect={props.onSelect}
              onHover={(place: Place | null) => report(place && toPoint(maps, 0, place))}
            />
          )}
        </div>
      </div>
      {maps.layout === "maps" && maps.count > 0 && (
        <OrderLine {...props} ranking={props.ranking ?? null} result={ranking} />
      )}
      {maps.layout !== "scalar" && maps.count > 0 && (
        <footer class="nnw-foot">
          <ColourBar map={map} range={range} clipped={range ? clipped : 0} />
          {maps.layout === "maps" && !only && order.length > places.length && (
            <button type="button" class="nnw-button" onClick={() => props.onAppearance({ showAll: true })}>
              show all {maps.total}
            </button>
          )}
          {maps.layout === "maps" && !only && showAll && order.length > 24 && (
            <button type="button" class="nnw-button" onClick={() => props.onAppearance({ showAll: false })}>
              show 24
            </button>
          )}
          <span class="nnw-space" />
          <span class="nnw-foot-text">
            {hover ? `${pointWords(maps, hover)}: ${exact}` : footerText(maps, places.length)}
          </span>
        </footer>
      )}
    </>
  );
}

/**
 * The order of the tiles. It is kept while layer, input and ranking stay the same, because an edit or a training step
 * that re-sorted the tiles would move them away from under the pointer.
 */
function useStableOrder(
  maps: MapsResult,
  by: FeatureMapsProps["order"],
  sortKey: string | number,
  ranking: RankingResult | null,
): number[] {
  const layer = `${maps.layer}|${maps.call}|${maps.output}|${maps.index.data.length}|${by}`;
  const kept = useRef({ layer: "", sortKey, maps, ranking, order: [] as number[] });
  const { current } = kept;
  // After a change of the input the old picture is still there for a while: its order stays with it.
  const renewed = current.sortKey !== sortKey && current.maps !== maps;
  if (current.layer !== layer || renewed || current.ranking !== ranking) {
    const order = ordered(maps.index.data, { activity: maps.activity.data, ranking }, by);
    kept.current = { layer, sortKey, maps, ranking, order };
  } else if (current.sortKey === sortKey) {
    current.maps = maps;
  }
  return kept.current.order;
}
