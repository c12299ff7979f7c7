/** One thing asked of Python for one region of the page: its last good answer, why there is none, since when it waits. */
import { signal } from "@preact/signals";
import { asWireError, type Rpc, RpcError, type Slot } from "../wire/rpc";
import type { Methods, WireError } from "../wire/types";

export class Region<M extends keyof Methods> {
  readonly value = signal<Methods[M]["result"] | null>(null);
  readonly error = signal<WireError | null>(null);
  readonly busySince = signal<number | null>(null);
  #slot: Slot<M>;
  #asked = "";

  constructor(rpc: Rpc, method: M) {
    this.#slot = rpc.slot(method, (since) => {
      this.busySince.value = since;
    });
  }

  /** Asks unless this very question was asked before; `again` asks in any case. */
  async load(params: Methods[M]["params"], again = false): Promise<void> {
    const key = JSON.stringify(params);
    if (key === this.#asked && !again) return;
    this.#asked = key;
    try {
      this.value.value = await this.#slot.call(params, { replace: true });
      this.error.value = null;
    } catch (error) {
      if (this.#asked === key) this.#asked = "";
      if (!(error instanceof RpcError && error.quiet)) this.error.value = asWireError(error);
    }
  }

  cancel(): void {
    this.#slot.cancel();
  }
}
