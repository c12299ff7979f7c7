/** "Hello" until Python says "welcome": only then does the page's comm know the way that stays open in a busy cell. */
import type { ToPython } from "./types";
import { PROTOCOL } from "./types";

const RESEND_MS = 250;
/** After this many tries the kernel is busy for long, and each further hello would only queue up behind its cell. */
const EAGER = 40;
const SLOW_MS = 2000;
/** A kernel that has not answered so many hellos may hear one on its control channel. */
const PATIENCE = 4;

export class Handshake {
  #post: (message: ToPython, byControl: boolean) => void;
  #client: string;
  #control: boolean;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #tries = 0;
  #welcomed = false;

  /** `control` says whether the page could use the kernel's control channel; `byControl`, that it should. */
  constructor(
    post: (message: ToPython, byControl: boolean) => void,
    client: string,
    control: boolean,
    signal: AbortSignal,
  ) {
    this.#post = post;
    this.#control = control;
    this.#client = client;
    signal.addEventListener("abort", () => clearTimeout(this.#timer), { once: true });
    if (!signal.aborted) this.#hello();
  }

  get welcomed(): boolean {
    return this.#welcomed;
  }

  welcome(): void {
    this.#welcomed = true;
    clearTimeout(this.#timer);
  }

  #hello(): void {
    this.#tries += 1;
    const byControl = this.#control && this.#tries % (PATIENCE + 1) === 0;
    this.#post({ k: "hello", v: PROTOCOL, client: this.#client, control: this.#control }, byControl);
    this.#timer = setTimeout(() => this.#hello(), this.#tries < EAGER ? RESEND_MS : SLOW_MS);
  }
}
