/** The state of play in words, for the header. */
import { duration } from "../format";
import type { Connection } from "../state/link";
import type { Play, Status } from "../wire/types";

export interface StateWords {
  /** Which mark stands before the words. */
  mark: "idle" | "live" | "waiting" | "gone";
  text: string;
  /** What the person should know beside it, or "". */
  warning: string;
  /** What is read out instead of a text that changes all the time. */
  said?: string;
}

export interface StateFacts {
  status: Status;
  connection: Connection;
  kernelBusy: boolean;
  /** The watched training that the explorer steers, if any. */
  play: Play | null;
}

const KEEP_OPEN = "keep this page open: a reload waits for the cell";

function answers(status: Status): string {
  if (status.regime === "after-cell") return "controls apply when the cell ends";
  if (status.interval === null) return "answers at the next step";
  const seconds = Math.max(0.1, status.interval);
  return seconds < 1 ? `answers in ${duration(seconds)}` : `answers at the next step, about ${duration(seconds)}`;
}

export function stateWords({ status, connection, kernelBusy, play }: StateFacts): StateWords {
  const busy = kernelBusy || status.state === "busy";
  if (status.state === "closed") return { mark: "gone", text: "closed", warning: "run the cell again to look again" };
  if (connection === "gone") {
    return { mark: "gone", text: "the kernel was stopped", warning: "run the cells again to look again" };
  }
  if (play?.state === "paused") {
    return { mark: "waiting", text: `paused at step ${play.step.toLocaleString("en-US")}`, warning: KEEP_OPEN };
  }
  if (status.state === "training" || status.state === "evaluating") {
    const at = play?.step ?? status.step;
    const step = at === null ? "" : ` · step ${at.toLocaleString("en-US")}`;
    return { mark: "live", text: `${status.state}${step} · ${answers(status)}`, warning: KEEP_OPEN };
  }
  if (busy) {
    const words = connection === "ready" ? "kernel busy with another cell" : "waiting for the cell that runs";
    return { mark: "waiting", text: `${words} · controls apply when the cell ends`, warning: KEEP_OPEN };
  }
  if (connection === "connecting") return { mark: "waiting", text: "connecting to Python…", warning: "" };
  if (connection === "silent") {
    return { mark: "gone", text: "Python does not answer", warning: "run the cell that made this view again" };
  }
  return { mark: "idle", text: "idle", warning: "" };
}
