/** What to do with a channel: strength, mean, zero, only this, limit, reset. */

import { useEffect, useState } from "preact/hooks";
import { number } from "../format";
import type { ChannelResult, PageEdit } from "../wire/types";
import { editWord } from "./edits";
import { Slider } from "./slider";

type Op = PageEdit["op"];

export interface ChannelEditsProps {
  layer: string;
  channel: number;
  result: ChannelResult | null;
  edit: PageEdit | null;
  onEdit(edit: PageEdit | null): void;
}

/** A number as people type it, with a comma or a true minus; null for an empty field, NaN for anything else. */
export function parseLimit(text: string): number | null {
  const plain = text.trim().replace("−", "-").replace(",", ".");
  if (plain === "") return null;
  const value = Number(plain);
  return Number.isFinite(value) ? value : Number.NaN;
}

/** What is wrong with two limits, or "". */
export function limitFault(least: number | null, most: number | null): string {
  if (Number.isNaN(least)) return "The lower limit is not a number. Leave it empty for none.";
  if (Number.isNaN(most)) return "The upper limit is not a number. Leave it empty for none.";
  if (least === null && most === null) return "Give a lower limit, an upper limit or both.";
  if (least !== null && most !== null && least > most) return "The lower limit is above the upper one.";
  return "";
}

export function ChannelEdits({ layer, channel, result, edit, onEdit }: ChannelEditsProps) {
  const [open, setOpen] = useState(false);
  const [peek, setPeek] = useState(false);
  useEffect(() => setOpen(false), [layer, channel]);
  const op = edit?.op ?? null;
  const toggle = (wanted: Op) => onEdit(op === wanted ? null : { layer, op: wanted, channel });
  const mean = result?.mean ?? null;
  const note = result?.zero_note ?? "";
  const scaled = op === "scale" ? (edit?.factor ?? 1) : op === "zero" ? 0 : 1;
  const button = (wanted: Op, label: string, title: string, extra: object = {}) => (
    <button
      type="button"
      class="nnw-button nnw-button-edit"
      aria-pressed={op === wanted}
      title={title}
      onClick={() => toggle(wanted)}
      {...extra}
    >
      {label}
    </button>
  );
  const spying = {
    onPointerEnter: () => setPeek(true),
    onPointerLeave: () => setPeek(false),
    onFocus: () => setPeek(true),
    onBlur: () => setPeek(false),
  };
  return (
    <div class="nnw-channel-edits">
      <Slider
        key={`${layer}/${channel}`}
        label="strength"
        value={scaled}
        word={edit && op !== "scale" ? editWord(edit) : undefined}
        onChange={(factor) => onEdit(factor === 1 ? null : { layer, op: "scale", channel, factor })}
      />
      <div class="nnw-buttons" role="group" aria-label={`Edit channel ${channel}`}>
        {button(
          "mean",
          "Use mean",
          `Replaces the channel by its mean over the pinned inputs${mean === null ? "" : ` (${number(mean)})`}`,
        )}
        {button("zero", "Zero", note || "Sets the channel to zero", spying)}
        {button("only", "Only this", "Keeps this channel and replaces all others by their means")}
        <button
          type="button"
          class="nnw-button nnw-button-edit"
          aria-pressed={op === "clamp"}
          aria-expanded={open}
          title="Cuts values below and above two limits"
          onClick={() => setOpen(!open)}
        >
          Limit…
        </button>
        <button type="button" class="nnw-button" disabled={edit === null} onClick={() => onEdit(null)}>
          Reset
        </button>
      </div>
      {open && (
        <Limit
          key={`${layer}/${channel}`}
          edit={op === "clamp" ? edit : null}
          onApply={(min, max) => onEdit({ layer, op: "clamp", channel, min, max })}
          onClose={() => setOpen(false)}
        />
      )}
      {note && (
        <p class="nnw-zero-note" aria-live="polite">
          {(peek || op === "zero") && note}
        </p>
      )}
    </div>
  );
}

function Limit(props: {
  edit: PageEdit | null;
  onApply(min: number | null, max: number | null): void;
  onClose(): void;
}) {
  const first = (value: number | null | undefined) => (value === null || value === undefined ? "" : String(value));
  const [least, setLeast] = useState(first(props.edit?.min));
  const [most, setMost] = useState(first(props.edit?.max));
  const [fault, setFault] = useState("");
  const apply = () => {
    const min = parseLimit(least);
    const max = parseLimit(most);
    const wrong = limitFault(min, max);
    setFault(wrong);
    if (!wrong) props.onApply(min, max);
  };
  const field = (label: string, value: string, set: (value: string) => void) => (
    <label>
      {label}
      <input
        type="text"
        inputMode="decimal"
        size={6}
        value={value}
        placeholder="none"
        aria-invalid={fault !== ""}
        onInput={(event) => set(event.currentTarget.value)}
      />
    </label>
  );
  return (
    <form
      class="nnw-limit"
      onSubmit={(event) => {
        event.preventDefault();
        apply();
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape") props.onClose();
        event.stopPropagation();
      }}
    >
      {field("from", least, setLeast)}
      {field("to", most, setMost)}
      <button type="submit" class="nnw-button">
        Apply
      </button>
      {fault && <span role="alert">{fault}</span>}
    </form>
  );
}
