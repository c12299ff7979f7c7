/** Pause, step, stop; and the learning rates where they were offered. */
import { useState } from "preact/hooks";
import { number } from "../../format";
import type { Methods, Play } from "../../wire/types";

export type Action = Methods["control"]["params"]["action"];

interface ControlsProps {
  play: Play | null;
  /** Nobody would hear it. */
  disabled: boolean;
  onAct(action: Action): void;
}

const OVER = ["finished", "stopped", "interrupted", "failed"];

export function Controls({ play, disabled, onAct }: ControlsProps) {
  if (play === null || play.controls === "view" || OVER.includes(play.state)) return null;
  const held = play.state === "paused" || play.asked === "pause";
  return (
    <span class="nnw-controls" role="group" aria-label="Training">
      <button
        type="button"
        class="nnw-button nnw-pause"
        disabled={disabled}
        title={held ? "Let the training go on" : "Hold the training after this step"}
        onClick={() => onAct(held ? "resume" : "pause")}
      >
        {held ? "Resume" : "Pause"}
      </button>
      <button
        type="button"
        class="nnw-button"
        disabled={disabled}
        title="Make one step, then wait"
        onClick={() => onAct("step")}
      >
        Step
      </button>
      <button
        type="button"
        class="nnw-button"
        disabled={disabled || play.asked === "stop" || !["running", "paused"].includes(play.state)}
        title="End the training before its next step; what follows the block runs"
        onClick={() => onAct("stop")}
      >
        Stop
      </button>
    </span>
  );
}

export function Rates({ play, onRate }: { play: Play | null; onRate(group: number, rate: number): void }) {
  if (play === null || play.controls !== "full" || play.groups.length === 0 || OVER.includes(play.state)) return null;
  return (
    <div class="nnw-rates">
      {play.groups.map((rate, group) => (
        <Rate
          key={group}
          label={play.groups.length > 1 ? `Learning rate, group ${group}` : "Learning rate"}
          rate={rate}
          asked={play.asked_rates.find(([which]) => which === group)?.[1] ?? null}
          onRate={(value) => onRate(group, value)}
        />
      ))}
    </div>
  );
}

function Rate(props: { label: string; rate: number; asked: number | null; onRate(rate: number): void }) {
  const [typed, setTyped] = useState<string | null>(null);
  const value = typed === null ? Number.NaN : Number(typed.replace("−", "-"));
  const good = typed !== null && typed.trim() !== "" && Number.isFinite(value) && value >= 0;
  const commit = () => {
    if (good && value !== props.rate) props.onRate(value);
    setTyped(null);
  };
  return (
    <label class="nnw-rate">
      {props.label}{" "}
      <input
        type="text"
        inputMode="decimal"
        title="Takes effect between two steps, and is recorded. A scheduler may change it again."
        size={9}
        value={typed ?? String(Number(props.rate.toPrecision(6)))}
        aria-invalid={typed !== null && !good}
        onInput={(event) => setTyped(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter") commit();
          else if (event.key === "Escape") setTyped(null);
          else return;
          event.stopPropagation();
        }}
        onBlur={() => setTyped(null)}
      />
      <span class="nnw-dim">
        {typed !== null
          ? good
            ? "Enter applies it, Esc leaves it"
            : "a number of 0 or more"
          : props.asked !== null
            ? `${number(props.asked)} from the next step`
            : ""}
      </span>
    </label>
  );
}
