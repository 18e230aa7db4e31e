#!/usr/bin/env python3
"""The harness for real GPUs (tools/gpu) without a GPU and without PyTorch: tables, statistics, routing, resuming.

Which kernels it launches is not tested here: that needs a GPU.
"""
import contextlib
import csv
import io
import json
import math
import pathlib
import random
import re
import types
import unittest

from gpu_harness import FAMILIES, MEASURED, OWN, PROGRAMS, SHARED, TOOLS, program, rows_of

import csv_table
import harness
import routing
import timing


class Columns(unittest.TestCase):
    def test_every_family_writes_the_columns_of_its_table(self):
        known = {**SHARED, **OWN}
        self.assertEqual({family.name for family in FAMILIES.values()}, set(known))
        for name in PROGRAMS:
            with self.subTest(name):
                table = program(name, "--dry-run").stdout
                self.assertEqual(table.split("\n", 1)[0], known[FAMILIES[name].name])

    @unittest.skipUnless(MEASURED.is_dir(), f"no data in {MEASURED}")
    def test_the_list_above_is_that_of_the_shared_tables(self):
        for name, columns in SHARED.items():
            with (MEASURED / f"{name}.csv").open(encoding="utf-8") as file:
                self.assertEqual(file.readline().rstrip("\n"), columns)

    def test_dry_rows_are_whole_shapes_without_times(self):
        for name in PROGRAMS:
            for size in ("small", "full"):
                with self.subTest(f"{name} {size}"):
                    family = FAMILIES[name]
                    shapes = [shape for shape in family.shapes(size == "full")
                              if all(shape[column] in values for column, values in family.usual.items())]
                    out = io.StringIO()
                    with contextlib.redirect_stdout(out):
                        self.assertEqual(harness.main(FAMILIES[name], ["--dry-run", "--shapes", size]), 0)
                    rows = rows_of(out.getvalue())
                    self.assertEqual(len(rows), len(shapes))
                    self.assertEqual(len({tuple(row.values()) for row in rows}), len(rows))
                    for row in rows:
                        self.assertEqual((row["kernel"], row["latency_us"]), ("dry_run", ""))
                        self.assertNotIn(None, row.values())
                        for column in set(row) & {"m", "n", "k", "tokens", "batch", "q_heads", "bytes", "nodes"}:
                            self.assertGreater(int(row[column]), 0)

    @unittest.skipUnless(MEASURED.is_dir(), f"no data in {MEASURED}")
    def test_words_of_shapes_are_those_of_the_shared_tables(self):
        for name in PROGRAMS:
            family = FAMILIES[name]
            if family.name not in SHARED:
                continue
            with (MEASURED / f"{family.name}.csv").open(encoding="utf-8") as file:
                known = [row for number, row in enumerate(csv.DictReader(file)) if number % 7 == 0]
            for column in set(family.columns) & {"dtype", "attn_dtype", "kv_dtype", "alpha", "slow_tactic"}:
                written = {str(shape[column]) for shape in family.shapes(True)}
                self.assertLessEqual(written, {row[column] for row in known} | {"bfloat16"}, (name, column))
            for shape in family.shapes(True):
                self.assertEqual(tuple(shape), family.columns)

    @unittest.skipUnless(MEASURED.is_dir(), f"no data in {MEASURED}")
    def test_the_reader_takes_a_shared_table_and_writes_it_again(self):
        table = csv_table.Table(MEASURED / "quantize.csv", SHARED["quantize"].split(",")[4:-1])
        table.read()
        lines = table.path.read_text(encoding="utf-8").splitlines()
        self.assertEqual(len(table), len(lines) - 1)
        copy = io.StringIO()
        table.write_to(copy)
        self.assertEqual(sorted(copy.getvalue().splitlines()), sorted(lines))
        for row in table.rows():
            time = float(row["latency_us"])
            self.assertEqual(float(csv_table.microseconds(time)), time)

    def test_operations_that_moesim_does_not_read_are_left_out_unless_asked_for(self):
        usual = rows_of(program("elementwise", "--dry-run").stdout)
        self.assertEqual({row["op"] for row in usual}, {"scale_matrix", "computescale"})
        asked = rows_of(program("elementwise", "--dry-run", "--only", "op=rms_norm", "--only", "op=silu_mul").stdout)
        self.assertEqual({row["op"] for row in asked}, {"rms_norm", "silu_mul"})
        self.assertIn("add_rms_norm, rms_norm, silu_mul", program("elementwise", "--help").stdout)

    def test_shapes_make_sense(self):
        for shape in FAMILIES["moe"].shapes(True):
            self.assertEqual(shape["experts"] % shape["ep"], 0)
            self.assertEqual(shape["inter"] % shape["tp"], 0)
        for name in ("attention_prefill", "attention_decode"):
            for shape in FAMILIES[name].shapes(True):
                self.assertEqual(shape["q_heads"] % shape["kv_heads"], 0)
                self.assertLess(shape["window"], shape.get("seq_len", shape.get("kv_len")))
        for shape in FAMILIES["bandwidth"].shapes(True):
            turns = shape["bytes"] // (2 if shape["op"] == "copy" else 1) / shape["bytes_in_flight"]
            self.assertEqual(turns, int(turns), shape)
            self.assertGreater(turns, 0)
            self.assertEqual(shape["bytes_in_flight"], 16 * 256 * shape["unroll"] * shape["blocks"])

    def test_kernels_that_are_launched_exist(self):
        source = (TOOLS / "kernels.cu").read_text(encoding="utf-8")
        defined = set(re.findall(r"__global__ void (\w+)\(", source))
        named = set()
        for file in TOOLS.glob("*.py"):
            text = file.read_text(encoding="utf-8")
            for call in (r"kernels\.get\(\"(\w+)\"", r"row_kernel\(bench, \"(\w+)\""):
                named |= set(re.findall(call, text))
        named |= {shape["op"] + "_bytes" for shape in FAMILIES["bandwidth"].shapes(True)}
        self.assertEqual(named | {"nothing"}, defined)


