#!/usr/bin/env python3
"""The command line from outside: exit codes, streams, layers of configuration, partial results, signals."""
import csv
import hashlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest

MOESIM = os.environ["MOESIM"]
SOURCE = pathlib.Path(os.environ["MOESIM_SOURCE_DIR"])
SCENARIOS = SOURCE / "workloads" / "scenarios"
SMALL = str(SCENARIOS / "llama-3.1-8b-h100.json")
RESULT_FILES = {"results.json", "requests.csv", "timeseries.csv", "memory.csv", "experts.csv", "run_info.json"}


def environment(**extra):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MOESIM_SET_")}
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "COLUMNS"):
        clean.pop(name, None)
    return {**clean, **extra}


def moesim(*arguments, code=0, env=None, stdin=subprocess.DEVNULL):
    result = subprocess.run([MOESIM, *map(str, arguments)], stdin=stdin, capture_output=True, text=True, timeout=120,
                            env=environment(**(env or {})), check=False)
    if result.returncode != code:
        raise AssertionError(f"moesim {arguments}: exit {result.returncode}, not {code}\n{result.stdout}{result.stderr}")
    return result


def one_document(text):
    """The only JSON document in a text; fails on anything before, after or between."""
    value, end = json.JSONDecoder().raw_decode(text)
    if text[end:].strip():
        raise AssertionError(f"text after the document: {text[end:][:200]}")
    return value


def long_scenario(path, requests=2_000_000):
    """A scenario that runs far longer than any test waits."""
    scenario = {
        "version": 1,
        "cluster": {"node": "hgx-h100-8", "nodes": 1},
        "model": "llama-3.1-8b",
        "deployment": {"engine": "vllm", "pools": {"main": {"replicas": 8}}},
        "workload": {
            "arrival": {"process": "poisson", "rate": "20/s"},
            "lengths": {"input": {"distribution": "fixed", "tokens": 64}, "output": {"distribution": "fixed", "tokens": 64}},
            "stop": {"requests": requests},
        },
    }
    pathlib.Path(path).write_text(json.dumps(scenario), encoding="utf-8")
    return path


