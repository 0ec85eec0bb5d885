from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cache.errors import MissingError
from stages.extract.encoders import hub


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: None)


def offers(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[dict[str, Any]]:
    """A hub whose repositories hold these files; the list of what it was asked."""
    asked: list[dict[str, Any]] = []

    def model_info(repository: str, **how: Any) -> Any:
        asked.append({"repository": repository, **how})
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(model_info=model_info))
    return asked


def refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def model_info(*_: Any, **__: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(model_info=model_info))


def whole(_folder: Path) -> bool:
    return True


def test_what_is_on_this_machine_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refuses(monkeypatch)
    kept = tmp_path / "b.bin"
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda _, name: str(kept) if name == "b.bin" else None)
    assert hub.fetch_one("enc", "own/er", ["a.safetensors", "b.bin"], "x") == kept
    assert hub.fetch_all("enc", "own/er", ["*"], "b.bin", "x", whole) == tmp_path
    hub.require("enc", "own/er", "b.bin")


def test_the_first_file_that_the_hub_offers_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = offers(monkeypatch, "b.bin", "c.bin")
    monkeypatch.setattr(hub, "hf_hub_download", lambda repository, name, **_: str(tmp_path / repository / name))
    assert hub.fetch_one("enc", "own/er", ["a.safetensors", "b.bin", "c.bin"], "x") == tmp_path / "own/er/b.bin"
    assert asked == [{"repository": "own/er", "timeout": hub.PATIENCE}]


def test_an_unreachable_hub_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    refuses(monkeypatch)
    for call in (
        lambda: hub.fetch_one("enc", "own/er", ["a"], "do this"),
        lambda: hub.fetch_all("enc", "own/er", ["*"], "a", "do this", whole),
    ):
        with pytest.raises(MissingError) as caught:
            call()
        assert str(caught.value) == (
            "enc: its files of https://huggingface.co/own/er are not on this machine and cannot be fetched "
            "(TimeoutError); do this"
        )
    with pytest.raises(MissingError, match="run 'hf download own/er'"):
        hub.require("enc", "own/er", "a")


def test_a_repository_without_the_files_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    offers(monkeypatch, "README.md")
    with pytest.raises(MissingError) as caught:
        hub.fetch_one("enc", "own/er", ["a", "b"], "do this")
    assert str(caught.value) == "enc: https://huggingface.co/own/er has none of a, b; do this"


def test_a_download_that_breaks_off_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    offers(monkeypatch, "a")

    def breaks(*_: Any, **__: Any) -> str:
        raise OSError

    monkeypatch.setattr(hub, "hf_hub_download", breaks)
    monkeypatch.setattr(hub, "snapshot_download", breaks)
    with pytest.raises(MissingError, match=r"enc: a of .* cannot be fetched \(OSError\); do this"):
        hub.fetch_one("enc", "own/er", ["a"], "do this")
    with pytest.raises(MissingError, match=r"enc: a of .* cannot be fetched \(OSError\); do this"):
        hub.fetch_all("enc", "own/er", ["*"], "a", "do this", whole)


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What a download that broke off leaves: the configuration at some state of the repository, and no tokenizer."""
    folder = tmp_path / "0123abc"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda _, name: str(folder / name))
    return folder


def fetch_half() -> Path:
    return hub.fetch_all("enc", "own/er", ["*.json"], "config.json", "x", hub.holds_tokenizer)


def test_a_download_that_broke_off_is_completed_at_the_same_state(monkeypatch: pytest.MonkeyPatch, half: Path) -> None:
    offers(monkeypatch, "config.json")
    states: list[str] = []

    def download(_repository: str, revision: str, **_: Any) -> str:
        states.append(revision)
        for name in ("tokenizer_config.json", "tokenizer.json"):
            (half / name).touch()
        return str(half)

    monkeypatch.setattr(hub, "snapshot_download", download)
    assert fetch_half() == fetch_half() == half
    assert states == ["0123abc"]  # and once it is whole, nobody is asked


def test_half_a_download_is_used_where_the_hub_cannot_be_asked(monkeypatch: pytest.MonkeyPatch, half: Path) -> None:
    refuses(monkeypatch)
    assert fetch_half() == half
    asked = offers(monkeypatch, "config.json")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    assert fetch_half() == half
    assert asked == []
    with pytest.raises(MissingError, match="no tokenizer in"):
        hub.require_tokenizer("enc", half)


@pytest.mark.parametrize(
    ("names", "is_one"),
    [
        (("tokenizer_config.json", "tokenizer.json"), True),
        (("tokenizer_config.json", "spiece.model"), True),
        (("tokenizer_config.json", "vocab.json", "merges.txt"), True),
        (("tokenizer_config.json", "vocab.json"), False),
        (("tokenizer_config.json",), False),
        (("tokenizer.json",), False),
    ],
)
def test_a_tokenizer_is_its_words_and_its_settings(tmp_path: Path, names: tuple[str, ...], is_one: bool) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert hub.holds_tokenizer(tmp_path) is is_one
