/** What the model says before and after the edits, alone in a cell. */
import "../theme/theme.css";
import "../ui/shell.css";
import "../ui/pictures.css";
import { alone } from "../ui/alone";
import { widget } from "../ui/mount";
import { PredictionPanel } from "../ui/panels/prediction_panel";

export default widget(alone(PredictionPanel, "Prediction", "content"), { look: ["prediction"] });
