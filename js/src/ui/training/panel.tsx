/** The panel of one training: header, controls, a curve, the gradients of the layers, the events. */
import type { ComponentChildren } from "preact";
import { plural } from "../../format";
import type { TrainingStore } from "../../state/training";
import type { ChartsResult } from "../../wire/types";
import type { ShellProps } from "../mount";
import { NoticeStrip } from "../notices";
import { Empty, Select } from "../pieces";
import { Controls, Rates } from "./controls";
import { CurveChart } from "./curve";
import { Events } from "./events";
import { Gradients } from "./gradients";
import { TrainingHeader } from "./header";
import { scalarName } from "./words";

/** The first and the last step of what is shown, so that one step is at one place in all charts. */
export function spanOf(charts: ChartsResult): [number, number] {
  const { play } = charts;
  const ends = play.step > play.first ? [play.first + 1, play.step] : [];
  // A history may begin anywhere.
  if (play.record !== null) ends.shift();
  for (const part of [charts.curve?.steps, charts.layers?.first, charts.layers?.last]) {
    const { data } = part ?? {};
    if (data !== undefined && data.length > 0) ends.push(data[0] as number, data[data.length - 1] as number);
  }
  return ends.length === 0 ? [0, 1] : [Math.min(...ends), Math.max(...ends)];
}

export function TrainingPanel({ store, dark }: ShellProps<TrainingStore>) {
  const { link } = store;
  const charts = store.charts.value.value;
  const play = link.play.value;
  const problem = play?.problem ?? "";
  const failed = link.notice.value ?? store.charts.error.value;
  const wire = { type: "Training", message: problem, layer: null, argument: null, remedy: null };
  return (
    <section class="nnw-training" aria-label="Training">
      <TrainingHeader
        play={play}
        status={link.status.value}
        connection={link.connection.value}
        kernelBusy={link.kernelBusy.value}
        silence={store.silence.value}
      >
        <Controls
          play={play}
          disabled={link.connection.value !== "ready"}
          onAct={(action) => void link.act("control", { action })}
        />
      </TrainingHeader>
      <NoticeStrip
        notice={failed ?? (problem === "" ? null : wire)}
        onRetry={failed === null ? undefined : () => store.retry()}
        onDismiss={failed === null ? undefined : () => store.forget()}
      />
      <Rates play={play} onRate={(group, value) => void link.act("rate", { group, value })} />
      {charts === null ? <Waiting store={store} /> : <Charts store={store} charts={charts} dark={dark} />}
    </section>
  );
}

function Waiting({ store }: { store: TrainingStore }) {
  const gone = store.link.connection.value === "gone" || store.link.connection.value === "silent";
  return <Empty>{gone ? "Nothing of this training is in the page." : "Waiting for Python."}</Empty>;
}

function Charts({ store, charts, dark }: ShellProps<TrainingStore> & { charts: ChartsResult }) {
  const span = spanOf(charts);
  const { curve, layers } = charts;
  const cursor = store.cursor.value;
  const onCursor = (step: number | null) => {
    store.cursor.value = step;
  };
  return (
    <>
      <div class="nnw-training-body">
        <div class="nnw-training-curve">
          <div class="nnw-chart-head">
            <Scalars store={store} charts={charts} />
            <label class="nnw-check-label">
              <input
                type="checkbox"
                checked={store.log.value}
                onChange={(event) => {
                  store.log.value = event.currentTarget.checked;
                }}
              />{" "}
              logarithmic
            </label>
          </div>
          {curve === null ? (
            <Empty>
              <span>{emptyCurve(store, charts)}</span>
            </Empty>
          ) : (
            <CurveChart
              curve={curve}
              log={store.log.value}
              span={span}
              events={charts.events}
              cursor={cursor}
              dark={dark}
              onCursor={onCursor}
            />
          )}
        </div>
        <div class="nnw-training-layers">
          <h3 class="nnw-chart-head">
            Gradient norm by layer{" "}
            <span class="nnw-dim nnw-light">{layers === null ? "" : plural(layers.names.length, "layer")}</span>
          </h3>
          {layers === null ? (
            <Empty>{charts.play.step === charts.play.first ? "No step yet." : "No recorded step yet."}</Empty>
          ) : (
            <Gradients layers={layers} span={span} cursor={cursor} dark={dark} onCursor={onCursor} />
          )}
        </div>
      </div>
      <Events
        events={charts.events}
        count={charts.event_count}
        where={charts.play.record === null ? "w.history.events" : "history.events"}
        onCursor={onCursor}
      />
    </>
  );
}

function Scalars({ store, charts }: { store: TrainingStore; charts: ChartsResult }) {
  const names = [...new Set([store.scalar.value, ...charts.scalars])];
  names.sort((a, b) => Number(b === "loss") - Number(a === "loss"));
  return (
    <Select
      label="Curve"
      value={store.scalar.value}
      choices={names.map((value) => {
        const label = scalarName(value);
        return { value, label: label.charAt(0).toUpperCase() + label.slice(1) };
      })}
      onChoose={(name) => {
        store.scalar.value = name;
      }}
    />
  );
}

function emptyCurve(store: TrainingStore, charts: ChartsResult): ComponentChildren {
  const { play } = charts;
  if (play.record !== null) {
    if (!play.record.empty) return `No ${scalarName(store.scalar.value)} is recorded. The list above has what is.`;
    return play.record.kind === "folder"
      ? "No step is recorded yet. The first appears here by itself."
      : "No step yet.";
  }
  if (play.step === play.first) return "No step yet: run the training loop.";
  if (store.scalar.value === "loss" && play.loss_missing) {
    return (
      <>
        No loss seen: add <code>w.log(loss=loss)</code> after computing it. Other numbers are in the list above.
      </>
    );
  }
  return `No ${scalarName(store.scalar.value)} yet.`;
}
