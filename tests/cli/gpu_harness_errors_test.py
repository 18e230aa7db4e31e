#!/usr/bin/env python3
"""The harness for real GPUs (tools/gpu): what it says when something is missing or wrong, and what it asks a machine."""
import contextlib
import io
import pathlib
import subprocess
import sys
import types
import unittest

from gpu_harness import PROGRAMS, SHARED, SOURCE, TOOLS, fake_torch, program

import csv_table
import cuda_kernels
import gpu_device
import harness


class Errors(unittest.TestCase):
    def says(self, result, *texts):
        for text in texts:
            self.assertIn(text, result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        self.assertEqual(result.stdout, "")

    def test_no_pytorch(self):
        folder = fake_torch("none", "raise ImportError('No module named torch')")
        for name in PROGRAMS:
            self.says(program(name, "--out", "none.csv", code=2, path=folder), f"{name}.py: PyTorch cannot be imported by",
                      "--dry-run")
        self.assertFalse(pathlib.Path("none.csv").exists())

    def test_no_gpu(self):
        version = "import types\n__version__ = '2.9.1'\nversion = types.SimpleNamespace(cuda={cuda}, hip={hip})\n" \
                  "cuda = types.SimpleNamespace(is_available=lambda: False)\n"
        folder = fake_torch("cpu", version.format(cuda=None, hip=None))
        self.says(program("gemm", "--out", "x.csv", code=2, path=folder),
                  "PyTorch 2.9.1 (built for no CUDA: a build for CPUs only) sees no GPU")
        folder = fake_torch("unseen", version.format(cuda="'13.0'", hip=None))
        self.says(program("moe", "--out", "x.csv", code=2, path=folder), "(built for 13.0) sees no GPU",
                  "CUDA_VISIBLE_DEVICES")
        folder = fake_torch("rocm", version.format(cuda=None, hip="'7.0'"))
        self.says(program("launch", "--out", "x.csv", code=2, path=folder), "built for ROCm")

    def test_dry_runs_and_lists_need_no_pytorch(self):
        folder = fake_torch("none", "raise SystemExit('imported')")
        for name in PROGRAMS:
            listed = program(name, "--list", path=folder)
            self.assertEqual(len(listed.stdout.splitlines()),
                             len(program(name, "--dry-run", path=folder).stdout.splitlines()) - 1)
            self.assertIn("--budget", program(name, "--help", path=folder).stdout)

    def test_bad_arguments(self):
        for arguments, text in ((["--only", "q=1"], "with one of the columns dtype, m, n, k"),
                                (["--only", "m"], "COLUMN=VALUE"),
                                (["--only", "m=3"], "no shape is left; the values are\n  m: 1, 8, 32"),
                                (["--budget", "0"], "must be above 0"), (["--rounds", "0"], "must be at least 1"),
                                (["--device", "-1"], "must not be negative"), (["--shapes", "huge"], "invalid choice"),
                                ([], "--out FILE says where the table goes"),
                                (["--out", "missing/x.csv"], "missing is not a folder")):
            with self.subTest(arguments):
                self.says(program("gemm", *arguments, code=2), text)

    def test_tables_that_are_not_ours(self):
        header = SHARED["gemm"] + "\n"
        row = "h200_sxm,torch,2.9.1,torch_linear,bfloat16,1,2,3,"
        for text, message in (("a,b\n1,2\n", ":1: the columns are not those of this family\n  found:    a,b"),
                              (header + "h200_sxm,torch\n", ":2: 2 fields, but the header has 9"),
                              (header + row + "5\n" + row + "fast\n", ":3: column \"latency_us\": \"fast\" is not a time"),
                              (header + row + "-1\n", "is not a time above 0")):
            pathlib.Path("theirs.csv").write_text(text, encoding="utf-8")
            self.says(program("gemm", "--out", "theirs.csv", code=2), message)
            self.assertEqual(pathlib.Path("theirs.csv").read_text(encoding="utf-8"), text)
        pathlib.Path("theirs.csv").write_text(header, encoding="utf-8")
        pathlib.Path("theirs.run.json").write_text("[]", encoding="utf-8")
        self.says(program("gemm", "--out", "theirs.csv", code=2), "theirs.run.json is not a record of this harness")

    def test_rows_of_another_machine(self):
        table = csv_table.Table("x.csv", ("op", "nodes"))
        table.add({"system": "h100_sxm", "backend": "torch", "version": "2.9.1", "kernel": "a", "op": "x", "nodes": 1,
                   "latency_us": "5"})
        harness.check_same_machine(table, "h100_sxm", "2.9.1")
        for system, version in (("h200_sxm", "2.9.1"), ("h100_sxm", "2.10")):
            with self.assertRaisesRegex(harness.UsageError, "holds rows of h100_sxm with PyTorch 2.9.1"):
                harness.check_same_machine(table, system, version)

    def test_a_closed_pipe_is_no_error(self):
        command = f"'{sys.executable}' -B '{TOOLS}/moe.py' --dry-run --shapes full 2>err | head -1; cat err >&2"
        result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual((result.stdout.strip(), result.stderr), (SHARED["moe"], ""))


class Machine(unittest.TestCase):
    def test_names_of_systems_are_in_the_catalogue(self):
        names = {"NVIDIA H200": "h200_sxm", "NVIDIA H100 80GB HBM3": "h100_sxm", "NVIDIA A100-SXM4-80GB": "a100_sxm",
                 "NVIDIA L40S": "l40s", "NVIDIA B200": "b200_sxm", "NVIDIA GB200": "gb200", "NVIDIA H20": "h20",
                 "NVIDIA RTX PRO 6000 Blackwell Server Edition": "rtx_pro_6000_server",
                 "NVIDIA GeForce RTX 4090": "rtx_4090"}
        gpus = [file.stem for file in (SOURCE / "hw_configs" / "gpus").glob("*.json")]
        for name, system in names.items():
            self.assertEqual(gpu_device.system_of(name), system)
        for _, system in gpu_device.SYSTEMS:
            dashed = system.replace("_", "-")
            self.assertEqual(sum(dashed == gpu or dashed.startswith(gpu + "-") or gpu.startswith(dashed + "-")
                                 for gpu in gpus), 1, system)
        self.assertEqual(gpu_device.system_of("NVIDIA H100 PCIe"), "h100_pcie")
        self.assertEqual(gpu_device.system_of("NVIDIA H200 NVL"), "h200_nvl")

    def test_nvidia_smi_is_asked_field_by_field_where_it_must(self):
        def run(command, **_):
            fields = command[3].split("=")[1].split(",")
            self.assertEqual(command[:3], ["nvidia-smi", "-i", "GPU-1"])
            known = {"name": "NVIDIA H200", "clocks.sm": "1980 MHz"}
            good = set(fields) <= set(known)
            return types.SimpleNamespace(returncode=0 if good else 2,
                                         stdout=", ".join(known[f] for f in fields) + "\n" if good else "no such field")

        whole = gpu_device.query_smi("GPU-1", ("name", "clocks.sm"), run)
        self.assertEqual(whole, {"name": "NVIDIA H200", "clocks.sm": "1980 MHz"})
        self.assertEqual(gpu_device.query_smi("GPU-1", ("name", "new.field", "clocks.sm"), run), whole)

        def missing(*_, **__):
            raise FileNotFoundError("nvidia-smi")

        self.assertEqual(gpu_device.query_smi("0", ("name",), missing), {})

    def test_the_device_is_named_to_nvidia_smi(self):
        def bench(uuid):
            return types.SimpleNamespace(properties=types.SimpleNamespace(uuid=uuid))

        self.assertEqual(gpu_device.smi_identifier(bench("ab-12"), 0), "GPU-ab-12")
        self.assertEqual(gpu_device.smi_identifier(bench("GPU-ab"), 0), "GPU-ab")
        self.assertEqual(gpu_device.smi_identifier(types.SimpleNamespace(properties=object()), 3), "3")

    def test_without_nvrtc_the_kernels_say_so(self):
        bench = types.SimpleNamespace(torch=None, capability=(9, 0), device=None)
        kept = cuda_kernels.find_nvrtc
        cuda_kernels.find_nvrtc = lambda: (_ for _ in ()).throw(cuda_kernels.KernelError("libnvrtc was not found"))
        try:
            machine = gpu_device.Bench.__new__(gpu_device.Bench)
            machine.kernels, machine._kernel_error = None, ""
            machine.torch, machine.capability, machine.device = bench.torch, bench.capability, bench.device
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                self.assertFalse(machine.has_kernels())
                self.assertFalse(machine.has_kernels())
            self.assertEqual(said.getvalue(), "own kernels are not used: libnvrtc was not found\n")
        finally:
            cuda_kernels.find_nvrtc = kept


if __name__ == "__main__":
    unittest.main()
