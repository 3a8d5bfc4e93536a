"""Files of packets: what is written is read again, and by tshark as well."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from testbed.observe import pcapng
from testbed.observe.capture import Frame
from testbed.observe.pcapng import Record

BEGIN = 1_800_000_000_123_456_789
RECORDS = [
    Record(Frame(BEGIN, "core1", "xtr1", bytes(range(61)), 61), "from xtr1 to core1"),
    Record(Frame(BEGIN + 1, "xtr1", "core1", bytes(64), 1500)),
    Record(Frame(BEGIN + 2, "core1", "xtr1", bytes(60), 60), "größer"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pcapng.write(tmp_path / "some.pcapng", RECORDS, "what it is about")
    return tmp_path / "some.pcapng"


def test_it_is_read_as_it_was_written(file: Path) -> None:
    assert list(pcapng.read(file)) == RECORDS


def test_tshark_reads_it(file: Path) -> None:
    """Interface names, times to the nanosecond, comments, and the length of a frame that was cut."""
    if not shutil.which("tshark"):
        pytest.skip("needs tshark")
    fields = ("frame.interface_name", "frame.time_epoch", "frame.cap_len", "frame.len", "frame.comment")
    words = ["tshark", "-n", "-r", str(file), "-T", "fields", *(word for one in fields for word in ("-e", one))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["core1:xtr1", "1800000000.123456789", "61", "61", "from xtr1 to core1"],
        ["xtr1:core1", "1800000000.123456790", "64", "1500", ""],
        ["core1:xtr1", "1800000000.123456791", "60", "60", "größer"],
    ]


@pytest.mark.parametrize(
    "damage", [lambda octets: octets[:-3], lambda octets: b"\0" + octets[1:]], ids=["cut", "other"]
)
def test_another_file_is_refused(file: Path, damage: object) -> None:
    assert callable(damage)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"some\.pcapng"):
        list(pcapng.read(file))