class Statistics(unittest.TestCase):
    def test_times_have_five_digits_and_no_exponent(self):
        for value, text in ((2.47731, "2.4773"), (123456.7, "123460"), (0.000123456, "0.00012346"), (9.99999, "10.000"),
                            (42.0, "42")):
            self.assertEqual(float(csv_table.microseconds(value)), float(text))
            self.assertNotIn("e", csv_table.microseconds(value).lower())
        for value in (0, -1, math.nan, math.inf):
            with self.assertRaises(ValueError):
                csv_table.microseconds(value)

    def test_summary(self):
        result = timing.summary([10.0, 12.0, 11.0])
        self.assertEqual((result.microseconds, result.rounds, result.eager), (11.0, 3, False))
        self.assertAlmostEqual(result.spread, 2 / 11)
        # One interrupted round does not move a median.
        self.assertEqual(timing.summary([10.0, 10.0, 500.0, 10.0, 10.0]).microseconds, 10.0)
        for samples in ([], [0.0], [-1.0, -2.0, 3.0], [math.nan]):
            with self.assertRaises(timing.MeasureError):
                timing.summary(samples)

    def test_mean_and_difference(self):
        one, two = timing.Measurement(10, 0.1, 7), timing.Measurement(30, 0.2, 7, True)
        mean = timing.mean_of([one, two, timing.Measurement(80, 0.05, 7)])
        self.assertEqual((mean.microseconds, mean.spread, mean.rounds, mean.eager), (40, 0.2, 21, True))
        with self.assertRaises(timing.MeasureError):
            timing.mean_of([])
        left = timing.difference(two, one)
        self.assertEqual((left.microseconds, left.eager), (20, True))
        self.assertAlmostEqual(left.spread, (0.2 * 30 + 0.1 * 10) / 20)
        with self.assertRaisesRegex(timing.MeasureError, "noise hides it"):
            timing.difference(one, two)

    def test_cold_operands(self):
        mib = 2**20
        # Between two uses of a set at least twice L2 passes.
        generator = random.Random(7)
        for _ in range(300):
            touched = 2 ** generator.uniform(8, 34)
            allocated = touched * generator.uniform(1, 4)
            l2, free = 2 ** generator.uniform(22, 27.5), 2 ** generator.uniform(33, 37)
            plan = timing.make_plan(touched, allocated, l2, free)
            self.assertTrue(1 <= plan.sets <= timing.MAX_SETS)
            self.assertTrue(plan.flush or (plan.sets - 1) * touched >= 2 * l2)
            self.assertTrue(plan.sets == 1 or plan.sets * allocated <= free / 2)
            copies = timing.copies_for(2 ** generator.uniform(0, 20), plan)
            self.assertEqual(copies % plan.sets, 0)
            if plan.flush:
                self.assertEqual((copies, timing.replays_for(1, copies, plan)), (plan.sets, 1))
        self.assertEqual(timing.make_plan(200 * mib, 200 * mib, 50 * mib, 2**36), timing.Plan(2, False))
        self.assertEqual(timing.make_plan(50 * mib, 50 * mib, 50 * mib, 2**36), timing.Plan(3, False))
        self.assertEqual(timing.make_plan(2**12, 2**12, 50 * mib, 2**36), timing.Plan(32, True))
        self.assertEqual(timing.make_plan(2**34, 2**34, 50 * mib, 2**34), timing.Plan(1, True))
        # Few of the experts are touched.
        self.assertEqual(timing.make_plan(10 * mib, 2**30, 50 * mib, 2**36).sets, 11)

    def test_warm_or_nothing_cold(self):
        for plan in (timing.make_plan(2**30, 2**30, 2**26, 2**36, warm=True), timing.make_plan(0, 0, 2**26, 2**36)):
            self.assertEqual(plan, timing.Plan(1, False))

    def test_rounds_are_long_enough(self):
        free = timing.Plan(1, False)
        for estimate in (0.5, 3.0, 80.0, 5000.0, 2e6):
            copies = timing.copies_for(estimate, free)
            replays = timing.replays_for(estimate, copies, free)
            self.assertTrue(1 <= copies <= timing.MAX_COPIES and 1 <= replays <= timing.MAX_REPLAYS)
            self.assertGreaterEqual(estimate * copies * replays, min(1500, estimate * 64 * 50))
        self.assertEqual(timing.rounds_for(10, 7, free), 7)
        self.assertEqual(timing.rounds_for(10, 7, timing.Plan(4, True)), 21)
        self.assertEqual(timing.rounds_for(2e5, 7, free), 3)


