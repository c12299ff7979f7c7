/** All state of one widget, shared by its displays: what Python said, what the person chose, what is under way. */
import { batch, computed, effect, signal, untracked } from "@preact/signals";
import type { AnyModel } from "../wire/model";
import type { Rpc } from "../wire/rpc";
import { nextFrame } from "../wire/transport";
import type { Durable, FiltersParams, LookParams, PageEdit, Status } from "../wire/types";
import { Distribution } from "./distribution";
import { DurableState } from "./durable";
import { Hover } from "./hover";
import { Link, type LinkHooks } from "./link";
import { Look, type Part } from "./look";
import { Ranking } from "./ranking";
import { Region } from "./region";
import { createView, type ViewState } from "./view";
import { Weights } from "./weights";

/** What a panel shows, hence what it asks for. */
export interface Needs {
  layers?: boolean;
  inputs?: boolean;
  filters?: boolean | "view";
  distribution?: boolean | "view";
  look?: readonly Part[];
}

const FIRST = { channel: -1, call: 0, output: "" } as const;
/**
 * The server's answer to a click waits up to 40 ms for the browser to acknowledge the packet before it (Nagle and delayed
 * acknowledgements); any message sent meanwhile carries that acknowledgement, so this one follows the question closely.
 */
const FOLLOW_MS = 12;
/** Small messages right before an answer hold it up on the way: what is chosen is kept once the answer is through. */
const KEEP_MS = 100;
const THUMBNAIL = 64;
/** A slider that rests this long is kept in the notebook. */
const REST_MS = 250;

export class Store {
  readonly durable: DurableState;
  readonly view: ViewState;
  readonly look: Look;
  readonly hover: Hover;
  readonly layers: Region<"layers">;
  readonly inputs: Region<"inputs">;
  readonly weights: Weights;
  readonly distribution: Distribution;
  readonly ranking: Ranking;
  /** The host's widget manager, which shows widgets of other packages. */
  readonly manager: unknown;
  readonly link: Link;
  readonly status: Link["status"];
  readonly play: Link["play"];
  readonly connection: Link["connection"];
  readonly kernelBusy: Link["kernelBusy"];
  readonly notice: Link["notice"];
  readonly rpc: Rpc;
  readonly needs: Needs;
  #signal: AbortSignal;
  #views = signal(0);
  #followTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(model: AnyModel, needs: Needs, abort: AbortSignal) {
    this.needs = needs;
    this.#signal = abort;
    this.link = new Link(
      model,
      {
        onWelcome: (message) => this.durable.adopt(message.durable),
        onPush: (message) => this.#onPush(message),
        onStatus: (before, after) => this.#onStatus(before, after),
      },
      abort,
    );
    this.rpc = this.link.rpc;
    this.status = this.link.status;
    this.play = this.link.play;
    this.connection = this.link.connection;
    this.kernelBusy = this.link.kernelBusy;
    this.notice = this.link.notice;
    this.durable = new DurableState(model, (patch) => this.#keep(patch), abort, KEEP_MS);
    this.view = createView(Number(model.get("height")) || 560);
    this.look = new Look(this.rpc);
    const asked = () => (this.connection.value === "ready" ? this.lookParams.value : null);
    this.hover = new Hover(this.rpc, this.look, asked, abort);
    this.layers = new Region(this.rpc, "layers");
    this.inputs = new Region(this.rpc, "inputs");
    const around = {
      layer: () => this.selected.value,
      channel: () => this.durable.signals.channel.value,
      look: () => this.#lookAt(this.selected.value ?? "", ["maps"]),
    };
    this.weights = new Weights(this.rpc, around, abort);
    this.distribution = new Distribution(this.rpc, this.durable, this.lookParams, abort);
    this.ranking = new Ranking(this.rpc, this.view.order, this.lookParams, abort);
    this.manager = model.widget_manager;
    const onHeight = () => {
      this.view.height.value = Number(model.get("height")) || 560;
    };
    model.on("change:height", onHeight);
    const effects = this.#asking();
    abort.addEventListener(
      "abort",
      () => {
        model.off("change:height", onHeight);
        for (const dispose of effects) dispose();
        clearTimeout(this.#followTimer);
      },
      { once: true },
    );
  }

  readonly selected = computed(() => this.durable.signals.selected.value[0] ?? null);

  /** What one look at the chosen layer asks for, or null when nothing can be looked at. */
  readonly lookParams = computed<LookParams | null>(() => {
    const { channel } = this.durable.signals;
    const want = this.needs.look?.filter((part) => part !== "channel" || channel.value >= 0) ?? [];
    const layer = this.selected.value ?? (want.includes("maps") ? null : "");
    return layer === null || want.length === 0 ? null : this.#lookAt(layer, want);
  });

  #lookAt(layer: string, want: readonly Part[]): LookParams {
    const { input, channel, call, output, edits } = this.durable.signals;
    return {
      layer,
      input: input.value,
      call: call.value,
      output: output.value === "" ? null : output.value,
      edge: globalThis.devicePixelRatio > 1.25 ? 192 : 128,
      channel: channel.value >= 0 ? channel.value : null,
      edits: edits.value,
      want: [...want],
    };
  }

