#!/usr/bin/env python3
"""Holds the results of small scenarios to the bytes in tests/golden, for every compiler and build type.

Times, tokens and bytes of a run are part of what users rely on: a change of any of them must be seen in review.
MOESIM_UPDATE_GOLDEN=1 writes the new files. Leaves out the manifest, whose hashes change with any catalogue file.
"""
import difflib
import json
import os
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(os.environ["MOESIM_SOURCE_DIR"])
SCENARIOS = ["llama-3.1-8b-h100", "mixtral-tp2", "qwen3-30b-a3b-ep4", "qwen3-30b-a3b-faults"]


def main():
    failures = 0
    for name in SCENARIOS:
        scenario = SOURCE / "workloads" / "scenarios" / f"{name}.json"
        command = [os.environ["MOESIM"], "run", str(scenario), "-o", name, "--format", "json"]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=True)
        document = json.loads(result.stdout)
        document.pop("manifest", None)
        got = json.dumps(document, indent=1) + "\n"
        golden = SOURCE / "tests" / "golden" / f"{name}.json"
        if os.environ.get("MOESIM_UPDATE_GOLDEN") == "1":
            golden.write_text(got, encoding="utf-8")
            continue
        expected = golden.read_text(encoding="utf-8")
        if got != expected:
            failures += 1
            print(f"{name}: results differ from {golden.relative_to(SOURCE)}")
            print("\n".join(list(difflib.unified_diff(expected.splitlines(), got.splitlines(), "golden", "now", lineterm=""))[:60]))
    print(f"{len(SCENARIOS)} scenarios, {failures} differ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
