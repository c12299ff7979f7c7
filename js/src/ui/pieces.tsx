/** Small things that several pictures share: measuring, the busy line, the error strip, the empty state. */

import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { WireError } from "../wire/types";

export interface Size {
  width: number;
  height: number;
  /** Font size in pixels. */
  font: number;
}

/** The font size for which sizes in pixels are meant; larger text enlarges them in proportion. */
export const FONT = 13;

/** The inner size of an element, followed while it changes. */
export function useSize<T extends HTMLElement>(
  initial: Omit<Size, "font"> & Partial<Size>,
): [RefObject<T | null>, Size] {
  const element = useRef<T>(null);
  const [size, setSize] = useState<Size>({ font: FONT, ...initial });
  useLayoutEffect(() => {
    const node = element.current;
    if (!node) return;
    const measure = () => {
      const width = node.clientWidth;
      const height = node.clientHeight;
      const font = Number.parseFloat(getComputedStyle(node).fontSize) || FONT;
      if (width === 0) return;
      setSize((old) =>
        old.width === width && old.height === height && old.font === font ? old : { width, height, font },
      );
    };
    measure();
    if (typeof ResizeObserver === "undefined") return;
    const observer = new ResizeObserver(measure);
    observer.observe(node);
    return () => observer.disconnect();
  }, []);
  return [element, size];
}

const LINE_AFTER = 150;
const CANCEL_AFTER = 1000;

/**
 * A thin line once an answer takes 150 ms, a way out once it takes a second. Both lie over the picture: nothing moves.
 * `part` is the share that is done, where it is known.
 */
export function Busy({
  since,
  onCancel,
  part = null,
}: {
  since: number | null;
  onCancel?: (() => void) | undefined;
  part?: number | null;
}) {
  const [, wake] = useState(0);
  const waited = since === null ? -1 : performance.now() - since;
  useEffect(() => {
    if (since === null) return;
    const timers = [LINE_AFTER, CANCEL_AFTER].map((delay) =>
      setTimeout(() => wake((count) => count + 1), Math.max(0, since + delay - performance.now()) + 1),
    );
    return () => timers.forEach(clearTimeout);
  }, [since]);
  if (waited < LINE_AFTER) return null;
  return (
    <div class="nnw-busy">
      {part === null ? (
        <div class="nnw-busy-line" role="progressbar" aria-label="Waiting for the kernel" />
      ) : (
        <div
          class="nnw-busy-line nnw-busy-part"
          role="progressbar"
          aria-label="Ranked channels"
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.round(100 * part)}
          style={{ "--part": part }}
        />
      )}
      {waited >= CANCEL_AFTER && onCancel && (
        <button type="button" class="nnw-button" onClick={onCancel}>
          Cancel
        </button>
      )}
    </div>
  );
}

/** What went wrong and what to do; the last good picture stays below it. */
export function ErrorStrip({ error }: { error: WireError | null }) {
  if (!error) return null;
  return (
    <div class="nnw-strip" role="alert">
      <strong>Error. </strong>
      {error.message}
      {error.remedy && <span> {error.remedy}</span>}
    </div>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="nnw-empty">{children}</p>;
}

export interface Choice<T extends string> {
  value: T;
  label: string;
  title?: string;
}

/** A few choices side by side, one of them pressed. */
export function Segments<T extends string>(props: {
  label: string;
  value: T;
  choices: readonly Choice<T>[];
  onChoose(value: T): void;
}) {
  return (
    <div class="nnw-segments" role="group" aria-label={props.label}>
      <span class="nnw-dim" aria-hidden="true">
        {props.label}
      </span>
      <span class="nnw-segment-buttons">
        {props.choices.map((choice) => (
          <button
            type="button"
            key={choice.value}
            aria-pressed={choice.value === props.value}
            title={choice.title}
            onClick={() => props.onChoose(choice.value)}
          >
            {choice.label}
          </button>
        ))}
      </span>
    </div>
  );
}

/** A drop-down with its name. */
export function Select<T extends string>(props: {
  label: string;
  value: T;
  choices: readonly Choice<T>[];
  showLabel?: boolean;
  onChoose(value: T): void;
}) {
  return (
    <label class="nnw-select">
      <span class={props.showLabel ? "nnw-dim" : "nnw-hidden"}>{props.label}</span>
      <select
        value={props.value}
        title={props.label}
        onChange={(event) => props.onChoose(event.currentTarget.value as T)}
      >
        {props.choices.map((choice) => (
          <option key={choice.value} value={choice.value}>
            {choice.label}
          </option>
        ))}
      </select>
    </label>
  );
}
