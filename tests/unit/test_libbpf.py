"""The wrapper of libbpf, on a small object compiled here: maps, memory, ring buffer, programs, refusals."""

from __future__ import annotations

import errno
import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodes.dataplane.bpf import compiler
from nodes.linux import classifier, libbpf, tcx
from nodes.linux.bpf_maps import EXIST, NO_EXIST, RingBuffer
from nodes.linux.classifier import Attached, Hook
from nodes.linux.namespaces import inside, scratch_network
from nodes.linux.netlink import Connection

SOURCE = """
#include <linux/bpf.h>
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name
typedef unsigned int u32;
typedef unsigned long long u64;
struct key { u32 length; unsigned char address[4]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
         __type(key, u32); __type(value, u64); } hash SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 20000); __uint(map_flags, BPF_F_NO_PREALLOC);
         __type(key, struct key); __type(value, u32); } trie SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 8);
         __type(key, u32); __type(value, u32); } each SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 3); __uint(map_flags, BPF_F_MMAPABLE);
         __type(key, u32); __type(value, u64); } array SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
static void *(*lookup)(void *, const void *) = (void *)1;
static long (*output)(void *, void *, u64, u64) = (void *)130;

SEC("tc") int count(struct __sk_buff *skb)
{
	u32 key = 1, length = skb->len;
	u64 *counted = lookup(&array, &key);
	u32 *here = lookup(&each, &key);
	if (counted)
		__sync_fetch_and_add(counted, 1);
	if (here)
		*here += 1;
	output(&ring, &length, sizeof length, 0);
	skb->mark += 1;
	return skb->len > 60 ? -1 : 2;
}
char licence[] SEC("license") = "Dual BSD/GPL";
"""

# Reads past the end of the packet: the verifier says so.
REFUSED = """
#include <linux/bpf.h>
#define SEC(name) __attribute__((section(name), used))
SEC("tc") int reads_too_far(struct __sk_buff *skb) { return *(int *)(long)skb->data; }
char licence[] SEC("license") = "Dual BSD/GPL";
"""

