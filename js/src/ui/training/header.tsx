/** One line: the model, the state of play in words, what watching adds, the controls. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { recordSize } from "./record";
import { costWords, playWords, type TrainingFacts } from "./words";

export function TrainingHeader(props: TrainingFacts & { children: ComponentChildren }) {
  const [open, setOpen] = useState(false);
  const { play } = props;
  const state = playWords(props);
  const cost = costWords(play?.cost ?? null);
  const record = play?.record ?? null;
  const size = record === null ? "" : recordSize(record);
  return (
    <>
      <header class="nnw-header">
        <span class="nnw-model">{play?.name || "Training"}</span>
        {size !== "" && (
          <span class="nnw-dim nnw-model-size" title={record === null ? "" : recordSize(record, true)}>
            {size}
          </span>
        )}
        {/* Read out when the state changes, not at every step. */}
        <span class="nnw-hidden" role="status">
          {play === null || play.state === "running" ? "training" : (state.said ?? state.text)}
        </span>
        <span class="nnw-state" title={[state.text, state.warning, record?.path].filter(Boolean).join("\n")}>
          <span class={`nnw-mark nnw-mark-${state.mark}`} aria-hidden="true" />
          <span class="nnw-state-text">{state.text}</span>
          {state.warning !== "" && <span class="nnw-state-warning"> · {state.warning}</span>}
        </span>
        {cost.short !== "" && (
          <button
            type="button"
            class="nnw-cost"
            title={cost.items}
            aria-expanded={open}
            onClick={() => setOpen((was) => !was)}
          >
            {cost.short}
          </button>
        )}
        {props.children}
      </header>
      {open && cost.items !== "" && <p class="nnw-cost-items nnw-dim">{cost.items.replaceAll(" %", "\u00a0%")}</p>}
    </>
  );
}