class Routing(unittest.TestCase):
    def test_rows_are_conserved_and_the_busiest_rank_is_first(self):
        for tokens, topk, experts, ep in ((1, 8, 128, 8), (1, 8, 8, 1), (2, 8, 8, 1), (16, 2, 8, 8), (100, 8, 256, 32),
                                          (4096, 1, 16, 4)):
            for alpha in (0.0, 1.01, 1.2):
                for seed in range(3):
                    rows = routing.expert_rows(tokens, topk, experts, ep, alpha, seed)
                    self.assertEqual((len(rows), sum(rows)), (experts, tokens * topk))
                    self.assertTrue(all(0 <= count <= tokens for count in rows))
                    size = experts // ep
                    loads = [sum(rows[at:at + size]) for at in range(0, experts, size)]
                    self.assertEqual(loads[0], max(loads))
                    chosen = routing.assignment(rows, tokens, topk)
                    self.assertTrue(all(len(set(one)) == topk for one in chosen))
                    self.assertEqual([sum(one.count(e) for one in chosen) for e in range(experts)], rows)
        self.assertEqual(set(routing.expert_rows(64, 8, 128, 8, 0.0, 0)), {4})
        # One token with 8 choices meets 8 ranks, not the first one 8 times.
        few = routing.expert_rows(1, 8, 128, 8, 0.0, 0)
        self.assertEqual([sum(few[at:at + 16]) for at in range(0, 128, 16)], [1] * 8)
        few = routing.expert_rows(4, 8, 128, 32, 0.0, 0)
        self.assertEqual([sum(few[at:at + 4]) for at in range(0, 128, 4)], [1] * 32)
        self.assertGreater(max(routing.expert_rows(1024, 8, 128, 1, 1.2, 0)), 4 * 64)
        self.assertNotEqual(routing.expert_rows(64, 8, 128, 8, 1.2, 0), routing.expert_rows(64, 8, 128, 8, 1.2, 1))
        self.assertEqual(routing.expert_rows(64, 8, 128, 8, 1.2, 3), routing.expert_rows(64, 8, 128, 8, 1.2, 3))

    def test_the_power_law_has_its_median(self):
        generator = random.Random(3)
        for alpha in (1.01, 1.2):
            drawn = sorted(routing.power_law(generator, alpha, 1.0, 800.0) for _ in range(20001))
            self.assertTrue(1 <= drawn[0] and drawn[-1] <= 800)
            power = 1 - alpha
            middle = ((1 + 800**power) / 2) ** (1 / power)
            self.assertAlmostEqual(drawn[10000] / middle, 1, delta=0.1)


