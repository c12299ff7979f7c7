/** From a panel to what anywidget loads: one store per model, one root per display, all gone with the signals. */
import type { ReadonlySignal } from "@preact/signals";
import { type ComponentType, render } from "preact";
import { useErrorBoundary } from "preact/hooks";
import { type Needs, Store } from "../state/store";
import { followTheme } from "../theme/theme";
import type { AnyModel, InitializeProps, RenderProps, Widget } from "../wire/model";

/** What a root needs of the state behind it. */
interface Shown {
  /** Counts one more display; the answer takes it away again. */
  attach(): () => void;
  readonly view: { readonly large: ReadonlySignal<boolean> };
}

export interface ShellProps<S = Store> {
  store: S;
  dark: boolean;
}

/** What every region bound to the store takes from the shell around it. */
export interface PanelProps extends ShellProps {
  /** Shows the edits as code. */
  onCode(): void;
}

function text(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function Failed({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  return (
    <div class="nnw-failed" role="alert">
      This view could not be drawn. {text(error)}{" "}
      {onRetry && (
        <button type="button" class="nnw-button" onClick={onRetry}>
          Draw it again
        </button>
      )}
    </div>
  );
}

/**
 * anywidget calls the result once for each model and hands `initialize` and `render` different stand-ins for it, so
 * the closure, and not a map keyed by model, is what keeps one store per model.
 */
export function mount<S extends Shown>(
  Shell: ComponentType<ShellProps<S>>,
  make: (model: AnyModel, signal: AbortSignal) => S,
): () => Widget {
  return () => {
    let store: S | null = null;
    let broken: unknown = null;
    return {
      initialize({ model, signal }: InitializeProps) {
        try {
          store = make(model, signal);
        } catch (error) {
          broken = error;
        }
      },
      render({ el, signal }: RenderProps) {
        const root = document.createElement("div");
        el.append(root);
        const own = store;
        const dark = followTheme(signal);
        const Root = () => {
          const [failure, again] = useErrorBoundary();
          const theme = dark.value ? "dark" : "light";
          const large = own?.view.large.value ? " nnw-large" : "";
          return (
            <div
              class={`nnw${large}`}
              data-theme={theme}
              data-lm-suppress-shortcuts="true"
              tabIndex={0}
              onFocusIn={(event) => {
                // The notebook's keys ask the focused element itself before they ask those around it.
                (event.target as Element).setAttribute("data-lm-suppress-shortcuts", "true");
              }}
            >
              {own === null ? (
                <Failed error={broken ?? "The widget was not initialized."} />
              ) : failure ? (
                <Failed error={failure} onRetry={again} />
              ) : (
                <Shell store={own} dark={dark.value} />
              )}
            </div>
          );
        };
        const detach = own?.attach();
        render(<Root />, root);
        const leave = () => {
          detach?.();
          render(null, root);
          root.remove();
        };
        if (signal.aborted) leave();
        else signal.addEventListener("abort", leave, { once: true });
      },
    };
  };
}

/** A panel of an explorer, or all of it. */
export function widget(Shell: ComponentType<ShellProps>, needs: Needs): () => Widget {
  return mount(Shell, (model, signal) => new Store(model, needs, signal));
}
