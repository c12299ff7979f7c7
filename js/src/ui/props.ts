/**
 * What the pictures take and what they report. Components are pure: no store and no rpc, props in and events out.
 * `js/tools/colormaps.mjs` exports `writeTables(path)`, which the build calls before bundling to produce
 * `src/draw/colormap_tables.ts`; the entries import the styles, `ui/pictures.css`.
 */

import type { FilterChoice, WeightPoint } from "../state/weights";
import type {
  ChannelResult,
  Durable,
  FilterSort,
  FiltersParams,
  FiltersResult,
  InputItem,
  MapsResult,
  PageEdit,
  PredictionResult,
  RankingResult,
  WireError,
} from "../wire/types";

/** Channels with at least one value from `lo` to `hi`, of `total`. */
export interface Only {
  channels: ReadonlySet<number>;
  total: number;
  lo: number;
  hi: number;
  /** The layer has moved since they were found. */
  outdated: boolean;
}

export type Scaling = Durable["scaling"];
export type Order = "activity" | "number" | "selectivity" | "influence";
/** "auto" chooses a diverging map for signed data and a sequential one otherwise. */
export type ColormapName = string;
export type FilterMode = FiltersParams["mode"];

/**
 * A place in an activation, in its own coordinates (pooling undone). Row and column are those of the picture; where
 * channels are the rows (signal) or columns (tokens, vector) of the only tile, `channel` equals `row` or `column`.
 */
export interface Point {
  channel: number;
  row: number;
  column: number;
}

/** The exact value at a point, written by Python. */
export interface PointValue extends Point {
  text: string;
}

export interface Appearance {
  scaling?: Scaling;
  colormap?: ColormapName;
  order?: Order;
  showAll?: boolean;
}

/** The channels ranked by class selectivity or influence, as far as it has come. */
export interface RankingProps {
  result: RankingResult | null;
  error: WireError | null;
  /** Since when it is under way, or null. */
  busySince: number | null;
  stopped: boolean;
  outdated: boolean;
  onTarget(target: number): void;
  onCancel(): void;
  onAgain(): void;
}

export interface FeatureMapsProps {
  maps: MapsResult | null;
  /** The picture belongs to an earlier question; it is shown dimmed until the answer is there. */
  stale: boolean;
  /** The selected channel, -1 for none. */
  selected: number;
  /** All edits of the model; those of other layers are ignored. */
  edits: readonly PageEdit[];
  scaling: Scaling;
  colormap: ColormapName;
  order: Order;
  showAll: boolean;
  ranking?: RankingProps | null;
  /** The number of the input: another one sorts the tiles anew, an edit or a training step does not. */
  sortKey?: string | number;
  /** `performance.now()` when the open question was asked, or null. */
  busySince: number | null;
  error: WireError | null;
  dark: boolean;
  /** The only channels to show: those with values in the range that was brushed in the distribution. */
  only?: Only | null;
  /** The cross-hair, also when it was set from the inspector. */
  hover?: Point | null;
  value: PointValue | null;
  onSelect(channel: number): void;
  onAppearance(change: Appearance): void;
  onCall(call: number): void;
  onOutput(path: string): void;
  onHover(point: Point | null): void;
  /** Lets go of `only`. */
  onAll?(): void;
  onCancel(): void;
}

/** "own": each tile its own range, or that of what is in sight of a matrix. */
export type FilterRange = "all" | "own";

export interface FiltersProps {
  filters: FiltersResult | null;
  stale: boolean;
  error: WireError | null;
  /** The chosen filter, row or channel; -1 for none. */
  selected: number;
  dark: boolean;
  sort: FilterSort;
  /** Show the gradient beside the weight. */
  gradient: boolean;
  /** null: what suits the kind of picture. */
  range: FilterRange | null;
  /** The block of weights under the pointer. */
  point: WeightPoint | null;
  /** Where the pointer is and what lies there, in words. */
  words?: string;
  colormap?: ColormapName;
  busySince?: number | null;
  onChoose(change: Partial<FilterChoice>): void;
  /** A window of a matrix is in sight, null for all of it, and there is room for so many rows and columns. */
  onSight(window: [number, number, number, number] | null, room: [number, number]): void;
  onSelect(channel: number): void;
  onGradient(shown: boolean): void;
  onRange(range: FilterRange): void;
  onColormap(name: ColormapName): void;
  onHover(point: WeightPoint | null): void;
  onCancel?(): void;
}

export interface ChannelInspectorProps {
  input: InputItem | null;
  channel: ChannelResult | null;
  maps: MapsResult | null;
  hover: Point | null;
  /** The exact value under `hover`, where the plane shown here is pooled. */
  value?: PointValue | null;
  /** The edit in force on this channel. */
  edit: PageEdit | null;
  edits: readonly PageEdit[];
  colormap: ColormapName;
  scaling: Scaling;
  dark: boolean;
  stale: boolean;
  onHover(point: Point | null): void;
  /** Emitted at the rate of the pointer while dragging; null removes the edit of this channel. */
  onEdit(edit: PageEdit | null): void;
  onCode(): void;
}

export interface PredictionProps {
  prediction: PredictionResult | null;
  stale: boolean;
  edits: readonly PageEdit[];
  error: WireError | null;
  /** Removes one edit; without it the list of edits has no such button. */
  onUndo?(edit: PageEdit): void;
  onUndoAll(): void;
  onCode(): void;
}
