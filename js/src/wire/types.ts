/** The messages between the page and the kernel; `nnwidget/wire/messages.py` is the other side. */

/** An array as it arrives after decoding: `{"$array": n, dtype, shape}` in the JSON becomes this. */
export interface ArrayView<T extends TypedArray = TypedArray> {
  readonly dtype: "u8" | "i32" | "f32";
  readonly shape: readonly number[];
  readonly data: T;
}
export type TypedArray = Uint8Array | Int32Array | Float32Array;

export const PROTOCOL = 1;

export interface Status {
  state: "idle" | "busy" | "training" | "evaluating" | "closed";
  /** How page messages reach Python while a cell runs. */
  regime: "unknown" | "subshell" | "control" | "polling" | "after-cell";
  step: number | null;
  /** Seconds between boundaries, the expected wait of a click while a loop runs. */
  interval: number | null;
  error: string;
}

export interface WireError {
  type: string;
  message: string;
  layer: string | null;
  argument: string | null;
  remedy: string | null;
}

export interface TensorSpec {
  path: string;
  shape: number[];
  dtype: string;
}

export interface LayerRow {
  name: string;
  type: string;
  depth: number;
  parameters: number;
  own_parameters: number;
  buffers: number;
  trainable: boolean | null;
  aliases: string[];
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  calls: number | null;
  seconds: number | null;
  /** Why it cannot be observed; empty when it can. */
  reason: string;
  note: string;
  /** Equal for structurally identical subtrees: neighbouring siblings with one signature fold to ×N. */
  signature: string;
}

export interface LayersResult {
  model: { name: string; parameters: number; trainable: number; buffers: number; note: string };
  rows: LayerRow[];
  /** The model's own forward failed: what is listed was captured up to there. */
  error: WireError | null;
}

export interface InputItem {
  index: number;
  caption: string;
  /** Name of the target class, if targets were given. */
  target: string | null;
  predicted: string | null;
  correct: boolean | null;
  /** (rows, columns, 3) u8, or null when the input is not a picture. */
  picture: ArrayView<Uint8Array> | null;
}
export interface InputsResult {
  total: number;
  items: InputItem[];
  note: string;
}

export type LayoutKind = "maps" | "tokens" | "vector" | "signal" | "scalar";

/** All channels of one activation, quantised; codes 0..252 are values, 253 -inf, 254 +inf, 255 NaN. */
export interface MapsResult {
  layer: string;
  type: string;
  layout: LayoutKind;
  /** Shape of the activation without its batch axis, e.g. [192, 28, 28]. */
  shape: number[];
  dtype: string;
  /** Words for the axes of a tile, e.g. ["row", "column"] or ["token", "feature"]. */
  axes: string[];
  guessed: boolean;
  /** Where a channel lies: each tile is one (maps), or a row (signal) or a column (tokens, vector) of the only tile. */
  channel_axis: "tile" | "row" | "column" | "none";
  /** Channels the layer has; `index` says which ones were sent. */
  total: number;
  index: ArrayView<Int32Array>;
  codes: ArrayView<Uint8Array>; // (n, rows, columns)
  lo: ArrayView<Float32Array>; // (n,)
  hi: ArrayView<Float32Array>; // (n,)
  activity: ArrayView<Float32Array>; // (n,) mean absolute value
  /** One pixel of a tile averages this block of the activation. */
  pool: [number, number];
  minimum: number | null;
  maximum: number | null;
  mean: number | null;
  std: number | null;
  zeros: number; // fraction
  nan: number; // count
  posinf: number;
  neginf: number;
  count: number;
  /** True when negative values occur. */
  signed: boolean;
  calls: number;
  call: number;
  outputs: string[]; // paths of the tensors in the output structure, [""] for a bare tensor
  output: string;
  /** What one sees, in one sentence. */
  sentence: string;
  note: string;
}

/** One channel in full: exact values. */
export interface ChannelResult {
  layer: string;
  channel: number;
  plane: ArrayView<Float32Array>; // (rows, columns), pooled only beyond 512 px
  pool: [number, number];
  minimum: number | null;
  maximum: number | null;
  /** Mean over all pinned inputs: what "use mean" puts in its place; null while unknown. */
  mean: number | null;
  /** What zero becomes after a normalisation that follows, or "". */
  zero_note: string;
  /** Receptive field is not known in general: [top, left, rows, columns] of the input per output pixel scale, or null. */
  scale: [number, number] | null;
}

