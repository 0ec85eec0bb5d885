"""Files of the model hub: what is on this machine first, then the hub, and where neither has it, one line.

HF_HUB_OFFLINE is respected, and an absent network is noticed in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils.tqdm import disable_progress_bars

from cache.errors import MissingError, UsageError

PATIENCE = 5.0  # seconds until the hub counts as unreachable
TOKENIZER_SETTINGS = "tokenizer_config.json"
TOKENIZERS = (  # files that make a tokenizer, the one first that says most
    ("tokenizer.json",),
    ("vocab.txt",),
    ("vocab.json", "merges.txt"),
    ("*.model",),
    ("tokenizer.tiktoken",),
)


def fetch_one(encoder: str, repository: str, names: Sequence[str], remedy: str) -> Path:
    """The first of some files of a repository that is at hand or that the hub has; MissingError says what to do."""
    disable_progress_bars()
    for name in names:
        if found := _kept(repository, name):
            return found
    offered = _offered(encoder, repository, remedy)
    wanted = [name for name in names if name in offered]
    if not wanted:
        raise MissingError(f"{encoder}: {_page(repository)} has none of {', '.join(names)}; {remedy}")
    try:
        return Path(hf_hub_download(repository, wanted[0], etag_timeout=PATIENCE))
    except Exception as error:  # the client's errors have no base of their own
        raise _unreachable(encoder, repository, wanted[0], type(error).__name__, remedy) from error


def fetch_all(
    encoder: str, repository: str, patterns: Sequence[str], witness: str, remedy: str, is_whole: Callable[[Path], bool]
) -> Path:
    """The folder of a repository's files that match, completed from the hub where it is not whole, as after a download
    that broke off; where the hub cannot be asked, what is there.

    A folder on this machine holds at least the file `witness`, and `is_whole` says whether it holds all that is needed.
    """
    disable_progress_bars()
    kept = _kept(repository, witness)
    if kept and is_whole(kept.parent):
        return kept.parent
    revision = kept.parent.name if kept else None  # never files of two states of a repository
    try:
        return _fetch_folder(encoder, repository, patterns, witness, remedy, revision)
    except MissingError:
        if kept:
            return kept.parent
        raise


def _fetch_folder(
    encoder: str, repository: str, patterns: Sequence[str], what: str, remedy: str, revision: str | None
) -> Path:
    _offered(encoder, repository, remedy)
    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(patterns), etag_timeout=PATIENCE)
        )
    except Exception as error:  # as above
        raise _unreachable(encoder, repository, what, type(error).__name__, remedy) from error


def require(encoder: str, repository: str, witness: str) -> None:
    """Make sure that what a library is about to load from the hub can be had; MissingError names the command."""
    fetch = f"run 'hf download {repository}' on a machine that reaches it, and copy its cache folder here"
    if not _kept(repository, witness):
        _offered(encoder, repository, fetch)


def holds_tokenizer(folder: Path) -> bool:
    """Whether a folder has all files of a tokenizer, its settings among them."""
    return _holds(folder, TOKENIZER_SETTINGS) and any(all(_holds(folder, f) for f in files) for files in TOKENIZERS)


def _holds(folder: Path, pattern: str) -> bool:
    return any(path.is_file() for path in folder.glob(pattern))


def require_tokenizer(encoder: str, folder: Path) -> None:
    """Make sure that a folder holds a tokenizer: without its files transformers makes one that knows no words."""
    if not any(_holds(folder, files[0]) for files in TOKENIZERS):
        raise MissingError(
            f"{encoder}: no tokenizer in {folder}; fetch the model's tokenizer.json (or vocab.txt) into it"
        )


def _kept(repository: str, name: str) -> Path | None:
    try:
        found = try_to_load_from_cache(repository, name)
    except HFValidationError as error:
        raise UsageError(
            f"'{repository}' cannot be a repository of the hub; write <owner>/<repository>, or a folder as ./folder"
        ) from error
    return Path(found) if isinstance(found, str) else None


def _offered(encoder: str, repository: str, remedy: str) -> set[str]:
    """The files that the hub has in a repository, asked once and with little patience."""
    if HF_HUB_OFFLINE:
        raise _unreachable(encoder, repository, "its files", "HF_HUB_OFFLINE is set", remedy)
    try:
        info = HfApi().model_info(repository, timeout=PATIENCE)
    except Exception as error:  # as above
        raise _unreachable(encoder, repository, "its files", type(error).__name__, remedy) from error
    return {sibling.rfilename for sibling in info.siblings or []}


def _page(repository: str) -> str:
    return f"https://huggingface.co/{repository}"


def _unreachable(encoder: str, repository: str, what: str, why: str, remedy: str) -> MissingError:
    return MissingError(
        f"{encoder}: {what} of {_page(repository)} are not on this machine and cannot be fetched ({why}); {remedy}"
    )
