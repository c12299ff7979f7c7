import { readFileSync } from "node:fs";
import { join } from "node:path";
import { act } from "preact/test-utils";
import { describe, expect, test, vi } from "vitest";
import { Filters } from "../src/ui/filters";
import { filtersSentence, hoverWords } from "../src/ui/filters_words";
import type { FiltersProps } from "../src/ui/props";
import { decode } from "../src/wire/codec";
import type { FiltersResult, WeightPicture, WeightStrip } from "../src/wire/types";
import { all, button, draw, f32, find, key, place } from "./pictures_fixtures";

place();

const STATISTICS = { count: 36, minimum: -1, maximum: 1, mean: 0, std: 0.5, zeros: 0, nan: 0, posinf: 0, neginf: 0 };
const u8 = (shape: number[], data: number[] = []) => ({
  dtype: "u8" as const,
  shape,
  data: Uint8Array.from({ length: shape.reduce((product, size) => product * size, 1) }, (_, at) => data[at] ?? 0),
});

function picture(change: Partial<WeightPicture> = {}): WeightPicture {
  return {
    codes: u8([4, 3, 3]),
    lo: f32([-1, -1, -1, -1]),
    hi: f32([1, 1, 1, 1]),
    pool: [1, 1],
    norms: f32([2, 8, 4, 1]),
    row_norms: null,
    column_norms: null,
    ...STATISTICS,
    ...change,
  };
}

function bank(change: Partial<FiltersResult> = {}): FiltersResult {
  return {
    layer: "conv1",
    type: "Conv2d",
    step: null,
    kind: "channel",
    shape: [4, 8, 3, 3],
    inputs: 8,
    channel: 2,
    axes: ["row", "column"],
    part: "weight",
    parts: [{ name: "weight", label: "weight" }],
    section: null,
    sections: [],
    slice: null,
    slices: 1,
    window: null,
    order: null,
    sort: "number",
    reference: null,
    input: null,
    scores: null,
    weight: picture(),
    gradient: null,
    gradient_note: "There is no gradient now.",
    strips: [],
    tied: [],
    reason: "",
    note: "",
    ...change,
  };
}

/** A matrix of which the codes say what is in each place: row × 10 + column. */
function matrix(rows: number, columns: number, change: Partial<FiltersResult> = {}): FiltersResult {
  const codes = Array.from({ length: rows * columns }, (_, at) => Math.floor(at / columns) * 10 + (at % columns));
  return bank({
    kind: "matrix",
    type: "Linear",
    shape: [rows, columns],
    axes: ["output", "input"],
    inputs: columns,
    channel: null,
    window: [0, rows, 0, columns],
    weight: picture({
      codes: u8([1, rows, columns], codes),
      lo: f32([0]),
      hi: f32([252]),
      norms: null,
      row_norms: f32(Array.from({ length: rows }, () => 1)),
      column_norms: f32(Array.from({ length: columns }, () => 1)),
    }),
    ...change,
  });
}

function filtersProps(change: Partial<FiltersProps> = {}): FiltersProps {
  return {
    filters: bank(),
    stale: false,
    error: null,
    selected: 1,
    dark: false,
    sort: "number",
    gradient: false,
    range: null,
    point: null,
    onChoose: vi.fn(),
    onSight: vi.fn(),
    onSelect: vi.fn(),
    onGradient: vi.fn(),
    onRange: vi.fn(),
    onColormap: vi.fn(),
    onHover: vi.fn(),
    ...change,
  };
}
const captions = () => all("[role=gridcell][data-channel]").map((cell) => cell.dataset["channel"]);
const choose = (title: string, value: string) => {
  const select = find<HTMLSelectElement>(`select[title="${title}"]`);
  select.value = value;
  act(() => void select.dispatchEvent(new Event("change", { bubbles: true })));
};

