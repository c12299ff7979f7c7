/** The feature maps of the chosen layer alone in a cell. */
import "../theme/theme.css";
import "../ui/shell.css";
import "../ui/pictures.css";
import { alone } from "../ui/alone";
import { widget } from "../ui/mount";
import { FeatureMapsPanel } from "../ui/panels/feature_maps_panel";

export default widget(alone(FeatureMapsPanel, "Feature maps"), { look: ["maps"] });
