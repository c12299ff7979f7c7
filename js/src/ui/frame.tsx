/** The whole explorer: header, layer tree, the view of the chosen layer, and what it does. */
import { useSignal } from "@preact/signals";
import { usualColumns } from "../state/view";
import { asWireError } from "../wire/rpc";
import { Header } from "./header";
import { About, CodeDialog, Help } from "./help";
import { command } from "./keys";
import type { ShellProps } from "./mount";
import { Notices } from "./notices";
import { DistributionPanel } from "./panels/distribution_panel";
import { FeatureMapsPanel } from "./panels/feature_maps_panel";
import { FiltersPanel } from "./panels/filters_panel";
import { InputsPanel } from "./panels/inputs_panel";
import { InspectorPanel } from "./panels/inspector_panel";
import { PredictionPanel } from "./panels/prediction_panel";
import { TreePanel } from "./panels/tree_panel";
import { useSize } from "./pieces";
import { Splitter } from "./splitter";
import { Tabs } from "./tabs";

const PANELS = { maps: FeatureMapsPanel, filters: FiltersPanel, distribution: DistributionPanel } as const;
const VIEWS = [
  { value: "maps", label: "Feature maps" },
  { value: "filters", label: "Filters" },
  { value: "distribution", label: "Distribution" },
] as const;

type Over = { kind: "help" } | { kind: "about" } | { kind: "code"; code: string } | null;

export function Frame({ store, dark }: ShellProps) {
  const { view, durable } = store;
  const over = useSignal<Over>(null);
  const [root, size] = useSize<HTMLDivElement>({ width: 1200, height: 560 });
  const usual = usualColumns(size.width, view.large.value);
  const chosen = view.columns.value;
  const columns = { left: chosen.left ?? usual.left, right: chosen.right ?? usual.right };
  const showCode = async () => {
    try {
      over.value = { kind: "code", code: await store.code() };
    } catch (error) {
      store.notice.value = asWireError(error);
    }
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (command(store, event, { root: root.current, help: () => (over.value = { kind: "help" }) })) {
      event.preventDefault();
      event.stopPropagation();
    }
  };
  const View = PANELS[durable.signals.view.value] ?? FeatureMapsPanel;
  const panel = { store, dark, onCode: () => void showCode() };
  const style = {
    "--left": `${columns.left}px`,
    "--right": `${columns.right}px`,
    "--height": `${view.height.value}px`,
  };
  return (
    <div class="nnw-frame" ref={root} style={style} data-drawer={view.drawer.value} onKeyDown={onKeyDown}>
      <Header
        model={store.layers.value.value?.model ?? null}
        status={store.status.value}
        connection={store.connection.value}
        kernelBusy={store.kernelBusy.value}
        play={store.play.value}
        onAct={(action) => void store.link.act("control", { action })}
        large={view.large.value}
        onLarge={(large) => {
          view.large.value = large;
        }}
        onHelp={() => {
          over.value = { kind: "help" };
        }}
        onAbout={() => {
          over.value = { kind: "about" };
        }}
        drawer={view.drawer.value}
        onDrawer={() => {
          view.drawer.value = !view.drawer.value;
        }}
      />
      <Notices store={store} />
      <div class="nnw-columns">
        <div class="nnw-left">
          <TreePanel {...panel} />
        </div>
        <Splitter
          label="Width of the layer tree"
          axis="x"
          value={columns.left}
          minimum={180}
          maximum={560}
          standard={usual.left}
          onChange={(left) => {
            view.columns.value = { ...chosen, left };
          }}
        />
        <div class="nnw-body">
          <div class="nnw-middle">
            <Tabs
              label="Views of the layer"
              tabs={VIEWS}
              value={durable.signals.view.value}
              onChange={(value) => durable.set({ view: value })}
            >
              <View {...panel} />
            </Tabs>
          </div>
          <Splitter
            label="Width of the right column"
            axis="x"
            value={columns.right}
            minimum={220}
            maximum={560}
            standard={usual.right}
            direction={-1}
            onChange={(right) => {
              view.columns.value = { ...chosen, right };
            }}
          />
          <div class="nnw-right">
            <InputsPanel {...panel} />
            <PredictionPanel {...panel} />
            <InspectorPanel {...panel} />
          </div>
        </div>
      </div>
      <Splitter
        label="Height of the view"
        axis="y"
        value={view.height.value}
        minimum={320}
        maximum={1400}
        standard={560}
        onChange={(height) => {
          view.height.value = height;
        }}
      />
      {over.value?.kind === "help" && <Help onClose={() => (over.value = null)} />}
      {over.value?.kind === "about" && <About onClose={() => (over.value = null)} />}
      {over.value?.kind === "code" && <CodeDialog code={over.value.code} onClose={() => (over.value = null)} />}
    </div>
  );
}
