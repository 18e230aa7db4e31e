#!/usr/bin/env python3
"""accuracy and calibrate with broken, hostile and absurd tables: exit codes, places, no half-written files."""
import os
import pathlib
import subprocess
import tempfile
import unittest

MOESIM = os.environ["MOESIM"]
HEADER = "system,backend,version,dtype,m,n,k,latency_us"
ROW = "h200_sxm,trtllm,1,bfloat16,16,4096,4096,20"
MOE = "system,backend,version,dtype,tokens,hidden,inter,topk,experts,tp,ep,alpha,latency_us"
EXCHANGE = "system,backend,version,mode,phase,nodes,hidden,tokens,topk,experts,sms,latency_us"
PREFILL = "system,backend,attn_dtype,kv_dtype,batch,seq_len,q_heads,kv_heads,head_dim,latency_us"
DECODE = "system,backend,attn_dtype,kv_dtype,batch,kv_len,q_heads,kv_heads,head_dim,latency_us"


class MeasuredErrors(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)

    def table(self, *lines):
        path = self.root / "rows.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    def moesim(self, *arguments, code):
        done = subprocess.run([MOESIM, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def refused(self, lines, *texts):
        error = self.moesim("accuracy", "--measured", self.table(*lines), code=2).stderr
        for text in texts:
            self.assertIn(text, error)

    def test_broken_cells_are_named_with_line_and_column(self):
        self.refused([HEADER, ROW.replace("16,4096", "abc,4096")], "not a whole number", "rows.csv:2:28")
        self.refused([HEADER, ROW.replace("16,4096", "0,4096")], 'column "m"', "rows.csv:2:28")
        self.refused([HEADER, ROW + ",7"], "9 fields, but the header has 8", "rows.csv:2:1")
        for latency in ("nan", "-1", "0", "1e300", "1e-300", ""):
            self.refused([HEADER, ROW[:-2] + latency], 'column "latency_us"', "rows.csv:2:")
        self.refused([HEADER, ROW.replace("h200", "h900")], 'no GPU "h900_sxm"', "rows.csv:2:1")

    def test_a_column_given_twice_is_shown_where_it_stands(self):
        self.refused([HEADER + ",m", ROW + ",1"], 'two columns are named "m"', "rows.csv:1:47", HEADER + ",m")

    def test_a_library_cannot_name_a_path(self):
        for name in ("../../evil", "", "a b", "/etc"):
            self.refused([HEADER, ROW.replace("trtllm", name)], 'column "backend"', "rows.csv:2:10")

    def test_absurd_sizes_are_refused_at_once(self):
        big = 1 << 40
        self.refused(["system,backend,op,dtype,m,k,latency_us", f"h200_sxm,trtllm,scale_matrix,fp8,{big},{big},9"],
                     "m x k is above 2^40")
        gdn = "system,backend,kernel,phase,batch,seq_len,k_heads,head_k_dim,v_heads,head_v_dim,d_conv,latency_us"
        for sizes, text in ((f"{big},{big},1,1", "k_heads x"), (f"1,1,{big},{big}", "v_heads x")):
            self.refused([gdn, f"h200_sxm,trtllm,fused,context,1,1,{sizes},4,9"], text)
        module = "system,backend,model,attn_dtype,kv_dtype,gemm_dtype,batch,seq_len,heads,latency_us"
        for sizes, text in ((f"{big},{big},16", "tokens of all sequences"), (f"1,1,{big}", "65536 heads")):
            self.refused([module, f"h200_sxm,trtllm,DeepSeek-V3,bfloat16,bfloat16,bfloat16,{sizes},9"], text)
        for tokens, experts in ((big, 8), (1, big)):
            row = f"h200_sxm,sglang,1,normal,dispatch,1,7168,{tokens},{experts},{experts},20,99"
            self.refused([EXCHANGE, row], "at most")

    def test_heavily_skewed_routing_of_many_rows_is_quick(self):
        # Half of 2^40 rows are over after the draw: dealt out one by one they would take hours.
        row = "h200_sxm,trtllm,1,bfloat16,16777216,1024,1024,65536,65536,1,1,1.2,1e6"
        self.moesim("accuracy", "--measured", self.table(MOE, row), code=0)

    def test_kernel_and_window_may_be_left_out(self):
        for header in (PREFILL, DECODE):
            row = "h200_sxm,trtllm,bfloat16,bfloat16,4,2048,32,8,128,150"
            out = self.moesim("accuracy", "--measured", self.table(header, row), "--format", "csv", code=0).stdout
            self.assertEqual(len(out.strip().splitlines()), 2, out)

    def test_unknown_names_have_suggestions(self):
        path = self.table(HEADER, ROW)
        for flag, wrong, right in (("--op", "gemn", "gemm"), ("--gpu", "h200-sxn", "h200-sxm"),
                                   ("--parameters-of", "h100-sxn", "h100-sxm")):
            error = self.moesim("accuracy", "--measured", path, flag, wrong, code=2).stderr
            self.assertIn(f"did you mean {right}?", error)

    def test_more_folds_than_rows_are_as_many_as_rows(self):
        path = self.table(HEADER, ROW, ROW.replace("4096,20", "8192,30"))
        many = self.moesim("accuracy", "--measured", path, "--group-folds", 10**12, code=0).stdout
        self.assertEqual(many, self.moesim("accuracy", "--measured", path, "--group-folds", 2, code=0).stdout)

    def test_calibrate_reports_a_folder_that_cannot_be_made(self):
        (self.root / "file").write_text("")
        error = self.moesim("calibrate", "--data", self.table(HEADER, ROW), "--gpu", "h200-sxm", "-o",
                            self.root / "file", code=2).stderr
        self.assertIn("cannot make the folder", error)

    def test_what_calibrate_writes_can_be_read_however_absurd_the_rows(self):
        out = self.root / "out"
        rows = [f"h200_sxm,trtllm,1,bfloat16,{1 << 40},{(1 << 40) - i},{1 << 40},0.001" for i in range(12)]
        self.moesim("calibrate", "--data", self.table(HEADER, *rows), "--gpu", "h200-sxm", "--table", "-o", out, code=0)
        self.moesim("describe", "kernels", "trtllm-h200-sxm", "--config-path", out, code=0)

    def test_kernels_under_the_name_of_another_gpu_are_refused(self):
        source = pathlib.Path(os.environ["MOESIM_SOURCE_DIR"])
        text = (source / "hw_configs" / "kernels" / "vllm-h100-sxm.json").read_text()
        folder = self.root / "hw_configs" / "kernels"
        folder.mkdir(parents=True)
        scenario = source / "workloads" / "scenarios" / "llama-3.1-8b-h100.json"
        for broken, part in ((text.replace('"gpu": "h100-sxm"', '"gpu": "a100-sxm-80g"', 1), "LIBRARY-GPU"),
                             (text.replace("h100-sxm", "a100-sxm-80g"), 'holds the kernels "vllm-a100-sxm-80g"')):
            (folder / "vllm-h100-sxm.json").write_text(broken)
            self.assertIn(part, self.moesim("run", scenario, "--config-path", self.root, code=2).stderr)


if __name__ == "__main__":
    unittest.main()
