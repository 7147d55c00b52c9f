#!/usr/bin/env python3
"""Fetch the node tests of the onnx package, and those of sequences, into target/conformance.

The tests are data inside the wheel; nothing is installed and nothing else is unpacked. Does
nothing where they are already there.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

VERSION = "1.22.0"
PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"]
INSIDE = "onnx/backend/test/data/"
WANTED = ["node/", "simple/test_sequence_model"]
DONE = f"{VERSION} {WANTED}"
TARGET = pathlib.Path(__file__).resolve().parents[4] / "target" / "conformance"


def download(folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", f"onnx=={VERSION}", "--dest", folder]
    command += ["--python-version", "3.12"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run(command, check=True)
    return next(pathlib.Path(folder).glob("onnx-*.whl"))


def main():
    done = TARGET / "version"
    if done.is_file() and done.read_text() == DONE:
        print(f"the node tests of onnx {VERSION} are in {TARGET}")
        return
    shutil.rmtree(TARGET, ignore_errors=True)
    (TARGET / "node").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(download(folder)) as wheel:
        for name in wheel.namelist():
            _, _, case = name.removeprefix(INSIDE).partition("/")
            if name.startswith(tuple(INSIDE + wanted for wanted in WANTED)) and not name.endswith("/"):
                path = TARGET / "node" / case
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(wheel.read(name))
    done.write_text(DONE)
    print(f"unpacked the node tests of onnx {VERSION} into {TARGET}")


if __name__ == "__main__":
    main()
