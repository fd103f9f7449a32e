"""The docs' Python is run; their C and C++ are excerpts of what CI compiles."""

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
AUDIT = "audit-your-backend.md"


def blocks(language, page=AUDIT):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page, least", [(AUDIT, 4), ("python.md", 3)])
def test_the_pages_python_runs_and_asserts(page, least):
    python = blocks("python", page)
    assert sum("assert" in block for block in python) >= least
    names = {}
    for number, block in enumerate(python, 1):
        exec(compile(block, f"{page}, block {number}", "exec"), names)


@pytest.mark.parametrize("language, file", [("c", "examples/plugin_c/example_plugin.c"),
                                            ("cpp", "examples/backend_cpp/my_backend.cpp")])
def test_the_pages_excerpts_are_excerpts(language, file):
    source = (ROOT / file).read_text(encoding="utf-8")
    assert blocks(language)
    for block in blocks(language):
        assert block in source, f"{file} does not hold:\n{block}"


def test_the_pages_compiler_lines_compile(tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    import sluice

    verdicts = {}
    for line in "".join(blocks("sh")).splitlines():
        if line.startswith("cc "):
            words = [str(tmp_path / w) if w.endswith(".so") else w for w in line.split()]
            subprocess.run(words, cwd=ROOT, check=True)
    for name in ("libexample.so", "libbroken.so"):
        report = sluice.audit(sluice.load_plugin(tmp_path / name), suite="A", rounds=1)
        verdicts[name] = {failure.looks_like for failure in report.failures}
    assert verdicts["libexample.so"] == set()
    assert "behaves as if routed_scaling_factor were 1" in verdicts["libbroken.so"]
