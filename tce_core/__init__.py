"""Tilted Cross-Entropy for semantic segmentation. This package does not import Ray, Optuna or MLflow.

Tensor axes have the same names everywhere: B images, K classes, H height, W width. Logits are `(B, K, H, W)` float.
Labels are `(B, H, W)` int64, where `VOID` marks pixels that do not count. Confusion matrices are `(K, K)` int64:
a row is a true class, a column a predicted class.
"""

VOID = 255
