import { describe, expect, it } from "vitest";
import { nearest, runs, unseen } from "../src/draw/curve";
import { scaleOf, stepScale, ticks, toPixel, toValue } from "../src/draw/scale";
import { columnAt, logRange, normAt, type StripData, stripPlane } from "../src/draw/strip";

const texts = (found: { text: string }[]) => found.map((tick) => tick.text);

describe("a scale", () => {
  it.each([
    ["straight", [0.5, 2.5], false],
    ["logarithmic", [1e-6, 3, 40], true],
    ["negative", [-4, -1], false],
  ] as const)("%s: a value goes to its pixel and back, larger ones higher", (_, values, log) => {
    const scale = scaleOf(values, log, 200, 10);
    for (const value of values) expect(toValue(scale, toPixel(scale, value))).toBeCloseTo(value, 9);
    const pixels = values.map((value) => toPixel(scale, value));
    expect([...pixels].sort((a, b) => b - a)).toEqual(pixels);
    expect(Math.max(...pixels)).toBeLessThanOrEqual(200);
    expect(Math.min(...pixels)).toBeGreaterThanOrEqual(10);
  });

  it("leaves out what it cannot show", () => {
    const values = [Number.NaN, 2, Number.POSITIVE_INFINITY, -1, 0, 8];
    const straight = scaleOf(values, false, 100, 0);
    expect(straight.lo).toBeLessThan(-1);
    expect(straight.hi).toBeGreaterThan(8);
    expect(straight.hi).toBeLessThan(9);
    const log = scaleOf(values, true, 100, 0);
    expect(log.lo).toBeGreaterThan(1);
    expect(log.hi).toBeLessThan(12);
  });

  it.each([[[]], [[3, 3]], [[0]], [[Number.NaN]], [[1e-45, 3e38]], [[-1]]])("has an extent for %j", (values) => {
    for (const log of [false, true]) {
      const scale = scaleOf(values, log, 100, 0);
      expect(scale.hi).toBeGreaterThan(scale.lo);
      expect(Number.isFinite(toPixel(scale, (scale.lo + scale.hi) / 2))).toBe(true);
    }
  });

  it("stands on zero for what is never negative", () => {
    expect(scaleOf([0.01, 5], false, 100, 0).lo).toBe(0);
    expect(scaleOf([4.9, 5], false, 100, 0).lo).toBeGreaterThan(4.8);
  });
});

describe("ticks", () => {
  it("are round, inside, and at most as many as fit", () => {
    expect(texts(ticks({ log: false, lo: 0, hi: 2.4, from: 100, to: 0 }, 5))).toEqual(["0", "0.5", "1", "1.5", "2"]);
    expect(texts(ticks({ log: false, lo: -0.3, hi: 0.3, from: 100, to: 0 }, 3))).toEqual(["−0.2", "0", "0.2"]);
    expect(texts(ticks({ log: false, lo: 1000, hi: 1001, from: 100, to: 0 }, 2)).length).toBeLessThanOrEqual(3);
  });

  it("are whole for steps", () => {
    expect(texts(ticks(stepScale(1, 4, 0, 500), 10, true))).toEqual(["1", "2", "3", "4"]);
    expect(texts(ticks(stepScale(1, 40_000, 0, 500), 4, true))).toEqual(["10,000", "20,000", "30,000", "40,000"]);
  });

  it("are decades where there are many, and finer where there are few", () => {
    expect(texts(ticks({ log: true, lo: 1e-6, hi: 5, from: 100, to: 0 }, 4))).toEqual(["1e−6", "1e−4", "0.01", "1"]);
    expect(texts(ticks({ log: true, lo: 0.02, hi: 0.6, from: 100, to: 0 }, 6))).toEqual([
      "0.02",
      "0.05",
      "0.1",
      "0.2",
      "0.5",
    ]);
    expect(ticks({ log: true, lo: 0.51, hi: 0.56, from: 100, to: 0 }, 5).length).toBeGreaterThan(1);
  });
});

describe("a curve", () => {
  it("is interrupted where a value cannot be shown", () => {
    expect(runs([1, 2, Number.NaN, 3, 0, 4], false)).toEqual([
      [0, 1],
      [3, 5],
    ]);
    expect(runs([1, 2, Number.NaN, 3, 0, 4], true)).toEqual([
      [0, 1],
      [3, 3],
      [5, 5],
    ]);
    expect(unseen([1, 2, Number.NaN, 3, 0, -4, Number.POSITIVE_INFINITY], true)).toEqual({ bad: 2, low: 2 });
    expect(unseen([0, -4], false)).toEqual({ bad: 0, low: 0 });
  });

  it("finds the nearest point", () => {
    const steps = [1, 5, 20];
    expect([-3, 1, 2, 3.1, 12, 13, 99].map((step) => nearest(steps, step))).toEqual([0, 0, 0, 1, 1, 2, 2]);
    expect(nearest([], 4)).toBe(-1);
  });
});

describe("the strip of layers", () => {
  // Two layers, recorded at steps 1, 11 and, thinned, 21 to 30.
  const data: StripData = { first: [1, 11, 21], last: [1, 11, 30], values: [1, 10, 100, -1, 0, Number.NaN], rows: 2 };

  it("holds a column until the next begins", () => {
    expect([0, 1, 10, 11, 20, 21, 99].map((step) => columnAt(data, step))).toEqual([-1, 0, 0, 1, 1, 2, 2]);
    expect(normAt(data, 0, 1)).toBe(10);
    expect(normAt(data, 1, 0)).toBeNull();
    expect(normAt(data, 0, -1)).toBeNull();
    expect(normAt(data, 1, 2)).toBeNaN();
  });

  it("shows in each pixel the largest it covers, and never hides a NaN", () => {
    const fine = stripPlane(data, 1, 31, 3);
    expect([...fine.values.slice(0, 3)]).toEqual([1, 2, 2]);
    expect([...fine.blank]).toEqual([0, 0, 0, 0, 0, 0]);
    const finest = stripPlane(data, 1, 31, 30);
    expect([...finest.values.slice(0, 3)]).toEqual([0, 0, 0]);
    expect([...finest.blank.slice(30, 33)]).toEqual([1, 1, 1]);
    expect(finest.values[30 + 15]).toBe(Number.NEGATIVE_INFINITY);
    expect(finest.values[59]).toBeNaN();
    expect(stripPlane(data, 1, 31, 1).values[1]).toBeNaN();
  });

  it("has the range of what has a logarithm", () => {
    expect(logRange(data.values)).toEqual({ lo: 0, hi: 2 });
    expect(logRange([0, -1, Number.NaN, Number.POSITIVE_INFINITY])).toBeNull();
  });
});