describe("filters", () => {
  test("share the selection and choose the input channel or the norm", () => {
    const props = filtersProps();
    draw(<Filters {...props} />);
    expect(find("[aria-selected=true]").dataset["channel"]).toBe("1");
    expect(find(".nnw-sentence").textContent).toBe("What each of 4 filters does with input channel 2 of 8.");
    for (const [value, mode] of [
      ["norm", "norm"],
      ["5", 5],
    ] as const) {
      choose("show", value);
      expect(props.onChoose).toHaveBeenLastCalledWith({ mode });
    }
    act(() => find("[data-channel='3']").click());
    expect(props.onSelect).toHaveBeenCalledWith(3);
  });

  test("say why there are none", () => {
    const none = bank({ kind: "none", parts: [], weight: null, reason: "ReLU has no weights." });
    draw(<Filters {...filtersProps({ filters: none })} />);
    expect(find(".nnw-empty").textContent).toBe("ReLU has no weights.");
  });

  test("say what is waited for, and what to do where nothing came", () => {
    draw(<Filters {...filtersProps({ filters: null, busySince: performance.now() })} />);
    expect(find(".nnw-empty").textContent).toMatch(/Waiting for the weights/);
    const error = { type: "E", message: "It failed.", layer: null, argument: null, remedy: "Try this." };
    draw(<Filters {...filtersProps({ filters: null, error })} />);
    expect(find("[role=alert]").textContent).toBe("Error. It failed. Try this.");
    expect(find(".nnw-empty").textContent).toMatch(/Choose another layer/);
    draw(<Filters {...filtersProps({ error })} />);
    expect(captions()).toHaveLength(4);
  });

  test("are sorted by number and norm without asking", () => {
    const props = filtersProps();
    draw(<Filters {...props} />);
    expect(captions()).toEqual(["0", "1", "2", "3"]);
    draw(<Filters {...props} sort="norm" />);
    expect(captions()).toEqual(["1", "2", "0", "3"]);
    expect(find("[data-channel='1']").getAttribute("aria-label")).toBe("filter 1, norm 8");
    expect(find(".nnw-sentence").textContent).toMatch(/Filters with the largest norm first\.$/);
  });

  test("are sorted by what Python says of their likeness once it has said so", () => {
    const props = filtersProps({ sort: "similarity" });
    draw(<Filters {...props} />);
    expect(captions()).toEqual(["0", "1", "2", "3"]);
    const scored = bank({ sort: "similarity", reference: 1, scores: f32([-0.5, 1, Number.NaN, 0.25]) });
    draw(<Filters {...props} filters={scored} />);
    expect(captions()).toEqual(["2", "1", "3", "0"]);
    expect(find(".nnw-sentence").textContent).toContain("Filters most like filter 1 first (cosine of all weights).");
    // Another one is chosen: the order stays until the answer about it is there, and through a training step.
    draw(<Filters {...props} filters={scored} selected={3} />);
    expect(captions()).toEqual(["2", "1", "3", "0"]);
    const other = { ...scored, reference: 3, scores: f32([0.5, 0.1, 0.2, 1]) };
    draw(<Filters {...props} filters={other} selected={3} />);
    expect(captions()).toEqual(["3", "0", "2", "1"]);
    draw(<Filters {...props} filters={{ ...other, scores: f32([0.1, 0.5, 0.2, 1]) }} selected={3} />);
    expect(captions()).toEqual(["3", "0", "2", "1"]);
  });

  test("are sorted by activity anew for another input, not for an edit", () => {
    const props = filtersProps({ sort: "activity" });
    const one = bank({ sort: "activity", input: 0, scores: f32([0, 1, 2, 3]) });
    draw(<Filters {...props} filters={one} />);
    expect(captions()).toEqual(["3", "2", "1", "0"]);
    draw(<Filters {...props} filters={{ ...one, scores: f32([3, 2, 1, 0]) }} />);
    expect(captions()).toEqual(["3", "2", "1", "0"]);
    draw(<Filters {...props} filters={{ ...one, input: 1, scores: f32([3, 2, 1, 0]) }} />);
    expect(captions()).toEqual(["0", "1", "2", "3"]);
  });

  test("have their gradient beside them where there is one, else the reason", () => {
    const props = filtersProps();
    draw(<Filters {...props} />);
    expect(button("gradient").disabled).toBe(true);
    expect(button("gradient").title).toBe("There is no gradient now.");
    const both = bank({ gradient: picture({ minimum: -0.1, maximum: 0.2 }), gradient_note: "" });
    draw(<Filters {...props} filters={both} gradient />);
    expect(find("[data-channel='0']").querySelectorAll(".nnw-tile-half")).toHaveLength(2);
    expect(all(".nnw-colourbar")).toHaveLength(2);
    act(() => button("gradient").click());
    expect(props.onGradient).toHaveBeenCalledWith(false);
  });

  test("choose another tensor, one of its parts and a slice", () => {
    const filters = bank({
      parts: [
        { name: "weight", label: "weight" },
        { name: "bias", label: "bias" },
      ],
      sections: ["query", "key"],
      section: 0,
      slices: 3,
      slice: 1,
    });
    const props = filtersProps({ filters });
    draw(<Filters {...props} />);
    expect(find(".nnw-sentence").textContent).toMatch(/^Query: What each.*Slice 1 of 3 along depth\.$/);
    choose("weight", "bias");
    expect(props.onChoose).toHaveBeenLastCalledWith({ part: "bias" });
    choose("part of it", "-1");
    expect(props.onChoose).toHaveBeenLastCalledWith({ section: -1 });
    choose("slice along depth", "2");
    expect(props.onChoose).toHaveBeenLastCalledWith({ slice: 2 });
  });

  test("say plainly what is tied, pooled and not a number", () => {
    const filters = bank({
      tied: ["decoder.weight"],
      note: "each pixel averages 2 × 2 weights",
      weight: picture({ nan: 3, pool: [2, 2] }),
    });
    draw(<Filters {...filtersProps({ filters })} />);
    const said = find(".nnw-sentence").textContent;
    expect(said).toContain("Each pixel averages 2 × 2 weights. Tied: decoder.weight is the same tensor.");
    expect(find(".nnw-foot-text").textContent).toBe("weights −1 to 1 · pooled 2×2 · 3 NaN hatched");
  });
});

