"""Compiles kernels.cu for the device at hand with NVRTC, which comes with PyTorch, and launches its kernels.

Only ctypes and the driver: no CUDA toolkit and no compiler are needed on the machine.
"""
import ctypes
import ctypes.util
import glob
import os
import pathlib
import sys

SOURCE = pathlib.Path(__file__).resolve().parent / "kernels.cu"
BLOCK = 256  # threads of a block


class KernelError(Exception):
    """NVRTC or the driver refused; the text says what it was doing."""


def find_nvrtc():
    """The NVRTC library: that of PyTorch's own packages first, then what the system's loader finds."""
    patterns = ("nvidia/cuda_nvrtc/lib/libnvrtc.so.*", "nvidia/cu*/lib/libnvrtc.so.*", "torch/lib/libnvrtc*.so*")
    found = []
    for folder in sys.path:
        for pattern in patterns:
            found += sorted(glob.glob(os.path.join(folder, pattern)))
    found = [name for name in found if "builtins" not in os.path.basename(name)]
    for name in (*found, ctypes.util.find_library("nvrtc"), "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"):
        if not name:
            continue
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise KernelError("libnvrtc was not found beside PyTorch or by the loader")


def compile_source(nvrtc, text, architecture, defines):
    """The binary of the source for an architecture ("sm_90")."""
    program = ctypes.c_void_p()

    def check(result, what):
        if result != 0:
            raise KernelError(f"NVRTC: {what} failed with code {result}{log(nvrtc, program)}")

    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None), "creation")
    try:
        options = [f"--gpu-architecture={architecture}", *(f"-D{name}={value}" for name, value in defines.items())]
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        check(nvrtc.nvrtcCompileProgram(program, len(options), array), f"compilation for {architecture}")
        size = ctypes.c_size_t()
        check(nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)), "size of the binary")
        binary = ctypes.create_string_buffer(size.value)
        check(nvrtc.nvrtcGetCUBIN(program, binary), "binary")
        return binary
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def log(nvrtc, program):
    """What the compiler said, on a new line; "" if nothing."""
    size = ctypes.c_size_t()
    if not program or nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)) != 0 or size.value <= 1:
        return ""
    text = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, text)
    return "\n" + text.value.decode(errors="replace")


def pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


def count(value):
    return ctypes.c_uint64(value)


def small(value):
    return ctypes.c_uint32(value)


class Kernel:
    """One kernel of a loaded module."""

    def __init__(self, owner, function):
        self._owner = owner
        self._function = function

    def launch(self, grid, *arguments, block=BLOCK):
        """On PyTorch's current stream, so that captures see it. Arguments are ctypes values."""
        places = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(one) for one in arguments))
        stream = ctypes.c_void_p(self._owner.torch.cuda.current_stream().cuda_stream)
        self._owner.check(self._owner.driver.cuLaunchKernel(self._function, grid, 1, 1, block, 1, 1, 0, stream, places,
                                                            None), "launch")

    def resident_blocks(self, block=BLOCK):
        """How many blocks fit on one multiprocessor at a time."""
        blocks = ctypes.c_int()
        self._owner.check(self._owner.driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
            ctypes.byref(blocks), self._function, block, ctypes.c_size_t(0)), "occupancy")
        return blocks.value


class CudaKernels:
    """The kernels of kernels.cu. Raises KernelError where they do not compile or load."""

    def __init__(self, bench):
        self.torch = bench.torch
        self._architecture = f"sm_{bench.capability[0]}{bench.capability[1]}"
        self._nvrtc = find_nvrtc()
        try:
            self.driver = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise KernelError(f"the driver's library does not load: {error}") from None
        # Makes PyTorch's context the current one of this thread.
        self.torch.zeros(1, device=bench.device)
        self.torch.cuda.synchronize()
        self._modules = {}
        self.get("nothing")

    def check(self, result, what):
        if result != 0:
            text = ctypes.c_char_p()
            self.driver.cuGetErrorString(result, ctypes.byref(text))
            raise KernelError(f"the driver: {what} failed: {(text.value or b'unknown').decode()} ({result})")

    def get(self, name, unroll=4):
        """The kernel of this name, with `unroll` independent loads per thread."""
        if unroll not in self._modules:
            binary = compile_source(self._nvrtc, SOURCE.read_text(encoding="utf-8"), self._architecture,
                                    {"UNROLL": unroll})
            module = ctypes.c_void_p()
            self.check(self.driver.cuModuleLoadData(ctypes.byref(module), binary), "loading")
            self._modules[unroll] = (module, {})
        module, functions = self._modules[unroll]
        if name not in functions:
            function = ctypes.c_void_p()
            self.check(self.driver.cuModuleGetFunction(ctypes.byref(function), module, name.encode()), f"finding {name}")
            functions[name] = Kernel(self, function)
        return functions[name]


def grid_for(bench, groups, block=BLOCK):
    """Blocks of a loop over `groups`: one group a thread until the device is full four times over."""
    return max(1, min(-(-groups // block), 4 * 8 * bench.multiprocessors))


def fp8_rows(bench, x):
    """A function that quantises bf16 rows with one scale each, and its outputs: y (e4m3) and scale [rows, 1].

    The function takes a tensor that may have other values than x but its shape.
    """
    torch = bench.torch
    rows, columns = x.shape
    y = torch.empty(rows, columns, dtype=torch.float8_e4m3fn, device=bench.device)
    scale = torch.empty(rows, 1, dtype=torch.float32, device=bench.device)
    kernel = bench.kernels.get("quantise_rows")

    def quantise(values):
        kernel.launch(rows, pointer(values), pointer(y), small(columns // 8), pointer(scale))

    return quantise, y, scale


def fp8_tensor(bench, x):
    """The same with one scale for the whole tensor, found first (amax), as engines do without calibrated scales."""
    torch = bench.torch
    y = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=bench.device)
    scale = torch.empty(1, dtype=torch.float32, device=bench.device)
    amax_bits = torch.zeros(1, dtype=torch.int32, device=bench.device)
    amax, cast = bench.kernels.get("amax_bf16"), bench.kernels.get("quantise_tensor")
    groups = x.numel() // 8
    grid = grid_for(bench, groups)

    def quantise(values):
        amax_bits.zero_()
        amax.launch(grid, pointer(values), count(groups), pointer(amax_bits))
        cast.launch(grid, pointer(values), pointer(y), count(groups), pointer(amax_bits), pointer(scale))

    return quantise, y, scale


def fp8_static(bench, x):
    """The same with a scale that is known beforehand: one pass."""
    torch = bench.torch
    y = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=bench.device)
    scale = torch.ones(1, dtype=torch.float32, device=bench.device)
    kernel = bench.kernels.get("quantise_static")
    groups = x.numel() // 8
    grid = grid_for(bench, groups)

    def quantise(values):
        kernel.launch(grid, pointer(values), pointer(y), count(groups), pointer(scale))

    return quantise, y, scale
