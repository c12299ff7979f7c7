/** The pinned inputs alone in a cell. */
import "../theme/theme.css";
import "../ui/shell.css";
import "../ui/inputs.css";
import "../ui/pictures.css";
import { alone } from "../ui/alone";
import { widget } from "../ui/mount";
import { InputsPanel } from "../ui/panels/inputs_panel";

export default widget(alone(InputsPanel, "Inputs", "content"), { inputs: true });
