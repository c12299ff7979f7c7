/** Shows a widget of another package (bqplot's figures) in a place of our own. */

interface LuminoWidget {
  isAttached: boolean;
  node: HTMLElement;
  processMessage(message: { type: string }): void;
  constructor: { attach?(widget: unknown, host: HTMLElement): void };
}
interface View {
  remove(): void;
  luminoWidget?: LuminoWidget;
  pWidget?: LuminoWidget;
}
interface Manager {
  get_model(id: string): Promise<unknown>;
  create_view(model: unknown): Promise<View>;
}

/** A figure that was made a moment ago is on its way as a message of its own. */
const TRIES = 40;
const PAUSE_MS = 100;

export function isManager(manager: unknown): manager is Manager {
  return typeof (manager as Manager | null)?.create_view === "function";
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function found(manager: Manager, id: string, signal: AbortSignal): Promise<unknown> {
  for (let left = TRIES; ; left--) {
    try {
      return await manager.get_model(id);
    } catch (error) {
      if (left <= 0 || signal.aborted) throw error;
      await pause(PAUSE_MS);
    }
  }
}

/** Lumino's own `attach` is a static method, which only the widget's class leads to. */
function attachOf(widget: LuminoWidget): ((widget: unknown, host: HTMLElement) => void) | null {
  for (let made: unknown = widget.constructor; typeof made === "function"; made = Object.getPrototypeOf(made)) {
    const attach = (made as LuminoWidget["constructor"]).attach;
    if (typeof attach === "function") return attach.bind(made);
  }
  return null;
}

/**
 * The contract is the widget manager's and undocumented: a view is made, its Lumino widget is attached to the slot once
 * that is in the document, and what is attached must be told before it is removed, or each removal leaks a view.
 */
export async function mountForeign(manager: unknown, id: string, slot: HTMLElement, signal: AbortSignal) {
  if (!isManager(manager)) throw new Error("This host shows no widgets of other packages.");
  const view = await manager.create_view(await found(manager, id, signal));
  const widget = view.luminoWidget ?? view.pWidget;
  const remove = () => {
    // A node that has left the document cannot be detached in Lumino's way: that throws.
    if (widget?.isAttached && !widget.node.isConnected) widget.processMessage({ type: "after-detach" });
    view.remove();
  };
  if (signal.aborted || !slot.isConnected) {
    remove();
    return;
  }
  const attach = widget && attachOf(widget);
  if (!attach) {
    remove();
    throw new Error("This host shows no widgets of other packages.");
  }
  attach(widget, slot);
  signal.addEventListener("abort", remove, { once: true });
}
