/** A training's panel in a document, and a Python that answers it with what it is given. */
import { expect, vi } from "vitest";
import training from "../src/entries/training";
import { encode } from "../src/wire/codec";
import type { AnyModel, Listener } from "../src/wire/model";
import type { ChartsResult, Play, Status, ToPage, ToPython } from "../src/wire/types";
import { charts, play } from "./training_fixtures";

const IDLE: Status = { state: "idle", regime: "subshell", step: null, interval: null, error: "" };
export const until = (check: () => void) => vi.waitFor(check, { timeout: 5000, interval: 5 });

/** A Python that answers with what it is given. */
export class Kernel implements AnyModel {
  readonly sent: ToPython[] = [];
  readonly listeners = new Map<string, Set<Listener>>();
  client = "";
  refuses = "";
  /** Questions are noted and left open. */
  deaf = false;
  constructor(public result: ChartsResult) {}
  get = (name: string): unknown => (name === "status" ? IDLE : name === "address" ? "abc" : undefined);
  on(event: string, listener: Listener): void {
    this.listeners.set(event, (this.listeners.get(event) ?? new Set()).add(listener));
  }
  off(event: string, listener: Listener): void {
    this.listeners.get(event)?.delete(listener);
  }
  send(content: unknown): void {
    const message = content as ToPython;
    this.sent.push(message);
    if (!this.deaf) queueMicrotask(() => this.#answer(message));
  }
  say(message: ToPage): void {
    const { json, buffers } = encode(message);
    for (const listener of [...(this.listeners.get("msg:custom") ?? [])]) listener(json, buffers);
  }
  push(seq: number, result: ChartsResult): void {
    this.say({ k: "charts", client: this.client, seq, result });
  }
  asked(method: string): unknown[] {
    return this.sent.flatMap((m) => (m.k === "request" && m.method === method ? [m.params] : []));
  }
  #answer(message: ToPython): void {
    if (message.k === "hello") {
      this.client = message.client;
      const { play, status } = this.result;
      this.say({ k: "welcome", v: 1, client: message.client, status, durable: {}, play });
    } else if (message.k === "request") {
      const head = { k: "response", client: message.client, id: message.id } as const;
      const error = { type: "MessageError", message: this.refuses, layer: null, argument: null, remedy: "Wait." };
      if (this.refuses !== "" && message.method !== "charts") this.say({ ...head, ok: false, error });
      else this.say({ ...head, ok: true, result: message.method === "charts" ? this.result : this.result.play });
    }
  }
}

export async function show(change: Partial<ChartsResult> = {}, state: Partial<Play> = {}) {
  const kernel = new Kernel(charts({ play: play({ step: 40, ...state }), ...change }));
  const widget = training();
  const controller = new AbortController();
  await widget.initialize({ model: kernel, signal: controller.signal });
  const root = document.createElement("div");
  document.body.append(root);
  await widget.render({ model: kernel, el: root, signal: controller.signal });
  await until(() => expect(root.textContent).toContain("Gradient norm by layer"));
  const button = (name: string) => [...root.querySelectorAll("button")].find((one) => one.textContent === name);
  return { kernel, root, controller, button };
}
