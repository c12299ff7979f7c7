/** The strength of a channel, 0 to 2: the mark and the number answer at once, the prediction follows. */

import { useEffect, useRef, useState } from "preact/hooks";
import { factor } from "../format";

export const MOST = 2;
const STEP = 0.05;
const PAGE = 0.25;
const MAGNET = 0.04;
/** How long the page trusts its own value after a release, in case the owner does not answer. */
const TRUST = 1500;

/** Rounded to hundredths and within 0 … 2; values near 1 become 1 where the pointer is imprecise. */
export function settle(value: number, magnetic: boolean): number {
  const inside = Math.min(MOST, Math.max(0, value));
  if (magnetic && Math.abs(inside - 1) <= MAGNET) return 1;
  return Math.round(inside * 100) / 100;
}

/** Where a key leads, or null for keys that do not move the mark. */
export function keyed(key: string, value: number): number | null {
  const steps: Record<string, number> = {
    ArrowLeft: value - STEP,
    ArrowDown: value - STEP,
    ArrowRight: value + STEP,
    ArrowUp: value + STEP,
    PageDown: value - PAGE,
    PageUp: value + PAGE,
    Home: 0,
    End: MOST,
    Backspace: 1,
  };
  const to = steps[key];
  return to === undefined ? null : settle(to, false);
}

export interface SliderProps {
  label: string;
  /** The factor in force. */
  value: number;
  /** Shown instead of the factor where something else than a factor is in force. */
  word?: string | undefined;
  disabled?: boolean;
  onChange(value: number): void;
}

export function Slider({ label, value, word, disabled = false, onChange }: SliderProps) {
  const track = useRef<HTMLDivElement>(null);
  const dragging = useRef(false);
  const [own, setOwn] = useState<number | null>(null);
  const shown = own ?? value;

  const set = (next: number) => {
    if (next === shown && !word) return;
    setOwn(next);
    onChange(next);
  };

  // While dragging, what comes in is ignored; after the release the own value stays until the owner agrees with it.
  useEffect(() => {
    if (own === null || dragging.current) return;
    if (value === own && !word) {
      setOwn(null);
      return;
    }
    const timer = setTimeout(() => !dragging.current && setOwn(null), TRUST);
    return () => clearTimeout(timer);
  }, [own, value, word]);

  const at = (event: PointerEvent): number => {
    const box = track.current?.getBoundingClientRect();
    return box && box.width > 0 ? settle(((event.clientX - box.left) / box.width) * MOST, true) : shown;
  };
  const release = () => {
    if (!dragging.current) return;
    dragging.current = false;
    setOwn((last) => (last === value ? null : last));
  };
  const text = own === null && word ? word : factor(shown);

  return (
    <div class="nnw-slider">
      <span aria-hidden="true">{label}</span>
      <div
        ref={track}
        class="nnw-slider-track"
        role="slider"
        tabIndex={disabled ? -1 : 0}
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={MOST}
        aria-valuenow={shown}
        aria-valuetext={text}
        aria-disabled={disabled}
        title="Double-click or Backspace resets"
        onPointerDown={(event) => {
          if (disabled || event.button !== 0) return;
          event.currentTarget.setPointerCapture?.(event.pointerId);
          event.currentTarget.focus();
          dragging.current = true;
          set(at(event));
        }}
        onPointerMove={(event) => {
          if (dragging.current) set(at(event));
        }}
        onPointerUp={release}
        onPointerCancel={release}
        onLostPointerCapture={release}
        onDblClick={() => !disabled && set(1)}
        onKeyDown={(event) => {
          if (disabled || event.ctrlKey || event.metaKey || event.altKey) return;
          const next = keyed(event.key, shown);
          if (next === null) return;
          event.preventDefault();
          event.stopPropagation();
          set(next);
        }}
      >
        <span class="nnw-slider-rail" />
        <span class="nnw-slider-one" />
        <span
          class={`nnw-slider-thumb${word && own === null ? " nnw-hollow" : ""}`}
          style={{ left: `${(shown / MOST) * 100}%` }}
        />
      </div>
      <output class="nnw-slider-value">{text}</output>
    </div>
  );
}
