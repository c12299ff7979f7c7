import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Store } from "../src/state/store";
import type { FiltersParams, ToPython } from "../src/wire/types";
import { MockModel } from "../test-page/mock_model";

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

function open(layer: string): { store: Store; model: MockModel } {
  const model = new MockModel({ delay: 5, durable: { selected: [layer], view: "filters" } });
  const store = new Store(model, { filters: "view" }, closing.signal);
  store.attach();
  return { store, model };
}

function asked(model: MockModel, method = "filters"): FiltersParams[] {
  return model.sent
    .filter((m): m is Extract<ToPython, { k: "request" }> => m.k === "request" && m.method === method)
    .map((request) => request.params as FiltersParams);
}

async function shown(store: Store): Promise<void> {
  await until(() => {
    expect(store.weights.region.value.value).not.toBeNull();
    expect(store.weights.stale.value).toBe(false);
  });
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

const CONV = "features.0.0";
const LINEAR = "classifier.1";

describe("the question about weights", () => {
  it("is not asked again for what the page can do alone", async () => {
    const { store, model } = open(CONV);
    await shown(store);
    store.weights.choose({ sort: "norm" });
    await pause(200);
    expect(asked(model)).toHaveLength(1);
    store.weights.choose({ sort: "similarity" });
    await until(() => expect(asked(model)).toHaveLength(2));
    expect(asked(model).at(-1)).toMatchObject({ sort: "similarity", reference: null });
    store.durable.set({ channel: 3 });
    await until(() => expect(asked(model).at(-1)).toMatchObject({ reference: 3 }));
  });

  it("has Python sort the rows of a matrix, of which a part is here", async () => {
    const { store, model } = open(LINEAR);
    await shown(store);
    store.weights.choose({ sort: "norm" });
    await until(() => expect(asked(model).at(-1)).toMatchObject({ sort: "norm", look: null }));
    store.weights.choose({ sort: "activity" });
    await until(() => expect(asked(model).at(-1)).toMatchObject({ look: { layer: LINEAR, want: ["maps"] } }));
  });

  it("names the window in sight, without which the picture stays as bright as it was", async () => {
    const { store, model } = open(LINEAR);
    await shown(store);
    store.weights.see([0, 10, 0, 20], [256, 320]);
    expect(store.weights.stale.value).toBe(false);
    await until(() => expect(asked(model).at(-1)).toMatchObject({ window: [0, 10, 0, 20], room: [256, 320] }));
    store.weights.choose({ section: 1 });
    expect(store.weights.stale.value).toBe(true);
    await until(() => expect(asked(model).at(-1)).toMatchObject({ window: null, section: 1 }));
  });

  it("begins anew with another layer", async () => {
    const { store, model } = open(CONV);
    await shown(store);
    store.weights.choose({ mode: 2, sort: "similarity" });
    await until(() => expect(asked(model).at(-1)).toMatchObject({ mode: 2 }));
    store.selectLayer(LINEAR);
    await until(() => expect(asked(model).at(-1)).toMatchObject({ layer: LINEAR, mode: "auto", sort: "number" }));
  });

  it("is not asked where nobody sees the answer", async () => {
    const { store, model } = open(CONV);
    await shown(store);
    store.durable.set({ view: "maps" });
    store.selectLayer(LINEAR);
    await pause(500);
    expect(asked(model)).toHaveLength(1);
  });
});

describe("a question that was cancelled", () => {
  it("is asked again when its layer is chosen once more", async () => {
    const { store, model } = open(CONV);
    await until(() => expect(store.weights.region.busySince.value).not.toBeNull());
    store.weights.cancel();
    await until(() => expect(store.weights.region.busySince.value).toBeNull());
    expect(store.weights.region.error.value?.remedy).toContain("once more");
    await pause(100);
    expect(store.weights.region.value.value).toBeNull();
    store.selectLayer(CONV);
    await shown(store);
    expect(store.weights.region.error.value).toBeNull();
    expect(asked(model)).toHaveLength(2);
  });
});

describe("the number under the pointer", () => {
  const point = { tile: 1, row: 0, column: 2, rows: 1, columns: 1, gradient: false };

  it("is asked once the pointer rests, and forgotten when it moves on", async () => {
    const { store, model } = open(CONV);
    await shown(store);
    store.weights.hover({ ...point, tile: 0 });
    await pause(50);
    store.weights.hover(point);
    await until(() => expect(store.weights.value.value).toEqual({ point, text: "0.5" }));
    expect(asked(model, "weight")).toMatchObject([{ layer: CONV, tile: 1, row: 0, column: 2, of_gradient: false }]);
    store.weights.hover(null);
    expect(store.weights.value.value).toBeNull();
  });
});

describe("weights that a loop pushes", () => {
  it("are shown while they answer what is asked, and acknowledged", async () => {
    const { store, model } = open(CONV);
    await shown(store);
    await until(() => expect(model.following).toMatchObject({ layer: CONV }));
    model.pushFilters(7);
    await until(() => expect(store.weights.region.value.value?.step).toBe(7));
    await until(() => expect(model.sent.filter((message) => message.k === "ack")).toHaveLength(1));
    store.selectLayer(LINEAR);
    model.pushFilters(8);
    await shown(store);
    expect(store.weights.region.value.value?.layer).toBe(LINEAR);
    expect(store.weights.region.value.value?.step).toBeNull();
  });
});
