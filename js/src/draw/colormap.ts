/** Colour maps: which one is meant, and its table as packed pixels. */

import { TABLES } from "./colormap_tables";
import type { Scaling } from "./range";

export const ENTRIES = 255;

type TableName = keyof typeof TABLES;

export interface Colormap {
  readonly name: string;
  readonly diverging: boolean;
  /** One packed pixel (alpha, blue, green, red from the highest byte) per entry. */
  readonly table: Uint32Array;
}

/** The choices of the page, in their order, with the words that name them. */
export const COLORMAPS: readonly { name: string; label: string }[] = [
  { name: "auto", label: "automatic" },
  { name: "rdbu", label: `blue − red +` },
  { name: "viridis", label: "viridis" },
  { name: "magma", label: "magma" },
  { name: "cividis", label: "cividis" },
  { name: "greys", label: "greys" },
];

const packed = new Map<TableName, Uint32Array>();

/** Packs one opaque pixel as ImageData holds it on a little-endian machine. */
export function pack(red: number, green: number, blue: number): number {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function table(name: TableName): Uint32Array {
  const known = packed.get(name);
  if (known) return known;
  const bytes = atob(TABLES[name]);
  const made = Uint32Array.from({ length: ENTRIES }, (_, at) =>
    pack(bytes.charCodeAt(3 * at), bytes.charCodeAt(3 * at + 1), bytes.charCodeAt(3 * at + 2)),
  );
  packed.set(name, made);
  return made;
}

function isTable(name: string): name is TableName {
  return Object.hasOwn(TABLES, name);
}

/**
 * The map for a name; "auto" and unknown names choose the diverging one for signed data or a symmetric range, else
 * viridis. The diverging map has a dark zero in dark themes.
 */
export function colormap(name: string, signed: boolean, scaling: Scaling, dark: boolean): Colormap {
  const chosen = isTable(name) ? name : signed || scaling === "symmetric" ? "rdbu" : "viridis";
  const diverging = chosen.startsWith("rdbu");
  const source: TableName = diverging ? (dark ? "rdbu_dark" : "rdbu") : chosen;
  return { name: chosen, diverging, table: table(source) };
}

/** A packed pixel as a CSS colour. */
export function css(pixel: number): string {
  return `rgb(${pixel & 255} ${(pixel >>> 8) & 255} ${(pixel >>> 16) & 255})`;
}

/** The map as the stops of a CSS gradient from left to right. */
export function gradient(map: Colormap, stops = 17): string {
  const colours = Array.from({ length: stops }, (_, at) =>
    css(map.table[Math.round((at / (stops - 1)) * (ENTRIES - 1))] as number),
  );
  return `linear-gradient(to right, ${colours.join(", ")})`;
}
