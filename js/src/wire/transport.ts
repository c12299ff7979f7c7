/** The way out of the page and back in: custom messages on the comm, or the control channel where only that answers. */
import { type Buffer, decode } from "./codec";
import type { AnyModel } from "./model";
import type { Status, ToPage, ToPython } from "./types";
import { uid } from "./uid";

/** The server drops what exceeds a thousand messages a second over three; fifty keep far away from that. */
const PER_SECOND = 50;
const FRAME_MS = 16;

interface Kernel {
  status?: string;
  sendControlMessage?: (message: unknown, expectReply: boolean, disposeOnDone: boolean) => unknown;
  statusChanged?: { connect(slot: KernelListener): unknown; disconnect(slot: KernelListener): unknown };
  clientId?: string;
  username?: string;
}
type KernelListener = (sender: unknown, status: unknown) => void;
interface Manager {
  kernel?: Kernel | null;
}
interface Queued {
  key: string | null;
  message: ToPython;
}

export interface TransportHooks {
  onMessage(message: ToPage): void;
  /** A message that could not be read, or a send that threw. */
  onFault(error: Error): void;
  /** The kernel's own state in Jupyter's words: "idle", "busy", "restarting", "dead", … */
  onKernel(status: string): void;
}

/** Runs `work` with the next frame, or soon when the page is hidden and draws none. */
export function nextFrame(work: () => void): () => void {
  let done = false;
  const once = () => {
    if (done) return;
    done = true;
    cancel();
    work();
  };
  const frame = requestAnimationFrame(once);
  const timer = setTimeout(once, 50);
  const cancel = () => {
    done = true;
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
  return cancel;
}

export class Transport {
  #status: Pick<Status, "state" | "regime"> = { state: "idle", regime: "unknown" };
  #model: AnyModel;
  #hooks: TransportHooks;
  #queue: Queued[] = [];
  #sent: number[] = [];
  #cancelFlush: (() => void) | null = null;
  #closed = false;

  constructor(model: AnyModel, hooks: TransportHooks, signal: AbortSignal) {
    this.#model = model;
    this.#hooks = hooks;
    const onCustom = (content: unknown, buffers?: Buffer[]) => this.#receive(content, buffers ?? []);
    model.on("msg:custom", onCustom);
    const kernel = this.#kernel;
    const onKernel: KernelListener = (_, status) => hooks.onKernel(String(status));
    kernel?.statusChanged?.connect(onKernel);
    if (kernel?.status !== undefined) hooks.onKernel(kernel.status);
    signal.addEventListener(
      "abort",
      () => {
        this.#closed = true;
        this.#cancelFlush?.();
        this.#queue = [];
        model.off("msg:custom", onCustom);
        kernel?.statusChanged?.disconnect(onKernel);
      },
      { once: true },
    );
  }

  /** What Python says of itself: how messages reach it while a cell runs, and whether one does. */
  setStatus(status: Pick<Status, "state" | "regime">): void {
    this.#status = status;
  }

  /** The page could reach the kernel's control channel. */
  get control(): boolean {
    return typeof this.#kernel?.sendControlMessage === "function";
  }

  /** Sends with this frame; a queued message of the same key is replaced, so that only the newest travels. */
  post(message: ToPython, key: string | null = null): void {
    if (this.#closed) return;
    const place = key === null ? -1 : this.#queue.findIndex((queued) => queued.key === key);
    if (place >= 0) this.#queue.splice(place, 1);
    this.#queue.push({ key, message });
    const last = this.#sent.at(-1);
    if (last === undefined || performance.now() - last > FRAME_MS) this.#flush();
    else this.#schedule();
  }

  /** Sends at once, past queue and budget: for the last words of a page that is being closed. */
  postNow(message: ToPython): void {
    if (!this.#closed) this.#send(message);
  }

  /** Sends at once on the control channel, if the kernel is at work: a widget first shown in a busy cell. */
  postByControl(message: ToPython): void {
    if (this.#closed) return;
    const kernel = this.#kernel;
    const address = this.#model.get("address");
    if (kernel === null || !this.control || kernel.status !== "busy" || typeof address !== "string") this.post(message);
    else this.#sendControl(kernel, address, message);
  }

  get #kernel(): Kernel | null {
    return (this.#model.widget_manager as Manager | undefined)?.kernel ?? null;
  }

  #schedule(): void {
    if (this.#cancelFlush !== null || this.#queue.length === 0) return;
    this.#cancelFlush = nextFrame(() => {
      this.#cancelFlush = null;
      this.#flush();
    });
  }

  #flush(): void {
    const now = performance.now();
    this.#sent = this.#sent.filter((time) => now - time < 1000);
    while (this.#queue.length > 0 && this.#sent.length < PER_SECOND) {
      const { message } = this.#queue.shift() as Queued;
      this.#sent.push(now);
      this.#send(message);
    }
    this.#schedule();
  }

  #send(message: ToPython): void {
    try {
      const kernel = this.#kernel;
      const address = this.#model.get("address");
      if (kernel !== null && this.control && this.#mustUseControl(kernel) && typeof address === "string") {
        this.#sendControl(kernel, address, message);
      } else {
        this.#model.send(message);
      }
    } catch (error) {
      this.#hooks.onFault(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #mustUseControl(kernel: Kernel): boolean {
    // Each answer on the control channel makes Jupyter believe that the kernel is idle, in the midst of a cell.
    const busy = kernel.status === "busy" || !["idle", "closed"].includes(this.#status.state);
    return this.#status.regime === "control" && busy;
  }

  #sendControl(kernel: Kernel, commId: string, message: ToPython): void {
    kernel.sendControlMessage?.(
      {
        channel: "control",
        content: { comm_id: commId, data: message },
        header: {
          date: new Date().toISOString(),
          msg_id: uid(),
          msg_type: "nnwidget_request",
          session: kernel.clientId ?? "",
          username: kernel.username ?? "",
          version: "5.3",
        },
        metadata: {},
        parent_header: {},
        buffers: [],
      },
      false,
      true,
    );
  }

  #receive(content: unknown, buffers: readonly Buffer[]): void {
    if (this.#closed) return;
    try {
      this.#hooks.onMessage(decode(content, buffers) as ToPage);
    } catch (error) {
      this.#hooks.onFault(error instanceof Error ? error : new Error(String(error)));
    }
  }
}
