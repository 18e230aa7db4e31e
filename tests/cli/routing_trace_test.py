#!/usr/bin/env python3
"""The popularity "trace" from outside: route -> trace -> run repeats the counts, and broken traces are refused."""
import collections
import csv
import json
import os
import pathlib
import subprocess
import unittest

MOESIM = os.environ["MOESIM"]
ROUTERS = pathlib.Path(os.environ["MOESIM_SOURCE_DIR"]) / "tests" / "support" / "routers"
TOKENS, EXPERTS, TOP_K = 12, 16, 4
MODEL = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 512, "num_hidden_layers": 3,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 1000, "torch_dtype": "bfloat16",
    "intermediate_size": 512, "moe_intermediate_size": 256, "num_experts": EXPERTS, "num_experts_per_tok": TOP_K,
    "max_position_embeddings": 4096, "hidden_act": "silu", "norm_topk_prob": True, "decoder_sparse_step": 1,
    "mlp_only_layers": [0],
}


def moesim(*arguments, code=0):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOESIM_SET_")}
    result = subprocess.run([MOESIM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=120, env=environment, check=False)
    if result.returncode != code:
        raise AssertionError(f"moesim {arguments}: exit {result.returncode}, not {code}\n{result.stdout}{result.stderr}")
    return result


def scenario(name, trace, fidelity="step", requests=1, tokens=TOKENS):
    pathlib.Path("model").mkdir(exist_ok=True)
    pathlib.Path("model/config.json").write_text(json.dumps(MODEL))
    text = {
        "version": 1, "cluster": {"node": "hgx-h100-8", "nodes": 1}, "model": "model/config.json",
        "deployment": {"engine": "vllm", "pools": {"main": {"tp": 2, "ep": 2}}},
        "workload": {"arrival": {"process": "closed-loop", "clients": 1},
                     "lengths": {"input": {"distribution": "fixed", "tokens": tokens},
                                 "output": {"distribution": "fixed", "tokens": 1}},
                     "stop": {"requests": requests}},
        "routing": {"popularity": {"family": "trace", "file": trace}}, "fidelity": fidelity,
    }
    file = pathlib.Path(name)
    file.write_text(json.dumps(text, indent=1))
    return file


def trace_counts(file):
    counts = collections.defaultdict(lambda: [0] * EXPERTS)
    for line in pathlib.Path(file).read_text().splitlines():
        record = json.loads(line)
        for row in record["top_indices"]:
            for expert in row:
                counts[record["layer"]][expert] += 1
    return [counts[layer] for layer in sorted(counts)]


def run_counts(folder):
    counts = collections.defaultdict(lambda: [0] * EXPERTS)
    with open(pathlib.Path(folder) / "experts.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            counts[int(row["layer"])][int(row["expert"])] += int(row["tokens"])
    return [counts[layer] for layer in sorted(counts)]


class Replay(unittest.TestCase):
    def setUp(self):
        moesim("kernels", "route", "--weights", ROUTERS / "deepseek", "--tokens",
               ROUTERS / "deepseek_hidden.safetensors", "-o", "trace.jsonl")

    def test_a_routed_step_runs_with_its_counts(self):
        for fidelity in ("step", "kernel"):
            folder = f"run-{fidelity}"
            file = scenario(f"{fidelity}.json", "trace.jsonl", fidelity)
            result = moesim("run", file, "-o", folder)
            self.assertEqual(run_counts(folder), trace_counts("trace.jsonl"))
            self.assertNotIn("routing trace", result.stdout + result.stderr)
            inputs = (pathlib.Path(folder) / "results.json").read_text()
            self.assertIn('"name": "trace.jsonl"', inputs)

    def test_the_slowest_shard_is_the_trace_s(self):
        # One layer in the trace stands for both of the model.
        lines = pathlib.Path("trace.jsonl").read_text().splitlines(keepends=True)
        pathlib.Path("one.jsonl").write_text(lines[0])
        result = moesim("run", scenario("one.json", "one.jsonl"), "--json")
        counts = trace_counts("one.jsonl")[0]
        shards = [sum(counts[:8]), sum(counts[8:])]
        slowest = json.loads(result.stdout)["metrics"]["slowest_expert_shard"]["value"]
        # The slowest by time: with so few tokens not always the one with the most rows.
        self.assertIn(round(slowest, 9), [round(2 * rows / sum(shards), 9) for rows in shards])
        self.assertIn("has 1 layer and the model 2 with experts: they are used again in turn", result.stdout + result.stderr)

    def test_compressed_and_repeated(self):
        moesim("kernels", "route", "--weights", ROUTERS / "deepseek", "--tokens",
               ROUTERS / "deepseek_hidden.safetensors", "-o", "trace.jsonl.zst")
        first = moesim("run", scenario("zst.json", "trace.jsonl.zst", requests=3, tokens=30), "--json").stdout
        again = moesim("run", scenario("zst.json", "trace.jsonl.zst", requests=3, tokens=30), "--json").stdout
        self.assertEqual(first, again)

    def test_embeddings_are_no_hidden_states(self):
        moesim("kernels", "route", "--weights", ROUTERS / "deepseek", "--tokens", ROUTERS / "tokens.txt", "-o",
               "ids.jsonl")
        result = moesim("validate", scenario("ids.json", "ids.jsonl"))
        self.assertIn("embedding_only", result.stdout + result.stderr)
        self.assertIn("the last one is not used", result.stdout + result.stderr)

    def test_broken_traces(self):
        good = json.loads(pathlib.Path("trace.jsonl").read_text().splitlines()[0])
        rows = good["top_indices"]
        cases = [
            ({**good, "top_indices": rows[:-1] + [[0, 1, 2, 16]]}, "there is no expert 16"),
            ({**good, "top_indices": rows[:-1] + [[0, 1, 2, 2]]}, "expert 2 is there twice"),
            ({**good, "top_indices": rows[:-1] + [[0, 1, 2]]}, "this token has 3 experts"),
            ({**good, "topk": 5}, "these tokens have 5 experts each"),
            ({**good, "num_tokens": 5}, "5 tokens, but"),
            ({"layer": 0}, 'the key "top_indices" is missing'),
        ]
        for bad, message in cases:
            pathlib.Path("bad.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(bad) + "\n")
            for command in ("run", "validate"):
                error = moesim(command, scenario("bad.json", "bad.jsonl"), code=2)
                self.assertIn(message, error.stdout + error.stderr)
                self.assertIn("bad.jsonl:2:", error.stdout + error.stderr)
        for trace, message in (("nowhere.jsonl", "does not exist"), ("model", "is a directory"), ("", "file"),
                               ("data:../x", "no path inside the data folder")):
            error = moesim("validate", scenario("missing.json", trace), code=2)
            self.assertIn(message, error.stdout + error.stderr)
            self.assertIn("/routing/popularity/file", moesim("validate", "missing.json", "--json", code=2).stdout)
        pathlib.Path("empty.jsonl").write_text("")
        self.assertIn("holds no record", moesim("run", scenario("empty.json", "empty.jsonl"), code=2).stderr)
        dense = scenario("dense.json", "trace.jsonl")
        dense.write_text(dense.read_text().replace("model/config.json", "llama-3.1-8b").replace('"ep": 2', '"ep": 1'))
        self.assertIn("needs a model with experts", moesim("run", dense, code=2).stderr)


if __name__ == "__main__":
    unittest.main()
