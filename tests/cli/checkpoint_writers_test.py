#!/usr/bin/env python3
"""The checkpoint files of tests/support/weights are what their independent writers in tests/tools write."""
import os
import pathlib
import subprocess
import sys
import unittest

SOURCE = pathlib.Path(os.environ["MOESIM_SOURCE_DIR"])
STORED = SOURCE / "tests" / "support" / "weights"


class Writers(unittest.TestCase):
    def test_stored_files_are_written_again(self):
        for name in ("write_safetensors.py", "write_gguf.py"):
            subprocess.run([sys.executable, "-B", SOURCE / "tests" / "tools" / name, "written"], check=True)
        written = pathlib.Path("written")
        names = sorted(file.relative_to(written) for file in written.rglob("*") if file.is_file())
        self.assertEqual(names, sorted(file.relative_to(STORED) for file in STORED.rglob("*") if file.is_file()))
        for name in names:
            self.assertEqual((written / name).read_bytes(), (STORED / name).read_bytes(), str(name))


if __name__ == "__main__":
    unittest.main()
