"""BatchNorm whose statistics are taken over the images of all processes, or not at all."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

_ALL_BUT_CHANNELS = (0, 2, 3)


class _NormalizeTogether(torch.autograd.Function):
    """Normalisation by mean and variance over all processes, with one exchange forward and one backward."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised (B, C, H, W), mean (C,) and unbiased variance (C,)."""
        local_variance, local_mean = torch.var_mean(input, dim=_ALL_BUT_CHANNELS, correction=0)
        own_count = input.new_tensor([input.numel() / input.shape[1]])
        means, variances, counts = _gather(local_mean, local_variance, own_count)
        total = counts.sum()
        mean = (counts * means).sum(dim=0) / total
        variance = (counts * (variances + (means - mean) ** 2)).sum(dim=0) / total
        scale = torch.rsqrt(variance + eps)
        ctx.save_for_backward(input, weight, mean, scale, total)
        unbiased = variance * total / (total - 1)
        ctx.mark_non_differentiable(mean, unbiased)
        normalized = (input - _spread(mean)) * _spread(scale * weight) + _spread(bias)
        return normalized, mean, unbiased

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of input, weight and bias; the latter two of this process alone."""
        input, weight, mean, scale, total = ctx.saved_tensors
        gradient = gradients[0]
        standard = (input - _spread(mean)) * _spread(scale)
        bias_gradient = gradient.sum(dim=_ALL_BUT_CHANNELS)
        weight_gradient = (gradient * standard).sum(dim=_ALL_BUT_CHANNELS)
        sums = torch.stack([bias_gradient, weight_gradient])
        dist.all_reduce(sums)  # every image's statistics depend on those of all processes
        shift, slope = (sums / total).unbind()
        input_gradient = (gradient - _spread(shift) - standard * _spread(slope)) * _spread(scale * weight)
        return input_gradient, weight_gradient, bias_gradient, None


def _gather(mean: Tensor, variance: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means (P, C), variances (P, C) and counts (P, 1) of all P processes."""
    own = torch.cat([mean, variance, count])
    gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, own)
    means, variances, counts = torch.stack(gathered).split([len(mean), len(variance), 1], dim=1)  # type: ignore[no-untyped-call]
    return means, variances, counts


def _spread(values: Tensor) -> Tensor:
    """(C,) as (C, 1, 1), to go with (B, C, H, W)."""
    return values[:, None, None]


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes, on any device; torch's own SyncBatchNorm wants a GPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalises (B, C, H, W); in training by mean and variance over all processes."""
        if not self.training:
            return super().forward(input)
        normalized, mean, variance = _NormalizeTogether.apply(input, self.weight, self.bias, self.eps)
        self._note(mean, variance)
        result: Tensor = normalized
        return result

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        """Takes a batch's statistics into the running ones."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def freeze_batch_norm(network: nn.Module) -> None:
    """Lets every BatchNorm of a network use and keep its running statistics in training too."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


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
