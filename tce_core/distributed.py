"""What the ranks of one training run tell each other. Alone, every function here is the identity.

DistributedDataParallel averages gradients over ranks. A loss over the *global* batch is therefore built so that
each rank's gradient, times 1/world, adds up to the gradient that one process with the whole batch would have.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def global_sum(values: Tensor) -> Tensor:
    """The sum over ranks, detached; same shape and dtype."""
    total = values.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """sum over ranks of `total` / sum over ranks of `count`; 0 where nothing counts.

    Averaging each rank's own mean instead gives wrong gradients wherever void pixels are spread unevenly.
    """
    everywhere = global_sum(count)
    everywhere = torch.where(everywhere > 0, everywhere, 1)
    own = total / everywhere
    return _as_global(global_sum(total) / everywhere, own)


def gather_batch(values: Tensor) -> Tensor:
    """(B/world, ...) on each rank -> (B, ...) on every rank, in rank order; gradients flow to the own part only.

    Every rank must hold the same number. A loss computed from the result goes through `share_gradient`.
    """
    if world_size() == 1:
        return values
    own = values.detach().contiguous()  # and so are the parts: between strides that differ, NCCL mixes up pixels
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own)
    parts[rank()] = values
    return torch.cat(parts)


def share_gradient(loss: Tensor) -> Tensor:
    """Same value, gradient times world: what a loss over a gathered batch owes to the averaging of DDP."""
    return _as_global(loss.detach(), loss)


def _as_global(value: Tensor, own: Tensor) -> Tensor:
    """`value`, with world times the gradient of `own`."""
    scaled = own * world_size()
    return value + (scaled - scaled.detach())
