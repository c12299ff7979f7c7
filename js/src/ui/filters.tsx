/** The weights of a layer as pictures: filters as tiles, a matrix as one heat map, or why there are none. */

import { useMemo } from "preact/hooks";
import type { Look } from "../draw/canvas";
import type { TileSource } from "../draw/codes";
import { colormap as chooseColormap } from "../draw/colormap";
import { hull, symmetric } from "../draw/range";
import { asSentence, number, plural, shape } from "../format";
import type { FiltersResult } from "../wire/types";
import { ColourBar } from "./colourbar";
import { Busy, type Choice, Empty, ErrorStrip, Select } from "./pieces";
import type { FilterMode, FiltersProps } from "./props";
import { Sheet } from "./sheet";
import { TileGrid } from "./tile_grid";

const NO_MARKS: ReadonlyMap<number, string> = new Map();
const LONGEST_LIST = 512;

/** What one sees, in one sentence. */
export function filtersSentence(filters: FiltersResult): string {
  const [outputs = 0] = filters.shape;
  const inputs = plural(filters.inputs, "input channel");
  switch (filters.kind) {
    case "rgb":
      return `${plural(outputs, "filter")} over red, green and blue, shown as colours; mid-grey is zero.`;
    case "channel":
      return filters.inputs > 1
        ? `What each of ${plural(outputs, "filter")} does with input channel ${filters.channel ?? 0} of ${filters.inputs}.`
        : `${plural(outputs, "filter")}, one input channel each.`;
    case "norm":
      return `How strong each place of ${plural(outputs, "filter")} is, over all ${inputs} (L2 norm).`;
    case "matrix":
      return `${plural(outputs, "output")} as rows, ${plural(filters.inputs, "input")} as columns.`;
    default:
      return filters.reason;
  }
}

/** The codes of a result as something to paint, or null where there are none. */
export function filterSource(filters: FiltersResult): TileSource | null {
  const { codes, lo, hi, kind } = filters;
  if (!codes || !lo || !hi || kind === "none") return null;
  const [tiles = 0, rows = 1, columns = 1] = codes.shape;
  // One common range may come as a single pair of numbers.
  const spread = (data: Float32Array) => (data.length === tiles ? data : new Float32Array(tiles).fill(data[0] ?? 0));
  return {
    codes: codes.data,
    lo: spread(lo.data),
    hi: spread(hi.data),
    rows,
    columns,
    depth: kind === "rgb" ? 3 : 1,
  };
}

function modeChoices(filters: FiltersResult): Choice<string>[] {
  const choices: Choice<string>[] = [];
  if (filters.inputs === 3) choices.push({ value: "auto", label: "red, green, blue" });
  choices.push({ value: "norm", label: "all inputs (norm)" });
  for (let channel = 0; channel < Math.min(filters.inputs, LONGEST_LIST); channel++) {
    choices.push({ value: String(channel), label: `input ${channel}` });
  }
  return choices;
}

function modeOf(filters: FiltersResult): string {
  if (filters.kind === "rgb") return "auto";
  return filters.kind === "norm" ? "norm" : String(filters.channel ?? 0);
}

export function Filters(props: FiltersProps) {
  const { filters, stale, error, busySince = null, onCancel } = props;
  return (
    <section class="nnw-picture-panel nnw-filters" aria-label="Filters" aria-busy={stale}>
      <ErrorStrip error={error} />
      {!filters ? (
        <div class="nnw-view">
          <Busy since={busySince} onCancel={onCancel} />
          <Empty>
            {stale || busySince !== null
              ? "Waiting for the weights of this layer."
              : "Choose a layer on the left to see its weights."}
          </Empty>
        </div>
      ) : filters.kind === "none" ? (
        <Empty>
          {filters.reason || `${filters.type} has no weights to draw. Choose a convolution or a linear layer.`}
        </Empty>
      ) : (
        <Shown {...props} filters={filters} />
      )}
    </section>
  );
}

function Shown(props: FiltersProps & { filters: FiltersResult }) {
  const { filters, dark, selected, onMode, onSelect } = props;
  const source = useMemo(() => filterSource(filters), [filters]);
  const negative = (filters.minimum ?? 0) < 0 && filters.kind !== "norm";
  const map = chooseColormap(props.colormap ?? "auto", negative, "layer", dark);
  const layer = useMemo(() => {
    const range = source ? hull(source.lo, source.hi) : { lo: 0, hi: 0 };
    return filters.kind === "rgb" ? symmetric(range) : range;
  }, [source, filters.kind]);
  const look: Look = useMemo(() => ({ map, scaling: "layer", layer }), [map.table, map.diverging, layer]);
  const places = useMemo(() => Array.from({ length: filters.index?.data.length ?? 0 }, (_, at) => at), [filters]);
  if (!source) return null;
  const sentence = filtersSentence(filters);
  const kernel = filters.shape.length > 2;
  const range = map.diverging ? symmetric(layer) : layer;
  const spread = `weights ${number(filters.minimum)} to ${number(filters.maximum)}`;
  const pooled = filters.pool[0] > 1 || filters.pool[1] > 1;

  return (
    <>
      <div class="nnw-toolbar" role="group" aria-label="Appearance of the filters">
        <strong class="nnw-layer-name" title={`${filters.layer} · ${filters.type}`}>
          {filters.layer || filters.type}
        </strong>
        <span class="nnw-dim">{shape(filters.shape)}</span>
        <span class="nnw-space" />
        {kernel && filters.inputs > 1 && (
          <Select
            label="show"
            showLabel
            value={modeOf(filters)}
            choices={modeChoices(filters)}
            onChoose={(value) => onMode((value === "auto" || value === "norm" ? value : Number(value)) as FilterMode)}
          />
        )}
      </div>
      <p class="nnw-sentence">
        {sentence}
        {filters.note && <span class="nnw-dim"> {asSentence(filters.note)}</span>}
      </p>
      <div class="nnw-view">
        <Busy since={props.busySince ?? null} onCancel={props.onCancel} />
        <div class={`nnw-picture${props.stale ? " nnw-stale" : ""}`}>
          {filters.kind === "matrix" ? (
            <Sheet
              name={sentence}
              source={source}
              along="row"
              axes={["output", "input"]}
              pool={filters.pool}
              look={look}
              selected={selected}
              marks={NO_MARKS}
              cross={null}
              onSelect={onSelect}
            />
          ) : (
            <TileGrid
              name={sentence}
              source={source}
              index={filters.index?.data ?? []}
              places={places}
              look={look}
              selected={selected}
              marks={NO_MARKS}
              cross={null}
              least={56}
              onSelect={onSelect}
            />
          )}
        </div>
      </div>
      <footer class="nnw-foot">
        {filters.kind === "rgb" ? (
          <span>
            each colour from {number(layer.lo)} (dark) to {number(layer.hi)} (bright)
          </span>
        ) : (
          <ColourBar map={map} range={range} />
        )}
        <span class="nnw-space" />
        <span class="nnw-foot-text">
          {spread} · {pooled ? `pooled ${filters.pool[0]}×${filters.pool[1]}` : "unpooled"} ·{" "}
          {filters.nan > 0 ? `${number(filters.nan)} NaN hatched` : "no NaN"}
        </span>
      </footer>
    </>
  );
}
