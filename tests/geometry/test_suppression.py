from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
import torchvision

from retinaface_cli.geometry import suppression
from retinaface_cli.geometry.suppression import nms


@pytest.fixture
def new_operator() -> Iterator[None]:
    suppression._operator.cache_clear()
    yield
    suppression._operator.cache_clear()


def some_boxes() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(200, 2, generator=random) * 100
    return torch.cat([corners, corners + 20], dim=1), torch.rand(200, generator=random)


@pytest.mark.usefixtures("new_operator")
def test_suppression_is_torchvisions() -> None:
    boxes, scores = some_boxes()
    kept = nms(boxes, scores, 0.4)
    assert 10 < len(kept) < 150
    assert kept.equal(torchvision.ops.nms(boxes, scores, 0.4))


def test_suppression_imports_neither_torchvision_nor_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from retinaface_cli.geometry.suppression import nms\n"
        "boxes = torch.tensor([[0., 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])\n"
        "assert nms(boxes, torch.tensor([.5, .9, .7]), .4).tolist() == [1, 2]\n"
        "print({'torchvision', 'torch._dynamo'} & set(sys.modules))\n"
        "import torchvision\n"  # afterwards it is whole, too
        "assert torchvision.ops.nms(boxes, torch.tensor([.5, .9, .7]), .4).tolist() == [1, 2]\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "set()\n"), run.stderr


@pytest.mark.parametrize("failing", ["the library is elsewhere", "the library is made for another torch"])
def test_without_its_library_torchvision_itself_is_asked(failing: str) -> None:
    code = (
        "import sys, torch, importlib.util, pathlib\n"
        "from retinaface_cli.geometry import suppression\n"
        f"if {failing!r} == 'the library is elsewhere':\n"
        "    suppression.Path = lambda folder: pathlib.Path('nowhere')\n"
        "else:\n"
        "    load = torch.ops.load_library\n"
        "    def refuse(path):\n"
        "        torch.ops.load_library = load\n"
        "        raise OSError('undefined symbol')\n"
        "    torch.ops.load_library = refuse\n"
        "boxes = torch.tensor([[0., 0, 10, 10], [1, 0, 11, 10]])\n"
        "assert suppression.nms(boxes, torch.tensor([.5, .9]), .4).tolist() == [1]\n"
        "print('torchvision' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "True\n"), run.stderr
