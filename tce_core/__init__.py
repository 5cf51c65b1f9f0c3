"""Tilted Cross-Entropy for semantic segmentation: the science, without Ray, Optuna or MLflow.

Names of tensor axes, used everywhere: B images, K classes, H, W. Logits are ``(B, K, H, W)`` float, labels
``(B, H, W)`` int64 with ``VOID`` for pixels that do not count, confusion matrices ``(K, K)`` int64 with rows =
truth and columns = prediction.
"""

VOID = 255