export interface PredictionRow {
  index: number;
  name: string;
  before: number;
  after: number;
}
export interface PredictionResult {
  kind:
    | "softmax of logits"
    | "logits"
    | "probabilities"
    | "log-probabilities"
    | "multi-label"
    | "regression"
    | "values";
  /** Why the kind was chosen ("the last layer is a Softmax"); empty when the user said so. */
  note: string;
  rows: PredictionRow[]; // top k by before or after, sorted by before
  outputs: number; // how many outputs there are
  target: number | null;
  edits: number; // how many edits were in force
}

/** One edit as the page knows it; `channel` null means the whole layer. */
export interface PageEdit {
  layer: string;
  op: "scale" | "mean" | "zero" | "clamp" | "only";
  channel: number | null;
  factor?: number; // scale
  min?: number | null; // clamp
  max?: number | null;
}

export interface LookParams {
  layer: string;
  input: number;
  call: number;
  output: string | null; // null: the first tensor
  /** Largest tile edge in device pixels; larger maps are mean-pooled to it. */
  edge: number;
  channel: number | null;
  edits: PageEdit[];
  want: ("maps" | "channel" | "prediction")[];
}
export interface LookResult {
  layer: string;
  input: number;
  step: number | null;
  maps: MapsResult | null;
  channel: ChannelResult | null;
  prediction: PredictionResult | null;
  /** "cut": only what comes after the edits ran again; "full": the whole model ran; the reason is in `note`. */
  served: "full" | "cut" | "cached";
  seconds: number; // the model's own share
  note: string; // labels: eager re-run, eval mode, fused path off, …
  error: WireError | null; // the forward failed part-way; what was captured is shown
}

/** What to show of a layer's weights; see `WeightView` in `nnwidget/types.py`. */
export interface FiltersParams {
  layer: string;
  /** Name of a tensor; null: the first. */
  part: string | null;
  /** One of its equal parts; null: the first, -1: all of it. */
  section: number | null;
  mode: "auto" | "norm" | number;
  slice: number | null;
  /** Of a matrix: first row, row after the last, first column, column after the last. */
  window: [number, number, number, number] | null;
  /** Rows and columns that the screen has room for. */
  room: [number, number];
  /** Largest edge of a tile. */
  edge: number;
  sort: FilterSort;
  reference: number | null;
  gradient: boolean;
  /** What the activity is taken from, where weights are sorted by it. */
  look: LookParams | null;
}

export type FilterSort = "number" | "norm" | "activity" | "similarity";

/** The weight or its gradient as a picture. */
export interface WeightPicture extends TensorStatistics {
  codes: ArrayView<Uint8Array>; // (n, rows, columns), (n, rows, columns, 3) for rgb
  lo: ArrayView<Float32Array>; // (n,)
  hi: ArrayView<Float32Array>; // (n,)
  pool: [number, number];
  norms: ArrayView<Float32Array> | null; // (n,) L2 norm of whole filters
  /** L2 norms of whole rows and columns of a matrix, averaged like the picture. */
  row_norms: ArrayView<Float32Array> | null;
  column_norms: ArrayView<Float32Array> | null;
}

/** A vector of a layer: a scale, a shift, a bias. */
export interface WeightStrip extends TensorStatistics {
  name: string;
  values: ArrayView<Float32Array>;
  gradient: ArrayView<Float32Array> | null;
  /** One value averages so many neighbours. */
  pool: number;
}

export interface FiltersResult {
  layer: string;
  type: string;
  step: number | null;
  kind: "rgb" | "channel" | "norm" | "plane" | "matrix" | "strips" | "none";
  /** Of the tensor; of a matrix, of the section that is shown. */
  shape: number[];
  inputs: number; // input channels that a filter sees
  channel: number | null;
  axes: [string, string];
  part: string;
  parts: { name: string; label: string }[];
  section: number | null;
  sections: string[];
  slice: number | null;
  slices: number;
  window: [number, number, number, number] | null;
  /** The rows in sight, where they are sorted. */
  order: ArrayView<Int32Array> | null;
  sort: FilterSort;
  /** What others were compared with; null: the one with the largest norm. */
  reference: number | null;
  /** The input whose activity sorts them. */
  input: number | null;
  /** What filters are sorted by, where that is not their norm; (n,). */
  scores: ArrayView<Float32Array> | null;
  weight: WeightPicture | null;
  gradient: WeightPicture | null;
  /** Why there is no gradient; "" where there is one. */
  gradient_note: string;
  strips: WeightStrip[];
  /** Other parameters that are the same tensor. */
  tied: string[];
  reason: string; // kind "none": why
  note: string;
}

/** Exact over all values; null where none is finite. `zeros` is a fraction. */
export interface TensorStatistics {
  count: number;
  minimum: number | null;
  maximum: number | null;
  mean: number | null;
  std: number | null;
  zeros: number;
  nan: number;
  posinf: number;
  neginf: number;
}

