"""eBPF objects: programs and maps that clang compiled, loaded through libbpf.so.1 by ctypes.

Kernel documentation: "bpf/libbpf". Everything is held by descriptors; nothing is pinned to a file system. An
:class:`Object` loads as a whole or not at all::

    with libbpf.Object(Path("lisp.bpf.o"), sizes={"map_cache": 100_000}) as loaded:
        loaded.maps["map_cache"].update(key, value)
        classifier.attach(kernel, index, loaded.programs["lisp_site"].descriptor, "lisp_site", Hook.INGRESS, 10)
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from nodes.linux.bpf_maps import Map

SONAME = "libbpf.so.1"

_OWN_ERRORS = 4000  # enum libbpf_errno begins here
_WARNING = 0  # enum libbpf_print_level
_LONGEST_MESSAGE = 17 << 20  # libbpf's own buffer for the verifier's log ends at 16 MiB
_POINTER, _INT, _TEXT, _U32, _U64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint64

_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "libbpf_version_string": (_TEXT, []),
    "libbpf_strerror": (_INT, [_INT, _TEXT, ctypes.c_size_t]),
    "libbpf_set_print": (_POINTER, [_POINTER]),
    "libbpf_num_possible_cpus": (_INT, []),
    "bpf_object__open_file": (_POINTER, [_TEXT, _POINTER]),
    "bpf_object__load": (_INT, [_POINTER]),
    "bpf_object__close": (None, [_POINTER]),
    "bpf_object__next_program": (_POINTER, [_POINTER, _POINTER]),
    "bpf_object__next_map": (_POINTER, [_POINTER, _POINTER]),
    "bpf_program__name": (_TEXT, [_POINTER]),
    "bpf_program__fd": (_INT, [_POINTER]),
    "bpf_map__name": (_TEXT, [_POINTER]),
    "bpf_map__fd": (_INT, [_POINTER]),
    "bpf_map__type": (_INT, [_POINTER]),
    "bpf_map__key_size": (_U32, [_POINTER]),
    "bpf_map__value_size": (_U32, [_POINTER]),
    "bpf_map__max_entries": (_U32, [_POINTER]),
    "bpf_map__set_max_entries": (_INT, [_POINTER, _U32]),
    "bpf_map_update_elem": (_INT, [_INT, _POINTER, _POINTER, _U64]),
    "bpf_map_delete_elem": (_INT, [_INT, _POINTER]),
    "bpf_map_lookup_elem": (_INT, [_INT, _POINTER, _POINTER]),
    "bpf_map_get_next_key": (_INT, [_INT, _POINTER, _POINTER]),
    "bpf_map_update_batch": (_INT, [_INT, _POINTER, _POINTER, _POINTER, _POINTER]),
    "bpf_map_lookup_batch": (_INT, [_INT, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER]),
    "bpf_prog_test_run_opts": (_INT, [_INT, _POINTER]),
    "ring_buffer__new": (_POINTER, [_INT, _POINTER, _POINTER, _POINTER]),
    "ring_buffer__epoll_fd": (_INT, [_POINTER]),
    "ring_buffer__consume": (_INT, [_POINTER]),
    "ring_buffer__free": (None, [_POINTER]),
}


class LibraryMissingError(OSError):
    """This machine has no libbpf.so.1 (Debian package libbpf1)."""

    def __str__(self) -> str:
        return str(self.strerror)


class LoadError(OSError):
    """An object could not be opened, or the kernel refused it.

    Attributes:
        log: What libbpf says to it, with the verifier's log if it got that far.
    """

    def __init__(self, error: int, what: str, log: str) -> None:
        super().__init__(error, f"{what}: {_meaning(error)}")
        self.log = log

    def __str__(self) -> str:
        return str(self.strerror)


def _meaning(error: int) -> str:
    """An error number in words: the kernel's, or one of libbpf's own, which begin at 4000."""
    if error < _OWN_ERRORS:
        return os.strerror(error)
    words = ctypes.create_string_buffer(200)
    library().libbpf_strerror(error, words, len(words))
    return words.value.decode(errors="replace")


_warnings: list[str] = []
_libc = ctypes.CDLL(None)
_libc.vsnprintf.argtypes = [_POINTER, ctypes.c_size_t, _TEXT, _POINTER]


def _keep_warning(level: int, form: bytes, arguments: int) -> int:
    """What libbpf prints by: a ``va_list`` is handed on as a pointer on all machines that this runs on."""
    if level == _WARNING:
        with mmap.mmap(-1, _LONGEST_MESSAGE) as room:
            start = ctypes.addressof(ctypes.c_char.from_buffer(room))
            length = _libc.vsnprintf(start, _LONGEST_MESSAGE, form, arguments)
            _warnings.append(room[: min(length, _LONGEST_MESSAGE - 1)].decode(errors="replace"))
    return 0


_print = ctypes.CFUNCTYPE(_INT, _INT, _TEXT, _POINTER)(_keep_warning)


@cache
def library() -> Any:
    """libbpf, with the prototypes of all that is called here.

    Raises:
        LibraryMissingError: There is none, or one that is too old or too new.
    """
    try:
        loaded = ctypes.CDLL(SONAME, use_errno=True)
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise LibraryMissingError(0, f"{SONAME} (Debian package libbpf1) cannot be used: {error}") from None
    loaded.libbpf_set_print(_print)
    return loaded


def version() -> str:
    """The version of libbpf, for example "1.1".

    Raises:
        LibraryMissingError: There is none.
    """
    text: bytes = library().libbpf_version_string()
    return text.decode().removeprefix("v")


class _TestRunOptions(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("data_in", _POINTER),
        ("data_out", _POINTER),
        ("data_size_in", _U32),
        ("data_size_out", _U32),
        ("context_in", _POINTER),
        ("context_out", _POINTER),
        ("context_size_in", _U32),
        ("context_size_out", _U32),
        ("result", _U32),
        ("repeat", _INT),
        ("duration", _U32),
        ("flags", _U32),
        ("cpu", _U32),
        ("batch_size", _U32),
    ]


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a program did to a packet that the kernel gave it for a test.

    Attributes:
        result: What it returned, signed (TC_ACT_UNSPEC is -1).
        packet: The packet as it left it.
        context: The context as it left it (``struct __sk_buff``), as long as the one it was given.
        duration: Nanoseconds, the mean over the repetitions.
    """

    __test__ = False  # pytest collects what is called so

    result: int
    packet: bytes
    context: bytes
    duration: int


