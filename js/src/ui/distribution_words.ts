/** What a distribution says, in words: one sentence, a line for each layer, the brushed range. */
import { type Brush, edge, mostOf, within } from "../draw/bins";
import { asSentence, count, number, percent, plural } from "../format";
import type { DistributionResult, DistributionSeries, TensorStatistics } from "../wire/types";

const STROKES: Readonly<Record<string, string>> = {
  solid: "solid",
  dashed: "dashed",
  dotted: "dotted",
  dash_dotted: "dash-dotted",
};

export function strokeWord(stroke: string | undefined): string {
  return STROKES[stroke ?? ""] ?? stroke ?? "";
}

/** "features.0", or "features.0.bias" where a weight is counted. */
export function seriesName(series: DistributionSeries): string {
  return [series.layer || series.type, series.what].filter(Boolean).join(".");
}

/** As `seriesName`, but within a sentence: a number alone would read as a count. */
function inSentence(series: DistributionSeries): string {
  const name = seriesName(series);
  return /^\d/.test(name) ? `layer ${name}` : name;
}

function things(result: DistributionResult, many: number): string {
  if (result.quantity === "activations") return many === 1 ? "output" : "outputs";
  return result.quantity === "weights" ? (many === 1 ? "value" : "values") : many === 1 ? "gradient" : "gradients";
}

/** What one sees, in one sentence. */
export function distributionSentence(result: DistributionResult): string {
  const shown = result.series.filter((series) => series.counts !== null && series.statistics !== null);
  const [series] = shown;
  if (!series?.counts || !series.statistics) return "";
  if (shown.length > 1) {
    const reach = ({ statistics }: DistributionSeries) =>
      statistics?.minimum == null || statistics.maximum === null ? -1 : statistics.maximum - statistics.minimum;
    const widest = shown.reduce((one, other) => (reach(other) > reach(one) ? other : one));
    const words = `${plural(shown.length, "layer")} over the same bins, each in % of its own values`;
    if (!widest.statistics || reach(widest) < 0) return `${words}; none has a finite value.`;
    const { minimum, maximum } = widest.statistics;
    return `${words}; ${inSentence(widest)} spreads widest, from ${number(minimum)} to ${number(maximum)}.`;
  }
  const { statistics } = series;
  const where = result.quantity === "activations" ? ` for input ${result.input}` : "";
  const whole = `${count(statistics.count)} ${things(result, statistics.count)} of ${inSentence(series)}${where}`;
  if (statistics.count === 0)
    return `There are no values in ${seriesName(series)}: its shape is ${shapeWords(series)}.`;
  if (statistics.minimum === null) return `None of the ${whole} is a finite number.`;
  if (statistics.minimum === statistics.maximum)
    return `All finite ones of the ${whole} are ${number(statistics.minimum)}.`;
  const most = mostOf(series.counts.data);
  const low = Math.max(statistics.minimum, edge(result, most.from));
  const high = Math.min(statistics.maximum ?? low, edge(result, most.to + 1));
  const reach = `lie between ${number(low)} and ${number(high)}`;
  return statistics.zeros >= 0.005
    ? `${percent(statistics.zeros)} of the ${whole} are exactly zero; at least nine in ten of all ${reach}.`
    : `At least nine in ten of the ${whole} ${reach}.`;
}

function shapeWords(series: DistributionSeries): string {
  return series.shape.join("×") || "empty";
}

/** How it was counted and where it is from. */
export function sourceWords(result: DistributionResult): string {
  const counted = result.series.filter((series) => series.counts !== null);
  const [first] = counted;
  if (first === undefined) return "";
  const sampled = counted.filter((series) => series.stride > 1);
  const parts = [
    ...(result.quantity === "gradients" ? ["from the parameters’ .grad, as the last backward left it"] : []),
    ...(result.edits > 0 ? [`after ${plural(result.edits, "edit")}`] : []),
    ...(counted.length === 1 && first.statistics?.mean != null
      ? [`mean ${number(first.statistics.mean)} ± ${number(first.statistics.std)}`]
      : []),
    sampled.length === 0
      ? "every value is counted"
      : `${sampled.map((one) => `one in ${one.stride} values of ${seriesName(one)}`).join(" and ")} is counted; zeros, NaN, ∞ and the ends are of all`,
    ...(counted.some((series) => series.complex) ? ["magnitudes of complex numbers"] : []),
    `${result.bins} bins of ${number((result.hi - result.lo) / result.bins)}`,
    ...(result.note ? [result.note] : []),
  ];
  return asSentence(parts.join("; "));
}

/** "438 of 1,152 zero (38 %), no NaN, 2 +∞, which lie in no bin". */
export function countWords(statistics: TensorStatistics): string {
  const { nan, posinf, neginf } = statistics;
  const all = statistics.count === 1 ? "1 value" : `${count(statistics.count)} values`;
  const zeros = Math.round(statistics.zeros * statistics.count);
  const infinite = [...(posinf > 0 ? [`${count(posinf)} +∞`] : []), ...(neginf > 0 ? [`${count(neginf)} −∞`] : [])];
  const words = [
    zeros > 0 ? `${count(zeros)} of ${all} zero (${percent(statistics.zeros)})` : `${all}, none zero`,
    nan > 0 ? `${count(nan)} NaN` : "no NaN",
    ...(infinite.length > 0 ? infinite : ["no ∞"]),
  ].join(", ");
  return nan + posinf + neginf > 0 ? `${words}; what is not finite lies in no bin` : words;
}

/** "−1.20 to 3.40". */
export function reachWords(statistics: TensorStatistics): string {
  if (statistics.minimum === null) return "no finite value";
  return `${number(statistics.minimum)} to ${number(statistics.maximum)}`;
}

/** "0.80 to 1.20", or the one integer that a bin holds. */
export function rangeWords(result: DistributionResult, brush: Brush): string {
  const [low, high] = [edge(result, brush.from), edge(result, brush.to + 1)];
  if (!result.whole) return `${number(low)} to ${number(high)}`;
  const [first, last] = [Math.ceil(low), Math.floor(high)];
  return first === last ? number(first) : `${number(first)} to ${number(last)}`;
}

const NOUNS: Readonly<Record<string, string>> = { tokens: "feature", vector: "unit" };

/** "0.80 to 1.20: 1,204 of 25,088 values (4.8 %), in 7 of 32 channels". */
export function brushWords(
  result: DistributionResult,
  brush: Brush,
  channels: ReadonlySet<number> | null,
  total: number,
): string {
  const parts = result.series.flatMap((series) => {
    if (!series.counts) return [];
    const { inside, total: all } = within(series.counts.data, brush);
    const name = result.series.length > 1 ? `${seriesName(series)} ` : "";
    const what = series.stride > 1 ? "counted values" : "values";
    return [`${name}${count(inside)} of ${count(all)} ${what} (${percent(all === 0 ? 0 : inside / all)})`];
  });
  const where = channels === null ? "" : `, in ${channels.size} of ${plural(total, NOUNS[result.layout] ?? "channel")}`;
  return `${rangeWords(result, brush)}: ${parts.join("; ")}${where}`;
}
