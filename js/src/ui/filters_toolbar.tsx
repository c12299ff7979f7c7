/** The line above the filters: which tensor, which part of it, what of a kernel, order, gradient, range, colours. */

import type { Colormap } from "../draw/colormap";
import { shape } from "../format";
import type { FilterSort, FiltersResult } from "../wire/types";
import { colourChoices } from "./maps_toolbar";
import { type Choice, Segments, Select } from "./pieces";
import type { FilterMode, FilterRange, FiltersProps } from "./props";

const LONGEST_LIST = 512;

function modeChoices(filters: FiltersResult): Choice<string>[] {
  const choices: Choice<string>[] = [];
  // A kernel of one dimension can be shown whole: its input channels as rows.
  if (filters.axes[1] === "tap") choices.push({ value: "auto", label: "whole filters" });
  else if (filters.inputs === 3) choices.push({ value: "auto", label: "red, green, blue" });
  choices.push({ value: "norm", label: "all inputs (norm)" });
  for (let channel = 0; channel < Math.min(filters.inputs, LONGEST_LIST); channel++) {
    choices.push({ value: String(channel), label: `input ${channel}` });
  }
  return choices;
}

function modeOf(filters: FiltersResult): string {
  if (filters.kind === "rgb" || filters.kind === "plane") return "auto";
  return filters.kind === "norm" ? "norm" : String(filters.channel ?? 0);
}

function sortChoices(filters: FiltersResult): Choice<FilterSort>[] {
  const what = filters.kind === "matrix" ? `rows: ${filters.axes[0]}` : "filters";
  const choices: Choice<FilterSort>[] = [
    { value: "number", label: "by number" },
    { value: "norm", label: "by norm", title: `The ${what} with the largest L2 norm first` },
    {
      value: "similarity",
      label: "by similarity",
      title: `Most like the selected one first (cosine of all its weights)`,
    },
  ];
  if (filters.part === "weight" && filters.axes[0] !== "entry") {
    choices.splice(2, 0, { value: "activity", label: "by activity", title: "Strongest answer to this input first" });
  }
  return choices;
}

const RANGES: Record<"grid" | "matrix", readonly Choice<FilterRange>[]> = {
  grid: [
    { value: "all", label: "layer", title: "One range for all filters: bright means strong" },
    { value: "own", label: "filter", title: "Each filter its own range: weak patterns show too" },
  ],
  matrix: [
    { value: "all", label: "layer", title: "The range of all weights, in sight or not" },
    { value: "own", label: "in sight", title: "The range of what is in sight" },
  ],
};

export interface FiltersToolbarProps extends FiltersProps {
  filters: FiltersResult;
  map: Colormap;
  range: FilterRange;
}

/** Which values the ends of the colours stand for, and which colours. */
export function RangeAndColours(
  props: Pick<FiltersToolbarProps, "filters" | "map" | "range" | "colormap" | "onRange" | "onColormap">,
) {
  const { map, range } = props;
  const { kind } = props.filters;
  if (kind === "rgb" || kind === "none") return null;
  return (
    <>
      {kind !== "strips" && (
        <Segments
          label="range"
          value={range}
          choices={RANGES[kind === "matrix" ? "matrix" : "grid"]}
          onChoose={(value) => props.onRange(value)}
        />
      )}
      <Select
        label="colours"
        value={props.colormap ?? "auto"}
        choices={colourChoices(map)}
        onChoose={(value) => props.onColormap(value)}
      />
    </>
  );
}

export function FiltersToolbar(props: FiltersToolbarProps) {
  const { filters, onChoose } = props;
  const { kind, parts, sections } = filters;
  const grid = kind === "rgb" || kind === "channel" || kind === "norm" || kind === "plane";
  const there = filters.gradient_note === "";
  return (
    <div class="nnw-toolbar" role="group" aria-label="Appearance of the filters">
      <strong class="nnw-layer-name" title={`${filters.layer || "the whole model"} · ${filters.type}`}>
        {filters.layer || filters.type}
      </strong>
      <span class="nnw-dim">{shape(filters.shape)}</span>
      <span class="nnw-space" />
      {parts.length > 1 && (
        <Select
          label="weight"
          value={filters.part}
          choices={parts.map(({ name, label }) => ({ value: name, label }))}
          onChoose={(part) => onChoose({ part })}
        />
      )}
      {sections.length > 0 && (
        <Select
          label="part of it"
          value={String(filters.section ?? 0)}
          choices={[
            ...sections.map((label, at) => ({ value: String(at), label })),
            { value: "-1", label: "all together" },
          ]}
          onChoose={(value) => onChoose({ section: Number(value) })}
        />
      )}
      {grid && filters.inputs > 1 && (
        <Select
          label="show"
          value={modeOf(filters)}
          choices={modeChoices(filters)}
          onChoose={(value) =>
            onChoose({ mode: (value === "auto" || value === "norm" ? value : Number(value)) as FilterMode })
          }
        />
      )}
      {filters.slices > 1 && (
        <Select
          label="slice along depth"
          value={String(filters.slice ?? 0)}
          choices={Array.from({ length: filters.slices }, (_, at) => ({
            value: String(at),
            label: `slice ${at} of ${filters.slices}`,
          }))}
          onChoose={(value) => onChoose({ slice: Number(value) })}
        />
      )}
      {(grid || kind === "matrix") && (
        <Select
          label="order"
          value={props.sort}
          choices={sortChoices(filters)}
          onChoose={(sort) => onChoose({ sort })}
        />
      )}
      {kind !== "none" && (
        <button
          type="button"
          class="nnw-toggle"
          aria-pressed={props.gradient && there}
          disabled={!there}
          title={there ? "Show the gradient beside the weight" : filters.gradient_note}
          onClick={() => props.onGradient(!props.gradient)}
        >
          gradient
        </button>
      )}
      {kind !== "matrix" && <RangeAndColours {...props} />}
    </div>
  );
}
