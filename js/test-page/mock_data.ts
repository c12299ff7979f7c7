/** Made-up answers in the shapes that Python gives: a MobileNetV2-like tree, waves as activations. */
import type {
  ArrayView,
  ChannelResult,
  FiltersParams,
  FiltersResult,
  InputItem,
  LayerRow,
  LookParams,
  LookResult,
  MapsResult,
  PredictionResult,
  WeightPicture,
} from "../src/wire/types";

function row(name: string, type: string, shape: number[], parameters: number, extra: Partial<LayerRow> = {}): LayerRow {
  return {
    name,
    type,
    depth: name === "" ? 0 : name.split(".").length,
    parameters,
    own_parameters: 0,
    buffers: 0,
    trainable: parameters > 0 ? true : null,
    aliases: [],
    inputs: [],
    outputs: [{ path: "", shape: [4, ...shape], dtype: "float32" }],
    calls: 1,
    seconds: 0.001,
    reason: "",
    note: "",
    signature: "",
    ...extra,
  };
}

/** [channels, edge, parameters] of the blocks, as in the paper. */
const BLOCKS: readonly [number, number, number, string][] = [
  [16, 112, 896, "a"],
  [24, 56, 5136, "b"],
  [24, 56, 8832, "c"],
  [32, 28, 10000, "d"],
  [32, 28, 14848, "e"],
  [32, 28, 14848, "e"],
  [64, 14, 21056, "f"],
  [64, 14, 54272, "g"],
  [64, 14, 54272, "g"],
  [64, 14, 54272, "g"],
  [96, 14, 66624, "h"],
  [96, 14, 118272, "i"],
  [96, 14, 118272, "i"],
  [160, 7, 155264, "j"],
  [160, 7, 320000, "k"],
  [160, 7, 320000, "k"],
  [320, 7, 473920, "l"],
];

export function mobileNet(): LayerRow[] {
  const rows = [row("", "MobileNetV2", [1000], 3504872), row("features", "Sequential", [1280, 7, 7], 2223872)];
  const conv = (name: string, channels: number, edge: number, parameters: number, signature = "") => {
    rows.push(row(name, "Conv2dNormActivation", [channels, edge, edge], parameters, { signature }));
    const shape = [channels, edge, edge];
    rows.push(row(`${name}.0`, "Conv2d", shape, parameters - 2 * channels, { signature: `${signature}conv` }));
    rows.push(row(`${name}.1`, "BatchNorm2d", shape, 2 * channels, { signature: `${signature}bn` }));
    rows.push(row(`${name}.2`, "ReLU6", shape, 0, { signature: "relu6", note: "changes its input in place" }));
  };
  conv("features.0", 32, 112, 928);
  BLOCKS.forEach(([channels, edge, parameters, signature], at) => {
    const name = `features.${at + 1}`;
    const wide = channels * 6;
    rows.push(row(name, "InvertedResidual", [channels, edge, edge], parameters, { signature }));
    rows.push(row(`${name}.conv`, "Sequential", [channels, edge, edge], parameters));
    conv(`${name}.conv.0`, wide, edge, parameters >> 2, `${signature}0`);
    conv(`${name}.conv.1`, wide, edge, parameters >> 3, `${signature}1`);
    rows.push(row(`${name}.conv.2`, "Conv2d", [channels, edge, edge], parameters >> 1, { signature: `${signature}2` }));
    rows.push(row(`${name}.conv.3`, "BatchNorm2d", [channels, edge, edge], channels * 2));
  });
  conv("features.18", 1280, 7, 412160);
  rows.push(row("classifier", "Sequential", [1000], 1281000));
  rows.push(row("classifier.0", "Dropout", [1280], 0));
  rows.push(row("classifier.1", "Linear", [1000], 1281000));
  rows.push(row("auxiliary", "Linear", [10], 12810, { calls: 0, outputs: [] }));
  rows.push(
    row("scripted", "ScriptModule", [10], 640, { reason: "A ScriptModule refuses hooks. Observe its parent instead." }),
  );
  rows.push(row("<b>bold</b>", "Identity", [10], 0, { aliases: ["shared.elsewhere"] }));
  return rows;
}

/** A flat model of many blocks of three layers, no two neighbours alike. */
export function hugeNet(count: number): LayerRow[] {
  const rows = [row("", "Huge", [10], count * 100), row("blocks", "ModuleList", [64, 8, 8], count * 100)];
  for (let block = 0; rows.length < count; block++) {
    const name = `blocks.${block}`;
    rows.push(row(name, "Block", [64, 8, 8], 300, { signature: `block ${block}` }));
    rows.push(row(`${name}.conv`, "Conv2d", [64, 8, 8], 200), row(`${name}.norm`, "BatchNorm2d", [64, 8, 8], 100));
    rows.push(row(`${name}.act`, "ReLU", [64, 8, 8], 0));
  }
  return rows;
}

