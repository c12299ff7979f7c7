/** The distribution of the chosen layers alone in a cell. */
import "../theme/theme.css";
import "../ui/shell.css";
import "../ui/pictures.css";
import "../ui/distribution.css";
import { alone } from "../ui/alone";
import { widget } from "../ui/mount";
import { DistributionPanel } from "../ui/panels/distribution_panel";

export default widget(alone(DistributionPanel, "Distribution"), { layers: true, distribution: true, look: ["maps"] });