pytestmark = [
    pytest.mark.skipif(compiler.find_clang() is None, reason="no clang"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


def compiled(source: str, where: Path) -> Path:
    (where / "lisp.bpf.c").write_text(source)
    return compiler.provide(where, where / "cache")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(SOURCE, tmp_path_factory.mktemp("bpf"))


@pytest.fixture
def loaded(path: Path) -> Iterator[libbpf.Object]:
    with libbpf.Object(path) as opened:
        yield opened


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def wide(value: int) -> bytes:
    return struct.pack("=Q", value)


def test_an_object_has_its_maps_and_programs(loaded: libbpf.Object) -> None:
    assert set(loaded.maps) == {"hash", "trie", "each", "array", "ring"}
    assert set(loaded.programs) == {"count"}
    trie = loaded.maps["trie"]
    assert (trie.key_size, trie.value_size, trie.max_entries, trie.per_cpu) == (8, 4, 20000, False)


def test_an_entry_is_written_read_and_deleted(loaded: libbpf.Object) -> None:
    table = loaded.maps["hash"]
    assert table.lookup(number(7)) is None
    table.update(number(7), wide(70))
    table.update(number(8), wide(80))
    table.update(number(7), wide(71))
    assert table.lookup(number(7)) == wide(71)
    assert sorted(table.keys()) == [number(7), number(8)]
    assert sorted(table.items()) == [(number(7), wide(71)), (number(8), wide(80))]
    assert table.delete(number(7))
    assert not table.delete(number(7))
    assert list(table.items()) == [(number(8), wide(80))]


def test_what_an_update_may_do_is_the_callers(loaded: libbpf.Object) -> None:
    table = loaded.maps["hash"]
    with pytest.raises(FileNotFoundError):
        table.update(number(1), wide(1), EXIST)
    table.update(number(1), wide(1), NO_EXIST)
    with pytest.raises(FileExistsError):
        table.update(number(1), wide(2), NO_EXIST)
    assert table.lookup(number(1)) == wide(1)


def test_a_wrong_length_never_reaches_the_kernel(loaded: libbpf.Object) -> None:
    table = loaded.maps["hash"]
    for refused in (
        lambda: table.update(b"abc", wide(1)),
        lambda: table.update(number(1), b"short"),
        lambda: table.update_many([(number(1), wide(1)), (number(2), b"short")]),
        lambda: table.lookup(b"abc"),
        lambda: table.delete(b"abcde"),
    ):
        with pytest.raises(ValueError, match="the eBPF map hash has keys of 4 and values of 8 bytes"):
            refused()
    assert list(table.items()) == []


def test_a_full_map_says_so(loaded: libbpf.Object) -> None:
    table = loaded.maps["hash"]
    with pytest.raises(OSError, match="write an entry of the eBPF map hash: Argument list too long"):
        table.update_many((number(n), wide(n)) for n in range(9))
    assert len(list(table.items())) == 8


def test_many_entries_of_a_trie(loaded: libbpf.Object) -> None:
    """More than a batch, and read back by batches."""
    trie = loaded.maps["trie"]
    entries = {struct.pack("=I4s", 32, n.to_bytes(4, "big")): number(n) for n in range(10_000)}
    trie.update_many(entries.items())
    assert dict(trie.items()) == entries
    assert len(list(trie.items())) == len(entries)
    assert set(trie.keys()) == set(entries)


def test_the_size_of_a_map_is_the_callers(path: Path) -> None:
    with libbpf.Object(path, {"hash": 3}) as small:
        assert small.maps["hash"].max_entries == 3
        with pytest.raises(OSError, match="Argument list too long"):
            small.maps["hash"].update_many((number(n), wide(n)) for n in range(4))
    with pytest.raises(KeyError):
        libbpf.Object(path, {"no_such_map": 3})


def test_every_cpu_has_its_value(loaded: libbpf.Object) -> None:
    table = loaded.maps["each"]
    cpus = libbpf.library().libbpf_num_possible_cpus()
    table.update(number(1), bytes(8 * cpus))
    for _ in range(5):
        loaded.programs["count"].test_run(bytes(64))
    value = table.lookup(number(1))
    assert value is not None
    counted = [int.from_bytes(one, "little") for one in table.split(value)]
    assert (len(counted), sum(counted)) == (cpus, 5)
    assert list(table.items()) == [(number(1), value)]


def test_the_memory_of_an_array_is_the_kernels(loaded: libbpf.Object) -> None:
    memory = loaded.maps["array"].memory()
    loaded.programs["count"].test_run(bytes(64), repeat=3)
    assert memory.nbytes == 24
    assert memory.cast("Q").tolist() == [0, 3, 0]
    memory.cast("Q")[1] = 1000
    loaded.programs["count"].test_run(bytes(64))
    assert loaded.maps["array"].lookup(number(1)) == wide(1001)
    with pytest.raises(OSError, match="the eBPF map hash cannot be mapped into memory"):
        loaded.maps["hash"].memory()


def test_records_of_a_ring_buffer_come_in_order(loaded: libbpf.Object) -> None:
    ring = RingBuffer(loaded.maps["ring"])
    assert ring.read() == []
    for length in (64, 80, 96):
        assert select.select([ring], [], [], 0)[0] == ([] if length == 64 else [ring])
        loaded.programs["count"].test_run(bytes(length))
    assert ring.read() == [number(64), number(80), number(96)]
    assert select.select([ring], [], [], 0)[0] == []
    ring.close()
    with pytest.raises(OSError, match="the eBPF map hash is no ring buffer"):
        RingBuffer(loaded.maps["hash"])


def test_a_program_runs_on_a_packet(loaded: libbpf.Object) -> None:
    packet = bytes(range(64))
    context = bytearray(192)
    struct.pack_into("=I", context, 8, 41)  # mark
    run = loaded.programs["count"].test_run(packet, bytes(context))
    assert (run.result, run.packet) == (-1, packet)
    assert struct.unpack_from("=I", run.context, 8) == (42,)
    assert loaded.programs["count"].test_run(bytes(50)).result == 2
    with pytest.raises(OSError, match="run count on a packet of 3 bytes: Invalid argument"):
        loaded.programs["count"].test_run(b"abc")


def test_a_program_is_attached_replaced_and_detached(loaded: libbpf.Object) -> None:
    descriptor = loaded.programs["count"].descriptor
    with scratch_network() as namespace, Connection(namespace) as kernel:
        classifier.attach(kernel, 1, descriptor, "first", Hook.INGRESS, 10)
        classifier.attach(kernel, 1, descriptor, "second", Hook.INGRESS, 10)
        classifier.attach(kernel, 1, descriptor, "before", Hook.INGRESS, 3, 7)
        classifier.attach(kernel, 1, descriptor, "leaving", Hook.EGRESS, 10)
        classifier.add_classifier(kernel, 1, classifier.loss_program(1), Hook.INGRESS)
        (leaving,) = classifier.list_attached(kernel, 1, Hook.EGRESS)
        assert classifier.list_attached(kernel, 1, Hook.INGRESS) == [
            Attached(3, 7, "before", leaving.program),
            Attached(10, 1, "second", leaving.program),
        ]
        for _ in range(2):
            classifier.detach(kernel, 1, Hook.INGRESS, 10)
            classifier.detach(kernel, 1, Hook.EGRESS, 10)
        classifier.detach(kernel, 77, Hook.EGRESS, 10)
        assert [one.name for one in classifier.list_attached(kernel, 1, Hook.INGRESS)] == ["before"]
        assert classifier.list_programs(kernel, 1, Hook.INGRESS) == [classifier.loss_program(1)]


@pytest.mark.skipif(not tcx.has_tcx(), reason="this kernel has no tcx")
def test_a_program_is_attached_without_a_classifier(loaded: libbpf.Object, path: Path) -> None:
    descriptor = loaded.programs["count"].descriptor
    with scratch_network() as namespace, inside(namespace):
        with libbpf.Object(path) as earlier:
            assert tcx.attach(1, earlier.programs["count"].descriptor, "count", Hook.INGRESS)
        left = tcx.list_attached(1, Hook.INGRESS)
        assert [one.name for one in left] == ["count"], "it stays when its descriptor is closed"
        for hook in Hook:
            for _ in range(2):  # the second time in its own place
                assert tcx.attach(1, descriptor, "count", hook)
        there = tcx.list_attached(1, Hook.INGRESS)
        assert [one.name for one in there] == ["count"]
        assert there != left
        assert there == tcx.list_attached(1, Hook.EGRESS)
        tcx.detach(1, "another", Hook.INGRESS)
        assert tcx.list_attached(1, Hook.INGRESS)
        for _ in range(2):
            tcx.detach(1, "count", Hook.INGRESS)
        assert not tcx.list_attached(1, Hook.INGRESS)
        assert tcx.list_attached(1, Hook.EGRESS)
        tcx.detach(77, "count", Hook.EGRESS)
        with pytest.raises(OSError, match="list the programs at interface 77: No such device"):
            tcx.attach(77, descriptor, "count", Hook.EGRESS)


def test_a_kernel_without_tcx_says_so(loaded: libbpf.Object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcx, "_TYPES", dict.fromkeys(Hook, 200))  # a type that it does not know
    assert not tcx.attach(1, loaded.programs["count"].descriptor, "count", Hook.INGRESS)
    tcx.detach(1, "count", Hook.INGRESS)


def test_a_refusal_carries_the_verifiers_log(tmp_path: Path) -> None:
    refused = compiled(REFUSED, tmp_path)
    with pytest.raises(libbpf.LoadError, match=f"load {refused}: Permission denied") as caught:
        libbpf.Object(refused)
    assert "reads_too_far" in caught.value.log
    assert "invalid access to packet" in caught.value.log


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    absent, text = tmp_path / "absent.o", tmp_path / "text.o"
    text.write_text("no object")
    with pytest.raises(libbpf.LoadError, match=f"open {absent}: No such file or directory"):
        libbpf.Object(absent)
    with pytest.raises(libbpf.LoadError, match=f"open {text}: ") as caught:
        libbpf.Object(text)
    assert caught.value.log
    assert "Unknown error" not in str(caught.value)  # libbpf has numbers of its own, which the C library does not know


def test_a_missing_library_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    libbpf.library.cache_clear()
    monkeypatch.setattr(libbpf, "SONAME", "libbpf-of-another-machine.so.1")
    with pytest.raises(libbpf.LibraryMissingError, match=r"Debian package libbpf1.*another-machine"):
        libbpf.version()
    monkeypatch.undo()
    assert libbpf.version().startswith("1.")


class WithoutBatches:
    """libbpf on a kernel that knows no batches for this kind of map."""

    def __init__(self, real: Any, refusal: int) -> None:
        self._real, self._refusal = real, refusal

    def __getattr__(self, name: str) -> Any:
        return (lambda *_arguments: -self._refusal) if name.endswith("_batch") else getattr(self._real, name)


@pytest.mark.parametrize("refusal", [errno.EINVAL, 524])
def test_without_batches_it_goes_one_by_one(
    loaded: libbpf.Object, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    trie = loaded.maps["trie"]
    entries = {struct.pack("=I4s", 32, n.to_bytes(4, "big")): number(n) for n in range(5000)}
    monkeypatch.setattr(trie, "_libbpf", WithoutBatches(libbpf.library(), refusal))
    trie.update_many(entries.items())
    assert dict(trie.items()) == entries
    monkeypatch.undo()
    assert dict(trie.items()) == entries


def test_any_other_refusal_of_a_batch_is_told(loaded: libbpf.Object, monkeypatch: pytest.MonkeyPatch) -> None:
    table = loaded.maps["hash"]
    monkeypatch.setattr(table, "_libbpf", WithoutBatches(libbpf.library(), errno.EPERM))
    with pytest.raises(PermissionError, match="read the entries of the eBPF map hash"):
        list(table.items())
