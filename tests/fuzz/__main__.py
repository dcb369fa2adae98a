from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path


def main(name: str, *options: str) -> None:
    """Run the fuzzer ``name`` until libFuzzer's options, or a finding, say stop."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["syscontainers"]):
        module = importlib.import_module(f"tests.fuzz.fuzz_{name}")
    findings = Path(__file__).parent / "cases" / name
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus, module.target(Path(corpus)) as call:
        atheris.Setup([sys.argv[0], corpus, f"-artifact_prefix={findings}/", "-max_len=20000", *options], call)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