/** One layer in a distribution, or why it has none. */
export interface DistributionSeries {
  layer: string;
  type: string;
  /** Which weight, or "" for an activation. */
  what: string;
  /** Why nothing is counted; "" where something is. */
  reason: string;
  /** There is nothing yet, and a backward will bring it. */
  waiting: boolean;
  counts: ArrayView<Int32Array> | null; // (bins,)
  shape: number[];
  dtype: string;
  /** The magnitudes of complex numbers are counted. */
  complex: boolean;
  /** 1: every value is in the bins; else every so-many-th. */
  stride: number;
  statistics: TensorStatistics | null;
}

/** Counts of one layer and of those it is compared with, in equal bins from `lo` to `hi`; the last is closed. */
export interface DistributionResult {
  quantity: "activations" | "weights" | "gradients";
  parameter: string;
  /** What the first layer has to choose from. */
  parameters: string[];
  input: number;
  lo: number;
  hi: number;
  bins: number;
  /** All values are integers, and each bin holds equally many of them. */
  whole: boolean;
  series: DistributionSeries[];
  /** (channels, bins) of the first layer: 0 none, 255 all of the channel's values, at least 1 where there is any. */
  shares: ArrayView<Uint8Array> | null;
  /** What the axes of the first activation are, hence what a channel is; "" for weights. */
  layout: LayoutKind | "";
  /** How many edits were in force on the activations. */
  edits: number;
  step: number | null;
  note: string;
  /** What counting took; the page asks again during a loop so seldom that it stays below one per cent. */
  seconds: number;
  /** The bqplot figure with the curves; null where it could not be drawn. */
  figure: DistributionFigure | null;
}

export interface DistributionFigure {
  id: string;
  /** Pixels around the plot. */
  margin: { top: number; bottom: number; left: number; right: number };
  /** Of the curves, in the order of the series that have counts. */
  strokes: string[];
  colours: string[];
}

/** Channels by class selectivity, or by influence as far as they were tried; edits stay out of it. */
export interface RankingResult {
  by: "selectivity" | "influence";
  layer: string;
  input: number;
  call: number;
  output: string | null;
  total: number;
  /** The channels that were tried, in that order, and what was found: the index, or the change of one output. */
  channels: ArrayView<Int32Array>;
  scores: ArrayView<Float32Array>;
  /** The class that each channel prefers; empty for influence. */
  preferred: string[];
  /** Of the targets that were compared; 0 for influence. */
  classes: number;
  /** Pinned inputs that were compared, or over which the mean was taken. */
  inputs: number;
  /** Channels that have no index, since the mean of some class is negative. */
  without: number;
  /** The output whose change is meant, and those that can be chosen without another run. */
  target: number | null;
  targets: { index: number; name: string }[];
  before: number | null;
  /** "logit", "probability", …; "" for selectivity. */
  quantity: string;
  step: number | null;
  note: string;
}

/** The state of play of a watched training. */
export interface Play {
  /** `idle`: the loop is over, the watch is still open. */
  name: string;
  state: "waiting" | "running" | "paused" | "idle" | "finished" | "stopped" | "interrupted" | "failed" | "recorded";
  /** What was asked for and has not happened yet. */
  asked: "" | "pause" | "stop";
  /** How the last loop of a watch that is still open came to its end. */
  ended: "" | "stopped";
  step: number;
  /** The step before the first. */
  first: number;
  /** What the page may do: nothing; pause, step and stop; the learning rate too. */
  controls: "view" | "pause" | "full";
  cost: Cost | null;
  /** The learning rate of each parameter group; empty unless it may be changed. */
  groups: number[];
  /** [group, rate] of changes that wait for the next step. */
  asked_rates: [number, number][];
  /** Where the loss was found, or "". */
  loss: string;
  loss_missing: boolean;
  problem: string;
  /** Of a history that is only read, with the state `recorded`. */
  record: RecordFacts | null;
  /** Seconds since a history last grew, when this was said; null where nobody saw it. */
  ago: number | null;
}

/** What a history is read from, and what its training was. */
export interface RecordFacts {
  /** A folder may be written to by another process, memory by a loop of this kernel. */
  kind: "folder" | "file" | "memory";
  path: string;
  /** Nothing can be read any more; `problem` says why. */
  lost: boolean;
  /** Its training closed it, at the last time it grew; one that was killed did not. */
  ended: boolean;
  /** There is no step in it. */
  empty: boolean;
  parameters: number | null;
  rank: number | null;
  ranks: number | null;
}

/** What watching adds, as fractions of the time the loop would take alone; `every` and `stride` are steps. */
export interface Cost {
  looks: number;
  stride: number;
  recorded_steps: number;
  showing: number;
  total: number;
  every: number;
  /** Seconds a step takes alone. */
  step: number;
}

