"""What the registry says of a dataset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One line of the registry; `load` is `module:function`.

    `source` is what to get, `address` where and `download` how large that is, in its publisher's figures; `flags` are
    what its commands need besides its name; `layout` says how it is laid into its folder, `parts` are the paths
    there without which nothing can be read, `|` between those of which one will do. `folder` lies below ingest.root;
    None: it is called as the dataset. `pictures`: False where features alone are read, and no picture need be there.
    """

    name: str
    about: str
    items: int | None
    classes: int | None
    licence: str
    source: str
    address: str | None
    download: str
    layout: str
    load: str
    parts: tuple[str, ...] = ()
    folder: str | None = None
    flags: str = ""
    pictures: bool = True

    @property
    def place(self) -> str:
        """The name of its folder below ingest.root."""
        return self.folder or self.name
