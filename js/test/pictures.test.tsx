import { act } from "preact/test-utils";
import { describe, expect, test, vi } from "vitest";
import { FeatureMaps, footerText } from "../src/ui/feature_maps";
import type { FeatureMapsProps } from "../src/ui/props";
import type { PageEdit } from "../src/wire/types";
import { all, button, draw, f32, find, key, maps, place } from "./pictures_fixtures";

place();

function mapsProps(change: Partial<FeatureMapsProps> = {}): FeatureMapsProps {
  return {
    maps: maps(30),
    stale: false,
    selected: 29,
    edits: [],
    scaling: "layer",
    colormap: "auto",
    order: "activity",
    showAll: false,
    busySince: null,
    error: null,
    dark: false,
    value: null,
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

describe("feature maps", () => {
  test("show the most active 24 first and offer the rest", () => {
    const props = mapsProps();
    draw(<FeatureMaps {...props} />);
    expect(captions().slice(0, 3)).toEqual(["29", "28", "27"]);
    expect(find(".nnw-foot").textContent).toContain("24 of 30 channels · 4×4, unpooled · no NaN");
    act(() => button("show all 30").click());
    expect(props.onAppearance).toHaveBeenCalledWith({ showAll: true });
  });

  test("keep the selected and the edited channel in sight, the edit in a word", () => {
    const edits: PageEdit[] = [
      { layer: "features.3", op: "mean", channel: 2 },
      { layer: "another", op: "zero", channel: 3 },
    ];
    draw(<FeatureMaps {...mapsProps({ selected: 1, edits })} />);
    expect(captions()).toContain("2 · mean");
    expect(captions()).toContain("1");
    expect(captions()).not.toContain("3");
    expect(find("[data-channel='2']").getAttribute("aria-label")).toBe("channel 2, edited: mean");
    expect(find("[aria-selected=true]").dataset["channel"]).toBe("1");
  });

  test("stay in place when an edit changes how active the channels are", () => {
    const props = mapsProps();
    draw(<FeatureMaps {...props} />);
    const before = captions();
    const other = maps(30, { activity: f32(Array.from({ length: 30 }, (_, at) => -at)) });
    draw(<FeatureMaps {...props} maps={other} />);
    expect(captions()).toEqual(before);
    draw(<FeatureMaps {...props} maps={{ ...other, layer: "features.4" }} />);
    expect(captions()).not.toEqual(before);
  });

  test("are sorted anew for another input, once its picture is there", () => {
    const props = mapsProps({ sortKey: 0 });
    draw(<FeatureMaps {...props} />);
    const before = captions();
    draw(<FeatureMaps {...props} sortKey={1} stale />);
    expect(captions()).toEqual(before);
    const other = maps(30, { activity: f32(Array.from({ length: 30 }, (_, at) => -at)) });
    draw(<FeatureMaps {...props} sortKey={1} maps={other} />);
    expect(captions()).not.toEqual(before);
  });

  test("are walked with the arrows and chosen with Enter", () => {
    const props = mapsProps();
    draw(<FeatureMaps {...props} />);
    const focusable = () => all<HTMLElement>("[role=gridcell][tabindex='0']");
    expect(focusable()).toHaveLength(1);
    key(find("[role=grid]"), "ArrowRight");
    expect(focusable().map((cell) => cell.textContent)).toEqual(["28"]);
    expect(document.activeElement).toBe(focusable()[0]);
    key(find("[role=grid]"), "Enter");
    expect(props.onSelect).toHaveBeenCalledWith(28);
  });

  test("draw only the tiles in sight of thousands", () => {
    draw(<FeatureMaps {...mapsProps({ maps: maps(4096), showAll: true })} />);
    expect(all("[role=gridcell]").length).toBeLessThan(80);
    expect(find("[role=grid]").getAttribute("aria-rowcount")).toBe(String(Math.ceil(4096 / 6)));
  });

  test("state the range of the colours: symmetric for signed data, each its own per channel", () => {
    draw(<FeatureMaps {...mapsProps()} />);
    expect(find(".nnw-colourbar").getAttribute("aria-label")).toBe("Colours from −2 to +2");
    draw(<FeatureMaps {...mapsProps({ colormap: "viridis" })} />);
    expect(find(".nnw-colourbar").getAttribute("aria-label")).toBe("Colours from −1 to 2");
    draw(<FeatureMaps {...mapsProps({ scaling: "channel" })} />);
    expect(find(".nnw-colourbar").getAttribute("aria-label")).toMatch(/own range/);
  });

  test("write the exact value only when Python has sent it for that very point", () => {
    const hover = { channel: 12, row: 20, column: 17 };
    draw(<FeatureMaps {...mapsProps({ hover, value: { ...hover, row: 19, text: "0.5" } })} />);
    expect(find(".nnw-foot-text").textContent).toBe("channel 12, row 20, column 17: …");
    draw(<FeatureMaps {...mapsProps({ hover, value: { ...hover, text: "0.5123" } })} />);
    expect(find(".nnw-foot-text").textContent).toBe("channel 12, row 20, column 17: 0.5123");
  });

  test("keep the old picture under an error and say what to do", () => {
    const error = { type: "E", message: "It failed.", layer: null, argument: null, remedy: "Try this." };
    draw(<FeatureMaps {...mapsProps({ error })} />);
    expect(find("[role=alert]").textContent).toBe("Error. It failed. Try this.");
    expect(captions().length).toBeGreaterThan(0);
    draw(<FeatureMaps {...mapsProps({ maps: null, error: null })} />);
    expect(find(".nnw-empty").textContent).toMatch(/Choose a layer/);
  });

  test("show a line after 150 ms and a way out after a second", () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const props = mapsProps({ stale: true, busySince: performance.now() });
    draw(<FeatureMaps {...props} />);
    expect(all("[role=progressbar]")).toHaveLength(0);
    act(() => void vi.advanceTimersByTime(200));
    expect(all("[role=progressbar]")).toHaveLength(1);
    expect(all("button").map((node) => node.textContent)).not.toContain("Cancel");
    act(() => void vi.advanceTimersByTime(1000));
    act(() => button("Cancel").click());
    expect(props.onCancel).toHaveBeenCalledOnce();
  });

  test("offer calls and outputs only where there are several", () => {
    draw(<FeatureMaps {...mapsProps()} />);
    expect(all("select[title=call]")).toHaveLength(0);
    const props = mapsProps({ maps: maps(3, { calls: 3, outputs: ["0", "hidden"], output: "0" }) });
    draw(<FeatureMaps {...props} />);
    const call = find<HTMLSelectElement>("select[title=call]");
    call.value = "2";
    act(() => void call.dispatchEvent(new Event("change", { bubbles: true })));
    expect(props.onCall).toHaveBeenCalledWith(2);
    const output = find<HTMLSelectElement>("select[title=output]");
    output.value = "hidden";
    act(() => void output.dispatchEvent(new Event("change", { bubbles: true })));
    expect(props.onOutput).toHaveBeenCalledWith("hidden");
  });

  test("say how many values are not numbers", () => {
    expect(footerText(maps(2, { nan: 3, posinf: 1, pool: [2, 2] }), 2)).toBe(
      "2 of 2 channels · 4×4, pooled 2×2 · 3 NaN hatched, 1 +∞",
    );
  });

  test("draw tokens as one picture, walked by the keyboard", () => {
    const tokens = maps(1, {
      layout: "tokens",
      channel_axis: "column",
      shape: [5, 8],
      total: 8,
      axes: ["token", "feature"],
      codes: { dtype: "u8", shape: [1, 5, 8], data: new Uint8Array(40) },
    });
    const props = mapsProps({ maps: tokens, selected: -1 });
    draw(<FeatureMaps {...props} />);
    expect(find(".nnw-sheet-words").textContent).toBe("token ↓feature →");
    key(find("[role=grid]"), "ArrowRight");
    key(find("[role=grid]"), "ArrowRight");
    expect(props.onHover).toHaveBeenLastCalledWith({ channel: 1, row: 0, column: 1 });
    key(find("[role=grid]"), "Enter");
    expect(props.onSelect).toHaveBeenCalledWith(1);
    key(find("[role=grid]"), "Escape");
    expect(props.onHover).toHaveBeenLastCalledWith(null);
  });

  test("write a scalar as its number", () => {
    const scalar = maps(1, {
      layout: "scalar",
      channel_axis: "none",
      shape: [],
      count: 1,
      codes: { dtype: "u8", shape: [1, 1, 1], data: Uint8Array.of(252) },
    });
    draw(<FeatureMaps {...mapsProps({ maps: scalar })} />);
    expect(find(".nnw-scalar").textContent).toBe("+2");
  });
});
