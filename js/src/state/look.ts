/** What is on the screen for the chosen layer and input, and which part of it an answer still has to bring. */
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Rpc, Slot } from "../wire/rpc";
import { asWireError, RpcError } from "../wire/rpc";
import type { ChannelResult, LookParams, LookResult, MapsResult, PredictionResult, WireError } from "../wire/types";

export type Part = LookParams["want"][number];
export const PARTS: readonly Part[] = ["maps", "channel", "prediction"];

interface Shown {
  maps: MapsResult | null;
  channel: ChannelResult | null;
  prediction: PredictionResult | null;
}

/** Two questions with one key have the same answer, as long as the model does not change. */
export function partKey(part: Part, params: LookParams): string {
  const { layer, input, call, output, edge, channel, edits } = params;
  if (part === "maps") return JSON.stringify([layer, input, call, output, edge, edits]);
  if (part === "channel") return JSON.stringify([layer, input, call, output, channel, edits]);
  return JSON.stringify([input, edits]);
}

/** How long a model may take for one forward pass before the page gives up; the person can at any time. */
const PATIENCE_MS = 300_000;

export class Look {
  readonly shown: { readonly [P in Part]: Signal<Shown[P]> } = {
    maps: signal<MapsResult | null>(null),
    channel: signal<ChannelResult | null>(null),
    prediction: signal<PredictionResult | null>(null),
  };
  readonly result = signal<LookResult | null>(null);
  readonly error = signal<WireError | null>(null);
  readonly busySince = signal<number | null>(null);
  readonly stale: { readonly [P in Part]: ReadonlySignal<boolean> };
  #wanted = signal<LookParams | null>(null);
  #answered = signal<Readonly<Record<Part, string>>>({ maps: "", channel: "", prediction: "" });
  #slot: Slot<"look">;

  constructor(rpc: Rpc) {
    const onBusy = (since: number | null) => {
      this.busySince.value = since;
    };
    this.#slot = rpc.slot("look", onBusy, PATIENCE_MS);
    const stale = (part: Part) =>
      computed(() => {
        const wanted = this.#wanted.value;
        if (!wanted?.want.includes(part)) return false;
        return this.#answered.value[part] !== partKey(part, wanted);
      });
    this.stale = { maps: stale("maps"), channel: stale("channel"), prediction: stale("prediction") };
  }

  get wanted(): LookParams | null {
    return this.#wanted.value;
  }

  /** Asks for the parts that the screen does not show already; `want` in `params` is what is on show at all. */
  ask(params: LookParams | null): void {
    const before = this.#wanted.value;
    this.#wanted.value = params;
    if (params === null) {
      this.#slot.cancel();
      return;
    }
    const answered = this.#answered.value;
    const want = params.want.filter((part) => answered[part] !== partKey(part, params));
    if (want.length === 0) {
      this.#slot.cancel();
      this.error.value = null;
      return;
    }
    // An answer about another layer is of no use; one about an earlier place of the slider is the picture of the drag.
    const replace = before !== null && (before.layer !== params.layer || before.input !== params.input);
    void this.#run({ ...params, want }, replace);
  }

  /** Asks again for everything, for a model that has changed under an unchanged question. */
  refresh(): void {
    this.#answered.value = { maps: "", channel: "", prediction: "" };
    this.ask(this.#wanted.value);
  }

  /** Gives up what is under way; the last picture stays, dimmed, with the way to ask again. */
  cancel(): void {
    this.#slot.cancel();
    this.error.value = {
      type: "CancelledError",
      message: "Cancelled.",
      layer: null,
      argument: null,
      remedy: "Choose the layer once more to ask again.",
    };
  }

  /** Takes a look that Python pushed; says whether it is still the one on the screen. */
  push(result: LookResult): boolean {
    const wanted = this.#wanted.value;
    // An answer is on its way that is newer than what the loop pushed.
    if (this.#slot.busy) return false;
    if (wanted === null || result.layer !== wanted.layer || result.input !== wanted.input) return false;
    this.#show(
      result,
      wanted,
      PARTS.filter((part) => result[part] !== null),
    );
    return true;
  }

  async #run(params: LookParams, replace: boolean): Promise<void> {
    try {
      const result = await this.#slot.call(params, { replace });
      this.#show(result, params, params.want);
    } catch (error) {
      if (error instanceof RpcError && error.failure === "superseded") return;
      // A failure keeps the last good picture, which stays dimmed beside the reason.
      if (!(error instanceof RpcError && error.quiet)) this.error.value = asWireError(error);
    }
  }

  #show(result: LookResult, params: LookParams, parts: readonly Part[]): void {
    const answered = { ...this.#answered.value };
    for (const part of parts) {
      if (result[part] === null && result.error !== null) continue;
      // biome-ignore lint/suspicious/noExplicitAny: the three parts differ in type and are copied one to one.
      (this.shown[part] as Signal<any>).value = result[part];
      answered[part] = partKey(part, params);
    }
    this.#answered.value = answered;
    this.result.value = result;
    this.error.value = result.error;
  }
}
