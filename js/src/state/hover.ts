/** The pointed-at place and its exact value: from the plane that the page has, or from Python once the pointer rests. */
import { signal } from "@preact/signals";
import { MINUS } from "../format";
import type { Point, PointValue } from "../ui/props";
import type { Rpc, Slot } from "../wire/rpc";
import type { LookParams } from "../wire/types";
import type { Look } from "./look";

const DWELL_MS = 120;

/** Nine digits tell any float32 from its neighbours. */
function exact(value: number): string {
  const text = Number.isFinite(value) ? String(Number(value.toPrecision(9))) : String(value).replace("Infinity", "inf");
  return text.replaceAll("-", MINUS);
}

export class Hover {
  readonly point = signal<Point | null>(null);
  readonly value = signal<PointValue | null>(null);
  #look: Look;
  #slot: Slot<"value">;
  #asked: () => LookParams | null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `asked` says which activation is on the screen, null while Python cannot be asked. */
  constructor(rpc: Rpc, look: Look, asked: () => LookParams | null, abort: AbortSignal) {
    this.#look = look;
    this.#slot = rpc.slot("value");
    this.#asked = asked;
    abort.addEventListener("abort", () => clearTimeout(this.#timer), { once: true });
  }

  set(point: Point | null): void {
    clearTimeout(this.#timer);
    this.point.value = point;
    this.value.value = null;
    if (point === null) return;
    const text = this.#own(point);
    if (text !== null) this.value.value = { ...point, text };
    else this.#timer = setTimeout(() => void this.#ask(point), DWELL_MS);
  }

  /** The value in the plane of the selected channel, which came in full; null for what the page does not have. */
  #own({ channel, row, column }: Point): string | null {
    const own = this.#look.shown.channel.value;
    const layout = this.#look.shown.maps.value?.layout;
    if (own === null || own.channel !== channel || layout !== "maps" || this.#look.stale.channel.value) return null;
    const width = own.plane.shape[1] ?? 0;
    const value = own.plane.data[row * width + column];
    return value !== undefined && own.pool.every((size) => size === 1) ? exact(value) : null;
  }

  async #ask(point: Point): Promise<void> {
    const params = this.#asked();
    if (params === null) return;
    const { layer, input, call, output, edits } = params;
    try {
      const { text } = await this.#slot.call({ layer, input, call, output, edits, ...point }, { replace: true });
      if (this.point.value === point) this.value.value = { ...point, text };
    } catch {
      // The value read off the picture stays; a failed whisper is no reason to shout.
    }
  }
}
