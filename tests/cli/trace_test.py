#!/usr/bin/env python3
"""--trace from outside: a real trace of both forms is decoded without any package, and they say the same."""
import gzip
import json
import os
import pathlib
import struct
import subprocess
import time
import unittest

MOESIM = os.environ["MOESIM"]
SCENARIOS = pathlib.Path(os.environ["MOESIM_SOURCE_DIR"]) / "workloads" / "scenarios"
SMALL = str(SCENARIOS / "llama-3.1-8b-h100.json")
DEMO = str(SCENARIOS / "demo.json")
BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4


def moesim(*arguments, code=0):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOESIM_SET_")}
    result = subprocess.run([MOESIM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=120, env=environment, check=False)
    if result.returncode != code:
        raise AssertionError(f"moesim {arguments}: exit {result.returncode}, not {code}\n{result.stdout}{result.stderr}")
    return result


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise AssertionError("a varint is too long")


def fields(data):
    """(number, value) of each field of a message: integers, or bytes for everything else."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        else:
            length, at = varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = data[at:at + length], at + length
            if len(value) != length:
                raise AssertionError("a field passes the end of its message")
        yield key >> 3, value


def signed(value):
    return value - (1 << 64) if value >= 1 << 63 else value


class Perfetto:
    """What a viewer reads from a .pftrace; raises for everything that is not as the format wants it."""

    def __init__(self, data):
        self.names = {1: {}, 2: {}, 3: {}}  # categories, events, annotations
        self.tracks = {}
        self.events = []
        self.packets = 0
        self.cleared = False
        for number, packet in fields(data):
            if number != 1:
                raise AssertionError(f"field {number} of the trace")
            self.packets += 1
            self.packet(dict_of(packet, {6, 8, 10, 11, 12, 13, 60}))

    def packet(self, packet):
        if packet.get(10) != 1:
            raise AssertionError("a packet without the sequence")
        flags = packet.get(13, 0)
        self.cleared = self.cleared or bool(flags & 1)
        for kind, entry in fields(packet.get(12, b"")):
            entry = dict_of(entry, {1, 2})
            if entry[1] == 0 or entry[1] in self.names[kind]:
                raise AssertionError(f"interned twice: {entry}")
            self.names[kind][entry[1]] = entry[2].decode()
        if 60 in packet:
            self.descriptor(dict_of(packet[60], {1, 2, 3, 4, 5, 8}))
        if 11 in packet:
            if not self.cleared or flags & 2 == 0:
                raise AssertionError("an event whose names a viewer would not find")
            self.event(packet[8], packet[11])

    def descriptor(self, track):
        if track[1] == 0 or track[1] in self.tracks or (5 in track and track[5] not in self.tracks):
            raise AssertionError(f"a wrong descriptor: {track}")
        entry = {"name": track.get(2, b"").decode(), "parent": track.get(5)}
        if 3 in track:
            entry["process"] = dict_of(track[3], {1, 6})[6].decode()
        if 4 in track:
            thread = dict_of(track[4], {1, 2, 5})
            entry.update(pid=thread[1], tid=thread[2], name=thread[5].decode())
        if 8 in track:
            entry["unit"] = dict_of(track[8], {6})[6].decode()
        self.tracks[track[1]] = entry

    def event(self, at, data):
        event = {"ns": at, "args": {}}
        for number, value in fields(data):
            if number == 3:
                event["cat"] = self.names[1][value]
            elif number == 4:
                annotation = dict_of(value, {1, 4, 5})
                event["args"][self.names[3][annotation[1]]] = (
                    signed(annotation[4]) if 4 in annotation else struct.unpack("<d", annotation[5])[0])
            elif number == 44:
                event["value"] = struct.unpack("<d", value)[0]
            else:
                event[{9: "type", 10: "name", 11: "track"}[number]] = value
        if "name" in event:
            event["name"] = self.names[2][event["name"]]
        event["on"] = self.tracks[event["track"]]
        self.events.append(event)

    def slices(self):
        """(process, track, name, begin, end, args): begins and ends matched; order and balance checked."""
        found, open_slices, last = [], {}, {}
        for event in self.events:
            track = event["track"]
            if event["ns"] < last.get(track, 0):
                raise AssertionError("time runs backwards on a track")
            last[track] = event["ns"]
            if event["type"] == BEGIN:
                open_slices.setdefault(track, []).append(event)
            elif event["type"] == END:
                begin = open_slices[track].pop()
                process = self.tracks[event["on"]["parent"]]["process"]
                found.append((process, event["on"]["name"], begin["name"], begin["ns"], event["ns"],
                              tuple(sorted(begin["args"].items()))))
        if any(open_slices.values()):
            raise AssertionError("slices that never end")
        return found

    def counters(self):
        return [(event["on"]["name"], event["on"]["unit"], event["ns"], event["value"])
                for event in self.events if event["type"] == COUNTER]


def dict_of(data, known):
    message = dict(fields(data))
    if not set(message) <= known:
        raise AssertionError(f"unexpected fields {set(message) - known}")
    return message


def ps_of(microseconds):
    """The decimal text of a time in us, exact to the picosecond."""
    whole, fraction = microseconds.split(".")
    assert len(fraction) == 6, microseconds
    return int(whole) * 1_000_000 + int(fraction)


class Chrome:
    def __init__(self, text):
        events = json.loads(text, parse_float=str)["traceEvents"]
        named = {(e["name"], e["pid"], e.get("tid")): e["args"].get("name") for e in events if e["ph"] == "M"}
        self.slices, self.exact, self.counters, self.instants = [], [], [], []
        for event in events:
            if event["ph"] == "X":
                begin, length = ps_of(event["ts"]), ps_of(event["dur"])
                self.exact.append((event["tid"], begin, begin + length))
                self.slices.append((named["process_name", event["pid"], None],
                                    named["thread_name", event["pid"], event["tid"]], event["name"], begin // 1000,
                                    (begin + length) // 1000, tuple(sorted(event.get("args", {}).items()))))
            elif event["ph"] == "C":
                (unit, value), = event["args"].items()
                self.counters.append((event["name"], unit, ps_of(event["ts"]) // 1000, float(value)))
            elif event["ph"] == "i":
                self.instants.append(ps_of(event["ts"]))
            elif event["ph"] != "M":
                raise AssertionError(event)

    def overlaps(self):
        """Pairs of slices of one track that cut into each other."""
        wrong, stacks = [], {}
        for track, begin, end in sorted(self.exact, key=lambda s: (s[0], s[1], -s[2])):
            stack = stacks.setdefault(track, [])
            while stack and stack[-1] <= begin:
                stack.pop()
            if stack and stack[-1] < end:
                wrong.append((track, begin, end))
            stack.append(end)
        return wrong


class Traces(unittest.TestCase):
    def test_both_forms_say_the_same(self):
        summary = moesim("run", DEMO, "--trace", "demo.pftrace").stdout
        moesim("run", DEMO, "--trace", "demo.json")
        perfetto = Perfetto(pathlib.Path("demo.pftrace").read_bytes())
        chrome = Chrome(pathlib.Path("demo.json").read_text(encoding="utf-8"))
        slices = perfetto.slices()
        self.assertIn(f" {len(slices):,} steps\n", summary)
        self.assertEqual(sorted(slices), sorted(chrome.slices))
        self.assertEqual(perfetto.counters(), chrome.counters)
        self.assertEqual(chrome.overlaps(), [])
        self.assertEqual(len(perfetto.events), 2 * len(slices) + len(chrome.counters))
        self.assertEqual({(s[0], s[1]) for s in slices}, {("replica 0", "steps")})
        self.assertEqual({s[2] for s in slices}, {"prefill step", "decode step", "mixed step"})
        self.assertEqual({(c[0], c[1]) for c in chrome.counters},
                         {("running sequences", "sequences"), ("waiting requests", "requests"), ("KV use", "%")})
        self.assertTrue(all(0 <= c[3] <= 100 for c in chrome.counters if c[0] == "KV use"))

    def test_the_same_bytes_for_two_runs_and_inside_the_packed_forms(self):
        for name in ("a.pftrace", "b.pftrace", "c.pftrace.gz", "a.json", "b.json", "c.json.gz", "a.json.zst"):
            moesim("run", SMALL, "--trace", name)
        read = {name: pathlib.Path(name).read_bytes() for name in os.listdir() if ".json" in name or ".pftrace" in name}
        for form in ("pftrace", "json"):
            self.assertEqual(read[f"a.{form}"], read[f"b.{form}"])
            self.assertEqual(gzip.decompress(read[f"c.{form}.gz"]), read[f"a.{form}"])
        self.assertEqual(read["a.json.zst"][:4], b"\x28\xb5\x2f\xfd")

    def test_a_trace_leaves_the_results_alone(self):
        moesim("run", SMALL, "-o", "plain")
        moesim("run", SMALL, "-o", "traced", "--trace", "traced/trace.pftrace")
        for name in ("results.json", "requests.csv", "timeseries.csv", "memory.csv", "experts.csv"):
            self.assertEqual(pathlib.Path("plain", name).read_bytes(), pathlib.Path("traced", name).read_bytes())

    def test_what_is_told(self):
        result = moesim("run", SMALL, "--trace", "told.pftrace")
        count = len(Perfetto(pathlib.Path("told.pftrace").read_bytes()).slices())
        self.assertIn(f"wrote told.pftrace: {count:,} slices, opens in https://ui.perfetto.dev\n", result.stderr)
        self.assertNotIn("warning: the trace", result.stderr)
        self.assertNotIn("told.pftrace", moesim("run", SMALL, "--trace", "told.pftrace", "--quiet").stderr)
        estimate = ["estimate", "--model", "llama-3.1-8b", "--gpu", "h100-sxm", "--osl", "16"]
        self.assertIn("wrote e.json: 160 slices", moesim(*estimate, "--trace", "e.json").stderr)

    def test_a_full_trace_is_complete_up_to_what_it_says(self):
        moesim("run", SMALL, "--trace", "whole.json")
        whole = Chrome(pathlib.Path("whole.json").read_text(encoding="utf-8"))
        result = moesim("run", SMALL, "--trace", "part.json", "--trace-limit", "500")
        part = Chrome(pathlib.Path("part.json").read_text(encoding="utf-8"))
        self.assertEqual(len(part.slices) + len(part.counters), 500)
        self.assertEqual(len(part.instants), 1)
        cut = part.instants[0]
        self.assertEqual(sorted(s for s in whole.exact if s[1] < cut), sorted(s for s in part.exact if s[1] < cut))
        before = [c for c in whole.counters if c[2] < cut // 1000]
        self.assertEqual(before, [c for c in part.counters if c[2] < cut // 1000])
        self.assertIn("--trace-limit", result.stderr)
        told = result.stderr.split("complete only up to ")[1].split(" s of")[0]
        whole_seconds, fraction = told.split(".")
        self.assertEqual(int(whole_seconds) * 10**12 + int(fraction.ljust(12, "0")), cut)
        moesim("run", SMALL, "--trace", "part.pftrace", "--trace-limit", "500")
        instants = [e for e in Perfetto(pathlib.Path("part.pftrace").read_bytes()).events if e["type"] == INSTANT]
        self.assertEqual([e["ns"] for e in instants], [cut // 1000])

    def test_a_run_that_stops_early_has_its_trace(self):
        moesim("run", SMALL, "--trace", "early.pftrace", "--until", "2s", code=5)
        slices = Perfetto(pathlib.Path("early.pftrace").read_bytes()).slices()
        self.assertTrue(slices)
        self.assertLessEqual(max(s[4] for s in slices), 2_000_000_000)

    def test_wrong_use_is_told_before_the_run(self):
        pathlib.Path("scenario.json").write_text(json.dumps({"extends": SMALL}), encoding="utf-8")
        os.makedirs("folder.json", exist_ok=True)
        cases = [
            (["--trace", "x.txt"], "--trace writes .pftrace or .json, each also with .gz or .zst after it"),
            (["--trace", ""], "--trace writes"),
            (["--trace", "x.pftrace.bz2"], "--trace writes"),
            (["--trace-limit", "5"], "--trace-limit belongs to --trace"),
            (["--trace", "x.json", "--trace-limit", "0"], "--trace-limit needs a whole number of at least 1"),
            ([SMALL, "--trace", "x.json"], "2 scenarios were given"),
            (["--trace", "nowhere/x.json"], "nowhere/x.json: cannot create a file in nowhere"),
            (["--trace", "/proc/x.json"], "cannot create a file in /proc"),
            (["--trace", "folder.json"], "folder.json: cannot write: Is a directory"),
            (["--trace", "scenario.json"], "--trace would replace an input of the run"),
            (["--trace", SMALL], "--trace would replace an input of the run"),
            (["--trace", "wrong/../wrong/results.json"], "--trace would replace a result file of the run"),
        ]
        before = pathlib.Path("scenario.json").read_bytes()
        for arguments, message in cases:
            started = time.monotonic()
            result = moesim("run", "scenario.json", *arguments, "-o", "wrong", code=2)
            self.assertIn(message, result.stderr)
            self.assertEqual(result.stdout, "")
            self.assertFalse(os.path.exists("wrong"), arguments)
            self.assertLess(time.monotonic() - started, 5)
        self.assertEqual(pathlib.Path("scenario.json").read_bytes(), before)
        self.assertFalse(os.path.exists("x.json"))
        # A workload trace that is not there is told with its place, whatever else was asked for.
        moved = moesim("run", SMALL, "--set", 'workload={"trace": "data:../no.csv"}', "--trace", "x.json", code=2).stderr
        self.assertIn("(/workload/trace)", moved)
        error = json.loads(moesim("run", SMALL, "--trace", "x.txt", "--json", code=2).stdout)
        self.assertEqual((error["error"]["code"], error["exit"]["code"]), ("bad_value", 2))
        estimate = ["estimate", "--model", "llama-3.1-8b", "--gpu", "h100-sxm", "--print-scenario"]
        self.assertIn("--trace is about a run", moesim(*estimate, "--trace", "x.json", code=2).stderr)


if __name__ == "__main__":
    unittest.main()
