/** One line: the model, the state of play in words, the menu. */
import { count } from "../format";
import type { LayersResult } from "../wire/types";
import { Menu, type MenuProps } from "./menu";
import { type StateFacts, stateWords } from "./state_words";
import { type Action, Controls } from "./training/controls";

export interface HeaderProps extends StateFacts, MenuProps {
  model: LayersResult["model"] | null;
  /** Opens the layer drawer; absent where the tree has its own column. */
  onDrawer?: (() => void) | undefined;
  drawer: boolean;
  onAct(action: Action): void;
}

export function Header(props: HeaderProps) {
  const { model } = props;
  const state = stateWords(props);
  const frozen = model !== null && model.trainable < model.parameters;
  const size = model === null ? "" : `${count(model.parameters)} parameters`;
  const exact = model === null ? "" : `${model.parameters.toLocaleString("en-US")} parameters`;
  const trainable = model === null || !frozen ? "" : `, ${count(model.trainable)} trainable`;
  return (
    <header class="nnw-header">
      <button type="button" class="nnw-button nnw-drawer-button" aria-expanded={props.drawer} onClick={props.onDrawer}>
        Layers
      </button>
      <span class="nnw-model" title={model?.name}>
        {model?.name ?? "Model"}
      </span>
      <span class="nnw-dim nnw-model-size" title={`${exact}${trainable}`}>
        {size}
      </span>
      {/* Read out when the state changes, not at every step. */}
      <span class="nnw-hidden" role="status">
        {[props.play?.state === "paused" ? "paused" : SPOKEN[props.status.state], state.warning]
          .filter(Boolean)
          .join(", ")}
      </span>
      <span class="nnw-state" title={[state.text, state.warning].filter(Boolean).join("\n")}>
        <span class={`nnw-mark nnw-mark-${state.mark}`} aria-hidden="true" />
        <span class="nnw-state-text">{state.text}</span>
        {state.warning !== "" && <span class="nnw-state-warning"> · {state.warning}</span>}
      </span>
      <Controls play={props.play} disabled={props.connection !== "ready"} onAct={props.onAct} />
      <Menu large={props.large} onLarge={props.onLarge} onHelp={props.onHelp} onAbout={props.onAbout} />
    </header>
  );
}

const SPOKEN: Record<StateFacts["status"]["state"], string> = {
  idle: "idle",
  busy: "kernel busy with another cell",
  training: "training",
  evaluating: "evaluating",
  closed: "closed",
};
