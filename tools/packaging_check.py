"""Build the source archive and, from it, the wheel; check what is in them and that the wheel works by itself."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PANELS = ("explorer", "layers", "feature_maps", "filters", "distribution", "prediction", "inputs")


def main() -> int:
    """Return 0 when both archives are as they should be; print what is wrong otherwise."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        subprocess.run([sys.executable, "-m", "build", "--outdir", folder, str(ROOT)], check=True)
        with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
            names = archive.getnames()
        if any("node_modules" in name for name in names):
            wrong.append("The source archive contains node_modules.")
        if not any(name.endswith("js/src/wire/types.ts") for name in names):
            wrong.append("The source archive lacks the sources of the front end.")
        wheel = next(out.glob("*.whl"))
        with zipfile.ZipFile(wheel) as package:
            packed = set(package.namelist())
            package.extractall(out / "installed")
        for name in ["py.typed", *(f"static/{panel}.{kind}" for panel in PANELS for kind in ("js", "css"))]:
            if f"nnwidget/{name}" not in packed:
                wrong.append(f"The wheel lacks nnwidget/{name}.")
        if any(not name.startswith("nnwidget") for name in packed):
            wrong.append("The wheel contains more than the package.")
        # The checkout must not lend what the wheel lacks, so this comes first on the path.
        code = (
            f"import sys; sys.path.insert(0, {str(out / 'installed')!r})\n"
            "from nnwidget.wire import assets; assets.bundle('explorer.js'); print(assets.__file__)\n"
        )
        if subprocess.run([sys.executable, "-c", code], cwd=folder, check=False).returncode:
            wrong.append("The bundles cannot be read from an installed wheel.")
    print("\n".join(wrong) or "as they should be")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
