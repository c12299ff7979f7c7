/** A panel by itself in a cell: its errors and, when it waits for a cell, why; no header, no columns. */
import { useSignal } from "@preact/signals";
import type { ComponentType } from "preact";
import { CodeDialog } from "./help";
import type { PanelProps, ShellProps } from "./mount";
import { Notices } from "./notices";
import { Splitter } from "./splitter";
import { stateWords } from "./state_words";

/** `height` "user": the person drags it; "content": the panel is as high as what it holds. */
export function alone(
  Panel: ComponentType<PanelProps>,
  name: string,
  height: "user" | "content" = "user",
): ComponentType<ShellProps> {
  return function Alone({ store, dark }) {
    const code = useSignal<string | null>(null);
    const { view } = store;
    const state = stateWords({
      status: store.status.value,
      connection: store.connection.value,
      kernelBusy: store.kernelBusy.value,
      play: store.play.value,
    });
    const showCode = () => {
      store.code().then(
        (text) => {
          code.value = text;
        },
        (error) => store.fail(error),
      );
    };
    return (
      <section
        class={`nnw-alone nnw-alone-${height}`}
        aria-label={name}
        style={{ "--height": `${view.height.value}px` }}
      >
        <Notices store={store} />
        {state.mark !== "idle" && (
          <p class="nnw-inset nnw-dim" role="status">
            {[state.text, state.warning].filter(Boolean).join(" · ")}
          </p>
        )}
        <div class="nnw-alone-body">
          <Panel store={store} dark={dark} onCode={showCode} />
        </div>
        {height === "user" && (
          <Splitter
            label={`Height of ${name.toLowerCase()}`}
            axis="y"
            value={view.height.value}
            minimum={160}
            maximum={1400}
            standard={560}
            onChange={(to) => {
              view.height.value = to;
            }}
          />
        )}
        {code.value !== null && (
          <CodeDialog
            code={code.value}
            onClose={() => {
              code.value = null;
            }}
          />
        )}
      </section>
    );
  };
}
