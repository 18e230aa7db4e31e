#!/usr/bin/env python3
"""Holds moesim against the corpus of broken inputs in tests/cli/broken.

    broken_inputs.py --moesim PATH --home DIR [--filter TEXT] [--asan] [-j N] [-v]

cases.json lists the cases. Each is run twice, in a copy of the corpus: once for people and once with --format json.
Both must end with 2 (or "exit") and tell where the mistake is and what was meant, and nothing may be left behind. A case has

    name      unique; those of typing errors start with "typo-" and have "typo": true
    command   the words after "moesim". {out} is a folder that does not exist, {base} a sound scenario,
              {made:NAME} a file that is made at run time (see MAKERS), {replay:PATH} a scenario that replays the
              trace PATH; its "trace" is at line 8, column 14
    expected  of one of the errors: code, pointer, file, line, column, suggestion, and "says", words of the message.
              What is left out is not checked; an error without "file" has no place
    also      more errors that must be there; no others may, unless "others" is true or "count" gives their number
    exit      the exit code, if it is not 2
    more_errors  how many further errors there are beyond those listed
    env       environment variables
    forms     ["text"] for a command that knows no --format json
    partial   the output folder need not be empty

Only the Python standard library is used.
"""
import argparse
import gzip
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = os.path.join(HERE, "broken")

MAX_OUTPUT_BYTES = 64 << 10
MAX_LINE_BYTES = 1000
MAX_MESSAGE = 500
CPU_SECONDS = 10
ADDRESS_SPACE_KIB = 1500 << 10
WALL_SECONDS = 120  # the machine may be busy; the limit of 10 s is one of processor time

SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:")
LIBRARY_WORDS = re.compile(r"nlohmann|json\.exception|basic_string|std::|CLI::|filesystem error|what\(\)")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x80-\x9f]")

REPLAY = """{
  "version": 1,
  "name": "replay",
  "cluster": {"node": "hgx-h100-8", "nodes": 1},
  "model": "llama-3.1-8b",
  "deployment": {"engine": "vllm", "pools": {"main": {"tp": 1}}},
  "workload": {
    "trace": %s
  }
}
"""


# ---- files that are made at run time, each from nothing but its name

def gz_text():
    return gzip.compress(b'{"version": 1, "name": "' + bytes(range(65, 91)) * 400 + b'"}\n', mtime=0)


def gz_rows():
    rows = "".join(f"{i}.25,{100 + i % 7},{10 + i % 11}\n" for i in range(20000))
    return gzip.compress(("arrived_at,num_prefill_tokens,num_decode_tokens\n" + rows).encode(), mtime=0)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1:]


