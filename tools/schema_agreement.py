#!/usr/bin/env python3
"""Holds the emitted JSON Schema against moesim's own reader.

Changes the shipped scenarios in several hundred small ways (the same files every time) and asks two judges about
each: python3-jsonschema with the schema that `moesim schema scenario` prints, and the schema-level errors of
`moesim validate --format json`. Both must say the same. Standard library and jsonschema only.

Exit code: 0 they agree, 1 they disagree, 2 bad use, 77 jsonschema is missing (ctest calls that skipped).
"""

import argparse
import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BATCH = 50


class Random:
    """A linear congruential generator (Knuth's MMIX), so that every Python draws the same numbers."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound

    def choice(self, values):
        return values[self.below(len(values))]


def without_comments(text):
    """The text with // and /* */ comments outside of strings blanked."""
    pattern = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
    return pattern.sub(lambda m: m.group(0) if m.group(0).startswith('"') else " ", text)


def places(value, path=()):
    """Every value in a document with the path of keys and indices that leads to it."""
    yield path, value
    if isinstance(value, dict):
        for key, child in value.items():
            yield from places(child, path + (key,))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from places(child, path + (index,))


def pointer(path):
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def replaced(document, path, value):
    if not path:
        return value
    result = copy.deepcopy(document)
    parent = result
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    return result


# A change takes (random, value) and returns the new value, or SAME if it has nothing to do there. Changes that rename
# or delete a key work on the object that holds it.
SAME = object()
QUANTITY = re.compile(r"^(-?[0-9][0-9.eE+-]*)( ?)([A-Za-z%][A-Za-z0-9/*^%]*)$")


def other_type(random, value):
    candidates = [None, True, 7, 1.5, "text", [], {}, [1], {"a": 1}, "", False, 0]
    return random.choice([c for c in candidates if type(c) is not type(value)])


def delete_key(random, value):
    if not isinstance(value, dict) or not value:
        return SAME
    gone = random.choice(sorted(value))
    return {key: child for key, child in value.items() if key != gone}


def extra_key(random, value):
    if not isinstance(value, dict):
        return SAME
    name = random.choice(["extra", "x", "comment", "name2", "_", "Seed", "$schema", "version", "a b", ""])
    return SAME if name in value else {**value, name: random.choice([1, "1", None, {}, []])}


def misspelt_key(random, value):
    if not isinstance(value, dict) or not value:
        return SAME
    wrong = random.choice(sorted(value))
    if len(wrong) < 2:
        return SAME
    at = random.below(len(wrong) - 1)
    swapped = wrong[:at] + wrong[at + 1] + wrong[at] + wrong[at + 2 :]
    shortened = wrong[:at] + wrong[at + 1 :]
    name = random.choice([swapped, shortened, wrong + "s", wrong.upper()])
    return SAME if name in value else {(name if key == wrong else key): child for key, child in value.items()}


def wrong_unit(random, value):
    match = QUANTITY.match(value) if isinstance(value, str) else None
    if not match:
        return SAME
    units = "s ms parsec GB gb GiB Gb G GB/s 1/s /s W USD TFLOP/s % Gbit/s min".split()
    return match.group(1) + " " + random.choice([unit for unit in units if unit != match.group(3)])


def unit_spacing(random, value):
    match = QUANTITY.match(value) if isinstance(value, str) else None
    if not match:
        return SAME
    gap = random.choice(["", "  ", "\t", "_", "\u00a0"])
    return match.group(1) + gap + match.group(3)


def unit_lost(random, value):
    match = QUANTITY.match(value) if isinstance(value, str) else None
    if not match:
        return SAME
    number, unit = match.group(1), match.group(3)
    odd_values = [number, number + " ", " " + value, value + " ", value + ".", unit, "-" + value, "+" + value]
    return random.choice(odd_values + [odd + " " + unit for odd in ("1e3", ".5", "5.", "1,5", "0x10", "1e999", "0")])


