"""Builds the site: `python -m documentation [FOLDER]`, by default into `site/`.

The pages are written to a temporary folder first, because many are generated. Zensical's strict mode fails
for every link or anchor that leads nowhere.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from documentation.pages import REPOSITORY, hand_written
from documentation.reference import generated

CONFIGURATION = Path(__file__).with_name("zensical.toml")


def build(site: Path) -> None:
    """Write the site into the folder `site`, which is replaced. Raises CalledProcessError if the build has a
    warning."""
    with tempfile.TemporaryDirectory(prefix="zipcast-docs-") as folder:
        project = Path(folder)
        shutil.copy(CONFIGURATION, project)
        shutil.copytree(REPOSITORY / "docs", project / "docs")
        for page, markdown in (hand_written() | generated()).items():
            path = project / "docs" / page
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(markdown)
        zensical = Path(sys.executable).with_name("zensical")
        subprocess.run([zensical, "build", "--strict"], cwd=project, check=True)
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(project / "site", site)


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "site")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
