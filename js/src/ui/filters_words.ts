/** What the filters panel says: the sentence, the foot, the words for the place under the pointer. */

import { dequantise } from "../draw/codes";
import { asSentence, number, plural, trueMinus } from "../format";
import type { WeightPoint, WeightValue } from "../state/weights";
import type { FiltersResult, WeightPicture } from "../wire/types";

const MANY: Record<string, string> = { entry: "entries" };

function several(count: number, noun: string): string {
  return plural(count, noun, MANY[noun] ?? `${noun}s`);
}

function capital(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

/** What a tile, a row or a bar is called. */
export function noun(filters: FiltersResult): string {
  if (filters.kind === "matrix") return filters.axes[0];
  return filters.part === "weight" ? "filter" : "plane";
}

function what(filters: FiltersResult): string {
  const tiles = filters.weight?.codes.shape[0] ?? 0;
  const [rows = 0, columns = 0] = filters.shape;
  const [rowWord, columnWord] = filters.axes;
  switch (filters.kind) {
    case "rgb":
      return `${plural(tiles, "filter")} over red, green and blue, shown as colours; mid-grey is zero.`;
    case "channel":
      return filters.inputs > 1
        ? `What each of ${plural(tiles, "filter")} does with input channel ${filters.channel ?? 0} of ${filters.inputs}.`
        : `${plural(tiles, "filter")}, one input channel each.`;
    case "norm":
      return `How strong each place of ${plural(tiles, "filter")} is, over all ${plural(filters.inputs, "input channel")} (L2 norm).`;
    case "plane":
      return `${several(tiles, noun(filters))}, each with ${rowWord}s as rows and ${columnWord}s as columns.`;
    case "matrix":
      return (
        `${several(rows, rowWord)} as rows, ${several(columns, columnWord)} as columns; ` +
        "bars: L2 norms of whole rows and columns."
      );
    case "strips": {
      const names = filters.strips.map((strip) => strip.name).join(", ");
      return `${capital(names)}: a bar from zero for each of ${plural(Math.max(0, ...filters.strips.map((s) => s.count)), "value")}.`;
    }
    default:
      return filters.reason;
  }
}

/** What one sees, in a sentence or two. */
export function filtersSentence(filters: FiltersResult, sort = filters.sort): string {
  const parts = [what(filters)];
  if (filters.sections.length > 0) {
    const section = filters.section ?? 0;
    const name = section < 0 ? `${filters.sections.join(", ")}, one below the other` : filters.sections[section];
    parts[0] = `${capital(name ?? "")}: ${parts[0]}`;
  }
  if (filters.slices > 1) parts.push(`Slice ${filters.slice} of ${filters.slices} along depth.`);
  const rows = filters.kind === "matrix" ? "Rows" : "Filters";
  if (sort === "norm") parts.push(`${rows} with the largest norm first.`);
  if (sort === "activity") parts.push(`${rows} that answer most strongly to this input first.`);
  if (sort === "similarity") {
    const { reference } = filters;
    const whom = reference === null ? "the one with the largest norm" : `${noun(filters)} ${reference}`;
    parts.push(`${rows} most like ${whom} first (cosine of all weights).`);
  }
  return parts.join(" ");
}

/** What is said of the tensor beside it. */
export function filtersNotes(filters: FiltersResult): string {
  // Of a matrix the foot says how it is pooled, which changes with the zoom.
  const said = filters.note.split("; ").filter((note) => filters.kind !== "matrix" || !note.startsWith("each pixel"));
  const notes = [asSentence(said.join("; "))];
  if (filters.tied.length > 0)
    notes.push(`Tied: ${filters.tied.join(", ")} ${filters.tied.length > 1 ? "are" : "is"} the same tensor.`);
  return notes.filter((note) => note !== "").join(" ");
}

/** "output 12, input 4", a block as "output 8–15, input 0–7". */
export function pointWords(
  filters: FiltersResult,
  point: { tile: number; row: number; column: number; rows: number; columns: number },
): string {
  const range = (from: number, size: number) => (size > 1 ? `${from}–${from + size - 1}` : String(from));
  const [row, column] = filters.axes;
  const place = `${row} ${range(point.row, point.rows)}, ${column} ${range(point.column, point.columns)}`;
  return filters.kind === "matrix" ? place : `${noun(filters)} ${point.tile}, ${place}`;
}

/** "weights −0.3 to 0.3 · rows 0–63 of 512 · pooled 4×4 · no NaN". */
export function filtersFoot(filters: FiltersResult, picture: WeightPicture): string {
  const bad = [
    picture.nan > 0 ? `${number(picture.nan)} NaN hatched` : "no NaN",
    ...(picture.posinf > 0 ? [`${number(picture.posinf)} +∞`] : []),
    ...(picture.neginf > 0 ? [`${number(picture.neginf)} −∞`] : []),
  ].join(", ");
  const [high, wide] = picture.pool;
  const parts = [
    `weights ${number(picture.minimum)} to ${number(picture.maximum)}`,
    high > 1 || wide > 1 ? `pooled ${high}×${wide}` : "unpooled",
    bad,
  ];
  const window = filters.window;
  if (filters.kind === "matrix" && window) {
    const [rows = 0, columns = 0] = filters.shape;
    if (window[1] - window[0] < rows || window[3] - window[2] < columns) {
      parts.splice(
        1,
        0,
        `rows ${window[0]}–${window[1] - 1} of ${rows}, columns ${window[2]}–${window[3] - 1} of ${columns}`,
      );
    }
  }
  return parts.join(" · ");
}

/** The value that a pixel shows, read off its code: near enough until Python has answered. */
function shownValue(filters: FiltersResult, point: WeightPoint): number | null {
  const picture = point.gradient ? filters.gradient : filters.weight;
  if (!picture || filters.kind === "rgb") return null;
  const [tiles = 0, rows = 0, columns = 0] = picture.codes.shape;
  const matrix = filters.kind === "matrix";
  const [top, left] = matrix && filters.window ? [filters.window[0], filters.window[2]] : [0, 0];
  // A pixel of sorted rows averages rows that do not lie side by side: no single one has its value.
  if (filters.order !== null && picture.pool[0] > 1) return null;
  const rank = filters.order === null ? point.row - top : filters.order.data.indexOf(point.row);
  const row = Math.floor(rank / picture.pool[0]);
  const column = Math.floor((point.column - left) / picture.pool[1]);
  const tile = matrix ? 0 : point.tile;
  if (tile >= tiles || row < 0 || row >= rows || column < 0 || column >= columns) return null;
  const code = picture.codes.data[(tile * rows + row) * columns + column] as number;
  const at = picture.lo.data.length === tiles ? tile : 0;
  return dequantise(code, picture.lo.data[at] as number, picture.hi.data[at] as number);
}

/** Where the pointer is and what lies there. */
export function hoverWords(filters: FiltersResult, point: WeightPoint | null, value: WeightValue | null): string {
  if (point === null || filters.kind === "none") return "";
  if (filters.kind === "strips") {
    const said = filters.strips.flatMap((strip) => {
      const at = strip.values.data[point.column];
      const gradient = strip.gradient?.data[point.column];
      if (at === undefined) return [];
      return [`${strip.name} ${exact(at)}${gradient === undefined ? "" : ` (gradient ${exact(gradient)})`}`];
    });
    const pool = filters.strips[0]?.pool ?? 1;
    const from = point.column * pool;
    return `${pool > 1 ? `values ${from}–${from + pool - 1}, mean` : `value ${from}`}: ${said.join(", ")}`;
  }
  const where = pointWords(filters, point);
  const mean = point.rows > 1 || point.columns > 1 ? ", mean" : "";
  const near = shownValue(filters, point);
  const text = value !== null ? coloured(filters, trueMinus(value.text)) : near === null ? "…" : `≈ ${number(near)}`;
  return `${point.gradient ? "gradient of " : ""}${where}${mean}: ${text}`;
}

/** The three numbers of a colour with their names. */
function coloured(filters: FiltersResult, text: string): string {
  if (filters.kind !== "rgb") return text;
  const parts = text.split(", ");
  return ["red", "green", "blue"].map((name, at) => `${name} ${parts[at] ?? "–"}`).join(", ");
}

/** Nine digits tell any float32 from its neighbours; seven are enough to read. */
function exact(value: number): string {
  return Number.isFinite(value) ? trueMinus(String(Number(value.toPrecision(7)))) : number(value);
}
