import { describe, expect, test } from "vitest";
import { inPlane, pixelAt, ticks, toPlace, toPoint } from "../src/draw/axes";
import { barSpan, chosenRows, predictionRange } from "../src/draw/bars";
import { layerRange, robustRange } from "../src/draw/clip";
import { dequantise, NEGATIVE_INFINITY, NOT_A_NUMBER, POSITIVE_INFINITY, specialCode } from "../src/draw/codes";
import { COLORMAPS, type Colormap, colormap, ENTRIES, pack } from "../src/draw/colormap";
import { gridLayout, gridMove, tileEdge, visibleLines, wrap } from "../src/draw/layout";
import { FIRST, ordered, shown } from "../src/draw/order";
import { lookup, paintCodes, paintRgb, paintValues, specialRuns, specialValueRuns } from "../src/draw/paint";
import { patternPixels } from "../src/draw/patterns";
import { hull, position, symmetric, tileRange } from "../src/draw/range";

const rgb = (pixel: number | undefined): number[] => {
  const value = pixel ?? -1;
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
};
const bytes = (pixels: Uint32Array): number[] => [...new Uint8ClampedArray(pixels.buffer)];
const ramp: Colormap = {
  name: "ramp",
  diverging: false,
  table: Uint32Array.from({ length: ENTRIES }, (_, at) => pack(at, at, at)),
};

describe("codes", () => {
  test("stand for evenly spaced values and three that are not numbers", () => {
    expect(dequantise(0, -1, 3)).toBe(-1);
    expect(dequantise(126, -1, 3)).toBe(1);
    expect(dequantise(252, -1, 3)).toBe(3);
    expect(dequantise(NEGATIVE_INFINITY, -1, 3)).toBe(Number.NEGATIVE_INFINITY);
    expect(dequantise(POSITIVE_INFINITY, -1, 3)).toBe(Number.POSITIVE_INFINITY);
    expect(dequantise(NOT_A_NUMBER, -1, 3)).toBeNaN();
  });

  test("name the values that are not finite", () => {
    expect([1.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].map(specialCode)).toEqual([
      -1,
      NOT_A_NUMBER,
      POSITIVE_INFINITY,
      NEGATIVE_INFINITY,
    ]);
  });
});

describe("range", () => {
  test("of a layer holds every tile with finite values", () => {
    expect(hull([1, -2, Number.NaN], [3, 0.5, Number.NaN])).toEqual({ lo: -2, hi: 3 });
    expect(hull([], [])).toEqual({ lo: 0, hi: 0 });
  });

  test("is the layer's, the channel's own, or symmetric", () => {
    const layer = { lo: -2, hi: 3 };
    const own = { lo: 0, hi: 0.5 };
    expect(tileRange("layer", layer, own, false)).toEqual(layer);
    expect(tileRange("channel", layer, own, false)).toEqual(own);
    expect(tileRange("symmetric", layer, own, false)).toEqual({ lo: -3, hi: 3 });
    expect(tileRange("layer", layer, own, true)).toEqual(symmetric(layer));
    expect(tileRange("channel", layer, own, true)).toEqual({ lo: -0.5, hi: 0.5 });
  });

  test("places values between its ends and clips the rest", () => {
    const range = { lo: -1, hi: 1 };
    expect([-5, -1, 0, 1, 5].map((value) => position(value, range))).toEqual([0, 0, 0.5, 1, 1]);
    expect(position(7, { lo: 7, hi: 7 }, 0.5)).toBe(0.5);
  });
});

