import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { decode, encode } from "../src/wire/codec";
import type { ArrayView } from "../src/wire/types";

const FOLDER = join(__dirname, "..", "..", "tests", "wire", "golden");

interface Golden {
  json: unknown;
  buffers: { offset: number; length: number }[];
  expected: unknown;
}

const cases = readdirSync(FOLDER)
  .filter((file) => file.endsWith(".bin"))
  .map((file) => file.slice(0, -4));

function load(name: string): Golden & { views: DataView[] } {
  const golden = JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf8")) as Golden;
  const file = readFileSync(join(FOLDER, `${name}.bin`));
  const bytes = new Uint8Array(file);
  const views = golden.buffers.map(({ offset, length }) => new DataView(bytes.buffer, offset, length));
  return { ...golden, views };
}

function isArray(value: object): value is ArrayView {
  return "data" in value && ArrayBuffer.isView(value.data);
}

/** Arrays written as the golden files write them. */
function written(value: unknown): unknown {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(written);
  if (!isArray(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, written(item)]));
  const number = (x: number) => (Number.isNaN(x) ? "nan" : Number.isFinite(x) ? x : x > 0 ? "inf" : "-inf");
  return { dtype: value.dtype, shape: value.shape, values: [...value.data].map(number) };
}

describe("messages written by Python", () => {
  it("are there", () => {
    expect(cases).toContain("maps");
    expect(cases).toContain("offsets");
  });

  it.each(cases)("%s is read as Python meant it", (name) => {
    const { json, views, expected } = load(name);
    // A true comparison of −0 and 0 is not meant: both are written "0" or "-0.0" and mean one number.
    expect(JSON.parse(JSON.stringify(written(decode(json, views))))).toEqual(JSON.parse(JSON.stringify(expected)));
  });

  it.each(cases)("%s is written back to the same bytes", (name) => {
    const { json, views } = load(name);
    const back = encode(decode(json, views));
    expect(back.json).toEqual(json);
    const bytes = (view: DataView) => [...new Uint8Array(view.buffer, view.byteOffset, view.byteLength)];
    expect(back.buffers.map(bytes)).toEqual(views.map(bytes));
  });
});
