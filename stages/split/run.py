"""Split: manifest + features -> episodes, drawn among the pairs that both towers could read."""

from __future__ import annotations

from cache.episodes import Episode, write_episodes
from cache.errors import ParamsError, counted
from cache.manifest import Manifest, read_manifest
from cache.store import read_ledger
from stages.episodes import CLASSIC, draw_episodes
from stages.items import MODALITIES, common_ids, open_features
from stages.progress import reporter
from stages.split.params import SplitParams


def run(params: SplitParams) -> None:
    """Draw the episodes of `params.section` and write them to `params.episodes`.

    ParamsError for a dataset of no class, or of one: features can be made of it, episodes cannot."""
    manifest = read_manifest(params.manifest)
    _require_classes(manifest)
    ids = _present(params, manifest)
    rows = {name: row for row, name in enumerate(manifest.ids)}
    labels = [manifest.labels[rows[name]] for name in ids]
    splits = [manifest.splits[rows[name]] for name in ids]
    section = params.section
    episodes = draw_episodes(
        ids,
        labels,
        splits,
        protocol=section.protocol,
        halves=section.halves,
        shots=section.shots,
        seeds=section.seeds,
    )
    write_episodes(params.episodes, episodes, params.made_from)
    for line in summary(manifest.name, episodes):
        reporter().say(line)


def _require_classes(manifest: Manifest) -> None:
    if len(manifest.classes) < 2:
        what = f"every item is of class '{manifest.classes[0]}'" if manifest.classes else "no item has a label"
        raise ParamsError(
            f"{manifest.name}: {what}, and split needs two classes or more; set ingest.table.label to the column that "
            "holds them (of imported features ingest.features.label), or give each class a folder of its own"
        )


def _present(params: SplitParams, manifest: Manifest) -> list[str]:
    ledger = read_ledger(params.features)
    image, text = (open_features(params.store, ledger, rows) for rows in MODALITIES)
    return common_ids(manifest, image, text)


def summary(name: str, episodes: list[Episode]) -> list[str]:
    """What was drawn, in a line or two for the log."""
    first = episodes[0]
    if first.protocol == CLASSIC:
        return [_classic_line(name, first)]
    count = {role: len(ids) for role, ids in first.ids.items()}
    target = count["support"] + count["target-rest"]
    source = f"{_classes(first.source_classes, 'source')} ({count['source-train']} train, {count['source-test']} test)"
    aim = f"{_classes(first.target_classes, 'target')} ({target} train, {count['test']} test)"
    lines = [f"{name}: {counted(len(episodes), 'episode')}; {source}, {aim}"]
    aimed = set(first.target_classes)
    mixed = sum(0 < len(aimed.intersection(own)) < len(own) for own in first.labels.values())
    if mixed:
        what = f"items with a source and a target label: {mixed}"
        lines.append(f"{name}: {what}; none is trained on, all stay in the galleries")
    return lines


def _classes(names: list[str], side: str) -> str:
    return counted(len(names), f"{side} class", f"{side} classes")


def _classic_line(name: str, episode: Episode) -> str:
    train, test = (len(episode.ids[role]) for role in ("source-train", "test"))
    classes = f"all {len(episode.target_classes)} classes ({train} train, {test} test)"
    return f"{name}: classic, one episode; {classes}; split.halves, split.shots and split.seeds have no say in it"
