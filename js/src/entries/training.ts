/** A watched training: its controls, curves and events. */
import "../theme/theme.css";
import "../ui/shell.css";
import "../ui/pictures.css";
import "../ui/training/training.css";
import { TrainingStore } from "../state/training";
import { mount } from "../ui/mount";
import { TrainingPanel } from "../ui/training/panel";

export default mount(TrainingPanel, (model, signal) => new TrainingStore(model, signal));