function view<T extends Uint8Array | Int32Array | Float32Array>(dtype: ArrayView["dtype"], shape: number[], data: T) {
  return { dtype, shape, data } as ArrayView<T>;
}

function wave(channel: number, row: number, column: number, seed: number): number {
  const angle = channel * 0.7 + seed;
  const u = Math.cos(angle) * row + Math.sin(angle) * column;
  return Math.sin(u * (0.2 + (channel % 5) * 0.12) + seed) * (0.4 + (channel % 7) * 0.4) - (channel % 3) * 0.2;
}

function factorOf(params: LookParams, channel: number): number {
  const edit = params.edits.find((e) => e.layer === params.layer && e.channel === channel);
  if (edit === undefined) return 1;
  return edit.op === "scale" ? (edit.factor ?? 1) : edit.op === "zero" || edit.op === "mean" ? 0 : 1;
}

function maps(layer: LayerRow, params: LookParams): MapsResult {
  const [total = 1, edge = 1] = layer.outputs[0]?.shape.slice(1) ?? [];
  const vector = (layer.outputs[0]?.shape.length ?? 0) < 3;
  const [tiles, rows, columns] = vector ? [1, 1, total] : [total, edge, edge];
  const codes = new Uint8Array(tiles * rows * columns);
  const [lo, hi, activity] = [0, 0, 0].map(() => new Float32Array(tiles)) as [Float32Array, Float32Array, Float32Array];
  let [minimum, maximum] = [Infinity, -Infinity];
  for (let tile = 0; tile < tiles; tile++) {
    const values = new Float32Array(rows * columns);
    const strength = factorOf(params, tile);
    for (let at = 0; at < values.length; at++) {
      values[at] = strength * wave(tile, Math.floor(at / columns), at % columns, params.input);
    }
    const low = values.reduce((a, b) => Math.min(a, b));
    const high = values.reduce((a, b) => Math.max(a, b));
    [minimum, maximum] = [Math.min(minimum, low), Math.max(maximum, high)];
    lo[tile] = low;
    hi[tile] = high;
    activity[tile] = values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length;
    values.forEach((value, at) => {
      codes[tile * values.length + at] = high > low ? Math.round(((value - low) / (high - low)) * 252) : 0;
    });
  }
  const channels = vector ? 1 : total;
  return {
    layer: layer.name,
    type: layer.type,
    layout: vector ? "vector" : "maps",
    shape: layer.outputs[0]?.shape.slice(1) ?? [],
    dtype: "float32",
    axes: vector ? ["unit"] : ["row", "column"],
    guessed: false,
    channel_axis: vector ? "column" : "tile",
    total,
    index: view(
      "i32",
      [channels],
      Int32Array.from({ length: channels }, (_, at) => at),
    ),
    codes: view("u8", [tiles, rows, columns], codes),
    lo: view("f32", [tiles], lo),
    hi: view("f32", [tiles], hi),
    activity: view("f32", [tiles], activity),
    pool: [1, 1],
    minimum,
    maximum,
    mean: 0.01,
    std: 0.6,
    zeros: 0.02,
    nan: 0,
    posinf: 0,
    neginf: 0,
    count: total * rows * columns,
    signed: minimum < 0,
    calls: 1,
    call: 0,
    outputs: [""],
    output: "",
    sentence: `Output of the layer, ${total} channels. Each tile shows where one channel answers to this picture.`,
    note: "",
  };
}

function channel(layer: LayerRow, params: LookParams): ChannelResult | null {
  const edge = layer.outputs[0]?.shape[2];
  if (params.channel === null || edge === undefined) return null;
  const number = params.channel;
  const strength = factorOf(params, number);
  const plane = Float32Array.from(
    { length: edge * edge },
    (_, at) => strength * wave(number, Math.floor(at / edge), at % edge, params.input),
  );
  return {
    layer: layer.name,
    channel: number,
    plane: view("f32", [edge, edge], plane),
    pool: [1, 1],
    minimum: plane.reduce((a, b) => Math.min(a, b)),
    maximum: plane.reduce((a, b) => Math.max(a, b)),
    mean: 0.12,
    zero_note: layer.type === "Conv2d" ? "0 here becomes 0.66 after BatchNorm2d and ReLU6" : "",
    scale: [224 / edge, 224 / edge],
  };
}

function prediction(params: LookParams): PredictionResult {
  const names = ["Egyptian cat", "tiger cat", "tabby", "lynx", "Persian cat"];
  const before = [0.79, 0.13, 0.076, 0.003, 0.0004];
  const off = params.edits.length > 0 ? Math.min(1, params.edits.length * 0.4) : 0;
  const after = [0.79 - 0.35 * off, 0.13 + 0.13 * off, 0.076 + 0.2 * off, 0.003 + 0.01 * off, 0.0004];
  return {
    kind: "softmax of logits",
    note: "",
    rows: names.map((name, index) => ({ index, name, before: before[index] ?? 0, after: after[index] ?? 0 })),
    outputs: 1000,
    target: 0,
    edits: params.edits.length,
  };
}

