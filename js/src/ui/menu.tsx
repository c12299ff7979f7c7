/** The menu of the header: larger text, keys, about. */
import { useEffect, useRef, useState } from "preact/hooks";

export interface MenuProps {
  large: boolean;
  onLarge(large: boolean): void;
  onHelp(): void;
  onAbout(): void;
}

export function Menu(props: MenuProps) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const items = () => [...(root.current?.querySelectorAll<HTMLElement>("[role^=menuitem]") ?? [])];
  useEffect(() => {
    if (open) items()[0]?.focus();
  }, [open]);
  const close = (work?: () => void) => {
    setOpen(false);
    root.current?.querySelector("button")?.focus();
    work?.();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!open) return;
    const all = items();
    const at = all.indexOf(document.activeElement as HTMLElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") close();
    else if (step !== undefined) all[(at + step + all.length) % all.length]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const onFocusOut = (event: FocusEvent) => {
    if (!root.current?.contains(event.relatedTarget as Node | null)) setOpen(false);
  };
  return (
    <div class="nnw-menu" ref={root} onKeyDown={onKeyDown} onFocusOut={onFocusOut}>
      <button
        type="button"
        class="nnw-button"
        aria-haspopup="menu"
        aria-expanded={open}
        onClick={() => (open ? close() : setOpen(true))}
      >
        Menu
      </button>
      {open && (
        <div class="nnw-menu-list" role="menu" aria-label="Menu">
          <button
            type="button"
            role="menuitemcheckbox"
            aria-checked={props.large}
            tabIndex={-1}
            onClick={() => close(() => props.onLarge(!props.large))}
          >
            <span class="nnw-check" aria-hidden="true">
              {props.large ? "✓" : ""}
            </span>
            Larger text
          </button>
          <button type="button" role="menuitem" tabIndex={-1} onClick={() => close(props.onHelp)}>
            <span class="nnw-check" />
            Keys <kbd>?</kbd>
          </button>
          <button type="button" role="menuitem" tabIndex={-1} onClick={() => close(props.onAbout)}>
            <span class="nnw-check" />
            About
          </button>
        </div>
      )}
    </div>
  );
}
