import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Store } from "../src/state/store";
import { FeatureMaps } from "../src/ui/feature_maps";
import type { FeatureMapsProps, RankingProps } from "../src/ui/props";
import { orderWords, scoreWords } from "../src/ui/ranking_words";
import type { RankingResult, ToPython } from "../src/wire/types";
import { MockModel, type MockOptions } from "../test-page/mock_model";
import { all, button, draw, f32, find, maps, place } from "./pictures_fixtures";

place();

const STATE = { running: false, stopped: false, outdated: false };

function ranked(channels: number[], scores: number[], change: Partial<RankingResult> = {}): RankingResult {
  return {
    by: "influence",
    layer: "features.3",
    input: 0,
    call: 0,
    output: null,
    total: 30,
    channels: { dtype: "i32", shape: [channels.length], data: Int32Array.from(channels) },
    scores: f32(scores),
    preferred: [],
    classes: 0,
    inputs: 5,
    without: 0,
    target: 3,
    targets: [
      { index: 3, name: "cat" },
      { index: 5, name: "dog" },
    ],
    before: 2.5,
    quantity: "logit",
    step: null,
    note: "",
    ...change,
  };
}

function props(ranking: Partial<RankingProps>, change: Partial<FeatureMapsProps> = {}): FeatureMapsProps {
  return {
    maps: maps(30),
    stale: false,
    selected: -1,
    edits: [],
    scaling: "layer",
    colormap: "auto",
    order: "influence",
    showAll: true,
    busySince: null,
    error: null,
    dark: false,
    value: null,
    ranking: {
      result: null,
      error: null,
      busySince: null,
      stopped: false,
      outdated: false,
      onTarget: vi.fn(),
      onCancel: vi.fn(),
      onAgain: vi.fn(),
      ...ranking,
    },
    onSelect: vi.fn(),
    onAppearance: vi.fn(),
    onCall: vi.fn(),
    onOutput: vi.fn(),
    onHover: vi.fn(),
    onCancel: vi.fn(),
    ...change,
  };
}

const captions = () => all("[role=gridcell]").map((cell) => cell.textContent);

describe("the words for an order", () => {
  test("say what comes first, over how many inputs, and how far it has come", () => {
    const half = ranked([4, 2], [0.5, -2]);
    expect(orderWords("influence", { ...STATE, result: half }, 0)).toBe(
      "Largest change of the logit of “cat” first, when a channel is replaced by its mean over 5 pinned inputs " +
        "(never by zero). 2 of 30 channels ranked; the others follow by activity.",
    );
    expect(orderWords("influence", { ...STATE, result: half, stopped: true }, 2)).toMatch(
      /Stopped: 2 of 30 channels ranked.*Edits are left out of the ranking\.$/,
    );
    const index = ranked([0], [Number.NaN], { by: "selectivity", classes: 4, without: 1, total: 1 });
    const said = orderWords("selectivity", { ...STATE, result: index, outdated: true }, 0);
    expect(said).toContain("(μmax − μrest) / (μmax + μrest)");
    expect(said).toContain("5 pinned inputs of 4 classes");
    expect(said).toContain("1 channel with a negative mean");
    expect(said).toContain("have changed since");
    expect(orderWords("activity", { ...STATE, result: null }, 1)).not.toContain("Edits");
  });

  test("give each channel its number", () => {
    const said = scoreWords(ranked([4, 2], [0.5, -2]));
    expect([said(4), said(2), said(9)]).toEqual([
      "changes the logit by +0.500",
      "changes the logit by −2",
      "not ranked yet",
    ]);
    const index = scoreWords(ranked([0, 1], [0.25, Number.NaN], { by: "selectivity", preferred: ["cat", "dog"] }));
    expect([index(0), index(1)]).toEqual(["class selectivity 0.250, most for cat", "no class selectivity"]);
  });
});

describe("feature maps by influence", () => {
  test("show a partial ranking before the others, its progress, and a way out after a second", () => {
    vi.useFakeTimers();
    const onCancel = vi.fn();
    const result = ranked([4, 2, 11], [0.5, -2, 1]);
    draw(<FeatureMaps {...props({ result, busySince: performance.now(), onCancel })} />);
    expect(captions().slice(0, 5)).toEqual(["2", "11", "4", "29", "28"]);
    expect(find("[data-channel='2']").getAttribute("aria-label")).toBe("channel 2, changes the logit by −2");
    expect(find(".nnw-order").textContent).toContain("3 of 30 channels ranked");
    act(() => void vi.advanceTimersByTime(1100));
    expect(find("[role=progressbar]").getAttribute("aria-valuenow")).toBe("10");
    act(() => button("Cancel").click());
    expect(onCancel).toHaveBeenCalled();
  });

  test("go on after a stop, say what is missing, and leave another order as it was", () => {
    const onAgain = vi.fn();
    const result = ranked([4, 2], [0.5, -2]);
    draw(<FeatureMaps {...props({ result, stopped: true, onAgain })} />);
    act(() => button("go on").click());
    expect(onAgain).toHaveBeenCalled();
    const error = { type: "E", message: "No targets.", layer: null, argument: "targets", remedy: "Pass targets=." };
    draw(<FeatureMaps {...props({ error })} />);
    expect(find("[role=alert]").textContent).toBe("Error. No targets. Pass targets=.");
    draw(<FeatureMaps {...props({ result, error }, { order: "activity" })} />);
    expect(all("[role=alert]")).toHaveLength(0);
    expect(captions()[0]).toBe("29");
    expect(find("[data-channel='2']").getAttribute("aria-label")).toBe("channel 2");
  });

  test("offer the outputs whose change can be meant", () => {
    const onTarget = vi.fn();
    draw(<FeatureMaps {...props({ result: ranked([4], [1]), onTarget })} />);
    const select = find<HTMLSelectElement>("select[title='on the logit of']");
    expect([...select.options].map((option) => option.textContent)).toEqual(["logit of cat", "logit of dog"]);
    act(() => {
      select.value = "5";
      select.dispatchEvent(new Event("change", { bubbles: true }));
    });
    expect(onTarget).toHaveBeenCalledWith(5);
  });
});

