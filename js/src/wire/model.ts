/** What anywidget hands to `initialize` and `render`, as far as the page uses it. */

// biome-ignore lint/suspicious/noExplicitAny: Backbone calls listeners with whatever the event carries.
export type Listener = (...values: any[]) => void;

/** `save_changes` is left out on purpose: Python is the only writer of a trait. */
export interface AnyModel {
  get(name: string): unknown;
  on(event: string, listener: Listener): void;
  off(event: string, listener: Listener): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
  widget_manager?: unknown;
  model_id?: string;
  comm?: { comm_id?: string };
}

export interface InitializeProps {
  model: AnyModel;
  signal: AbortSignal;
}

export interface RenderProps extends InitializeProps {
  el: HTMLElement;
}

export interface Widget {
  initialize(props: InitializeProps): void | Promise<void>;
  render(props: RenderProps): void | Promise<void>;
}
