import { render } from "preact";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { binAt, channelsIn, edge, fitted, mostOf, within } from "../src/draw/bins";
import distributionAlone from "../src/entries/distribution";
import explorer from "../src/entries/explorer";
import { BrushArea } from "../src/ui/brush";
import { brushWords, countWords, distributionSentence, rangeWords, sourceWords } from "../src/ui/distribution_words";
import { mountForeign } from "../src/wire/foreign";
import type { Widget } from "../src/wire/model";
import type { DistributionResult, ToPython } from "../src/wire/types";
import { mobileNet } from "../test-page/mock_data";
import { distribution } from "../test-page/mock_distribution";
import { MockModel, type MockOptions } from "../test-page/mock_model";

const until = (check: () => void) => vi.waitFor(check, { timeout: 8000, interval: 10 });
const $ = (root: HTMLElement, selector: string) => root.querySelector<HTMLElement>(selector) as HTMLElement;
const asked = (model: MockModel) =>
  model.sent.filter((m): m is Extract<ToPython, { k: "request" }> => m.k === "request" && m.method === "distribution");
const press = (target: Element, key: string) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));

let leave: AbortController;
beforeEach(() => {
  leave = new AbortController();
});
afterEach(() => {
  leave.abort();
  document.body.replaceChildren();
});

async function show(make: () => Widget, options: Partial<MockOptions> = {}, manager?: unknown) {
  const model = new MockModel({ delay: 1, ...options, durable: { selected: ["features.3"], ...options.durable } });
  Object.assign(model, { widget_manager: manager });
  const widget = make();
  await widget.initialize({ model, signal: leave.signal });
  const root = document.createElement("div");
  document.body.append(root);
  await widget.render({ model, el: root, signal: leave.signal });
  return { model, root };
}

function result(change: Partial<DistributionResult> = {}, others: string[] = []): DistributionResult {
  const params = { layer: "features.3", input: 2, call: 0, output: null, edits: [], others, parameter: "" };
  return { ...distribution(mobileNet(), { ...params, quantity: change.quantity ?? "activations" }), ...change };
}

/** A widget manager whose views are a word in a place of their own. */
function manager(failures = 0) {
  const events: string[] = [];
  let left = failures;
  class Lumino {
    node = document.createElement("div");
    isAttached = false;
    static attach(widget: Lumino, host: HTMLElement) {
      host.append(widget.node);
      widget.isAttached = true;
      events.push("attach");
    }
    processMessage({ type }: { type: string }) {
      this.isAttached = false;
      events.push(type);
    }
  }
  return {
    events,
    get_model: (id: string) => (left-- > 0 ? Promise.reject(new Error("not yet")) : Promise.resolve({ id })),
    create_view: async () => ({ luminoWidget: new Lumino(), remove: () => events.push("remove") }),
  };
}

describe("bins", () => {
  const bins = { lo: -2, hi: 2, bins: 16 };

  it("have edges that meet, the last at the end", () => {
    expect([edge(bins, 0), edge(bins, 8), edge(bins, 16), edge({ lo: 0, hi: 0.3, bins: 3 }, 3)]).toEqual([
      -2, 0, 2, 0.3,
    ]);
  });

  it("make a brush of what was dragged, in any direction, and none of all", () => {
    expect(fitted({ from: 9, to: 4 }, 16)).toEqual({ from: 4, to: 9 });
    expect(fitted({ from: -3, to: 99 }, 16)).toBeNull();
    expect(fitted(null, 16)).toBeNull();
  });

  it("count what lies in a brush", () => {
    expect(within([1, 2, 3, 4], { from: 1, to: 2 })).toEqual({ inside: 5, total: 10 });
    expect(within([1, 2, 3, 4], null)).toEqual({ inside: 10, total: 10 });
  });

  it("tell the channels with a value in a brush", () => {
    const shares = { dtype: "u8", shape: [3, 4], data: Uint8Array.from([0, 1, 0, 0, 0, 0, 9, 9, 0, 0, 0, 0]) } as const;
    expect(channelsIn(shares, { from: 1, to: 2 })).toEqual(new Set([0, 1]));
    expect(channelsIn(shares, { from: 3, to: 3 })).toEqual(new Set([1]));
    expect(channelsIn(shares, null)).toBeNull();
    expect(channelsIn(null, { from: 1, to: 2 })).toBeNull();
  });

  it("are found under the pointer, and the nearest outside", () => {
    expect([-5, 0, 24, 25, 99, 100, 500].map((x) => binAt(x, 100, 4))).toEqual([0, 0, 0, 1, 3, 3, 3]);
  });

  it("say where at least nine in ten lie", () => {
    expect(mostOf([1, 0, 30, 40, 28, 1])).toEqual({ from: 2, to: 4 });
    expect(mostOf([90, 4, 3, 2, 1])).toEqual({ from: 0, to: 2 });
    expect(mostOf([0, 0, 7, 0])).toEqual({ from: 2, to: 2 });
    expect(mostOf([0, 0])).toEqual({ from: 0, to: 1 });
  });
});

