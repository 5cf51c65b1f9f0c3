"""The losses. `loss_table.py` gives each a name; `build_loss(name, **settings)` builds it.

A loss is a callable `(logits (B, K, H, W) float, labels (B, H, W) int64) -> scalar float32`. Every loss

- ignores pixels labelled `VOID`;
- is 0, never NaN, for a batch without a valid pixel;
- is the loss of the *global* batch under `torch.distributed`: all ranks get the same value, and the average of their
  gradients is the gradient of the global loss.

A loss with a tilt has it in the attribute `t`, which a tilt warm-up sets before each step. A loss that remembers
earlier batches has `state_dict` and `load_state_dict`, and a checkpoint holds its state.

Equation numbers are those of arXiv 2103.14051.
"""

from tce_core.losses.build import Loss, Stateful, Tilted, build_loss, configured_loss

__all__ = ["Loss", "Stateful", "Tilted", "build_loss", "configured_loss"]