def zst(content):
    """One zstd frame (RFC 8878): single segment, 4 bytes of content size, one raw block."""
    block = (len(content) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd\xa0" + len(content).to_bytes(4, "little") + block + content


ZST_TEXT = b'{"version": 1, "name": "' + b"x" * 4000 + b'"}\n'
ZST_ROWS = b"arrived_at,num_prefill_tokens,num_decode_tokens\n" + b"1.5,100,10\n" * 5000

MAKERS = {
    "brackets.json": lambda: b"[" * 10_000_000,
    "braces.json": lambda: b'{"a":' * 2_000_000,
    "nested.json": lambda: b"[" * 70 + b"]" * 70,
    "large.json": lambda: b'{"name": "' + b"x" * 70_000_000 + b'"}',
    "bomb.json.gz": lambda: gzip.compress(b" " * 300_000_000, 9, mtime=0),
    "values.json": lambda: b"[" + b"0," * 2_000_000 + b"0]",
    # 100,000 unknown keys, and the five keys that a scenario needs are missing.
    "errors.json": lambda: b"{\n" + b",\n".join(b'"k%d": %d' % (i, i) for i in range(100_000)) + b"\n}\n",
    "long-key.json": lambda: b'{"' + b"k" * 5_000_000 + b'": 1}',
    "long-text.json": lambda: b'{"version": 1, "model": "' + b"m" * 5_000_000 + b'"}',
    "escape.json": lambda: b'{"\\u001b[31mred\\u0007": 1}\n',
    "with\nline\x1b[31m.json": lambda: b"?\n",
    "cut.json.gz": lambda: gz_text()[:-20],
    "damaged.json.gz": lambda: flipped(gz_text(), 60),
    "tail.json.gz": lambda: gz_text() + b"garbage",
    "cut.json.zst": lambda: zst(ZST_TEXT)[:-50],
    "damaged.json.zst": lambda: flipped(zst(ZST_TEXT), 9),
    "cut.csv.gz": lambda: gz_rows()[:-5000],
    "damaged.csv.gz": lambda: flipped(gz_rows(), len(gz_rows()) - 6),  # a byte of the checksum
    "cut.csv.zst": lambda: zst(ZST_ROWS)[:-500],
    "line.jsonl": lambda: b'{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [0]}\n'
                          + b'{"timestamp": ' + b"1" * 20_000_000 + b"}\n",
    "brackets.jsonl": lambda: b'{"timestamp": ' + b"[" * 10_000_000 + b"\n",
    "late.csv": lambda: b"arrived_at,num_prefill_tokens,num_decode_tokens\n" + b"1.5,100,10\n" * 100_000
                        + b"2.5,0,10\n",
}


def make(folder, name):
    path = os.path.join(folder, "made", name)
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(MAKERS[name]())
    return "made/" + name


# ---- one run

class Run:
    """What one call of the program did."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out_bytes, self.err_bytes, self.seconds = code, out, err, seconds
        self.out, self.err = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


class Bench:
    """A folder of its own for one worker: a copy of the corpus and what is made at run time."""

    def __init__(self, root, number, options, base):
        self.options = options
        self.folder = os.path.join(root, f"worker-{number}")
        self.out = os.path.join(root, f"out-{number}")
        self.scratch = os.path.join(root, f"tmp-{number}")
        shutil.copytree(CORPUS, self.folder)
        os.mkdir(self.scratch)
        with open(os.path.join(self.folder, "base.json"), "w", encoding="utf-8") as file:
            file.write(base)

    def words(self, command):
        made, words = None, []
        for word in command:
            match = re.search(r"\{made:(.*?)\}", word, re.DOTALL)
            if match:
                made = make(self.folder, match[1])
                word = word.replace(match[0], made)
            match = re.fullmatch(r"\{replay:(.*)\}", word, re.DOTALL)
            if match:
                with open(os.path.join(self.folder, "replay.json"), "w", encoding="utf-8") as file:
                    file.write(REPLAY % json.dumps(match[1]))
                word = "replay.json"
            words.append(word.replace("{base}", "base.json").replace("{out}", self.out))
        return words

    def environment(self, extra):
        env = {name: value for name, value in os.environ.items()
               if not name.startswith("MOESIM") and name not in ("CLICOLOR_FORCE", "NO_COLOR")}
        env.update(MOESIM_HOME=self.options.home, LC_ALL="C.UTF-8", TERM="xterm-256color", TMPDIR=self.scratch)
        env.update(extra)
        return env

    def run(self, words, extra_env):
        limits = "" if self.options.asan else f"ulimit -v {ADDRESS_SPACE_KIB}; "
        limits += f"ulimit -c 0; ulimit -t {CPU_SECONDS * (10 if self.options.asan else 1)}; "
        command = ["/bin/sh", "-c", limits + 'exec "$@"', "sh", self.options.moesim, *words]
        before = os.times()
        try:
            done = subprocess.run(command, cwd=self.folder, env=self.environment(extra_env), capture_output=True,
                                  stdin=subprocess.DEVNULL, timeout=WALL_SECONDS, check=False)
        except subprocess.TimeoutExpired as late:
            return Run("no end", late.stdout or b"", late.stderr or b"", WALL_SECONDS)
        return Run(done.returncode, done.stdout, done.stderr, os.times().elapsed - before.elapsed)

    def inventory(self):
        found = {}
        for folder in (self.folder, self.scratch):
            for root, folders, files in os.walk(folder):
                for name in folders + files:
                    state = os.lstat(os.path.join(root, name))
                    found[os.path.join(root, name)] = (state.st_size, state.st_mtime_ns)
        for name in [name for name in found if os.path.isdir(name)]:
            found[name] = None
        return found

    def left_behind(self, before):
        after = self.inventory()
        return sorted(os.path.relpath(name, self.folder)
                      for name in before.keys() | after.keys() if before.get(name, 0) != after.get(name, 0))


# ---- judging

def printable(text):
    return re.sub(r"[\x00-\x1f\x7f]", "?", text)


def judge_streams(run, form, code, is_json, is_validate):
    """What holds for both forms of the answer."""
    if SANITIZER.search(run.err):
        found = SANITIZER.search(run.err).start()
        yield f"{form}: a sanitizer speaks: {run.err[found:found + 300]!r}"
    if run.code != code:
        yield f"{form}: exit code {run.code}, not {code}"
    for name, data, text in (("stdout", run.out_bytes, run.out), ("stderr", run.err_bytes, run.err)):
        if len(data) > MAX_OUTPUT_BYTES:
            yield f"{form}: {len(data)} bytes on {name}"
        longest = max(len(line) for line in data.split(b"\n"))
        if longest > MAX_LINE_BYTES and not (is_json and name == "stdout"):
            yield f"{form}: a line of {longest} bytes on {name}"
        if CONTROL.search(text):
            yield f"{form}: control character {CONTROL.search(text)[0]!r} on {name}"
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as bad:
            yield f"{form}: {name} is not UTF-8: {bad}"
        if LIBRARY_WORDS.search(text):
            yield f"{form}: words of a library on {name}: {LIBRARY_WORDS.search(text)[0]!r}"
    if not is_json and not is_validate and run.out:
        yield f"{form}: an error, but stdout has {run.out[:80]!r}"


def place_of(expected):
    return f"{printable(expected['file'])}:{expected['line']}:{expected.get('column', '')}"


def judge_text(run, case):
    if "error: " not in run.err:
        yield "text: no \"error: \" on stderr"
    for expected in [case["expected"]] + case.get("also", []):
        if "file" in expected and "line" in expected and place_of(expected) not in run.err:
            found = re.search(r"--> (.*)", run.err)
            yield f"text: no place {place_of(expected)}, but {found[1] if found else 'none'}"
        if expected.get("pointer") and printable(expected["pointer"]) not in run.err:
            yield f"text: no pointer {expected['pointer']}"
        if "suggestion" in expected and f"did you mean {expected['suggestion']}?" not in run.err:
            found = re.search(r"did you mean (.*)\?", run.err)
            yield f"text: no suggestion {expected['suggestion']}, but {found[1] if found else 'none'}"
        for words in expected.get("says", []) if case.get("forms") == ["text"] else []:
            if words.lower() not in run.err.lower():
                yield f"text: does not say {words!r}"


def errors_of(document):
    if "files" in document:
        return [error for file in document["files"] for error in file["errors"]]
    return document.get("errors") or [document["error"]]


def shown(error):
    keys = ("code", "pointer", "file", "line", "column", "suggestion", "message")
    return {key: error[key] if not isinstance(error[key], str) else error[key][:120] for key in keys if key in error}


def mismatch(error, expected):
    """What of `expected` does not hold for the error."""
    error = dict(error)
    if "file" in error:
        error["file"] = os.path.normpath(error["file"])  # "./trace.csv" and "trace.csv" are the same to a reader
    wrong = [f"{key} is {error.get(key)!r:.100}, not {value!r}" for key, value in expected.items()
             if key != "says" and error.get(key) != value]
    wrong += [f"the message does not say {words!r}" for words in expected.get("says", [])
              if words.lower() not in (error.get("message", "") + " " + error.get("note", "")).lower()]
    return wrong


def judge_errors(errors, case):
    wanted = [case["expected"]] + case.get("also", [])
    for expected in wanted:
        best = min((mismatch(error, expected) for error in errors), key=len)
        if best:
            yield "json: " + "; ".join(best)
    count = case.get("count", None if case.get("others") else len(wanted))
    if count is not None and len(errors) != count:
        yield f"json: {len(errors)} errors, not {count}: {[(e.get('code'), e.get('pointer')) for e in errors][:6]}"
    if len(errors) > 20:
        yield f"json: {len(errors)} errors are more than 20"
    for error in errors:
        message = error.get("message", "")
        if not error.get("code") or not message or "\n" in message or len(message) > MAX_MESSAGE:
            yield f"json: a poor error (code, message of 1 to {MAX_MESSAGE} characters): {shown(error)}"
        if "pointer" not in error:
            yield f"json: an error without \"pointer\": {shown(error)}"
        if "file" in error and not error.get("line") and "file" in case["expected"]:
            yield f"json: an error with a file but no line: {shown(error)}"


def judge_json(run, case):
    try:
        document = json.loads(run.out)
        errors = errors_of(document)
    except (ValueError, KeyError) as bad:
        yield f"json: not one JSON document with the error: {bad!r}; {run.out[:100]!r}"
        return
    if not errors:
        yield "json: no error is listed"
        return
    code = case.get("exit", 2)
    if document.get("exit") != {"code": code, "reason": "infeasible" if code == 3 else "bad_input"}:
        yield f"json: exit is {document.get('exit')}"
    yield from judge_errors(errors, case)
    if "more_errors" in case:
        more = document.get("more_errors", sum(file.get("more_errors", 0) for file in document.get("files", [])))
        if more != case["more_errors"]:
            yield f"json: more_errors is {more}, not {case['more_errors']}"


def judge_case(bench, case):
    """Returns (list of problems, the two runs)."""
    words = bench.words(case["command"])
    is_validate = words[:1] == ["validate"]
    before = bench.inventory()
    problems, runs = [], []
    for form, extra in (("text", []), ("json", ["--format", "json"])):
        if form not in case.get("forms", ["text", "json"]):
            continue
        run = bench.run(words + extra, case.get("env", {}))
        runs.append(run)
        problems += judge_streams(run, form, case.get("exit", 2), form == "json", is_validate)
        problems += judge_text(run, case) if form == "text" else judge_json(run, case)
        if bench.folder in run.out + run.err:
            problems.append(f"{form}: an absolute path, though all names that were given are relative")
        left = bench.left_behind(before)
        if left:
            problems.append(f"{form}: left behind or changed: {left[:5]}")
        if os.path.isdir(bench.out) and os.listdir(bench.out) and not case.get("partial"):
            problems.append(f"{form}: the output folder has {sorted(os.listdir(bench.out))[:5]}")
        shutil.rmtree(bench.out, ignore_errors=True)
    return problems, words, runs


def check_manifest(cases):
    names = [case["name"] for case in cases]
    assert len(set(names)) == len(names), "two cases of one name"
    used = "\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    for root, _, files in os.walk(CORPUS):
        for file in files:
            if file != "cases.json" and file not in used:
                yield f"{os.path.relpath(os.path.join(root, file), CORPUS)} belongs to no case"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--moesim", required=True, help="the program")
    parser.add_argument("--home", required=True, help="the folder with hw_configs, models and workloads")
    parser.add_argument("--filter", default="", help="only cases whose name holds this text")
    parser.add_argument("--asan", action="store_true", help="the program has sanitizers: no limit on memory")
    parser.add_argument("-j", type=int, default=min(4, os.cpu_count() or 1), help="workers")
    parser.add_argument("-v", action="store_true", help="print what the program said")
    options = parser.parse_args()
    options.moesim, options.home = os.path.abspath(options.moesim), os.path.abspath(options.home)
    if not os.access(options.moesim, os.X_OK):
        parser.error(f"{options.moesim} is no program")
    with open(os.path.join(CORPUS, "cases.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    cases = [case for case in manifest["cases"] if options.filter in case["name"]]
    failures = [("cases.json", [problem]) for problem in check_manifest(manifest["cases"])]

    with tempfile.TemporaryDirectory(prefix="moesim-broken-") as root:
        benches = queue.SimpleQueue()
        for number in range(options.j):
            benches.put(Bench(root, number, options, "\n".join(manifest["base"]) + "\n"))
        lock = threading.Lock()

        def work(case):
            bench = benches.get()
            try:
                problems, words, runs = judge_case(bench, case)
            except Exception as bad:  # a mistake of this program must not hide the other cases
                problems, words, runs = [f"the driver failed: {bad!r}"], case["command"], []
            finally:
                benches.put(bench)
            with lock:
                if options.v:
                    print(f"==== {case['name']}: moesim {' '.join(words)}")
                    for run in runs:
                        print(f"[{run.code}, {run.seconds:.2f} s] {run.out[:3000]}{run.err[:3000]}")
                    sys.stdout.flush()
            return case["name"], problems

        with ThreadPoolExecutor(options.j) as pool:
            results = list(pool.map(work, cases))

    failures += [(name, problems) for name, problems in results if problems]
    for name, problems in failures:
        print(f"FAILED {name}")
        for problem in problems:
            print(f"    {printable(problem)}")
    print(f"{len(results) - sum(1 for _, problems in results if problems)} passed, {len(failures)} failed")
    return 1 if failures or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
