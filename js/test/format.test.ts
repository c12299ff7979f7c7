import { expect, test } from "vitest";
import {
  asSentence,
  count,
  duration,
  factor,
  number,
  percent,
  plural,
  probability,
  shape,
  signed,
} from "../src/format";

test("numbers have three significant digits and a true minus sign", () => {
  const cases: [number | null, string][] = [
    [0, "0"],
    [0.5123, "0.512"],
    [-3.1, "−3.10"],
    [0.9999, "1.00"],
    [12, "12"],
    [-7, "−7"],
    [12.345, "12.3"],
    [1234.5, "1,230"],
    [123456, "123,000"],
    [0.00012345, "1.23e−4"],
    [-2.5e9, "−2.50e9"],
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "∞"],
    [Number.NEGATIVE_INFINITY, "−∞"],
    [null, "–"],
  ];
  for (const [value, text] of cases) expect(number(value), String(value)).toBe(text);
});

test("signed numbers say so on both sides, zero has no sign", () => {
  expect([0.51, -0.51, 0, -0].map((value) => signed(value))).toEqual(["+0.510", "−0.510", "0", "0"]);
});

test("probabilities never pretend that something small is nothing", () => {
  expect([0.79, 1, 0, 0.0004, 0.0006, Number.NaN].map(probability)).toEqual([
    "0.790",
    "1.000",
    "0.000",
    "<0.001",
    "0.001",
    "NaN",
  ]);
});

test("fractions become percentages", () => {
  expect([0.38, 0.001, 0.0001, 0, 1, 0.0525].map(percent)).toEqual([
    "38 %",
    "0.1 %",
    "<0.1 %",
    "0 %",
    "100 %",
    "5.3 %",
  ]);
});

test("counts are exact while short", () => {
  expect([0, 999, 1234, 9999, 12345, 999_999, 3_504_872, 1.21e9].map(count)).toEqual([
    "0",
    "999",
    "1,234",
    "9,999",
    "12.3 k",
    "1.00 M",
    "3.50 M",
    "1.21 G",
  ]);
});

test("notes become sentences", () => {
  expect(["", "a guess", "Done.", "really?"].map(asSentence)).toEqual(["", "A guess.", "Done.", "Really?"]);
});

test("shapes, times, factors and nouns", () => {
  expect(shape([192, 28, 28])).toBe("192×28×28");
  expect(shape([])).toBe("scalar");
  expect([0.012, 0.34, 4, 65, 240].map(duration)).toEqual(["12 ms", "0.3 s", "4 s", "65 s", "4 min"]);
  expect([5400, 86_400, 200_000].map(duration)).toEqual(["2 h", "24 h", "2 d"]);
  expect(factor(1)).toBe("1.00×");
  expect([plural(1, "edit"), plural(2, "edit"), plural(1234, "channel")]).toEqual([
    "1 edit",
    "2 edits",
    "1,234 channels",
  ]);
});
