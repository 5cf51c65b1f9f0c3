"""The YAHPO surrogate of LCBench: learning curves of 34 tasks with two objectives, in 2 ms per curve.

It models a multi-layer perceptron with seven hyperparameters that is trained for 52 epochs. The objectives are
1 - accuracy and 1 - balanced accuracy on validation data. They stand for mIoU and the fairness among classes.

The files come from github.com/slds-lmu/yahpo_data (Apache-2.0), folder lcbench.
"""

import json
from functools import cached_property
from pathlib import Path

import moocore
import numpy as np
import numpy.typing as npt

EPOCHS = 52
NAMES = ("batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units", "max_dropout")
Floats = npt.NDArray[np.float64]


class Surrogate:
    """The ONNX model of all tasks.

    Args:
        folder: contains `model.onnx`, `config_space.json` and `encoding.json`.
    """

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        described = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
        self.tasks: list[str] = described[0]["choices"]
        self.ranges = {entry["name"]: entry for entry in described if entry["name"] in NAMES}
        self.codes = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(folder / "model.onnx", settings, providers=["CPUExecutionProvider"])

    def curves(self, task: str, configs: Floats, epochs: npt.ArrayLike = range(1, EPOCHS + 1)) -> Floats:
        """Predict learning curves.

        Args:
            task: an id from `tasks`.
            configs: (n, 7) hyperparameters in the order of `NAMES`. Whole-number hyperparameters are rounded.
            epochs: (e,) epochs to predict, in 1..52.

        Returns:
            (n, e, 2) both objectives in [0, 1]; lower is better.
        """
        steps = np.asarray(epochs)
        inputs = np.empty((len(configs), len(steps), 8), np.float32)
        inputs[:, :, 0] = steps
        inputs[:, :, 1:] = np.where(self.whole, np.rint(configs), configs)[:, None, :]
        codes = np.full((inputs.shape[0] * len(steps), 1), self.codes[task], np.int32)
        out = self.session.run(None, {"x_cat": codes, "x_cont": inputs.reshape(-1, 8)})[0]
        accuracy = out.reshape(*inputs.shape[:2], 6)[:, :, [1, 3]]
        return np.asarray(1 - accuracy / 100, dtype=np.float64)

    @cached_property
    def whole(self) -> npt.NDArray[np.bool_]:
        """(7,) whether each hyperparameter is a whole number."""
        return np.array([self.ranges[name]["type"] == "uniform_int" for name in NAMES])

    def random(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw (n, 7) configurations, uniform on the scale (linear or log) of each hyperparameter."""
        unit = rng.random((n, len(NAMES)))
        columns = []
        for place, name in enumerate(NAMES):
            low, high = self.ranges[name]["lower"], self.ranges[name]["upper"]
            if self.ranges[name]["log"]:
                columns.append(np.exp(np.log(low) + unit[:, place] * (np.log(high) - np.log(low))))
            else:
                columns.append(low + unit[:, place] * (high - low))
        return np.stack(columns, axis=1)


class Yardstick:
    """Relative hypervolume: 1 is the hypervolume of 3,000 random, fully trained configurations of a task together.

    Both objectives are measured from their best value among the 3,000. The reference point is the 90% quantile of each.
    """

    def __init__(self, surrogate: Surrogate, task: str) -> None:
        found = surrogate.curves(task, surrogate.random(np.random.default_rng(2103), 3000), [EPOCHS])[:, 0]
        self.best = found.min(axis=0)
        self.reference = np.quantile(found - self.best, 0.9, axis=0)
        self.full = moocore.hypervolume(found - self.best, ref=self.reference)

    def __call__(self, values: Floats) -> float:
        """Return the relative hypervolume of (n, 2) objectives, 0 or more."""
        return float(moocore.hypervolume(values - self.best, ref=self.reference) / self.full) if len(values) else 0.0