describe("clipping", () => {
  const source = (codes: number[], lo: number, hi: number) => ({
    codes: Uint8Array.from(codes),
    lo: Float32Array.of(lo),
    hi: Float32Array.of(hi),
    rows: 1,
    columns: codes.length,
    depth: 1 as const,
  });

  test("leaves out a few huge values, and says which part", () => {
    const codes = [252, ...Array.from({ length: 1999 }, (_, at) => at % 11)];
    const { range, clipped } = robustRange(source(codes, 0, 252));
    expect(range.hi).toBeGreaterThanOrEqual(10);
    expect(range.hi).toBeLessThan(12);
    expect(range.lo).toBe(0);
    expect(clipped).toBe(1 / 2000);
  });

  test("leaves all else whole: moderate tails, few values, nothing finite", () => {
    const tail = [252, ...Array.from({ length: 1999 }, (_, at) => at % 120)];
    expect(robustRange(source(tail, 0, 252))).toEqual({ range: { lo: 0, hi: 252 }, clipped: 0 });
    expect(robustRange(source([252, 0, 1, 2], 0, 252)).clipped).toBe(0);
    expect(robustRange(source([255, 255], 0, 0))).toEqual({ range: { lo: 0, hi: 0 }, clipped: 0 });
  });

  test("never happens in a symmetric range", () => {
    const codes = [252, ...Array.from({ length: 1999 }, () => 1)];
    expect(layerRange(source(codes, 0, 252), "symmetric")).toEqual({ range: { lo: 0, hi: 252 }, clipped: 0 });
    expect(layerRange(source(codes, 0, 252), "layer").clipped).toBeGreaterThan(0);
  });
});

