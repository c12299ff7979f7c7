import { describe, expect, it } from "vitest";
import { type StateFacts, stateWords } from "../src/ui/state_words";
import type { Status } from "../src/wire/types";

const IDLE: Status = { state: "idle", regime: "subshell", step: null, interval: null, error: "" };
const say = (status: Partial<Status>, facts: Partial<StateFacts> = {}) => {
  const words = stateWords({
    status: { ...IDLE, ...status },
    connection: "ready",
    kernelBusy: false,
    play: null,
    ...facts,
  });
  return [words.text, words.warning];
};
const KEEP = "keep this page open: a reload waits for the cell";

describe("stateWords", () => {
  it.each<[Partial<Status>, Partial<StateFacts>, string, string]>([
    [{}, {}, "idle", ""],
    [{ state: "training", step: 2400, interval: 0.3 }, {}, "training · step 2,400 · answers in 0.3 s", KEEP],
    [{ state: "evaluating", interval: 4.2 }, {}, "evaluating · answers at the next step, about 4.2 s", KEEP],
    [{ state: "training", step: 1, interval: null }, {}, "training · step 1 · answers at the next step", KEEP],
    [
      { state: "training", regime: "after-cell", interval: 1 },
      {},
      "training · controls apply when the cell ends",
      KEEP,
    ],
    [{ state: "busy" }, {}, "kernel busy with another cell · controls apply when the cell ends", KEEP],
    [{}, { kernelBusy: true }, "kernel busy with another cell · controls apply when the cell ends", KEEP],
    [{}, { connection: "connecting" }, "connecting to Python…", ""],
    [{}, { connection: "silent" }, "Python does not answer", "run the cell that made this view again"],
    [{}, { connection: "gone" }, "the kernel was stopped", "run the cells again to look again"],
    [{ state: "closed" }, { connection: "gone" }, "closed", "run the cell again to look again"],
  ])("%o %o", (status, facts, text, warning) => {
    expect(say(status, facts)).toEqual([text, warning]);
  });
});