describe("a matrix", () => {
  test("is one picture with numbers, norms and a sentence", () => {
    draw(<Filters {...filtersProps({ filters: matrix(6, 8) })} />);
    expect(find(".nnw-sentence").textContent).toBe(
      "6 outputs as rows, 8 inputs as columns; bars: L2 norms of whole rows and columns.",
    );
    expect(all(".nnw-heat-margin")).toHaveLength(2);
    expect(all(".nnw-heat-rows .nnw-tick").map((tick) => tick.textContent)).toEqual(["0", "1", "2", "3", "4", "5"]);
  });

  test("is walked, zoomed and moved by keys", () => {
    const props = filtersProps({ filters: matrix(20, 40), point: null });
    draw(<Filters {...props} />);
    const map = () => find(".nnw-heat-picture");
    const sight = () => ["top", "bottom", "left", "right"].map((side) => Number(map().dataset[side]));
    expect(sight()).toEqual([0, 20, 0, 40]);
    key(map(), "+");
    expect(sight()).toEqual([5, 15, 10, 30]);
    key(map(), "ArrowDown");
    expect(props.onHover).toHaveBeenLastCalledWith({
      tile: 0,
      row: 10,
      column: 20,
      rows: 1,
      columns: 1,
      gradient: false,
    });
    const point = { tile: 0, row: 14, column: 20, rows: 1, columns: 1, gradient: false };
    draw(<Filters {...props} point={point} />);
    key(map(), "ArrowDown");
    expect(props.onHover).toHaveBeenLastCalledWith({ ...point, row: 15 });
    expect(sight()).toEqual([6, 16, 10, 30]);
    key(map(), "Enter");
    expect(props.onSelect).toHaveBeenCalledWith(14);
    act(() => button("zoom out").click());
    key(map(), "0");
    expect(sight()).toEqual([0, 20, 0, 40]);
    expect(button("whole").disabled).toBe(true);
  });

  test("asks for a window only where the picture is too coarse for what is in sight", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const coarse = matrix(20, 40, { shape: [80, 4000], window: [0, 80, 0, 4000] });
    const filters = { ...coarse, weight: picture({ ...coarse.weight, pool: [4, 100] }) };
    const props = filtersProps({ filters });
    draw(<Filters {...props} />);
    await act(() => void vi.advanceTimersByTime(500));
    const [first] = vi.mocked(props.onSight).mock.calls.at(-1) ?? [];
    expect(first).toBeNull();
    key(find(".nnw-heat-picture"), "+");
    await act(() => void vi.advanceTimersByTime(500));
    expect(vi.mocked(props.onSight).mock.calls.at(-1)?.[0]).toEqual([20, 60, 1000, 3000]);
    const asked = vi.mocked(props.onSight).mock.calls.length;
    draw(<Filters {...props} filters={matrix(20, 40)} />);
    key(find(".nnw-heat-picture"), "+");
    await act(() => void vi.advanceTimersByTime(500));
    expect(props.onSight).toHaveBeenCalledTimes(asked);
  });

  test("names sorted rows by their own numbers", () => {
    const order = { dtype: "i32" as const, shape: [4], data: Int32Array.of(2, 0, 3, 1) };
    const filters = matrix(4, 4, { order, sort: "norm" });
    draw(<Filters {...filtersProps({ filters, sort: "norm" })} />);
    expect(all(".nnw-heat-rows .nnw-tick").map((tick) => tick.textContent)).toEqual(["2", "0", "3", "1"]);
    const point = { tile: 0, row: 3, column: 1, rows: 1, columns: 1, gradient: false };
    expect(hoverWords(filters, point, null)).toBe("output 3, input 1: ≈ 21");
    const pooled = { ...filters, weight: filters.weight && { ...filters.weight, pool: [2, 1] as [number, number] } };
    expect(hoverWords(pooled, point, null)).toBe("output 3, input 1: …");
  });
});

