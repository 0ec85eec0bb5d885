"""Whether this machine is fit for stage one: each check is a line with what was found and what mends it.

Nothing that is written here stays: a temporary file a folder, gone before the check is over.
"""

from __future__ import annotations

import configparser
import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswerError  # its own class before Python 3.11
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from cache.errors import UserError, one_line
from cache.store import LOCKS, shown
from pipeline.forecast import forecast
from pipeline.machine import PROJECT, cpuinfo, processor
from pipeline.setting import Setting
from pipeline.tables import Row, sized
from stages.extract.encoders.registry import RANDOM, parse, towers_of
from stages.extract.params import Precision

State = Literal["ok", "warning", "fault"]
LIBRARIES = (
    "torch", "torchvision", "open_clip_torch", "timm", "transformers", "huggingface_hub", "safetensors",
    "numpy", "h5py", "pyarrow", "pillow", "joblib", "dvc",
)  # fmt: skip
PATIENCE = 2.0  # seconds for an answer of the hub
LITTLE = 2e9  # bytes of free disk that are worth a warning whatever is planned
TOLERANCE = 0.05  # relative: a half-precision product is this near to the full one
FAST_FLAGS: dict[Precision, tuple[str, ...]] = {
    "bf16": ("amx_bf16", "avx512_bf16", "bf16"),
    "fp16": ("amx_fp16", "avx512_fp16", "asimdhp"),
}
"""What /proc/cpuinfo calls arithmetic at a precision that the processor itself has, fastest first (x86, ARM)."""


@dataclass(frozen=True)
class Line:
    """A check: its state, what was found, and what to do about it; "" where nothing is to be done."""

    check: str
    state: State
    found: str
    mend: str = ""


def diagnose(setting: Setting) -> list[Line]:
    """Every check, in the order in which a person would ask."""
    hub = _aside(lambda: _hub(setting))  # it may have to wait for an answer; the others go on meanwhile
    torch = _torch()
    lines = [*_versions(), torch, *(_device(setting) if torch.state == "ok" else ())]
    lines += [*_places(setting), _locks(setting.places.store), _disk(setting)]
    return [*lines, _awaited(hub), _dvc(setting.places.root), _ray(setting)]


def rows_of(lines: list[Line]) -> list[Row]:
    """The checks as rows of a table."""
    return [{"check": line.check, "state": line.state, "found": line.found, "mend": line.mend} for line in lines]


def require_none(lines: list[Line]) -> None:
    """A UserError that counts the faults and tells the first, where there are any."""
    faults = [line for line in lines if line.state == "fault"]
    if faults:
        first = faults[0]
        raise UserError(
            f"{len(faults)} of {len(lines)} checks failed; first {first.check}: {first.found}; {first.mend}"
        )


# --- versions -------------------------------------------------------------------------------------------------------


def _versions() -> Iterator[Line]:
    yield Line("python", "ok", f"{platform.python_version()} ({sys.executable})")
    floors = _floors()
    for name in LIBRARIES:
        yield _library(name, floors.get(name))


def _floors() -> dict[str, Requirement]:
    """What the project asks of its libraries, by name; {} where it is run without having been installed."""
    try:
        found = (Requirement(text) for text in requires(PROJECT) or [])
    except PackageNotFoundError:
        return {}
    return {need.name: need for need in found if need.marker is None}


def _library(name: str, need: Requirement | None) -> Line:
    try:
        here = version(name)
    except PackageNotFoundError:
        return Line(name, "fault", "not installed", f"pip install '{need or name}'")
    if need is not None and not need.specifier.contains(here, prereleases=True):
        return Line(name, "fault", f"{here}, and {need.specifier} is needed", f"pip install '{need}'")
    return Line(name, "ok", here)


def _torch() -> Line:
    """Wheels of torch and torchvision from different sources are installed without complaint and fail on import."""
    try:
        import torch
        import torchvision  # noqa: F401
    except Exception as error:  # whatever a broken binary raises
        return Line("torch imports", "fault", one_line(error)[:120], "install torch and torchvision from one source")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    return Line("torch imports", "ok", f"torchvision too; built with {built}, {torch.get_num_threads()} threads")


# --- device ---------------------------------------------------------------------------------------------------------


def _device(setting: Setting) -> Iterator[Line]:
    """The processor, the device that the parameters mean, and the precisions that run there."""
    from stages.extract.encoders.device import find_device

    section = setting.params.extract
    yield Line("processor", "ok", processor())
    try:
        device = find_device(section.device)
    except UserError as error:
        said, _, mend = str(error).partition("; ")
        yield Line("device", "fault", said, mend)
        return
    yield Line("device", "ok", f"{section.device}: {_device_text(device.type, device.index)}")
    for precision in ("fp32", "bf16", "fp16"):
        yield _precision(str(device), precision, asked=precision == section.precision)


def _device_text(kind: str, index: int | None) -> str:
    """A GPU's name and memory, or that there is none."""
    import torch

    if kind != "cuda":
        return kind
    free, whole = torch.cuda.mem_get_info(index or 0)
    name = torch.cuda.get_device_name(index or 0)
    return f"{name}, {sized(free)} of {sized(whole)} memory free, {torch.cuda.device_count()} in this machine"


