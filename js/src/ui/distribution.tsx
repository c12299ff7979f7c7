/** How the values of a layer are distributed: toolbar, sentence, legend, chart with its brush, and the tiles in range. */
import { useMemo, useState } from "preact/hooks";
import { type Brush, channelsIn } from "../draw/bins";
import type { DistributionResult, MapsResult, PageEdit, WireError } from "../wire/types";
import { DistributionChart } from "./distribution_chart";
import { DistributionLegend } from "./distribution_legend";
import { DistributionTable } from "./distribution_table";
import { DistributionTiles } from "./distribution_tiles";
import { brushWords, distributionSentence, rangeWords, sourceWords } from "./distribution_words";
import { Busy, type Choice, Empty, ErrorStrip, Segments, Select } from "./pieces";
import type { ColormapName, Order, Scaling } from "./props";

type Quantity = DistributionResult["quantity"];

export interface DistributionProps {
  result: DistributionResult | null;
  /** The layer that is chosen; the result may still be that of another. */
  layer: string | null;
  /** Layers that can be compared with it. */
  choices: readonly string[];
  most: number;
  quantity: Quantity;
  log: boolean;
  brush: Brush | null;
  maps: MapsResult | null;
  mapsStale: boolean;
  manager: unknown;
  stale: boolean;
  error: WireError | null;
  busySince: number | null;
  scaling: Scaling;
  colormap: ColormapName;
  order: Order;
  dark: boolean;
  selected: number;
  edits: readonly PageEdit[];
  onQuantity(quantity: Quantity): void;
  onParameter(name: string): void;
  onLog(log: boolean): void;
  onCompare(layer: string): void;
  onDrop(layer: string): void;
  onBrush(brush: Brush | null): void;
  onSelect(channel: number): void;
  onAgain(): void;
  onCancel(): void;
}

const QUANTITIES: readonly Choice<Quantity>[] = [
  { value: "activations", label: "activations", title: "What the layer puts out for the chosen input" },
  { value: "weights", label: "weights", title: "The layer’s own parameters" },
  { value: "gradients", label: "gradients", title: "What the last backward left in the parameters’ .grad" },
];
const AXES: readonly Choice<"log" | "linear">[] = [
  { value: "log", label: "log", title: "Each step of the axis is ten times as many: rare values show too" },
  { value: "linear", label: "linear", title: "Twice as high means twice as many" },
];
const NONE = "";

export function Distribution(props: DistributionProps) {
  const { result, layer, stale, error, busySince } = props;
  return (
    <section class="nnw-picture-panel nnw-distribution" aria-label="Distribution" aria-busy={stale}>
      <ErrorStrip error={error} />
      {error && (
        <p class="nnw-again">
          <Again onAgain={props.onAgain} />
        </p>
      )}
      {layer === null ? (
        <Empty>Choose a layer on the left to see how its values are distributed.</Empty>
      ) : result === null ? (
        <div class="nnw-view">
          <Busy since={busySince} onCancel={props.onCancel} />
          <Empty>{error ? "Nothing was counted." : "Waiting for the values of this layer."}</Empty>
        </div>
      ) : (
        <Shown {...props} result={result} layer={layer} />
      )}
    </section>
  );
}

function Again({ onAgain }: { onAgain(): void }) {
  return (
    <button type="button" class="nnw-button" onClick={onAgain}>
      Count again
    </button>
  );
}

