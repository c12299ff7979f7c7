/** Requests with answers: each settles once, can be cancelled, and a slot keeps one in flight, the newest waiting. */
import type { Methods, ToPage, ToPython, WireError } from "./types";
import { PROTOCOL } from "./types";

type Method = keyof Methods;
type Params<M extends Method> = Methods[M]["params"];
type Result<M extends Method> = Methods[M]["result"];
type Response = Extract<ToPage, { k: "response" }>;

/** Why there is no result. `superseded` and `cancelled` are the page's own doing and are shown to nobody. */
export type Failure = "failed" | "cancelled" | "superseded" | "timeout";

export class RpcError extends Error {
  override name = "RpcError";
  constructor(
    readonly failure: Failure,
    readonly wire: WireError,
  ) {
    super(wire.message);
  }
  get quiet(): boolean {
    return this.failure === "cancelled" || this.failure === "superseded";
  }
}

function plain(type: string, message: string, remedy: string | null = null): WireError {
  return { type, message, layer: null, argument: null, remedy };
}

/** Any thrown thing as the error a region shows. */
export function asWireError(error: unknown): WireError {
  if (error instanceof RpcError) return error.wire;
  return plain("PageError", error instanceof Error ? error.message : String(error));
}

export interface RpcHooks {
  post(message: ToPython, key?: string | null): void;
  client: string;
  /** While this holds, the kernel is known to be busy and no request runs out of time. */
  patient(): boolean;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** Milliseconds without an answer from a kernel that is not busy. */
  timeout?: number | undefined;
}

interface Pending {
  settle(outcome: { result: unknown } | { error: RpcError }): void;
}

const TIMEOUT_MS = 60_000;

export class Rpc {
  #hooks: RpcHooks;
  #next = 1;
  #pending = new Map<number, Pending>();

  constructor(hooks: RpcHooks, signal: AbortSignal) {
    this.#hooks = hooks;
    signal.addEventListener("abort", () => this.#abandon(), { once: true });
  }

  get inFlight(): number {
    return this.#pending.size;
  }

  request<M extends Method>(method: M, params: Params<M>, options: CallOptions = {}): Promise<Result<M>> {
    const id = this.#next++;
    const { client } = this.#hooks;
    const { signal, timeout = TIMEOUT_MS } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(new RpcError("cancelled", plain("CancelledError", "The request was cancelled.")));
        return;
      }
      let timer: ReturnType<typeof setTimeout> | undefined;
      const settle: Pending["settle"] = (outcome) => {
        if (!this.#pending.delete(id)) return;
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        if ("error" in outcome) reject(outcome.error);
        else resolve(outcome.result as Result<M>);
      };
      const onAbort = () => {
        this.#hooks.post({ k: "cancel", client, id });
        settle({ error: new RpcError("cancelled", plain("CancelledError", "The request was cancelled.")) });
      };
      const onTime = () => {
        if (this.#hooks.patient()) {
          timer = setTimeout(onTime, timeout);
          return;
        }
        this.#hooks.post({ k: "cancel", client, id });
        const text = `Python did not answer within ${Math.round(timeout / 1000)} s.`;
        const remedy = "If the kernel was restarted, run the cell again; otherwise try once more.";
        settle({ error: new RpcError("timeout", plain("TimeoutError", text, remedy)) });
      };
      timer = setTimeout(onTime, timeout);
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#pending.set(id, { settle });
      this.#hooks.post({ k: "request", v: PROTOCOL, client, id, method, params });
    });
  }

  /** Hands an answer to its request; an answer nobody waits for is dropped. */
  receive(response: Response): void {
    const pending = this.#pending.get(response.id);
    if (response.ok) pending?.settle({ result: response.result });
    else {
      const failure: Failure = response.error.type === "CancelledError" ? "cancelled" : "failed";
      pending?.settle({ error: new RpcError(failure, response.error) });
    }
  }

  slot<M extends Method>(method: M, onBusy: (since: number | null) => void = () => {}, timeout?: number): Slot<M> {
    return new Slot(this, method, onBusy, timeout);
  }

  #abandon(): void {
    const error = new RpcError("cancelled", plain("CancelledError", "The widget was closed."));
    for (const pending of [...this.#pending.values()]) pending.settle({ error });
  }
}

interface Waiting<M extends Method> {
  params: Params<M>;
  options: CallOptions;
  resolve(result: Result<M>): void;
  reject(error: unknown): void;
}

/** One request in flight at most; of those asked for meanwhile only the last is sent. */
export class Slot<M extends Method> {
  #rpc: Rpc;
  #method: M;
  #onBusy: (since: number | null) => void;
  #timeout: number | undefined;
  #current: AbortController | null = null;
  #waiting: Waiting<M> | null = null;

  constructor(rpc: Rpc, method: M, onBusy: (since: number | null) => void, timeout: number | undefined) {
    this.#rpc = rpc;
    this.#timeout = timeout;
    this.#method = method;
    this.#onBusy = onBusy;
  }

  get busy(): boolean {
    return this.#current !== null;
  }

  /** `replace` cancels what is in flight, for when its answer would be of no use any more. */
  call(params: Params<M>, options: CallOptions & { replace?: boolean } = {}): Promise<Result<M>> {
    return new Promise((resolve, reject) => {
      this.#supersede();
      this.#waiting = { params, options, resolve, reject };
      if (this.#current === null) this.#start();
      else if (options.replace) this.#current.abort();
    });
  }

  /** Cancels what is in flight and forgets what waits. */
  cancel(): void {
    this.#supersede();
    this.#current?.abort();
  }

  #supersede(): void {
    const error = plain("CancelledError", "The request was replaced by a newer one.");
    this.#waiting?.reject(new RpcError("superseded", error));
    this.#waiting = null;
  }

  #start(): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting === null) {
      this.#onBusy(null);
      return;
    }
    const current = new AbortController();
    this.#current = current;
    this.#onBusy(performance.now());
    const { signal, timeout = this.#timeout } = waiting.options;
    const linked = signal === undefined ? current.signal : AbortSignal.any([signal, current.signal]);
    this.#rpc
      .request(this.#method, waiting.params, { signal: linked, timeout })
      .then(waiting.resolve, waiting.reject)
      .finally(() => {
        this.#current = null;
        this.#start();
      });
  }
}
