/** A model as anywidget hands it out, with a made-up Python behind it: it answers, writes traits and pushes. */
import { type Buffer, encode } from "../src/wire/codec";
import type { AnyModel, Listener } from "../src/wire/model";
import type {
  Durable,
  FiltersParams,
  LayerRow,
  LookParams,
  Play,
  Status,
  ToPage,
  ToPython,
  WireError,
} from "../src/wire/types";
import * as data from "./mock_data";
import { distribution } from "./mock_distribution";
import { ranking } from "./mock_ranking";

export interface MockOptions {
  rows: LayerRow[];
  inputs: number;
  pictures: boolean;
  /** Milliseconds from a message to its answer. */
  delay: number;
  panel: string;
  status: Status;
  durable: Partial<Durable>;
  play: Play | null;
}

export const IDLE: Status = { state: "idle", regime: "subshell", step: null, interval: null, error: "" };

export class MockModel implements AnyModel {
  readonly sent: ToPython[] = [];
  #listeners = new Map<string, Set<Listener>>();
  #traits = new Map<string, unknown>();
  #cancelled = new Set<number>();
  #options: MockOptions;
  #client = "";
  #seq = 0;
  watching: LookParams | null = null;
  /** The weights that are on the screen. */
  following: FiltersParams | null = null;
  /** When set, looks fail with it. */
  failing: WireError | null = null;

  constructor(options: Partial<MockOptions> = {}) {
    this.#options = {
      rows: data.mobileNet(),
      inputs: 4,
      pictures: true,
      delay: 30,
      panel: "frame",
      status: IDLE,
      durable: {},
      play: null,
      ...options,
    };
    const durable: Durable = {
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
      ...this.#options.durable,
    };
    for (const [key, value] of Object.entries(durable)) this.#traits.set(key, value);
    this.#traits.set("status", this.#options.status).set("panel", this.#options.panel).set("height", 560);
  }

  get listeners(): number {
    return [...this.#listeners.values()].reduce((sum, set) => sum + set.size, 0);
  }

  get(name: string): unknown {
    return this.#traits.get(name);
  }

  on(event: string, listener: Listener): void {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event)?.add(listener);
  }

  off(event: string, listener: Listener): void {
    this.#listeners.get(event)?.delete(listener);
  }

  send(content: unknown): void {
    const message = content as ToPython;
    this.sent.push(message);
    setTimeout(() => this.#answer(message), this.#options.delay);
  }

  /** A trait written by Python. */
  write(name: string, value: unknown): void {
    this.#traits.set(name, value);
    for (const listener of [...(this.#listeners.get(`change:${name}`) ?? [])]) listener();
  }

  push(message: ToPage): void {
    const { json, buffers } = encode(message);
    this.#emit(json, buffers);
  }

  /** What a training loop does at its boundary. */
  pushLook(step: number): void {
    if (this.watching === null) return;
    const params = { ...this.watching, input: this.watching.input };
    const result = { ...data.look(this.#options.rows, params), step };
    this.#seq += 1;
    this.push({ k: "look", client: this.#client, seq: this.#seq, result });
  }

  pushFilters(step: number): void {
    if (this.following === null) return;
    const result = { ...data.filters(this.#options.rows, this.following), step };
    this.#seq += 1;
    this.push({ k: "filters", client: this.#client, seq: this.#seq, result });
  }

  #emit(json: unknown, buffers: Buffer[]): void {
    for (const listener of [...(this.#listeners.get("msg:custom") ?? [])]) listener(json, buffers);
  }

  #answer(message: ToPython): void {
    if (message.k === "hello") {
      this.#client = message.client;
      const others = ["status", "panel", "height"];
      const kept = [...this.#traits].filter(([key]) => !others.includes(key));
      const durable = Object.fromEntries(kept) as unknown as Durable;
      this.push({
        k: "welcome",
        v: 1,
        client: message.client,
        status: this.get("status") as Status,
        durable,
        play: this.#options.play,
      });
    } else if (message.k === "cancel") {
      this.#cancelled.add(message.id);
    } else if (message.k === "watch") {
      this.watching = message.params;
      this.following = message.filters ?? null;
    } else if (message.k === "request") {
      const { client, id } = message;
      if (this.#cancelled.has(id)) return;
      if (this.failing !== null && ["look", "distribution"].includes(message.method)) {
        this.push({ k: "response", client, id, ok: false, error: this.failing });
        return;
      }
      this.push({ k: "response", client, id, ok: true, result: this.#result(message.method, message.params) });
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: what the page sent is what the page's own types say.
  #result(method: string, params: any): unknown {
    const { rows } = this.#options;
    switch (method) {
      case "layers": {
        const root = rows[0] as LayerRow;
        const model = {
          name: root.type,
          parameters: root.parameters,
          trainable: root.parameters,
          buffers: 0,
          note: "",
        };
        return { model, rows, error: null };
      }
      case "inputs": {
        const items = data.inputs(this.#options.inputs, this.#options.pictures);
        return { total: items.length, items, note: "" };
      }
      case "look":
        return data.look(rows, params);
      case "filters":
        return data.filters(rows, params);
      case "weight":
        return { values: [0.5], text: "0.5" };
      case "distribution":
        return distribution(rows, params);
      case "ranking":
        return ranking(rows, params);
      case "value":
        return { value: 0.5, text: "+0.500" };
      case "code":
        return { code: "with nnwidget.edit(model, {}):\n    model(inputs)\n" };
      case "set":
        for (const [key, value] of Object.entries(params)) this.write(key, value);
        return {};
      default:
        return {};
    }
  }
}
