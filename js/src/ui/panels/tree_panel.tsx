/** The layer tree bound to the store. */
import type { PanelProps } from "../mount";
import { Tree } from "../tree";
import { waitingWords } from "../waiting";

export function TreePanel({ store }: PanelProps) {
  const { view } = store;
  return (
    <Tree
      layers={store.layers.value.value}
      error={store.layers.error.value}
      waiting={waitingWords(store, "the layers")}
      selected={store.selected.value}
      edits={store.durable.signals.edits.value}
      find={view.find.value}
      folds={view.folds.value}
      onFind={(text) => {
        view.find.value = text;
      }}
      onFolds={(folds) => {
        view.folds.value = folds;
      }}
      onSelect={(name) => {
        store.selectLayer(name);
        view.drawer.value = false;
      }}
      onRetry={() => store.retry()}
    />
  );
}
