#!/usr/bin/env python3
"""Problems point at what the user wrote: the file, a flag, a variable or a patch."""
import csv
import io
import json
import os
import pathlib
import sys
import unittest

from commands_test import SMALL, SOURCE, moesim, one_document


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

    def test_one_flag_is_named_once(self):
        arrival = {"process": "rate-curve", "points": [{"at": "0 s", "rate": "0/s"}, {"at": "1 s", "rate": "0/s"}]}
        flag = f"workload.arrival={json.dumps(arrival)}"
        error, _ = self.error("run", SMALL, "--set", flag)
        self.assertEqual(error.get("note", "").count("--set"), 1)
        self.assertIn("workload.arrival comes from --set workload.arrival=", error["note"])
        patch = {"workload": {"arrival": {**arrival, "clients": None}}}
        pathlib.Path("many.json").write_text(json.dumps(patch), encoding="utf-8")
        error, _ = self.error("run", SMALL, "--merge", "many.json")
        self.assertEqual(error["note"].count("--merge"), 1)
        self.assertIn("workload.arrival.points.0.at, workload.arrival.points.0.rate", error["note"])

    ENTRY = "deployment.engine.scheduler.max_num_batched_tokens"

    def test_a_value_inside_an_entry_has_the_place_of_the_flag(self):
        for change, env in ((f"{self.ENTRY}.value.value=3", {}), ("cluster.node.gpu.hbm.bandwidth.value.0=3", {}),
                            ("", {"MOESIM_SET_cluster__node__gpu__hbm__bandwidth__value__0": "3"})):
            error, text = self.error("run", SMALL, *(["--set", change] if change else []), env=env)
            name = "--set" if change else list(env)[0]
            self.assertEqual((error.get("file"), error.get("line"), error.get("column")), (name, 1, 1))
            self.assertIn(f"--> {name}:1:1   (/", text)
            self.assertIn("^", text)

    def test_unset_reaches_into_entries(self):
        # The number of the entry has a source of its own; without it the number is not complete.
        error, _ = self.error("run", SMALL, "--unset", f"{self.ENTRY}.source")
        self.assertIn(f'"source" was removed by --unset {self.ENTRY}.source', error["note"])
        link = "cluster.node.gpu.price"
        self.assertIn(link, moesim("explain", SMALL, "cluster.node.gpu").stdout)
        self.assertNotIn(link, moesim("explain", SMALL, "--unset", link, "cluster.node.gpu").stdout)
        for path, part, meant in ((f"{self.ENTRY}.sauce", "sauce", "source"),
                                  ("deployment.engine.schedular.max_num_seqs", "schedular", "scheduler"),
                                  ("cluster.node.gpu.hbm.bandwith", "bandwith", "bandwidth")):
            error, text = self.error("run", SMALL, "--unset", path)
            self.assertEqual((error["code"], error["file"]), ("bad_override", "--unset"))
            self.assertIn(f'there is no "{part}" to remove', error["message"])
            self.assertEqual(error["suggestion"], meant)
            self.assertIn(path, text)
        twice = ["--unset", link, "--unset", link]
        self.assertIn('no "price" to remove', self.error("run", SMALL, *twice)[0]["message"])
        self.error("run", SMALL, "--unset", "seed.foo")

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


class Suggestions(unittest.TestCase):
    def suggestion(self, change):
        return one_document(moesim("run", SMALL, "--set", change, "--json", code=2).stdout)["error"].get("suggestion", "")

    def test_no_other_number_or_currency(self):
        arrival = '{"process": "poisson", "rate": 5}'
        self.assertEqual(self.suggestion(f"workload.arrival={arrival}"), '"5/s"')
        self.assertEqual(self.suggestion("prices.gpu_hour=2.49"), '"2.49 USD"')
        self.assertEqual(self.suggestion('prices.gpu_hour="2.49 EUR"'), "")
        self.assertEqual(self.suggestion("workload.stop={\"duration\": 10}"), "")
        self.assertEqual(self.suggestion("foo"), "")
        self.assertEqual(self.suggestion("foo.bar=1"), "")
        self.assertEqual(self.suggestion('slo=["ttft <= 1 s"]'), '"ttft.p99 <= 1 s"')


