/** Arrays on the wire: `{"$array": n, dtype, shape}` in the JSON, its bytes in the n-th buffer, and back. */
import type { ArrayView, TypedArray } from "./types";

export type Buffer = ArrayBuffer | ArrayBufferView;

const KINDS = {
  u8: Uint8Array,
  i32: Int32Array,
  f32: Float32Array,
} as const;

/** A message whose arrays do not fit its buffers; the text says which. */
export class CodecError extends Error {
  override name = "CodecError";
}

interface Marker {
  $array: number;
  dtype: keyof typeof KINDS;
  shape: number[];
}

function isMarker(value: object): value is Marker {
  return "$array" in value;
}

function view(marker: Marker, buffers: readonly Buffer[]): ArrayView {
  const { $array: place, dtype, shape } = marker;
  const kind = KINDS[dtype];
  if (!Number.isInteger(place) || kind === undefined || !Array.isArray(shape)) {
    throw new CodecError(`Array ${String(place)} of the message has an unknown header.`);
  }
  if (!shape.every((extent) => Number.isInteger(extent) && extent >= 0)) {
    throw new CodecError(`Array ${place} of the message has the impossible shape ${shape.join("×")}.`);
  }
  const buffer = buffers[place];
  if (buffer === undefined) throw new CodecError(`Array ${place} of the message came without its bytes.`);
  const length = shape.reduce((product, extent) => product * extent, 1);
  if (buffer.byteLength !== length * kind.BYTES_PER_ELEMENT) {
    throw new CodecError(
      `Array ${place} of the message has ${buffer.byteLength} bytes where ${shape.join("×")} ${dtype} was announced.`,
    );
  }
  const [memory, start] = ArrayBuffer.isView(buffer) ? [buffer.buffer, buffer.byteOffset] : [buffer, 0];
  // A typed array must start at a multiple of its element size; a buffer cut out of a websocket frame seldom does.
  const data: TypedArray =
    start % kind.BYTES_PER_ELEMENT === 0
      ? new kind(memory as ArrayBuffer, start, length)
      : new kind(memory.slice(start, start + buffer.byteLength) as ArrayBuffer);
  return { dtype, shape, data };
}

/**
 * The same JSON with every array marker replaced by an {@link ArrayView} on its buffer. Parts without arrays are not
 * copied: the list of fifty thousand layers has none.
 */
export function decode(json: unknown, buffers: readonly Buffer[]): unknown {
  if (json === null || typeof json !== "object") return json;
  if (isMarker(json)) return view(json, buffers);
  let copy: Record<string, unknown> | null = null;
  for (const [key, value] of Object.entries(json)) {
    const decoded = decode(value, buffers);
    if (decoded === value) continue;
    copy ??= (Array.isArray(json) ? [...json] : { ...json }) as Record<string, unknown>;
    copy[key] = decoded;
  }
  return copy ?? json;
}

function isArrayView(value: object): value is ArrayView {
  return "dtype" in value && "shape" in value && "data" in value && ArrayBuffer.isView(value.data);
}

/** The inverse of {@link decode}: JSON with markers, and the bytes in the order of the markers. */
export function encode(value: unknown): { json: unknown; buffers: DataView[] } {
  const buffers: DataView[] = [];
  const walk = (item: unknown): unknown => {
    if (item === null || typeof item !== "object") return item;
    if (Array.isArray(item)) return item.map(walk);
    if (isArrayView(item)) {
      const { buffer, byteOffset, byteLength } = item.data;
      buffers.push(new DataView(buffer, byteOffset, byteLength));
      return { $array: buffers.length - 1, dtype: item.dtype, shape: [...item.shape] };
    }
    return Object.fromEntries(Object.entries(item).map(([key, inner]) => [key, walk(inner)]));
  };
  return { json: walk(value), buffers };
}