def negative(_random, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return SAME
    return -value if value else -1


def odd_number(random, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return SAME
    wholes = [0, 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63)]
    return random.choice(wholes + [0.5, 1e-300, 1e300, float(value)])


def empty(_random, value):
    if isinstance(value, (str, list, dict)) and value:
        return type(value)()
    return SAME


def wrong_word(random, value):
    if not isinstance(value, str) or QUANTITY.match(value):
        return SAME
    others = [value.upper(), value + "x", "no-such-thing", value[:-1], value.replace("-", "_"), " " + value]
    return random.choice(others)


def wrap(random, value):
    return random.choice([[value], {"value": value}, [value, value]])


def unwrap(random, value):
    if not isinstance(value, (list, dict)) or not value:
        return SAME
    return value[0] if isinstance(value, list) else value[random.choice(sorted(value))]


def repeat(random, value):
    if not isinstance(value, list) or not value:
        return SAME
    return value * random.choice([2, 3]) if random.below(2) else value[:-1]


BASES = []  # the shipped scenarios, set by main()


def extends(random, value):
    """The root extends a shipped scenario; a part of what it says itself may go, at any depth."""
    if not isinstance(value, dict) or "version" not in value or "extends" in value or not BASES:
        return SAME
    document = {"extends": random.choice(BASES + [3, None, ["a"]]), **value}
    if random.below(2):
        document = {key: child for key, child in document.items() if key == "extends" or random.below(2)}
    if isinstance(document.get("deployment"), dict) and random.below(2):
        document["deployment"] = delete_key(random, document["deployment"])
    return document


CHANGES = [
    extends, other_type, delete_key, extra_key, misspelt_key, wrong_unit, unit_spacing, unit_lost,
    negative, odd_number, empty, wrong_word, wrap, unwrap, repeat,
]


def mutations(scenarios, count, seed):
    """`count` changed documents as (what was done, document), each change used about equally often."""
    random = Random(seed)
    seen = {json.dumps(document, sort_keys=True) for _, document in scenarios}
    made = []
    tries = 0
    while len(made) < count:
        tries += 1
        if tries > 200 * count:
            raise SystemExit(f"only {len(made)} different changes found; are there scenarios to change?")
        name, document = random.choice(scenarios)
        done = []
        for _ in range(1 if random.below(4) else 2):  # one in four gets a second change
            change = CHANGES[len(made) % len(CHANGES)] if not done else random.choice(CHANGES)
            for _ in range(50):
                path, value = random.choice(list(places(document)))
                new = change(random, value)
                if new is not SAME:
                    document = replaced(document, path, new)
                    done.append(f"{change.__name__} at {pointer(path) or '(root)'}")
                    break
        text = json.dumps(document, sort_keys=True)
        if done and text not in seen:
            seen.add(text)
            made.append((f"{name}: " + ", ".join(done), document))
    return made


def run_moesim(moesim, *arguments, codes=(0,)):
    result = subprocess.run(
        [moesim, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    if result.returncode not in codes:
        shown = " ".join(arguments[:4]) + (" ..." if len(arguments) > 4 else "")
        raise SystemExit(f"moesim {shown} ended with {result.returncode}:\n{result.stderr[-2000:]}{result.stdout[-500:]}")
    try:
        return json.loads(result.stdout)
    except ValueError as error:
        raise SystemExit(f"moesim {arguments[0]} did not print one JSON document: {error}\n{result.stdout[:500]}")


def validate(moesim, files):
    """The errors of each file, by its name, from `moesim validate`."""
    verdicts = {}
    for begin in range(0, len(files), BATCH):
        batch = [str(file) for file in files[begin : begin + BATCH]]
        answer = run_moesim(moesim, "validate", *batch, "--format", "json", codes=(0, 2))
        for entry in answer["files"] if "files" in answer else [{"file": batch[0], **answer}]:
            verdicts[entry["file"]] = entry["errors"]
    missing = [str(file) for file in files if str(file) not in verdicts]
    if missing:
        raise SystemExit(f"moesim validate said nothing about {len(missing)} files, the first is {missing[0]}")
    return verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    program = str(ROOT / "build/release/moesim")
    parser.add_argument("--moesim", default=program, help="the program (default: build/release/moesim)")
    parser.add_argument("--count", type=int, default=700, help="how many changed scenarios (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which changes (default: %(default)s)")
    parser.add_argument("--keep", metavar="DIR", help="write the changed scenarios there and leave them")
    parser.add_argument("--show", type=int, default=20, help="how many disagreements to show (default: %(default)s)")
    parser.add_argument("scenarios", nargs="*", help="scenarios to change (default: workloads/scenarios/*.json)")
    options = parser.parse_args()

    try:
        import jsonschema
    except ImportError:
        print("skipped: python3-jsonschema is not installed")
        return 77

    shipped = sorted((ROOT / "workloads/scenarios").glob("*.json"))
    paths = [pathlib.Path(path) for path in options.scenarios] or shipped
    if not paths:
        parser.error("there are no scenarios in workloads/scenarios")
    BASES.extend(str(path.resolve()) for path in paths)
    scenarios = [(path.name, json.loads(without_comments(path.read_text(encoding="utf-8")))) for path in paths]

    schema = run_moesim(options.moesim, "schema", "scenario")
    jsonschema.Draft7Validator.check_schema(schema)
    judge = jsonschema.Draft7Validator(schema)

    cases = [(f"{name}: as shipped", document) for name, document in scenarios]
    cases += mutations(scenarios, options.count, options.seed)

    with tempfile.TemporaryDirectory(prefix="moesim-schema-") as scratch:
        folder = pathlib.Path(options.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for index, (_, document) in enumerate(cases):
            files.append(folder / f"{index:04}.json")
            files[-1].write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        verdicts = validate(options.moesim, files)

    disagreements = []
    accepted = 0
    for file, (done, document) in zip(files, cases):
        by_schema = sorted(judge.iter_errors(document), key=lambda error: list(map(str, error.absolute_path)))
        by_reader = [error for error in verdicts[str(file)] if error["level"] == "schema"]
        accepted += not by_schema
        # Shipped scenarios must pass; for changed ones it is enough that both say the same.
        if bool(by_schema) != bool(by_reader) or (done.endswith("as shipped") and by_schema):
            disagreements.append((file, done, by_schema, by_reader))

    for file, done, by_schema, by_reader in disagreements[: options.show]:
        print(f"{file.name}: {done}")
        for error in by_schema[:3]:
            print(f"  schema: {pointer(error.absolute_path) or '(root)'}: {error.message[:160]}")
        for error in by_reader[:3]:
            print(f"  moesim: {error['pointer'] or '(root)'}: {error['code']}: {error.get('message', '')[:160]}")
        if not by_schema:
            print("  schema: accepts it")
        if not by_reader:
            print("  moesim: accepts it")
    if len(disagreements) > options.show:
        print(f"... and {len(disagreements) - options.show} more")

    rejected = len(cases) - accepted
    print(f"{len(cases)} scenarios: the schema accepts {accepted}, rejects {rejected}; disagreements: {len(disagreements)}")
    if disagreements and not options.keep:
        print("to keep the files: --keep DIR")
    # Changes that (nearly) all end the same way would prove nothing.
    if min(accepted - len(scenarios), rejected) < options.count // 20:
        print("too few of the changed scenarios are accepted or too few are rejected for this to be a test")
        return 1
    return 1 if disagreements else 0


if __name__ == "__main__":
    os.environ.setdefault("MOESIM_HOME", str(ROOT))
    try:
        sys.exit(main())
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code)
            sys.exit(1)
        raise
