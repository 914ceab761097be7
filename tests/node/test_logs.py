"""Container logs: what is written is what is read, with every option."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kaos_ext.cluster.node.logs import MAX_LINE, LogOptions, LogReader, LogWriter, parts

NOW = 1_700_000_000_123_456_789


def written(path: Path, *pieces: bytes, max_file: int = 1 << 20) -> Path:
    writer = LogWriter(path, max_file)
    for piece in pieces:
        writer.feed("stdout", piece, NOW)
    writer.close(NOW)
    return path


def read(path: Path, **options: object) -> bytes:
    return LogReader(path, LogOptions(**options)).read()  # type: ignore[arg-type]


def test_lines_are_stored_in_the_cri_format(tmp_path: Path) -> None:
    path = written(tmp_path / "0.log", b"one\ntw", b"o\n")
    stamp = b"2023-11-14T22:13:20.123456789Z"
    assert path.read_bytes() == stamp + b" stdout F one\n" + stamp + b" stdout F two\n"


def test_a_long_line_is_stored_in_parts_and_read_whole(tmp_path: Path) -> None:
    line = b"x" * (MAX_LINE * 2 + 5)
    path = written(tmp_path / "0.log", line + b"\nend\n")
    assert b" stdout P " in path.read_bytes()
    assert read(path) == line + b"\nend\n"
    assert read(path, tail_lines=1) == b"end\n"
    assert read(path, tail_lines=2) == line + b"\nend\n"


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_in_any_pieces_come_back(tmp_path_factory: object, pieces: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log") / "0.log"  # type: ignore[attr-defined]
    written(path, *pieces)
    whole = b"".join(pieces)
    expected = whole if whole.endswith(b"\n") or not whole else whole + b"\n"
    assert read(path) == expected


def test_a_full_log_is_rotated_and_the_oldest_part_goes(tmp_path: Path) -> None:
    path = written(tmp_path / "0.log", *(b"line %04d\n" % n for n in range(200)), max_file=1000)
    assert len(parts(path)) == 5
    assert all(part.stat().st_size <= 1000 for part in parts(path))
    lines = read(path).splitlines()
    assert lines == [b"line %04d" % n for n in range(200 - len(lines), 200)]


def test_a_reader_goes_on_where_it_was_also_across_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    writer = LogWriter(path, 1000)
    reader = LogReader(path, LogOptions())
    seen = b""
    for n in range(60):
        writer.feed("stdout", b"line %04d\n" % n, NOW)
        if n % 7 == 0:
            seen += reader.read()
    seen += reader.read()
    writer.close(NOW)
    assert seen == b"".join(b"line %04d\n" % n for n in range(60))


def test_since_timestamps_and_a_limit_of_bytes(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    writer = LogWriter(path)
    writer.feed("stdout", b"old\n", NOW)
    writer.feed("stderr", b"new\n", NOW + 5_000_000_000)
    writer.close(NOW)
    assert read(path, since=datetime(2023, 11, 14, 22, 13, 23, tzinfo=UTC)) == b"new\n"
    assert read(path, tail_lines=1, timestamps=True) == b"2023-11-14T22:13:25.123456789Z new\n"
    assert read(path, limit_bytes=5) == b"old\nn"
    assert read(path, tail_lines=0) == b""
