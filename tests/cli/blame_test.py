#!/usr/bin/env python3
"""Problems point at what the user wrote: the file, a flag, a variable or a patch."""
import pathlib
import sys
import unittest

from commands_test import SMALL, moesim, one_document


class Blame(unittest.TestCase):
    """A value of --set, --merge, the environment or a flag is not blamed on innocent text of the file."""

    def error(self, *arguments, env=None, code=2):
        result = moesim(*arguments, "-o", "blame", "--json", env=env, code=code)
        self.assertIn("error:", result.stderr)
        return one_document(result.stdout)["error"], result.stderr

    def test_a_member_of_the_object(self):
        for arguments, env, words, file in (
                (["--set", "deployment.pools.main.tp=3"], {}, "tp comes from --set deployment.pools.main.tp=3", "--set"),
                ([], {"MOESIM_SET_deployment__pools__main__tp": "3"},
                 "tp comes from MOESIM_SET_deployment__pools__main__tp=3", "MOESIM_SET_deployment__pools__main__tp"),
                (["--merge", "blame.json"], {}, "tp comes from --merge blame.json:2", "blame.json")):
            pathlib.Path("blame.json").write_text('{"deployment": {"pools": {"main":\n {"tp": 3}}}}', encoding="utf-8")
            error, text = self.error("run", SMALL, *arguments, env=env)
            self.assertEqual((error["code"], error["file"]), ("illegal_layout", file))
            self.assertIn(words, error["note"])
            self.assertNotIn(f"--> {SMALL}", text)

    def test_what_was_removed(self):
        error, _ = self.error("run", SMALL, "--unset", "workload.stop")
        self.assertIn('"stop" was removed by --unset workload.stop', error["note"])
        error, _ = self.error("run", SMALL, "--unset", "model")
        self.assertIn('"model" was removed by --unset model', error["note"])
        pathlib.Path("null.json").write_text('{"model": null}', encoding="utf-8")
        error, _ = self.error("run", SMALL, "--merge", "null.json")
        self.assertIn("removed by --merge null.json:1", error["note"])

    def test_a_change_elsewhere(self):
        text = pathlib.Path(SMALL).read_text(encoding="utf-8").replace('"replicas": 1', '"replicas": 9')
        pathlib.Path("elsewhere.json").write_text(text.replace('"nodes": 1', '"nodes": 2'), encoding="utf-8")
        error, _ = self.error("run", "elsewhere.json", "--set", "cluster.nodes=1", code=3)
        self.assertIn("changed by --set cluster.nodes=1", error["note"])

    def test_the_flags_of_estimate(self):
        small = ["estimate", "--model", "llama-3.1-8b", "--gpu", "h100-sxm"]
        for flags, named in ((["--tp", "3"], "--tp"), (["--kv", "fp9"], "--kv"), (["--weights", "fp9"], "--weights"),
                             (["--slo", "ttft.p99 <= 1 s", "--slo", "nope <= 1 s"], "--slo"), (["--engine", "vlm"], "--engine")):
            error, text = self.error(*small, *flags)
            self.assertEqual(error["file"], named)
            self.assertIn(flags[-1], text)
            self.assertNotIn("--> estimate", text)
        error, _ = self.error(*small, "--tp", "3")
        self.assertIn("tp comes from --tp 3", error["note"])

    def test_the_warnings_of_estimate_show_no_text(self):
        text = moesim("estimate", "--model", "llama-3.1-8b", "--gpu", "h100-sxm", "--osl", "8", "--tp", "1").stderr
        self.assertEqual(text, "warning: 7 of the cluster's 8 GPUs are not used and not paid for\n")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]], verbosity=1)