class FakeBench:
    """What a session asks of the machine."""

    name, rounds, warm = "NVIDIA H200", 7, False
    torch = types.SimpleNamespace(__version__="2.9.1")
    alive = True

    def release(self):
        if not self.alive:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")


class FakePath(harness.Path):
    def __init__(self, label, outcome, refuses=""):
        self.label, self.outcome, self.reason, self.calls = label, outcome, refuses, 0

    def refuses(self, bench, shape):
        return self.reason

    def measure(self, bench, shape):
        self.calls += 1
        result = self.outcome(shape) if callable(self.outcome) else self.outcome
        if isinstance(result, Exception):
            raise result
        return result


SHAPES = [{"op": "x", "nodes": nodes} for nodes in (1, 2, 3, 4)]


def session(out, *paths, arguments=(), bench=None, clock=None):
    family = harness.Family("launch", "s", ("op", "nodes"), lambda full: SHAPES, paths)
    options = harness.parser_of(family).parse_args(["--out", out, *arguments])
    table = csv_table.Table(out, family.columns)
    table.read()
    made = harness.Session(family, options, bench or FakeBench(), harness.Record(out), table,
                           **({"clock": clock} if clock else {}))
    made.lines = []
    made.say = made.lines.append
    return made


def finish(made, shapes=tuple(SHAPES)):
    code = made.go(shapes)
    made.save()
    return code


