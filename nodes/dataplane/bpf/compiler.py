"""The tc programs compiled: by clang, into a file that is named after everything it was made from.

``python -m nodes.dataplane.bpf.compiler`` makes it where it is not there yet. The name is a hash of the sources, the
flags and the compiler's own file, so that whether it is current is known without starting clang. Beside it stands the
hash of what it holds: one that a full disk or a killed machine has left damaged is made anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
CACHE = SOURCES.parents[2] / ".cache" / "bpf"
NAMES = ("clang", *(f"clang-{version}" for version in range(19, 13, -1)))
FLAGS = (
    "-O2",  # the verifier takes nothing less: functions have to be inlined, loops of a known number unrolled
    "-g",  # BTF: the types by which libbpf makes the maps
    "--target=bpf",
    "-mcpu=v3",  # instructions of 32 bits, in every kernel since 5.1
    "-fno-strict-aliasing",  # headers are looked at as words for their checksums
    "-Wall",
    "-Wextra",
    "-Werror",
)
_KEPT = 3  # objects: that of a lab which began before the sources changed may be asked for again
_SECONDS = 60.0
_SUM = ".sha256"


class CompileError(Exception):
    """There is no object, and why; one line.

    Attributes:
        log: What the compiler said, or None where there is no compiler.
    """

    def __init__(self, why: str, log: Path | None = None) -> None:
        super().__init__(f"{why}: see {log}" if log else why)
        self.log = log


def find_clang() -> Path | None:
    """The newest clang under its plain name, else one of those with a version behind it."""
    found = (shutil.which(name) for name in NAMES)
    return next((Path(path) for path in found if path), None)


def object_of(clang: Path, sources: Path = SOURCES, cache: Path = CACHE) -> Path:
    """Where the object is or belongs that ``clang`` makes of the sources as they are now."""
    compiler = clang.resolve()
    status = compiler.stat()
    key = hashlib.sha256(repr((FLAGS, str(compiler), status.st_size, status.st_mtime_ns)).encode())
    for path in sorted([*sources.glob("*.c"), *sources.glob("*.h")]):
        text = path.read_bytes()
        key.update(f"{path.name} {len(text)}\n".encode() + text)
    return cache / f"{key.hexdigest()}.o"


def provide(sources: Path = SOURCES, cache: Path = CACHE) -> Path:
    """The object of the sources as they are now, compiled if need be.

    Raises:
        CompileError: There is no clang, or it refuses.
    """
    clang = find_clang()
    if clang is None:
        raise CompileError("no clang to compile the tc programs with (Debian package clang)")
    target = object_of(clang, sources, cache)
    if _is_whole(target):
        return target
    log = target.with_suffix(".log")
    fresh, fresh_sum = (target.with_suffix(f".{os.getpid()}.{what}") for what in ("new", "new-sum"))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        order = [str(clang), *FLAGS, *_system_headers(clang), "-c", str(sources / "lisp.bpf.c"), "-o", str(fresh)]
        done = _run(order)
        log.write_text(f"{' '.join(order)}\n{done.stdout}", encoding="utf-8")
        if done.returncode:
            error = re.search(r"error: .*", done.stdout)
            what = f" ({error.group()})" if error else ""
            raise CompileError(f"{clang.name} cannot compile the tc programs{what}", log)
        # First the sum: what has the object of another compilation beside it is made once more.
        fresh_sum.write_text(_sum(fresh))
        fresh_sum.rename(target.with_suffix(_SUM))
        fresh.rename(target)
        _forget(cache, target)
    except subprocess.TimeoutExpired:
        raise CompileError(f"{clang} has not compiled the tc programs within {_SECONDS:g} s, and was killed") from None
    except OSError as error:
        raise CompileError(f"the tc programs cannot be compiled into {cache} ({error})") from None
    finally:
        fresh.unlink(missing_ok=True)
        fresh_sum.unlink(missing_ok=True)
    return target


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_whole(target: Path) -> bool:
    """Whether the object is there, as it was made."""
    try:
        return target.with_suffix(_SUM).read_text() == _sum(target)
    except (OSError, UnicodeDecodeError):
        return False


def _run(order: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a compiler; what is not done in time is killed, with all that it started, or its output would never end."""
    with subprocess.Popen(
        order,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C"},
        text=True,
        errors="replace",
        process_group=0,
    ) as process:
        try:
            said, _ = process.communicate(timeout=_SECONDS)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(order, process.returncode, said)


def _system_headers(clang: Path) -> list[str]:
    """The machine's own directories of headers: <asm/types.h> lies in one that clang leaves out for eBPF."""
    said = _run([str(clang), "-v", "-E", "-x", "c", "-"]).stdout
    found = re.search(r"#include <\.\.\.> search starts here:\n(.*?)End of search list", said, re.DOTALL)
    return [f"-idirafter{line.strip()}" for line in found.group(1).splitlines()] if found else []


def _forget(cache: Path, current: Path) -> None:
    """Remove objects that nobody will ask for again, their sums and logs."""
    objects = sorted(cache.glob("*.o"), key=lambda path: path.stat().st_mtime, reverse=True)
    kept = {current.stem, *(path.stem for path in objects[:_KEPT])}
    for path in [*objects, *cache.glob(f"*{_SUM}"), *cache.glob("*.log")]:
        if path.stem not in kept:
            path.unlink(missing_ok=True)


def main() -> int:
    """Make the object if need be; one line when that fails."""
    try:
        provide()
    except CompileError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
