/** The brush over a chart: drawn by the page, so that it answers at once; a bin is the least it holds. */
import { useRef } from "preact/hooks";
import { type Brush, binAt, fitted } from "../draw/bins";

export interface BrushProps {
  bins: number;
  brush: Brush | null;
  /** What lies at an edge, in words. */
  edgeWords(at: number): string;
  onBrush(brush: Brush | null): void;
  /** The bin under the pointer. */
  onHover(bin: number | null): void;
}

const PAGE = 8;

export function BrushArea({ bins, brush, edgeWords, onBrush, onHover }: BrushProps) {
  const area = useRef<HTMLDivElement>(null);
  const start = useRef<{ bin: number; moved: boolean } | null>(null);
  const from = brush?.from ?? 0;
  const to = (brush?.to ?? bins - 1) + 1;
  const percent = (at: number) => `${(at / bins) * 100}%`;
  const at = (event: PointerEvent): number => {
    const box = (area.current as HTMLElement).getBoundingClientRect();
    return binAt(event.clientX - box.left, box.width, bins);
  };
  const onMove = (event: PointerEvent) => {
    const bin = at(event);
    onHover(bin);
    if (start.current === null) return;
    if (bin !== start.current.bin) start.current.moved = true;
    if (start.current.moved) onBrush(fitted({ from: start.current.bin, to: bin }, bins));
  };
  const handle = (end: "from" | "to") => (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const here = end === "from" ? from : to;
    const [least, most] = end === "from" ? [0, to - 1] : [from + 1, bins];
    const steps: Record<string, number> = {
      ArrowLeft: here - 1,
      ArrowDown: here - 1,
      ArrowRight: here + 1,
      ArrowUp: here + 1,
      PageDown: here - PAGE,
      PageUp: here + PAGE,
      Home: least,
      End: most,
    };
    if (event.key === "Escape" && brush !== null) onBrush(null);
    else if (event.key in steps) {
      const next = Math.max(least, Math.min(most, steps[event.key] as number));
      onBrush(fitted(end === "from" ? { from: next, to: to - 1 } : { from, to: next - 1 }, bins));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const slider = (end: "from" | "to") => {
    const value = end === "from" ? from : to;
    return (
      <div
        class={`nnw-brush-handle nnw-brush-${end}`}
        role="slider"
        tabIndex={0}
        aria-label={end === "from" ? "Lower end of the range" : "Upper end of the range"}
        aria-orientation="horizontal"
        aria-valuemin={end === "from" ? 0 : from + 1}
        aria-valuemax={end === "from" ? to - 1 : bins}
        aria-valuenow={value}
        aria-valuetext={edgeWords(value)}
        title="Drag over the chart, or use the arrow keys"
        style={{ left: percent(value) }}
        onKeyDown={handle(end)}
        onPointerDown={(event) => {
          event.stopPropagation();
          area.current?.setPointerCapture?.(event.pointerId);
          (event.currentTarget as HTMLElement).focus();
          start.current = { bin: end === "from" ? to - 1 : from, moved: true };
        }}
      />
    );
  };
  return (
    <div
      class="nnw-brush"
      ref={area}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        area.current?.setPointerCapture?.(event.pointerId);
        start.current = { bin: at(event), moved: false };
      }}
      onPointerMove={onMove}
      onPointerUp={() => {
        // A click that moves nothing lets go of the range.
        if (start.current && !start.current.moved) onBrush(null);
        start.current = null;
      }}
      onPointerCancel={() => {
        start.current = null;
      }}
      onPointerLeave={() => onHover(null)}
    >
      {brush && (
        <>
          <i class="nnw-brush-out" style={{ left: 0, width: percent(from) }} />
          <i class="nnw-brush-out" style={{ left: percent(to), right: 0 }} />
          <i class="nnw-brush-in" style={{ left: percent(from), width: percent(to - from) }} />
        </>
      )}
      {slider("from")}
      {slider("to")}
    </div>
  );
}
