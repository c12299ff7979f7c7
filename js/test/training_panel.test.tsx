import { act } from "preact/test-utils";
import { afterEach, describe, expect, it } from "vitest";
import type { Play } from "../src/wire/types";
import { charts, curve, play } from "./training_fixtures";
import { show, until } from "./training_kernel";

afterEach(() => document.body.replaceChildren());

describe("the panel of a training", () => {
  it("shows the state, the price, the curve as a sentence and the layers in their order", async () => {
    const { kernel, root } = await show();
    expect(kernel.asked("charts")).toEqual([{ scalar: "loss" }]);
    expect(root.querySelector(".nnw-state")?.textContent).toContain("training · step 40");
    expect(root.querySelector<HTMLElement>(".nnw-cost")?.title).toContain("0.9 % for recording");
    expect(root.querySelector(".nnw-chart figcaption")?.textContent).toContain("The loss went from 2.30 at step 1");
    const names = [...root.querySelectorAll(".nnw-strip-names bdi")].map((one) => one.textContent);
    expect(names).toEqual(["features.0", "classifier"]);
    const values = [...root.querySelectorAll(".nnw-strip-values span")].map((one) => one.textContent);
    expect(values).toEqual(["0.0500", "0.200"]);
    expect(root.querySelector(".nnw-strip-scale")?.textContent).toContain("0.0500");
    expect(root.querySelector(".nnw-events")).toBeNull();
  });

  it("follows what is pushed and acknowledges it once it is drawn", async () => {
    const { kernel, root } = await show();
    kernel.push(7, charts({ play: play({ step: 90 }), curve: curve([3, 2, 1]) }));
    await until(() => expect(root.querySelector(".nnw-state")?.textContent).toContain("step 90"));
    expect(root.querySelector(".nnw-chart figcaption")?.textContent).toContain("to 1 at step 3");
    await until(() => expect(kernel.sent.at(-1)).toMatchObject({ k: "ack", seq: 7 }));
  });

  it("asks for another number, and takes no push of the old one meanwhile", async () => {
    const { kernel, root } = await show();
    kernel.result = charts({ curve: curve([0.5, 0.75], { name: "accuracy" }) });
    const select = root.querySelector("select") as HTMLSelectElement;
    expect([...select.options].map((one) => one.text)).toEqual(["Loss", "Accuracy", "Gradient norm", "Learning rate"]);
    select.value = "accuracy";
    select.dispatchEvent(new Event("change", { bubbles: true }));
    await until(() => expect(root.querySelector(".nnw-chart figcaption")?.textContent).toContain("The accuracy"));
    kernel.push(8, charts());
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(root.querySelector(".nnw-chart figcaption")?.textContent).toContain("The accuracy");
  });

  it("pauses, steps, resumes and stops by message", async () => {
    const { kernel, root, button } = await show();
    kernel.result = charts({ play: play({ state: "paused", step: 41 }) });
    button("Pause")?.click();
    await until(() => expect(root.querySelector(".nnw-state")?.textContent).toContain("paused at step 41"));
    button("Step")?.click();
    button("Resume")?.click();
    button("Stop")?.click();
    await until(() =>
      expect(kernel.asked("control")).toEqual(["pause", "step", "resume", "stop"].map((action) => ({ action }))),
    );
  });

  it("says what Python refused", async () => {
    const { kernel, root, button } = await show();
    kernel.refuses = "This training is over.";
    button("Pause")?.click();
    await until(() => expect(root.textContent).toContain("This training is over. Wait."));
    button("Dismiss")?.click();
    await until(() => expect(root.textContent).not.toContain("This training is over."));
  });

  it.each<[Partial<Play>, string[]]>([
    [{ controls: "view" }, []],
    [{ controls: "pause" }, ["Pause", "Step", "Stop"]],
    [{ asked: "pause" }, ["Resume", "Step", "Stop"]],
    [{ state: "paused" }, ["Resume", "Step", "Stop"]],
    [{ state: "finished" }, []],
    [{ state: "failed", problem: "ValueError: x" }, []],
  ])("offers for %j the buttons %j", async (state, words) => {
    const { root } = await show({}, state);
    expect([...root.querySelectorAll(".nnw-controls button")].map((one) => one.textContent)).toEqual(words);
    expect(root.querySelector(".nnw-rate")).toBeNull();
    if (state.problem) expect(root.querySelector(".nnw-notice")?.textContent).toContain(state.problem);
  });

  it("changes a learning rate on Enter, and on nothing else", async () => {
    const { kernel, root } = await show({}, { controls: "full", groups: [0.1, 0.01], asked_rates: [[1, 0.005]] });
    const fields = [...root.querySelectorAll<HTMLInputElement>(".nnw-rate input")];
    expect(fields.map((field) => field.value)).toEqual(["0.1", "0.01"]);
    expect(root.querySelectorAll(".nnw-rate")[1]?.textContent).toContain("0.00500 from the next step");
    const field = fields[0] as HTMLInputElement;
    const type = async (text: string, key: string) => {
      field.value = text;
      await act(() => void field.dispatchEvent(new Event("input", { bubbles: true })));
      await act(() => void field.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })));
    };
    for (const [text, key] of [
      ["fast", "Enter"],
      ["-1", "Enter"],
      ["0.07", "Escape"],
    ] as const) {
      await type(text, key);
      expect(field.value).toBe("0.1");
    }
    await type("5e-2", "Enter");
    await until(() => expect(kernel.asked("rate")).toEqual([{ group: 0, value: 0.05 }]));
  });

  it("says what to do where there is nothing to show", async () => {
    const first = await show({ curve: null, layers: null, scalars: [] }, { state: "waiting", step: 0 });
    expect(first.root.textContent).toContain("No step yet: run the training loop.");
    const second = await show({ curve: null }, { loss_missing: true });
    expect(second.root.textContent).toContain("No loss seen: add w.log(loss=loss) after computing it.");
  });

  it("lists what happened in words, with its step", async () => {
    const events = [{ step: 31, kind: "skipped step", text: "A gradient was not finite." }];
    const { root } = await show({ events, event_count: 1 });
    expect(root.querySelector(".nnw-events")?.textContent).toContain("1 event");
    expect(root.querySelector(".nnw-events li")?.textContent).toBe("step 31skipped stepA gradient was not finite.");
  });

  it("moves one cursor through all charts by keys", async () => {
    const { root } = await show();
    const chart = root.querySelector(".nnw-chart-box") as HTMLElement;
    chart.dispatchEvent(new KeyboardEvent("keydown", { key: "Home", bubbles: true }));
    await until(() => expect(root.querySelector(".nnw-readout")?.textContent).toBe("step 1: 2.300"));
    expect(root.querySelector(".nnw-strip-values span")?.textContent).toBe("0.500");
    const layers = root.querySelector(".nnw-strip-box") as HTMLElement;
    layers.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
    await until(() => expect(layers.getAttribute("aria-valuetext")).toBe("features.0, step 1: 0.500"));
    layers.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    await until(() => expect(root.querySelector(".nnw-readout")).toBeNull());
  });

  it("stops following when its last display is gone, and says goodbye", async () => {
    const { kernel, controller, root } = await show();
    controller.abort();
    await until(() => expect(kernel.sent.at(-1)?.k).toBe("bye"));
    expect([...kernel.listeners.values()].every((set) => set.size === 0)).toBe(true);
    expect(root.childElementCount).toBe(0);
  });
});