  /** Counts one more display; the answer takes it away again. */
  attach(): () => void {
    this.#views.value += 1;
    let attached = true;
    return () => {
      if (attached) this.#views.value -= 1;
      attached = false;
    };
  }

  /** Nothing was answered yet, and something may still be. */
  readonly waiting = computed(
    () => this.look.result.value === null && this.look.error.value === null && this.connection.value !== "gone",
  );

  selectLayer(name: string): void {
    if (name === this.selected.value) {
      // Chosen once more: whatever was cancelled or failed is asked again.
      if (this.look.stale.maps.value && this.look.busySince.value === null) this.look.refresh();
      if (this.weights.unanswered) this.#loadFilters(true);
      return;
    }
    // Layers that are compared stay when another one is chosen beside them.
    const others = this.durable.signals.selected.value.slice(1).filter((other) => other !== name);
    batch(() => {
      this.durable.set({ selected: [name, ...others], channel: -1, call: 0, output: "" });
      this.hover.set(null);
    });
  }

  /** Puts `edit` in the place of what was in force on its channel; null takes that away. */
  setEdit(layer: string, channel: number | null, edit: PageEdit | null): void {
    const others = this.durable.signals.edits.value.filter((e) => e.layer !== layer || e.channel !== channel);
    this.durable.set({ edits: edit === null ? others : [...others, edit] }, REST_MS);
  }

  undoAll(): void {
    this.durable.set({ edits: [] });
  }

  async code(): Promise<string> {
    return (await this.rpc.request("code", { edits: this.durable.signals.edits.value })).code;
  }

  fail(error: unknown): void {
    this.link.fail(error);
  }

  /** Asks again for all that is on the screen. */
  retry(): void {
    this.notice.value = null;
    this.look.refresh();
    if (this.needs.layers) void this.layers.load({}, true);
    if (this.needs.inputs) void this.inputs.load({ edge: THUMBNAIL }, true);
    this.#loadFilters(true);
    if (this.#countsSeen()) void this.distribution.ask(true);
  }

  /** The distribution is on the screen; hidden, nothing is counted. */
  #countsSeen(): boolean {
    const { distribution } = this.needs;
    return distribution === true || (distribution === "view" && this.durable.signals.view.value === "distribution");
  }

