"""Split: manifest + features -> episodes, drawn among the pairs that both towers could read."""

from __future__ import annotations

from cache.episodes import CLASSIC, CLASSIFY, Episode, write_episodes
from cache.errors import ParamsError, counted
from cache.manifest import Manifest, read_manifest
from cache.store import read_ledger
from stages.episodes import all_classes, classify_episodes, draw_episodes, smallest
from stages.items import MODALITIES, common_ids, open_features
from stages.progress import reporter
from stages.split.params import SplitParams, SplitSection


def run(params: SplitParams) -> None:
    """Draw the episodes of `params.section` and write them to `params.episodes`.

    ParamsError for a dataset of no class, or of one: features can be made of it, episodes cannot."""
    manifest = read_manifest(params.manifest)
    _require_classes(manifest)
    ids = _present(params, manifest)
    rows = {name: row for row, name in enumerate(manifest.ids)}
    labels = [manifest.labels[rows[name]] for name in ids]
    splits = [manifest.splits[rows[name]] for name in ids]
    episodes = _drawn(params.section, manifest.name, ids, labels, splits)
    write_episodes(params.episodes, episodes, params.made_from)
    for line in summary(manifest.name, episodes):
        reporter().say(line)


def _drawn(
    section: SplitSection, name: str, ids: list[str], labels: list[list[str]], splits: list[str | None]
) -> list[Episode]:
    shots, seeds = section.shots, section.seeds
    if section.protocol != CLASSIFY:
        how = section.protocol, section.halves
        return draw_episodes(ids, labels, splits, protocol=how[0], halves=how[1], shots=shots, seeds=seeds)
    episodes = classify_episodes(ids, labels, splits, shots=shots, seeds=seeds, validation=section.validation)
    if lost := [str(count) for count in dict.fromkeys(shots) if count not in {e.shots for e in episodes}]:
        halved = all_classes(ids, labels, splits)
        least = smallest(halved)
        count = counted(len(halved.train[least]), "pair")
        reporter().warn(f"{name}: {', '.join(lost)} shots left out: '{least}' has {count} in its train half")
    return episodes


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
    if first.protocol == CLASSIFY:
        return [_classify_line(name, episodes)]
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


def _classify_line(name: str, episodes: list[Episode]) -> str:
    shots = list(dict.fromkeys(episode.shots for episode in episodes))
    test, classes = len(episodes[0].ids["test"]), len(episodes[0].target_classes)
    chosen = [len(next(e for e in episodes if e.shots == count).ids["validation"]) for count in shots]
    told = ", ".join(f"{count} at {k}" for k, count in zip(shots, chosen, strict=True))
    drawn = f"{counted(len(episodes), 'episode')}; all {classes} classes, {test} test"
    return f"{name}: classify, {drawn}; values are chosen on validation items: {told} shots"
