/** esbuild gathers the style sheets of an entry in one file beside its bundle. */
declare module "*.css";
