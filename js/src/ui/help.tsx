/** What lies over the view for a moment: the keys, about, a piece of code. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

const KEYS: readonly [string, string][] = [
  ["Tab", "to the next region"],
  ["Arrows", "within a region: layers, tiles, inputs, slider, the ends of a range"],
  ["Enter", "open or close, choose"],
  ["Esc", "close, clear the search, cancel what is under way"],
  ["/", "find a layer"],
  ["[  ]", "previous and next channel"],
  ["+  −  0", "enlarge a matrix of weights, make it smaller, show all of it; Shift and arrows move it"],
  ["a", "replace the selected channel by its mean"],
  ["r", "reset the selected channel"],
  ["?", "this list"],
];

/** A dialog inside the widget: takes the focus, gives it back, closes with Esc. */
export function Dialog(props: { title: string; onClose(): void; children: ComponentChildren }) {
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    root.current?.focus();
    return () => before?.focus?.();
  }, []);
  return (
    <div class="nnw-veil" onPointerDown={(event) => event.target === event.currentTarget && props.onClose()}>
      <div
        class="nnw-dialog"
        role="dialog"
        aria-label={props.title}
        tabIndex={-1}
        ref={root}
        onKeyDown={(event) => {
          if (event.key === "Escape") props.onClose();
          // The keys of the view below rest while something lies over it.
          event.stopPropagation();
        }}
      >
        <header>
          <h2>{props.title}</h2>
          <button type="button" class="nnw-button" onClick={props.onClose}>
            Close
          </button>
        </header>
        {props.children}
      </div>
    </div>
  );
}

export function Help({ onClose }: { onClose(): void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class="nnw-keys">
        {KEYS.map(([key, meaning]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <p class="nnw-dim">They work while the focus is in this view; nothing typed here reaches the notebook.</p>
    </Dialog>
  );
}

export function About({ onClose }: { onClose(): void }) {
  return (
    <Dialog title="About" onClose={onClose}>
      <p>nnwidget: a microscope on a living PyTorch model.</p>
      <p class="nnw-dim">
        What is shown stays between this page and its kernel. Layers are observed only while somebody looks at them.
      </p>
    </Dialog>
  );
}

export function CodeDialog({ code, onClose }: { code: string; onClose(): void }) {
  const [copied, setCopied] = useState("");
  const text = useRef<HTMLTextAreaElement>(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(code);
      setCopied("Copied.");
    } catch {
      // Without permission for the clipboard the selected text can still be copied by key.
      text.current?.select();
      setCopied("Press Ctrl+C to copy.");
    }
  };
  return (
    <Dialog title="The edits as code" onClose={onClose}>
      <textarea class="nnw-code" readOnly ref={text} rows={Math.min(16, code.split("\n").length + 1)} value={code} />
      <p>
        <button type="button" class="nnw-button" onClick={() => void copy()}>
          Copy
        </button>{" "}
        <span role="status">{copied}</span>
      </p>
    </Dialog>
  );
}
