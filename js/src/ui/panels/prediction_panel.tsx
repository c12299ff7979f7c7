/** The prediction bound to the store. */
import type { PanelProps } from "../mount";
import { Prediction } from "../prediction";

export function PredictionPanel({ store, onCode }: PanelProps) {
  const { look, durable } = store;
  const { edits } = durable.signals;
  return (
    <Prediction
      prediction={look.shown.prediction.value}
      stale={look.stale.prediction.value || store.waiting.value}
      edits={edits.value}
      error={look.shown.prediction.value === null ? look.error.value : null}
      onUndo={(edit) => store.setEdit(edit.layer, edit.channel, null)}
      onUndoAll={() => store.undoAll()}
      onCode={onCode}
    />
  );
}