describe("words of a distribution", () => {
  it("say in one sentence where the values lie", () => {
    expect(distributionSentence(result())).toMatch(
      /^2 % of the .* outputs of features\.3 for input 2 are exactly zero; at least nine in ten of all lie between .* and .*\.$/,
    );
    expect(distributionSentence(result({}, ["features.4", "features.5"]))).toContain("3 layers over the same bins");
  });

  it("tell a layer that is called by a number from a count", () => {
    const series = { ...result().series[0], layer: "0" } as DistributionResult["series"][number];
    expect(distributionSentence(result({ series: [series] }))).toContain("outputs of layer 0 for input 2");
  });

  it("say what is not there", () => {
    const series = result().series[0] as DistributionResult["series"][number];
    const statistics = { ...series.statistics, count: 4, minimum: null, maximum: null } as NonNullable<
      typeof series.statistics
    >;
    expect(distributionSentence(result({ series: [{ ...series, statistics }] }))).toContain("None of the 4 outputs");
    const none = { ...statistics, count: 0 };
    expect(distributionSentence(result({ series: [{ ...series, statistics: none, shape: [0, 3] }] }))).toContain("0×3");
    const same = { ...statistics, minimum: 0.5, maximum: 0.5 };
    expect(distributionSentence(result({ series: [{ ...series, statistics: same }] }))).toContain("are 0.500");
  });

  it("say how it was counted and where it is from", () => {
    expect(sourceWords(result())).toContain("every value is counted; 16 bins of 0.250.");
    const [series] = result().series;
    const sampled = [{ ...series, stride: 12, complex: true }] as DistributionResult["series"];
    expect(sourceWords(result({ series: sampled, edits: 1 }))).toMatch(/After 1 edit; .*one in 12 values.*magnitudes/);
    expect(sourceWords(result({ quantity: "gradients", series: sampled }))).toContain(".grad");
  });

  it("count zeros, NaN and infinities", () => {
    const [series] = result().series;
    const plain = { count: 100, minimum: 0, maximum: 1, mean: 0, std: 1, zeros: 0.25, nan: 0, posinf: 0, neginf: 0 };
    expect(countWords(plain)).toBe("25 of 100 values zero (25 %), no NaN, no ∞");
    expect(countWords({ ...plain, zeros: 0, nan: 3, neginf: 2 })).toBe(
      "100 values, none zero, 3 NaN, 2 −∞; what is not finite lies in no bin",
    );
    expect(series?.layer).toBe("features.3");
  });

  it("name a range, and whole numbers by themselves", () => {
    expect(rangeWords(result(), { from: 8, to: 11 })).toBe("0 to 1");
    const whole = result({ whole: true, lo: -0.5, hi: 15.5 });
    expect(rangeWords(whole, { from: 3, to: 3 })).toBe("3");
    expect(rangeWords(whole, { from: 3, to: 5 })).toBe("3 to 5");
    expect(brushWords(result(), { from: 8, to: 11 }, new Set([1, 2]), 24)).toMatch(
      /^0 to 1: .* values \(.* %\), in 2 of 24 channels$/,
    );
  });
});

