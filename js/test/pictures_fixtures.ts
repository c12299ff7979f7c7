/** What the tests of the pictures share: a place to draw, ways to find and press, one result to show. */

import { type ComponentChild, render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, vi } from "vitest";
import type { MapsResult } from "../src/wire/types";

let root: HTMLElement;

/** Gives each test an empty place in the document, and takes it back. */
export function place(): void {
  beforeEach(() => {
    root = document.createElement("div");
    document.body.append(root);
  });
  afterEach(() => {
    act(() => render(null, root));
    root.remove();
    vi.useRealTimers();
  });
}

export const draw = (node: ComponentChild) => act(() => render(node, root));

export const all = <T extends Element = HTMLElement>(selector: string): T[] => [...root.querySelectorAll<T>(selector)];

export const find = <T extends Element = HTMLElement>(selector: string): T => {
  const found = root.querySelector<T>(selector);
  if (!found) throw new Error(`no ${selector} in ${root.innerHTML}`);
  return found;
};

export const button = (text: string): HTMLButtonElement => {
  const found = all<HTMLButtonElement>("button").find((node) => node.textContent === text);
  if (!found) throw new Error(`no button ${text}`);
  return found;
};

export const key = (node: Element, name: string) =>
  act(() => void node.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true })));

export const f32 = (values: number[]) => ({
  dtype: "f32" as const,
  shape: [values.length],
  data: Float32Array.from(values),
});

/** Feature maps of 4×4 pixels whose activity grows with the channel. */
export function maps(channels: number, change: Partial<MapsResult> = {}): MapsResult {
  const numbers = Array.from({ length: channels }, (_, at) => at);
  return {
    layer: "features.3",
    type: "Conv2d",
    layout: "maps",
    shape: [channels, 4, 4],
    dtype: "float32",
    axes: ["row", "column"],
    guessed: false,
    channel_axis: "tile",
    total: channels,
    index: { dtype: "i32", shape: [channels], data: Int32Array.from(numbers) },
    codes: { dtype: "u8", shape: [channels, 4, 4], data: new Uint8Array(channels * 16) },
    lo: f32(numbers.map(() => -1)),
    hi: f32(numbers.map(() => 2)),
    activity: f32(numbers.map((at) => at)),
    pool: [1, 1],
    minimum: -1,
    maximum: 2,
    mean: 0,
    std: 1,
    zeros: 0,
    nan: 0,
    posinf: 0,
    neginf: 0,
    count: channels * 16,
    signed: true,
    calls: 1,
    call: 0,
    outputs: [""],
    output: "",
    sentence: "Each tile shows where one channel answers to this input.",
    note: "",
    ...change,
  };
}