  /** The filters are on the screen. */
  #filtersSeen(): boolean {
    const { filters } = this.needs;
    return filters === true || (filters === "view" && this.durable.signals.view.value === "filters");
  }

  /** The tiles that a ranking puts in order are on the screen. */
  #tilesSeen(): boolean {
    const { distribution, look } = this.needs;
    if (!look?.includes("maps")) return false;
    // Alone, the maps are always in sight; in the frame they share their place with other views.
    return distribution !== "view" || this.durable.signals.view.value === "maps";
  }

  #asking(): (() => void)[] {
    const asked = () => this.#views.value > 0 && this.connection.value === "ready";
    const ask = (work: () => void) =>
      effect(() => {
        if (asked()) work();
      });
    return [
      ask(() => {
        if (this.needs.layers) untracked(() => void this.layers.load({}));
        if (this.needs.inputs) untracked(() => void this.inputs.load({ edge: THUMBNAIL }));
      }),
      effect(() => {
        const params = asked() ? this.lookParams.value : null;
        untracked(() => this.look.ask(params));
      }),
      effect(() => {
        const params = asked() ? this.lookParams.value : null;
        const filters = asked() && this.#filtersSeen() ? this.weights.params.value : null;
        if (this.connection.value === "ready") this.#follow(params, filters);
      }),
      ask(() => {
        if (this.#filtersSeen() && this.weights.params.value !== null) untracked(() => this.#loadFilters(false));
      }),
      ask(() => {
        // Asked again each time the tab is opened: the weights may have moved meanwhile.
        if (this.#countsSeen() && this.distribution.params.value !== null) {
          untracked(() => void this.distribution.ask(true));
        }
      }),
      effect(() => {
        const layout = this.look.shown.maps.value?.layout;
        // Out of sight, nothing is ranked; a layer without tiles has no order.
        if (!asked() || !this.#tilesSeen()) untracked(() => this.ranking.cancel());
        else if (this.ranking.params.value === null || layout === "maps") untracked(() => void this.ranking.ask());
      }),
      ask(() => {
        const rows = this.layers.value.value?.rows;
        if (rows === undefined || this.selected.value !== null || !this.needs.look) return;
        const seen = rows.filter((row) => row.reason === "" && row.outputs.length > 0);
        const first = seen.find((row) => row.name !== "" && (row.outputs[0]?.shape.length ?? 0) > 1) ?? seen[0];
        if (first !== undefined) untracked(() => this.selectLayer(first.name));
      }),
      effect(() => {
        // A channel, call or output that this layer does not have was meant for the layer before.
        const argument = this.look.error.value?.argument ?? "";
        if (argument === "channel" || argument === "call" || argument === "output") {
          untracked(() => this.durable.set({ [argument]: FIRST[argument] }));
        }
      }),
    ];
  }

  /** Tells Python what to push while a loop runs. */
  #follow(params: LookParams | null, filters: FiltersParams | null): void {
    clearTimeout(this.#followTimer);
    this.#followTimer = setTimeout(() => {
      this.link.post({ k: "watch", client: this.link.client, params, filters }, "watch");
    }, FOLLOW_MS);
  }

  #loadFilters(again: boolean): void {
    if (this.#filtersSeen()) void this.weights.load(again);
  }

  async #keep(patch: Partial<Durable>): Promise<void> {
    try {
      await this.rpc.request("set", patch);
    } catch (error) {
      if (!this.#signal.aborted) this.fail(error);
      throw error;
    }
  }

  #onStatus(before: Status, after: Status): void {
    const ran = before.state === "training" || before.state === "evaluating";
    if (before.state === "idle" || after.state !== "idle" || this.connection.value !== "ready") return;
    if (ran) {
      this.look.refresh();
      this.ranking.moved();
    }
    // A cell may have left gradients without moving a weight.
    if (this.#countsSeen()) void this.distribution.ask(true);
  }

  #onPush(message: Parameters<LinkHooks["onPush"]>[0]): void {
    if (message.k === "charts") return;
    const { seq } = message;
    const ack = () => this.link.post({ k: "ack", client: this.link.client, seq });
    // Acknowledged when the frame after the drawing one begins: the picture is on the screen by then.
    this.distribution.follow(this.#countsSeen());
    this.ranking.moved();
    const shown = message.k === "look" ? this.look.push(message.result) : this.weights.push(message.result);
    if (shown) nextFrame(() => nextFrame(ack));
    else ack();
  }
}
