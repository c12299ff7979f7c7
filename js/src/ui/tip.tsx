/** The words beside the pointer: where it is and which value lies there. */

import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";

/** Follows the pointer over its children with a few words; the foot of the panel says the same to the keyboard. */
export function Tipped({ words, children }: { words: string; children: ComponentChildren }) {
  const area = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<{ x: number; y: number; left: boolean } | null>(null);
  return (
    <div
      class="nnw-tipped"
      ref={area}
      onPointerMove={(event) => {
        const box = area.current?.getBoundingClientRect();
        if (!box) return;
        const x = event.clientX - box.left;
        setAt({ x, y: event.clientY - box.top, left: x > box.width / 2 });
      }}
      onPointerLeave={() => setAt(null)}
    >
      {children}
      {at && words && (
        <div
          class="nnw-tip"
          role="tooltip"
          style={{ top: `${at.y}px`, left: `${at.x}px` }}
          data-side={at.left ? "left" : "right"}
        >
          {words}
        </div>
      )}
    </div>
  );
}
