/** The pinned inputs bound to the store. */
import { Inputs } from "../inputs";
import type { PanelProps } from "../mount";
import { waitingWords } from "../waiting";

export function InputsPanel({ store }: PanelProps) {
  const { view, durable } = store;
  return (
    <Inputs
      inputs={store.inputs.value.value}
      error={store.inputs.error.value}
      waiting={waitingWords(store, "the inputs")}
      selected={durable.signals.input.value}
      shown={view.inputsShown.value}
      onSelect={(input) => durable.set({ input })}
      onMore={() => {
        view.inputsShown.value += 32;
      }}
      onRetry={() => store.retry()}
    />
  );
}
