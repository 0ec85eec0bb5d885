"""Circumstances that programs seldom meet: a disk of a few pages, a folder that root too may not write."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

from stages.extract import run as stage
from stages.extract.encoders.encoder import load_encoder
from stages.extract.params import ExtractParams

CAP_DAC_OVERRIDE = 1 << 1  # root's right to write where the mode forbids it
CAPABILITY_VERSION = 0x20080522
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_REC, MS_PRIVATE = 1, 32, 1 << 14, 1 << 18


@contextmanager
def one_encoder(params: ExtractParams) -> Iterator[None]:
    """The encoder of these parameters, loaded once for all extractions inside."""
    encoder = load_encoder(stage.choose(params))
    with patch.object(stage, "load_encoder", lambda _choice: encoder):
        yield


@contextmanager
def without_waiting_for_the_disk() -> Iterator[None]:
    """Processes die here, not the power: syncing would be most of the time."""
    with patch.object(os, "fsync", lambda _handle: None):
        yield


def child_of(target: Callable[..., None], *args: Any) -> Any:
    """A child process at work on `target`, from a server that has torch in memory already."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", "proof.commits"])
    child = context.Process(target=target, args=args)
    child.start()
    return child


@contextmanager
def obeying_modes() -> Iterator[None]:
    """Files and folders that may not be written are not written, even where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    before = _capabilities()
    _set_capabilities([before[0] & ~CAP_DAC_OVERRIDE, *before[1:]])
    try:
        yield
    finally:
        _set_capabilities(before)


def _capabilities() -> list[int]:
    """Effective, permitted and inheritable ones of this thread, the low 32 and then the high 32."""
    header, data = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _call("capget", header, data)
    return list(data)


def _set_capabilities(values: list[int]) -> None:
    _call("capset", (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)(*values))


def private_mounts() -> None:
    """From here on this process mounts what it likes, seen by nobody else; OSError where the system forbids that.

    For a fresh child: there is no way back.
    """
    user, group = os.getuid(), os.getgid()
    _call("unshare", CLONE_NEWNS | (CLONE_NEWUSER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)


def may_mount() -> str | None:
    """Why this system lets nobody but its owner mount a disk; None where it does."""
    ours, theirs = get_context("forkserver").Pipe()
    child_of(_try_to_mount, theirs).join()
    return str(ours.recv()) if ours.poll() else None


def _try_to_mount(answer: Connection) -> None:
    try:
        private_mounts()
    except OSError as error:
        answer.send(str(error))


def mount_small_disk(folder: Path, limits: str) -> None:
    """Put a disk in memory at a folder, with limits such as `size=8k` or `nr_inodes=5`."""
    _call("mount", b"none", bytes(folder), b"tmpfs", 0, limits.encode())


def remount(folder: Path, limits: str, read_only: bool = False) -> None:
    """Give a disk other limits, or none to write at all, with what it holds."""
    _call("mount", b"none", bytes(folder), None, MS_REMOUNT | (MS_RDONLY if read_only else 0), limits.encode())


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
