"""The interpreter ends whatever its daemon threads are doing."""

import os
import pathlib
import subprocess
import sys

import pytest

import sluice

PROGRAM = """
import os, sys, threading, time
import numpy as np
import sluice
from conftest import make_problem

problem = make_problem(experts=8, hidden=256, inner=256, tokens=64)
backend = sluice.callable_backend(lambda spec, weights, hidden, *rest: hidden * 2, "all", name="mine")
layers = {"layer": sluice.layer(problem.spec, problem.weights, "reference", threads=1),
          "callable": sluice.layer(problem.spec, problem.weights, backend, threads=1)}

def work(what):
    while True:
        if what == "audit":
            sluice.audit("reference", rounds=1, threads=1)
        else:
            layers[what](problem.hidden, problem.logits)

what, how = sys.argv[1:]
for _ in range(2):
    threading.Thread(target=work, args=(what,), daemon=True).start()
time.sleep(0.2)
if how == "fork" and os.fork() > 0:
    assert os.wait()[1] == 0
print("the end")
"""


def end(tmp_path, what, how):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    folders = [pathlib.Path(sluice.__file__).parents[1], pathlib.Path(__file__).parent]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, folders)))
    return subprocess.run([sys.executable, "-W", "ignore", str(program), what, how],
                          capture_output=True, text=True, timeout=120, env=environment)


@pytest.mark.parametrize("what", ["layer", "callable", "audit"])
def test_daemon_threads_do_not_abort_the_process(tmp_path, what):
    # A call must be under way when the interpreter ends: one attempt may miss it.
    for _ in range(4):
        ended = end(tmp_path, what, "plainly")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the end\n", "")


def test_a_forked_child_does_not_wait_for_its_parents_calls(tmp_path):
    ended = end(tmp_path, "layer", "fork")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("the end") == 2