describe("the words of a place", () => {
  test("hold the value of the picture until Python has said the exact one", () => {
    const filters = matrix(6, 8);
    const point = { tile: 0, row: 2, column: 3, rows: 1, columns: 1, gradient: false };
    expect(hoverWords(filters, point, null)).toBe("output 2, input 3: ≈ 23");
    expect(hoverWords(filters, point, { point, text: "-0.125" })).toBe("output 2, input 3: −0.125");
    const block = { ...point, rows: 2, columns: 4 };
    expect(hoverWords(filters, block, { point: block, text: "1.5" })).toBe("output 2–3, input 3–6, mean: 1.5");
  });

  test("are those of the window where only a part was sent", () => {
    const filters = matrix(6, 8, { shape: [100, 200], window: [50, 56, 80, 88] });
    const point = { tile: 0, row: 51, column: 82, rows: 1, columns: 1, gradient: false };
    expect(hoverWords(filters, point, null)).toBe("output 51, input 82: ≈ 12");
    expect(hoverWords(filters, { ...point, row: 2 }, null)).toBe("output 2, input 82: …");
  });
});

describe("strips", () => {
  const strip = (name: string, values: number[], gradient: number[] | null = null): WeightStrip => ({
    ...STATISTICS,
    name,
    values: f32(values),
    gradient: gradient && f32(gradient),
    pool: 1,
    count: values.length,
  });
  const norm = bank({
    kind: "strips",
    type: "BatchNorm2d",
    weight: null,
    strips: [strip("scale", [1, 0.5, 2], [0.1, 0.2, 0.3]), strip("shift", [0, -1, 1])],
    shape: [3],
    gradient_note: "",
  });

  test("are named, read exactly and walked by keys", () => {
    const props = filtersProps({ filters: norm, gradient: true });
    draw(<Filters {...props} />);
    expect(find(".nnw-sentence").textContent).toBe("Scale, shift: a bar from zero for each of 3 values.");
    expect(all("[role=rowheader] strong").map((node) => node.textContent)).toEqual(["scale", "shift"]);
    expect(all(".nnw-strip-chart")).toHaveLength(3);
    key(find(".nnw-strips"), "ArrowRight");
    expect(props.onHover).toHaveBeenLastCalledWith(expect.objectContaining({ column: 0 }));
    const point = { tile: 0, row: 0, column: 1, rows: 1, columns: 1, gradient: false };
    expect(hoverWords(norm, point, null)).toBe("value 1: scale 0.5 (gradient 0.2), shift −1");
    draw(<Filters {...props} point={point} />);
    key(find(".nnw-strips"), "Enter");
    expect(props.onSelect).toHaveBeenCalledWith(1);
  });
});

