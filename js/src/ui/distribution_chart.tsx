/** The slot of the bqplot figure with the brush over it, or why there is no chart. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { type Brush, edge } from "../draw/bins";
import { number } from "../format";
import { mountForeign } from "../wire/foreign";
import type { DistributionResult } from "../wire/types";
import { BrushArea } from "./brush";

export interface ChartProps {
  result: DistributionResult;
  manager: unknown;
  /** What the chart says, for those who do not see it. */
  name: string;
  brush: Brush | null;
  onBrush(brush: Brush | null): void;
  onHover(bin: number | null): void;
  /** The figure cannot be shown here. */
  onMissing(): void;
}

type State = "coming" | "shown" | "missing";

export function DistributionChart(props: ChartProps) {
  const { result, manager, name, brush, onBrush, onHover, onMissing } = props;
  const { figure } = result;
  const id = figure?.id ?? "";
  const slot = useRef<HTMLDivElement>(null);
  const [state, setState] = useState<State>("coming");
  useLayoutEffect(() => {
    const host = slot.current;
    if (host === null) return;
    const leave = new AbortController();
    setState("coming");
    const mounted = id === "" ? Promise.reject(new Error("no figure")) : mountForeign(manager, id, host, leave.signal);
    mounted.then(
      () => {
        if (!leave.signal.aborted) setState("shown");
      },
      () => {
        if (leave.signal.aborted) return;
        setState("missing");
        onMissing();
      },
    );
    return () => leave.abort();
  }, [id, manager]);
  const margin = figure?.margin ?? { top: 8, bottom: 8, left: 16, right: 16 };
  const plot = {
    top: `${margin.top}px`,
    bottom: `${margin.bottom}px`,
    left: `${margin.left}px`,
    right: `${margin.right}px`,
  };
  return (
    <div class="nnw-chart" data-state={state} role="group" aria-label={name}>
      <div class="nnw-chart-slot" ref={slot} aria-hidden="true" />
      {state === "missing" && (
        <p class="nnw-chart-missing">
          This page cannot draw the chart (bqplot does not answer). The table has its numbers.
        </p>
      )}
      <div class="nnw-chart-plot" style={plot}>
        <BrushArea
          bins={result.bins}
          brush={brush}
          edgeWords={(at) => number(edge(result, at))}
          onBrush={onBrush}
          onHover={onHover}
        />
      </div>
    </div>
  );
}
