"""Keys, ledgers, and the lock that names its holder."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import BusyError, DamagedError, MissingError, UserError
from cache.store import (
    KINDS_VERSION,
    Ledger,
    LedgerKey,
    folder_of,
    is_locked,
    lock,
    make_key,
    read_ledger,
    shown,
    write_ledger,
)

ROOT = Path(__file__).resolve().parents[2]
CONTENT = {"rows": "image", "dims": [3, 4], "ratio": 0.5, "name": "é"}


def test_a_key_is_the_same_on_every_machine_and_whatever_the_order() -> None:
    assert make_key("features", CONTENT) == "cf44acf25fd97274e1124e16ec89d1c8"
    assert make_key("features", dict(reversed(CONTENT.items()))) == make_key("features", CONTENT)


@given(st.sampled_from(sorted(CONTENT)), st.none() | st.integers() | st.text())
def test_whatever_changes_in_the_content_changes_the_key(name: str, value: object) -> None:
    assert make_key("features", {**CONTENT, name: value}) != make_key("features", CONTENT)
    assert make_key("features", {k: v for k, v in CONTENT.items() if k != name}) != make_key("features", CONTENT)


def test_a_key_changes_with_its_kind_and_with_the_version_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = make_key("features", CONTENT)
    assert make_key("heads", CONTENT) != before
    monkeypatch.setitem(KINDS_VERSION, "features", KINDS_VERSION["features"] + 1)
    assert make_key("features", CONTENT) != before


def test_a_path_is_shown_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(folder_of(tmp_path / "data", "heads", "1f")) == "data/heads/1f"
    assert shown(Path("/elsewhere/x")) == "/elsewhere/x"
    assert shown(Path("data/x")) == "data/x"


@pytest.fixture
def ledger() -> Ledger:
    keys = [LedgerKey("features", f"{i:032x}", "d" * 32, {"rows": rows, "count": i}) for i, rows in enumerate("it")]
    return Ledger("features", "made", {"encoder": "tiny"}, tuple(keys))


def test_a_ledger_comes_back_as_written(tmp_path: Path, ledger: Ledger) -> None:
    write_ledger(tmp_path / "a" / "l.json", ledger)
    assert read_ledger(tmp_path / "a" / "l.json") == ledger


def test_a_ledger_finds_by_what_a_key_is_about(ledger: Ledger) -> None:
    assert ledger.find(rows="t") == ledger.keys[1]
    assert ledger.find() == ledger.keys[0]
    with pytest.raises(MissingError) as caught:
        ledger.find(rows="t", count=0)
    assert str(caught.value) == "features ledger: none of its 2 keys has rows=t, count=0; run 'extract' again"


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"format": 2, "keys": []}', '{"format": 1, "keys": [{}]}'])
def test_what_is_no_ledger_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(DamagedError, match=r"l\.json: not .*; delete it and run the command that makes it"):
        read_ledger(tmp_path / "l.json")


HOLDER = """
import sys, time
from pathlib import Path
from cache.store import lock
with lock(Path(sys.argv[1]), "features", "3f9c", False, print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of features/3f9c."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_is_refused_at_once_and_told_who_writes(
    tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begin = time.monotonic()
    with pytest.raises(BusyError) as caught, lock(tmp_path, "features", "3f9c", False, pytest.fail):
        pytest.fail("two writers")
    assert time.monotonic() - begin < 1
    who = f"pid {holder.pid} on {re.escape(socket.gethostname())}"
    expected = rf"features/3f9c: {who} is writing here since \d\d:\d\d; wait for it or stop it"
    assert re.fullmatch(expected, str(caught.value))


def test_another_key_is_free_meanwhile(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.poll() is None
    assert is_locked(tmp_path, "features", "3f9c")
    assert not is_locked(tmp_path, "features", "4f")
    with lock(tmp_path, "heads", "3f9c", False, pytest.fail):
        assert is_locked(tmp_path, "heads", "3f9c")


def test_the_lock_of_a_killed_holder_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock(tmp_path, "features", "3f9c", False, pytest.fail):
        pass


def test_who_waits_says_for_whom_once_and_goes_on_when_the_other_ends(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    said: list[str] = []

    def hear(message: str) -> None:
        said.append(message)
        threading.Timer(0.1, holder.kill).start()

    with lock(tmp_path, "features", "3f9c", True, hear):
        assert said == [f"waiting for pid {holder.pid} on {socket.gethostname()}"]


def test_a_lock_not_signed_yet_is_refused_without_a_name(tmp_path: Path) -> None:
    with lock(tmp_path, "features", "3f9c", False, pytest.fail):
        (tmp_path / "locks" / "features-3f9c.lock").write_text("")
        with (
            pytest.raises(BusyError, match="another process is writing here; wait"),
            lock(tmp_path, "features", "3f9c", False, pytest.fail),
        ):
            pass


def test_a_lock_leaves_nobodys_name_behind(tmp_path: Path) -> None:
    with lock(tmp_path, "features", "3f9c", False, pytest.fail):
        assert f'"pid": {os.getpid()}' in (tmp_path / "locks" / "features-3f9c.lock").read_text()
    assert (tmp_path / "locks" / "features-3f9c.lock").read_text() == ""


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("cache.store.fcntl.flock", refuse)
    said = rf"the file system keeps no locks \({os.strerror(number)}\); mend that and run 'extract' again$"
    with pytest.raises(UserError, match=said), lock(tmp_path, "features", "3f9c", False, pytest.fail):
        pytest.fail("no lock was held")


def test_a_lock_or_a_ledger_where_nothing_can_be_written_is_one_line(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "locks").touch()
    with (
        pytest.raises(UserError, match=r"its lock cannot be opened \(.*\); mend that and run 'extract' again$"),
        lock(tmp_path, "features", "3f9c", False, pytest.fail),
    ):
        pytest.fail("no lock was held")
    with pytest.raises(UserError, match=r"cannot be written \(.*\); mend that and run the same command again$"):
        write_ledger(tmp_path / "locks" / "x.json", ledger)


def test_what_goes_wrong_under_a_lock_is_not_put_down_to_the_lock(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), lock(tmp_path, "features", "3f9c", False, pytest.fail):
        raise PermissionError(errno.EACCES, "denied")
