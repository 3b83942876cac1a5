"""Downloads against a server in a thread of this process: nothing leaves the machine."""

from __future__ import annotations

import gc
import hashlib
import http.server
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from retinaface_cli.commands.weights import load_network_with_progress
from retinaface_cli.detection.downloads import fetch_weights
from retinaface_cli.detection.weights import resolve_weights
from retinaface_cli.errors import CheckpointError
from retinaface_cli.model.checkpoints import published
from retinaface_cli.model.checkpoints.published import (
    PUBLISHED,
    PublishedWeights,
    cache_folder,
    find_published,
    list_published,
    preprocessing_by_sha256,
)
from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.backbones import BACKBONES
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.settings.network import PREPROCESSINGS, NetworkSettings
from tests.model.reference_weights import to_old_names
from tests.model.test_checkpoints import to_yakhyo

KNOWN, UNKNOWN = "mobilenet0.25_yakhyo", "mobilenet0.5_yakhyo"
"""Published weights whose sha256 is known, and others."""


def make_weights(backbone: str, *, is_yakhyo: bool = True) -> bytes:
    """The file of a network with random weights, in a family's names."""
    torch.manual_seed(0)
    state = build_network(NetworkSettings.model_validate({"backbone": backbone})).state_dict()
    names = to_old_names(state)
    stream = io.BytesIO()
    torch.save({to_yakhyo(names[key]) if is_yakhyo else names[key]: value for key, value in state.items()}, stream)
    return stream.getvalue()


CONTENT = make_weights("mobilenet0.25")
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"<!DOCTYPE html><html><body>Log in to the network</body></html>"


class WeightServer(http.server.ThreadingHTTPServer):
    """Serves one content under every path but /missing, and counts what it was asked for.

    `cut_after`: bytes after which the connection of each answer is dropped (None: never).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut_after: int | None = None
        self.has_length = True
        self.status = 200
        self.num_requests = 0
        self.ranges: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: WeightServer

    def do_GET(self) -> None:
        self.server.num_requests += 1
        self.server.ranges.append(self.headers.get("Range"))
        self.send_response(self.server.status)
        if self.server.has_length:
            self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETINAFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightServer]:
    """The mirror of all published weights, with KNOWN's hash that of CONTENT."""
    assert not cache.exists()
    monkeypatch.setenv("no_proxy", "*")
    entries = tuple(replace(entry, sha256=SHA256) if entry.name == KNOWN else entry for entry in PUBLISHED)
    monkeypatch.setattr(published, "PUBLISHED", entries)
    with WeightServer() as running:
        monkeypatch.setenv("RETINAFACE_WEIGHTS_MIRROR", f"http://127.0.0.1:{running.server_address[1]}/")
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def entry_of(name: str) -> PublishedWeights:
    entry = find_published(name)
    assert entry is not None
    return entry


def test_a_file_comes_whole_and_is_not_fetched_twice(
    server: WeightServer, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, int]] = []
    path = resolve_weights(KNOWN, on_progress=lambda done, total: seen.append((done, total)))
    assert path == cache / "retinaface_mv1_0.25.pth"
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in cache.iterdir()] == ["retinaface_mv1_0.25.pth"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert resolve_weights(KNOWN) == path
    assert server.num_requests == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", [KNOWN, UNKNOWN])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", r"\(the answer: the file is empty"),
        ("truncated", "Connection broken"),
        ("truncated without a length", "broken or truncated"),
        ("page", "is a web page, not weights"),
        ("other backbone", "not the published file|not mobilenet0.5_yakhyo: found the weights of yakhyo resnet18"),
        ("other family", "not the published file|found the weights of biubug6 / ternaus / facexlib mobilenet0.5"),
        ("text", "is a text file"),
    ],
)
def test_answers_that_are_not_the_file_never_enter_the_cache(
    server: WeightServer, cache: Path, name: str, kind: str, reason: str
) -> None:
    server.content = {
        "empty": b"",
        "page": PAGE,
        "other backbone": make_weights("resnet18"),
        "other family": make_weights("mobilenet0.5", is_yakhyo=False),
        "text": b'{"message": "Not Found"}',
    }.get(kind, CONTENT)
    server.cut_after = 400_000 if kind.startswith("truncated") else None
    server.has_length = not kind.endswith("without a length")
    with pytest.raises(CheckpointError, match=reason) as caught:
        resolve_weights(name)
    assert str(caught.value).startswith(f"{name}: cannot be fetched from http://127.0.0.1:")
    assert list(cache.iterdir()) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_is_missing_names_the_address_and_the_answer(server: WeightServer, cache: Path) -> None:
    server.status = 404
    with pytest.raises(CheckpointError, match=r"retinaface_mv1_0.25.pth \(404 Client Error"):
        resolve_weights(KNOWN)
    gc.collect()  # to which pooch leaves the connection of such an answer
    assert list(cache.iterdir()) == []


def test_a_cut_download_starts_anew_so_that_two_files_are_never_joined(server: WeightServer, cache: Path) -> None:
    server.cut_after = 400_000
    with pytest.raises(CheckpointError, match="Connection broken"):
        resolve_weights(KNOWN)
    server.cut_after = None
    assert resolve_weights(KNOWN).read_bytes() == CONTENT
    assert server.ranges == [None, None]
    assert len(list(cache.iterdir())) == 1


