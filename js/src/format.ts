/** Numbers as people read them: three significant digits, a true minus sign, units always. */

export const MINUS = "−";

/** Hyphens of a number as true minus signs. */
export const trueMinus = (text: string): string => text.replaceAll("-", MINUS);

function grouped(integer: string): string {
  return integer.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** Three significant digits: 0.512, −3.10, 1,230, 1.20e−5. */
export function number(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 10 ** digits) return trueMinus(String(value));
  if (size < 1e-3 || size >= 1e6) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    return trueMinus(`${mantissa}e${Number(exponent)}`);
  }
  const rounded = Number(value.toPrecision(digits));
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(rounded))));
  const [whole = "", fraction] = Math.abs(rounded).toFixed(decimals).split(".");
  return `${rounded < 0 ? MINUS : ""}${grouped(whole)}${fraction ? `.${fraction}` : ""}`;
}

/** As `number`, with a plus sign before positive values. */
export function signed(value: number | null | undefined, digits = 3): string {
  const text = number(value, digits);
  return typeof value === "number" && value > 0 ? `+${text}` : text;
}

/** A probability with three decimals; what would round to nought says that it is small. */
export function probability(value: number): string {
  if (!Number.isFinite(value)) return number(value);
  if (value > 0 && value < 0.0005) return "<0.001";
  return trueMinus(value.toFixed(3));
}

/** A fraction as a percentage: 38 %, 0.1 %. */
export function percent(fraction: number): string {
  if (!Number.isFinite(fraction)) return number(fraction);
  const value = fraction * 100;
  if (value > 0 && value < 0.05) return "<0.1 %";
  const text = Math.abs(value) >= 10 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, "");
  return `${trueMinus(text)} %`;
}

/** A count: exact with separators below ten thousand, else 12.3 k, 3.50 M, 1.21 G. */
export function count(value: number): string {
  if (!Number.isFinite(value) || Math.abs(value) < 10_000) return trueMinus(grouped(String(value)));
  for (const [size, unit] of [
    [1e3, "k"],
    [1e6, "M"],
    [1e9, "G"],
    [1e12, "T"],
  ] as const) {
    const text = (value / size).toPrecision(3);
    if (Math.abs(Number(text)) < 1000) return `${trueMinus(text)} ${unit}`;
  }
  return number(value);
}

/** A shape: 192×28×28; the empty shape is "scalar". */
export function shape(sizes: readonly number[]): string {
  return sizes.length === 0 ? "scalar" : sizes.join("×");
}

/** A time in seconds: 120 ms, 0.3 s, 4 s, 2 min, 3 h, 2 d. */
export function duration(seconds: number): string {
  if (seconds < 0.1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1).replace(/\.0$/, "")} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** A factor as on the strength slider: 1.00×. */
export function factor(value: number): string {
  return `${trueMinus(value.toFixed(2))}×`;
}

/** A note as a sentence: a capital first and a full stop last. */
export function asSentence(note: string): string {
  if (note === "") return "";
  return `${note.charAt(0).toUpperCase()}${note.slice(1)}${/[.?!…]$/.test(note) ? "" : "."}`;
}

/** A count with its noun: 1 edit, 2 edits. */
export function plural(value: number, noun: string, many = `${noun}s`): string {
  return `${grouped(String(value))} ${value === 1 ? noun : many}`;
}
