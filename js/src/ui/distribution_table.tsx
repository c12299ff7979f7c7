/** A distribution as a table: what the chart shows, as numbers. */
import { number } from "../format";
import type { DistributionResult } from "../wire/types";
import { rangeWords, seriesName } from "./distribution_words";

export function DistributionTable({ result }: { result: DistributionResult }) {
  const shown = result.series.filter((series) => series.counts !== null);
  const lines = Array.from({ length: result.bins }, (_, at) => at);
  return (
    <div class="nnw-counts" tabIndex={0} role="group" aria-label="Counts by range">
      <table>
        <thead>
          <tr>
            <th scope="col">range</th>
            {shown.map((series) => (
              <th scope="col" key={series.layer}>
                {seriesName(series)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {lines.map((at) => (
            <tr key={at} data-bin={at}>
              <th scope="row">{rangeWords(result, { from: at, to: at })}</th>
              {shown.map((series) => (
                <td key={series.layer}>{series.counts?.data[at]?.toLocaleString("en-US") ?? number(0)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
