import { describe, expect, test } from "vitest";
import { filterOrder } from "../src/draw/filter_order";
import { rankOf, rowAt, snapped } from "../src/draw/heat";
import { between, including, moved, patchBox, sightTicks, suffices, whole, zoomed } from "../src/draw/sight";
import { barLevel, stripBars } from "../src/draw/strip_bars";

describe("what is in sight of a matrix", () => {
  test("keeps the pointed-at place while it is zoomed, and ends at the borders", () => {
    const all = whole(100, 200);
    expect(zoomed(all, 0.5, { row: 50, column: 100 }, 100, 200)).toEqual({ top: 25, bottom: 75, left: 50, right: 150 });
    expect(zoomed(all, 0.5, { row: 0, column: 199 }, 100, 200)).toEqual({ top: 0, bottom: 50, left: 100, right: 200 });
    expect(zoomed(all, 2, { row: 50, column: 100 }, 100, 200)).toEqual(all);
    let sight = all;
    for (let step = 0; step < 20; step++) sight = zoomed(sight, 0.5, { row: 10, column: 10 }, 100, 200);
    expect([sight.bottom - sight.top, sight.right - sight.left]).toEqual([4, 4]);
  });

  test("moves as far as there is something", () => {
    const sight = { top: 10, bottom: 20, left: 0, right: 50 };
    expect(moved(sight, 1000, -5, 100, 200)).toEqual({ top: 90, bottom: 100, left: 0, right: 50 });
    expect(including(sight, { row: 25, column: 60 }, 100, 200)).toEqual({ top: 16, bottom: 26, left: 11, right: 61 });
    expect(including(sight, { row: 12, column: 3 }, 100, 200)).toEqual(sight);
  });

  test("is what a drag encloses, both corners included", () => {
    expect(between({ row: 9, column: 3 }, { row: 2, column: 20 }, 10, 30)).toEqual({
      top: 2,
      bottom: 10,
      left: 3,
      right: 21,
    });
    expect(between({ row: 9, column: 29 }, { row: 9, column: 29 }, 10, 30)).toEqual({
      top: 6,
      bottom: 10,
      left: 26,
      right: 30,
    });
  });

  test("needs another picture only where this one is too coarse or lies elsewhere", () => {
    const patch = { window: [0, 1000, 0, 1000] as const, pool: [4, 4] as const };
    expect(suffices(patch, whole(1000, 1000), [250, 250])).toBe(true);
    expect(suffices(patch, { top: 0, bottom: 500, left: 0, right: 1000 }, [250, 250])).toBe(false);
    const fine = { window: [100, 200, 100, 200] as const, pool: [1, 1] as const };
    expect(suffices(fine, { top: 120, bottom: 140, left: 120, right: 140 }, [250, 250])).toBe(true);
    expect(suffices(fine, { top: 90, bottom: 140, left: 120, right: 140 }, [250, 250])).toBe(false);
  });

  test("shows a picture where its window lies", () => {
    const patch = { window: [10, 20, 40, 60] as const, pool: [2, 5] as const, rows: 5, columns: 4 };
    expect(patchBox(patch, { top: 0, bottom: 20, left: 40, right: 80 }, 400, 200)).toEqual({
      x: 0,
      y: 100,
      width: 200,
      height: 100,
    });
  });

  test("has round numbers along its sides", () => {
    expect(sightTicks(37, 97, 120, 20)).toEqual([40, 50, 60, 70, 80, 90]);
    expect(sightTicks(5, 9, 400, 20)).toEqual([5, 6, 7, 8]);
  });
});

describe("the picture of a part of a matrix", () => {
  test("names the rows it shows, sorted or not", () => {
    const order = Int32Array.of(7, 2, 5);
    const window = [10, 13, 0, 4] as const;
    expect([9, 10, 12, 13].map((place) => rowAt(order, window, place))).toEqual([null, 7, 5, null]);
    expect([2, 7, 3, -1].map((row) => rankOf(order, window, row))).toEqual([11, 10, -1, -1]);
    expect(rowAt(null, window, 11)).toBe(11);
  });

  test("has blocks that begin at its window, not at zero", () => {
    const patch = {
      source: {
        codes: new Uint8Array(0),
        lo: new Float32Array(0),
        hi: new Float32Array(0),
        rows: 0,
        columns: 0,
        depth: 1,
      },
      window: [10, 40, 3, 99],
      pool: [4, 5],
      rowNorms: new Float32Array(0),
      columnNorms: new Float32Array(0),
    } as const;
    expect(snapped(patch, { row: 17, column: 12 })).toEqual({ row: 14, column: 8 });
    expect(snapped(patch, { row: 10, column: 3 })).toEqual({ row: 10, column: 3 });
  });
});

describe("the order of filters", () => {
  test("has the largest first, what is no number before it, and ties by number", () => {
    expect(filterOrder(4, "norm", [1, 3, 3, Number.NaN], null)).toEqual([3, 1, 2, 0]);
    expect(filterOrder(3, "activity", [1, 2, 3], [0.5, 0.1, 0.9])).toEqual([2, 0, 1]);
    expect(filterOrder(3, "similarity", [1, 2, 3], null)).toEqual([0, 1, 2]);
  });
});

describe("bars of a vector", () => {
  test("stand on zero and reach to their values", () => {
    const bars = stripBars([1, -1, 3], 90);
    expect([bars.each, bars.lo, bars.hi]).toEqual([30, -1, 3]);
    expect(barLevel(0, bars, 80)).toBe(60);
    expect(barLevel(3, bars, 80)).toBe(0);
  });

  test("share a pixel by their extent, and mark what is no number", () => {
    const bars = stripBars([1, -2, 0.5, Number.NaN, 4, 4], 3);
    expect([...bars.low]).toEqual([-2, 0.5, 4]);
    expect([...bars.high]).toEqual([1, 0.5, 4]);
    expect(bars.bad).toEqual([1]);
  });
});
