"""Maps of a loaded eBPF object: keys and values as bytes, the memory of arrays, and ring buffers.

Kernel documentation: "bpf/maps", bpf(2). A key or value of a wrong length is refused here: the kernel would read past
its end.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

ANY, NO_EXIST, EXIST = 0, 1, 2
"""What an update may do: anything, only add, only replace."""

_PER_CPU_KINDS = {5, 6, 10, 21}  # hash, array, LRU hash, cgroup storage
_BATCH = 4096
_LEAST_KEY_ROOM = 4  # where a batch goes on is four bytes in hashes, whatever their keys
_NO_BATCHES = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, 524}  # 524: the kernel's own ENOTSUPP


class Map:
    """One map.

    Attributes:
        name: As the source says; the kernel keeps its first 15 bytes.
        descriptor: It lives as long as the object.
        key_size: Bytes of a key.
        value_size: Bytes of a value, of each CPU's where the map is ``per_cpu``.
        max_entries: How many entries it holds; bytes of a ring buffer.
        per_cpu: Whether each CPU has a value of its own.
    """

    def __init__(self, libbpf: Any, name: str, handle: int) -> None:
        """Take a map of an object that is loaded.

        Args:
            libbpf: The library.
            name: The map's name.
            handle: libbpf's pointer to it.
        """
        self._libbpf = libbpf
        self.name = name
        self.descriptor: int = libbpf.bpf_map__fd(handle)
        self.key_size: int = libbpf.bpf_map__key_size(handle)
        self.value_size: int = libbpf.bpf_map__value_size(handle)
        self.max_entries: int = libbpf.bpf_map__max_entries(handle)
        self.per_cpu: bool = libbpf.bpf_map__type(handle) in _PER_CPU_KINDS
        self._stride = (self.value_size + 7) & ~7
        self._room = self._stride * libbpf.libbpf_num_possible_cpus() if self.per_cpu else self.value_size
        self._key = ctypes.create_string_buffer(max(self.key_size, _LEAST_KEY_ROOM))
        self._value = ctypes.create_string_buffer(max(self._room, 1))
        self._update = libbpf.bpf_map_update_elem

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Write an entry.

        Args:
            key: The key.
            value: The value; of a map with a value for each CPU, all of them as :meth:`lookup` gives them.
            flags: :data:`ANY`, :data:`NO_EXIST` or :data:`EXIST`.

        Raises:
            ValueError: The key or the value has not the map's size.
            OSError: The kernel refused: E2BIG, the map is full; EEXIST, ENOENT by the flags.
        """
        if len(key) != self.key_size or len(value) != self._room:
            raise self._misfit(key, value)
        refused = self._update(self.descriptor, key, value, flags)
        if refused:
            raise self._refusal(-refused, "write an entry of")

    def update_many(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Write many entries, in batches where the kernel takes them.

        Args:
            entries: Keys and values.

        Raises:
            ValueError: A key or value has not the map's size; its batch and those after it are not written.
            OSError: The kernel refused an entry; those before it are written.
        """
        remaining = iter(entries)
        while batch := list(islice(remaining, _BATCH)):
            for key, value in batch:
                if len(key) != self.key_size or len(value) != self._room:
                    raise self._misfit(key, value)
            written = self._write_batch(batch)
            for key, value in batch[written:]:
                self.update(key, value)

    def _write_batch(self, batch: Sequence[tuple[bytes, bytes]]) -> int:
        """How many of them the kernel took; the rest is to be tried one by one, for the error of the first."""
        keys, values = (b"".join(column) for column in zip(*batch, strict=True))
        count = ctypes.c_uint32(len(batch))
        refused = self._libbpf.bpf_map_update_batch(self.descriptor, keys, values, ctypes.byref(count), None)
        if not refused:
            return len(batch)
        # A kernel without batches leaves the number as it was.
        return 0 if -refused in _NO_BATCHES or -refused == errno.EFAULT else count.value

    def delete(self, key: bytes) -> bool:
        """Take an entry away.

        Returns:
            Whether there was one.

        Raises:
            ValueError: The key has not the map's size.
            OSError: The kernel refused.
        """
        if len(key) != self.key_size:
            raise self._misfit(key)
        refused = self._libbpf.bpf_map_delete_elem(self.descriptor, key)
        if refused and -refused != errno.ENOENT:
            raise self._refusal(-refused, "delete an entry of")
        return not refused

    def lookup(self, key: bytes) -> bytes | None:
        """The value of a key, or None. Of a map with a value for each CPU all of them, as :meth:`split` takes apart.

        Raises:
            ValueError: The key has not the map's size.
            OSError: The kernel refused.
        """
        if len(key) != self.key_size:
            raise self._misfit(key)
        refused = self._libbpf.bpf_map_lookup_elem(self.descriptor, key, self._value)
        if not refused:
            return self._value.raw[: self._room]
        if -refused != errno.ENOENT:
            raise self._refusal(-refused, "read an entry of")
        return None

    def split(self, value: bytes) -> list[bytes]:
        """The value of each possible CPU, out of what :meth:`lookup` and :meth:`items` give."""
        return [value[start : start + self.value_size] for start in range(0, len(value), self._stride)]

    def keys(self) -> Iterator[bytes]:
        """The keys, as the kernel goes through them; who deletes meanwhile makes a list of them first.

        Raises:
            OSError: The kernel refused.
        """
        key: bytes | None = None
        while True:
            refused = self._libbpf.bpf_map_get_next_key(self.descriptor, key, self._key)
            if -refused == errno.ENOENT:
                return
            if refused:
                raise self._refusal(-refused, "go through the keys of")
            key = self._key.raw[: self.key_size]
            yield key

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values, read in batches where the kernel gives them.

        Raises:
            OSError: The kernel refused.
        """
        size, room = self.key_size, self._room
        most = min(self.max_entries, _BATCH)
        keys, values = ctypes.create_string_buffer(most * size), ctypes.create_string_buffer(most * room)
        place: Any = None
        while True:
            count = ctypes.c_uint32(most)
            refused = self._libbpf.bpf_map_lookup_batch(
                self.descriptor, place, self._key, keys, values, ctypes.byref(count), None
            )
            if refused and -refused != errno.ENOENT:
                break
            key_bytes, value_bytes = keys.raw, values.raw
            for n in range(count.value):
                yield key_bytes[n * size : (n + 1) * size], value_bytes[n * room : (n + 1) * room]
            if refused:
                return
            place = bytes(self._key.raw)
        if place is not None or -refused not in _NO_BATCHES | {errno.ENOSPC}:
            raise self._refusal(-refused, "read the entries of")
        for key in self.keys():
            value = self.lookup(key)
            if value is not None:
                yield key, value

    def memory(self) -> memoryview:
        """The values of an array with BPF_F_MMAPABLE: read and written in place, each at a multiple of eight bytes.

        Raises:
            OSError: The map is none of those.
        """
        length = self._stride * self.max_entries
        try:
            return memoryview(mmap.mmap(self.descriptor, length))[:length]
        except OSError as error:
            raise OSError(error.errno, f"the eBPF map {self.name} cannot be mapped into memory") from None

    def _refusal(self, error: int, what: str) -> OSError:
        return OSError(error, f"{what} the eBPF map {self.name}: {os.strerror(error)}")

    def _misfit(self, key: bytes, value: bytes | None = None) -> ValueError:
        given = f"{len(key)}" if value is None else f"{len(key)} and {len(value)}"
        return ValueError(
            f"the eBPF map {self.name} has keys of {self.key_size} and values of {self._room} bytes: {given}"
        )


_Sample = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class RingBuffer:
    """The reading end of a ring buffer: wait for :meth:`fileno` to be readable, then :meth:`read`."""

    def __init__(self, source: Map) -> None:
        """Open it.

        Args:
            source: A map of the type BPF_MAP_TYPE_RINGBUF.

        Raises:
            OSError: The map is none of those.
        """
        self._libbpf = source._libbpf
        self._arrived: list[bytes] = []
        self._callback = _Sample(self._take)
        self._handle: int | None = self._libbpf.ring_buffer__new(source.descriptor, self._callback, None, None)
        if self._handle is None:
            raise OSError(errno.EINVAL, f"the eBPF map {source.name} is no ring buffer")

    def _take(self, _context: int, data: int, size: int) -> int:
        self._arrived.append(ctypes.string_at(data, size))
        return 0

    def fileno(self) -> int:
        """A descriptor that is readable while records wait."""
        descriptor: int = self._libbpf.ring_buffer__epoll_fd(self._handle)
        return descriptor

    def read(self) -> list[bytes]:
        """The records that wait, oldest first.

        Raises:
            OSError: The kernel refused.
        """
        done = self._libbpf.ring_buffer__consume(self._handle)
        arrived, self._arrived[:] = self._arrived[:], ()
        if done < 0:
            raise OSError(-done, f"read a ring buffer: {os.strerror(-done)}")
        return arrived

    def close(self) -> None:
        """Let go of it; the map stays its object's."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._libbpf.ring_buffer__free(handle)
