#!/usr/bin/env python3
"""`moesim kernels route`: routers of tiny checkpoints against an independent router (tests/tools), and refusals."""
import gzip
import json
import os
import pathlib
import subprocess
import sys
import unittest

MOESIM = os.environ["MOESIM"]
SOURCE = pathlib.Path(os.environ["MOESIM_SOURCE_DIR"])
ROUTERS = SOURCE / "tests" / "support" / "routers"
EXPECTED = json.loads((ROUTERS / "expected_routes.json").read_text())
DEEPSEEK, HIDDEN = ROUTERS / "deepseek", ROUTERS / "deepseek_hidden.safetensors"


def moesim(*arguments, code=0):
    result = subprocess.run([MOESIM, "kernels", "route", *map(str, arguments)], stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=120, check=False)
    if result.returncode != code:
        raise AssertionError(f"moesim {arguments}: exit {result.returncode}, not {code}\n{result.stdout}{result.stderr}")
    return result


def records(file):
    return [json.loads(line) for line in pathlib.Path(file).read_text().splitlines()]


def choices(file):
    return {str(record["layer"]): record["top_indices"] for record in records(file)}


class Route(unittest.TestCase):
    def test_writer_gives_the_stored_files(self):
        subprocess.run([sys.executable, "-B", SOURCE / "tests" / "tools" / "write_router_models.py", "written"], check=True)
        written = pathlib.Path("written")
        names = sorted(file.relative_to(written) for file in written.rglob("*") if file.is_file())
        self.assertEqual(names, sorted(file.relative_to(ROUTERS) for file in ROUTERS.rglob("*") if file.is_file()))
        for name in names:
            self.assertEqual((written / name).read_bytes(), (ROUTERS / name).read_bytes(), str(name))

    def test_hidden_states(self):
        result = moesim("--weights", DEEPSEEK, "--tokens", HIDDEN, "-o", "trace.jsonl")
        self.assertEqual(choices("trace.jsonl"), EXPECTED["deepseek"]["hidden"])
        record = records("trace.jsonl")[0]
        self.assertEqual({key: record[key] for key in ("step", "block", "layer", "rank", "num_tokens", "topk", "input")},
                         {"step": 0, "block": "decoder", "layer": 2, "rank": 0, "num_tokens": 12, "topk": 4,
                          "input": "hidden_states"})
        self.assertIn("layer 1 looks its experts up by token id", result.stderr)
        self.assertIn("2 of 4 groups", result.stdout)
        self.assertNotIn("embedding_only", result.stdout + result.stderr)

    def test_token_ids_use_the_table_and_say_what_else_they_are(self):
        for tokens in ("tokens.txt", "tokens.jsonl"):
            result = moesim("--weights", DEEPSEEK, "--tokens", ROUTERS / tokens, "-o", "trace.jsonl")
            self.assertEqual(choices("trace.jsonl"), EXPECTED["deepseek"]["tokens"])
            self.assertEqual([record["input"] for record in records("trace.jsonl")],
                             ["token_ids", "embedding_only", "embedding_only"])
            self.assertIn("warning: embedding_only: 2 layers", result.stderr)

    def test_gguf_and_ties(self):
        moesim("--weights", ROUTERS / "qwen.gguf", "--tokens", ROUTERS / "qwen_hidden.f32", "-o", "trace.jsonl")
        self.assertEqual(choices("trace.jsonl"), EXPECTED["qwen"]["hidden"])
        # The first two experts are the same: where both are chosen, the first is first.
        together = [row for rows in EXPECTED["qwen"]["hidden"].values() for row in rows if 0 in row and 1 in row]
        self.assertGreaterEqual(len(together), 3)
        for row in together:
            self.assertEqual(row.index(1), row.index(0) + 1)

    def test_steps_and_compression(self):
        moesim("--weights", DEEPSEEK, "--tokens", HIDDEN, "-o", "whole.jsonl")
        moesim("--weights", DEEPSEEK, "--tokens", HIDDEN, "--step-tokens", 5, "--layer", 3, "-o", "parts.jsonl.gz")
        parts = [json.loads(line) for line in gzip.decompress(pathlib.Path("parts.jsonl.gz").read_bytes()).splitlines()]
        self.assertEqual([(part["step"], part["num_tokens"]) for part in parts], [(0, 5), (1, 5), (2, 2)])
        self.assertEqual(sum((part["top_indices"] for part in parts), []), choices("whole.jsonl")["3"])

    def test_other_gates(self):
        answer = json.loads(moesim("--weights", DEEPSEEK, "--tokens", HIDDEN, "--gate", "mixtral", "--top-k", 3,
                                   "--router-dtype", "f32", "--json").stdout)
        self.assertTrue(answer["gate"].startswith("softmax scores + bias to choose, best 3"), answer["gate"])
        self.assertTrue(answer["precision"].startswith("logits f32, scores f32, weights bf16"), answer["precision"])
        for layer in answer["layers"]:
            self.assertEqual(sum(layer["tokens_by_expert"]), 12 * 3)
        table = moesim("--weights", DEEPSEEK, "--tokens", HIDDEN, "--format", "csv").stdout.splitlines()
        self.assertEqual(table[0], "layer,expert,tokens")
        self.assertEqual(sum(int(line.split(",")[2]) for line in table[1:]), 2 * 12 * 4)

    def test_what_nothing_says_is_assumed_aloud(self):
        folder = pathlib.Path("bare")
        folder.mkdir()
        (folder / "model.safetensors").write_bytes((DEEPSEEK / "model.safetensors").read_bytes())
        error = moesim("--weights", folder, "--tokens", HIDDEN, "--layer", 2, code=2).stderr
        self.assertIn("nothing says how many experts a token has", error)
        answer = json.loads(moesim("--weights", folder, "--tokens", HIDDEN, "--layer", 2, "--top-k", 2, "--json").stdout)
        self.assertIn("sigmoid scores, because there is a correction bias", " ".join(answer["assumptions"]))

    def test_refusals_leave_nothing_behind(self):
        cases = [
            (("--weights", DEEPSEEK), "kernels route needs tokens"),
            (("--tokens", HIDDEN), "kernels route needs weights"),
            (("--weights", "nowhere", "--tokens", HIDDEN), "cannot open"),
            (("--weights", DEEPSEEK, "--tokens", HIDDEN, "--layer", 7), "layer 7 has no router"),
            (("--weights", DEEPSEEK, "--tokens", HIDDEN, "--gate", "mixtrel"), "mixtral"),
            (("--weights", DEEPSEEK, "--tokens", HIDDEN, "--top-k", 9), "do not hold 9"),
            (("--weights", DEEPSEEK, "--tokens", HIDDEN, "--router-dtype", "fp8"), "bf16 or f32"),
            (("--weights", HIDDEN, "--tokens", HIDDEN), "is the router of a layer"),
            (("--weights", ROUTERS / "qwen.gguf", "--tokens", HIDDEN), "has no input for any"),
            (("--weights", ROUTERS / "qwen.gguf", "--tokens", ROUTERS / "tokens.txt"), "nor an embedding"),
        ]
        for text, message in (("1 2 x", ":1:5"), ("1 -2", ":1:3"), ("{}", "no list of token ids"), ("", "holds no tokens"),
                              ("[1, 2.5]", ":1:5"), ("5\n999", "the token 999 is outside")):
            file = pathlib.Path(f"tokens{len(cases)}.txt")
            file.write_text(text)
            cases.append((("--weights", DEEPSEEK, "--tokens", file), message))
        for size in (0, 33):
            file = pathlib.Path(f"hidden{size}.f32")
            file.write_bytes(bytes(size))
            cases.append((("--weights", DEEPSEEK, "--tokens", file), "rows of 8 f32 values have 32"))
        not_finite = pathlib.Path("nan.f32")
        not_finite.write_bytes(bytes(32) + b"\x00\x00\xc0\x7f" * 8)
        cases.append((("--weights", DEEPSEEK, "--tokens", not_finite), "layer 2, token 1"))
        for arguments, message in cases:
            result = moesim(*arguments, "-o", "refused.jsonl", code=2)
            self.assertIn(message, result.stderr, str(arguments))
            self.assertEqual(list(pathlib.Path(".").glob("refused*")), [])


if __name__ == "__main__":
    unittest.main()
