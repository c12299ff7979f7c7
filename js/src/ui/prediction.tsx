/** What the model says, before and after the edits. */

import { barSpan, chosenRows, MOST_ROWS, predictionRange } from "../draw/bars";
import { asSentence, number, probability, signed } from "../format";
import type { PredictionResult, PredictionRow } from "../wire/types";
import { EditList } from "./edits";
import { Empty, ErrorStrip } from "./pieces";
import type { PredictionProps } from "./props";

const PROBABILITIES: readonly PredictionResult["kind"][] = ["softmax of logits", "probabilities", "multi-label"];

function writer(kind: PredictionResult["kind"]): (value: number) => string {
  if (PROBABILITIES.includes(kind)) return probability;
  return kind === "logits" ? signed : number;
}

/** The rows in one sentence, for screen readers. */
export function predictionSentence(prediction: PredictionResult, edited: boolean): string {
  const write = writer(prediction.kind);
  const rows = prediction.rows.map(
    (row) => `${row.name} ${write(row.before)}${edited ? ` before, ${write(row.after)} after` : ""}`,
  );
  return `Prediction, ${prediction.kind}: ${rows.join("; ")}`;
}

/** A short note stands beside the kind, a longer one below the rows. */
function isShort(note: string): boolean {
  return note !== "" && note.length <= 12;
}

export function Prediction(props: PredictionProps) {
  const { prediction, stale, edits, error } = props;
  const edited = edits.length > 0;
  const guess = prediction !== null && isShort(prediction.note);
  return (
    <section class="nnw-section nnw-prediction" aria-label="Prediction" aria-busy={stale}>
      <header>
        <h3>Prediction</h3>
        {prediction && (
          <span class="nnw-readout" title={prediction.note || undefined}>
            {prediction.kind}
            {guess && `, ${prediction.note}`}
          </span>
        )}
      </header>
      <ErrorStrip error={error} />
      {prediction && prediction.rows.length > 0 ? (
        <Rows prediction={prediction} edited={edited} stale={stale} />
      ) : (
        !error && (
          <Empty>
            {stale
              ? "Waiting for the model's answer."
              : "The model gave no output that can be read as a prediction. Name the tensor with output=."}
          </Empty>
        )
      )}
      <EditList edits={edits} onUndo={props.onUndo} />
      <div class="nnw-buttons">
        <button type="button" class="nnw-button" disabled={!edited} onClick={props.onUndoAll}>
          Undo all
        </button>
        <button type="button" class="nnw-button" onClick={props.onCode}>
          Copy as code
        </button>
      </div>
    </section>
  );
}

function Rows({ prediction, edited, stale }: { prediction: PredictionResult; edited: boolean; stale: boolean }) {
  const { kind, target } = prediction;
  const rows = chosenRows(prediction.rows, target);
  // Room for as many rows as an edit can bring, so that what lies below stays where it is.
  const room = Math.max(rows.length, Math.min(MOST_ROWS, prediction.outputs));
  const write = writer(kind);
  const bounded = PROBABILITIES.includes(kind);
  const range = bounded ? { lo: 0, hi: 1 } : predictionRange(rows);
  const bar = (value: number, name: string) => {
    const span = barSpan(value, range);
    return span && <i class={name} style={{ left: `${span.from * 100}%`, width: `${(span.to - span.from) * 100}%` }} />;
  };
  const row = (item: PredictionRow) => (
    <tr key={item.index} data-before={item.before} data-after={item.after}>
      <th scope="row" title={`output ${item.index} of ${prediction.outputs}: ${item.name}`}>
        <span>
          <span class="nnw-name">{item.name}</span>
          {item.index === target && (
            <>
              <span class="nnw-target-mark" role="img" aria-label="target" title="The target of this input">
                ✓
              </span>
              <span class="nnw-target-word" aria-hidden="true">
                target
              </span>
            </>
          )}
        </span>
      </th>
      <td>
        <span class="nnw-bar" aria-hidden="true">
          {range.lo < 0 && (
            <i class="nnw-bar-zero" style={{ left: `${((0 - range.lo) / (range.hi - range.lo)) * 100}%` }} />
          )}
          {bar(item.before, "nnw-bar-before")}
          {edited && bar(item.after, "nnw-bar-after")}
        </span>
      </td>
      <td class="nnw-numbers">
        <span>{edited ? `${write(item.before)} → ${write(item.after)}` : write(item.before)}</span>
      </td>
    </tr>
  );
  const absent = target !== null && !rows.some((item) => item.index === target);
  return (
    <>
      <div style={{ minHeight: `calc(${room} * (var(--nnw-row, 22px) - 2px))` }}>
        <table class={stale ? "nnw-stale" : undefined} aria-label={predictionSentence(prediction, edited)}>
          <tbody>{rows.map(row)}</tbody>
        </table>
      </div>
      <p class="nnw-dim nnw-prediction-note">
        {!bounded && `Bars from ${number(range.lo)} to ${number(range.hi)}. `}
        {absent && `The target, output ${target}, is not among them. `}
        {!isShort(prediction.note) && asSentence(prediction.note)}
      </p>
    </>
  );
}
