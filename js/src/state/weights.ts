/** What is shown of the weights of the chosen layer: choices, the question they make, and the number under the pointer. */
import { batch, computed, type ReadonlySignal, signal } from "@preact/signals";
import type { FilterMode } from "../ui/props";
import type { Rpc, Slot } from "../wire/rpc";
import type { FilterSort, FiltersParams, FiltersResult, LookParams } from "../wire/types";
import { Region } from "./region";

/** What was chosen for one layer; another layer begins anew. */
export interface FilterChoice {
  part: string | null;
  section: number | null;
  mode: FilterMode;
  slice: number | null;
  window: FiltersParams["window"];
  sort: FilterSort;
  reference: number | null;
}

/** A pixel of the filters in the coordinates of the weight: the block that it averages. */
export interface WeightPoint {
  tile: number;
  row: number;
  column: number;
  rows: number;
  columns: number;
  gradient: boolean;
}

export interface WeightValue {
  point: WeightPoint;
  text: string;
}

const FIRST: FilterChoice = {
  part: null,
  section: null,
  mode: "auto",
  slice: null,
  window: null,
  sort: "number",
  reference: null,
};
const DWELL_MS = 120;
/** Of tiles; a kernel is hardly ever larger. */
const EDGE = 128;

/** What the page says of itself: which layer and channel are chosen, and what a look at them would ask. */
export interface Around {
  layer(): string | null;
  channel(): number;
  look(): LookParams;
}

const sameWindow = (params: FiltersParams) => JSON.stringify({ ...params, window: null, room: null, gradient: false });

export class Weights {
  readonly region: Region<"filters">;
  /** Show the gradient beside the weight where there is one. */
  readonly gradient = signal(false);
  /** How many rows and columns the place of a matrix can show. */
  readonly room = signal<[number, number]>([384, 512]);
  readonly point = signal<WeightPoint | null>(null);
  readonly value = signal<WeightValue | null>(null);
  /** What is on the screen answers another question than the one asked now. */
  readonly stale: ReadonlySignal<boolean>;
  #chosen = signal<{ layer: string | null } & FilterChoice>({ layer: null, ...FIRST });
  #around: Around;
  #slot: Slot<"weight">;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #answered = signal("");
  #asked = "";

  constructor(rpc: Rpc, around: Around, abort: AbortSignal) {
    this.region = new Region(rpc, "filters");
    this.#slot = rpc.slot("weight");
    this.#around = around;
    this.stale = computed(() => {
      const params = this.params.value;
      const shown = this.region.value.value;
      return shown !== null && params !== null && this.#answered.value !== sameWindow(params);
    });
    abort.addEventListener("abort", () => clearTimeout(this.#timer), { once: true });
  }

  readonly choice = computed<FilterChoice>(() => {
    const chosen = this.#chosen.value;
    return chosen.layer === this.#around.layer() ? chosen : FIRST;
  });

  /** The question that the choices make, or null without a layer. */
  readonly params = computed<FiltersParams | null>(() => {
    const layer = this.#around.layer();
    if (layer === null) return null;
    const { sort, reference, ...choice } = this.choice.value;
    // Tiles are sorted by number and norm here; only a matrix, of which a part is here, is sorted there.
    const shown = this.region.value.value;
    const matrix = shown !== null && shown.layer === layer && shown.kind === "matrix";
    const asked = matrix || sort === "activity" || sort === "similarity" ? sort : "number";
    const channel = this.#around.channel();
    return {
      layer,
      ...choice,
      room: this.room.value,
      edge: EDGE,
      sort: asked,
      reference: asked === "similarity" ? (reference ?? (channel >= 0 ? channel : null)) : null,
      gradient: this.gradient.value,
      look: asked === "activity" ? this.#around.look() : null,
    };
  });

  /** There is a question without an answer, and none is on its way: it was cancelled or it failed. */
  get unanswered(): boolean {
    const params = this.params.value;
    return params !== null && this.region.busySince.value === null && this.#answered.value !== sameWindow(params);
  }

  /** Gives up what is under way; the last picture stays, dimmed, with the way to ask again. */
  cancel(): void {
    this.region.cancel();
    this.region.error.value = {
      type: "CancelledError",
      message: "Cancelled.",
      layer: null,
      argument: null,
      remedy: "Choose the layer once more to ask again.",
    };
  }

  choose(change: Partial<FilterChoice>): void {
    const other = change.part !== undefined || change.section !== undefined;
    const window = other ? { window: null, ...(change.part === undefined ? {} : { section: null }) } : {};
    this.#chosen.value = { ...this.choice.value, ...window, ...change, layer: this.#around.layer() };
    if (change.window === undefined && change.reference === undefined) this.hover(null);
  }

  /** Asks for a window of a matrix as finely as there is room for. */
  see(window: FiltersParams["window"], room: [number, number]): void {
    batch(() => {
      if (room.some((size, at) => size !== this.room.value[at])) this.room.value = room;
      this.choose({ window });
    });
  }

  /** Asks for what is not on the screen yet; `again` asks in any case. */
  async load(again = false): Promise<void> {
    const params = this.params.value;
    if (params === null) return;
    const key = sameWindow(params);
    this.#asked = key;
    const before = this.region.value.value;
    await this.region.load(params, again);
    // An answer that was cancelled meanwhile leaves what was there.
    if (this.region.value.value !== before && this.#asked === key) this.#answered.value = key;
  }

  /** Takes what a loop pushed; says whether it is still what is on the screen. */
  push(result: FiltersResult): boolean {
    // An answer is on its way that is newer than what the loop pushed.
    if (this.region.busySince.value !== null || this.stale.value || result.layer !== this.#around.layer()) return false;
    batch(() => {
      this.region.value.value = result;
      this.region.error.value = null;
      // The number under the pointer was that of the weights before.
      this.hover(this.point.value);
    });
    return true;
  }

  hover(point: WeightPoint | null): void {
    clearTimeout(this.#timer);
    this.point.value = point;
    this.value.value = null;
    if (point !== null) this.#timer = setTimeout(() => void this.#ask(point), DWELL_MS);
  }

  async #ask(point: WeightPoint): Promise<void> {
    const params = this.params.value;
    const shown = this.region.value.value;
    if (params === null || shown === null || shown.kind === "strips" || this.stale.value) return;
    const { gradient, ...place } = point;
    try {
      const { text } = await this.#slot.call(
        { ...params, window: null, look: null, gradient: false, sort: "number", ...place, of_gradient: gradient },
        { replace: true },
      );
      if (this.point.value !== null && same(this.point.value, point)) this.value.value = { point, text };
    } catch {
      // The value read off the picture stays; a failed whisper is no reason to shout.
    }
  }
}

function same(one: WeightPoint | null, other: WeightPoint): boolean {
  return one !== null && JSON.stringify(one) === JSON.stringify(other);
}

/** Whether the rows of what is shown are channels of the layer's output. */
export function rowsAreChannels(filters: FiltersResult): boolean {
  if (filters.kind === "none" || filters.sections.length > 0) return false;
  if (filters.kind === "matrix") return filters.axes[0] === "output" && !filters.part.includes(".");
  return filters.kind === "strips" || filters.part === "weight";
}