class Resuming(unittest.TestCase):
    def setUp(self):
        for file in pathlib.Path().glob("rows*"):
            file.unlink()

    def rows(self):
        return rows_of(pathlib.Path("rows.csv").read_text(encoding="utf-8"))

    def test_rows_that_are_there_are_not_measured_again(self):
        path = FakePath("a", timing.Measurement(12.3456, 0.02, 7))
        self.assertEqual(finish(session("rows.csv", path), SHAPES[:2]), 0)
        self.assertEqual(path.calls, 2)
        made = session("rows.csv", path)
        self.assertEqual(finish(made), 0)
        self.assertEqual((path.calls, made.measured, made.kept), (4, 2, 2))
        self.assertEqual(self.rows()[0], {"system": "h200_sxm", "backend": "torch", "version": "2.9.1", "kernel": "a",
                                          "op": "x", "nodes": "1", "latency_us": "12.346"})
        self.assertEqual([row["nodes"] for row in self.rows()], ["1", "2", "3", "4"])

    def test_eager_rows_are_marked_and_kept(self):
        path = FakePath("a", timing.Measurement(1, 0, 7, True))
        finish(session("rows.csv", path))
        finish(session("rows.csv", path))
        self.assertEqual(path.calls, 4)
        self.assertEqual({row["kernel"] for row in self.rows()}, {"a_eager"})

    def test_warm_rows_are_others(self):
        path = FakePath("a", timing.Measurement(1, 0, 7))
        finish(session("rows.csv", path))
        warm = FakeBench()
        warm.warm = True
        finish(session("rows.csv", path, bench=warm))
        self.assertEqual(path.calls, 8)
        self.assertEqual({row["kernel"] for row in self.rows()}, {"a", "a_warm"})

    def test_a_failed_shape_goes_to_the_next_path_and_is_remembered(self):
        bad = FakePath("bad", lambda shape: RuntimeError("no kernel\nlong story") if shape["nodes"] == 2
                       else timing.Measurement(5, 0, 7))
        good = FakePath("good", timing.Measurement(9, 0, 7))
        self.assertEqual(finish(session("rows.csv", bad, good)), 0)
        self.assertEqual([row["kernel"] for row in self.rows()], ["bad", "bad", "bad", "good"])
        record = json.loads(pathlib.Path("rows.run.json").read_text(encoding="utf-8"))
        self.assertEqual(record["runs"][0]["failed"], {"bad op=x nodes=2": "no kernel"})
        finish(session("rows.csv", bad, good))
        self.assertEqual((bad.calls, good.calls), (4, 1))
        finish(session("rows.csv", bad, good, arguments=["--retry"]))
        self.assertEqual((bad.calls, good.calls), (5, 1))
        self.assertEqual(len(json.loads(pathlib.Path("rows.run.json").read_text(encoding="utf-8"))["runs"]), 3)

    def test_nothing_measured_is_exit_1(self):
        made = session("rows.csv", FakePath("a", timing.MeasureError("too noisy")))
        self.assertEqual(finish(made), 1)
        self.assertFalse(pathlib.Path("rows.csv").exists())
        self.assertIn("too noisy", "\n".join(made.lines))
        refused = session("rows.csv", FakePath("a", None, refuses="the GPU has no fp8"))
        self.assertEqual(finish(refused), 1)
        self.assertIn("no path (a: the GPU has no fp8)", refused.lines[0])

    def test_a_time_of_zero_is_a_failure(self):
        made = session("rows.csv", FakePath("a", timing.Measurement(0, 0, 7)))
        self.assertEqual((finish(made), made.measured), (1, 0))

    def test_a_dead_gpu_stops_the_run_and_what_was_measured_stays(self):
        bench = FakeBench()

        def outcome(shape):
            if shape["nodes"] < 3:
                return timing.Measurement(5, 0, 7)
            bench.alive = False
            return RuntimeError("CUDA error: an illegal memory access was encountered")

        path = FakePath("a", outcome)
        made = session("rows.csv", path, bench=bench)
        self.assertEqual(finish(made), 1)
        self.assertEqual((path.calls, len(self.rows())), (3, 2))
        self.assertIn("stopping", "\n".join(made.lines))
        # The next run goes round the shape.
        path.outcome = timing.Measurement(5, 0, 7)
        self.assertEqual(finish(session("rows.csv", path)), 0)
        self.assertEqual([row["nodes"] for row in self.rows()], ["1", "2", "4"])

    def test_the_budget_ends_a_run(self):
        ticks = iter(range(0, 1000, 4))
        path = FakePath("a", timing.Measurement(5, 0, 7))
        made = session("rows.csv", path, arguments=["--budget", "25"], clock=lambda: next(ticks))
        self.assertEqual(finish(made), 0)
        self.assertTrue(0 < path.calls < 4, path.calls)
        self.assertIn("the budget of 25 s is spent", "\n".join(made.lines))

    def test_only_one_path(self):
        first, second = FakePath("a", timing.Measurement(5, 0, 7)), FakePath("b", timing.Measurement(6, 0, 7))
        finish(session("rows.csv", first, second, arguments=["--path", "b"]))
        self.assertEqual((first.calls, second.calls), (0, 4))

    def test_a_dry_run_is_replaced_by_times(self):
        program("launch", "--dry-run", "--out", "rows.csv")
        table = csv_table.Table("rows.csv", ("op", "nodes"))
        table.read()
        self.assertEqual(len(table), 0)
        finish(session("rows.csv", FakePath("a", timing.Measurement(5, 0, 7))))
        self.assertEqual({row["kernel"] for row in self.rows()}, {"a"})
        refused = program("launch", "--dry-run", "--out", "rows.csv", code=2)
        self.assertIn("holds 4 measured rows: a dry run does not replace them", refused.stderr)
        self.assertEqual(len(self.rows()), 4)

    def test_a_writer_that_fails_leaves_the_old_file(self):
        file = pathlib.Path("rows.csv")
        file.write_text("old", encoding="utf-8")

        def half(out):
            out.write("half")
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            csv_table.write_atomically(file, half)
        self.assertEqual(file.read_text(encoding="utf-8"), "old")
        self.assertEqual(list(pathlib.Path().glob("*.tmp")), [])


if __name__ == "__main__":
    unittest.main()
