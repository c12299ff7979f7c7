/** One channel large beside the input, with one cross-hair for both, the value under it, and what to do with it. */

import { useMemo } from "preact/hooks";
import { axisWords, inPlane, type Place } from "../draw/axes";
import { paintPlane } from "../draw/canvas";
import { layerRange } from "../draw/clip";
import { tileSource } from "../draw/codes";
import { colormap as chooseColormap } from "../draw/colormap";
import { type Range, tileRange } from "../draw/range";
import { signed, trueMinus } from "../format";
import type { ChannelResult, MapsResult, PageEdit } from "../wire/types";
import { ChannelEdits } from "./channel_edits";
import { Empty } from "./pieces";
import { InputPicture, Plane } from "./plane";
import type { ChannelInspectorProps, Point } from "./props";

export function ChannelInspector(props: ChannelInspectorProps) {
  const { channel, maps, stale } = props;
  if (!channel) {
    return (
      <section class="nnw-section nnw-channel" aria-label="Channel">
        <header>
          <h3>Channel</h3>
        </header>
        <Empty>
          {stale
            ? "Waiting for this channel."
            : maps
              ? `Choose ${PICKED[maps.layout]} to change it.`
              : "Choose a layer and a channel to see it large."}
        </Empty>
      </section>
    );
  }
  return <Shown {...props} channel={channel} />;
}

/** "row 20, column 17", or the one axis that a channel still has. */
function placeWords(maps: MapsResult | null, axis: MapsResult["channel_axis"], point: Point): string {
  const [row, column] = maps ? axisWords(maps) : ["row", "column"];
  if (axis === "column") return `${row} ${point.row}`;
  if (axis === "row") return `${column} ${point.column}`;
  return `${row} ${point.row}, ${column} ${point.column}`;
}

const PICKED: Record<MapsResult["layout"], string> = {
  maps: "a tile to see its channel large, and",
  signal: "a row to see its channel, and",
  tokens: "a column to see its feature, and",
  vector: "a unit to see its value, and",
  scalar: "another layer to see a channel large, and",
};

/** The range that colours the channel as its tile is coloured. */
export function planeRange(
  channel: ChannelResult,
  maps: MapsResult | null,
  scaling: ChannelInspectorProps["scaling"],
  diverging: boolean,
): Range {
  const own = { lo: channel.minimum ?? 0, hi: channel.maximum ?? 0 };
  const layer = maps && maps.layer === channel.layer ? layerRange(tileSource(maps), scaling).range : own;
  return tileRange(maps && maps.layout !== "maps" ? "layer" : scaling, layer, own, diverging);
}

function Shown(props: ChannelInspectorProps & { channel: ChannelResult }) {
  const { channel, maps, hover, value, scaling, dark, stale } = props;
  // While another channel is on its way, the controls speak of the one that is shown.
  const isShown = (edit: PageEdit) => edit.layer === channel.layer && edit.channel === channel.channel;
  const edit = props.edit && isShown(props.edit) ? props.edit : (props.edits.find(isShown) ?? null);
  const [rows = 0, columns = 0] = channel.plane.shape;
  const axis = maps && maps.layer === channel.layer ? maps.channel_axis : "tile";
  const cross = hover && inPlane(channel, axis, hover);
  const values = channel.plane.data;
  const negative = maps?.layer === channel.layer ? maps.signed : (channel.minimum ?? 0) < 0;
  const map = chooseColormap(props.colormap, negative, scaling, dark);
  const range = useMemo(
    () => planeRange(channel, maps, scaling, map.diverging),
    [channel, maps, scaling, map.diverging],
  );
  const pooled = channel.pool[0] > 1 || channel.pool[1] > 1;

  const point = (place: Place): Point => {
    const row = place.row * channel.pool[0];
    const column = place.column * channel.pool[1];
    if (axis === "row") return { channel: channel.channel, row: channel.channel, column };
    if (axis === "column") return { channel: channel.channel, row, column: channel.channel };
    return { channel: channel.channel, row, column };
  };
  const under = cross ? values[cross.row * columns + cross.column] : undefined;
  const exact =
    pooled &&
    value &&
    hover &&
    value.row === hover.row &&
    value.column === hover.column &&
    value.channel === channel.channel
      ? trueMinus(value.text)
      : under === undefined
        ? ""
        : `${signed(under)}${pooled ? " (mean)" : ""}`;
  const where = cross && hover ? `${placeWords(maps, axis, hover)}: ${exact}` : "";
  const overall = `${signed(channel.minimum)} to ${signed(channel.maximum)}${pooled ? `, pooled ${channel.pool[0]}×${channel.pool[1]}` : ""}`;
  const move = (place: Place | null) => props.onHover(place && point(place));
  const picture = props.input?.picture ? props.input : null;
  const linked = axis === "tile" && rows > 1 && columns > 1;

  return (
    <section class="nnw-section nnw-channel" aria-label={`Channel ${channel.channel}`} aria-busy={stale}>
      <header>
        <h3>Channel {channel.channel}</h3>
        <span class="nnw-readout">{where || overall}</span>
      </header>
      <div class={`nnw-pair${stale ? " nnw-stale" : ""}`}>
        {picture && (
          <InputPicture
            input={picture}
            rows={rows}
            columns={columns}
            cross={linked ? cross : null}
            onMove={linked ? move : null}
          />
        )}
        {values.length === 1 ? (
          <p class="nnw-single">{signed(values[0])}</p>
        ) : (
          <Plane
            name={`Channel ${channel.channel} of ${channel.layer || "the model"}, ${rows} by ${columns}, values ${overall}`}
            rows={rows}
            columns={columns}
            cross={cross}
            onMove={move}
            where={where}
            paint={(context) => {
              const { width, height } = context.canvas;
              paintPlane(context, values, rows, columns, { x: 0, y: 0, width, height }, map, range);
            }}
            key={`${rows}×${columns}`}
            version={[channel, map.table, range]}
          />
        )}
      </div>
      <ChannelEdits
        layer={channel.layer}
        channel={channel.channel}
        result={channel}
        edit={edit}
        onEdit={props.onEdit}
      />
    </section>
  );
}
