"""Downloads against a server in a thread of this process: nothing leaves the machine."""

from __future__ import annotations

import hashlib
import http.server
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from retinaface_cli.errors import CheckpointError
from retinaface_cli.model.checkpoints import published as downloads
from retinaface_cli.model.checkpoints.http_download import download
from retinaface_cli.model.checkpoints.published import (
    PUBLISHED,
    cache_folder,
    fetch_weights,
    find_published,
    list_published,
    preprocessing_by_sha256,
)
from retinaface_cli.model.networks.backbones import BACKBONES
from retinaface_cli.settings.network import PREPROCESSINGS

CONTENT = bytes(range(256)) * 4096  # 1 MiB, several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "mobilenet0.25_yakhyo"


class WeightServer(http.server.ThreadingHTTPServer):
    """Serves CONTENT under every path but /missing, and notes what it was asked for.

    `cut_after`: bytes after which the connection of each answer is dropped (None: never).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut_after: int | None = None
        self.supports_ranges = True
        self.etag: str | None = '"one"'
        self.content_type = "application/octet-stream"
        self.requests: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: WeightServer

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        if self.path == "/missing":
            self.send_error(404)
            return
        start = 0
        if wanted is not None and server.supports_ranges and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", server.content_type)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body[: server.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightServer]:
    monkeypatch.setenv("no_proxy", "*")
    with WeightServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETINAFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def mirrored(server: WeightServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> WeightServer:
    """The server as mirror of all published weights, with NAME's hash that of CONTENT."""
    assert not cache.exists()
    monkeypatch.setenv("RETINAFACE_WEIGHTS_MIRROR", server.address + "/")
    entries = tuple(replace(entry, sha256=SHA256) if entry.name == NAME else entry for entry in PUBLISHED)
    monkeypatch.setattr(downloads, "PUBLISHED", entries)
    return server


def leftovers(path: Path) -> list[str]:
    """Names beside the file, the lock left out."""
    return sorted(entry.name for entry in path.parent.iterdir() if entry.suffix != ".lock")