describe("the brush", () => {
  function draw(brush: { from: number; to: number } | null) {
    const root = document.createElement("div");
    document.body.append(root);
    const onBrush = vi.fn();
    render(
      <BrushArea bins={16} brush={brush} edgeWords={(at) => `edge ${at}`} onBrush={onBrush} onHover={() => {}} />,
      root,
    );
    return { root, onBrush, lower: $(root, ".nnw-brush-from"), upper: $(root, ".nnw-brush-to") };
  }

  it("is moved by keys, a bin at a time or eight, and never crosses itself", () => {
    const { onBrush, lower, upper } = draw({ from: 4, to: 6 });
    expect(lower.getAttribute("aria-valuetext")).toBe("edge 4");
    expect(upper.getAttribute("aria-valuetext")).toBe("edge 7");
    press(lower, "ArrowRight");
    press(upper, "ArrowLeft");
    press(upper, "PageUp");
    press(lower, "Home");
    press(lower, "PageUp");
    press(upper, "Home");
    press(lower, "Escape");
    expect(onBrush.mock.calls.map(([brush]) => brush)).toEqual([
      { from: 5, to: 6 },
      { from: 4, to: 5 },
      { from: 4, to: 14 },
      { from: 0, to: 6 },
      { from: 6, to: 6 },
      { from: 4, to: 4 },
      null,
    ]);
  });

  it("is dragged over bins, and a click lets go of it", () => {
    const { root, onBrush } = draw(null);
    const area = $(root, ".nnw-brush");
    area.getBoundingClientRect = () => ({ left: 100, width: 160 }) as DOMRect;
    const point = (type: string, x: number) =>
      area.dispatchEvent(new PointerEvent(type, { clientX: x, button: 0, bubbles: true }));
    point("pointerdown", 145);
    point("pointermove", 121);
    point("pointermove", 119);
    point("pointerup", 119);
    point("pointerdown", 200);
    point("pointerup", 200);
    expect(onBrush.mock.calls.map(([brush]) => brush)).toEqual([{ from: 2, to: 4 }, { from: 1, to: 4 }, null]);
  });
});

describe("a widget of another package", () => {
  it("is attached once its model has come, told before it goes, and removed", async () => {
    const host = document.createElement("div");
    document.body.append(host);
    const found = manager(2);
    await mountForeign(found, "figure", host, leave.signal);
    expect(host.childElementCount).toBe(1);
    host.remove();
    leave.abort();
    expect(found.events).toEqual(["attach", "after-detach", "remove"]);
  });

  it("is not shown where the place has gone or nobody makes views", async () => {
    const found = manager();
    await mountForeign(found, "figure", document.createElement("div"), leave.signal);
    expect(found.events).toEqual(["remove"]);
    await expect(mountForeign({}, "figure", document.body, leave.signal)).rejects.toThrow("no widgets");
  });
});

