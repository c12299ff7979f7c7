import { describe, expect, it } from "vitest";
import { CodecError, decode, encode } from "../src/wire/codec";
import type { ArrayView } from "../src/wire/types";

/** The bytes at an odd place inside a larger buffer, as a websocket frame hands them out. */
function shifted(bytes: Uint8Array, offset: number): DataView {
  const memory = new Uint8Array(bytes.length + offset + 5).fill(0xee);
  memory.set(bytes, offset);
  return new DataView(memory.buffer, offset, bytes.length);
}

describe("decode", () => {
  it("honours byteOffset and byteLength and copies what is misaligned", () => {
    const values = Float32Array.of(1.5, Number.NaN, -3.25);
    for (const offset of [0, 1, 2, 3, 4, 7]) {
      const buffer = shifted(new Uint8Array(values.buffer), offset);
      const { a } = decode({ a: { $array: 0, dtype: "f32", shape: [3] } }, [buffer]) as { a: ArrayView<Float32Array> };
      expect([...a.data]).toEqual([...values]);
      expect(a.data.buffer === buffer.buffer).toBe(offset % 4 === 0);
    }
  });

  it("finds arrays at any depth and leaves all else as it is", () => {
    const json = { list: [1, null, { x: { $array: 1, dtype: "u8", shape: [2, 2] } }], text: "a", none: null };
    const decoded = decode(json, [new ArrayBuffer(0), Uint8Array.of(1, 2, 3, 4)]) as {
      list: [number, null, { x: ArrayView }];
    };
    expect(decoded.list[2].x.shape).toEqual([2, 2]);
    expect([...decoded.list[2].x.data]).toEqual([1, 2, 3, 4]);
    expect(decoded).toMatchObject({ text: "a", none: null });
  });

  it("takes an empty array", () => {
    const decoded = decode({ $array: 0, dtype: "i32", shape: [0, 4] }, [new ArrayBuffer(0)]) as ArrayView;
    expect(decoded.data).toBeInstanceOf(Int32Array);
    expect(decoded.data.length).toBe(0);
  });

  it.each([
    ["too few bytes", { $array: 0, dtype: "f32", shape: [2] }, [new ArrayBuffer(4)]],
    ["too many bytes", { $array: 0, dtype: "u8", shape: [2] }, [new ArrayBuffer(4)]],
    ["no buffer", { $array: 3, dtype: "u8", shape: [2] }, []],
    ["an unknown dtype", { $array: 0, dtype: "f64", shape: [1] }, [new ArrayBuffer(8)]],
    ["a negative extent", { $array: 0, dtype: "u8", shape: [-1, -4] }, [new ArrayBuffer(4)]],
    ["a place that is no number", { $array: "0", dtype: "u8", shape: [1] }, [new ArrayBuffer(1)]],
  ])("refuses %s in words", (_, json, buffers) => {
    expect(() => decode(json, buffers)).toThrow(CodecError);
  });
});

describe("encode", () => {
  it("is undone by decode", () => {
    const value = {
      result: { codes: { dtype: "u8", shape: [3], data: Uint8Array.of(0, 252, 255) }, note: "x" },
      more: [{ dtype: "i32", shape: [1, 2], data: Int32Array.of(-1, 7) }],
    };
    const { json, buffers } = encode(value);
    expect(JSON.parse(JSON.stringify(json))).toEqual(json);
    expect(decode(json, buffers)).toEqual(value);
  });
});
