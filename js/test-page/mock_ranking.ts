/** Made-up rankings in the shape that Python gives: a quarter of the channels at a time, alternating in sign. */
import type { LayerRow, Methods, RankingResult } from "../src/wire/types";

export function ranking(rows: readonly LayerRow[], params: Methods["ranking"]["params"]): RankingResult {
  const total = rows.find((row) => row.name === params.layer)?.outputs[0]?.shape[1] ?? 1;
  const { resume, by, target, ...of } = params;
  const influence = by === "influence";
  const done = influence ? Math.min(total, resume + Math.ceil(total / 4)) : total;
  const numbers = Array.from({ length: done }, (_, at) => at);
  const score = (at: number) => (influence ? (at % 2 ? -at : at) * ((target ?? 3) + 1) : (at % 7) / 7);
  return {
    ...of,
    by,
    total,
    channels: { dtype: "i32", shape: [done], data: Int32Array.from(numbers) },
    scores: { dtype: "f32", shape: [done], data: Float32Array.from(numbers.map(score)) },
    preferred: influence ? [] : numbers.map(() => "cat"),
    classes: influence ? 0 : 4,
    inputs: 8,
    without: 0,
    target: influence ? (target ?? 3) : null,
    targets: influence
      ? [
          { index: 3, name: "cat" },
          { index: 5, name: "dog" },
        ]
      : [],
    before: influence ? 2.5 : null,
    quantity: influence ? "logit" : "",
    step: null,
    note: "",
  };
}
