"""Files of the model hub: what is on this machine first, then the hub, and where neither has it, one line.

HF_HUB_OFFLINE is respected, and an absent network is noticed in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils.tqdm import disable_progress_bars

from cache.errors import MissingError, UsageError

PATIENCE = 5.0  # seconds until the hub counts as unreachable
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tokenizer.tiktoken")


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


def fetch_all(encoder: str, repository: str, patterns: Sequence[str], witness: str, remedy: str) -> Path:
    """The folder of a repository's files that match; `witness` is the file whose presence shows it to be at hand."""
    disable_progress_bars()
    if found := _kept(repository, witness):
        return found.parent
    _offered(encoder, repository, remedy)
    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns), etag_timeout=PATIENCE))
    except Exception as error:  # as above
        raise _unreachable(encoder, repository, witness, type(error).__name__, remedy) from error


def require(encoder: str, repository: str, witness: str) -> None:
    """Make sure that what a library is about to load from the hub can be had; MissingError names the command."""
    fetch = f"run 'hf download {repository}' on a machine that reaches it, and copy its cache folder here"
    if not _kept(repository, witness):
        _offered(encoder, repository, fetch)


def require_tokenizer(encoder: str, folder: Path) -> None:
    """Make sure that a folder holds a tokenizer: without its files transformers makes one that knows no words."""
    if not any(path.is_file() for kind in TOKENIZERS for path in folder.glob(kind)):
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
