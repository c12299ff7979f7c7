/** A made-up training for the tests and the harness: its facts, its charts. */
import type { ArrayView, ChartsResult, Curve, LayerStrip, Play, RecordFacts } from "../src/wire/types";

export const i32 = (values: readonly number[]): ArrayView<Int32Array> => ({
  dtype: "i32",
  shape: [values.length],
  data: Int32Array.from(values),
});
export const f32 = (
  values: readonly number[],
  shape: readonly number[] = [values.length],
): ArrayView<Float32Array> => ({
  dtype: "f32",
  shape,
  data: Float32Array.from(values),
});

export function play(change: Partial<Play> = {}): Play {
  return {
    name: "DigitsNet",
    state: "running",
    asked: "",
    ended: "",
    step: 1240,
    first: 0,
    controls: "pause",
    cost: { looks: 0.007, stride: 1, recorded_steps: 0.009, showing: 0.003, total: 0.019, every: 24, step: 0.0006 },
    groups: [],
    asked_rates: [],
    loss: "CrossEntropyLoss",
    loss_missing: false,
    problem: "",
    record: null,
    ago: null,
    ...change,
  };
}

/** A history that is only read. */
export function recorded(change: Partial<Play> = {}, record: Partial<RecordFacts> = {}): Play {
  const facts: RecordFacts = {
    kind: "folder",
    path: "runs/a",
    lost: false,
    ended: false,
    empty: false,
    parameters: 12_330,
    rank: null,
    ranks: null,
    ...record,
  };
  return play({ state: "recorded", controls: "view", cost: null, loss: "", ago: 2, record: facts, ...change });
}

export function curve(values: readonly number[], change: Partial<Curve> = {}): Curve {
  const steps = values.map((_, at) => at + 1);
  return {
    name: "loss",
    steps: i32(steps),
    values: f32(values),
    count: values.length,
    window: 0,
    mean_steps: i32([]),
    means: f32([]),
    ...change,
  };
}

export function strip(names: readonly string[], columns: readonly (readonly number[])[]): LayerStrip {
  const values = names.flatMap((_, row) => columns.map((column) => column[row] as number));
  const steps = columns.map((_, at) => 10 * at + 1);
  return {
    quantity: "grad_norm",
    names: [...names],
    first: i32(steps),
    last: i32(steps),
    values: f32(values, [names.length, columns.length]),
  };
}

export function charts(change: Partial<ChartsResult> = {}): ChartsResult {
  const values = Array.from({ length: 40 }, (_, at) => 2.3 * 0.95 ** at);
  return {
    play: play({ step: 40 }),
    status: { state: "training", regime: "subshell", step: 40, interval: 0.0006, error: "" },
    scalars: ["loss", "accuracy", "total_grad_norm", "lr"],
    curve: curve(values),
    layers: strip(
      ["features.0", "classifier"],
      [
        [0.5, 2],
        [0.05, 0.2],
      ],
    ),
    events: [],
    event_count: 0,
    ...change,
  };
}
