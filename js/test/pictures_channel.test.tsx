import { act } from "preact/test-utils";
import { describe, expect, test, vi } from "vitest";
import { ChannelInspector } from "../src/ui/channel";
import { limitFault, parseLimit } from "../src/ui/channel_edits";
import { editMarks, editsSentence } from "../src/ui/edits";
import { Prediction } from "../src/ui/prediction";
import type { ChannelInspectorProps, PredictionProps } from "../src/ui/props";
import { keyed, settle } from "../src/ui/slider";
import type { ChannelResult, PageEdit, PredictionResult } from "../src/wire/types";
import { all, button, draw, find, key, place } from "./pictures_fixtures";

place();

describe("channel", () => {
  const plane: ChannelResult = {
    layer: "features.3",
    channel: 12,
    plane: { dtype: "f32", shape: [2, 3], data: Float32Array.of(0, 1, 2, 3, -0.512, 5) },
    pool: [1, 1],
    minimum: -0.512,
    maximum: 5,
    mean: 0.25,
    zero_note: "0 here becomes 0.66 after BatchNorm and ReLU6.",
    scale: null,
  };
  const inspectorProps = (change: Partial<ChannelInspectorProps> = {}): ChannelInspectorProps => ({
    input: null,
    channel: plane,
    maps: null,
    hover: null,
    edit: null,
    edits: [],
    colormap: "auto",
    scaling: "layer",
    dark: false,
    stale: false,
    onHover: vi.fn(),
    onEdit: vi.fn(),
    onCode: vi.fn(),
    ...change,
  });

  test("reads the exact value under the cross-hair", () => {
    draw(<ChannelInspector {...inspectorProps({ hover: { channel: 3, row: 1, column: 1 } })} />);
    expect(find(".nnw-readout").textContent).toBe("row 1, column 1: −0.512");
    expect(find(".nnw-plane").getAttribute("aria-label")).toContain("row 1, column 1: −0.512");
  });

  test("writes a single value as its number", () => {
    const one = { dtype: "f32" as const, shape: [1, 1], data: Float32Array.of(-0.25) };
    draw(<ChannelInspector {...inspectorProps({ channel: { ...plane, plane: one } })} />);
    expect(find(".nnw-single").textContent).toBe("−0.250");
    expect(all("canvas")).toHaveLength(0);
  });

  test("moves the cross-hair with the arrows", () => {
    const props = inspectorProps({ hover: { channel: 12, row: 0, column: 2 } });
    draw(<ChannelInspector {...props} />);
    key(find(".nnw-plane"), "ArrowDown");
    expect(props.onHover).toHaveBeenLastCalledWith({ channel: 12, row: 1, column: 2 });
    key(find(".nnw-plane"), "ArrowRight");
    expect(props.onHover).toHaveBeenLastCalledWith({ channel: 12, row: 0, column: 2 });
  });

  test("uses the mean first, and a second press takes it back", () => {
    const props = inspectorProps();
    draw(<ChannelInspector {...props} />);
    const first = find<HTMLButtonElement>(".nnw-buttons button");
    expect(first.textContent).toBe("Use mean");
    act(() => first.click());
    const edit: PageEdit = { layer: "features.3", op: "mean", channel: 12 };
    expect(props.onEdit).toHaveBeenLastCalledWith(edit);
    draw(<ChannelInspector {...props} edit={edit} />);
    expect(first.getAttribute("aria-pressed")).toBe("true");
    act(() => first.click());
    expect(props.onEdit).toHaveBeenLastCalledWith(null);
  });

  test("says what zero becomes", () => {
    draw(<ChannelInspector {...inspectorProps({ edit: { layer: "features.3", op: "zero", channel: 12 } })} />);
    expect(find(".nnw-zero-note").textContent).toBe(plane.zero_note);
  });

  test("limits from two fields, refuses nonsense in words, closes on Esc", () => {
    const props = inspectorProps();
    draw(<ChannelInspector {...props} />);
    act(() => button("Limit…").click());
    const [least, most] = all<HTMLInputElement>("form input");
    const type = (node: HTMLInputElement | undefined, text: string) =>
      act(() => {
        if (!node) throw new Error("no field");
        node.value = text;
        node.dispatchEvent(new Event("input", { bubbles: true }));
      });
    const submit = () =>
      act(() => void find("form").dispatchEvent(new Event("submit", { bubbles: true, cancelable: true })));
    type(least, "abc");
    submit();
    expect(find("form [role=alert]").textContent).toMatch(/not a number/);
    expect(props.onEdit).not.toHaveBeenCalled();
    type(least, "−0,5");
    type(most, "3");
    submit();
    expect(props.onEdit).toHaveBeenCalledWith({ layer: "features.3", op: "clamp", channel: 12, min: -0.5, max: 3 });
    key(find("form input"), "Escape");
    expect(all("form")).toHaveLength(0);
  });

  test("has a slider for the keyboard whose text is its factor", () => {
    const props = inspectorProps();
    draw(<ChannelInspector {...props} />);
    const slider = find("[role=slider]");
    expect(slider.getAttribute("aria-valuetext")).toBe("1.00×");
    key(slider, "ArrowLeft");
    expect(props.onEdit).toHaveBeenLastCalledWith({ layer: "features.3", op: "scale", channel: 12, factor: 0.95 });
    expect(slider.getAttribute("aria-valuetext")).toBe("0.95×");
    key(slider, "Backspace");
    expect(props.onEdit).toHaveBeenLastCalledWith(null);
    key(slider, "End");
    expect(slider.getAttribute("aria-valuenow")).toBe("2");
  });

  test("ignores what comes in while dragging", () => {
    const props = inspectorProps();
    draw(<ChannelInspector {...props} />);
    const slider = find("[role=slider]");
    slider.getBoundingClientRect = () => ({ left: 0, width: 100, top: 0, height: 24 }) as DOMRect;
    const point = (type: string, clientX: number) =>
      act(() => void slider.dispatchEvent(new PointerEvent(type, { clientX, button: 0, pointerId: 1, bubbles: true })));
    point("pointerdown", 25);
    point("pointermove", 75);
    draw(<ChannelInspector {...props} edit={{ layer: "features.3", op: "scale", channel: 12, factor: 0.5 }} />);
    expect(slider.getAttribute("aria-valuetext")).toBe("1.50×");
    expect(props.onEdit).toHaveBeenLastCalledWith({ layer: "features.3", op: "scale", channel: 12, factor: 1.5 });
    point("pointermove", 51);
    expect(props.onEdit).toHaveBeenLastCalledWith(null);
  });

  test("forgets the strength of one channel at the next", () => {
    const props = inspectorProps();
    draw(<ChannelInspector {...props} />);
    key(find("[role=slider]"), "Home");
    expect(find("[role=slider]").getAttribute("aria-valuetext")).toBe("0.00×");
    draw(<ChannelInspector {...props} channel={{ ...plane, channel: 13 }} />);
    expect(find("[role=slider]").getAttribute("aria-valuetext")).toBe("1.00×");
  });

  test("shows the edit of the channel that is shown, not of the one on its way", () => {
    const own: PageEdit = { layer: "features.3", op: "scale", channel: 12, factor: 0.5 };
    const next: PageEdit = { layer: "features.3", op: "zero", channel: 13 };
    draw(<ChannelInspector {...inspectorProps({ edit: next, edits: [own, next] })} />);
    expect(find("[role=slider]").getAttribute("aria-valuetext")).toBe("0.50×");
    expect(button("Zero").getAttribute("aria-pressed")).toBe("false");
  });

  test("settles on 1 near it and inside 0 to 2", () => {
    expect([0.97, 1.03, 1.06, -4, 9].map((value) => settle(value, true))).toEqual([1, 1, 1.06, 0, 2]);
    expect(settle(0.97, false)).toBe(0.97);
    expect([keyed("Home", 1.3), keyed("ArrowUp", 0.95), keyed("a", 1)]).toEqual([0, 1, null]);
  });

  test("reads limits as people type them", () => {
    expect([parseLimit(""), parseLimit(" −1,5 "), parseLimit("2e-3")]).toEqual([null, -1.5, 0.002]);
    expect(parseLimit("1.2.3")).toBeNaN();
    expect(limitFault(2, 1)).toMatch(/above/);
    expect(limitFault(null, null)).not.toBe("");
    expect(limitFault(null, 1)).toBe("");
  });
});