export interface Curve {
  name: string;
  /** Thinned so that the extremes stay at their true steps. */
  steps: ArrayView<Int32Array>;
  values: ArrayView<Float32Array>;
  /** How many steps there are before thinning. */
  count: number;
  /** `means` are of so many steps each; 0: there are none. */
  window: number;
  mean_steps: ArrayView<Int32Array>;
  means: ArrayView<Float32Array>;
}

/** A norm of each layer in columns, each the largest of the recorded steps from `first` to `last`. */
export interface LayerStrip {
  quantity: string;
  names: string[];
  first: ArrayView<Int32Array>;
  last: ArrayView<Int32Array>;
  /** (layers, columns); negative where there is none. */
  values: ArrayView<Float32Array>;
}

export interface TrainingEvent {
  step: number;
  kind: string;
  text: string;
}

export interface ChartsResult {
  play: Play;
  status: Status;
  scalars: string[];
  curve: Curve | null;
  layers: LayerStrip | null;
  /** The newest ones, newest first. */
  events: TrainingEvent[];
  event_count: number;
}

export interface Methods {
  layers: { params: Record<string, never>; result: LayersResult };
  inputs: { params: { edge: number }; result: InputsResult };
  look: { params: LookParams; result: LookResult };
  filters: { params: FiltersParams; result: FiltersResult };
  /** The exact weight under the pointer, or the mean over the block that a pixel averages. */
  weight: {
    params: FiltersParams & {
      tile: number;
      row: number;
      column: number;
      rows: number;
      columns: number;
      of_gradient: boolean;
    };
    result: { values: (number | null)[]; text: string };
  };
  distribution: {
    params: Omit<LookParams, "edge" | "channel" | "want"> & {
      others: string[];
      quantity: DistributionResult["quantity"];
      parameter: string;
    };
    result: DistributionResult;
  };
  /** `resume`: how many channels the page has; the answer brings more, until it has the `total`. */
  ranking: {
    params: Omit<LookParams, "edge" | "channel" | "want" | "edits"> & {
      by: RankingResult["by"];
      target: number | null;
      resume: number;
    };
    result: RankingResult;
  };
  value: {
    params: {
      layer: string;
      input: number;
      call: number;
      output: string | null;
      channel: number;
      row: number;
      column: number;
      edits: PageEdit[];
    };
    result: { value: number | null; text: string };
  };
  code: { params: { edits: PageEdit[] }; result: { code: string } };
  /** Durable state, written by Python into traits, so that other displays follow. */
  set: { params: Partial<Durable>; result: Record<string, never> };
  /** All that the panel of a training shows; from now on it is pushed as it grows. */
  charts: { params: { scalar: string }; result: ChartsResult };
  control: { params: { action: "pause" | "resume" | "step" | "stop" }; result: Play };
  rate: { params: { group: number; value: number }; result: Play };
  /** An empty round trip, to measure with. */
  ping: { params: Record<string, never>; result: Record<string, never> };
}

/** Traits: Python is their only writer; the page asks through `set`. */
export interface Durable {
  selected: string[];
  input: number;
  channel: number; // -1: none
  call: number;
  output: string; // "": the first tensor
  view: "maps" | "filters" | "distribution";
  colormap: string; // "auto" or a name
  scaling: "layer" | "channel" | "symmetric";
  /** What the distribution counts, and of which weight; "": the first. */
  quantity: DistributionResult["quantity"];
  parameter: string;
  log_counts: boolean;
  edits: PageEdit[];
}

export type ToPython =
  /** `control`: the page could send over the kernel's control channel. */
  | { k: "hello"; v: number; client: string; control: boolean }
  | { k: "request"; v: number; client: string; id: number; method: keyof Methods; params: unknown }
  | { k: "cancel"; client: string; id: number }
  | { k: "ack"; client: string; seq: number }
  /** What this client shows now: the loop may push a fresh look at a boundary, one unacknowledged at a time. */
  | { k: "watch"; client: string; params: LookParams | null; filters?: FiltersParams | null }
  | { k: "bye"; client: string };

export type ToPage =
  | { k: "welcome"; v: number; client: string; status: Status; durable: Partial<Durable>; play?: Play | null }
  | { k: "response"; client: string; id: number; ok: true; result: unknown }
  | { k: "response"; client: string; id: number; ok: false; error: WireError }
  | { k: "status"; status: Status; play?: Play | null }
  | { k: "charts"; client: string; seq: number; result: ChartsResult }
  | { k: "look"; client: string; seq: number; result: LookResult }
  | { k: "filters"; client: string; seq: number; result: FiltersResult };
