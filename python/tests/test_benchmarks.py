"""The benchmarks' scripts: what they say of figures, and that half a run is not lost."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# ncu for the first number of tokens, and a device that is gone for the second.
NCU = """#!/bin/sh
while [ "$1" != --log-file ]; do shift; done
case "$*" in *"--tokens 2"*) echo "no device" >&2; exit 9 ;; esac
cat > "$2" <<'END'
==PROF== Connected
"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","ffn_kernel","gpu__time_duration.sum","us","2,000"
"0","ffn_kernel","dram__bytes_read.sum","Gbyte","8"
"0","ffn_kernel","dram__bytes_write.sum","byte","0"
"0","ffn_kernel","lts__t_sectors_srcunit_tex_op_read.sum","sector","32"
"0","ffn_kernel","sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed","%","50"
"0","ffn_kernel","smsp__cycles_elapsed.avg.per_second","Ghz","1.5"
END
"""


def profile(path, *options):
    return subprocess.run([sys.executable, ROOT / "benchmarks/profile_gpu.py", "--sluice", "sluice", *options],
                          env={**os.environ, "PATH": str(path)}, capture_output=True, text=True)


def test_rows_of_a_profile_before_a_failure_are_kept(tmp_path):
    ncu = tmp_path / "ncu"
    ncu.write_text(NCU)
    ncu.chmod(0o755)
    done = profile(f"{tmp_path}:/bin:/usr/bin", "--tokens", "1,2", "--json", str(tmp_path / "out.json"))
    assert done.returncode == 2 and "ncu ended with 9 for qwen3-30b, 2 tokens: no device" in done.stderr
    (row,) = json.loads((tmp_path / "out.json").read_text())
    assert (row["kernel"], row["microseconds"], row["terabytes_per_second"]) == ("ffn", 2000, 4)


def test_a_profile_without_ncu_says_so(tmp_path):
    done = profile(tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("ncu does not start: ")


@pytest.mark.parametrize("peer, label", [("ik_llama", "ik_llama.cpp's MoE layer"), ("ggml", "ggml's MoE layer"),
                                         ("onednn", "oneDNN, a matmul per expert")])
def test_a_peer_is_drawn_under_its_own_name(peer, label, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    report = ROOT / f"benchmarks/results/cpu/beside-ggml/bench.qwen3-30b.amx_bf16.{peer}.json"
    subprocess.run([sys.executable, ROOT / "benchmarks/plot_floor.py", report, "--out", tmp_path / "plot.svg"],
                   check=True)
    labels = re.findall("<!-- (.*, routing .*) -->", (tmp_path / "plot.svg").read_text())
    assert labels == ["Sluice, routing included", f"{label}, routing left out"]
