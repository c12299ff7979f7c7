/** The layer tree alone in a cell. */
import "../theme/theme.css";
import "../ui/shell.css";
import "../ui/tree.css";
import "../ui/pictures.css";
import { alone } from "../ui/alone";
import { widget } from "../ui/mount";
import { TreePanel } from "../ui/panels/tree_panel";

export default widget(alone(TreePanel, "Layers"), { layers: true });
