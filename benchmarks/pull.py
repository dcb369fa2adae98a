"""How long a pull takes: ours against podman, containerd, and skopeo with umoci, and against what is possible at all.

::

    make bench-pull                                             # everything, and into the documents
    python -m benchmarks.pull --case big --on ext4 --rounds 1   # two minutes, only printed
    python -m benchmarks.pull --case tiny --peers podman --rounds 5
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.registry import real_registry

from .common import CACHE, CHECKOUT, FILE_SYSTEMS, LoopFileSystem, call, in_turn, leave_mounts_private, measure
from .contenders import CONTENDERS, OURS, Contender
from .figures import COLD, UPDATE, Figures, Results
from .floor import measure_floor
from .images import PLANS, VERSIONS, Case, prepare_case
from .report import render_markdown, write_report

_IMAGES = CACHE / "images"
_REGISTRY = CACHE / "registry"
_REPOSITORY = "benchmark"


@dataclass(frozen=True)
class Options:
    """What to measure."""

    cases: Sequence[str]
    file_systems: Sequence[str]
    rounds: int
    contenders: Sequence[Contender]
    is_kept: bool
    """Whether the figures go into the documents."""


def main(arguments: Sequence[str]) -> int:
    """Measure and tell."""
    options = _parse(arguments)
    leave_mounts_private()
    cases = [prepare_case(_IMAGES, name) for name in options.cases]
    shutil.rmtree(_REGISTRY, ignore_errors=True)
    with real_registry(_REGISTRY) as registry:
        for case in cases:
            _push(case, registry)
        results = [_measure_case(case, kind, registry, options) for case in cases for kind in options.file_systems]
    figures = Figures({each.name: each.version() for each in options.contenders}, results)
    print(render_markdown(figures))
    if options.is_kept:
        write_report(figures, CHECKOUT / "docs")
    return 0


def _parse(arguments: Sequence[str]) -> Options:
    peers = {each.name.split()[-1]: each for each in CONTENDERS if each is not OURS}
    parser = argparse.ArgumentParser(prog="benchmarks.pull", description=__doc__.partition("\n")[0])
    parser.add_argument("--case", action="append", choices=PLANS, help="only this image; may be repeated")
    parser.add_argument("--on", action="append", choices=FILE_SYSTEMS, help="only this file system")
    parser.add_argument("--peers", nargs="*", choices=peers, default=list(peers), help="compare only with these")
    parser.add_argument("--rounds", type=int, default=3, help="how often the quick contenders pull each image")
    parser.add_argument("--keep", action="store_true", help="put the figures into docs/benchmarks.md and beside it")
    found = parser.parse_args(arguments)
    contenders = (OURS, *(peers[name] for name in found.peers))
    return Options(found.case or list(PLANS), found.on or FILE_SYSTEMS, found.rounds, contenders, found.keep)


def _push(case: Case, registry: str) -> None:
    for version in VERSIONS:
        layout = _IMAGES / f"{case.name}-{version}"
        target = f"docker://{_reference(registry, case, version)}"
        # Otherwise skopeo takes a layer of the registry with the same contents, compressed in another way.
        call("skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}", target)


def _reference(registry: str, case: Case, version: str) -> str:
    return f"{registry}/{_REPOSITORY}/{case.name}:{version}"


def _measure_case(case: Case, kind: str, registry: str, options: Options) -> Results:
    """Each contender and the floor once a round, every time on a new file system."""
    results = Results(case, kind)
    with LoopFileSystem(kind, CACHE) as system:
        quick: list[Callable[[], None]] = [functools.partial(_run_floor, system, results)]
        slow: list[Callable[[], None]] = []
        for each in options.contenders:
            (slow if each.is_slow else quick).append(functools.partial(_run, each, system, registry, results))
        for run in (*in_turn([*quick, *slow], 1), *in_turn(quick, options.rounds - 1)):
            system.renew()
            _warm_up(case)
            run()
    return results


def _warm_up(case: Case) -> None:
    """Nobody's disk is measured for reading: what is served, and the floor's tars, are in the page cache."""
    for layer in {*case.layers, case.top}:
        for path in (layer.blob, layer.tar):
            _read(_IMAGES / path)
        digest = layer.digest.removeprefix("sha256:")
        _read(_REGISTRY / f"data/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data")


def _read(path: Path) -> None:
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def _run_floor(system: LoopFileSystem, results: Results) -> None:
    floor = measure_floor(results.case, _IMAGES, system, os.cpu_count() or 1)
    results.floors.append(floor)
    _tell(results, "floor", f"{floor.total:.2f} s")


def _run(contender: Contender, system: LoopFileSystem, registry: str, results: Results) -> None:
    """Both versions of the image into one storage, the second as if some time had gone by."""
    place = system.path / "storage"
    for situation, version in ((COLD, "1"), (UPDATE, "2")) if contender.updates else ((COLD, "1"),):
        place.mkdir(exist_ok=True)
        with contender.open(place) as ready:
            commands = ready.commands(_reference(registry, results.case, version))
            cost = measure(commands, daemon=ready.daemon, env=ready.environment)
        results.add(situation, contender.name, cost)
        _tell(
            results, contender.name, f"{situation} {cost.wall:.2f} s, CPU {cost.cpu:.2f} s, {cost.memory / 1e6:.0f} MB"
        )
        _expect_files(place, results.case, contender)
        system.sync()
        system.forget()


def _expect_files(place: Path, case: Case, contender: Contender) -> None:
    """A contender that is quick because it leaves the work undone is none."""
    found = int(call("sh", "-c", f"find '{place}' -type f | wc -l"))
    if found < case.files:
        raise RuntimeError(f"{contender.name} has unpacked only {found} of {case.files} files")


def _tell(results: Results, name: str, text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {results.case.name} {results.file_system} {name}: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