export function look(rows: readonly LayerRow[], params: LookParams): LookResult {
  const layer = rows.find((item) => item.name === params.layer) ?? (rows[0] as LayerRow);
  return {
    layer: params.layer,
    input: params.input,
    step: null,
    maps: params.want.includes("maps") ? maps(layer, params) : null,
    channel: params.want.includes("channel") ? channel(layer, params) : null,
    prediction: params.want.includes("prediction") ? prediction(params) : null,
    served: params.edits.length > 0 ? "cut" : "full",
    seconds: 0.02,
    note: "",
    error: null,
  };
}

export function inputs(count: number, pictures: boolean): InputItem[] {
  const captions = ["cat", "espresso", "helmet", "obelisk"];
  return Array.from({ length: count }, (_, index) => {
    const data = new Uint8Array(64 * 64 * 3);
    for (let at = 0; at < 64 * 64; at++) {
      const [y, x] = [Math.floor(at / 64), at % 64];
      data[3 * at] = 128 + 127 * Math.sin((x + index * 20) / 9);
      data[3 * at + 1] = 128 + 127 * Math.sin((y - index * 11) / 13);
      data[3 * at + 2] = (x * y) / 16 / (1 + (index % 3));
    }
    return {
      index,
      caption: captions[index] ?? "",
      target: captions[index % 4] ?? null,
      predicted: captions[(index + (index % 5 === 3 ? 1 : 0)) % 4] ?? null,
      correct: index % 5 !== 3,
      picture: pictures ? view("u8", [64, 64, 3], data) : null,
    };
  });
}

/** Numbers that the statistics of made-up tensors share. */
const STATISTICS = { mean: 0, std: 0.2, zeros: 0, nan: 0, posinf: 0, neginf: 0 };

function picture(shape: number[], rowNorms = 0, columnNorms = 0): WeightPicture {
  const count = shape.reduce((product, size) => product * size, 1);
  const codes = Uint8Array.from({ length: count }, (_, at) => (at * 37) % 253);
  const [tiles = 0] = shape;
  const norms = (length: number) =>
    view(
      "f32",
      [length],
      Float32Array.from({ length }, (_, at) => 1 + (at % 5)),
    );
  return {
    codes: view("u8", shape, codes),
    lo: view("f32", [tiles], new Float32Array(tiles).fill(-0.5)),
    hi: view("f32", [tiles], new Float32Array(tiles).fill(0.5)),
    pool: [1, 1],
    norms: rowNorms > 0 ? null : norms(tiles),
    row_norms: rowNorms > 0 ? norms(rowNorms) : null,
    column_norms: columnNorms > 0 ? norms(columnNorms) : null,
    count,
    minimum: -0.5,
    maximum: 0.5,
    ...STATISTICS,
  };
}

/** Convolutions have filters over three channels, linear layers a matrix of which the window is sent, others nothing. */
export function filters(rows: readonly LayerRow[], params: FiltersParams): FiltersResult {
  const layer = rows.find((item) => item.name === params.layer) ?? (rows[0] as LayerRow);
  const outputs = layer.outputs[0]?.shape[1] ?? 1;
  const kind = layer.type === "Conv2d" ? "rgb" : layer.type === "Linear" ? "matrix" : "none";
  const window = params.window ?? [0, outputs, 0, 64];
  const [high, wide] = [window[1] - window[0], window[3] - window[2]];
  return {
    layer: layer.name,
    type: layer.type,
    step: null,
    kind,
    shape: kind === "matrix" ? [outputs, 64] : [outputs, 3, 3, 3],
    inputs: kind === "matrix" ? 64 : 3,
    channel: null,
    axes: kind === "matrix" ? ["output", "input"] : ["row", "column"],
    part: "weight",
    parts: [{ name: "weight", label: "weight" }],
    section: null,
    sections: [],
    slice: null,
    slices: 1,
    window: kind === "matrix" ? [...window] : null,
    order: null,
    sort: params.sort,
    reference: params.reference,
    input: params.look?.input ?? null,
    scores: null,
    weight:
      kind === "rgb" ? picture([outputs, 3, 3, 3]) : kind === "matrix" ? picture([1, high, wide], high, wide) : null,
    gradient: null,
    gradient_note: "There is no gradient now.",
    strips: [],
    tied: [],
    reason: kind === "none" ? `${layer.type} has no filters of its own. Choose a convolution or a linear layer.` : "",
    note: "",
  };
}
