"""Tar shards as folders of images: which image lies where, by its name, for reading in any order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from retinaface_cli.data.sources.listing import find_sources
from retinaface_cli.data.sources.members import StoredMember
from retinaface_cli.data.sources.shards import Shard
from retinaface_cli.errors import ImageReadError, shown
from retinaface_cli.files.listing import Problem


@dataclass(frozen=True)
class ShardIndex:
    """The images of several shards.

    Attributes:
        pattern: the shards as the user names them.
        num_shards: how many there are.
        problems: shards that are missing or break off.
        members: images by their path in the shard, and by the shard's name with that path behind.
        reasons: why members cannot be used, by the same names.
    """

    pattern: str
    num_shards: int
    problems: Sequence[Problem]
    members: dict[str, tuple[StoredMember, ...]]
    reasons: dict[str, str]

    @classmethod
    def read(cls, pattern: str) -> ShardIndex:
        """Reads the headers of all shards that a path, folder, glob or `{000..999}` stands for.

        Raises:
            ImageReadError: there are none, or one is packed.
        """
        listing = find_sources([pattern])
        shards = [source for source in listing.sources if isinstance(source, Shard)]
        if not shards:
            raise ImageReadError(f"{shown(pattern)}: no shards found (.tar)")
        problems = list(listing.problems)
        members: dict[str, tuple[StoredMember, ...]] = {}
        reasons: dict[str, str] = {}
        for shard in shards:
            for found in shard.list_members():
                if found.name == shard.name:
                    problems.append(Problem(str(shard.path), found.reason))  # type: ignore[union-attr]
                    continue
                for name in _names(shard, found.name):
                    if isinstance(found, Problem):
                        reasons[name] = found.reason
                    else:
                        members[name] = (*members.get(name, ()), found)
        return cls(pattern, len(shards), problems, members, reasons)

    def find(self, name: str) -> StoredMember:
        """The image of a name.

        Raises:
            ImageReadError: no shard holds it, several do, or it cannot be used.
        """
        inner = name.removeprefix("./")
        found = self.members.get(inner, ())
        if len(found) == 1:
            return found[0]
        if found:
            raise ImageReadError(
                f"{shown(name)}: lies in {len(found)} shards; name it with its shard, as in {shown(found[0].name)}"
            )
        reason = self.reasons.get(inner, f"lies in none of the {self.num_shards:,} shards")
        raise ImageReadError(f"{shown(name)}: {reason}")


def _names(shard: Shard, name: str) -> Iterator[str]:
    """What an image of a shard may be called, from its name in the listing."""
    inner = name.removeprefix(f"{shard.name}/").removeprefix("./")
    yield inner
    yield f"{shard.name}/{inner}"
