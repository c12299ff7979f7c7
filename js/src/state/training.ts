/** All state of one training panel, shared by its displays. */
import { effect, type ReadonlySignal, signal, untracked } from "@preact/signals";
import type { AnyModel } from "../wire/model";
import { nextFrame } from "../wire/transport";
import type { ChartsResult } from "../wire/types";
import { Link, type LinkHooks } from "./link";
import { Region } from "./region";

export class TrainingStore {
  readonly link: Link;
  readonly charts: Region<"charts">;
  /** Whose curve is shown. */
  readonly scalar = signal("loss");
  readonly log = signal(false);
  /** The step under the pointer, for all charts together. */
  readonly cursor = signal<number | null>(null);
  readonly view = { large: signal(false) as ReadonlySignal<boolean> };
  #views = signal(0);

  constructor(model: AnyModel, abort: AbortSignal) {
    this.link = new Link(model, { onWelcome: () => {}, onPush: (message) => this.#onPush(message) }, abort);
    this.charts = new Region(this.link.rpc, "charts");
    const dispose = effect(() => {
      const scalar = this.scalar.value;
      if (this.link.connection.value !== "ready") return;
      if (this.#views.value > 0) untracked(() => void this.charts.load({ scalar }, true));
      else this.link.post({ k: "watch", client: this.link.client, params: null }, "watch");
    });
    abort.addEventListener("abort", dispose, { once: true });
  }

  attach(): () => void {
    this.#views.value += 1;
    let attached = true;
    return () => {
      if (attached) this.#views.value -= 1;
      attached = false;
    };
  }

  /** Takes what went wrong off the screen. */
  forget(): void {
    this.link.notice.value = null;
    this.charts.error.value = null;
  }

  retry(): void {
    this.forget();
    void this.charts.load({ scalar: this.scalar.value }, true);
  }

  #onPush(message: Parameters<LinkHooks["onPush"]>[0]): void {
    if (message.k !== "charts") return;
    const { seq, result } = message;
    this.#take(result);
    // Acknowledged when the frame after the drawing one begins: the curve is on the screen by then.
    nextFrame(() => nextFrame(() => this.link.post({ k: "ack", client: this.link.client, seq })));
  }

  #take(result: ChartsResult): void {
    this.link.play.value = result.play;
    this.link.setStatus(result.status);
    const asked = this.scalar.value;
    // A curve that was chosen meanwhile is on its way.
    if (result.curve === null || result.curve.name === asked) this.charts.value.value = result;
  }
}
