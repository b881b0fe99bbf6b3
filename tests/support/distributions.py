"""Builds the distributions, and environments in which only the one for miners and validators is installed."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

from tests.support.programs import ROOT


def built(project: Path, folder: Path) -> zipfile.ZipFile:
    """Build a wheel into the folder, and return it."""
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(project),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def other_packages(folder: Path) -> Path:
    """Fill the folder with all packages that are installed here, except ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "zipcast" not in entry.name:
            (folder / entry.name).symlink_to(entry)
    return folder


def newcomer_environment(folder: Path) -> dict[str, str]:
    """Make a virtual environment without Zipcast, in which `pip install zipcast` installs this checkout's
    wheel, and return the variables that select it. The dependencies are those of this environment."""
    built(ROOT, folder / "wheels").close()
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{other_packages(folder / 'dependencies')}\n")
    return {
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder / "wheels"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
