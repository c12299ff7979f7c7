import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import explorer from "../src/entries/explorer";
import inputs from "../src/entries/inputs";
import layers from "../src/entries/layers";
import type { Widget } from "../src/wire/model";
import type { Status, ToPython } from "../src/wire/types";
import { IDLE, MockModel, type MockOptions } from "../test-page/mock_model";

interface Shown {
  model: MockModel;
  widget: Widget;
  root: HTMLElement;
  controller: AbortController;
}

/** Listeners that live outside the widget's own elements, and observers: what a page must give back. */
let outside: Set<string>;
let count: number;

const until = (check: () => void) => vi.waitFor(check, { timeout: 8000, interval: 10 });
const $ = (root: HTMLElement, selector: string) => root.querySelector<HTMLElement>(selector) as HTMLElement;
const requests = (model: MockModel, method: string) =>
  model.sent.filter((m): m is Extract<ToPython, { k: "request" }> => m.k === "request" && m.method === method);

async function show(make: () => Widget = explorer, options: Partial<MockOptions> = {}): Promise<Shown> {
  const model = new MockModel({ delay: 1, durable: { selected: ["features.3"] }, ...options });
  const widget = make();
  const controller = new AbortController();
  await widget.initialize({ model, signal: controller.signal });
  const root = document.createElement("div");
  document.body.append(root);
  await widget.render({ model, el: root, signal: controller.signal });
  return { model, widget, root, controller };
}

function press(target: Element, key: string): void {
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
}

