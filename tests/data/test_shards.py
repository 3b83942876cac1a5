from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from retinaface_cli.data.sources import MemberBytes, Shard, SourceItem, find_sources
from retinaface_cli.data.sources import shards as shards_module
from retinaface_cli.errors import ImageReadError
from retinaface_cli.files.listing import Problem


def write_tar(path: Path, members: Mapping[str, bytes], *, packed: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if packed else "w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def read(path: Path) -> tuple[dict[str, bytes], list[Problem]]:
    """Images of a shard by their names without the shard's, and its problems."""
    items: list[SourceItem] = list(Shard(path, "s.tar").items())
    images = {i.source.name.removeprefix("s.tar/"): i.data for i in items if isinstance(i, MemberBytes)}
    return images, [item for item in items if isinstance(item, Problem)]


MEMBERS = {"a/x.jpg": b"1" * 700, "a/x.json": b"{}", "a/x.cls": b"3", "b/y.PNG": b"2" * 512, "z.webp": b""}
IMAGES = {name: data for name, data in MEMBERS.items() if name[-3:] in ("jpg", "PNG", "ebp")}


@pytest.mark.parametrize("packed", [False, True])
def test_the_images_of_a_shard_come_in_its_order_and_other_files_are_passed_over(tmp_path: Path, packed: bool) -> None:
    images, problems = read(write_tar(tmp_path / "s.tar", MEMBERS, packed=packed))
    assert list(images.items()) == list(IMAGES.items())
    assert problems == []


def test_long_names_and_names_in_other_scripts_are_read(tmp_path: Path) -> None:
    names = {"d" * 90 + "/" + "e" * 300 + ".jpg": b"1", "вид/ü 漢.png": b"2"}
    for number, kind in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w", format=kind) as tar:
            for name, data in names.items():
                header = tarfile.TarInfo(name)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
        assert read(path) == (names, [])


def test_numbers_in_braces_folders_and_files_name_shards(tmp_path: Path) -> None:
    for name in ("s-000.tar", "s-001.tar", "s-003.tar.gz", "sub/t.tgz", "photo.jpg", "notes.txt"):
        write_tar(tmp_path / name, {})
    found = find_sources([f"{tmp_path}/s-{{000..002}}.tar"])
    assert [source.name for source in found.sources] == ["s-000.tar", "s-001.tar"]
    assert all(isinstance(source, Shard) for source in found.sources)
    assert found.problems == [Problem(f"{tmp_path}/s-002.tar", "no such file or folder")]
    listing = find_sources([str(tmp_path)])
    assert [source.name for source in listing.sources] == [
        *("photo.jpg", "s-000.tar", "s-001.tar", "s-003.tar.gz", "sub/t.tgz")
    ]
    assert [isinstance(source, Shard) for source in listing.sources] == [False, True, True, True, True]
    assert listing.left_out == {".txt": 1}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a{0..2}.tar", ["a0.tar", "a1.tar", "a2.tar"]),
        ("{train,val}/{08..10}.tar", [f"{part}/{i}.tar" for part in ("train", "val") for i in ("08", "09", "10")]),
        ("plain{x}.tar", ["plain{x}.tar"]),
    ],
)
def test_braces_stand_for_names_as_in_a_shell(text: str, names: list[str]) -> None:
    assert shards_module.is_shard(text)
    assert find_names(text) == names


def find_names(text: str) -> list[str]:
    from retinaface_cli.data.sources.listing import expand_braces

    return expand_braces(text)


@pytest.mark.parametrize("text", ["{000000..999999}{0..9}.tar", "{9..0}.tar"])
def test_braces_that_stand_for_none_or_too_many_are_refused(text: str) -> None:
    with pytest.raises(ImageReadError, match="expected braces that stand for 1 to 1,000,000 names"):
        find_names(text)


@pytest.mark.parametrize(
    ("length", "count", "reason"),
    [
        (512 + 300, "0 images", "it ends within an image"),
        (512 + 1024 + 200, "1 image", "a broken header"),  # within the second header
        (512 + 1024, "1 image", "it ends without an end mark"),
        (2 * (512 + 1024), "2 images", "it ends without an end mark"),
    ],
)
def test_a_shard_that_breaks_off_gives_what_could_be_read_and_one_problem(
    tmp_path: Path, length: int, count: str, reason: str
) -> None:
    members = {"a.jpg": b"1" * 1000, "b.jpg": b"2" * 1000}
    path = write_tar(tmp_path / "s.tar", members)
    path.write_bytes(path.read_bytes()[:length])
    images, problems = read(path)
    assert list(images.items()) == list(members.items())[: int(count.split()[0])]
    assert problems == [Problem("s.tar", f"the shard breaks off after {count}: {reason}")]