class ExitCodes(unittest.TestCase):
    def test_0_and_1_with_enforce_and_expect(self):
        moesim("run", SMALL, "-o", "e0", "--enforce", "--expect")
        missed = ["--set", 'slo=["ttft.p99 <= 1 ns"]']
        self.assertIn("SLO MISSED", moesim("run", SMALL, "-o", "e0", *missed).stdout)
        moesim("run", SMALL, "-o", "e0", *missed, "--enforce", code=1)
        moesim("run", SMALL, "-o", "e0", "--set", 'expect=["served <= 1"]', "--expect", code=1)
        asked = moesim("run", SMALL, "-o", "e0", "--unset", "slo", "--enforce", "--json")
        self.assertIn("--enforce has nothing to judge", asked.stderr)
        self.assertIsNone(one_document(asked.stdout)["slo_met"])
        document = one_document(moesim("run", SMALL, "-o", "e0", *missed, "--enforce", "--json", code=1).stdout)
        self.assertEqual(document["exit"], {"code": 1, "reason": "no"})

    def test_2_bad_input_leaves_nothing_behind(self):
        for arguments in (["run", SMALL, "--set", "modle=x"], ["run", SMALL, "--until", "5"], ["run", "missing.json"],
                          ["run", SMALL, "--set", 'slo=["no_such_metric <= 1 s"]'], ["run", SMALL, "-j", "0"],
                          ["run", SMALL, "--max-events", "many"], ["run"], ["run", SMALL, "--nope"]):
            result = moesim(*arguments, "-o", "never", code=2)
            self.assertIn("error:", result.stderr)
            self.assertEqual(result.stdout, "")
        self.assertFalse(os.path.exists("never"))

    def test_2_a_file_in_the_way_of_the_folder(self):
        pathlib.Path("in-the-way").write_text("mine", encoding="utf-8")
        moesim("run", SMALL, "-o", "in-the-way", code=2)
        self.assertEqual(pathlib.Path("in-the-way").read_text(encoding="utf-8"), "mine")

    def test_2_a_wrong_folder_is_told_before_the_run(self):
        long_scenario("hours.json")
        pathlib.Path("in-the-way").write_text("mine", encoding="utf-8")
        os.makedirs("blocked/results.json", exist_ok=True)
        for folder in ("in-the-way", "in-the-way/below", "/proc/foo", "blocked"):
            started = time.monotonic()
            result = moesim("run", "hours.json", "-o", folder, code=2)
            self.assertEqual(result.stdout, "")
            self.assertLess(time.monotonic() - started, 5)
        moesim("run", "hours.json", SMALL, "-o", "/proc/foo", code=2)

    def test_2_a_late_write_error_still_prints_the_answer(self):
        long_scenario("late.json")
        for form, has in (("text", "PARTIAL RESULTS"), ("json", '"metrics"')):
            process = subprocess.Popen([MOESIM, "run", "late.json", "-o", "late", "--max-wall", "1500ms", "--format", form],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
            time.sleep(0.7)
            os.rmdir("late")
            pathlib.Path("late").write_text("in the way", encoding="utf-8")
            out, err = process.communicate(timeout=60)
            os.remove("late")
            self.assertEqual(process.returncode, 2, err)
            self.assertIn(has, out)
            self.assertIn("error:", err)
            if form == "json":
                document = one_document(out)
                self.assertEqual((document["error"]["code"], document["exit"]["code"]), ("io", 2))

    def test_3_infeasible(self):
        arguments = ["estimate", "--model", "deepseek-v3", "--gpu", "h100-sxm"]
        self.assertIn("what would help", moesim(*arguments, code=3).stderr)
        document = one_document(moesim(*arguments, "--format", "json", code=3).stdout)
        self.assertEqual(document["error"]["code"], "infeasible")
        self.assertEqual(document["exit"], {"code": 3, "reason": "infeasible"})

    def test_3_too_few_gpus(self):
        arguments = ["run", SMALL, "-o", "few", "--set", "deployment.pools.main.replicas=9"]
        document = one_document(moesim(*arguments, "--json", code=3).stdout)
        self.assertEqual(document["error"]["code"], "too_few_gpus")
        self.assertEqual(document["exit"], {"code": 3, "reason": "infeasible"})
        # Together with a mistake in the text it is bad input.
        moesim(*arguments, "--set", 'slo=["ttft.p99 <= 1 parsec"]', code=2)

    def test_5_limits(self):
        long_scenario("limit.json")
        for limit, end in ((["--until", "3s"], "until"), (["--max-events", "10000"], "event_limit"),
                           (["--max-wall", "200ms"], "wall_limit")):
            result = moesim("run", "limit.json", "-o", "limit", *limit, code=5)
            self.assertIn("PARTIAL RESULTS", result.stdout)
            manifest = json.loads(pathlib.Path("limit/results.json").read_text(encoding="utf-8"))["manifest"]
            self.assertTrue(manifest["partial"])
            self.assertEqual(manifest["end"], end)
        # A limit that is not reached is none.
        moesim("run", SMALL, "-o", "limit", "--until", "1h")

    def test_the_gravest_of_several(self):
        pathlib.Path("big.json").write_text(
            moesim("estimate", "--model", "deepseek-v3", "--gpu", "h100-sxm", "--print-scenario").stdout, encoding="utf-8")
        result = moesim("run", SMALL, "big.json", "-o", "several", "--json", code=3)
        runs = one_document(result.stdout)["runs"]
        self.assertEqual(runs[0]["exit"]["code"], 0)
        self.assertEqual(runs[1]["error"]["code"], "infeasible")
        self.assertEqual(set(os.listdir("several/llama-3.1-8b-h100")), RESULT_FILES)
        self.assertFalse(os.path.exists("several/big"))


class Signals(unittest.TestCase):
    def stopped_by(self, number, folder):
        long_scenario(f"{folder}.json")
        process = subprocess.Popen([MOESIM, "run", f"{folder}.json", "-o", folder, "--json"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, env=environment())
        time.sleep(0.7)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + number, err)
        document = one_document(out)
        self.assertEqual(document["exit"]["code"], 128 + number)
        self.assertEqual(document["manifest"]["end"], "interrupted")
        self.assertTrue(document["manifest"]["partial"])
        self.assertEqual(set(os.listdir(folder)), RESULT_FILES)
        with open(f"{folder}/requests.csv", encoding="utf-8", newline="") as stream:
            statuses = {row["status"] for row in csv.DictReader(stream)}
        self.assertIn("unfinished", statuses)

    def test_interrupt(self):
        self.stopped_by(signal.SIGINT, "by-int")

    def test_terminate(self):
        self.stopped_by(signal.SIGTERM, "by-term")

    def test_a_closed_pipe_is_no_failure(self):
        process = subprocess.Popen([MOESIM, "describe", "metric", "--json"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=environment())
        process.stdout.close()
        with process.stderr:
            self.assertEqual((process.wait(timeout=60), process.stderr.read()), (0, b""))

    def test_a_full_disk_is_told(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([MOESIM, "describe", "gpu"], stdout=full, stderr=subprocess.PIPE, text=True,
                                    env=environment(), check=False)
        self.assertEqual(result.returncode, 2)
        self.assertIn("cannot write", result.stderr)


class Streams(unittest.TestCase):
    COMMANDS = (["run", SMALL, "-o", "streams"], ["estimate", "--model", "llama-3.1-8b", "--gpu", "h100-sxm", "--osl", "8"],
                ["validate", SMALL], ["explain", SMALL], ["schema", "gpu"], ["schema"], ["describe", "gpu", "h200-sxm"],
                ["describe", "hardware"], ["describe"], ["version"], ["init", "--list"], ["help", "exit-codes"])

    def test_one_document_and_no_escape_codes_under_a_pipe(self):
        for command in self.COMMANDS:
            result = moesim(*command, "--format", "json")
            self.assertIsInstance(one_document(result.stdout), dict)
            self.assertNotIn("\x1b", result.stdout + result.stderr)
            text = moesim(*command)
            self.assertNotIn("\x1b", text.stdout + text.stderr)

    def test_errors_are_one_document_too(self):
        for command in (["rnu"], ["run", "--nope"], ["run", "missing.json"], ["describe", "gpu", "h20o-sxm"], []):
            document = one_document(moesim(*command, "--json", code=2).stdout)
            self.assertEqual(document["exit"], {"code": 2, "reason": "bad_input"})
            self.assertTrue(document["error"]["code"] and document["error"]["message"])

    def test_csv(self):
        for command in (self.COMMANDS[0], self.COMMANDS[3], ["describe", "gpu"], ["validate", SMALL]):
            rows = list(csv.reader(io.StringIO(moesim(*command, "--format", "csv").stdout)))
            self.assertGreater(len(rows), 1)
            self.assertEqual({len(row) for row in rows}, {len(rows[0])})

    def test_colour_on_request_only(self):
        self.assertIn("\x1b", moesim("run", SMALL, "-o", "streams", "--color", "always").stdout)
        self.assertIn("\x1b", moesim("run", SMALL, "-o", "streams", env={"CLICOLOR_FORCE": "1"}).stdout)
        self.assertNotIn("\x1b", moesim("run", SMALL, "-o", "streams", "--color", "never", env={"CLICOLOR_FORCE": "1"}).stdout)

    def test_lines_are_at_most_100_wide(self):
        for command in (self.COMMANDS[0], ["run", "--help"], ["--help"], ["help", "units"], ["describe", "policy"],
                        ["describe", "scenario"], ["describe", "metric"], ["describe", "gpu"], ["describe", "node"]):
            for line in moesim(*command).stdout.splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_text_of_a_scenario_cannot_drive_the_terminal(self):
        evil = "\x1b]0;owned\x07\u009b31m"
        scenario = json.loads(pathlib.Path(SMALL).read_text(encoding="utf-8"))
        scenario["name"] = f"name{evil}"
        scenario["cluster"]["node"] = {"extends": "hgx-h100-8", "gpu": {"extends": "h100-sxm", "price": {"date": evil}}}
        pathlib.Path("evil.json").write_text(json.dumps(scenario), encoding="utf-8")
        shown = moesim("run", "evil.json", "-o", "evil")
        for sign in ("\x1b", "\x07", "\u009b"):
            self.assertNotIn(sign, shown.stdout + shown.stderr)
        self.assertIn("name?]0;owned??31m", shown.stdout)

    def test_quiet(self):
        self.assertEqual(moesim("run", SMALL, "-o", "streams", "-q").stderr, "")


class Terminal(unittest.TestCase):
    def on_terminal(self, columns, *arguments, env=None):
        """What a terminal of that width shows, standard output and standard error together."""
        import fcntl
        import pty
        import struct
        import termios

        try:
            ours, theirs = pty.openpty()
        except OSError as error:  # a chroot without /dev/pts
            self.skipTest(f"no pseudo-terminal: {error}")
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        process = subprocess.Popen([MOESIM, *arguments], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                                   env=environment(**{"TERM": "xterm", "LC_ALL": "C", **(env or {})}))
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # the other end was closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        self.assertEqual(process.wait(timeout=60), 0)
        return shown.decode()

    def test_colour_and_bars_within_the_width(self):
        for columns in (60, 80, 120):
            text = self.on_terminal(columns, "run", SMALL, "-o", "tty", "-q", "--progress", "never")
            self.assertIn("\x1b[", text)
            self.assertEqual("[####" in text, columns >= 80)
            for line in re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "").split("\n"):
                self.assertLessEqual(len(line), columns)

    def test_lists_fit_and_say_what_is_left_out(self):
        for columns in (60, 80, 120):
            for kind in ("gpu", "model", "node", "fabric", "engine"):
                text = self.on_terminal(columns, "describe", kind, "--color", "never").replace("\r", "")
                for line in text.split("\n"):
                    self.assertLessEqual(len(line), columns, line)
                if kind in ("gpu", "model"):
                    self.assertEqual("left out for want of width" in text, columns < 100, text)

    def test_no_escape_codes_where_they_are_not_wanted(self):
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn("\x1b", self.on_terminal(80, "run", SMALL, "-o", "tty", env=env))


class DidYouMean(unittest.TestCase):
    def test_suggestions(self):
        for arguments, meant in ((["rnu"], "run"), (["valdate", "x"], "validate"), (["run", "--sede", "3", SMALL], "--seed"),
                                 (["run", SMALL, "--enforc"], "--enforce"), ([SMALL], "moesim run"),
                                 (["describe", "modle"], "model"), (["describe", "model", "deepsek-v3"], "deepseek-v3"),
                                 (["help", "exit-code"], "exit-codes"), (["init", "chatt"], "chat"),
                                 (["schema", "scenaro"], "scenario"), (["run", SMALL[:-6] + ".json"], "llama-3.1-8b-h100"),
                                 (["explain", SMALL, "cluster.nod"], "node"),
                                 (["run", SMALL, "--set", "deployment.pool.main.tp=2"], "pools")):
            self.assertIn(meant, moesim(*arguments, code=2).stderr, arguments)


class Layers(unittest.TestCase):
    def origin(self, path, *arguments, env=None):
        document = one_document(moesim("explain", SMALL, path, "--json", *arguments, env=env).stdout)
        (value,) = document["values"]
        return value["value"], value["origin"], value.get("source", "")

    def test_each_layer_is_stronger_than_the_one_before(self):
        pathlib.Path("patch.json").write_text('{"seed": 11, "kv": {"block_tokens": 32}}', encoding="utf-8")
        self.assertEqual(self.origin("fidelity")[:2], ("step", "default"))
        self.assertEqual(self.origin("cluster.node.gpus")[:2], (8, "catalogue"))
        self.assertEqual(self.origin("seed")[:2], (1, "file"))
        self.assertEqual(self.origin("seed", "--merge", "patch.json"), (11, "merge", "patch.json"))
        env = {"MOESIM_SET_seed": "12", "MOESIM_SET_deployment__pools__main__replicas": "2"}
        self.assertEqual(self.origin("seed", "--merge", "patch.json", env=env), (12, "environment", "MOESIM_SET_seed"))
        self.assertEqual(self.origin("deployment.pools.main.replicas", env=env)[:2], (2, "environment"))
        self.assertEqual(self.origin("seed", "--set", "seed=13", env=env), (13, "command line", "--set seed=13"))
        self.assertEqual(self.origin("seed", "--seed", "14", env=env)[:2], (14, "command line"))
        self.assertEqual(self.origin("kv.block_tokens", "--merge", "patch.json")[:2], (32, "merge"))
        self.assertEqual(self.origin("seed", "--unset", "seed")[:2], (1, "default"))

    def test_flags_count_in_the_order_given(self):
        self.assertEqual(self.origin("seed", "--set", "seed=5", "--unset", "seed")[:2], (1, "default"))
        self.assertEqual(self.origin("seed", "--unset", "seed", "--set", "seed=5")[:2], (5, "command line"))

    def test_text_names_file_and_line(self):
        self.assertRegex(moesim("explain", SMALL, "seed").stdout, r"seed +1 .*llama-3.1-8b-h100.json:\d+")

    def test_the_seed_reaches_the_run(self):
        document = one_document(moesim("run", SMALL, "-o", "layers", "--seed", "99", "--json").stdout)
        self.assertEqual(document["manifest"]["seed"], 99)

    def test_config_path_goes_first_and_c_changes_the_folder(self):
        os.makedirs("overlay/models/zoo", exist_ok=True)
        zoo = (SOURCE / "models/zoo/llama-3.1-8b.json").read_text(encoding="utf-8")
        pathlib.Path("overlay/models/zoo/llama-3.1-8b.json").write_text(zoo.replace("Llama 3.1 8B", "Overlay 8B"), encoding="utf-8")
        self.assertIn("Overlay 8B", moesim("run", SMALL, "-o", "layers", "--config-path", "overlay").stdout)
        self.assertIn("Overlay 8B", moesim("-C", "overlay", "--config-path", ".", "run", SMALL, "-o", "out").stdout)
        self.assertEqual(set(os.listdir("overlay/out")), RESULT_FILES)


class Results(unittest.TestCase):
    def test_same_bytes_again_elsewhere_and_with_any_j(self):
        names = ["mixtral-tp2", "qwen3-30b-a3b-ep4"]
        files = [str(SCENARIOS / f"{name}.json") for name in names]
        first = moesim("run", *files, "-o", "a", "--json", "--hash", "-j", "1").stdout
        os.makedirs("elsewhere", exist_ok=True)
        second = moesim("-C", "elsewhere", "run", *files, "-o", "b", "--json", "--hash", "-j", "2").stdout
        slow = moesim("run", *files, "-o", "c", "--json", "--hash", "--no-memo", "--no-fold").stdout
        self.assertEqual(first, second)
        self.assertEqual(first, slow)
        for run, name in zip(one_document(first)["runs"], names):
            for file in run["files"]:
                data = pathlib.Path("a", name, file["name"]).read_bytes()
                self.assertEqual(hashlib.sha256(data).hexdigest(), file["sha256"])
            text = pathlib.Path("a", name, "results.json").read_text(encoding="utf-8")
            self.assertNotIn(str(SOURCE), text)
            self.assertNotIn(os.getcwd(), text)

    def test_rows_and_metrics_agree(self):
        document = one_document(moesim("run", SMALL, "-o", "rows", "--json").stdout)
        on_disk = json.loads(pathlib.Path("rows/results.json").read_text(encoding="utf-8"))
        del document["exit"]
        self.assertEqual(document, on_disk)
        with open("rows/requests.csv", encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        served = [row for row in rows if row["status"] == "served" and row["warmup"] == "0"]
        metrics = document["metrics"]
        self.assertEqual(len(served), metrics["served"]["value"])
        mean = sum(float(row["ttft_s"]) for row in served) / len(served)
        self.assertAlmostEqual(mean, metrics["ttft.mean"]["value"], places=9)
        self.assertEqual(metrics["ttft.mean"]["n"], len(served))
        for row in served:
            parts = float(row["ttft_s"]) + float(row["tpot_s"]) * (int(row["generated_tokens"]) - 1)
            self.assertAlmostEqual(parts, float(row["e2e_s"]), places=9)
        self.assertTrue(all(check["held"] for check in document["checks"]))
        self.assertAlmostEqual(sum(document["source_shares"].values()), 1.0, places=9)
        steps = document["step_time"]
        self.assertAlmostEqual(sum(steps["by_part_s"].values()), steps["total_s"], places=6)
        self.assertAlmostEqual(sum(steps["by_resource_s"].values()), steps["total_s"], places=6)

    def test_run_info_has_what_results_must_not(self):
        moesim("run", SMALL, "-o", "info")
        info = json.loads(pathlib.Path("info/run_info.json").read_text(encoding="utf-8"))
        self.assertGreater(info["wall_s"], 0)
        self.assertEqual(info["scenario_path"], SMALL)
        self.assertEqual(info["arguments"], ["run", SMALL, "-o", "info"])
        self.assertIn(SMALL, info["files"])

    def test_two_scenarios_of_one_name(self):
        os.makedirs("twin", exist_ok=True)
        long_scenario("twin.json", 20)
        long_scenario("twin/twin.json", 20)
        moesim("run", "twin.json", "twin/twin.json", "-o", "twins")
        self.assertEqual(set(os.listdir("twins")), {"twin", "twin-2"})

    def test_every_format_calls_the_run_by_its_name(self):
        named = ["run", SMALL, "-o", "named", "--set", "name=one name"]
        self.assertEqual(one_document(moesim(*named, "--json").stdout)["manifest"]["scenario"], "one name")
        rows = list(csv.DictReader(io.StringIO(moesim(*named, "--format", "csv").stdout)))
        self.assertEqual({row["scenario"] for row in rows}, {"one name"})
        self.assertTrue(moesim(*named).stdout.startswith("one name: "))

    def test_default_folder(self):
        moesim("run", SMALL)
        self.assertEqual(set(os.listdir("out/llama-3.1-8b-h100")), RESULT_FILES)


class OtherCommands(unittest.TestCase):
    def test_templates_validate_and_run(self):
        for name in one_document(moesim("init", "--list", "--json").stdout)["templates"]:
            moesim("init", name, "-o", f"{name}.json")
            moesim("init", name, "-o", f"{name}.json", code=2)
            moesim("init", name, "-o", f"{name}.json", "--force")
            moesim("validate", "--strict", f"{name}.json")
            moesim("run", f"{name}.json", "-o", f"out-{name}", "--until", "2s", code=5)

    def test_estimate_prints_the_scenario_that_it_runs(self):
        arguments = ["--model", "qwen3-30b-a3b", "--gpu", "h100-sxm", "--tp", "2", "--ep", "2", "--isl", "128", "--osl", "16",
                     "--concurrency", "4", "--length-ratio", "0.8"]
        text = moesim("estimate", *arguments, "--print-scenario").stdout
        pathlib.Path("estimate.json").write_text(text, encoding="utf-8")
        moesim("validate", "estimate.json")
        printed = one_document(moesim("run", "estimate.json", "-o", "est", "--json").stdout)
        direct = one_document(moesim("estimate", *arguments, "--json").stdout)
        self.assertEqual(printed["metrics"], direct["metrics"])
        self.assertEqual(printed["metrics"]["served"]["value"], 40)

    def test_the_printed_scenario_has_the_overrides(self):
        arguments = ["estimate", "--model", "llama-3.1-8b", "--gpu", "h100-sxm", "--osl", "8"]
        pathlib.Path("estimate-patch.json").write_text('{"kv": {"block_tokens": 32}}', encoding="utf-8")
        text = moesim(*arguments, "--print-scenario", "--set", "deployment.pools.main.replicas=2", "--seed", "5",
                      "--unset", "description", "--merge", "estimate-patch.json",
                      env={"MOESIM_SET_prices__gpu_hour": "1 USD"}).stdout
        scenario = one_document(text)
        self.assertEqual(scenario["deployment"]["pools"]["main"]["replicas"], 2)
        self.assertEqual((scenario["seed"], scenario["kv"]["block_tokens"]), (5, 32))
        self.assertEqual(scenario["prices"]["gpu_hour"], "1 USD")
        self.assertNotIn("description", scenario)
        for flags in (["-o", "never"], ["--enforce"], ["--until", "5s"], ["--hash"]):
            self.assertIn("--print-scenario", moesim(*arguments, "--print-scenario", *flags, code=2).stderr)
        self.assertFalse(os.path.exists("never"))

    def test_schemas(self):
        moesim("schema", "--all", "-o", "schemas")
        names = one_document(moesim("schema", "--json").stdout)["schemas"]
        for name in names:
            on_disk = json.loads(pathlib.Path(f"schemas/{name}.v1.schema.json").read_text(encoding="utf-8"))
            self.assertEqual(on_disk, one_document(moesim("schema", name).stdout))

    def test_validate_reports_every_file(self):
        pathlib.Path("bad.json").write_text('{"version": 1,\n "modle": 3}\n', encoding="utf-8")
        document = one_document(moesim("validate", SMALL, "bad.json", "--json", code=2).stdout)
        self.assertEqual([len(entry["errors"]) > 0 for entry in document["files"]], [False, True])
        error = next(e for e in document["files"][1]["errors"] if e["code"] == "unknown_key")
        self.assertEqual((error["line"], error["column"], error["pointer"], error["suggestion"], error["level"]),
                         (2, 2, "/modle", "model", "schema"))
        moesim("validate", "--strict", SMALL, code=2)  # seven GPUs are idle
        gpu = str(SOURCE / "hw_configs/gpus/h200-sxm.json")
        self.assertEqual(one_document(moesim("validate", gpu, "--json").stdout)["files"][0]["kind"], "gpu")
        moesim("validate", gpu, "--as", "node", code=2)

    def test_a_model_that_does_not_fit_is_a_warning(self):
        text = moesim("estimate", "--model", "deepseek-v3", "--gpu", "h100-sxm", "--print-scenario").stdout
        pathlib.Path("unfit.json").write_text(text, encoding="utf-8")
        document = one_document(moesim("validate", "unfit.json", "--json").stdout)
        self.assertIn("does_not_fit", [warning["code"] for warning in document["files"][0]["warnings"]])

    def test_model_numbers_for_scripts(self):
        document = one_document(moesim("describe", "model", "deepseek-v3", "--format", "json").stdout)
        self.assertEqual(document["parameters"]["total"], 671026419200)
        for key in ("active", "active_without_embeddings"):
            self.assertGreater(document["parameters"][key], 0)
        self.assertEqual(document["kv_bytes_per_token"], 70272)

    def test_a_config_of_the_hub_is_a_model(self):
        folder = pathlib.Path("new-model")
        folder.mkdir()
        config = {"model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "head_dim": 16, "intermediate_size": 96, "vocab_size": 1000, "max_position_embeddings": 8192,
                  "frob": 1, "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
        path = folder / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        result = moesim("describe", "model", path, "--format", "json")
        total = 2 * 1000 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 96 + 2 * 64 + 2 * 16) + 64
        self.assertEqual(one_document(result.stdout)["parameters"]["total"], total)
        self.assertIn('the field "frob" of the configuration is not known', result.stderr)
        self.assertNotIn("warning", moesim("describe", "model", path, "-q").stderr)
        text = moesim("estimate", "--model", path, "--gpu", "h100-sxm", "--print-scenario").stdout
        self.assertEqual(json.loads(text)["deployment"]["formats"]["weights"], "fp8_block")
        self.assertIn("new-model", moesim("estimate", "--model", path, "--gpu", "h100-sxm").stdout)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]], verbosity=1)
