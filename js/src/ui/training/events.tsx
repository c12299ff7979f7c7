/** What happened, newest first, in words. */
import { plural } from "../../format";
import type { TrainingEvent } from "../../wire/types";
import { eventRole } from "./colours";

export function Events(props: {
  events: readonly TrainingEvent[];
  count: number;
  /** Where Python has all of them. */
  where: string;
  onCursor(step: number | null): void;
}) {
  const { events, count } = props;
  if (count === 0) return null;
  return (
    <section class="nnw-events" aria-label="Events">
      <h3>
        Events <span class="nnw-dim nnw-light">{plural(count, "event")}, newest first</span>
      </h3>
      <ol>
        {events.map((event, place) => (
          <li
            key={`${count - place}`}
            onPointerEnter={() => props.onCursor(event.step)}
            onPointerLeave={() => props.onCursor(null)}
          >
            <span class="nnw-event-step">step {event.step.toLocaleString("en-US")}</span>
            <span class={`nnw-event-kind nnw-event-${eventRole(event.kind)}`}>{event.kind}</span>
            <span class="nnw-event-text">{event.text}</span>
          </li>
        ))}
      </ol>
      {count > events.length && <p class="nnw-dim">Older ones are in {props.where}.</p>}
    </section>
  );
}
