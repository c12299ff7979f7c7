/** What a region says while it has nothing to show, and what to do about it. */
import type { Store } from "../state/store";

export function waitingWords(store: Store, what: string): string {
  switch (store.connection.value) {
    case "gone":
      return `The kernel behind this view is gone. Run the cell again to see ${what}.`;
    case "silent":
      return `Python does not answer. Run the cell again to see ${what}.`;
    default:
      return store.kernelBusy.value
        ? `Waiting for the cell that runs, then for ${what}.`
        : `Asking Python for ${what}…`;
  }
}
