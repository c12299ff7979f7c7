/** All state of one training panel, shared by its displays. */
import { computed, effect, type ReadonlySignal, signal, untracked } from "@preact/signals";
import type { AnyModel } from "../wire/model";
import { nextFrame } from "../wire/transport";
import type { ChartsResult } from "../wire/types";
import { Link, type LinkHooks } from "./link";
import { Region } from "./region";

/** How often a page looks at the clock while it follows a history. */
const TICK_MS = 1000;
/** After so long without a word the page asks; Python reads a growing history by itself, but not in a busy kernel. */
const ASK_MS = { busy: 900, idle: 10_000 };

export class TrainingStore {
  readonly link: Link;
  readonly charts: Region<"charts">;
  /** Whose curve is shown. */
  readonly scalar = signal("loss");
  readonly log = signal(false);
  /** The step under the pointer, for all charts together. */
  readonly cursor = signal<number | null>(null);
  /** Seconds since Python last said how a history stands. */
  readonly silence = signal(0);
  readonly view = { large: signal(false) as ReadonlySignal<boolean> };
  #views = signal(0);
  #heard = performance.now();

  constructor(model: AnyModel, abort: AbortSignal) {
    this.link = new Link(model, { onWelcome: () => {}, onPush: (message) => this.#onPush(message) }, abort);
    this.charts = new Region(this.link.rpc, "charts");
    const dispose = effect(() => {
      const scalar = this.scalar.value;
      if (this.link.connection.value !== "ready") return;
      if (this.#views.value > 0) untracked(() => void this.charts.load({ scalar }, true));
      else this.link.post({ k: "watch", client: this.link.client, params: null }, "watch");
    });
    // Every answer says how it stands, also one that was asked for.
    const take = effect(() => {
      const result = this.charts.value.value;
      if (result !== null) untracked(() => this.#stand(result));
    });
    const hear = effect(() => {
      if (this.link.play.value === null) return;
      this.#heard = performance.now();
      this.silence.value = 0;
    });
    const follows = computed(() => {
      const kind = this.link.play.value?.record?.kind ?? "file";
      return kind !== "file" && this.#views.value > 0 && this.link.connection.value === "ready";
    });
    const follow = effect(() => {
      if (!follows.value) return;
      const timer = setInterval(() => this.#tick(), TICK_MS);
      return () => clearInterval(timer);
    });
    const end = () => {
      for (const stop of [dispose, take, hear, follow]) stop();
    };
    abort.addEventListener("abort", end, { once: true });
  }

  /** The kernel is at work, so that only questions of the page are answered, if any. */
  get busy(): boolean {
    return this.link.kernelBusy.value || this.link.status.value.state === "busy";
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

  #tick(): void {
    const silent = performance.now() - this.#heard;
    this.silence.value = silent / 1000;
    // One question at a time: where they wait for the end of a cell, they must not queue up.
    if (silent < (this.busy ? ASK_MS.busy : ASK_MS.idle) || this.charts.busySince.value !== null) return;
    void this.charts.load({ scalar: this.scalar.value }, true);
  }

  #onPush(message: Parameters<LinkHooks["onPush"]>[0]): void {
    if (message.k !== "charts") return;
    const { seq, result } = message;
    this.#take(result);
    // Acknowledged when the frame after the drawing one begins: the curve is on the screen by then.
    nextFrame(() => nextFrame(() => this.link.post({ k: "ack", client: this.link.client, seq })));
  }

  #stand(result: ChartsResult): void {
    this.link.play.value = result.play;
    this.link.setStatus(result.status);
  }

  #take(result: ChartsResult): void {
    this.#stand(result);
    const asked = this.scalar.value;
    // A curve that was chosen meanwhile is on its way.
    if (result.curve === null || result.curve.name === asked) this.charts.value.value = result;
  }
}