def test_a_file_comes_whole_and_is_not_fetched_twice(mirrored: WeightServer, cache: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = fetch_weights(NAME, on_progress=lambda done, total: seen.append((done, total)))
    assert path == cache / "retinaface_mv1_0.25.pth"
    assert path.read_bytes() == CONTENT
    assert leftovers(path) == ["retinaface_mv1_0.25.pth"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert fetch_weights(NAME) == path
    assert len(mirrored.requests) == 1


def test_an_answer_that_is_cut_off_is_gone_on_with_where_it_stopped(server: WeightServer, tmp_path: Path) -> None:
    server.cut_after = 400_000
    path = download(server.address + "/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.requests == [None, "bytes=400000-", "bytes=800000-"]
    assert leftovers(path) == ["a.pth"]


def test_what_an_earlier_run_left_is_gone_on_with(server: WeightServer, tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(CONTENT[:300_000])
    (tmp_path / "a.pth.part.version").write_text('"one"')
    seen: list[tuple[int, int | None]] = []
    download(server.address + "/a.pth", tmp_path / "a.pth", on_progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert server.requests == ["bytes=300000-"]
    assert seen[0][0] > 300_000
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_the_start_of_another_version_is_not_mixed_with_the_new_one(server: WeightServer, tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(b"old" * 1000)
    (tmp_path / "a.pth.part.version").write_text('"zero"')
    assert download(server.address + "/a.pth", tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_start_of_unknown_version_is_thrown_away(server: WeightServer, tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(b"old" * 1000)
    assert download(server.address + "/a.pth", tmp_path / "a.pth").read_bytes() == CONTENT
    assert server.requests == [None]


def test_a_start_longer_than_the_file_is_thrown_away(server: WeightServer, tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(CONTENT + b"more")
    (tmp_path / "a.pth.part.version").write_text('"one"')
    assert download(server.address + "/a.pth", tmp_path / "a.pth").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_server_without_ranges_sends_the_whole_file_again(server: WeightServer, tmp_path: Path) -> None:
    server.supports_ranges = False
    (tmp_path / "a.pth.part").write_bytes(CONTENT[:300_000])
    (tmp_path / "a.pth.part.version").write_text('"one"')
    assert download(server.address + "/a.pth", tmp_path / "a.pth", sha256=SHA256).read_bytes() == CONTENT
    assert server.requests == ["bytes=300000-"]


def test_a_server_that_always_cuts_and_knows_no_ranges_ends_in_an_error(server: WeightServer, tmp_path: Path) -> None:
    server.supports_ranges = False
    server.cut_after = 300_000
    with pytest.raises(CheckpointError, match=r"cut after 300000 of 1048576 bytes; 300000 bytes are kept"):
        download(server.address + "/a.pth", tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()


def test_a_cut_without_a_version_to_go_on_with_ends_in_an_error(server: WeightServer, tmp_path: Path) -> None:
    server.etag = None
    server.cut_after = 10
    with pytest.raises(CheckpointError, match=r"cut after 10 of 1048576 bytes$"):
        download(server.address + "/a.pth", tmp_path / "a.pth")


def test_a_file_with_the_wrong_hash_is_refused_and_leaves_nothing(mirrored: WeightServer, cache: Path) -> None:
    mirrored.content = b"something else"
    with pytest.raises(CheckpointError, match=f"not the published file: sha256 [0-9a-f]+, wanted {SHA256}"):
        fetch_weights(NAME)
    assert leftovers(cache / "x") == []


def test_a_cached_file_with_the_wrong_hash_is_refused(mirrored: WeightServer, cache: Path) -> None:
    cache.mkdir()
    (cache / "retinaface_mv1_0.25.pth").write_bytes(b"put there by hand")
    with pytest.raises(CheckpointError, match=r"not the published file of mobilenet0.25_yakhyo.*delete it"):
        fetch_weights(NAME)
    assert (cache / "retinaface_mv1_0.25.pth").read_bytes() == b"put there by hand"
    assert mirrored.requests == []


def test_a_missing_file_names_the_address_and_the_answer(server: WeightServer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"/missing: the server answered 404 Not Found$"):
        download(server.address + "/missing", tmp_path / "a.pth")
    assert leftovers(tmp_path / "a.pth") == []


def test_a_web_page_is_not_taken_for_weights(server: WeightServer, tmp_path: Path) -> None:
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(CheckpointError, match="sent a web page"):
        download(server.address + "/a.pth", tmp_path / "a.pth")
    assert leftovers(tmp_path / "a.pth") == []


def test_without_a_server_the_error_says_what_to_fetch_and_where_to_put_it(
    mirrored: WeightServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETINAFACE_WEIGHTS_MIRROR", "http://127.0.0.1:1")
    with pytest.raises(CheckpointError) as caught:
        fetch_weights(NAME)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{NAME}: http://127.0.0.1:1/retinaface_mv1_0.25.pth: no connection (")
    published = "https://github.com/yakhyo/retinaface-pytorch/releases/download/v0.0.1/retinaface_mv1_0.25.pth"
    assert lines[1:] == [
        f"to fetch it by hand, download {published}",
        f"and put it at {cache / 'retinaface_mv1_0.25.pth'}",
    ]
    assert mirrored.requests == []


def test_a_file_put_where_the_error_says_is_taken(mirrored: WeightServer, cache: Path) -> None:
    cache.mkdir()
    (cache / "retinaface_mv1_0.25.pth").write_bytes(CONTENT)
    assert fetch_weights(NAME) == cache / "retinaface_mv1_0.25.pth"
    assert mirrored.requests == []


def test_a_lost_connection_keeps_what_an_earlier_run_left(tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(b"123")
    (tmp_path / "a.pth.part.version").write_text('"one"')
    with pytest.raises(CheckpointError, match=r"no connection .*; 3 bytes are kept"):
        download("http://127.0.0.1:1/a.pth", tmp_path / "a.pth")
    assert (tmp_path / "a.pth.part").read_bytes() == b"123"


def test_a_folder_that_cannot_be_made_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CheckpointError, match=r"cannot be written .*RETINAFACE_CACHE"):
        download("http://127.0.0.1:1/a.pth", tmp_path / "cache" / "a.pth")


def test_a_mirror_may_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mirror.pth").write_bytes(CONTENT)
    path = download((tmp_path / "mirror.pth").as_uri(), tmp_path / "a.pth", sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_of_many_that_want_the_same_file_one_downloads_it(mirrored: WeightServer, cache: Path) -> None:
    threads = [threading.Thread(target=fetch_weights, args=(NAME,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (cache / "retinaface_mv1_0.25.pth").read_bytes() == CONTENT
    assert len(mirrored.requests) == 1


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"resnet51: no published weights of that name; known: .*resnet50_2020"):
        fetch_weights("resnet51")
    assert find_published("resnet51") is None


def test_every_entry_of_the_table_is_sound() -> None:
    assert len({entry.name for entry in PUBLISHED}) == len({entry.file_name for entry in PUBLISHED}) == 10
    for entry in PUBLISHED:
        assert entry.backbone in BACKBONES
        assert entry.preprocessing in PREPROCESSINGS
        assert entry.url.startswith("https://github.com/")
        assert entry.sha256 is None or len(bytes.fromhex(entry.sha256)) == 32


def test_the_list_says_what_is_cached(cache: Path) -> None:
    cache.mkdir()
    (cache / "retinaface_r18.pth").write_bytes(b"x")
    assert [entry.name for entry in list_published() if entry.is_cached] == ["resnet18_yakhyo"]


def test_the_old_name_of_the_old_package_has_its_own_preprocessing() -> None:
    entry = find_published("resnet50_2020-07-20")
    assert entry is not None
    assert entry.preprocessing == "imagenet-rgb"
    assert entry.file_name == "retinaface_resnet50_2020-07-20-f168fae3c.zip"


def test_the_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETINAFACE_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/someone/.cache/retinaface-cli")
    monkeypatch.setenv("XDG_CACHE_HOME", "/big/cache")
    assert cache_folder() == Path("/big/cache/retinaface-cli")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path("/home/someone/Library/Caches/retinaface-cli")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache_folder() == Path("/local/retinaface-cli")
    monkeypatch.setenv("RETINAFACE_CACHE", "~/weights")
    assert cache_folder() == Path("/home/someone/weights")


@pytest.mark.shared
def test_known_files_are_recognised_by_their_hash(shared: Path) -> None:
    for name in ("retinaface_mv1_0.25.pth", "biubug6_keys_mobilenet0.25.pth", "one_mb_family_mobilenet0.25.pth"):
        digest = hashlib.sha256((shared / "weights" / name).read_bytes()).hexdigest()
        assert preprocessing_by_sha256(digest) == "mean-bgr"
    assert preprocessing_by_sha256("0" * 64) is None