describe("prediction", () => {
  const result: PredictionResult = {
    kind: "softmax of logits",
    note: "",
    rows: [
      { index: 285, name: "Egyptian cat", before: 0.79, after: 0.44 },
      { index: 282, name: "tiger cat", before: 0.13, after: 0.26 },
    ],
    outputs: 1000,
    target: 285,
    edits: 1,
  };
  const edits: PageEdit[] = [{ layer: "features.3", op: "mean", channel: 12 }];
  const predictionProps = (change: Partial<PredictionProps> = {}): PredictionProps => ({
    prediction: result,
    stale: false,
    edits,
    error: null,
    onUndoAll: vi.fn(),
    onCode: vi.fn(),
    ...change,
  });

  test("shows both numbers, the kind, the target and the edit in words", () => {
    const props = predictionProps();
    draw(<Prediction {...props} />);
    expect(all(".nnw-numbers").map((cell) => cell.textContent)).toEqual(["0.790 → 0.440", "0.130 → 0.260"]);
    expect(find("header").textContent).toContain("softmax of logits");
    expect(all("[aria-label=target]")).toHaveLength(1);
    expect(find(".nnw-edits").textContent).toBe("1 edit: channel 12 of features.3 replaced by its mean");
    expect(find<HTMLElement>(".nnw-bar-after").style.width).toBe("44%");
    act(() => button("Undo all").click());
    act(() => button("Copy as code").click());
    expect(props.onUndoAll).toHaveBeenCalledOnce();
    expect(props.onCode).toHaveBeenCalledOnce();
  });

  test("shows one number and no violet bar without edits", () => {
    draw(<Prediction {...predictionProps({ edits: [] })} />);
    expect(find(".nnw-numbers").textContent).toBe("0.790");
    expect(all(".nnw-bar-after")).toHaveLength(0);
    expect(button("Undo all").disabled).toBe(true);
  });

  test("draws signed bars from zero with a stated range", () => {
    const rows = [{ index: 0, name: "a", before: -1, after: 3 }];
    draw(<Prediction {...predictionProps({ prediction: { ...result, kind: "logits", rows, target: null } })} />);
    expect(find<HTMLElement>(".nnw-bar-before").style.left).toBe("0%");
    expect(find<HTMLElement>(".nnw-bar-after").style.left).toBe("25%");
    expect(find(".nnw-prediction-note").textContent).toContain("Bars from −1 to 3");
  });

  test("keeps the last rows under an error, and says what is missing without any", () => {
    const error = { type: "E", message: "It failed.", layer: null, argument: null, remedy: null };
    draw(<Prediction {...predictionProps({ error })} />);
    expect(find("[role=alert]").textContent).toBe("Error. It failed.");
    expect(all("tr")).toHaveLength(2);
    draw(<Prediction {...predictionProps({ prediction: null, edits: [] })} />);
    expect(find(".nnw-empty").textContent).toMatch(/output=/);
  });
});

describe("edits", () => {
  test("are sentences and marks", () => {
    const edits: PageEdit[] = [
      { layer: "a", op: "scale", channel: 1, factor: 0.5 },
      { layer: "a", op: "clamp", channel: 1, min: 0, max: null },
      { layer: "b", op: "only", channel: 4 },
      { layer: "b", op: "zero", channel: null },
    ];
    expect(editsSentence(edits)).toBe(
      "4 edits: channel 1 of a times 0.500; channel 1 of a kept above 0; only channel 4 of b kept; all of b set to zero",
    );
    expect([...editMarks(edits, "a")]).toEqual([[1, "0.50×, limit"]]);
    expect(editsSentence([])).toBe("");
  });
});
