"""What the tests of the harness for real GPUs (tools/gpu) share: its modules, the columns of tables, calls of programs."""
import csv
import importlib
import io
import os
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(os.environ["MOESIM_SOURCE_DIR"])
TOOLS = SOURCE / "tools" / "gpu"
MEASURED = pathlib.Path(os.environ.get("MOESIM_DATA_DIR") or SOURCE / ".." / "shared") / "measured"
sys.dont_write_bytecode = True
sys.path.insert(0, str(TOOLS))

# The columns of the shared tables. A test holds this list against them where they are at hand.
SHARED = {
    "gemm": "system,backend,version,kernel,dtype,m,n,k,latency_us",
    "moe": "system,backend,version,kernel,dtype,tokens,hidden,inter,topk,experts,tp,ep,alpha,slow_tactic,latency_us",
    "attention_prefill": "system,backend,version,kernel,attn_dtype,kv_dtype,batch,seq_len,q_heads,kv_heads,head_dim,window,"
                         "latency_us",
    "attention_decode": "system,backend,version,kernel,attn_dtype,kv_dtype,batch,kv_len,q_heads,kv_heads,head_dim,window,"
                        "latency_us",
    "quantize": "system,backend,version,kernel,op,dtype,m,k,latency_us",
}
OWN = {
    "launch": "system,backend,version,kernel,op,nodes,latency_us",
    "bandwidth": "system,backend,version,kernel,op,bytes,blocks,unroll,bytes_in_flight,latency_us",
    "host_copy": "system,backend,version,kernel,op,memory,bytes,latency_us",
}
PROGRAMS = ("gemm", "moe", "attention_prefill", "attention_decode", "elementwise", "launch", "bandwidth", "host_copy")
FAMILIES = {name: importlib.import_module(name).FAMILY for name in PROGRAMS}


def program(name, *arguments, code=0, path=None):
    """Runs a family's program. `path`: a folder whose torch.py is found instead of PyTorch."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    environment.pop("PYTHONPATH", None)
    if path:
        environment["PYTHONPATH"] = str(path)
    result = subprocess.run([sys.executable, str(TOOLS / f"{name}.py"), *map(str, arguments)], env=environment,
                            capture_output=True, text=True, timeout=120, check=False)
    if result.returncode != code:
        raise AssertionError(f"{name} {arguments}: exit {result.returncode}, not {code}\n{result.stdout[-2000:]}"
                             f"{result.stderr}")
    return result


def fake_torch(folder, text):
    """A folder with a module torch of this text."""
    pathlib.Path(folder).mkdir(exist_ok=True)
    (pathlib.Path(folder) / "torch.py").write_text(text, encoding="utf-8")
    return pathlib.Path(folder).resolve()


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))
