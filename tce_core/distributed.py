"""Communication between the ranks of one training run. In a single process nothing is communicated.

DistributedDataParallel (DDP) averages gradients over ranks. Losses over the *global* batch are therefore built so
that this average is the gradient that one process with the whole batch would compute.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from tce_core.errors import UserError


def world_size() -> int:
    """Return the number of ranks; 1 in a single process."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this rank; 0 in a single process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def global_sum(values: Tensor) -> Tensor:
    """Return the sum of `values` over ranks, detached, with the same shape and dtype."""
    total = values.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def all_ranks(holds: bool, device: torch.device) -> bool:
    """Return whether something holds on every rank. Every rank must call this, with the device that it trains on."""
    return int(global_sum(torch.tensor(int(holds), device=device))) == world_size()


def global_total(values: Tensor) -> Tensor:
    """Return the sum of `values` over ranks, with the gradient that DDP needs, with the same shape and dtype."""
    return _as_global(global_sum(values), values)


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Return (sum of `total` over ranks) / (sum of `count` over ranks), with the gradient that DDP needs.

    Averaging the means of the ranks instead gives wrong gradients when void pixels are spread unevenly.

    Args:
        total: float tensor of any shape, this rank's sums.
        count: tensor of the same shape, this rank's counts (or summed weights).

    Returns:
        The same value on every rank; 0 where the summed count is 0.
    """
    everywhere = global_sum(count)
    everywhere = torch.where(everywhere > 0, everywhere, 1)
    own = total / everywhere
    return _as_global(global_sum(total) / everywhere, own)


def gather_batch(values: Tensor) -> Tensor:
    """Concatenate the parts of all ranks along the first axis.

    Gradients flow to this rank's own part only: pass a loss that is computed from the result through
    `share_gradient`.

    Args:
        values: (B / world, ...), the same shape on every rank.

    Returns:
        (B, ...) on every rank, in rank order.
    """
    if world_size() == 1:
        return values
    own = values.detach().contiguous()  # like the parts: NCCL mixes up pixels if their strides differ
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own)
    parts[rank()] = values
    return torch.cat(parts)


def share_gradient(loss: Tensor) -> Tensor:
    """Multiply the gradient of a loss over a gathered batch by the world size; DDP's averaging divides by it."""
    return _as_global(loss.detach(), loss)


def _as_global(value: Tensor, own: Tensor) -> Tensor:
    """Return `value` with the gradient of `own` times the world size."""
    scaled = own * world_size()
    return value + (scaled - scaled.detach())


def share_of_batch(batch_size: int, workers: int, *, synchronised: bool) -> int:
    """Return the number of images of a batch that each worker takes.

    Args:
        batch_size: images in the global batch.
        workers: number of workers.
        synchronised: whether BatchNorm sees the images of all workers (on GPUs).

    Raises:
        UserError: the workers cannot share the batch evenly, or BatchNorm would see only one image.
    """
    if batch_size % workers:
        raise UserError(f"batch_size {batch_size} cannot be shared evenly by {workers} workers")
    share = batch_size // workers
    if (batch_size if synchronised else share) < 2:
        raise UserError(f"batch_size {batch_size} over {workers} workers leaves {share} image each; BatchNorm needs 2")
    return share
