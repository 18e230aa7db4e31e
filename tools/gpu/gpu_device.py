"""The machine that is measured: PyTorch, the GPU, its names, and a record of the state it was in."""
import datetime
import os
import platform
import re
import shutil
import subprocess
import sys

# Names of devices as CUDA gives them, and of systems as the shared tables and hw_configs/gpus (with dashes) do.
SYSTEMS = (
    (r"\bGB300\b", "gb300"),
    (r"\bGB200\b", "gb200"),
    (r"\bB300\b", "b300_sxm"),
    (r"\bB200\b", "b200_sxm"),
    (r"\bH200\b(?!.*NVL)", "h200_sxm"),
    (r"\bH100 80GB HBM3\b", "h100_sxm"),
    (r"\bH800\b(?!.*PCIe)", "h800_sxm"),
    (r"\bH20\b", "h20"),
    (r"\bA100-SXM4-80GB\b", "a100_sxm"),
    (r"\bL40S\b", "l40s"),
    (r"\bRTX PRO 6000 Blackwell Server\b", "rtx_pro_6000_server"),
    (r"\bRTX 4090\b(?!.*Laptop)", "rtx_4090"),
    (r"\bRTX A5000\b(?!.*Laptop)", "rtx_a5000"),
)
SMI_FIELDS = ("name", "driver_version", "vbios_version", "persistence_mode", "ecc.mode.current", "mig.mode.current",
              "power.limit", "power.draw", "temperature.gpu", "clocks.sm", "clocks.mem", "clocks.max.sm",
              "clocks.max.mem", "clocks.applications.graphics", "utilization.gpu", "clocks_throttle_reasons.active")
UNKNOWN_L2 = 128 * 2**20


class Unavailable(Exception):
    """PyTorch or the GPU is missing; the text says what to do."""


def system_of(name):
    """The system of a device name: a known one, or the name itself in lower case with underscores."""
    for pattern, system in SYSTEMS:
        if re.search(pattern, name):
            return system
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("nvidia", "")).strip("_") or "unknown"


def load_torch():
    """The module torch with a usable GPU. Raises Unavailable."""
    try:
        import torch
    except ImportError as error:
        raise Unavailable(f"PyTorch cannot be imported by {sys.executable}: {error}\n"
                          "  install it for this Python (https://pytorch.org/get-started/locally), or try --dry-run, "
                          "which needs neither PyTorch nor a GPU") from None
    if getattr(torch.version, "hip", None):
        raise Unavailable(f"PyTorch {torch.__version__} is built for ROCm: this harness knows NVIDIA GPUs only")
    if not torch.cuda.is_available():
        built = torch.version.cuda or "no CUDA: a build for CPUs only"
        raise Unavailable(f"PyTorch {torch.__version__} (built for {built}) sees no GPU\n"
                          "  look at nvidia-smi and CUDA_VISIBLE_DEVICES, or try --dry-run")
    return torch


class Bench:
    """What the families need from the machine."""

    def __init__(self, torch, index, rounds, warm):
        if index >= torch.cuda.device_count():
            raise Unavailable(f"--device {index}: there are {torch.cuda.device_count()} GPUs, counted from 0")
        self.torch = torch
        self.rounds = rounds
        self.warm = warm
        torch.cuda.set_device(index)
        self.device = torch.device("cuda", index)
        self.properties = torch.cuda.get_device_properties(index)
        self.name = self.properties.name
        self.capability = (self.properties.major, self.properties.minor)
        self.multiprocessors = self.properties.multi_processor_count
        self.l2_bytes = getattr(self.properties, "L2_cache_size", 0) or UNKNOWN_L2
        self.kernels = None
        self._kernel_error = ""
        self._flush = None

    @property
    def has_fp8(self):
        return self.capability >= (8, 9)

    def free_bytes(self):
        return self.torch.cuda.mem_get_info()[0]

    def flush_l2(self):
        """Reads four times the L2 cache, so that nothing older is left in it. Written lines would have to go back to
        DRAM during the timed reads after it."""
        if self._flush is None:
            self._flush = self.torch.zeros(self.l2_bytes, dtype=self.torch.float32, device=self.device)
        self._flush.sum()

    def has_kernels(self):
        """Whether our own kernels (`kernels`, of cuda_kernels.py) compile and load here; says once why if not."""
        if self.kernels is None and not self._kernel_error:
            import cuda_kernels
            try:
                self.kernels = cuda_kernels.CudaKernels(self)
            except cuda_kernels.KernelError as error:
                self._kernel_error = str(error)
                print(f"own kernels are not used: {error}", file=sys.stderr)
        return self.kernels is not None

    def release(self):
        """Gives memory of the last shape back."""
        self.torch.cuda.synchronize()
        self.torch.cuda.empty_cache()


def smi_identifier(bench, index):
    """How nvidia-smi calls the device: it does not follow CUDA_VISIBLE_DEVICES."""
    uuid = str(getattr(bench.properties, "uuid", "") or "")
    if uuid:
        return uuid if uuid.startswith(("GPU-", "MIG-")) else "GPU-" + uuid
    visible = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    return visible[index] if index < len(visible) else str(index)


def query_smi(identifier, fields=SMI_FIELDS, run=subprocess.run):
    """State of the device from nvidia-smi, field by field where the driver does not know all of them; {} without it."""
    if shutil.which("nvidia-smi") is None and run is subprocess.run:
        return {}

    def ask(asked):
        command = ["nvidia-smi", "-i", identifier, "--query-gpu=" + ",".join(asked), "--format=csv,noheader"]
        try:
            result = run(command, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        values = [value.strip() for value in result.stdout.strip().split(",")]
        return dict(zip(asked, values)) if result.returncode == 0 and len(values) == len(asked) else None

    state = ask(fields)
    if state is None:
        state = {}
        for field in fields:
            state.update(ask([field]) or {})
    return state


def describe(bench):
    """What a reader of the rows wants to know about the machine."""
    torch = bench.torch
    return {
        "gpu": bench.name,
        "compute_capability": f"{bench.capability[0]}.{bench.capability[1]}",
        "multiprocessors": bench.multiprocessors,
        "l2_bytes": bench.l2_bytes,
        "memory_bytes": bench.properties.total_memory,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
        "host": {"machine": platform.machine(), "system": platform.system(), "kernel": platform.release()},
    }


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
