/** The frame's own keys. Regions take their arrows first; letters typed into a field stay letters. */
import type { Store } from "../state/store";

export interface KeyPlace {
  root: HTMLElement | null;
  help(): void;
}

function inField(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["range", "checkbox", "radio", "button"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/** Steps through the channels that the layer has, in their order and round again. */
function stepChannel(store: Store, by: 1 | -1): void {
  const maps = store.look.shown.maps.value;
  const { channel } = store.durable.signals;
  if (maps === null || maps.index.data.length === 0) return;
  const numbers = [...maps.index.data].sort((a, b) => a - b);
  const at = numbers.indexOf(channel.value);
  const to = at < 0 ? (by > 0 ? 0 : numbers.length - 1) : (at + by + numbers.length) % numbers.length;
  store.durable.set({ channel: numbers[to] as number });
}

/** Carries out the command of a key; says whether there was one. */
export function command(store: Store, event: KeyboardEvent, place: KeyPlace): boolean {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false;
  const layer = store.selected.value;
  const channel = store.durable.signals.channel.value;
  if (event.key === "Escape") {
    if (store.view.drawer.value) store.view.drawer.value = false;
    else if (store.look.busySince.value !== null) store.look.cancel();
    else if (store.ranking.busySince.value !== null) store.ranking.cancel();
    else if (store.distribution.region.busySince.value !== null) store.distribution.cancel();
    else return false;
    return true;
  }
  if (inField(event.target)) return false;
  switch (event.key) {
    case "/": {
      // Only where the style sheet shows its button is the tree a drawer.
      const button = place.root?.querySelector(".nnw-drawer-button");
      store.view.drawer.value = (button?.getClientRects().length ?? 0) > 0;
      const find = place.root?.querySelector<HTMLInputElement>(".nnw-find input");
      find?.focus();
      find?.select();
      return true;
    }
    case "a":
      if (layer === null || channel < 0) return true;
      store.setEdit(layer, channel, { layer, op: "mean", channel });
      return true;
    case "r":
      if (layer !== null && channel >= 0) store.setEdit(layer, channel, null);
      return true;
    case "[":
      stepChannel(store, -1);
      return true;
    case "]":
      stepChannel(store, 1);
      return true;
    case "?":
      place.help();
      return true;
    default:
      return false;
  }
}