describe("the ranking of a page", () => {
  let closing: AbortController;
  const pause = (ms: number) => vi.advanceTimersByTimeAsync(ms);

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
    const model = new MockModel({ delay: 5, durable: { selected: ["features.3"] }, ...options });
    const store = new Store(model, { look: ["maps", "prediction"] }, closing.signal);
    store.attach();
    return { store, model };
  }

  const asked = (model: MockModel) =>
    model.sent
      .filter((m): m is Extract<ToPython, { k: "request" }> => m.k === "request" && m.method === "ranking")
      .map((m) => m.params as { by: string; resume: number; target: number | null; layer: string });

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

  test("asks for nothing by activity, and part by part by influence until it has all", async () => {
    const { store, model } = open();
    await until(() => expect(store.look.shown.maps.value).not.toBeNull());
    expect(asked(model)).toEqual([]);
    store.view.order.value = "influence";
    const { ranking } = store;
    await until(() => expect(ranking.result.value?.channels.data.length).toBeGreaterThan(0));
    expect(ranking.busySince.value).not.toBeNull();
    await until(() => expect(ranking.busySince.value).toBeNull());
    const total = ranking.result.value?.total as number;
    expect(ranking.result.value?.channels.data.length).toBe(total);
    expect(asked(model).map(({ resume }) => resume)).toEqual([0, 1, 2, 3].map((at) => at * Math.ceil(total / 4)));
    // An edit does not rank anew.
    store.setEdit("features.3", 1, { layer: "features.3", op: "mean", channel: 1 });
    await pause(500);
    expect(asked(model)).toHaveLength(4);
  });

  test("stops when cancelled, keeps what was found, goes on when asked", async () => {
    const { store, model } = open({ delay: 20 });
    await until(() => expect(store.look.shown.maps.value).not.toBeNull());
    store.view.order.value = "influence";
    const { ranking } = store;
    await until(() => expect(ranking.result.value).not.toBeNull());
    ranking.cancel();
    const before = asked(model).length;
    await pause(300);
    expect(asked(model)).toHaveLength(before);
    expect(ranking.stopped.value).toBe(true);
    expect(ranking.result.value?.channels.data.length).toBeLessThan(ranking.result.value?.total as number);
    const found = ranking.result.value?.channels.data.length;
    void ranking.ask(true);
    expect(ranking.result.value?.channels.data.length).toBe(found);
    await until(() => expect(asked(model).length).toBeGreaterThan(before));
    expect(asked(model)[before]?.resume).toBe(found);
    await until(() => expect(ranking.result.value?.channels.data.length).toBe(ranking.result.value?.total));
    expect(ranking.stopped.value).toBe(false);
  });

  test("begins anew for another layer and for another output", async () => {
    const { store, model } = open();
    await until(() => expect(store.look.shown.maps.value).not.toBeNull());
    store.view.order.value = "influence";
    const done = () => until(() => expect(store.ranking.busySince.value).toBeNull());
    await until(() => expect(store.ranking.result.value).not.toBeNull());
    await done();
    store.ranking.target.value = 5;
    await until(() => expect(store.ranking.result.value?.target).toBe(5));
    await done();
    store.selectLayer("features.7");
    await until(() => expect(store.ranking.result.value?.layer).toBe("features.7"));
    expect(asked(model).at(-1)?.layer).toBe("features.7");
    store.view.order.value = "activity";
    await pause(50);
    expect(store.ranking.busySince.value).toBeNull();
  });

  test("says that it is outdated when a loop has moved the model", async () => {
    const { store, model } = open();
    await until(() => expect(store.look.shown.maps.value).not.toBeNull());
    store.view.order.value = "selectivity";
    await until(() => expect(store.ranking.result.value?.by).toBe("selectivity"));
    await until(() => expect(model.watching).not.toBeNull());
    expect(store.ranking.outdated.value).toBe(false);
    model.pushLook(4);
    expect(store.ranking.outdated.value).toBe(true);
  });
});
