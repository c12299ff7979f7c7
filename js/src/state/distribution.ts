/** The distribution on the screen: when it is asked for, how it follows a loop, and which bins are brushed. */
import { computed, type ReadonlySignal, signal } from "@preact/signals";
import { type Brush, channelsIn, edge, fitted } from "../draw/bins";
import type { Only } from "../ui/props";
import type { Rpc } from "../wire/rpc";
import type { LookParams, Methods } from "../wire/types";
import type { DurableState } from "./durable";
import { Region } from "./region";

type Params = Methods["distribution"]["params"];

/** Of a loop's time, for counting that nobody clicked for, and seconds between two counts at least. */
const SHARE = 0.01;
const GAP_S = 1;
/** How many layers can be compared with the chosen one: four strokes can be told apart. */
export const MOST_COMPARED = 3;

export class Distribution {
  readonly region: Region<"distribution">;
  readonly brush = signal<Brush | null>(null);
  readonly params: ReadonlySignal<Params | null>;
  /** What is on the screen answers what was chosen. */
  readonly stale: ReadonlySignal<boolean>;
  readonly only: ReadonlySignal<Only | null>;
  #answered = signal("");
  #moved = signal(false);
  #next = 0;
  #brushed = "";

  constructor(rpc: Rpc, durable: DurableState, look: ReadonlySignal<LookParams | null>, abort: AbortSignal) {
    this.region = new Region(rpc, "distribution");
    const { selected, input, call, output, edits, quantity, parameter } = durable.signals;
    this.params = computed(() => {
      const [layer, ...others] = selected.value;
      if (layer === undefined) return null;
      return {
        layer,
        input: input.value,
        call: call.value,
        output: output.value === "" ? null : output.value,
        edits: edits.value,
        others: others.slice(0, MOST_COMPARED),
        quantity: quantity.value,
        parameter: parameter.value,
      };
    });
    this.stale = computed(() => JSON.stringify(this.params.value) !== this.#answered.value);
    this.only = computed(() => {
      const { value } = this.region.value;
      const params = this.params.value;
      const brush = this.brush.value;
      const here = look.value;
      // The tiles are those of the layer and input that were counted, or the brush means nothing to them.
      if (value === null || value.shares === null || brush === null || params === null || here === null) return null;
      if (value.series[0]?.layer !== here.layer || value.input !== here.input) return null;
      const channels = channelsIn(value.shares, fitted(brush, value.bins));
      if (channels === null) return null;
      const total = value.shares.shape[0] ?? 0;
      const outdated = this.#moved.value || this.stale.value;
      return { channels, total, lo: edge(value, brush.from), hi: edge(value, brush.to + 1), outdated };
    });
    abort.addEventListener("abort", () => this.region.cancel(), { once: true });
  }

  /** Asks for what is chosen, unless it is there already; `again` asks in any case. */
  async ask(again = false): Promise<void> {
    const params = this.params.value;
    if (params === null) return;
    const text = JSON.stringify(params);
    const before = this.region.value.value;
    await this.region.load(params, again);
    const { value } = this.region.value;
    if (value === null || value === before) return;
    // Bins of another layer are other bins; a training that goes on moves them only a little.
    const chosen = JSON.stringify([
      params.layer,
      params.others,
      params.quantity,
      value.parameter,
      params.input,
      value.bins,
    ]);
    if (chosen !== this.#brushed) this.brush.value = null;
    this.#brushed = chosen;
    this.#answered.value = text;
    this.#moved.value = false;
    this.#next = performance.now() + 1000 * Math.max(GAP_S, value.seconds / SHARE);
  }

  /** After a loop has moved on: counts again when it is time and nothing is under way, hidden never. */
  follow(seen: boolean): void {
    this.#moved.value = true;
    if (!seen || this.region.busySince.value !== null || performance.now() < this.#next) return;
    void this.ask(true);
  }

  cancel(): void {
    this.region.cancel();
    this.region.error.value = {
      type: "CancelledError",
      message: "Cancelled.",
      layer: null,
      argument: null,
      remedy: "Press “Count again” to ask once more.",
    };
  }
}
