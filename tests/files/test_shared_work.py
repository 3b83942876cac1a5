"""What processes tell each other through files."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retinaface_cli.files import shared_work
from retinaface_cli.files.shared_work import SharedWork, clear_shared_work


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SharedWork]]:
    """Three processes of a run, which write often."""
    monkeypatch.setattr(shared_work, "_BEAT_SECONDS", 0.01)
    made = [SharedWork(tmp_path, "run", rank=rank, world_size=3) for rank in range(3)]
    yield made
    for process in made:
        process.close()


def never() -> bool:
    return False


def wait_until(condition: object) -> None:
    deadline = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_process_that_ended_before_it_was_gone_is_no_lost_one(processes: list[SharedWork]) -> None:
    for process in reversed(processes):
        process.end("ended", {})
    last = processes[-1]
    assert not last.have_others_ended  # as far as it knows
    last.wait_for_others(is_over=lambda: True)  # they are gone
    assert last.have_others_ended
    assert not SharedWork(Path("nowhere"), "run", rank=0, world_size=2).have_others_ended


def test_each_part_is_taken_once_however_many_ask_at_the_same_time(processes: list[SharedWork]) -> None:
    taken: list[list[int]] = [[] for _ in processes]
    start = threading.Barrier(len(processes))

    def take(rank: int) -> None:
        start.wait()
        taken[rank] += [number for number in range(200) if processes[rank].claim(number)]

    threads = [threading.Thread(target=take, args=(rank,)) for rank in range(len(processes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for part in taken for number in part) == list(range(200))


def test_a_process_alone_takes_everything_and_writes_nothing(tmp_path: Path) -> None:
    alone = SharedWork(tmp_path, "run", rank=0, world_size=1)
    alone.start(dict)
    assert alone.claim(3)
    alone.end("ended", {})
    alone.wait_for_others(is_over=never)
    alone.close()
    assert list(tmp_path.iterdir()) == []


def test_all_know_how_far_the_others_are_and_wait_for_their_end(processes: list[SharedWork]) -> None:
    for rank, process in enumerate(processes):
        process.start(lambda rank=rank: {"images": rank})  # type: ignore[misc]
    wait_until(lambda: processes[0].others() == [{"images": 1}, {"images": 2}])
    for rank in (1, 2):
        processes[rank].end("ended", {"images": 10 * rank})
    processes[0].end("ended", {"images": 5})
    processes[0].wait_for_others(is_over=never)
    assert processes[0].others() == [{"images": 10}, {"images": 20}]
    assert processes[0].problem == ""


def test_a_process_that_is_not_heard_of_is_lost(processes: list[SharedWork], monkeypatch: pytest.MonkeyPatch) -> None:
    for process in processes[:2]:
        process.start(dict)
    wait_until(lambda: processes[0].others()[0] == {})
    monkeypatch.setattr(shared_work, "LOST_SECONDS", 0.3)
    wait_until(lambda: processes[0].problem)
    assert processes[0].problem.startswith("nothing was heard of process 3 (never heard of) for 0 s")


def test_a_silent_process_is_told_from_one_that_works_or_has_ended(
    processes: list[SharedWork], monkeypatch: pytest.MonkeyPatch
) -> None:
    processes[0].start(dict)
    processes[1].end("stopped", {})
    processes[2].end("working", {})
    wait_until(lambda: processes[0].is_stopped)
    assert [processes[0].explain_silence(rank) for rank in range(3)] == ["", "", ""]
    monkeypatch.setattr(shared_work, "_SILENT_SECONDS", 0)
    assert [processes[0].explain_silence(rank) for rank in range(2)] == ["", ""]
    assert processes[0].explain_silence(2).startswith("nothing was heard of process 3 (")


def test_an_error_of_one_process_reaches_the_others_at_once(processes: list[SharedWork]) -> None:
    processes[1].end("failed", {}, message="disk\nfull")
    processes[0].start(dict)
    wait_until(lambda: processes[0].problem)
    assert processes[0].problem.startswith("process 2 (")
    assert processes[0].problem.endswith(r"ended with an error: disk\nfull")


def test_a_stop_of_one_process_is_seen_by_the_others(processes: list[SharedWork]) -> None:
    processes[2].end("stopped", {})
    processes[0].start(dict)
    wait_until(lambda: processes[0].is_stopped)
    assert processes[0].problem == ""


def test_broken_files_of_others_are_passed_over(tmp_path: Path, processes: list[SharedWork]) -> None:
    folder = tmp_path / ".retinaface" / "work" / "run"
    for content in ("", "{", "[]", json.dumps({"beat": 1})):
        (folder / "rank-1").write_text(content)
        processes[0].end("ended", {})
        assert processes[0].problem == ""


def test_what_a_killed_run_has_left_is_cleared(tmp_path: Path) -> None:
    SharedWork(tmp_path, "run", rank=1, world_size=2).claim(0)
    clear_shared_work(tmp_path)
    clear_shared_work(tmp_path)
    assert list((tmp_path / ".retinaface").iterdir()) == []