describe("sentences", () => {
  test("count what is on the screen, in the words of the layer", () => {
    const entries = matrix(5, 3, { axes: ["entry", "feature"], shape: [5, 3] });
    expect(filtersSentence(entries)).toMatch(/^5 entries as rows, 3 features as columns;/);
    const taps = bank({ kind: "plane", axes: ["input channel", "tap"], channel: null });
    expect(filtersSentence(taps)).toBe("4 filters, each with input channels as rows and taps as columns.");
  });
});

describe("an answer written by Python", () => {
  const written = (name: string): FiltersResult => {
    const folder = join(__dirname, "..", "..", "tests", "wire", "golden");
    const { json, buffers } = JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"));
    const bytes = new Uint8Array(readFileSync(join(folder, `${name}.bin`)));
    const views = buffers.map(
      (at: { offset: number; length: number }) => new DataView(bytes.buffer, at.offset, at.length),
    );
    return decode(json, views) as FiltersResult;
  };

  test("is drawn as a matrix with sorted rows and its gradient", () => {
    const filters = written("filters_matrix");
    draw(<Filters {...filtersProps({ filters, sort: "norm", gradient: true, selected: -1 })} />);
    expect(all(".nnw-heat-picture")).toHaveLength(2);
    expect(all(".nnw-heat-rows").map((rows) => [...rows.children].map((tick) => tick.textContent))).toEqual([
      ["3", "5", "1", "4"],
      ["3", "5", "1", "4"],
    ]);
    expect(find(".nnw-sentence").textContent).toContain("Rows with the largest norm first.");
    expect(find(".nnw-sentence").textContent).toContain("Tied: голова.weight is the same tensor.");
    expect(find(".nnw-foot-text").textContent).toBe(
      "weights 0 to 32 · rows 0–3 of 6, columns 0–7 of 8 · pooled 1×2 · 1 NaN hatched",
    );
    const point = { tile: 0, row: 5, column: 0, rows: 1, columns: 2, gradient: false };
    expect(hoverWords(filters, point, null)).toBe("output 5, input 0–1, mean: ≈ 28");
    expect(hoverWords(filters, { ...point, gradient: true }, null)).toBe(
      "gradient of output 5, input 0–1, mean: ≈ −0.500",
    );
  });

  test("is drawn as strips, what is not finite said", () => {
    const filters = written("filters_strips");
    draw(<Filters {...filtersProps({ filters, gradient: true })} />);
    expect(all(".nnw-strip-row strong").map((node) => node.textContent)).toEqual([
      "scale",
      "shift",
      "running mean",
      "running variance",
    ]);
    expect(all(".nnw-strip-chart")).toHaveLength(5);
    expect(find(".nnw-bad").textContent).toBe("1 value not finite");
  });
});
