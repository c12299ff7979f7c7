/** The inspector of the chosen channel bound to the store. */
import type { PageEdit } from "../../wire/types";
import { ChannelInspector } from "../channel";
import type { PanelProps } from "../mount";
import { tableName } from "./colours";

export function InspectorPanel({ store, dark, onCode }: PanelProps) {
  const { look, durable } = store;
  const { channel, colormap, edits, input, scaling } = durable.signals;
  const layer = store.selected.value;
  const number = channel.value;
  const own = (edit: PageEdit) => edit.layer === layer && edit.channel === number;
  return (
    <ChannelInspector
      input={store.inputs.value.value?.items.find((item) => item.index === input.value) ?? null}
      channel={number < 0 ? null : look.shown.channel.value}
      maps={look.shown.maps.value}
      hover={store.hover.point.value}
      value={store.hover.value.value}
      edit={edits.value.find(own) ?? null}
      edits={edits.value}
      colormap={tableName(colormap.value)}
      scaling={scaling.value}
      dark={dark}
      stale={look.stale.channel.value}
      onHover={(point) => store.hover.set(point)}
      onEdit={(edit) => layer !== null && store.setEdit(layer, edit?.channel ?? number, edit)}
      onCode={onCode}
    />
  );
}