describe("colour maps", () => {
  test("diverge for signed data and in symmetric ranges only", () => {
    expect(colormap("auto", true, "layer", false).diverging).toBe(true);
    expect(colormap("auto", false, "symmetric", false).diverging).toBe(true);
    expect(colormap("auto", false, "layer", false).name).toBe("viridis");
    expect(colormap("no such map", false, "layer", false).name).toBe("viridis");
    expect(colormap("magma", true, "layer", false).name).toBe("magma");
  });

  test("go from blue over a neutral zero to red, the zero dark in dark themes", () => {
    for (const dark of [false, true]) {
      const { table } = colormap("rdbu", true, "layer", dark);
      const [red, , blue] = rgb(table[20]) as [number, number, number, number];
      expect(blue).toBeGreaterThan(red);
      const [hotRed, , hotBlue] = rgb(table[ENTRIES - 21]) as [number, number, number, number];
      expect(hotRed).toBeGreaterThan(hotBlue);
      const zero = rgb(table[(ENTRIES - 1) / 2]).slice(0, 3);
      expect(Math.max(...zero) - Math.min(...zero)).toBeLessThan(10);
      if (dark) expect(Math.max(...zero)).toBeLessThan(40);
      else expect(Math.min(...zero)).toBeGreaterThan(230);
    }
  });

  test("of one direction grow steadily lighter", () => {
    const light = (pixel: number | undefined) => {
      const [red = 0, green = 0, blue = 0] = rgb(pixel);
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    for (const { name } of COLORMAPS.filter((map) => !["auto", "rdbu"].includes(map.name))) {
      const { table } = colormap(name, false, "layer", false);
      for (let at = 8; at < ENTRIES; at += 8) expect(light(table[at])).toBeGreaterThan(light(table[at - 8]));
    }
  });
});

describe("painting", () => {
  test("maps each code to the colour of its value over the shown range", () => {
    const colours = lookup(ramp, { lo: 0, hi: 1 }, { lo: 0, hi: 2 });
    const pixels = new Uint32Array(4);
    paintCodes(pixels, 0, Uint8Array.of(0, 126, 252, 252), colours);
    expect([...pixels].map((pixel) => rgb(pixel)[0])).toEqual([0, 64, 127, 127]);
    expect(bytes(pixels).slice(4, 8)).toEqual([64, 64, 64, 255]);
  });

  test("clips to the ends of the range", () => {
    const colours = lookup(ramp, { lo: -10, hi: 10 }, { lo: 0, hi: 1 });
    expect(rgb(colours[0])[0]).toBe(0);
    expect(rgb(colours[252])[0]).toBe(ENTRIES - 1);
  });

  test("gives exact zero the middle colour of a diverging map", () => {
    const map = colormap("rdbu", true, "layer", true);
    const pixels = new Uint32Array(3);
    paintValues(pixels, Float32Array.of(-2, 0, 2), map, { lo: -2, hi: 2 });
    expect([...pixels]).toEqual([map.table[0], map.table[(ENTRIES - 1) / 2], map.table[ENTRIES - 1]]);
    const flat = lookup(map, { lo: 0, hi: 0 }, { lo: 0, hi: 0 });
    expect(flat[0]).toBe(map.table[(ENTRIES - 1) / 2]);
  });

  test("leaves what is not finite transparent", () => {
    const colours = lookup(ramp, { lo: 0, hi: 1 }, { lo: 0, hi: 1 });
    const pixels = new Uint32Array(4);
    paintCodes(pixels, 0, Uint8Array.of(252, NEGATIVE_INFINITY, POSITIVE_INFINITY, NOT_A_NUMBER), colours);
    expect([...pixels].map((pixel) => rgb(pixel)[3])).toEqual([255, 0, 0, 0]);
    paintValues(pixels, Float32Array.of(1, Number.NaN, Number.POSITIVE_INFINITY, 0), ramp, { lo: 0, hi: 1 });
    expect([...pixels].map((pixel) => rgb(pixel)[3])).toEqual([255, 0, 0, 255]);
  });

  test("paints three channels as red, green, blue with zero in mid-grey", () => {
    const pixels = new Uint32Array(3);
    const codes = Uint8Array.of(126, 126, 126, 252, 0, 126, 255, 0, 0);
    paintRgb(pixels, 0, codes, { lo: -1, hi: 1 }, { lo: -1, hi: 1 });
    expect(rgb(pixels[0])).toEqual([128, 128, 128, 255]);
    expect(rgb(pixels[1])).toEqual([255, 0, 128, 255]);
    expect(pixels[2]).toBe(0);
  });

  test("finds the runs that need a pattern", () => {
    const codes = Uint8Array.of(1, 255, 255, 254, 254, 253, 2, 3, 255);
    expect(specialRuns(codes, 3)).toEqual([
      { code: 255, row: 0, from: 1, to: 3 },
      { code: 254, row: 1, from: 0, to: 2 },
      { code: 253, row: 1, from: 2, to: 3 },
      { code: 255, row: 2, from: 2, to: 3 },
    ]);
    expect(specialRuns(Uint8Array.of(0, 0, 0, 0, 255, 0), 2, 3)).toEqual([{ code: 255, row: 0, from: 1, to: 2 }]);
    expect(specialValueRuns([0, Number.NaN, Number.POSITIVE_INFINITY, 1], 2)).toEqual([
      { code: 255, row: 0, from: 1, to: 2 },
      { code: 254, row: 1, from: 0, to: 1 },
    ]);
  });

  test("has a pattern of its own for NaN, +inf and -inf, each in two tones", () => {
    const patterns = [NOT_A_NUMBER, POSITIVE_INFINITY, NEGATIVE_INFINITY].map((code) => patternPixels(code));
    for (const pattern of patterns) expect(new Set(pattern).size).toBe(2);
    expect(new Set(patterns.map((pattern) => pattern.join())).size).toBe(3);
    expect(patternPixels(NOT_A_NUMBER, 2).length).toBe(4 * patternPixels(NOT_A_NUMBER).length);
  });
});

describe("axes", () => {
  test("undo the pooling, and channels lie where the layout says", () => {
    const place = { row: 3, column: 5 };
    expect(toPoint({ channel_axis: "tile", pool: [2, 2] }, 7, place)).toEqual({ channel: 7, row: 6, column: 10 });
    expect(toPoint({ channel_axis: "column", pool: [1, 1] }, 0, place)).toEqual({ channel: 5, row: 3, column: 5 });
    expect(toPoint({ channel_axis: "row", pool: [1, 4] }, 0, place)).toEqual({ channel: 3, row: 3, column: 20 });
    expect(toPlace({ channel_axis: "tile", pool: [2, 2] }, { row: 7, column: 10 })).toEqual(place);
  });

  test("find the pixel under the pointer, or none outside", () => {
    expect(pixelAt(99.9, 50, 100, 100, 10, 10)).toEqual({ row: 5, column: 9 });
    expect(pixelAt(100, 50, 100, 100, 10, 10)).toBeNull();
    expect(pixelAt(-0.1, 50, 100, 100, 10, 10)).toBeNull();
    expect(pixelAt(0, 0, 0, 0, 10, 10)).toBeNull();
  });

  test("place a point in a channel's own plane", () => {
    const plane = { plane: { shape: [28, 28] }, pool: [1, 1] as const };
    expect(inPlane(plane, "tile", { row: 20, column: 17 })).toEqual({ row: 20, column: 17 });
    expect(inPlane(plane, "tile", { row: 28, column: 0 })).toBeNull();
    expect(inPlane({ plane: { shape: [24, 1] }, pool: [1, 1] }, "column", { row: 4, column: 300 })).toEqual({
      row: 4,
      column: 0,
    });
  });

  test("carry round numbers that do not touch", () => {
    expect(ticks(10, 300, 30)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(ticks(384, 500, 40)).toEqual([0, 50, 100, 150, 200, 250, 300, 350]);
    expect(ticks(0, 500, 40)).toEqual([]);
  });
});

describe("grid", () => {
  test("fills the width with square tiles and reserves their captions", () => {
    const grid = gridLayout(192, 553, 28, 28);
    expect(grid.across).toBe(6);
    expect(grid.lines).toBe(32);
    expect(grid.across * grid.width + (grid.across - 1) * grid.gap).toBeLessThanOrEqual(553);
    expect(grid.height).toBe(grid.width);
    expect(grid.total).toBe(32 * grid.pitch);
  });

  test("draws only the lines in sight", () => {
    const grid = gridLayout(4096, 553, 14, 14);
    const { from, to } = visibleLines(grid, 300 * grid.pitch, 400);
    expect(from).toBe(299);
    expect(to - from).toBeLessThan(10);
    expect(visibleLines(gridLayout(0, 553, 14, 14), 0, 400)).toEqual({ from: 0, to: 0 });
  });

  test("shows few tiles large, all at once where they fit, and four side by side in a narrow place", () => {
    const place = { width: 900, height: 400 };
    expect(tileEdge(4, place, 1)).toBeGreaterThan(tileEdge(24, place, 1));
    expect(tileEdge(1, place, 1)).toBeLessThanOrEqual(160);
    const edge = tileEdge(24, place, 1);
    expect(gridLayout(24, place.width, 28, 28, edge).total).toBeLessThanOrEqual(place.height);
    expect(tileEdge(4096, place, 1)).toBe(80);
    expect(gridLayout(24, 300, 28, 28, tileEdge(24, { width: 300, height: 400 }, 1)).across).toBe(4);
  });

  test("moves with the arrows and stays inside", () => {
    expect(gridMove("ArrowRight", 0, 24, 6, 3)).toBe(1);
    expect(gridMove("ArrowDown", 1, 24, 6, 3)).toBe(7);
    expect(gridMove("ArrowUp", 1, 24, 6, 3)).toBe(1);
    expect(gridMove("ArrowRight", 23, 24, 6, 3)).toBe(23);
    expect(gridMove("End", 0, 24, 6, 3)).toBe(23);
    expect(gridMove("PageDown", 3, 24, 6, 3)).toBe(21);
    expect(gridMove("x", 3, 24, 6, 3)).toBeNull();
    expect(gridMove("Home", 0, 0, 6, 3)).toBeNull();
  });

  test("breaks long vectors into lines of round length", () => {
    expect(wrap(10, 500)).toEqual({ rows: 1, columns: 10 });
    expect(wrap(1280, 500)).toEqual({ rows: 26, columns: 50 });
    expect(wrap(0, 500)).toEqual({ rows: 0, columns: 0 });
  });
});

describe("order", () => {
  const ranking = (by: "influence" | "selectivity", channels: number[], scores: number[]) => ({
    by,
    channels: { dtype: "i32" as const, shape: [channels.length], data: Int32Array.from(channels) },
    scores: { dtype: "f32" as const, shape: [scores.length], data: Float32Array.from(scores) },
  });

  test("puts the largest change first, whichever its sign, then what is not ranked yet by activity", () => {
    const activity = [9, 8, 7, 6, 5];
    const half = ranking("influence", [14, 11, 12], [0.5, -2, Number.NaN]);
    expect(ordered([10, 11, 12, 13, 14], { activity, ranking: half }, "influence")).toEqual([2, 1, 4, 0, 3]);
    expect(ordered([10, 11, 12, 13, 14], { activity, ranking: null }, "influence")).toEqual([0, 1, 2, 3, 4]);
    // One of another kind says nothing of this order.
    expect(ordered([10, 11, 12, 13, 14], { activity, ranking: half }, "selectivity")).toEqual([0, 1, 2, 3, 4]);
  });

  test("puts the most selective first and channels without an index last", () => {
    const found = ranking("selectivity", [0, 1, 2, 3], [0.25, Number.NaN, 0.75, 0.25]);
    expect(ordered([0, 1, 2, 3], { activity: [1, 5, 1, 1], ranking: found }, "selectivity")).toEqual([2, 0, 3, 1]);
  });

  test("puts the most active first, those without a finite value before them, ties by number", () => {
    const activity = [0.5, 2, 0.5, Number.NaN];
    expect(ordered([0, 1, 2, 3], { activity, ranking: null }, "activity")).toEqual([3, 1, 0, 2]);
    expect(ordered([5, 2, 9], { activity: [1, 2, 3], ranking: null }, "number")).toEqual([1, 0, 2]);
  });

  test("shows the first ones and those that must not be missing", () => {
    const order = Array.from({ length: 100 }, (_, at) => at);
    expect(shown(order, false, () => false)).toHaveLength(FIRST);
    expect(shown(order, false, (place) => place === 3 || place === 70).slice(-2)).toEqual([FIRST - 1, 70]);
    expect(shown(order, true, () => false)).toEqual(order);
  });
});

describe("bars", () => {
  test("are those of the highest rows before or after, and the target's", () => {
    const rows = Array.from({ length: 10 }, (_, index) => ({
      index,
      before: 1 / (index + 1),
      after: index === 8 ? 0.9 : 0,
    }));
    expect(chosenRows(rows, 9).map((row) => row.index)).toEqual([0, 1, 2, 8, 9]);
    const bad = [{ index: 0, before: Number.NaN, after: 0 }, ...rows.slice(1)];
    expect(chosenRows(bad, null).map((row) => row.index)).toEqual([1, 2, 3, 4, 8]);
  });

  test("start at zero and never leave the range", () => {
    const range = predictionRange([
      { before: -1, after: 3 },
      { before: Number.NaN, after: 0 },
    ]);
    expect(range).toEqual({ lo: -1, hi: 3 });
    expect(barSpan(3, range)).toEqual({ from: 0.25, to: 1 });
    expect(barSpan(-1, range)).toEqual({ from: 0, to: 0.25 });
    expect(barSpan(Number.NaN, range)).toBeNull();
    expect(barSpan(9, { lo: 0, hi: 1 })).toEqual({ from: 0, to: 1 });
    expect(predictionRange([])).toEqual({ lo: 0, hi: 1 });
  });
});
