/** State that outlives the page: Python's traits come in, the person's choices go out as `set` requests. */
import { type Signal, signal } from "@preact/signals";
import type { AnyModel } from "../wire/model";
import type { Durable } from "../wire/types";

type Key = keyof Durable;

const DEFAULTS: Durable = {
  selected: [],
  input: 0,
  channel: -1,
  call: 0,
  output: "",
  view: "maps",
  colormap: "auto",
  scaling: "layer",
  quantity: "activations",
  parameter: "",
  log_counts: true,
  edits: [],
};
const KEYS = Object.keys(DEFAULTS) as Key[];

/** A choice made here that Python has not acknowledged yet. */
interface Unacknowledged {
  text: string;
  /** Our own choice has come back as a trait, so that what follows it is newer than ours. */
  echoed: boolean;
  newer: { value: unknown } | null;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

export class DurableState {
  readonly signals: { readonly [K in Key]: Signal<Durable[K]> };
  #model: AnyModel;
  #send: (patch: Partial<Durable>) => Promise<unknown>;
  #open = new Map<Key, Unacknowledged>();
  #patch: Partial<Durable> = {};
  #running = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  #quiet: number;

  /** `send` asks Python to write traits; it rejects when Python refuses. `quiet` is the default of `set`. */
  constructor(model: AnyModel, send: (patch: Partial<Durable>) => Promise<unknown>, abort: AbortSignal, quiet = 0) {
    this.#quiet = quiet;
    this.#model = model;
    this.#send = send;
    const entries = KEYS.map((key) => [key, signal(this.#trait(key))] as const);
    this.signals = Object.fromEntries(entries) as unknown as DurableState["signals"];
    abort.addEventListener("abort", () => clearTimeout(this.#timer), { once: true });
    for (const key of KEYS) {
      const onChange = () => this.#inbound(key);
      model.on(`change:${key}`, onChange);
      abort.addEventListener("abort", () => model.off(`change:${key}`, onChange), { once: true });
    }
  }

  /**
   * Shows a choice at once and asks Python to keep it; several within one turn travel together. `quiet` waits for so
   * many milliseconds without a further choice: a slider being dragged is kept when it rests, and a click's own
   * question has the line for itself.
   */
  set(patch: Partial<Durable>, quiet = this.#quiet): void {
    const changed = KEYS.filter((key) => key in patch && !same(this.signals[key].value, patch[key]));
    for (const key of changed) {
      this.#assign(key, patch[key]);
      this.#open.set(key, { text: JSON.stringify(patch[key]), echoed: false, newer: null });
      Object.assign(this.#patch, { [key]: patch[key] });
    }
    if (changed.length === 0) return;
    clearTimeout(this.#timer);
    if (quiet > 0) this.#timer = setTimeout(() => void this.#flush(), quiet);
    else queueMicrotask(() => void this.#flush());
  }

  /** Takes what Python says of all traits at once, as in its welcome. */
  adopt(durable: Partial<Durable>): void {
    for (const key of KEYS) {
      if (key in durable && !this.#open.has(key)) this.#assign(key, durable[key]);
    }
  }

  #trait<K extends Key>(key: K): Durable[K] {
    return (this.#model.get(key) as Durable[K] | undefined | null) ?? DEFAULTS[key];
  }

  #assign(key: Key, value: unknown): void {
    const target = this.signals[key] as Signal<unknown>;
    if (!same(target.value, value)) target.value = value;
  }

  #inbound(key: Key): void {
    const value = this.#trait(key);
    const open = this.#open.get(key);
    if (open === undefined) this.#assign(key, value);
    else if (JSON.stringify(value) === open.text) {
      open.echoed = true;
      open.newer = null;
    } else if (open.echoed) open.newer = { value };
  }

  /** One `set` at a time; what is chosen meanwhile travels in the next. */
  async #flush(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      while (Object.keys(this.#patch).length > 0) {
        const patch = this.#patch;
        this.#patch = {};
        let refused = false;
        await this.#send(patch).catch(() => {
          refused = true;
        });
        this.#acknowledge(patch, refused);
      }
    } finally {
      this.#running = false;
    }
  }

  #acknowledge(patch: Partial<Durable>, refused: boolean): void {
    for (const key of Object.keys(patch) as Key[]) {
      const open = this.#open.get(key);
      // A still newer choice of the person's own waits for its own acknowledgement.
      if (open === undefined || open.text !== JSON.stringify(patch[key])) continue;
      this.#open.delete(key);
      if (refused) this.#assign(key, this.#trait(key));
      else if (open.newer !== null) this.#assign(key, open.newer.value);
    }
  }
}
