import { describe, expect, it } from "vitest";
import { moveCursor } from "../src/ui/training/curve";
import { spanOf } from "../src/ui/training/panel";
import { costWords, curveLegend, curveSentence, pace, playWords, scalarName } from "../src/ui/training/words";
import type { Play, Status } from "../src/wire/types";
import { charts, curve, f32, i32, play } from "./training_fixtures";

const STATUS: Status = { state: "training", regime: "subshell", step: 1, interval: 0.0006, error: "" };
const say = (change: Partial<Play>, status: Partial<Status> = {}, kernelBusy = false) => {
  const words = playWords({ play: play(change), status: { ...STATUS, ...status }, connection: "ready", kernelBusy });
  return [words.text, words.warning].filter(Boolean).join(" | ");
};

describe("the state of play", () => {
  it.each<[Partial<Play>, Partial<Status>, boolean, string]>([
    [{ state: "waiting" }, {}, false, "no step yet"],
    [{ state: "waiting", asked: "pause" }, {}, false, "no step yet · waits after the next step"],
    [{}, {}, false, "training · step 1,240 · 0.600 ms a step · answers in 0.1 s"],
    [{ cost: null }, { interval: 4 }, false, "training · step 1,240 · answers at the next step, about 4 s"],
    [{ asked: "pause", cost: null }, {}, false, "training · step 1,240 · pausing after this step"],
    [{ asked: "stop", cost: null }, {}, false, "training · step 1,240 · stopping at the next step"],
    [{ cost: null }, { regime: "after-cell" }, false, "training · step 1,240 · controls apply when the cell ends"],
    [{ state: "paused" }, {}, true, "paused at step 1,240 | keep this page open: a reload waits for the cell"],
    [{ state: "idle" }, {}, false, "not running · at step 1,240"],
    [{ state: "idle", ended: "stopped" }, {}, false, "stopped · at step 1,240"],
    [{ state: "idle", first: 1000 }, {}, false, "not running · at step 1,240 (240 steps in this run)"],
    [{ state: "finished" }, {}, false, "finished after 1,240 steps"],
    [{ state: "finished", first: 1239 }, {}, false, "finished after 1 step, at step 1,240"],
    [{ state: "stopped" }, {}, false, "stopped after 1,240 steps"],
    [{ state: "interrupted" }, {}, false, "interrupted after 1,240 steps"],
    [{ state: "failed" }, {}, false, "ended by an error after 1,240 steps"],
    [{}, { state: "closed" }, false, "closed | the cell that made it was run again"],
  ])("%j, %j, busy %s: %s", (change, status, busy, words) => {
    expect(say(change, status, busy)).toBe(words);
  });

  it("says when nobody answers", () => {
    const facts = { play: null, status: STATUS, kernelBusy: false };
    expect(playWords({ ...facts, connection: "connecting" }).text).toBe("connecting to Python…");
    expect(playWords({ ...facts, connection: "connecting", kernelBusy: true }).text).toContain("the cell that runs");
    expect(playWords({ ...facts, connection: "silent" }).text).toBe("Python does not answer");
    expect(playWords({ ...facts, connection: "gone" }).text).toBe("the kernel was stopped");
  });
});

describe("words for numbers", () => {
  it("itemise the price", () => {
    const words = costWords(play().cost);
    expect(words.short).toBe("adds 1.9 %");
    expect(words.items).toBe(
      "Watching adds 1.9 % to the time of a step: 0.7 % for losses and the gradient norm of each step, " +
        "0.9 % for recording all layers at one step in 24, 0.3 % for showing it here.",
    );
    expect(costWords(null)).toEqual({ short: "", items: "" });
  });

  it("name what is recorded by itself, and leave the user's own names alone", () => {
    expect(["loss", "lr/1", "step_time", "val/loss"].map(scalarName)).toEqual([
      "loss",
      "learning rate, group 1",
      "time a step (s)",
      "val/loss",
    ]);
    expect([pace(0.0006), pace(1.25)]).toEqual(["0.600 ms a step", "1.25 s a step"]);
  });

  it("read a curve", () => {
    expect(curveSentence(curve([2.3, 0.5, Number.NaN, 0.75]))).toBe(
      "The loss went from 2.30 at step 1 to 0.750 at step 4; lowest 0.500 at step 2, highest 2.30 at step 1. " +
        "1 value not finite.",
    );
    expect(curveSentence(curve([Number.NaN]))).toBe("No finite loss yet.");
  });

  it("say what the lines are", () => {
    expect(curveLegend(curve([1, 2, 3]))).toBe("each step");
    expect(curveLegend(curve([1, 2, 3], { window: 5 }))).toBe("thick: mean of 5 steps, thin: each step");
    expect(curveLegend(curve([1, 2], { steps: i32([1, 9]), window: 5 }))).toBe(
      "thick: mean of 5 values, thin: each known value",
    );
  });
});

describe("the cursor", () => {
  const steps = Array.from({ length: 30 }, (_, at) => 2 * at + 1);
  it.each<[number | null, string, boolean, number | null]>([
    [null, "ArrowRight", false, 1],
    [null, "ArrowLeft", false, 59],
    [11, "ArrowRight", false, 13],
    [11, "ArrowLeft", true, 1],
    [11, "ArrowRight", true, 31],
    [11, "Home", false, 1],
    [11, "End", false, 59],
    [11, "a", false, null],
  ])("from %s by %s (far: %s) to %s", (from, key, far, to) => {
    expect(moveCursor(steps, from, key, far)).toBe(to);
  });

  it("has no place where there is nothing", () => {
    expect(moveCursor([], null, "End", false)).toBeNull();
  });
});

describe("the span of all charts", () => {
  it("holds the curve, the layers and the newest step", () => {
    expect(spanOf(charts())).toEqual([1, 40]);
    expect(spanOf(charts({ play: play({ step: 90, first: 0 }) }))).toEqual([1, 90]);
    expect(spanOf(charts({ play: play({ step: 0 }), curve: null, layers: null }))).toEqual([0, 1]);
    const earlier = curve([1], { steps: i32([7]), values: f32([1]) });
    expect(spanOf(charts({ play: play({ step: 40, first: 20 }), curve: earlier, layers: null }))).toEqual([7, 40]);
  });
});
