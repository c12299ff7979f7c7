/** A line for each layer of a distribution: its stroke, its name, its counts in words, and the way to take it out. */
import type { DistributionResult } from "../wire/types";
import { countWords, reachWords, seriesName, strokeWord } from "./distribution_words";

const DASHES: Readonly<Record<string, string>> = { dashed: "7,5", dotted: "2,5", dash_dotted: "8,4,2,4" };

export function DistributionLegend({
  result,
  onDrop,
}: {
  result: DistributionResult;
  /** Ends the comparison with a layer. */
  onDrop(layer: string): void;
}) {
  let drawn = 0;
  return (
    <ul class="nnw-legend" aria-label="Layers in the chart">
      {result.series.map((series, at) => {
        const place = series.counts === null ? -1 : drawn++;
        const stroke = result.figure?.strokes[place];
        const name = seriesName(series);
        return (
          <li key={series.layer} data-layer={series.layer}>
            {place >= 0 && (
              <svg class="nnw-stroke" width="28" height="10" role="img" aria-label={`${strokeWord(stroke)} line`}>
                <line
                  x1="0"
                  x2="28"
                  y1="5"
                  y2="5"
                  stroke={result.figure?.colours[place] ?? "currentColor"}
                  stroke-width="2"
                  stroke-dasharray={DASHES[stroke ?? ""]}
                />
              </svg>
            )}
            <strong title={`${series.layer} · ${series.type}`}>{name}</strong>
            {series.statistics ? (
              <span class="nnw-legend-words">
                {reachWords(series.statistics)} <span class="nnw-dim">· {countWords(series.statistics)}</span>
              </span>
            ) : (
              <span class="nnw-legend-words nnw-dim">left out: {series.reason}</span>
            )}
            {at > 0 && (
              <button
                type="button"
                class="nnw-link"
                aria-label={`Take ${name} out of the chart`}
                title={`Take ${name} out of the chart`}
                onClick={() => onDrop(series.layer)}
              >
                ×
              </button>
            )}
          </li>
        );
      })}
    </ul>
  );
}
