"""What all families share: the command line, the loop over shapes with its budget, resuming, and the run record.

A family gives its columns, its shapes and its paths (ways to run a shape). The harness chooses for each shape the
first path that takes it, measures, and writes the table after every few rows.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import random
import sys
import time

import csv_table
import cuda_kernels
import gpu_device
import timing

BACKEND = "torch"
SAVE_EVERY_S = 5.0
# What PyTorch, our kernels and the statistics raise for a shape that cannot be measured.
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, timing.MeasureError, cuda_kernels.KernelError)
DRY = {"system": "unknown", "backend": BACKEND, "version": "none", "kernel": "dry_run"}


class UsageError(Exception):
    """Bad arguments or files; exit code 2."""


class Path:
    """One way to run the shapes of a family. Its label is the start of the kernel column."""

    label = ""

    def refuses(self, bench, shape):
        """Why this path cannot run the shape here; "" if it can."""
        return ""

    def measure(self, bench, shape):
        """The Measurement of the shape. Raises timing.MeasureError, RuntimeError (PyTorch), KernelError."""
        raise NotImplementedError


class GraphPath(Path):
    """A path that is timed by graph replays over sets of cold operands."""

    def cold_bytes(self, bench, shape):
        """(touched, allocated) bytes of one set of cold operands; (0, 0) where nothing is cold."""
        return 0, 0

    def build(self, bench, shape, sets):
        """One function without arguments per set, each of which runs the operator once."""
        raise NotImplementedError

    def measure(self, bench, shape):
        plan = timing.make_plan(*self.cold_bytes(bench, shape), bench.l2_bytes, bench.free_bytes(), bench.warm)
        return timing.time_calls(bench, self.build(bench, shape, plan.sets), plan)


@dataclasses.dataclass(frozen=True)
class Family:
    name: str        # that of the table without .csv
    sentence: str    # what a row is
    columns: tuple   # the shape, in the order of the table
    shapes: object   # shapes(full) -> list of dicts with these columns
    paths: tuple     # in order of preference
    # Values of columns that are left out unless --only asks for them: {column: values that are not}.
    usual: dict = dataclasses.field(default_factory=dict)


def usual_words(family):
    """What a run without --only leaves out, for the help."""
    text = ""
    for column, values in family.usual.items():
        others = sorted({str(shape[column]) for shape in family.shapes(True)} - set(values))
        text += f".\nLeft out unless --only {column}=... asks for them: {', '.join(others)}"
    return text


def program():
    return pathlib.Path(sys.argv[0]).name


def parser_of(family):
    parser = argparse.ArgumentParser(
        prog=program(), formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        description=f"{family.sentence}\n\nWrites a table with the columns of {family.name}.csv:\n  "
                    + ",".join(csv_table.columns_of(family.columns)),
        epilog="Paths (the start of the kernel column), in order of preference: "
               + ", ".join(path.label for path in family.paths) + usual_words(family)
               + ".\nExit code: 0 done or budget spent, 1 nothing could be measured or the GPU failed, 2 bad use or no "
                 "GPU, 130 interrupted.\nSee docs/measuring.md.")
    parser.add_argument("--out", metavar="FILE", help="the table (*.csv); rows that are there are kept and not measured "
                                                      "again. A record of the run goes to FILE with .run.json")
    parser.add_argument("--shapes", choices=("small", "full"), default="small", help="how many shapes (default: small)")
    parser.add_argument("--only", action="append", default=[], metavar="COLUMN=VALUE",
                        help="only shapes with this value; again for more columns or values")
    parser.add_argument("--path", choices=[path.label for path in family.paths], help="only this way to run a shape")
    parser.add_argument("--budget", type=seconds, metavar="SECONDS", help="start no further shape after this time")
    parser.add_argument("--rounds", type=positive, default=7, metavar="N", help="rounds per row (default: 7)")
    parser.add_argument("--warm", action="store_true",
                        help="one set of weights or KV cache, which stays in L2 if it fits; marked _warm")
    parser.add_argument("--device", type=whole, default=0, metavar="N", help="number of the GPU (default: 0)")
    parser.add_argument("--system", metavar="NAME", help="the system column (default: from the name of the GPU)")
    parser.add_argument("--retry", action="store_true", help="try shapes again that failed in an earlier run")
    parser.add_argument("--list", action="store_true", help="print the shapes and stop; needs no GPU")
    parser.add_argument("--dry-run", action="store_true",
                        help="write the table with empty times (to --out or standard output); needs no GPU")
    return parser


def seconds(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def whole(text):
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def chosen_shapes(family, options):
    """The shapes that were asked for, in a fixed shuffled order, so that a short budget covers the whole range."""
    wanted = {}
    for text in options.only:
        column, separator, value = text.partition("=")
        if not separator or column not in family.columns:
            raise UsageError(f"--only {text}: COLUMN=VALUE with one of the columns {', '.join(family.columns)}")
        wanted.setdefault(column, set()).add(value)
    wanted = {**{column: set(values) for column, values in family.usual.items()}, **wanted}
    everything = family.shapes(options.shapes == "full")
    shapes = [shape for shape in everything if all(str(shape[c]) in values for c, values in wanted.items())]
    if not shapes:
        choices = "".join(f"\n  {column}: {', '.join(sorted({str(s[column]) for s in everything}, key=csv_table.sort_key))}"
                          for column in wanted)
        raise UsageError("no shape is left; the values are" + choices)
    random.Random(1).shuffle(shapes)
    return shapes


def words(shape):
    return " ".join(f"{column}={value}" for column, value in shape.items())


def dry_run(family, shapes, out, system):
    table = csv_table.Table(out or "-", family.columns)
    if out:
        measured = csv_table.Table(out, family.columns)
        measured.read()
        if len(measured):
            raise UsageError(f"{out} holds {len(measured)} measured rows: a dry run does not replace them")
    for shape in shapes:
        table.add({**DRY, "system": system or DRY["system"], **shape, csv_table.TIME: ""})
    if out:
        table.save()
        print(f"{family.name}: {len(table)} shapes without times in {out}", file=sys.stderr)
    else:
        table.write_to(sys.stdout)
        sys.stdout.flush()


class Record:
    """What is written beside the table: the machine, its clocks, what failed. One entry per run that was started."""

    def __init__(self, table_path):
        self.path = pathlib.Path(table_path).with_suffix(".run.json")
        self.runs = []
        self.failed = {}  # path and shape: why, of all earlier runs
        if self.path.exists():
            try:
                self.runs = json.loads(self.path.read_text(encoding="utf-8"))["runs"]
                self.failed = {key: why for run in self.runs for key, why in run["failed"].items()}
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UsageError(f"{self.path} is not a record of this harness: move it away") from None
        self.run = {"failed": {}}
        self.runs.append(self.run)

    def save(self):
        csv_table.write_atomically(self.path, lambda file: json.dump({"runs": self.runs}, file, indent=1))


def candidates(family, options, bench, shape):
    """The paths that take the shape, in order of preference, and why the others do not."""
    taking, reasons = [], []
    for path in family.paths:
        if options.path and path.label != options.path:
            continue
        reason = path.refuses(bench, shape)
        if reason:
            reasons.append(f"{path.label}: {reason}")
        else:
            taking.append(path)
    return taking, reasons


def check_same_machine(table, system, version):
    for row in table.rows():
        if (row["system"], row["version"]) != (system, version):
            raise UsageError(f"{table.path} holds rows of {row['system']} with PyTorch {row['version']}, this is {system} "
                             f"with {version}: give another --out")


class Session:
    """One run over the shapes on a GPU."""

    def __init__(self, family, options, bench, record, table, clock=time.monotonic):
        self.family, self.options, self.bench, self.record, self.table = family, options, bench, record, table
        self.clock = clock
        self.common = {"system": options.system or gpu_device.system_of(bench.name), "backend": BACKEND,
                       "version": bench.torch.__version__}
        self.measured = self.kept = self.refused = self.broken = 0
        self.saved_at = clock()

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def one(self, number, total, shape):
        """Measures one shape by the first path that can. Returns False where the GPU is beyond use."""
        paths, reasons = candidates(self.family, self.options, self.bench, shape)
        at = f"[{number}/{total}] {self.family.name} {words(shape)}"
        if not paths:
            self.refused += 1
            self.say(f"{at}: no path ({'; '.join(reasons)})")
            return True
        for path in paths:
            row = {**self.common, **shape, "kernel": csv_table.kernel_label(path.label, self.bench.warm)}
            if self.table.has(row):
                self.kept += 1
                return True
            failure = f"{row['kernel']} {words(shape)}"
            if failure in self.record.failed and not self.options.retry:
                self.say(f"{at}: {path.label} failed before ({self.record.failed[failure]}), --retry tries again")
                continue
            why = self.try_path(path, shape, row, at)
            if not why:
                return True
            # Behind the except clause, so that the tensors of the failed call are gone.
            if not self.failed(f"{at}: {path.label}", failure, why):
                return False
        self.broken += 1
        return True

    def try_path(self, path, shape, row, at):
        """Measures and takes the row. Returns why that failed; "" if it did not."""
        try:
            result = path.measure(self.bench, shape)
            self.bench.release()
            row["kernel"] = csv_table.kernel_label(path.label, self.bench.warm, result.eager)
            row[csv_table.TIME] = csv_table.microseconds(result.microseconds)
        except FAILURES as error:
            return str(error).strip().split("\n")[0][:200] or type(error).__name__
        self.taken(at, row, result)
        return ""

    def taken(self, at, row, result):
        self.table.add(row)
        self.measured += 1
        self.say(f"{at}: {row[csv_table.TIME]} us +-{50 * result.spread:.0f} % {row['kernel']}")
        if self.clock() - self.saved_at > SAVE_EVERY_S:
            self.save()

    def failed(self, at, failure, why):
        """Notes why. Returns False where the GPU is beyond use."""
        self.record.run["failed"][failure] = why
        self.say(f"{at} failed: {why}")
        self.save()
        try:
            self.bench.release()
        except RuntimeError:
            self.say("the GPU does not answer after this: stopping. Run again to go on without this shape")
            return False
        return True

    def save(self):
        if len(self.table):
            self.table.save()
        self.record.save()
        self.saved_at = self.clock()

    def go(self, shapes):
        """Returns the exit code."""
        begin = self.clock()
        usable = True
        for number, shape in enumerate(shapes, 1):
            if self.options.budget and self.clock() - begin > self.options.budget:
                self.say(f"the budget of {self.options.budget:g} s is spent after {number - 1} of {len(shapes)} shapes; "
                         "run again to go on")
                break
            usable = self.one(number, len(shapes), shape)
            if not usable:
                break
        self.say(f"{self.family.name}: {self.measured} measured, {self.kept} kept, {self.broken} failed, "
                 f"{self.refused} without a path; {len(self.table)} rows in {self.table.path}")
        return 0 if usable and (self.measured or self.kept) else 1


def measure(family, options, shapes):
    if not options.out:
        raise UsageError("--out FILE says where the table goes (or --list, --dry-run)")
    table = csv_table.Table(options.out, family.columns)
    table.read()
    record = Record(options.out)
    if not table.path.parent.is_dir():
        raise UsageError(f"{table.path.parent} is not a folder")
    torch = gpu_device.load_torch()
    bench = gpu_device.Bench(torch, options.device, options.rounds, options.warm)
    session = Session(family, options, bench, record, table)
    check_same_machine(table, session.common["system"], session.common["version"])
    smi = gpu_device.smi_identifier(bench, options.device)
    record.run.update({"family": family.name, "arguments": sys.argv[1:], "begin": gpu_device.now(),
                       "machine": gpu_device.describe(bench), "nvidia_smi_before": gpu_device.query_smi(smi)})
    session.say(f"{family.name}: {len(shapes)} shapes on {bench.name} ({session.common['system']}), PyTorch "
                f"{torch.__version__}")
    try:
        return session.go(shapes)
    finally:
        record.run.update({"end": gpu_device.now(), "nvidia_smi_after": gpu_device.query_smi(smi),
                           "measured": session.measured, "refused": session.refused})
        session.save()


def main(family, arguments=None):
    """Runs a family from the command line. Returns the exit code."""
    options = parser_of(family).parse_args(arguments)
    try:
        shapes = chosen_shapes(family, options)
        if options.list:
            for shape in shapes:
                print(words(shape))
            sys.stdout.flush()
            print(f"{family.name}: {len(shapes)} shapes", file=sys.stderr)
            return 0
        if options.dry_run:
            dry_run(family, shapes, options.out, options.system)
            return 0
        return measure(family, options, shapes)
    except BrokenPipeError:
        # The reader of standard output (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UsageError, csv_table.TableError, gpu_device.Unavailable, OSError) as error:
        print(f"{program()}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program()}: interrupted; what was measured is written", file=sys.stderr)
        return 130