class Inputs(unittest.TestCase):
    def piped(self, text, *arguments, code=0):
        pathlib.Path("piped.json").write_text(text, encoding="utf-8")
        with open("piped.json", encoding="utf-8") as stream:
            return moesim(*arguments, stdin=stream, code=code)

    def test_standard_input(self):
        text = pathlib.Path(SMALL).read_text(encoding="utf-8")
        document = one_document(self.piped(text, "run", "-", "--json").stdout)
        self.assertEqual(document["metrics"], one_document(moesim("run", SMALL, "-o", "same", "--json").stdout)["metrics"])
        self.assertTrue(pathlib.Path("out/stdin/results.json").exists())
        self.assertIn("seed", self.piped(text, "explain", "-", "seed").stdout)
        self.assertIn("--> <stdin>:2:2", self.piped('{"version": 1,\n "modle": 3}\n', "run", "-", code=2).stderr)
        self.assertIn("the file is empty", self.piped("", "run", "-", code=2).stderr)

    def test_validate_reads_standard_input(self):
        text = pathlib.Path(SMALL).read_text(encoding="utf-8")
        self.assertIn("<stdin>: ok", self.piped(text, "validate", "-").stdout)
        self.assertIn("<stdin>:2:2", self.piped('{"version": 1,\n "modle": 3}\n', "validate", "-", code=2).stderr)
        gpu = (SOURCE / "hw_configs" / "gpus" / "h100-sxm.json").read_text(encoding="utf-8")
        files = one_document(self.piped(gpu, "validate", "-", SMALL, "--json").stdout)["files"]
        self.assertEqual([(one["file"], one["kind"]) for one in files], [("<stdin>", "gpu"), (SMALL, "scenario")])

    def test_standard_input_is_read_once(self):
        text = pathlib.Path(SMALL).read_text(encoding="utf-8")
        for command in ("run", "validate"):
            self.assertIn("standard input can be read once only", self.piped(text, command, "-", "-", code=2).stderr)

    def test_standard_input_cannot_extend_itself(self):
        for name in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
            text = json.dumps({"extends": name})
            circle = '"extends" goes in a circle: <stdin> -> <stdin>'
            self.assertIn(circle, self.piped(text, "run", "-", code=2).stderr)
            reader, writer = os.pipe()
            os.write(writer, text.encode())
            os.close(writer)
            self.assertIn(circle, moesim("validate", "-", stdin=reader, code=2).stderr)
            os.close(reader)
        pathlib.Path("middle.json").write_text('{"extends": "/dev/stdin"}', encoding="utf-8")
        text = self.piped('{"extends": "./middle.json"}', "run", "-", code=2).stderr
        self.assertIn("goes in a circle: <stdin> -> middle.json -> <stdin>", text)
        small = pathlib.Path(SMALL).read_text(encoding="utf-8")
        self.assertIn("ok", self.piped(small, "validate", "middle.json").stdout)

    def test_verbose_names_the_files(self):
        lines = moesim("run", SMALL, "-o", "verbose", "-v").stderr.splitlines()
        self.assertIn(f"file: {SMALL}", lines)
        self.assertTrue(any(line.startswith("file: ") and line.endswith("hw_configs/gpus/h100-sxm.json") for line in lines))
        self.assertFalse([line for line in lines if "/../" in line or "/./" in line])

    def test_csv_of_explain_has_bare_text_and_both_paths(self):
        rows = list(csv.DictReader(io.StringIO(moesim("explain", SMALL, "--format", "csv").stdout)))
        row = next(row for row in rows if row["path"] == "cluster.node.gpu.name")
        self.assertEqual((row["pointer"], row["value"]), ("/cluster/node/gpu/name", "h100-sxm"))


class WhatIf(unittest.TestCase):
    BANDWIDTH = "cluster.node.gpu.hbm.bandwidth"

    def explained(self, *arguments, env=None):
        document = one_document(moesim("explain", SMALL, *arguments, self.BANDWIDTH, "--json", env=env).stdout)
        return {key: document["resolved"][key] for key in ("value", "source", "label")}

    def test_a_bare_number_is_an_assumption(self):
        change = f"{self.BANDWIDTH}=3.5 TB/s"
        wanted = {"value": "3.5 TB/s", "source": f"--set {change}", "label": "assumed"}
        self.assertEqual(self.explained("--set", change), wanted)
        # The same for the value alone: the datasheet did not say it.
        self.assertEqual(self.explained("--set", f"{self.BANDWIDTH}.value=3.5 TB/s"),
                         {**wanted, "source": f"--set {self.BANDWIDTH}.value=3.5 TB/s"})
        variable = "MOESIM_SET_" + self.BANDWIDTH.replace(".", "__")
        self.assertEqual(self.explained(env={variable: "3.5 TB/s"}), {**wanted, "source": f"{variable}=3.5 TB/s"})
        patch = '{"cluster": {"node": {"extends": "hgx-h100-8", "gpu": {"extends": "h100-sxm", "hbm": {"bandwidth": "3.5 TB/s"}}}}}'
        pathlib.Path("faster.json").write_text(patch, encoding="utf-8")
        self.assertEqual(self.explained("--merge", "faster.json"), {**wanted, "source": "--merge faster.json:1"})
        moesim("run", SMALL, "-o", "what-if", "--set", change)

    def test_who_names_a_source_is_believed(self):
        text = moesim("explain", SMALL, self.BANDWIDTH, "--set",
                      self.BANDWIDTH + '={"value": "3.5 TB/s", "source": "study", "label": "derived"}', "--json").stdout
        self.assertEqual(one_document(text)["resolved"]["label"], "derived")

    def test_a_file_must_name_its_source(self):
        scenario = json.loads(pathlib.Path(SMALL).read_text(encoding="utf-8"))
        scenario["cluster"]["node"] = {"extends": "hgx-h100-8", "gpu": {"extends": "h100-sxm", "hbm": {"bandwidth": "3.5 TB/s"}}}
        pathlib.Path("bare.json").write_text(json.dumps(scenario), encoding="utf-8")
        error = one_document(moesim("run", "bare.json", "--json", code=2).stdout)["error"]
        self.assertEqual(error["code"], "wrong_type")
        self.assertIn('{"value": "3.5 TB/s", "source": ', error["suggestion"])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]], verbosity=1)