@dataclass(frozen=True, slots=True)
class Program:
    """A program that the kernel has accepted.

    Attributes:
        name: Its function's name in the source.
        descriptor: It lives as long as its object; what it is attached to keeps a hold of its own.
    """

    name: str
    descriptor: int

    def test_run(self, packet: bytes, context: bytes = b"", repeat: int = 1, room: int = 256) -> TestRun:
        """Have the kernel run it on a packet (BPF_PROG_TEST_RUN).

        Args:
            packet: From the Ethernet header on.
            context: ``struct __sk_buff``, or its beginning; empty: the kernel's own.
            repeat: How often it runs on the same packet, for a duration that means something.
            room: How many bytes the packet may grow.

        Raises:
            OSError: The kernel refused the packet or the context.
        """
        data = ctypes.create_string_buffer(len(packet) + room)
        left = ctypes.create_string_buffer(len(context))
        options = _TestRunOptions(size=ctypes.sizeof(_TestRunOptions), repeat=repeat)
        kept = ctypes.c_char_p(packet), ctypes.c_char_p(context)
        options.data_in, options.data_size_in = ctypes.cast(kept[0], _POINTER), len(packet)
        options.data_out, options.data_size_out = ctypes.addressof(data), len(data)
        if context:
            options.context_in, options.context_size_in = ctypes.cast(kept[1], _POINTER), len(context)
            options.context_out, options.context_size_out = ctypes.addressof(left), len(left)
        done = library().bpf_prog_test_run_opts(self.descriptor, ctypes.byref(options))
        if done < 0:
            raise OSError(-done, f"run {self.name} on a packet of {len(packet)} bytes: {os.strerror(-done)}")
        result = ctypes.c_int32(options.result).value
        return TestRun(result, data.raw[: options.data_size_out], left.raw, options.duration)


class Object:
    """The maps and programs of a compiled file, loaded into the kernel.

    Attributes:
        maps: Its maps by name.
        programs: Its programs by name.
    """

    def __init__(self, path: Path, sizes: Mapping[str, int] | None = None) -> None:
        """Open and load it.

        Args:
            path: The compiled file.
            sizes: Number of entries of maps that are to have another than the source says, by name.

        Raises:
            LibraryMissingError: There is no libbpf.
            LoadError: The file is no eBPF object, or the kernel refused a map or a program.
            KeyError: ``sizes`` names a map that the file does not have.
        """
        self._libbpf = library()
        _warnings.clear()
        self._handle: int | None = self._libbpf.bpf_object__open_file(os.fsencode(path), None)
        if self._handle is None:
            raise LoadError(ctypes.get_errno(), f"open {path}", "".join(_warnings))
        try:
            maps = {self._name(self._libbpf.bpf_map__name, one): one for one in self._parts("map")}
            for name, entries in (sizes or {}).items():
                self._libbpf.bpf_map__set_max_entries(maps[name], entries)
            refused = self._libbpf.bpf_object__load(self._handle)
            if refused:
                raise LoadError(-refused, f"load {path}", "".join(_warnings))
        except BaseException:
            self.close()
            raise
        self.maps = {name: Map(self._libbpf, name, one) for name, one in maps.items()}
        programs = [
            Program(self._name(self._libbpf.bpf_program__name, one), self._libbpf.bpf_program__fd(one))
            for one in self._parts("program")
        ]
        self.programs = {program.name: program for program in programs}

    @staticmethod
    def _name(of: Any, part: int) -> str:
        text: bytes = of(part)
        return text.decode()

    def _parts(self, kind: str) -> Iterator[int]:
        step = getattr(self._libbpf, f"bpf_object__next_{kind}")
        part = step(self._handle, None)
        while part is not None:
            yield part
            part = step(self._handle, part)

    def close(self) -> None:
        """Let go of its descriptors: its maps vanish, and its programs where they are not attached."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._libbpf.bpf_object__close(handle)

    def __enter__(self) -> Object:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