def _precision(device: str, precision: Precision, asked: bool) -> Line:
    """Whether a precision works on a device, by multiplying and convolving there."""
    name = f"{precision} (extract.precision)" if asked else precision
    try:
        off = _run_small(device, precision)
    except Exception as error:  # whatever the device's library raises
        return Line(name, "fault" if asked else "warning", f"fails on {device}: {one_line(error)[:80]}", _OTHER)
    if not off < TOLERANCE:
        return Line(name, "fault" if asked else "warning", f"on {device} off by {off:.0%}", _OTHER)
    speed = _hardware(device, precision)
    slow = asked and speed.startswith("without")
    mend = "use --precision fp32, which is faster here" if slow else ""
    return Line(name, "warning" if slow else "ok", f"runs on {device}, {speed}", mend)


_OTHER = "use --precision fp32"


def _run_small(device: str, precision: Precision) -> float:
    """The largest relative difference between a small product and convolution at a precision, and in float64."""
    import torch

    from stages.extract.encoders.device import DTYPES

    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(64, 64, generator=generator) for _ in range(2))
    picture, kernel = torch.rand(1, 3, 16, 16, generator=generator), torch.rand(8, 3, 3, 3, generator=generator)
    low = [x.to(device, DTYPES[precision]) for x in (a, b, picture, kernel)]
    high = [x.double() for x in (a, b, picture, kernel)]
    pairs = [(some[0] @ some[1], torch.nn.functional.conv2d(some[2], some[3])) for some in (low, high)]
    return max(float(((x.double().cpu() - y) / y).abs().max()) for x, y in zip(*pairs, strict=True))


def _hardware(device: str, precision: Precision) -> str:
    """Whether a device has arithmetic of its own at a precision."""
    import torch

    if precision == "fp32":
        return "the reference"
    if device.startswith("cuda"):
        own = precision == "fp16" or torch.cuda.get_device_capability(device) >= (8, 0)
        return "in hardware" if own else "without hardware for it: slower than fp16"
    if device != "cpu":
        return "by the device's library"
    info = cpuinfo()
    flags = f"{info.get('flags', '')} {info.get('Features', '')}".split()
    has = [flag for flag in FAST_FLAGS[precision] if flag in flags]
    return f"in hardware ({', '.join(has)})" if has else "without hardware for it: slower than fp32"


# --- disk -----------------------------------------------------------------------------------------------------------


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _places(setting: Setting) -> Iterator[Line]:
    """Whether files can be made where the commands make them."""
    places = setting.places
    for name, folder in (("store", places.store), ("runs", places.root / "runs"), ("data", places.root / "data")):
        yield _writable(name, folder)


def _writable(name: str, folder: Path) -> Line:
    here = _nearest(folder)
    gone = "" if here == folder else f", not there yet; {shown(here)}"
    what = "set store in params.yaml to" if name == "store" else "run the command in a checkout with"
    mend = f"{what} a folder that you may write to, or change its rights"
    if not here.is_dir():
        return Line(f"write to {name}", "fault", f"{shown(folder)} cannot be: {shown(here)} is no folder", mend)
    try:
        with tempfile.TemporaryFile(dir=here) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Line(f"write to {name}", "fault", f"{shown(folder)}{gone}: {error.strerror}", mend)
    return Line(f"write to {name}", "ok", f"{shown(folder)}{gone} can be written")


_SECOND = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


def _locks(store: Path) -> Line:
    """Whether a lock that this process holds keeps another one out, in the store's folder of locks."""
    here = _nearest(store / LOCKS)
    mend = "put the store on a file system that keeps locks (a local disk, NFS 4), or start one command at a time"
    try:
        with tempfile.NamedTemporaryFile(dir=here, prefix="tmp-") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            kept_out = not _second_takes(file.name)
            fcntl.flock(file, fcntl.LOCK_UN)
            let_in = _second_takes(file.name)
    except OSError as error:
        return Line("locks", "fault", f"{shown(here)}: {error.strerror}", mend)
    if kept_out and let_in:
        return Line("locks", "ok", f"{shown(here)}: a second process is kept out, and let in afterwards")
    return Line("locks", "fault", f"{shown(here)}: locks keep nobody out" if let_in else "a lock is not freed", mend)


def _second_takes(path: str) -> bool:
    """Whether another process gets the lock of a file."""
    return not subprocess.run(
        [sys.executable, "-ISE", "-c", _SECOND, path], capture_output=True, check=False
    ).returncode


def _disk(setting: Setting) -> Line:
    """Free disk where the store lies, against what the present parameters will put there."""
    here = _nearest(setting.places.store)
    free = shutil.disk_usage(here if here.is_dir() else here.parent).free
    planned = _planned(setting)
    if planned is None:
        found = f"{sized(free)} free; the planned size is unknown until {_until(setting)}"
        return Line("disk", "warning", found, "make room") if free < LITTLE else Line("disk", "ok", found)
    needed, text = planned
    found = f"{sized(free)} free; {text}"
    if needed > free:
        return Line("disk", "fault", found, "make room, or extract with --tokens none or --storage float16")
    return Line("disk", "warning", found, "make room") if free - needed < LITTLE else Line("disk", "ok", found)


