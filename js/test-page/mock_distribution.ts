/** Made-up counts in the shape that Python gives: bells whose place depends on the layer. */
import type { DistributionResult, DistributionSeries, LayerRow, Methods } from "../src/wire/types";

const BINS = 16;
const LO = -2;
const HI = 2;

function series(row: LayerRow, quantity: DistributionResult["quantity"], what: string): DistributionSeries {
  const head = { layer: row.name, type: row.type, what, reason: "", waiting: false, dtype: "float32", complex: false };
  const none = { ...head, counts: null, shape: [], stride: 1, statistics: null };
  if (quantity === "gradients") return { ...none, waiting: true, reason: "There are no gradients yet." };
  if (quantity === "weights" && row.type.startsWith("ReLU")) return { ...none, reason: "This layer has no weights." };
  const middle = row.name.length % BINS;
  const counts = Int32Array.from({ length: BINS }, (_, at) => Math.round(900 * Math.exp(-((at - middle) ** 2) / 8)));
  const count = counts.reduce((sum, one) => sum + one, 0) + 3;
  return {
    ...head,
    counts: { dtype: "i32", shape: [BINS], data: counts },
    shape: row.outputs[0]?.shape.slice(1) ?? [],
    stride: 1,
    statistics: { count, minimum: LO, maximum: HI, mean: 0.1, std: 0.7, zeros: 0.02, nan: 2, posinf: 1, neginf: 0 },
  };
}

export function distribution(rows: readonly LayerRow[], params: Methods["distribution"]["params"]): DistributionResult {
  const named = [params.layer, ...params.others].map((name) => rows.find((row) => row.name === name) ?? rows[0]);
  const [first] = named as LayerRow[];
  const weight = params.quantity === "activations" ? "" : params.parameter || "weight";
  const channels = first?.outputs[0]?.shape[1] ?? 1;
  // Channel c has values in bin c and in no other.
  const shares = Uint8Array.from({ length: channels * BINS }, (_, at) =>
    at % BINS === Math.floor(at / BINS) ? 255 : 0,
  );
  return {
    quantity: params.quantity,
    parameter: weight,
    parameters: ["weight", "bias"],
    input: params.input,
    lo: LO,
    hi: HI,
    bins: BINS,
    whole: false,
    series: (named as LayerRow[]).map((row) => series(row, params.quantity, weight)),
    shares: params.quantity === "activations" ? { dtype: "u8", shape: [channels, BINS], data: shares } : null,
    layout: params.quantity === "activations" ? "maps" : "",
    edits: params.edits.length,
    step: null,
    note: "",
    seconds: 0.001,
    figure: {
      id: "figure",
      margin: { top: 8, bottom: 40, left: 64, right: 16 },
      strokes: ["solid", "dashed", "dotted", "dash_dotted"],
      colours: ["#2a78d6", "#c96a0a", "#0f8a6a", "#9a55d8"],
    },
  };
}
