/** The filters of the chosen layer alone in a cell. */
import "../theme/theme.css";
import "../ui/shell.css";
import "../ui/pictures.css";
import { alone } from "../ui/alone";
import { widget } from "../ui/mount";
import { FiltersPanel } from "../ui/panels/filters_panel";

export default widget(alone(FiltersPanel, "Filters"), { filters: true });