describe("the distribution of a layer", () => {
  it("is asked for only while its tab is on the screen, and anew each time", async () => {
    const { model, root } = await show(explorer, {}, manager());
    await until(() => expect(root.querySelectorAll("[role=gridcell]").length).toBeGreaterThan(0));
    const tab = (name: string) => $(root, `[data-tab="${name}"]`).click();
    expect(asked(model)).toEqual([]);
    tab("distribution");
    await until(() =>
      expect($(root, ".nnw-distribution .nnw-sentence").textContent).toContain("outputs of features.3"),
    );
    expect(asked(model).length).toBe(1);
    tab("maps");
    await until(() => expect($(root, ".nnw-maps")).not.toBeNull());
    // Nothing is pushed to a page that has not asked for it.
    await until(() => expect(model.watching).not.toBeNull());
    model.pushLook(5);
    await until(() => expect(model.sent.some((message) => message.k === "ack")).toBe(true));
    expect(asked(model).length).toBe(1);
    tab("distribution");
    await until(() => expect(asked(model).length).toBe(2));
  });

  it("brushed, leaves the tiles in range, there and among the feature maps, until it is let go", async () => {
    const { root } = await show(explorer, { durable: { view: "distribution" } }, manager());
    await until(() =>
      expect(root.querySelectorAll(".nnw-distribution-tiles [role=gridcell]").length).toBeGreaterThan(8),
    );
    const lower = () => $(root, ".nnw-brush-from");
    press(lower(), "PageUp");
    await until(() => expect(lower().getAttribute("aria-valuenow")).toBe("8"));
    press(lower(), "PageUp");
    await until(() => expect(lower().getAttribute("aria-valuenow")).toBe("15"));
    // In the made-up answer, channel 15 alone has values in the last bin.
    const tiles = () =>
      [...root.querySelectorAll<HTMLElement>("[role=gridcell]")].map((tile) => tile.dataset["channel"]);
    await until(() => expect(tiles()).toEqual(["15"]));
    expect($(root, ".nnw-foot [role=status]").textContent).toContain("in 1 of 24 channels");
    $(root, '[data-tab="maps"]').click();
    await until(() => expect($(root, ".nnw-only").textContent).toContain("Only the 1 of 24 channels"));
    expect(tiles()).toEqual(["15"]);
    $(root, ".nnw-only button").click();
    await until(() => expect(tiles().length).toBe(24));
    expect($(root, ".nnw-only")).toBeNull();
  });

  it("keeps compared layers when another layer is chosen, and takes them out again", async () => {
    const { model, root } = await show(explorer, { durable: { view: "distribution" } }, manager());
    const select = () => $(root, 'select[title="compare with another layer"]') as HTMLSelectElement;
    await until(() => expect(select()).not.toBeNull());
    select().value = "features.5";
    select().dispatchEvent(new Event("change", { bubbles: true }));
    await until(() => expect(model.get("selected")).toEqual(["features.3", "features.5"]));
    await until(() => expect(root.querySelectorAll(".nnw-legend li").length).toBe(2));
    $(root, '[data-layer="features.7"]').click();
    await until(() =>
      expect(asked(model).at(-1)?.params).toMatchObject({ layer: "features.7", others: ["features.5"] }),
    );
    await until(() => expect($(root, '.nnw-legend [data-layer="features.7"]')).not.toBeNull());
    $(root, '.nnw-legend [data-layer="features.5"] button').click();
    await until(() => expect(model.get("selected")).toEqual(["features.7"]));
  });

  it("says what is missing and how to get it, and asks again", async () => {
    const { model, root } = await show(distributionAlone, { durable: { quantity: "gradients" } }, manager());
    await until(() => expect($(root, ".nnw-empty").textContent).toContain("There are no gradients yet."));
    const before = asked(model).length;
    $(root, ".nnw-empty button").click();
    await until(() => expect(asked(model).length).toBe(before + 1));
    model.push({ k: "status", status: { state: "busy", regime: "subshell", step: null, interval: null, error: "" } });
    model.push({ k: "status", status: { state: "idle", regime: "subshell", step: null, interval: null, error: "" } });
    await until(() => expect(asked(model).length).toBe(before + 2));
  });

  it("says of a filter that is older than the pictures that it is", async () => {
    const { model, root } = await show(explorer, { durable: { view: "distribution" } }, manager());
    await until(() =>
      expect(root.querySelectorAll(".nnw-distribution-tiles [role=gridcell]").length).toBeGreaterThan(8),
    );
    press($(root, ".nnw-brush-from"), "ArrowRight");
    await until(() => expect($(root, ".nnw-brush-in")).not.toBeNull());
    $(root, '[data-tab="maps"]').click();
    await until(() => expect($(root, ".nnw-only").textContent).not.toContain("last counted"));
    await until(() => expect(model.watching).not.toBeNull());
    model.pushLook(5);
    await until(() => expect($(root, ".nnw-only").textContent).toContain("when they were last counted"));
  });

  it("keeps the last chart when counting failed, and counts again on demand", async () => {
    const { model, root } = await show(distributionAlone, {}, manager());
    await until(() => expect($(root, ".nnw-legend")).not.toBeNull());
    const message = { type: "ForwardError", message: "The model raised.", layer: null, argument: null, remedy: null };
    model.failing = message;
    model.write("input", 1);
    await until(() => expect($(root, "[role=alert]").textContent).toContain("The model raised."));
    expect($(root, ".nnw-legend")).not.toBeNull();
    model.failing = null;
    $(root, ".nnw-again button").click();
    await until(() => expect($(root, "[role=alert]")).toBeNull());
    expect($(root, ".nnw-sentence").textContent).toContain("for input 1");
  });

  it("is a table where no chart can be drawn", async () => {
    const { root } = await show(distributionAlone);
    await until(() => expect(root.querySelectorAll(".nnw-counts tbody tr").length).toBe(16));
    expect($(root, ".nnw-counts thead").textContent).toContain("features.3");
  });

  it("changes its axis without counting again", async () => {
    const { model, root } = await show(distributionAlone, {}, manager());
    await until(() => expect($(root, ".nnw-chart")).not.toBeNull());
    const before = asked(model).length;
    [...root.querySelectorAll("button")].find((button) => button.textContent === "linear")?.click();
    await until(() => expect(model.get("log_counts")).toBe(false));
    expect(asked(model).length).toBe(before);
  });
});
