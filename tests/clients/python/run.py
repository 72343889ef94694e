"""Runs the suite: python3 run.py [arguments of unittest]

The clients live in a virtual environment beside this file. It is made when requirements.txt has
changed; without a change nothing is asked of a package index.
"""

import contextlib
import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
REQUIREMENTS = HERE / "requirements.txt"
INSTALLED = ENVIRONMENT / "installed.txt"


def prepare():
    wanted = REQUIREMENTS.read_text()
    if INSTALLED.exists() and INSTALLED.read_text() == wanted:
        return
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    install = [PYTHON, "-m", "pip", "install", *quiet, "--requirement", REQUIREMENTS]
    subprocess.run(install, check=True)
    INSTALLED.write_text(wanted)


def main():
    prepare()
    command = [PYTHON, "-B", "-m", "unittest", *sys.argv[1:]]
    tests = subprocess.Popen(command, cwd=HERE, start_new_session=True)
    try:
        return tests.wait()
    finally:
        # A run that was interrupted, or ended by its watchdog, leaves no server behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tests.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
