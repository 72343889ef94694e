"""Runs the fuzz targets one after another, each for the same time. Called by `make fuzz`.

A target starts from its corpus (corpus/NAME.txt) and what earlier runs found, which stays in the
build folder. An input that breaks a promise ends the target; its file is named at the end. With
--keep the smallest inputs that reach all code become the corpus of the repository.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in (HERE / "targets").glob("*.rs"))
INPUT_BYTES_MAX = 4096
INPUT_SECONDS_MAX = 25
MEMORY_MB_MAX = 2048
# Larger inputs are not worth their place in the repository.
KEPT_BYTES_MAX = 2048


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=30)
    arguments.add_argument("--keep", action="store_true", help="write the corpus files anew")
    arguments.add_argument("targets", nargs="*", choices=[[], *NAMES], metavar="TARGET")
    options = arguments.parse_args()
    build_folder = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
    binaries = build(build_folder)
    failed = []
    for name in options.targets or NAMES:
        if not fuzz(name, binaries / name, build_folder / "fuzz" / name, options):
            failed.append(name)
    if failed:
        sys.exit(f"broken promises in: {', '.join(failed)}")


def build(build_folder):
    """Builds all targets and returns the folder of their programs."""
    if subprocess.run(["cargo", "+nightly", "--version"], capture_output=True).returncode:
        sys.exit("make fuzz needs the nightly toolchain: rustup toolchain install nightly")
    if subprocess.run(["cargo", "+nightly", "fuzz", "--version"], capture_output=True).returncode:
        sys.exit("make fuzz needs cargo-fuzz: cargo install cargo-fuzz --locked")
    # No `unsafe` here, so no sanitizer: many more inputs in the same time.
    command = ["cargo", "+nightly", "fuzz", "build", "--sanitizer", "none"]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(build_folder)}
    subprocess.run(command, cwd=HERE.parent, env=environment, check=True)
    verbose = subprocess.run(["rustc", "+nightly", "-vV"], capture_output=True, text=True)
    host = re.search(r"^host: (.*)$", verbose.stdout, re.MULTILINE)[1]
    return build_folder / host / "release"


def fuzz(name, program, folder, options):
    """Runs one target; whether every promise was kept."""
    inputs, findings = folder / "inputs", folder / "findings"
    inputs.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    for data in unpack(HERE / "corpus" / f"{name}.txt"):
        (inputs / hashlib.sha1(data).hexdigest()).write_bytes(data)
    print(f"{name}: {options.minutes:g} minutes from {len(list(inputs.iterdir()))} inputs", flush=True)
    log = folder / "log.txt"
    with log.open("w") as out:
        run = subprocess.run(
            [program, inputs, *limits(), f"-dict={HERE / 'dictionaries' / name}.dict",
             f"-max_total_time={round(options.minutes * 60)}", "-print_final_stats=1",
             f"-artifact_prefix={findings}/"],
            stdout=out, stderr=subprocess.STDOUT)
    lines = log.read_text(errors="replace").splitlines()
    wanted = ("stat::number_of_executed_units", "#", "Test unit written", "thread '", "assertion")
    said = [line for line in lines if line.startswith(wanted)]
    print("\n".join(f"{name}: {line}" for line in said[-4:]), flush=True)
    if run.returncode:
        print(f"{name}: a promise was broken, see {log}", flush=True)
        return False
    if options.keep:
        keep(name, program, inputs, folder / "least")
    return True


def limits():
    return [f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_SECONDS_MAX}",
            f"-rss_limit_mb={MEMORY_MB_MAX}"]


def keep(name, program, inputs, least):
    """Writes the smallest inputs that reach all code into the repository."""
    shutil.rmtree(least, ignore_errors=True)
    least.mkdir()
    subprocess.run([program, "-merge=1", "-use_counters=0", *limits(), least, inputs],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    kept = sorted((path.read_bytes() for path in least.iterdir()), key=lambda it: (len(it), it))
    kept = [data for data in kept if len(data) <= KEPT_BYTES_MAX]
    lines = [escape(data) + "\n" for data in kept]
    (HERE / "corpus" / f"{name}.txt").write_text("".join(lines))
    print(f"{name}: kept {len(kept)} inputs, {sum(map(len, lines))} bytes", flush=True)


def escape(data):
    def one(byte):
        if byte == 0x5C:
            return "\\\\"
        if byte == 0x0A:
            return "\\n"
        return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"

    return "".join(map(one, data))


def unpack(file):
    if not file.exists():
        return []
    plain = {"\\\\": b"\\", "\\n": b"\n"}

    def one(match):
        return plain.get(match[0].decode()) or bytes([int(match[0][2:], 16)])

    lines = file.read_bytes().split(b"\n")[:-1]
    return [re.sub(rb"\\(?:\\|n|x[0-9a-f]{2})", one, line) for line in lines]


main()
