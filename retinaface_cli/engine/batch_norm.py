"""BatchNorm whose statistics are taken over the pictures of all processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; so is the gradient's, as every process depends on every other."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ARG004
        """Sums a copy."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        """Sums the gradient."""
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes, on any device; torch's own SyncBatchNorm wants a GPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalises (B, C, H, W); in training by mean and variance over all processes."""
        if not self.training:
            return super().forward(input)
        count = torch.tensor([input.numel() / input.shape[1]], device=input.device, dtype=input.dtype)
        sums = _sum_over_processes(torch.cat([input.sum(dim=(0, 2, 3)), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centered = input - mean[:, None, None]
        variance = _sum_over_processes((centered**2).sum(dim=(0, 2, 3))) / total
        self._note(mean.detach(), variance.detach() * total / (total - 1))
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return centered * scale[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        """Takes a batch's statistics into the running ones."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def _sum_over_processes(tensor: Tensor) -> Tensor:
    summed: Tensor = _SumOverProcesses.apply(tensor)
    return summed


def synchronize_batch_norm(network: nn.Module, *, device_type: str) -> None:
    """Makes every BatchNorm of a network take its statistics over all processes; names and weights stay."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, _synchronized(child, device_type))


def _synchronized(norm: nn.BatchNorm2d, device_type: str) -> nn.Module:
    if device_type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return converted
    synchronized = SynchronizedBatchNorm2d(norm.num_features, eps=norm.eps, momentum=norm.momentum).to(norm.weight)
    synchronized.load_state_dict(norm.state_dict())
    return synchronized
