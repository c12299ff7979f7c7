import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Store } from "../src/state/store";
import type { Status, ToPython } from "../src/wire/types";
import { IDLE, MockModel, type MockOptions } from "../test-page/mock_model";

let closing: AbortController;

const pause = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** Let the page's own time pass until something is so: how busy the machine is plays no part. */
async function until(check: () => void): Promise<void> {
  for (let spent = 0; ; spent++) {
    try {
      return check();
    } catch (error) {
      if (spent === 8000) throw error;
    }
    await pause(1);
  }
}

function open(options: Partial<MockOptions> = {}): { store: Store; model: MockModel } {
  const model = new MockModel({ delay: 5, durable: { selected: ["features.3"], channel: 12 }, ...options });
  const needs = { look: ["maps", "channel", "prediction"] as const };
  const store = new Store(model, needs, closing.signal);
  store.attach();
  return { store, model };
}

/** The first answer is on the screen. */
async function answered(store: Store): Promise<void> {
  await until(() => expect(store.look.shown.channel.value).not.toBeNull());
}

function looks(model: MockModel): Extract<ToPython, { k: "request" }>[] {
  return model.sent.filter((m): m is Extract<ToPython, { k: "request" }> => m.k === "request" && m.method === "look");
}

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ["setTimeout", "clearTimeout", "performance", "requestAnimationFrame", "cancelAnimationFrame"],
  });
  closing = new AbortController();
});
afterEach(() => {
  closing.abort();
  vi.useRealTimers();
});

describe("a drag of the slider", () => {
  it("keeps one look in flight, ends with the last value and keeps it once it rests", async () => {
    const { store, model } = open({ delay: 25 });
    await until(() => expect(store.look.shown.prediction.value).not.toBeNull());
    let most = 0;
    for (let step = 1; step <= 40; step++) {
      const factor = step / 40;
      store.setEdit("features.3", 12, { layer: "features.3", op: "scale", channel: 12, factor });
      expect(store.durable.signals.edits.value[0]?.factor).toBe(factor);
      most = Math.max(most, store.rpc.inFlight);
      await pause(4);
    }
    expect(most).toBe(1);
    await until(() => expect(store.look.stale.maps.value).toBe(false));
    expect(looks(model).at(-1)?.params).toMatchObject({ edits: [{ factor: 1 }] });
    expect(looks(model).length).toBeLessThan(25);
    await until(() => expect(model.get("edits")).toMatchObject([{ factor: 1 }]));
    expect(model.sent.filter((m) => m.k === "request" && m.method === "set").length).toBe(1);
  });
});

describe("a look", () => {
  it("asks only for what the screen does not show", async () => {
    const { store, model } = open();
    await answered(store);
    await until(() => expect(looks(model).length).toBe(1));
    store.durable.set({ channel: 3 });
    await until(() => expect(store.look.shown.channel.value?.channel).toBe(3));
    expect(looks(model).map((request) => (request.params as { want: string[] }).want)).toEqual([
      ["maps", "channel", "prediction"],
      ["channel"],
    ]);
  });

  it("cancels a question about a layer that was left", async () => {
    const { store, model } = open({ delay: 40 });
    await until(() => expect(looks(model).length).toBe(1));
    store.selectLayer("features.7");
    await until(() => expect(store.look.shown.maps.value?.layer).toBe("features.7"));
    expect(model.sent.some((message) => message.k === "cancel")).toBe(true);
  });

  it("is asked again when its layer is chosen once more after a cancel", async () => {
    const { store, model } = open({ delay: 60 });
    await until(() => expect(looks(model).length).toBe(1));
    store.look.cancel();
    await until(() => expect(store.look.busySince.value).toBeNull());
    expect(store.look.error.value?.remedy).toContain("once more");
    store.selectLayer("features.3");
    await until(() => expect(store.look.stale.maps.value).toBe(false));
    expect(store.look.error.value).toBeNull();
  });

  it("is asked again when the loop that moved the weights is over", async () => {
    const { store, model } = open();
    await answered(store);
    const training: Status = { ...IDLE, state: "training", step: 1, interval: 0.1 };
    model.push({ k: "status", status: training });
    model.push({ k: "status", status: IDLE });
    await until(() => expect(looks(model).length).toBe(2));
  });

  it("pushed by a loop is refused while a newer answer is on its way", async () => {
    const { store, model } = open({ delay: 30 });
    await answered(store);
    await until(() => expect(model.watching).not.toBeNull());
    store.durable.set({ edits: [{ layer: "features.3", op: "zero", channel: 1 }] });
    model.pushLook(4);
    expect(store.look.result.value?.step).toBeNull();
    await until(() => expect(store.look.shown.prediction.value?.edits).toBe(1));
  });
});

describe("a layer without the chosen channel", () => {
  it("lets go of the channel and asks again", async () => {
    const { store, model } = open();
    await answered(store);
    const error = { type: "InputError", message: "No channel 12.", layer: "classifier", remedy: null };
    model.failing = { ...error, argument: "channel" };
    model.write("selected", ["classifier"]);
    await until(() => expect(model.get("channel")).toBe(-1));
    model.failing = null;
    store.look.refresh();
    await until(() => expect(store.look.shown.maps.value?.layer).toBe("classifier"));
    expect(store.look.error.value).toBeNull();
  });
});

describe("the pointed-at value", () => {
  it("comes from the page's own plane for the selected channel", async () => {
    const { store, model } = open();
    await answered(store);
    store.hover.set({ channel: 12, row: 2, column: 3 });
    const plane = store.look.shown.channel.value?.plane;
    const value = plane?.data[2 * (plane.shape[1] as number) + 3] as number;
    expect(Number(store.hover.value.value?.text.replace("−", "-"))).toBeCloseTo(value, 7);
    await pause(200);
    expect(model.sent.some((message) => message.k === "request" && message.method === "value")).toBe(false);
  });

  it("is asked of Python for another channel once the pointer rests", async () => {
    const { store, model } = open();
    await answered(store);
    for (const column of [1, 2, 3]) store.hover.set({ channel: 5, row: 2, column });
    await until(() => expect(store.hover.value.value).toEqual({ channel: 5, row: 2, column: 3, text: "+0.500" }));
    const asked = model.sent.filter((message) => message.k === "request" && message.method === "value");
    expect(asked.length).toBe(1);
  });
});
