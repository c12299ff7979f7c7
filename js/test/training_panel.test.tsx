import { act } from "preact/test-utils";
import { afterEach, describe, expect, it, vi } from "vitest";
import training from "../src/entries/training";
import { encode } from "../src/wire/codec";
import type { AnyModel, Listener } from "../src/wire/model";
import type { ChartsResult, Play, Status, ToPage, ToPython } from "../src/wire/types";
import { charts, curve, play } from "./training_fixtures";

const IDLE: Status = { state: "idle", regime: "subshell", step: null, interval: null, error: "" };
const until = (check: () => void) => vi.waitFor(check, { timeout: 5000, interval: 5 });

/** A Python that answers with what it is given. */
class Kernel implements AnyModel {
  readonly sent: ToPython[] = [];
  readonly listeners = new Map<string, Set<Listener>>();
  client = "";
  refuses = "";
  constructor(public result: ChartsResult) {}
  get = (name: string): unknown => (name === "status" ? IDLE : name === "address" ? "abc" : undefined);
  on(event: string, listener: Listener): void {
    this.listeners.set(event, (this.listeners.get(event) ?? new Set()).add(listener));
  }
  off(event: string, listener: Listener): void {
    this.listeners.get(event)?.delete(listener);
  }
  send(content: unknown): void {
    const message = content as ToPython;
    this.sent.push(message);
    queueMicrotask(() => this.#answer(message));
  }
  say(message: ToPage): void {
    const { json, buffers } = encode(message);
    for (const listener of [...(this.listeners.get("msg:custom") ?? [])]) listener(json, buffers);
  }
  push(seq: number, result: ChartsResult): void {
    this.say({ k: "charts", client: this.client, seq, result });
  }
  asked(method: string): unknown[] {
    return this.sent.flatMap((m) => (m.k === "request" && m.method === method ? [m.params] : []));
  }
  #answer(message: ToPython): void {
    if (message.k === "hello") {
      this.client = message.client;
      const { play, status } = this.result;
      this.say({ k: "welcome", v: 1, client: message.client, status, durable: {}, play });
    } else if (message.k === "request") {
      const head = { k: "response", client: message.client, id: message.id } as const;
      const error = { type: "MessageError", message: this.refuses, layer: null, argument: null, remedy: "Wait." };
      if (this.refuses !== "" && message.method !== "charts") this.say({ ...head, ok: false, error });
      else this.say({ ...head, ok: true, result: message.method === "charts" ? this.result : this.result.play });
    }
  }
}

async function show(change: Partial<ChartsResult> = {}, state: Partial<Play> = {}) {
  const kernel = new Kernel(charts({ play: play({ step: 40, ...state }), ...change }));
  const widget = training();
  const controller = new AbortController();
  await widget.initialize({ model: kernel, signal: controller.signal });
  const root = document.createElement("div");
  document.body.append(root);
  await widget.render({ model: kernel, el: root, signal: controller.signal });
  await until(() => expect(root.textContent).toContain("Gradient norm by layer"));
  const button = (name: string) => [...root.querySelectorAll("button")].find((one) => one.textContent === name);
  return { kernel, root, controller, button };
}

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