beforeEach(() => {
  outside = new Set();
  count = 0;
  for (const target of [window, document, document.body]) {
    const names = new Map<unknown, string>();
    const add = target.addEventListener.bind(target);
    const remove = target.removeEventListener.bind(target);
    vi.spyOn(target, "addEventListener").mockImplementation(((...call: [string, EventListener]) => {
      count += 1;
      names.set(call[1], `${call[0]} ${count}`);
      outside.add(`${call[0]} ${count}`);
      add(...call);
    }) as typeof add);
    vi.spyOn(target, "removeEventListener").mockImplementation(((...call: [string, EventListener]) => {
      outside.delete(names.get(call[1]) ?? "");
      remove(...call);
    }) as typeof remove);
  }
  for (const kind of ["ResizeObserver", "MutationObserver", "IntersectionObserver"] as const) {
    const Original = globalThis[kind] as unknown as new (...args: unknown[]) => { observe(...a: unknown[]): void };
    class Counted extends (Original as new (
      ...args: unknown[]
    ) => { observe(...a: unknown[]): void; disconnect(): void }) {
      readonly label = `${kind} ${++count}`;
      override observe(...args: unknown[]): void {
        outside.add(this.label);
        super.observe(...args);
      }
      override disconnect(): void {
        outside.delete(this.label);
        super.disconnect();
      }
    }
    vi.stubGlobal(kind, Counted);
  }
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

describe("the explorer", () => {
  it("shakes hands, then shows tree, inputs and tiles of the chosen layer", async () => {
    const { model, root } = await show();
    await until(() => expect($(root, ".nnw-layer-name").textContent).toBe("features.3"));
    expect(model.sent[0]).toMatchObject({ k: "hello", v: 1 });
    await until(() => expect($(root, ".nnw-model").textContent).toBe("MobileNetV2"));
    expect(root.querySelectorAll("[role=treeitem]").length).toBeGreaterThan(10);
    await until(() => expect(root.querySelectorAll("[role=option]").length).toBe(4));
    expect(root.querySelectorAll("[role=gridcell]").length).toBeGreaterThan(0);
    const look = requests(model, "look")[0]?.params;
    expect(look).toMatchObject({ layer: "features.3", input: 0, want: ["maps", "prediction"] });
  });

  it("asks Python for nothing before somebody looks", async () => {
    const model = new MockModel({ delay: 1 });
    await explorer().initialize({ model, signal: new AbortController().signal });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(model.sent.map((message) => message.k)).not.toContain("request");
  });

  it("answers a click on a layer with one look and one choice to keep", async () => {
    const { model, root } = await show();
    await until(() => $(root, '[data-layer="features.7"]').click());
    await until(() => expect($(root, ".nnw-layer-name").textContent).toBe("features.7"));
    expect(requests(model, "look").length).toBe(2);
    await until(() => expect(model.get("selected")).toEqual(["features.7"]));
    expect(requests(model, "set").map((request) => request.params)).toEqual([{ selected: ["features.7"] }]);
    expect($(root, '[data-layer="features.7"]').getAttribute("aria-selected")).toBe("true");
  });

  it("asks Python nothing for what the page knows", async () => {
    const { model, root } = await show();
    await until(() => expect($(root, ".nnw-layer-name")).not.toBeNull());
    // The last that is sent once everything is on the screen.
    await until(() => expect(model.watching?.layer).toBe("features.3"));
    const before = requests(model, "look").length;
    const order = $(root, "select[title=order]") as HTMLSelectElement;
    order.value = "number";
    order.dispatchEvent(new Event("change", { bubbles: true }));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(requests(model, "look").length).toBe(before);
  });

  it("keeps two displays of one widget in step and stops asking when both are gone", async () => {
    const { model, widget, root } = await show();
    const second = document.createElement("div");
    const leave = new AbortController();
    await widget.render({ model, el: second, signal: leave.signal });
    await until(() => $(root, '[data-layer="features.7"]').click());
    await until(() => expect($(second, ".nnw-layer-name").textContent).toBe("features.7"));
    expect(requests(model, "layers").length).toBe(1);
    leave.abort();
    expect(second.childElementCount).toBe(0);
    expect($(root, ".nnw-layer-name").textContent).toBe("features.7");
  });

  it("gives back every listener and observer", async () => {
    const { model, root, controller } = await show();
    await until(() => expect($(root, ".nnw-layer-name").textContent).toBe("features.3"));
    expect(outside.size).toBeGreaterThan(0);
    expect(model.listeners).toBeGreaterThan(0);
    controller.abort();
    await until(() => {
      expect([...outside]).toEqual([]);
      expect(model.listeners).toBe(0);
      expect(root.childElementCount).toBe(0);
      expect(model.sent.at(-1)?.k).toBe("bye");
    });
    const sent = model.sent.length;
    model.write("input", 3);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(model.sent.length).toBe(sent);
  });

  it("suppresses the notebook's shortcuts and leaves keys alone that it does not know", async () => {
    const { root } = await show();
    const own = $(root, ".nnw");
    expect(own.dataset["lmSuppressShortcuts"]).toBe("true");
    expect(own.tabIndex).toBe(0);
    await until(() => expect(root.querySelector("[role=treeitem]")).not.toBeNull());
    const row = $(root, "[role=treeitem]");
    row.dispatchEvent(new FocusEvent("focusin", { bubbles: true }));
    expect(row.dataset["lmSuppressShortcuts"]).toBe("true");
    const event = new KeyboardEvent("keydown", { key: "q", bubbles: true, cancelable: true });
    $(root, ".nnw-frame").dispatchEvent(event);
    expect(event.defaultPrevented).toBe(false);
  });

  it("edits, resets, steps and helps by key", async () => {
    const { model, root } = await show(explorer, { durable: { selected: ["features.3"], channel: 12 } });
    const frame = $(root, ".nnw-frame");
    await until(() => expect($(root, ".nnw-layer-name").textContent).toBe("features.3"));
    press(frame, "a");
    await until(() => expect(model.get("edits")).toEqual([{ layer: "features.3", op: "mean", channel: 12 }]));
    expect($(root, '[data-layer="features.3"]').getAttribute("aria-label")).toContain("edited");
    press(frame, "r");
    await until(() => expect(model.get("edits")).toEqual([]));
    press(frame, "]");
    await until(() => expect(model.get("channel")).toBe(13));
    press(frame, "[");
    press(frame, "[");
    await until(() => expect(model.get("channel")).toBe(11));
    press(frame, "?");
    await until(() => expect($(root, "[role=dialog]").textContent).toContain("find a layer"));
    press($(root, "[role=dialog]"), "Escape");
    await until(() => expect($(root, "[role=dialog]")).toBeNull());
    press(frame, "/");
    expect(document.activeElement).toBe($(root, ".nnw-find input"));
  });

  it("moves through the tree with the arrows and chooses with Enter", async () => {
    const { model, root } = await show();
    await until(() => expect($(root, '[data-layer="features.3"][aria-selected="true"]')).not.toBeNull());
    const tree = $(root, "[role=tree]");
    press(tree, "ArrowDown");
    await until(() => expect((document.activeElement as HTMLElement).dataset["layer"]).toBe("features.4"));
    press(tree, "Enter");
    await until(() => expect(model.get("selected")).toEqual(["features.4"]));
    press(tree, "ArrowRight");
    await until(() => expect($(root, '[data-layer="features.4"]').getAttribute("aria-expanded")).toBe("true"));
    press(tree, "End");
    await until(() => expect((document.activeElement as HTMLElement).dataset["layer"]).toBe("<b>bold</b>"));
    press(tree, "c");
    await until(() => expect((document.activeElement as HTMLElement).dataset["layer"]).toBe("features.0"));
  });

  it("finds layers and clears the search with Esc", async () => {
    const { root } = await show();
    await until(() => expect($(root, '[data-layer="features.0"]')).not.toBeNull());
    const find = $(root, ".nnw-find input") as HTMLInputElement;
    find.value = "classifier";
    find.dispatchEvent(new Event("input", { bubbles: true }));
    await until(() => expect($(root, '[data-layer="features.0"]')).toBeNull());
    expect($(root, '[data-layer="classifier.1"]')).not.toBeNull();
    press(find, "Escape");
    await until(() => expect($(root, '[data-layer="features.0"]')).not.toBeNull());
  });

  it("shows layer names as text and says why a layer is grey", async () => {
    const { root } = await show(explorer, { durable: { selected: ["classifier"] } });
    await until(() => expect($(root, '[data-layer="scripted"]')).not.toBeNull());
    expect(root.querySelector(".nnw-tree b")).toBeNull();
    expect($(root, '[data-layer="scripted"]').title).toContain("refuses hooks");
    expect($(root, '[data-layer="auxiliary"]').textContent).toContain("not called");
    const before = $(root, '[data-layer="scripted"]');
    before.click();
    expect(before.getAttribute("aria-selected")).toBe("false");
  });

  it("shows a shared layer under its first name", async () => {
    const { root } = await show(explorer, { durable: { selected: ["features.18.2"] } });
    await until(() => expect($(root, '[data-layer="features.18.2"]')).not.toBeNull());
    const other = await show(explorer, { durable: { selected: ["shared.elsewhere"] } });
    await until(() =>
      expect($(other.root, '[aria-selected="true"][role="treeitem"]').title).toContain("shared.elsewhere"),
    );
  });

  it("draws few of very many layers", async () => {
    const { hugeNet } = await import("../test-page/mock_data");
    const { root } = await show(explorer, { rows: hugeNet(4000), durable: { selected: ["blocks.900.conv"] } });
    await until(() => expect($(root, '[data-layer="blocks.900.conv"]')).not.toBeNull());
    expect(root.querySelectorAll("[role=treeitem]").length).toBeLessThan(100);
  });

  it("keeps the last picture and says what failed", async () => {
    const { model, root } = await show();
    await until(() => expect($(root, ".nnw-layer-name").textContent).toBe("features.3"));
    await until(() => expect(root.querySelectorAll("[role=gridcell]").length).toBeGreaterThan(0));
    model.failing = {
      type: "ForwardError",
      message: "The model raised.",
      layer: "x",
      argument: null,
      remedy: "Mend x.",
    };
    await until(() => $(root, '[data-layer="features.7"]').click());
    await until(() => expect(root.textContent).toContain("The model raised. Mend x."));
    expect(root.querySelectorAll("[role=gridcell]").length).toBeGreaterThan(0);
  });

  it("keeps a notice until it is dismissed, and then shows the next", async () => {
    const { model, root } = await show(explorer, { status: { ...IDLE, error: "The tap came off." } });
    await until(() => expect($(root, ".nnw-notice").textContent).toContain("The tap came off."));
    await until(() => expect($(root, ".nnw-layer-name").textContent).toBe("features.3"));
    model.push({ k: "look", seq: 1, client: (model.sent[0] as { client: string }).client, result: null as never });
    const dismiss = () => [...root.querySelectorAll("button")].find((b) => b.textContent === "Dismiss")?.click();
    await until(() => expect($(root, ".nnw-notice").textContent).toContain("Cannot read"));
    dismiss();
    await until(() => expect($(root, ".nnw-notice").textContent).toContain("The tap came off."));
    dismiss();
    await until(() => expect($(root, ".nnw-notice")).toBeNull());
  });

  it("says the state of play in words and follows it", async () => {
    const { model, root } = await show();
    await until(() => expect($(root, ".nnw-state").textContent).toBe("idle"));
    const training: Status = { ...IDLE, state: "training", step: 7, interval: 0.3 };
    model.push({ k: "status", status: training });
    await until(() => expect($(root, ".nnw-state").textContent).toContain("training · step 7 · answers in 0.3 s"));
    expect($(root, ".nnw-state").textContent).toContain("keep this page open");
  });

  it("acknowledges a pushed look after it is on the screen", async () => {
    const { model, root } = await show();
    await until(() => expect(model.watching?.layer).toBe("features.3"));
    await until(() => expect($(root, ".nnw-layer-name").textContent).toBe("features.3"));
    model.pushLook(5);
    await until(() => expect(model.sent.filter((message) => message.k === "ack")).toMatchObject([{ seq: 1 }]));
  });

  it("writes a failure of its own into the widget", async () => {
    const widget = explorer();
    const root = document.createElement("div");
    const model = new MockModel();
    vi.spyOn(model, "on").mockImplementation(() => {
      throw new Error("no events here");
    });
    await widget.initialize({ model, signal: new AbortController().signal });
    await widget.render({ model, el: root, signal: new AbortController().signal });
    expect(root.textContent).toContain("no events here");
  });
});

describe("single panels", () => {
  it("ask only for what they show", async () => {
    const tree = await show(layers);
    await until(() => expect($(tree.root, '[data-layer="features.3"]')).not.toBeNull());
    expect(new Set(tree.model.sent.filter((m) => m.k === "request").map((m) => m.method))).toEqual(new Set(["layers"]));
  });

  it("follow the traits of their siblings", async () => {
    const { model, root } = await show(inputs, { inputs: 40 });
    await until(() => expect(root.querySelectorAll("[role=option]").length).toBe(32));
    model.write("input", 3);
    await until(() => expect($(root, '[data-input="3"]').getAttribute("aria-selected")).toBe("true"));
    expect($(root, '[data-input="3"]').getAttribute("aria-label")).toContain("wrong, it is obelisk");
  });

  it("say what inputs are that are no pictures", async () => {
    const { root } = await show(inputs, { pictures: false });
    await until(() => expect($(root, '[data-input="2"] .nnw-no-picture').textContent).toContain("2"));
  });
});
