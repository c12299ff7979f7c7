/** Patterns for values that have no colour: told apart by shape, not by hue. */

import { NEGATIVE_INFINITY, NOT_A_NUMBER, POSITIVE_INFINITY } from "./codes";
import { pack } from "./colormap";

export const PATTERN_SIZE = 8;

const INK = pack(24, 24, 27);
const PAPER = pack(244, 244, 245);
const HIGH = pack(255, 196, 0);
const LOW = pack(0, 200, 190);

function inked(code: number, x: number, y: number): boolean {
  if (code === NOT_A_NUMBER) return (x + y) % 4 < 2;
  const middle = PATTERN_SIZE / 2;
  const bar = (y === middle || y === middle - 1) && x > 0 && x < PATTERN_SIZE - 1;
  if (code === NEGATIVE_INFINITY) return bar;
  return bar || ((x === middle || x === middle - 1) && y > 0 && y < PATTERN_SIZE - 1);
}

/** The repeating pixels of a pattern: diagonal hatching for NaN, plus signs for +inf, minus signs for -inf. */
export function patternPixels(code: number, scale = 1): Uint32Array {
  const side = PATTERN_SIZE * scale;
  const paper = code === NOT_A_NUMBER ? PAPER : code === POSITIVE_INFINITY ? HIGH : LOW;
  return Uint32Array.from({ length: side * side }, (_, at) => {
    const x = Math.floor((at % side) / scale);
    const y = Math.floor(at / side / scale);
    return inked(code, x, y) ? INK : paper;
  });
}
