/** Bundle each widget of the page into one self-contained ES module and its style sheet, and hold them to their size. */
import { readdirSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { writeTables } from "./tools/colormaps.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const page = process.argv.includes("--page");
const output = page ? join(here, "test-page", "dist") : join(here, "..", "nnwidget", "static");
const names = readdirSync(join(here, "src", "entries"))
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.slice(0, -3));
const LIMITS = { explorer: 200_000 };
const PANEL_LIMIT = 120_000;

await writeTables(join(here, "src", "draw", "colormap_tables.ts"));
await build({
  absWorkingDir: here,
  entryPoints: Object.fromEntries(names.map((name) => [name, join("src", "entries", `${name}.ts`)])),
  outdir: output,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !page,
  sourcemap: page ? "inline" : false,
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  logLevel: "warning",
});
if (page) {
  await build({
    absWorkingDir: here,
    entryPoints: [join("test-page", "harness.ts")],
    outdir: output,
    bundle: true,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
  });
}

// Removed only now, so that a running server always finds a bundle.
const made = new Set(names.flatMap((name) => [`${name}.js`, `${name}.css`]));
for (const file of page ? [] : readdirSync(output)) {
  if (!made.has(file) && /\.(js|css)$/.test(file)) rmSync(join(output, file));
}

let heavy = false;
for (const name of names) {
  const bytes = statSync(join(output, `${name}.js`)).size;
  const limit = LIMITS[name] ?? PANEL_LIMIT;
  const over = !page && bytes > limit;
  heavy ||= over;
  console.log(`${name}.js ${(bytes / 1000).toFixed(1)} kB of ${limit / 1000} kB${over ? ": too large" : ""}`);
}
if (heavy) process.exitCode = 1;
