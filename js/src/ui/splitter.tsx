/** A border between two regions that can be dragged, or moved with the arrow keys. */
import { useRef } from "preact/hooks";

export interface SplitterProps {
  label: string;
  /** "x" moves left and right. */
  axis: "x" | "y";
  value: number;
  minimum: number;
  maximum: number;
  /** The value that a double click brings back. */
  standard: number;
  /** 1 where moving right or down makes the value larger, -1 where it makes it smaller. */
  direction?: 1 | -1;
  onChange(value: number): void;
}

const STEP = 16;

export function Splitter(props: SplitterProps) {
  const { axis, value, minimum, maximum, direction = 1 } = props;
  const start = useRef<{ at: number; value: number } | null>(null);
  const place = (event: PointerEvent) => (axis === "x" ? event.clientX : event.clientY);
  const change = (to: number) => props.onChange(Math.round(Math.min(maximum, Math.max(minimum, to))));
  const onKeyDown = (event: KeyboardEvent) => {
    const [less, more] = axis === "x" ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"];
    const step = event.key === less ? -STEP : event.key === more ? STEP : 0;
    if (step === 0) return;
    event.preventDefault();
    event.stopPropagation();
    change(value + step * direction);
  };
  return (
    <div
      class={`nnw-splitter nnw-splitter-${axis}`}
      role="separator"
      tabIndex={0}
      aria-label={props.label}
      aria-orientation={axis === "x" ? "vertical" : "horizontal"}
      aria-valuenow={value}
      aria-valuemin={minimum}
      aria-valuemax={maximum}
      title={`${props.label}: drag, arrow keys, double-click for the usual size`}
      onKeyDown={onKeyDown}
      onDblClick={() => change(props.standard)}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.preventDefault();
        event.currentTarget.setPointerCapture(event.pointerId);
        start.current = { at: place(event), value };
      }}
      onPointerMove={(event) => {
        if (start.current !== null) change(start.current.value + (place(event) - start.current.at) * direction);
      }}
      onPointerUp={() => {
        start.current = null;
      }}
      onLostPointerCapture={() => {
        start.current = null;
      }}
    />
  );
}
