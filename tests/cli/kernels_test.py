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

    def test_scaled_layers_of_models(self):
        document = json.loads(self.moesim("kernels", "check", "--model", "mixtral-8x7b", "--model", "minimax-text-01",
                                          "--json", code=0).stdout)
        self.assertEqual((document["passed"], document["failed"]), (2, 0))
        numerics = document["models"][0]["numerics"]
        self.assertTrue(numerics["passed"])
        self.assertGreater(numerics["counts_compared"], 30)
        self.assertEqual(numerics["counts_compared"], numerics["counts_equal"])
        lightning = document["models"][1]["numerics"]["layers"][1]
        self.assertIsNone(lightning["passed"])
        self.assertIn("no reference kernel", lightning["not_checked"][0])
        out = self.moesim("kernels", "check", "--model", "minimax-text-01", "--tp", "2", "--ep", "2", code=0).stdout
        self.assertIn("not checked: minimax-text-01, attention", out)
        self.assertIn("all 1 models passed", out)
        self.assertIn("bit for bit", self.moesim("kernels", "check", "--model", "mixtral-8x7b", "-v", code=0).stdout)
        self.assertIn("mixtral-8x7b,moe,2 of 8 experts",
                      self.moesim("kernels", "check", "--model", "mixtral-8x7b", "--format", "csv", code=0).stdout)
        for flags in (["--model", "mixtral-8x8b"], ["--model", "mixtral-8x7b", "--tp", "3"], ["--tp", "2"],
                      ["--model", "mixtral-8x7b", "--ep", "2"], ["--model", "mixtral-8x7b", "--case", "pair"],
                      ["--full-layer", "llama-3.1-8b"], ["--full-layer", "mixtral-8x7b", "--tp", "2"],
                      ["--layer-tokens", "3"], ["--full-layer", "mixtral-8x7b", "--layer-tokens", "5000"]):
            self.moesim("kernels", "check", *flags, code=2)

    def test_a_layer_at_full_size(self):
        done = self.moesim("kernels", "check", "--full-layer", "olmoe-1b-7b", "--layer-tokens", "2", "--json", code=0)
        layer = json.loads(done.stdout)
        self.assertEqual(sum(layer["rows_by_expert"]), 2 * 8)
        self.assertEqual(layer["rows_by_expert"], layer["rows_by_expert_simulator"])
        self.assertEqual(layer["numerics"]["counts_compared"], layer["numerics"]["counts_equal"])
        self.assertIn("peak memory", done.stderr)

    def test_a_scenario_with_numerics(self):
        small = ["--set", "workload.stop.requests=5", "--set", "numerics.check=true", "--set", "numerics.tokens=16"]
        demo = self.root / "demo.json"
        demo.write_text(json.dumps({
            "extends": str(pathlib.Path(__file__).parents[2] / "workloads" / "scenarios" / "demo.json"),
            "numerics": {"check": False, "tokens": 32, "context": 96}}))
        self.moesim("validate", demo, code=0)
        out = self.moesim("run", demo, *small, "-o", self.root / "out", code=0).stdout
        self.assertIn("numerics: passed, worst error", out)
        results = json.loads((self.root / "out" / "results.json").read_text())
        numerics = results["numerics"]
        self.assertTrue(numerics["passed"])
        self.assertEqual([layer["layer"] for layer in numerics["layers"]], ["dense", "attention", "moe"])
        for layer in numerics["layers"]:
            self.assertEqual(layer["layout"], "tp 8, dp 2, ep 16")
            self.assertTrue(layer["passed"])
            self.assertTrue(all(count["kernel"] == count["model"] for count in layer["counts"]))
            self.assertTrue(all(claim["held"] for claim in layer["properties"]))
            self.assertEqual(layer["sizes"][0], {"name": "hidden size", "model": 7168, "scaled": 256})
        self.assertIn("weights fp8_block", numerics["layers"][2]["formats"])
        # The same numbers again; none without the check; and a bounded size.
        self.moesim("run", demo, *small, "-o", self.root / "again", code=0)
        self.assertEqual((self.root / "out" / "results.json").read_bytes(),
                         (self.root / "again" / "results.json").read_bytes())
        self.moesim("run", demo, *small, "--set", "numerics.check=false", "-o", self.root / "none", code=0)
        self.assertNotIn("numerics", json.loads((self.root / "none" / "results.json").read_text()))
        self.moesim("run", demo, *small, "--set", "numerics.tokens=1", "-o", self.root / "bad", code=2)

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