def test_a_packed_shard_that_breaks_off_or_has_a_wrong_byte_gives_one_problem(tmp_path: Path) -> None:
    noise = random.Random(0)
    members = {f"{i}.jpg": noise.randbytes(5000) for i in range(20)}
    path = write_tar(tmp_path / "s.tar.gz", members, packed=True)
    whole = path.read_bytes()
    for data in (whole[:50_000], whole[:50_000] + b"\xff\xff\xff\xff" + whole[50_004:]):
        path.write_bytes(data)
        images, (problem,) = read(path)
        assert 0 < len(images) <= 20
        assert all(members[name] == found for name, found in list(images.items())[:5])
        assert "the shard breaks off after" in problem.reason or "CRC" in problem.reason


def test_a_shard_that_is_none_or_not_there_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"no tar at all" * 100)
    assert read(tmp_path / "s.tar")[1][0].reason.startswith("the shard breaks off after 0 images")
    assert "No such file" in read(tmp_path / "absent.tar")[1][0].reason
    (tmp_path / "empty.tar").touch()
    assert len(read(tmp_path / "empty.tar")[1]) == 1


def make_header(name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0) -> bytes:
    header = tarfile.TarInfo(name)
    header.type, header.size, header.linkname = kind, size, "/etc/passwd"
    return header.tobuf(tarfile.GNU_FORMAT)


END = bytes(1024)
GOOD = make_header("good.jpg", size=3) + b"abc".ljust(512, b"\0")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_problems_and_are_not_followed(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "s.tar"
    path.write_bytes(make_header("evil.jpg", kind) + GOOD + END)
    expected = Problem("s.tar/evil.jpg", "is a link or device in the shard; expected a file")
    assert read(path) == ({"good.jpg": b"abc"}, [expected])


def test_names_are_only_names_wherever_they_lead(tmp_path: Path) -> None:
    names = ["/etc/evil.jpg", "../../evil.jpg", "a/../../b.jpg", "./c.jpg"]
    path = write_tar(tmp_path / "s.tar", {name: b"x" for name in names})
    assert list(read(path)[0]) == names
    path = write_tar(tmp_path / "t.tar", {"line\nbreak.jpg": b"x", "nested.tar": b"y", "clip.mp4": b"z", "d.jpg": b""})
    images, problems = read(path)
    assert list(images) == ["d.jpg"]
    assert [problem.reason for problem in problems] == [
        "its name holds control characters or is not UTF-8",
        "videos are not read from shards; unpack it",
    ]


def test_a_name_that_comes_twice_in_a_shard_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    path.write_bytes(GOOD + make_header("good.jpg", size=3) + b"xyz".ljust(512, b"\0") + END)
    expected = Problem("s.tar/good.jpg", "a second member of this name in the shard")
    assert read(path) == ({"good.jpg": b"abc"}, [expected])


@pytest.mark.parametrize(
    "hostile",
    [
        make_header("huge.jpg", size=1 << 40),
        make_header("huge.txt", size=1 << 62),
        make_header("long", tarfile.GNUTYPE_LONGNAME, size=1 << 33),
        make_header("pax", tarfile.XHDTYPE, size=1 << 33),
        make_header("sparse.jpg", tarfile.GNUTYPE_SPARSE, size=1 << 20),
        (make_header("pax", tarfile.XGLTYPE, size=512) + b"20 path=x\n".ljust(512, b"\0")) * 3000,
        make_header("negative.txt", size=-(1 << 20)),
    ],
    ids=["image", "file", "long name", "pax", "sparse", "chain", "negative"],
)
def test_sizes_that_would_fill_the_memory_end_the_shard(tmp_path: Path, hostile: bytes) -> None:
    path = tmp_path / "s.tar"
    path.write_bytes(GOOD + hostile)
    images, problems = read(path)
    assert images == {"good.jpg": b"abc"}
    assert problems[-1].name == "s.tar"
    assert "breaks off after 1 image" in problems[-1].reason


def test_an_image_over_the_bound_is_passed_over_and_the_next_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "MAX_MEMBER_BYTES", 100)
    path = write_tar(tmp_path / "s.tar", {"large.jpg": b"x" * 5000, "small.jpg": b"y"})
    images, (problem,) = read(path)
    assert images == {"small.jpg": b"y"}
    assert "takes more than 100 bytes" in problem.reason


def test_a_shard_with_any_bytes_wrong_never_raises(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "s.tar", MEMBERS).read_bytes()[: 12 * 512]
    chance = random.Random(1)
    for number in range(400):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = tmp_path / "f.tar"
        path.write_bytes(gzip.compress(bytes(data), 1) if number % 4 == 0 else bytes(data))
        images, _ = read(path)
        assert set(map(type, images.values())) <= {bytes}