def test_a_hash_that_is_not_known_is_said_and_one_that_is_known_is_not(
    server: WeightServer, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    console = Console(width=400, soft_wrap=True)
    server.content = make_weights("mobilenet0.5")
    load_network_with_progress(InferSettings(inputs=("x",), weights=UNKNOWN), console=console)
    digest = hashlib.sha256(server.content).hexdigest()
    assert f"{UNKNOWN}: its sha256 is not published; found {digest}" in capsys.readouterr().out
    server.content = CONTENT
    load_network_with_progress(InferSettings(inputs=("x",), weights=KNOWN), console=console)
    assert "sha256" not in capsys.readouterr().out


def test_a_cached_file_that_is_another_is_refused_and_kept(server: WeightServer, cache: Path) -> None:
    cache.mkdir()
    (cache / "retinaface_mv1_0.25.pth").write_bytes(make_weights("mobilenet0.5"))
    (cache / "retinaface_mv1_0.50.pth").write_bytes(CONTENT)
    with pytest.raises(CheckpointError, match=r"retinaface_mv1_0.25.pth: not the published file: .*; delete it"):
        resolve_weights(KNOWN)
    with pytest.raises(CheckpointError, match=r"retinaface_mv1_0.50.pth: not mobilenet0.5_yakhyo: .*0.25; delete it"):
        resolve_weights(UNKNOWN)
    assert len(list(cache.iterdir())) == 2
    assert server.num_requests == 0


def test_without_a_server_the_error_says_what_to_fetch_and_where_to_put_it(
    server: WeightServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETINAFACE_WEIGHTS_MIRROR", "http://127.0.0.1:1")
    with pytest.raises(CheckpointError) as caught:
        resolve_weights(KNOWN)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{KNOWN}: cannot be fetched from http://127.0.0.1:1/retinaface_mv1_0.25.pth (")
    assert lines[0].endswith("Connection refused); nothing was kept")
    assert len(lines[0]) < 200
    url = "https://github.com/yakhyo/retinaface-pytorch/releases/download/v0.0.1/retinaface_mv1_0.25.pth"
    path = cache / "retinaface_mv1_0.25.pth"
    assert lines[1:] == [f"to fetch it by hand, download {url}", f"and put it at {path}"]
    path.write_bytes(CONTENT)
    assert resolve_weights(KNOWN) == path
    assert server.num_requests == 0


def test_a_cache_folder_that_cannot_be_made_is_an_error(server: WeightServer, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(CheckpointError, match=r"cannot be fetched from .* \(.*directory\)"):
        resolve_weights(KNOWN)
    assert cache.read_text() == "a file"
    assert server.num_requests == 0


def test_a_mirror_may_be_a_folder(server: WeightServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETINAFACE_WEIGHTS_MIRROR", (tmp_path / "a mirror").as_uri())
    with pytest.raises(CheckpointError, match="No such file"):
        resolve_weights(KNOWN)
    (tmp_path / "a mirror").mkdir()
    (tmp_path / "a mirror" / "retinaface_mv1_0.25.pth").write_bytes(CONTENT)
    assert resolve_weights(KNOWN).read_bytes() == CONTENT
    assert server.num_requests == 0


def test_many_that_want_the_same_file_get_it_whole(server: WeightServer, cache: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(resolve_weights(KNOWN).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert len(list(cache.iterdir())) == 1
    assert 1 <= server.num_requests <= 4


def test_every_entry_of_the_table_is_sound() -> None:
    assert len({entry.name for entry in PUBLISHED}) == len({entry.file_name for entry in PUBLISHED}) == 10
    for entry in PUBLISHED:
        assert entry.backbone in BACKBONES
        assert entry.preprocessing in PREPROCESSINGS
        assert entry.url.startswith("https://github.com/")
        assert (entry.family == "yakhyo") == entry.name.endswith("_yakhyo")
        assert entry.sha256 is None or len(bytes.fromhex(entry.sha256)) == 32


def test_the_list_says_what_is_cached(cache: Path) -> None:
    cache.mkdir()
    (cache / "retinaface_r18.pth").write_bytes(b"x")
    assert [entry.name for entry in list_published() if entry.is_cached] == ["resnet18_yakhyo"]


def test_the_old_name_of_the_old_package_has_its_own_preprocessing() -> None:
    entry = entry_of("resnet50_2020-07-20")
    assert entry.preprocessing == "imagenet-rgb"
    assert entry.file_name == "retinaface_resnet50_2020-07-20-f168fae3c.zip"
    assert find_published("resnet51") is None


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("RETINAFACE_CACHE", "~/weights")
    assert cache_folder() == Path("/home/someone/weights")
    monkeypatch.delenv("RETINAFACE_CACHE")
    assert cache_folder().name == "retinaface-cli"


@pytest.mark.shared
def test_the_published_file_is_what_the_table_says(server: WeightServer, shared: Path) -> None:
    server.content = (shared / "weights" / "retinaface_mv1_0.25.pth").read_bytes()
    real = next(entry for entry in PUBLISHED if entry.name == KNOWN)
    assert fetch_weights(real).read_bytes() == server.content


@pytest.mark.shared
def test_known_files_are_recognised_by_their_hash(shared: Path) -> None:
    for name in ("retinaface_mv1_0.25.pth", "biubug6_keys_mobilenet0.25.pth", "one_mb_family_mobilenet0.25.pth"):
        digest = hashlib.sha256((shared / "weights" / name).read_bytes()).hexdigest()
        assert preprocessing_by_sha256(digest) == "mean-bgr"
    assert preprocessing_by_sha256("0" * 64) is None
