from __future__ import annotations

import io
import pickle
import random
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinaface_cli.data.images import TrainingData, load_training_data
from retinaface_cli.data.sources import Shard, ShardIndex
from retinaface_cli.data.sources import shards as shards_module
from retinaface_cli.data.sources.members import StoredMember
from retinaface_cli.errors import ImageReadError, SettingsError
from retinaface_cli.files.listing import Problem
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.data import DataSettings, LabelSource
from tests.data.conftest import IMAGES
from tests.data.test_shards import END, GOOD, MEMBERS, make_header, write_tar


def members_of(path: Path) -> tuple[dict[str, bytes], list[Problem]]:
    """Images of a shard by their names without the shard's, each read by itself, and its problems."""
    found = list(Shard(path, "s.tar").list_members())
    images = {one.name.removeprefix("s.tar/"): one.read() for one in found if isinstance(one, StoredMember)}
    return images, [one for one in found if isinstance(one, Problem)]


def test_an_image_is_read_from_its_place_in_the_shard(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", {**MEMBERS, "d" * 200 + ".jpg": b"3" * 5000, "big.txt": b"0" * 100_000})
    images, problems = members_of(path)
    expected = {name: data for name, data in MEMBERS.items() if not name.endswith((".json", ".cls"))}
    assert images == {**expected, "d" * 200 + ".jpg": b"3" * 5000}
    assert problems == []


def test_an_open_image_is_a_file_of_its_own(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", {"a.jpg": b"a" * 600, "b.jpg": bytes(range(200)) * 5, "c.jpg": b"c"})
    member = ShardIndex.read(str(path)).find("b.jpg")
    with pickle.loads(pickle.dumps(member)).open() as file:
        assert file.read(3) == bytes(range(3))
        assert file.seek(-2, io.SEEK_END) == 998
        assert file.read() == bytes((198, 199)) and file.read() == b""
        assert file.seek(5) == 5 and file.seek(3, io.SEEK_CUR) == 8 and file.read(1) == b"\x08"


@pytest.mark.parametrize(
    ("length", "count", "reason"),
    [
        (512 + 300, "0 images", "it ends within an image"),
        (512 + 1024 + 200, "1 image", "a broken header"),
        (512 + 1024, "1 image", "it ends without an end mark"),
        (512 + 1024 + 512 + 999, "1 image", "it ends within an image"),
    ],
)
def test_a_shard_that_breaks_off_gives_the_whole_images_before(
    tmp_path: Path, length: int, count: str, reason: str
) -> None:
    members = {"a.jpg": b"1" * 1000, "b.jpg": b"2" * 1000}
    path = write_tar(tmp_path / "s.tar", members)
    path.write_bytes(path.read_bytes()[:length])
    images, problems = members_of(path)
    assert list(images.items()) == list(members.items())[: int(count.split()[0])]
    assert problems == [Problem("s.tar", f"the shard breaks off after {count}: {reason}")]


def test_links_and_repeated_members_cannot_be_found(tmp_path: Path) -> None:
    link = make_header("link.jpg", tarfile.SYMTYPE)
    (tmp_path / "s.tar").write_bytes(link + GOOD + make_header("good.jpg", size=3) + b"xyz".ljust(512, b"\0") + END)
    index = ShardIndex.read(str(tmp_path / "s.tar"))
    assert index.find("good.jpg").read() == b"abc"
    for name in ("link.jpg", "s.tar/link.jpg"):
        with pytest.raises(ImageReadError, match=r"link\.jpg: is a link or device in the shard"):
            index.find(name)
    with pytest.raises(ImageReadError, match=r"other\.jpg: lies in none of the 1 shards"):
        index.find("other.jpg")


def test_an_image_whose_name_is_in_two_shards_is_named_with_its_shard(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"./a.jpg": b"zero"})
    write_tar(tmp_path / "1.tar", {"a.jpg": b"one", "./b/c.jpg": b"c"})
    index = ShardIndex.read(f"{tmp_path}/{{0..1}}.tar")
    assert index.find("0.tar/a.jpg").read() == b"zero" and index.find("1.tar/a.jpg").read() == b"one"
    assert index.find("b/c.jpg") == index.find("./b/c.jpg") == index.find("1.tar/b/c.jpg")
    with pytest.raises(ImageReadError, match=r"a\.jpg: lies in 2 shards; name it with its shard, as in 0\.tar/\./a\.j"):
        index.find("a.jpg")


@pytest.mark.parametrize("name", ["s.tar.gz", "s.tar"])
def test_a_packed_shard_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    write_tar(tmp_path / name, {"a.jpg": b"a"}, packed=True)
    with pytest.raises(ImageReadError, match=r"s\.tar.*: is packed, .*; unpack it to a \.tar file first"):
        ShardIndex.read(str(tmp_path / name))


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ImageReadError, match=r"no shards found \(\.tar\)"):
        ShardIndex.read(str(tmp_path))


