"""Images, shards and lists at addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from retinaface_cli.data.preprocessing import TestScale
from retinaface_cli.data.reading import Image, UnreadableImage, read_images
from retinaface_cli.data.sources import InputStream, Part, Shard, Source, SourceListing, Work, find_sources
from retinaface_cli.data.sources.work import ListLine
from retinaface_cli.errors import FileReadError, ImageReadError
from retinaface_cli.files.addresses import is_address, open_anywhere, read_address, stamp_of_address
from tests.data.test_shards import write_tar


def encoded(value: int) -> bytes:
    return cv2.imencode(".png", np.full((8, 8, 3), value, np.uint8))[1].tobytes()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[MemoryFileSystem]:
    """A bucket with images, two shards and a list."""
    fs = fsspec.filesystem("memory")
    fs.pipe("/b/photos/a/x.png", encoded(1))
    fs.pipe("/b/photos/y.png", encoded(2))
    fs.pipe("/b/photos/notes.txt", b"no image")
    for number in range(2):
        shard = write_tar(tmp_path / "s.tar", {"x.png": encoded(10 + number), "y.png": encoded(20 + number)})
        fs.pipe(f"/b/shards/{number:03d}.tar", shard.read_bytes())
    fs.pipe("/b/list.txt", b"photos/y.png\n# no\nmemory://b/photos/a/x.png\nmemory://b/gone.png\n")
    yield fs
    fs.rm("/b", recursive=True)


def names(listing: SourceListing) -> list[str]:
    return [source.name for source in listing.sources]


def read_values(part: Part) -> dict[str, int | str]:
    """The grey value of each image, or why it could not be read."""
    values: dict[str, int | str] = {}
    for loaded in read_images(part.items(), TestScale(), num_workers=2, keep_original=False):
        if isinstance(loaded, Image):
            values[loaded.name] = int(loaded.resized[0, 0, 0])
        elif isinstance(loaded, UnreadableImage):
            values[loaded.name] = loaded.reason
    return values


@pytest.mark.usefixtures("memory")
def test_folders_globs_and_numbers_in_braces_at_addresses(tmp_path: Path) -> None:
    assert names(find_sources(["memory://b/photos"])) == ["a/x.png", "y.png"]
    assert names(find_sources(["memory://b/photos/*/*.png"])) == ["x.png"]
    listing = find_sources(["memory://b/shards/{000..001}.tar"])
    assert names(listing) == ["000.tar", "001.tar"]
    assert all(isinstance(source, Shard) for source in listing.sources)
    (tmp_path / "here.png").write_bytes(encoded(3))
    listing = find_sources([str(tmp_path / "here.png"), "memory://b/photos/y.png"])
    assert names(listing) == ["here.png", "b/photos/y.png"]


@pytest.mark.usefixtures("memory")
def test_images_shards_and_lists_at_addresses_are_read() -> None:
    stream = InputStream(["memory://b/shards", "@memory://b/list.txt"])
    shard, other, listed = Work(stream).parts(10)
    assert read_values(shard) == {"000.tar/x.png": 10, "000.tar/y.png": 20}
    assert read_values(other) == {"001.tar/x.png": 11, "001.tar/y.png": 21}
    assert read_values(listed) == {"photos/y.png": 2, "photos/a/x.png": 1, "gone.png": "no such file"}
    listing = find_sources(["@memory://b/list.txt"])
    assert names(listing) == ["photos/y.png", "photos/a/x.png", "gone.png"]


def test_a_shard_at_an_address_is_another_once_it_has_changed(memory: MemoryFileSystem) -> None:
    before = stamp_of_address("memory://b/shards/000.tar")
    memory.pipe("/b/shards/000.tar", memory.cat("/b/shards/001.tar") + bytes(512))
    assert stamp_of_address("memory://b/shards/000.tar") != before
    assert stamp_of_address("memory://b/absent.tar") == "memory://b/absent.tar"


@pytest.mark.usefixtures("memory")
def test_what_is_not_there_or_too_large_is_an_error_that_names_the_address() -> None:
    with pytest.raises(ImageReadError, match=r"memory://b/empty: no such file or folder, or no images in it"):
        find_sources(["memory://b/empty"])
    with pytest.raises(ImageReadError, match=r"memory://b/none.txt: no such file; expected a list of images"):
        InputStream(["@memory://b/none.txt"])
    with pytest.raises(FileReadError, match=r"memory://b/photos/y.png: holds more than 10 bytes"):
        read_address("memory://b/photos/y.png", max_bytes=10)
    (failure,) = read_images(
        [Source(Path("x"), "x"), *find_sources(["memory://b/gone.tar"]).sources[0].items()][1:],
        TestScale(),
        num_workers=1,
        keep_original=False,
    )
    assert isinstance(failure, UnreadableImage)
    assert failure.reason == "the shard breaks off after 0 images: no such file"


def test_the_package_that_an_address_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(ImageReadError, match=r"s3://bucket/photos: needs the package s3fs: pip install s3fs"):
        find_sources(["s3://bucket/photos"])
    with (
        pytest.raises(FileReadError, match=r'https://host/x.tar: HTTPFileSystem requires "requests" and "aiohttp"'),
        open_anywhere("https://host/x.tar"),
    ):
        pass


def test_an_address_of_this_machine_is_refused_since_it_may_be_a_device() -> None:
    with pytest.raises(FileReadError, match="name a file of this machine by its path"):
        read_address("file:///dev/zero", max_bytes=10)
    assert not is_address("C:\\photos")
    assert not is_address("photos/a:b.jpg")


def test_lines_of_a_list_are_not_looked_for_before_their_part_has_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{number}.png\n" for number in range(25)))
    (tmp_path / "11.png").write_bytes(encoded(4))
    parts = list(Work(InputStream([f"@{path}"])).parts(10))
    assert [len(part.entries) for part in parts] == [10, 10, 5]
    assert all(isinstance(entry, ListLine) for part in parts for entry in part.entries)
    (tmp_path / "12.png").write_bytes(encoded(5))
    assert [name for name, value in read_values(parts[1]).items() if value in (4, 5)] == ["11.png", "12.png"]