function Shown(props: DistributionProps & { result: DistributionResult; layer: string }) {
  const { result, brush, maps } = props;
  const [table, setTable] = useState(false);
  const [hover, setHover] = useState<number | null>(null);
  const counted = result.series.some((series) => series.counts !== null);
  const first = result.series[0];
  const sentence = distributionSentence(result);
  const channels = channelsIn(result.shares, brush);
  const tiled =
    result.quantity === "activations" &&
    maps !== null &&
    maps.layout === "maps" &&
    maps.count > 0 &&
    maps.layer === first?.layer;
  const under = hover === null || hover >= result.bins ? null : { from: hover, to: hover };
  const total = result.shares?.shape[0] ?? 0;
  return (
    <>
      <Toolbar {...props} table={table} onTable={setTable} counted={counted} />
      {counted ? (
        <>
          <p class="nnw-sentence">
            {sentence} <span class="nnw-dim">{sourceWords(result)}</span>
          </p>
          <DistributionLegend result={result} onDrop={props.onDrop} />
          <div class="nnw-view">
            <Busy since={props.busySince} onCancel={props.onCancel} />
            <div class={`nnw-distribution-body${props.stale ? " nnw-stale" : ""}`}>
              {table ? (
                <DistributionTable result={result} />
              ) : (
                <DistributionChart
                  result={result}
                  manager={props.manager}
                  name={sentence}
                  brush={brush}
                  onBrush={props.onBrush}
                  onHover={setHover}
                  onMissing={() => setTable(true)}
                />
              )}
              {tiled && maps && (
                <DistributionTiles
                  {...props}
                  maps={maps}
                  stale={props.mapsStale}
                  channels={channels}
                  range={brush ? rangeWords(result, brush) : ""}
                />
              )}
            </div>
          </div>
          <footer class="nnw-foot">
            <span class="nnw-foot-text" role="status">
              {brush
                ? brushWords(result, brush, channels, total)
                : under
                  ? brushWords(result, under, channelsIn(result.shares, under), total)
                  : table
                    ? "Each line is one bin of the chart."
                    : "Drag over the chart, or move its ends with the arrow keys, to choose a range."}
            </span>
            <span class="nnw-space" />
            {brush && (
              <button type="button" class="nnw-button" onClick={() => props.onBrush(null)}>
                whole range
              </button>
            )}
          </footer>
        </>
      ) : (
        <div class="nnw-view">
          <Busy since={props.busySince} onCancel={props.onCancel} />
          <Empty>
            {first?.reason} {first?.waiting && <Again onAgain={props.onAgain} />}
          </Empty>
        </div>
      )}
    </>
  );
}

function Toolbar(
  props: DistributionProps & {
    result: DistributionResult;
    layer: string;
    table: boolean;
    counted: boolean;
    onTable(table: boolean): void;
  },
) {
  const { result, layer, quantity, choices, most, table } = props;
  // Kept as it is while the pointer moves: a model may have thousands of layers.
  const compare = useMemo(() => {
    const used = new Set([layer, ...result.series.map((series) => series.layer)]);
    const left = choices.filter((name) => !used.has(name));
    if (left.length === 0 || result.series.length > most) return null;
    return (
      <Select
        label="compare with another layer"
        value={NONE}
        choices={[{ value: NONE, label: "compare with…" }, ...left.map((name) => ({ value: name, label: name }))]}
        onChoose={(name) => name !== NONE && props.onCompare(name)}
      />
    );
  }, [choices, layer, result, most]);
  return (
    <div class="nnw-toolbar" role="group" aria-label="What the distribution counts">
      <strong class="nnw-layer-name" title={layer}>
        {layer || "the whole model"}
      </strong>
      <Segments label="of" value={quantity} choices={QUANTITIES} onChoose={props.onQuantity} />
      {quantity !== "activations" && result.parameters.length > 1 && (
        <Select
          label="which"
          showLabel
          value={result.parameter || (result.parameters[0] as string)}
          choices={result.parameters.map((name) => ({ value: name, label: name }))}
          onChoose={props.onParameter}
        />
      )}
      <span class="nnw-space" />
      {props.counted && (
        <Segments
          label="axis"
          value={props.log ? "log" : "linear"}
          choices={AXES}
          onChoose={(value) => props.onLog(value === "log")}
        />
      )}
      {compare}
      {props.counted && (
        <button type="button" class="nnw-button" aria-pressed={table} onClick={() => props.onTable(!table)}>
          {table ? "as chart" : "as table"}
        </button>
      )}
    </div>
  );
}
