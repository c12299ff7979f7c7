/** Tabs over one panel: arrows move, the panel follows at once. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { uid } from "../wire/uid";

export interface Tab<T extends string> {
  value: T;
  label: string;
}

export function Tabs<T extends string>(props: {
  label: string;
  tabs: readonly Tab<T>[];
  value: T;
  onChange(value: T): void;
  children: ComponentChildren;
}) {
  const { tabs, value } = props;
  // Unlike useId, unique also among several displays on one page.
  const [id] = useState(uid);
  const onKeyDown = (event: KeyboardEvent) => {
    const at = tabs.findIndex((tab) => tab.value === value);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const to =
      step !== undefined ? (at + step + tabs.length) % tabs.length : { Home: 0, End: tabs.length - 1 }[event.key];
    const next = to === undefined ? undefined : tabs[to];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    props.onChange(next.value);
    (event.currentTarget as HTMLElement).querySelector<HTMLElement>(`[data-tab="${next.value}"]`)?.focus();
  };
  return (
    <div class="nnw-tabbed">
      <div class="nnw-tabs" role="tablist" aria-label={props.label} onKeyDown={onKeyDown}>
        {tabs.map((tab) => (
          <button
            key={tab.value}
            type="button"
            role="tab"
            data-tab={tab.value}
            id={`${id}-${tab.value}`}
            aria-controls={`${id}-panel`}
            aria-selected={tab.value === value}
            tabIndex={tab.value === value ? 0 : -1}
            onClick={() => props.onChange(tab.value)}
          >
            {tab.label}
          </button>
        ))}
      </div>
      <div class="nnw-tabpanel" role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${value}`}>
        {props.children}
      </div>
    </div>
  );
}
