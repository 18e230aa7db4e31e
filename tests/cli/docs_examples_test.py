#!/usr/bin/env python3
"""Runs every example of README.md and docs/*.md and compares its output with the page.

An example is a block fenced with ```console whose first line is "$ moesim ...". The rest of the block is the
standard output, to the byte. MOESIM_UPDATE_GOLDEN=1 writes what came out into the page.
"""
import difflib
import os
import pathlib
import re
import shlex
import subprocess
import sys

SOURCE = pathlib.Path(os.environ["MOESIM_SOURCE_DIR"])
MOESIM = os.environ["MOESIM"]
BLOCK = re.compile(r"^```console\n\$ moesim (?P<arguments>[^\n]*)\n(?P<output>.*?)^```$", re.M | re.S)


def run(arguments):
    result = subprocess.run([MOESIM, *shlex.split(arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=120, check=False)
    if result.returncode not in (0, 1, 2):
        raise SystemExit(f"moesim {arguments}: exit {result.returncode}\n{result.stderr}")
    return result.stdout


def main():
    update = os.environ.get("MOESIM_UPDATE_GOLDEN") == "1"
    # Examples name files from the root of the repository.
    for name in ("workloads", "hw_configs", "models"):
        if not os.path.lexists(name):
            os.symlink(SOURCE / name, name)
    failures = examples = 0
    for page in [SOURCE / "README.md", *sorted((SOURCE / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for match in list(BLOCK.finditer(text)):
            examples += 1
            got = run(match["arguments"])
            if got == match["output"]:
                continue
            if update:
                text = text.replace(match[0], f"```console\n$ moesim {match['arguments']}\n{got}```", 1)
                continue
            failures += 1
            print(f"{page.name}: moesim {match['arguments']}")
            print("\n".join(difflib.unified_diff(match["output"].splitlines(), got.splitlines(), "page", "now", lineterm="")))
        if update:
            page.write_text(text, encoding="utf-8")
    print(f"{examples} examples, {failures} differ")
    return 1 if failures or examples == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
