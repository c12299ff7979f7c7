/** A training in words: its state of play, its price, its curves as sentences. */
import { duration, number, percent, plural } from "../../format";
import type { Connection } from "../../state/link";
import type { Cost, Curve, Play, Status } from "../../wire/types";
import type { StateWords } from "../state_words";
import { recordWords } from "./record";

export interface TrainingFacts {
  play: Play | null;
  status: Status;
  connection: Connection;
  kernelBusy: boolean;
  /** Seconds since Python last said how a history stands. */
  silence?: number;
}

/** What the charts call a number. */
export function scalarName(name: string): string {
  const known: Record<string, string> = {
    loss: "loss",
    total_grad_norm: "gradient norm",
    lr: "learning rate",
    weight_decay: "weight decay",
    step_time: "time a step (s)",
  };
  const [base = name, group] = name.split("/");
  return known[base] === undefined ? name : `${known[base]}${group === undefined ? "" : `, group ${group}`}`;
}

/** How long a step takes: 0.600 ms, 1.20 s. */
export function pace(seconds: number): string {
  return seconds < 1 ? `${number(seconds * 1000)} ms a step` : `${number(seconds)} s a step`;
}

const KEEP_OPEN = "keep this page open: a reload waits for the cell";

function answers(status: Status): string {
  if (status.regime === "after-cell") return "controls apply when the cell ends";
  const seconds = Math.max(0.1, status.interval ?? 0);
  return seconds < 1 ? `answers in ${duration(seconds)}` : `answers at the next step, about ${duration(seconds)}`;
}

export function playWords({ play, status, connection, kernelBusy, silence = 0 }: TrainingFacts): StateWords {
  const record = play?.record ?? null;
  if (status.state === "closed") {
    const warning = record === null ? "the cell that made it was run again" : "show the history again to follow it";
    return { mark: "gone", text: "closed", warning };
  }
  if (connection === "gone") {
    const warning = `run the cells again to ${record === null ? "train" : "see it"} again`;
    return { mark: "gone", text: "the kernel was stopped", warning };
  }
  if (connection === "silent") {
    return { mark: "gone", text: "Python does not answer", warning: "run the cell that made this panel again" };
  }
  if (play === null || connection === "connecting") {
    const text = kernelBusy ? "waiting for the cell that runs" : "connecting to Python…";
    return { mark: "waiting", text, warning: "" };
  }
  if (record !== null) return recordWords(play, record, { silence, busy: kernelBusy || status.state === "busy" });
  const at = play.step.toLocaleString("en-US");
  const made = plural(play.step - play.first, "step");
  const held = play.asked === "pause" ? " · waits after the next step" : "";
  const here = play.first > 0 ? ` (${made} in this run)` : "";
  switch (play.state) {
    case "waiting":
      return { mark: "idle", text: `no step yet${held}`, warning: "" };
    case "running": {
      const speed = play.cost === null ? "" : ` · ${pace(play.cost.step)}`;
      const next = { "": answers(status), pause: "pausing after this step", stop: "stopping at the next step" };
      const warning = kernelBusy ? KEEP_OPEN : "";
      return { mark: "live", text: `training · step ${at}${speed} · ${next[play.asked]}`, warning };
    }
    case "paused":
      return { mark: "waiting", text: `paused at step ${at}`, warning: kernelBusy ? KEEP_OPEN : "" };
    case "idle":
      return { mark: "idle", text: `${play.ended || "not running"} · at step ${at}${here}${held}`, warning: "" };
    case "finished":
      return { mark: "idle", text: `finished after ${made}${play.first > 0 ? `, at step ${at}` : ""}`, warning: "" };
    case "failed":
      return { mark: "gone", text: `ended by an error after ${made}`, warning: "" };
    default:
      return { mark: "idle", text: `${play.state} after ${made}`, warning: "" };
  }
}

/** What watching adds: one number, and the sentence that itemises it. */
export function costWords(cost: Cost | null): { short: string; items: string } {
  if (cost === null) return { short: "", items: "" };
  const each = (steps: number) =>
    steps <= 1 ? "each step" : `one step in ${Math.round(steps).toLocaleString("en-US")}`;
  const items = [
    `${percent(cost.looks)} for losses and the gradient norm of ${each(cost.stride)}`,
    `${percent(cost.recorded_steps)} for recording all layers at ${each(cost.every)}`,
    `${percent(cost.showing)} for showing it here`,
  ];
  return {
    short: `adds ${percent(cost.total)}`,
    items: `Watching adds ${percent(cost.total)} to the time of a step: ${items.join(", ")}.`,
  };
}

/** What the lines of a chart are. */
export function curveLegend(curve: Curve): string {
  const { steps, count, window } = curve;
  const { data } = steps;
  const every = data.length > 0 && (data[data.length - 1] as number) - (data[0] as number) + 1 === count;
  const each = every ? "each step" : "each known value";
  if (window === 0) return each;
  return `thick: mean of ${plural(window, every ? "step" : "value")}, thin: ${each}`;
}

/** A curve as text: where it began, where it is, its extremes. */
export function curveSentence(curve: Curve): string {
  const { steps, values } = curve;
  const name = scalarName(curve.name);
  let first = -1;
  let last = -1;
  let low = -1;
  let high = -1;
  let bad = 0;
  for (let at = 0; at < values.data.length; at++) {
    const value = values.data[at] as number;
    if (!Number.isFinite(value)) {
      bad += 1;
      continue;
    }
    if (first < 0) first = at;
    last = at;
    if (low < 0 || value < (values.data[low] as number)) low = at;
    if (high < 0 || value > (values.data[high] as number)) high = at;
  }
  if (first < 0) return `No finite ${name} yet.`;
  const said = (at: number) => number(values.data[at] as number);
  const step = (at: number) => (steps.data[at] as number).toLocaleString("en-US");
  const notFinite = bad > 0 ? ` ${plural(bad, "value")} not finite.` : "";
  return (
    `The ${name} went from ${said(first)} at step ${step(first)} to ${said(last)} at step ${step(last)}; ` +
    `lowest ${said(low)} at step ${step(low)}, highest ${said(high)} at step ${step(high)}.${notFinite}`
  );
}
