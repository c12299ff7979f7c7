/** The whole explorer as one application. */
import "../theme/theme.css";
import "../ui/shell.css";
import "../ui/tree.css";
import "../ui/inputs.css";
import "../ui/pictures.css";
import "../ui/distribution.css";
import { Frame } from "../ui/frame";
import { widget } from "../ui/mount";

export default widget(Frame, {
  layers: true,
  inputs: true,
  filters: "view",
  distribution: "view",
  look: ["maps", "channel", "prediction"],
});
