/** Channels ranked by Python, part by part: what is known so far, whether more is under way, and the way to stop it. */
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Order } from "../ui/props";
import { asWireError, type Rpc, RpcError, type Slot } from "../wire/rpc";
import type { LookParams, Methods, RankingResult, WireError } from "../wire/types";

type Params = Omit<Methods["ranking"]["params"], "resume">;

export class Ranking {
  readonly result = signal<RankingResult | null>(null);
  readonly error = signal<WireError | null>(null);
  /** Since when channels are being ranked, all parts together. */
  readonly busySince = signal<number | null>(null);
  /** It was cancelled before all channels were tried. */
  readonly stopped = signal(false);
  /** The model has moved since. */
  readonly outdated = signal(false);
  /** The output whose change is meant; null: the largest. */
  readonly target = signal<number | null>(null);
  readonly params: ReadonlySignal<Params | null>;
  #slot: Slot<"ranking">;
  #asked = "";
  #run = 0;

  constructor(rpc: Rpc, order: Signal<Order>, look: ReadonlySignal<LookParams | null>, abort: AbortSignal) {
    this.#slot = rpc.slot("ranking");
    this.params = computed(() => {
      const here = look.value;
      const by = order.value;
      if (here === null || (by !== "selectivity" && by !== "influence")) return null;
      const { layer, input, call, output } = here;
      return { layer, input, call, output, by, target: by === "influence" ? this.target.value : null };
    });
    abort.addEventListener("abort", () => this.#stop(), { once: true });
  }

  /** Asks for what is chosen, part by part, unless it was asked before; `again` begins in any case. */
  async ask(again = false): Promise<void> {
    const params = this.params.value;
    const key = JSON.stringify(params);
    if (key === this.#asked && !again) return;
    const before = this.result.value;
    const on = this.stopped.value && !this.outdated.value;
    this.#stop();
    this.#asked = key;
    if (params === null) return;
    const run = this.#run;
    // Another output of the same channels takes the place of the one before, and what was stopped goes on.
    const same = before !== null && sameChannels(before, params);
    if (!same || (again && !on)) this.result.value = null;
    this.busySince.value = performance.now();
    let resume = same && again && on ? before.channels.data.length : 0;
    try {
      for (;;) {
        const result = await this.#slot.call({ ...params, resume }, { replace: true });
        if (run !== this.#run) return;
        this.result.value = result;
        resume = result.channels.data.length;
        if (resume >= result.total) break;
      }
    } catch (error) {
      if (run !== this.#run) return;
      if (error instanceof RpcError && error.quiet) this.stopped.value = true;
      else this.error.value = asWireError(error);
    }
    this.busySince.value = null;
  }

  /** Stops; what was found stays, and asking again goes on from there. */
  cancel(): void {
    if (this.busySince.value === null) return;
    this.#stop();
    this.stopped.value = true;
  }

  /** The model has moved: what is shown was true before. */
  moved(): void {
    if (this.result.value !== null) this.outdated.value = true;
  }

  /** Ends what is under way and forgets how it ended. */
  #stop(): void {
    this.#run += 1;
    this.#slot.cancel();
    this.busySince.value = null;
    this.error.value = null;
    this.stopped.value = false;
    this.outdated.value = false;
  }
}

/** Whether a ranking is about the channels that are asked for. */
export function sameChannels(
  one: Pick<RankingResult, "by" | "layer" | "input" | "call" | "output">,
  other: Pick<RankingResult, "by" | "layer" | "input" | "call" | "output">,
): boolean {
  return (["by", "layer", "input", "call", "output"] as const).every((key) => one[key] === other[key]);
}