def _planned(setting: Setting) -> tuple[int, str] | None:
    """The bytes that are still to come, and the forecast as text."""
    try:
        plan = forecast(setting)
    except (UserError, OSError, ValueError, KeyError):
        return None
    if plan is None:
        return None
    section = setting.params.extract
    text = (
        f"{setting.params.dataset} takes about {sized(plan.bytes)} ({plan.pictures} pictures of "
        f"{sized(plan.bytes_a_picture)}, {plan.texts} texts of {sized(plan.bytes_a_text)}; "
        f"tokens {section.tokens}, {section.storage})"
    )
    there = f", {sized(plan.standing)} of it there" if plan.standing else ""
    return max(plan.bytes - plan.standing, 0), text + there


def _until(setting: Setting) -> str:
    """What has to run before the size can be told."""
    from pipeline.forecast import widths_of

    known = widths_of(setting.params.encoder, setting.params.extract.heads)
    return "ingest" if known else f"extract: {setting.params.encoder} is measured when it is loaded"


# --- hub, DVC, extras -----------------------------------------------------------------------------------------------


def _aside(check: Callable[[], Line]) -> Future[Line]:
    """A check in a thread that nobody waits for at exit."""
    future: Future[Line] = Future()
    threading.Thread(target=lambda: _settle(future, check), daemon=True).start()
    return future


def _settle(future: Future[Line], check: Callable[[], Line]) -> None:
    try:
        future.set_result(check())
    except Exception as error:  # it belongs to the one who asks for the result
        future.set_exception(error)


def _hub(setting: Setting) -> Line:
    """Whether weights can be fetched, which matters to encoders of the hub alone."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE

    needed = _needs_hub(setting)
    who = setting.params.encoder + (" comes from there" if needed else " needs nothing from there")
    if HF_HUB_OFFLINE:
        return Line("hub", "ok", f"HF_HUB_OFFLINE is set; {who}, and what {HF_HUB_CACHE} holds is used")
    try:
        code = _asked(ENDPOINT)
    except (OSError, ValueError) as error:
        why = one_line(error).strip("<>").removeprefix("urlopen error ")
        return Line("hub", "warning", f"{ENDPOINT} does not answer ({why}); {who}", _OFFLINE)
    return Line("hub", "ok", f"{ENDPOINT} answers ({code}); {who}")


_OFFLINE = "set HF_HUB_OFFLINE=1 to be told at once, and give --weights FILE or a copied cache folder"


def _awaited(hub: Future[Line]) -> Line:
    """The answer about the hub; the system's search for a name keeps to no limit of ours."""
    try:
        return hub.result(timeout=PATIENCE)
    except NoAnswerError:
        return Line("hub", "warning", f"no answer within {PATIENCE:g} s", _OFFLINE)


def _asked(address: str) -> int:
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _needs_hub(setting: Setting) -> bool:
    name = parse(setting.params.encoder)
    if name.kind == "towers":  # random weights still want the configuration of a text tower
        image, text = towers_of(name, setting.places.home)
        return not (image.folder or image.random) or not text.folder
    fetched = name.kind == "open_clip" and name.tag not in (None, RANDOM)
    return (fetched or name.kind == "hf-hub") and not setting.params.extract.weights


def _dvc(root: Path) -> Line:
    """Whether `dvc repro` can run here: it wants a git checkout, or to be told that there is none."""
    beside = Path(sys.executable).parent / "dvc"
    if not (shutil.which("dvc") or beside.exists()):
        return Line("dvc repro", "warning", "no dvc command on PATH", "activate the environment, or pip install dvc")
    if not (root / ".dvc").is_dir():
        return Line(
            "dvc repro", "warning", f"{root} is no DVC project", "run it in a checkout; the commands do without"
        )
    if any((folder / ".git").exists() for folder in (root, *root.parents)):
        return Line("dvc repro", "ok", "a git checkout")
    if _without_git(root):
        return Line("dvc repro", "ok", "core.no_scm is set: it works without git, dvc exp does not")
    return Line("dvc repro", "warning", f"{root} is no git checkout", "run 'dvc config --local core.no_scm true'")


def _without_git(root: Path) -> bool:
    config = configparser.ConfigParser(strict=False)
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    return config.getboolean("core", "no_scm", fallback=False)


def _ray(setting: Setting) -> Line:
    """The one optional extra: workers on many machines."""
    if find_spec("ray"):
        return Line("ray", "ok", f"{version('ray')}, for --backend ray")
    asked = setting.params.extract.backend == "ray"
    found = "not installed; it is only for --backend ray"
    return Line(
        "ray", "fault" if asked else "ok", found, "pip install 'ray>=2.9', or use --backend loky" if asked else ""
    )
