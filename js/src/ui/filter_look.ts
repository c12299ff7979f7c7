/** From the codes of weights to something to paint, and with which colours. */

import { useMemo } from "preact/hooks";
import type { Look } from "../draw/canvas";
import type { TileSource } from "../draw/codes";
import { colormap as chooseColormap } from "../draw/colormap";
import { hull, type Range, symmetric } from "../draw/range";
import type { FiltersResult, WeightPicture } from "../wire/types";
import type { FilterRange } from "./props";

/** The codes of a picture as something to paint. */
export function filterSource(picture: WeightPicture, kind: FiltersResult["kind"]): TileSource {
  const { codes, lo, hi } = picture;
  const [tiles = 0, rows = 1, columns = 1] = codes.shape;
  // One common range may come as a single pair of numbers.
  const spread = (data: Float32Array) => (data.length === tiles ? data : new Float32Array(tiles).fill(data[0] ?? 0));
  return {
    codes: codes.data,
    lo: spread(lo.data),
    hi: spread(hi.data),
    rows,
    columns,
    depth: kind === "rgb" ? 3 : 1,
  };
}

export interface WeightLook {
  look: Look;
  /** The ends of the colour bar, or null where each tile has its own. */
  bar: Range | null;
}

type Extent = Pick<WeightPicture, "minimum" | "maximum"> & Partial<Pick<WeightPicture, "lo" | "hi">>;

/** The colours of a picture: one object as long as nothing about them changes. */
export function useWeightLook(
  picture: Extent | null,
  kind: FiltersResult["kind"],
  range: FilterRange,
  name: string,
  dark: boolean,
): WeightLook {
  return useMemo(() => {
    const least = picture?.minimum ?? 0;
    const most = picture?.maximum ?? 0;
    const signed = kind === "strips" || (least < 0 && kind !== "norm");
    const map = chooseColormap(name, signed, "layer", dark);
    const shown = picture?.lo && picture.hi ? hull(picture.lo.data, picture.hi.data) : { lo: least, hi: most };
    const whole = kind === "matrix" && range === "all" ? { lo: least, hi: most } : shown;
    const layer = kind === "rgb" ? symmetric(whole) : whole;
    const each = kind !== "matrix" && kind !== "rgb" && range === "own";
    return {
      look: { map, scaling: each ? "channel" : "layer", layer },
      bar: each ? null : map.diverging ? symmetric(layer) : layer,
    };
  }, [picture, kind, range, name, dark]);
}
