/** The weights of a layer as pictures: filters as tiles, a matrix as a heat map, vectors as strips, or why there are none. */

import { useMemo } from "preact/hooks";
import { number } from "../format";
import { rowsAreChannels } from "../state/weights";
import type { FiltersResult } from "../wire/types";
import { ColourBar } from "./colourbar";
import { FilterGrid } from "./filter_grid";
import { filterSource, useWeightLook } from "./filter_look";
import { FilterMatrix } from "./filter_matrix";
import { FiltersToolbar } from "./filters_toolbar";
import { filtersFoot, filtersNotes, filtersSentence } from "./filters_words";
import { Busy, Empty, ErrorStrip } from "./pieces";
import type { FilterRange, FiltersProps } from "./props";
import { Strips } from "./strips";
import { Tipped } from "./tip";

export { filterSource, filtersSentence };

export function Filters(props: FiltersProps) {
  const { filters, stale, error, busySince = null, onCancel } = props;
  return (
    <section class="nnw-picture-panel nnw-filters" aria-label="Filters" aria-busy={stale}>
      <ErrorStrip error={error} />
      {!filters ? (
        <div class="nnw-view">
          <Busy since={busySince} onCancel={onCancel} />
          <Empty>
            {error
              ? "There is no picture of these weights. Choose another layer on the left, or mend the error and run the cell again."
              : stale || busySince !== null
                ? "Waiting for the weights of this layer."
                : "Choose a layer on the left to see its weights."}
          </Empty>
        </div>
      ) : filters.kind === "none" && filters.parts.length < 2 ? (
        <div class="nnw-view">
          <Busy since={busySince} onCancel={onCancel} />
          <Empty>
            {filters.reason || `${filters.type} has no weights to draw. Choose a convolution or a linear layer.`}
          </Empty>
        </div>
      ) : (
        <Shown {...props} filters={filters} />
      )}
    </section>
  );
}

function Shown(props: FiltersProps & { filters: FiltersResult }) {
  const { filters, point } = props;
  const { weight, gradient, kind } = filters;
  const grid = kind !== "matrix" && kind !== "strips" && kind !== "none";
  const range: FilterRange = props.range ?? (kind === "matrix" ? "own" : "all");
  const first = filters.strips[0] ?? null;
  const look = useWeightLook(weight ?? first, kind, range, props.colormap ?? "auto", props.dark);
  const second = useWeightLook(gradient, kind, range, props.colormap ?? "auto", props.dark);
  const selected = props.selected;
  const sentence = filtersSentence(filters, grid && props.sort === "norm" ? "norm" : filters.sort);
  const notes = filtersNotes(filters);
  const words = props.words ?? "";
  const count = weight ? weight.count : (first?.count ?? 0);
  const empty = kind !== "none" && count === 0;
  const bar = useMemo(() => look.look.layer, [look]);

  return (
    <>
      <FiltersToolbar {...props} map={look.look.map} range={range} />
      <p class="nnw-sentence">
        {sentence}
        {notes && <span class="nnw-dim"> {notes}</span>}
        {props.gradient && filters.gradient_note && <span class="nnw-dim"> {filters.gradient_note}</span>}
      </p>
      <div class="nnw-view">
        <Busy since={props.busySince ?? null} onCancel={props.onCancel} />
        <div class={`nnw-picture${props.stale ? " nnw-stale" : ""}`}>
          {kind === "none" || empty ? (
            <Empty>
              {kind === "none" ? filters.reason : "This weight has no values: one of its axes has no extent."}
            </Empty>
          ) : (
            <Tipped words={words}>
              {grid && weight && (
                <FilterGrid
                  {...props}
                  filters={filters}
                  weight={weight}
                  name={sentence}
                  look={look}
                  second={second}
                  shownRange={range}
                />
              )}
              {kind === "matrix" && weight && (
                <FilterMatrix
                  {...props}
                  filters={filters}
                  weight={weight}
                  name={sentence}
                  look={look}
                  second={second}
                  shownRange={range}
                />
              )}
              {kind === "strips" && (
                <Strips
                  name={sentence}
                  strips={filters.strips}
                  map={look.look.map}
                  selected={rowsAreChannels(filters) ? selected : -1}
                  at={point ? point.column : null}
                  words={words}
                  onHover={(column) =>
                    props.onHover(
                      column === null ? null : { tile: 0, row: 0, column, rows: 1, columns: 1, gradient: false },
                    )
                  }
                  onSelect={props.onSelect}
                />
              )}
            </Tipped>
          )}
        </div>
      </div>
      {kind !== "none" && !empty && (
        <footer class="nnw-foot nnw-foot-lines">
          <div class="nnw-foot-bars">
            {kind === "rgb" && (
              <span>
                each colour from {number(bar.lo)} (dark) to {number(bar.hi)} (bright)
              </span>
            )}
            {weight && kind !== "rgb" && <ColourBar map={look.look.map} range={look.bar} />}
            {gradient && kind !== "rgb" && (
              <>
                <span>gradient</span>
                <ColourBar map={second.look.map} range={second.bar} />
              </>
            )}
            {gradient && kind === "rgb" && (
              <span>
                gradient from {number(second.look.layer.lo)} to {number(second.look.layer.hi)}
              </span>
            )}
          </div>
          <span class="nnw-foot-text">
            {words || (weight ? filtersFoot(filters, weight) : "each strip has its own scale")}
          </span>
        </footer>
      )}
    </>
  );
}
