"""The replay venue: real files, damaged files, and going on where a run ended."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.errors import ConfigError, DataError
from mia.domain.events import BookSnapshot
from mia.venues.replay import wire as built
from mia.venues.replay.feed import ReplayFeed, guess, resume

SPOT_1, SPOT_2 = "binance_spot_btcusdt_ws_20240808.gz", "binance_spot_btcusdt_ws_20240809.gz"
USDM_1 = "binance_usdm_btcusdt_ws_20240808.gz"
T0 = 1_723_161_253_937_085_768
NAME = "binance_spot_btcusdt_ws_x"


def quote(i: int) -> bytes:
    return b'{"stream":"btcusdt@bookTicker","data":{"u":%d,"s":"BTCUSDT","b":"100.00","B":"1.0","a":"100.01","A":"1.0"}}' % i


def lines(n: int, start: int = 0) -> bytes:
    return b"".join(b"%d %s\n" % (T0 + 1000 * i, quote(i)) for i in range(start, start + n))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_plain_gzip_and_zstd_give_the_same_frames(tmp_path: Path, suffix: str, instruments: Any) -> None:
    text = lines(5_000)
    data = {"": text, ".gz": gzip.compress(text, mtime=0), ".zst": zstandard.compress(text)}[suffix]
    feed = ReplayFeed([write(tmp_path / (NAME + suffix), data)], instruments)

    frames = list(feed.frames())

    assert frames == [(T0 + 1000 * i, quote(i)) for i in range(5_000)]
    assert feed.warnings() == []
    assert feed.describe().venue == "binance_spot"
    assert feed.describe().first_ns == T0


def test_several_gzip_members_in_one_file_are_one_recording(tmp_path: Path, instruments: Any) -> None:
    path = write(tmp_path / (NAME + ".gz"), gzip.compress(lines(10)) + gzip.compress(lines(10, 10)) + b"\0" * 100)

    assert [payload for _, payload in ReplayFeed([path], instruments).frames()] == [quote(i) for i in range(20)]


def test_truncated_gzip_gives_what_is_readable_and_one_warning(tmp_path: Path, instruments: Any) -> None:
    text = b"".join(b"%d %s\n" % (T0 + i * 7919, quote(i * 104729 % 65537)) for i in range(20_000))
    whole = gzip.compress(text, mtime=0)
    path = write(tmp_path / (NAME + ".gz"), whole[: len(whole) // 2])
    feed = ReplayFeed([path], instruments)

    frames = list(feed.frames())

    assert 5_000 < len(frames) < 15_000
    assert [payload for _, payload in frames] == [quote(i * 104729 % 65537) for i in range(len(frames))]
    assert feed.counters()["damaged_files"] == 1
    assert f"{path}: truncated after line" in feed.warnings()[0]


def test_damaged_gzip_gives_what_comes_before_the_damage(tmp_path: Path, instruments: Any) -> None:
    data = bytearray(gzip.compress(b"".join(b"%d %s\n" % (T0 + i * 7919, quote(i * 104729 % 65537)) for i in range(20_000))))
    data[len(data) // 2 : len(data) // 2 + 64] = b"\xff" * 64
    path = write(tmp_path / (NAME + ".gz"), bytes(data))
    feed = ReplayFeed([path], instruments)

    n = len(list(feed.frames()))

    assert n > 1_000
    assert feed.counters()["damaged_files"] == 1
    assert "damaged after line" in feed.warnings()[0]


def test_torn_last_line_is_skipped_and_counted(tmp_path: Path, instruments: Any) -> None:
    feed = ReplayFeed([write(tmp_path / NAME, lines(5)[:-20])], instruments)

    assert len(list(feed.frames())) == 4
    assert feed.counters()["bad_lines"] == 1
    assert "1 of 5 lines were torn" in feed.warnings()[0]


def test_last_line_without_its_end_is_read(tmp_path: Path, instruments: Any) -> None:
    feed = ReplayFeed([write(tmp_path / NAME, lines(5)[:-1])], instruments)

    assert len(list(feed.frames())) == 5
    assert feed.counters()["bad_lines"] == 0


def test_bad_lines_inside_are_skipped_and_counted(tmp_path: Path, instruments: Any) -> None:
    junk = b"\n12\nabc {}\n {}\n-5 {}\n99999999999999999999 {}\n%d \n" % T0
    feed = ReplayFeed([write(tmp_path / NAME, lines(3) + junk + lines(3, 3))], instruments)

    assert [payload for _, payload in feed.frames()] == [quote(i) for i in range(6)]
    assert feed.counters()["bad_lines"] == 7


def test_windows_line_ends_are_no_part_of_the_payload(tmp_path: Path, instruments: Any) -> None:
    feed = ReplayFeed([write(tmp_path / NAME, lines(3).replace(b"\n", b"\r\n"))], instruments)

    assert [payload for _, payload in feed.frames()] == [quote(i) for i in range(3)]


def test_receive_time_that_steps_back_is_clamped_and_counted(tmp_path: Path, instruments: Any) -> None:
    text = b"".join(b"%d %s\n" % (T0 + t, quote(t)) for t in (0, 100, 50, 100, 200))
    feed = ReplayFeed([write(tmp_path / NAME, text)], instruments)

    assert [ns - T0 for ns, _ in feed.frames()] == [0, 100, 100, 100, 200]
    assert feed.counters()["clamped"] == 1
    assert "stepped back in 1 lines" in feed.warnings()[0]


def test_one_absurd_receive_time_does_not_carry_all_others_with_it(tmp_path: Path, instruments: Any) -> None:
    far = T0 + 10**16
    text = b"".join(b"%d %s\n" % (t, quote(1)) for t in (T0, far, T0 + 5, far, far + 1, far + 2, far + 3))
    feed = ReplayFeed([write(tmp_path / NAME, text)], instruments)

    assert [ns for ns, _ in feed.frames()] == [T0, T0 + 5, far + 2, far + 3]
    assert feed.counters()["bad_lines"] == 3


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        (NAME + ".gz", None, "no such recording"),
        (NAME + ".gz", b"", "is empty"),
        (NAME, b"", "is empty"),
        (NAME + ".gz", gzip.compress(b"", mtime=0), "is empty"),
        (NAME + ".gz", lines(2), "is not gzip although its name says so"),
        (NAME + ".zst", lines(2), "is not zstd although its name says so"),
        (NAME + ".gz", gzip.compress(lines(2), mtime=0)[:12], "nothing in it can be read"),
        (NAME, b"timestamp,open,high\n1,2,3\n", "line 1: is not a recording"),
        (NAME, bytes(range(128, 256)) * 500, "is not a recording|longer than"),
        ("kraken.log", b'%d {"channel":"book"}\n' % T0, "unknown venue"),
        ("binance_usdm_btcusdt_ws_x", lines(3), "its name says usdm, its frames are spot"),
    ],
)
def test_file_that_is_no_recording_is_one_clear_error(tmp_path: Path, name: str, data: bytes | None, error: str, instruments: Any) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)

    with pytest.raises(DataError, match=error) as caught:
        ReplayFeed([path], instruments)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_instead_of_a_file_is_a_data_error(tmp_path: Path, instruments: Any) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        ReplayFeed([tmp_path], instruments)


def test_endless_line_ends_in_an_error_not_in_memory(tmp_path: Path, instruments: Any) -> None:
    path = write(tmp_path / (NAME + ".gz"), gzip.compress(lines(3) + b"x" * (17 << 20)))
    feed = ReplayFeed([path], instruments)

    with pytest.raises(DataError, match="line 4: longer than"):
        list(feed.frames())


def test_no_file_is_a_data_error(instruments: Any) -> None:
    with pytest.raises(DataError, match="no recording given"):
        ReplayFeed([], instruments)


def test_files_in_the_wrong_order_are_a_data_error(tmp_path: Path, instruments: Any) -> None:
    early = write(tmp_path / (NAME + "1"), lines(3))
    late = write(tmp_path / (NAME + "2"), lines(3, 10_000_000))

    with pytest.raises(DataError, match="order of time"):
        ReplayFeed([late, early], instruments)
    assert len(list(ReplayFeed([early, late], instruments).frames())) == 6


def test_two_markets_in_one_replay_are_a_data_error(tmp_path: Path, instruments: Any) -> None:
    spot = write(tmp_path / "binance_spot_btcusdt_ws_1", lines(1))
    usdm = write(tmp_path / "binance_usdm_btcusdt_ws_1", b'%d {"e":"trade","s":"BTCUSDT"}\n' % (T0 + 10**9))

    with pytest.raises(DataError, match="different markets"):
        ReplayFeed([spot, usdm], instruments)


def test_recording_without_an_instrument_in_the_settings_is_a_config_error(tmp_path: Path, instruments: Any) -> None:
    path = write(tmp_path / NAME, lines(1))

    with pytest.raises(ConfigError, match=r"no instrument for BTCUSDT; add one under \[\[instruments\]\] with venue = 'binance_spot'"):
        ReplayFeed([path], [row for row in instruments if row[1].venue != "binance_spot"])


def test_market_is_guessed_from_frames_when_the_name_does_not_tell(tmp_path: Path, instruments: Any) -> None:
    feed = ReplayFeed([write(tmp_path / "capture.txt", b'%d {"result":null,"id":1}\n' % T0 + lines(3))], instruments)

    assert feed.describe().market == "spot"
    assert feed.describe().symbols == ("BTCUSDT",)
    assert guess([b'{"e":"bookTicker","s":"BTCUSDT"}']) == ("usdm", {"BTCUSDT"})
    assert guess([b"not json", b"[1]", b'{"e":"trade","s":"BTCUSDT"}']) == (None, {"BTCUSDT"})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([b"5 {}\n", b"7 {}\r\n", b"x\n", b"\n", b"3 {}\n", b"9 {", b"1" * 25 + b" {}\n"]), max_size=20), st.data())
def test_chunks_cut_anywhere_give_the_same_frames_in_both_builds(interpreted: Any, parts: list[bytes], data: Any) -> None:
    text = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    whole, cut, other = built.LineSplitter(), built.LineSplitter(), interpreted("mia.venues.replay.wire").LineSplitter()

    expected = whole.split(text) + whole.finish()
    ends = [0, *cuts, len(text)]
    chunks = [text[a:b] for a, b in pairwise(ends)]

    for splitter in (cut, other):
        assert [frame for chunk in chunks for frame in splitter.split(chunk)] + splitter.finish() == expected
        assert (splitter.lines(), splitter.bad(), splitter.clamped()) == (whole.lines(), whole.bad(), whole.clamped())


@pytest.mark.data
@pytest.mark.parametrize("names", [[USDM_1], [SPOT_1, SPOT_2]], ids=["usdm", "spot"])
def test_real_files_are_read_completely(names: list[str], market_data: Path, recorded: Any, instruments: Any) -> None:
    feed = ReplayFeed([market_data / name for name in names], instruments)

    assert list(feed.frames()) == [frame for name in names for frame in recorded(name)]
    assert feed.warnings() == []


@pytest.mark.data
def test_book_goes_on_over_the_border_of_two_files(market_data: Path, instruments: Any) -> None:
    feed = ReplayFeed([market_data / SPOT_1, market_data / SPOT_2], instruments)

    for ts, payload in feed.frames():
        feed.codec().decode(payload, ts, 0)

    assert feed.codec().is_book_live("BTCUSDT")
    assert feed.codec().counters()["gaps"] == 0
    assert feed.warnings() == []


@pytest.mark.data
@pytest.mark.parametrize("done", [0, 1, 6, 7, 8, 2_000, 41_246, 41_247, 99_999])
def test_resume_goes_on_at_the_first_event_that_is_not_done(done: int, market_data: Path, instruments: Any) -> None:
    """In the first file the snapshot is event 5 and leaves together with the delta behind it."""

    def events(feed: ReplayFeed, frames: Any, seq: int) -> list[Any]:
        out: list[Any] = []
        for ts, payload in frames:
            out += feed.codec().decode(payload, ts, seq + len(out))
        return out

    whole = ReplayFeed([market_data / SPOT_1], instruments)
    expected = events(whole, whole.frames(), 0)
    feed = ReplayFeed([market_data / SPOT_1], instruments)

    frames, rest = resume(feed, feed.codec(), done, next_seq=done)

    assert rest + events(feed, frames, done + len(rest)) == expected[done:]
    assert any(isinstance(event, BookSnapshot) for event in expected[:8])


@pytest.mark.data
def test_resume_between_a_snapshot_and_its_deltas_hands_them_over(market_data: Path, instruments: Any) -> None:
    feed = ReplayFeed([market_data / USDM_1], instruments)
    at = next(
        i for i, event in enumerate(e for ts, p in feed.frames() for e in feed.codec().decode(p, ts, 0)) if isinstance(event, BookSnapshot)
    )
    fresh = ReplayFeed([market_data / USDM_1], instruments)

    _, rest = resume(fresh, fresh.codec(), at + 1, next_seq=500)

    assert [event.seq for event in rest] == list(range(500, 500 + len(rest)))
    assert len(rest) >= 1