def test_a_shard_that_has_changed_is_named_with_the_image(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", {"a/b.jpg": b"1" * 5000})
    member = ShardIndex.read(str(path)).find("a/b.jpg")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ImageReadError, match=rf"{path}/a/b\.jpg: the shard ends within it; it has changed"):
        member.read()
    path.unlink()
    member = replace(member, name="a/b.jpg")  # as `evaluate` names its results
    with pytest.raises(ImageReadError, match=rf"{path}/a/b\.jpg: cannot be read \(No such file"):
        member.read()


@pytest.fixture
def shards(labels: Path) -> Path:
    """The images of the label file in two shards, and nowhere else."""
    folder = labels.parent
    names = list(IMAGES)
    for number in range(2):
        data = {name: (folder / "images" / name).read_bytes() for name in names[number::2]}
        write_tar(folder / "shards" / f"{number:03d}.tar", data)
    return folder / "shards"


def load(labels: Path, shards: str | None, **settings: Any) -> TrainingData:
    source = LabelSource(labels=labels, shards=shards)
    return load_training_data(DataSettings(train=(source,), **{"held_out": 0, **settings}))


def test_training_data_from_shards_is_that_of_the_files(labels: Path, shards: Path) -> None:
    from_files = load(labels, None, held_out=0.25)
    for pattern in (f"{shards}/{{000..001}}.tar", str(shards), f"{shards}/*.tar"):
        from_shards = load(labels, pattern, held_out=0.25)
        assert from_shards.fingerprint == from_files.fingerprint and from_shards.findings == ()
        pairs = zip(from_files.train[0].images, from_shards.train[0].images, strict=True)
        for one, other in pairs:
            assert (one.file_name, one.size) == (other.file_name, other.size)
            assert one.source.suffix == other.source.suffix
            np.testing.assert_array_equal(one.source.load_rgb(reduction=2), other.source.load_rgb(reduction=2))


def test_images_that_a_broken_or_missing_shard_lacks_are_reported_as_missing_files_are(
    labels: Path, shards: Path
) -> None:
    path = shards / "001.tar"
    path.write_bytes(path.read_bytes()[:600])
    message = (
        r"labels\.json: 2 of 4 images cannot be read: a/two\.png: lies in none of the 2 shards, b/wide\.jpg: .*; "
        r".*/shards/001\.tar: the shard breaks off after 0 images: it ends within an image"
    )
    with pytest.raises(ImageReadError, match=rf"{message}; mend them, or leave them out with data\.skip_unreadable"):
        load(labels, str(shards))
    data = load(labels, str(shards), skip_unreadable=True)
    assert [image.file_name for image in data.train[0].images] == ["a/one.jpg", "b/none.jpg"]
    assert data.findings[0].endswith("left out")
    path.unlink()
    with pytest.raises(ImageReadError, match=r"2 of 4 images cannot be read: .*001\.tar: no such file or folder; mend"):
        load(labels, f"{shards}/{{000..001}}.tar")


def test_labels_that_name_no_image_of_the_shards_are_told_how_to(labels: Path, shards: Path) -> None:
    write_tar(shards / "other" / "0.tar", {"x.jpg": b"x"})
    with pytest.raises(ImageReadError, match=r"4 of 4 images .*; labels name images by their paths in the shards"):
        load(labels, str(shards / "other"))


def test_validation_images_that_are_trained_on_are_found_in_shards_too(labels: Path, shards: Path) -> None:
    source = LabelSource(labels=labels, shards=str(shards))
    assert "4 of 4 validation images are trained on, too" in load(labels, str(shards), validation=(source,)).findings[0]
    assert load(labels, str(shards), validation=(LabelSource(labels=labels),)).findings == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shards": "a.tar", "images": "b"}, "images and shards: the images lie in a folder or in shards"),
        ({"shards": "s3://bucket/{0..9}.tar"}, "expected a path on this machine; download it first"),
    ],
)
def test_shards_that_cannot_be_used_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validate_settings(DataSettings, {"train": [{"labels": "labels.json", **values}]}, source="config.yaml")


def test_a_shard_with_any_bytes_wrong_gives_only_images_that_can_be_read(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "s.tar", MEMBERS).read_bytes()[: 12 * 512]
    chance = random.Random(2)
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = tmp_path / "f.tar"
        path.write_bytes(data)
        images, _ = members_of(path)
        assert set(map(type, images.values())) <= {bytes}


def test_headers_alone_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "s.tar", {f"{i}.jpg": bytes(1 << 20) for i in range(8)})
    num_bytes = 0

    class Counted(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            nonlocal num_bytes
            num_bytes += (count := super().readinto(buffer) or 0)
            return count

    monkeypatch.setattr(shards_module, "open_anywhere", lambda _: Counted(path))
    assert len(list(Shard(path, "s.tar").list_members())) == 8
    assert num_bytes < 100_000
