/** One widget's way to Python: greeting, requests, the state of play, and what is known of the kernel. */
import { batch, signal } from "@preact/signals";
import { Handshake } from "../wire/handshake";
import type { AnyModel } from "../wire/model";
import { asWireError, Rpc } from "../wire/rpc";
import { Transport } from "../wire/transport";
import type { Methods, Play, Status, ToPage, ToPython, WireError } from "../wire/types";
import { uid } from "../wire/uid";

export type Connection = "connecting" | "ready" | "silent" | "gone";
type Welcome = Extract<ToPage, { k: "welcome" }>;

export interface LinkHooks {
  onWelcome(message: Welcome): void;
  /** Pictures and curves that Python sends by itself. */
  onPush(message: Extract<ToPage, { k: "look" | "charts" | "filters" }>): void;
  onStatus?(before: Status, after: Status): void;
}

const IDLE: Status = { state: "idle", regime: "unknown", step: null, interval: null, error: "" };
const SILENT_MS = 10_000;
const BUSY_MS = 1000;

export class Link {
  readonly status = signal<Status>(IDLE);
  /** The training that this widget shows or steers, if any. */
  readonly play = signal<Play | null>(null);
  readonly connection = signal<Connection>("connecting");
  /** The kernel has been at work for longer than our own questions take. */
  readonly kernelBusy = signal(false);
  readonly notice = signal<WireError | null>(null);
  readonly client = uid();
  readonly rpc: Rpc;
  #hooks: LinkHooks;
  #abort: AbortSignal;
  #transport: Transport;
  #handshake: Handshake;
  #busyTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(model: AnyModel, hooks: LinkHooks, abort: AbortSignal) {
    this.#hooks = hooks;
    this.#abort = abort;
    // Registered before the transport's own listener, which closes the way out.
    abort.addEventListener("abort", () => this.#transport.postNow({ k: "bye", client: this.client }), { once: true });
    this.#transport = new Transport(
      model,
      {
        onMessage: (message) => this.#receive(message),
        onFault: (error) => this.fail(error),
        onKernel: (status) => this.#onKernel(status),
      },
      abort,
    );
    this.rpc = new Rpc(
      {
        client: this.client,
        post: (message, key) => this.post(message, key),
        patient: () => this.status.value.state !== "idle" || this.kernelBusy.value,
      },
      abort,
    );
    const onStatus = () => this.setStatus(model.get("status") as Status | null);
    model.on("change:status", onStatus);
    onStatus();
    const silent = setTimeout(() => {
      if (this.connection.value === "connecting") this.connection.value = "silent";
    }, SILENT_MS);
    abort.addEventListener(
      "abort",
      () => {
        model.off("change:status", onStatus);
        clearTimeout(silent);
        clearTimeout(this.#busyTimer);
      },
      { once: true },
    );
    const hello = (message: ToPython, byControl: boolean) => {
      if (byControl) this.#transport.postByControl(message);
      else this.post(message, "hello");
    };
    this.#handshake = new Handshake(hello, this.client, this.#transport.control, abort);
  }

  post(message: ToPython, key: string | null = null): void {
    this.#transport.post(message, key);
  }

  fail(error: unknown): void {
    this.notice.value = asWireError(error);
  }

  /** Has Python do something to the training; the answer says what it waits for now. */
  async act<M extends "control" | "rate">(method: M, params: Methods[M]["params"]): Promise<void> {
    try {
      this.play.value = await this.rpc.request(method, params);
    } catch (error) {
      if (!this.#abort.aborted) this.fail(error);
    }
  }

  setStatus(status: Status | null): void {
    if (status === null || typeof status !== "object" || !("state" in status)) return;
    const before = this.status.value;
    this.status.value = status;
    this.#transport.setStatus(status);
    if (status.state === "closed") this.connection.value = "gone";
    this.#hooks.onStatus?.(before, status);
  }

  #onKernel(status: string): void {
    clearTimeout(this.#busyTimer);
    if (status === "busy") {
      this.#busyTimer = setTimeout(() => {
        this.kernelBusy.value = true;
      }, BUSY_MS);
    } else this.kernelBusy.value = false;
    if (["restarting", "autorestarting", "dead", "terminating"].includes(status)) this.connection.value = "gone";
  }

  #receive(message: ToPage): void {
    if ("client" in message && message.client !== this.client) return;
    switch (message.k) {
      case "welcome":
        if (this.#handshake.welcomed) return;
        this.#handshake.welcome();
        batch(() => {
          this.#hooks.onWelcome(message);
          this.play.value = message.play ?? null;
          this.setStatus(message.status);
          if (message.status.state !== "closed") this.connection.value = "ready";
        });
        return;
      case "response":
        this.rpc.receive(message);
        return;
      case "status":
        batch(() => {
          this.play.value = message.play ?? null;
          this.setStatus(message.status);
        });
        return;
      default:
        this.#hooks.onPush(message);
    }
  }
}
