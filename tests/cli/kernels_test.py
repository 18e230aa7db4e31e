#!/usr/bin/env python3
"""kernels check: exit codes, tables, JSON, and folders of golden vectors that are broken."""
import json
import os
import pathlib
import struct
import subprocess
import tempfile
import unittest

MOESIM = os.environ["MOESIM"]


class KernelsCheck(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)

    def moesim(self, *arguments, code, env=None):
        done = subprocess.run([MOESIM, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False,
                              env={**os.environ, **(env or {})})
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def family(self, name="sums", want=(4.0, 6.0), kind="allreduce", **changes):
        """Two ranks with two values each; the sum is wanted."""
        data = struct.pack("<4f", 1, 2, 3, 4).ljust(64, b"\0") + struct.pack("<2f", *want)
        tensors = {"x_f32": {"role": "in", "dtype": "f32", "shape": [2, 2], "offset": 0, "nbytes": 16},
                   "ring_f32": {"role": "out", "dtype": "f32", "shape": [2], "offset": 64, "nbytes": 8}}
        case = {"name": "pair", "kind": kind, "params": {"ranks": 2}, "tensors": tensors,
                "tol": {"ring_f32": {"kind": "exact"}}}
        document = {"format": "gvec-1", "endian": "little", "bin": f"{name}.bin", "nbytes": len(data), "cases": [case]}
        document.update(changes)
        (self.root / f"{name}.bin").write_bytes(data)
        (self.root / f"{name}.json").write_text(json.dumps(document))

    def check(self, *arguments, code):
        return self.moesim("kernels", "check", "--golden", self.root, *arguments, code=code)

    def test_all_passed(self):
        self.family()
        out = self.check(code=0).stdout
        self.assertIn("the case passed", out)
        self.assertIn("all exact", out)
        self.assertIn("pair", self.check("--case", "pair", code=0).stdout)
        document = json.loads(self.check("--json", code=0).stdout)
        self.assertEqual((document["passed"], document["failed"]), (1, 0))
        self.assertEqual(document["cases"][0]["outputs"][0]["output"], "ring_f32")
        self.assertIn("sums,pair,allreduce,2,0,true", self.check("--format", "csv", code=0).stdout)

    def test_a_failure_is_told_in_words(self):
        self.family(want=(4.0, 7.0))
        self.assertIn("ring_f32: 1 of 2 values are wrong, the first at [1]: 6 instead of 7", self.check(code=1).stdout)
        self.assertFalse(json.loads(self.check("--json", code=1).stdout)["cases"][0]["passed"])

    def test_a_kind_that_nobody_runs_fails(self):
        self.family(kind="telepathy")
        self.assertIn('no kernel runs cases of the kind "telepathy"', " ".join(self.check(code=1).stdout.split()))

    def test_folders_and_names(self):
        self.assertIn("holds no golden vectors", self.check(code=2).stderr)
        self.family()
        self.assertIn("pair", self.check("--case", "pai", code=2).stderr)
        self.assertIn("sums", self.check("--family", "sum", code=2).stderr)
        self.assertIn("cannot read the folder",
                      self.moesim("kernels", "check", "--golden", self.root / "absent", code=2).stderr)
        (self.root / "golden").mkdir()
        for file in ("sums.json", "sums.bin"):
            (self.root / file).rename(self.root / "golden" / file)
        self.moesim("kernels", "check", code=0, env={"MOESIM_DATA_DIR": str(self.root)})

    def test_broken_files_are_bad_input(self):
        for changes, text in (({"bin": "../sums.bin"}, "plain name"), ({"nbytes": 5}, '"nbytes" says 5'),
                              ({"format": "gvec-9"}, "gvec-1"), ({"cases": 7}, '"cases" must be')):
            self.family(**changes)
            self.assertIn(text, self.check(code=2).stderr)
        (self.root / "sums.json").write_text("{")
        self.assertIn("sums.json:1:", self.check(code=2).stderr)
        self.family()
        (self.root / "sums.bin").unlink()
        self.assertIn("sums.bin", self.check(code=2).stderr)

    def test_a_broken_file_leaves_the_others(self):
        self.family()
        (self.root / "other.json").write_text("{}")
        out = self.check(code=1).stdout
        self.assertIn("1 of 2 cases failed", out)
        self.assertIn('"format" is missing', " ".join(out.split()))
        self.assertIn("other,,,0,0,false", self.check("--format", "csv", code=1).stdout)

    def test_actions(self):
        self.assertIn("check", self.moesim("kernels", "chekc", code=2).stderr)
        self.assertIn("ACTION is missing", self.moesim("kernels", code=2).stderr)


if __name__ == "__main__":
    unittest.main()
