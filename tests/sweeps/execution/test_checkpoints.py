"""`sweeps.execution.checkpoints`: the checkpoints of the front are kept, whatever strength brought a trial there."""

from sweeps.execution.checkpoints import CheckpointKeeper, checkpoint_path
from tests.sweeps.searching import ALONE, train

FRONT = [
    ({0.0: (0.5, 0.10)}, {0}),
    ({0.0: (0.4, 0.05), 0.5: (0.45, 0.30)}, {0, 1}),  # its adjusted model alone is on the front
    ({0.0: (0.4, 0.05), 0.5: (0.45, 0.20)}, {0, 1}),
    ({0.0: (0.4, 0.05), 1.0: (0.5, 0.40)}, {3}),
    ({0.0: (0.6, 0.05), 1.0: (0.3, 0.01)}, {3, 4}),
]


def test_checkpoints_on_the_front_are_kept(begin, tmp_path):
    search = begin(space=ALONE, trials=len(FRONT), confirm=0)
    keeper = CheckpointKeeper(tmp_path, search.outcome)
    for number, (curve, kept) in enumerate(FRONT):
        trial = search.next()
        checkpoint_path(tmp_path, number).write_bytes(b"weights")
        keeper.on_trial_start(number)
        train(search, trial, curve)
        keeper.on_epoch(number)
        keeper.on_trial_end(number)
        if number == 2:  # a new process
            keeper = CheckpointKeeper(tmp_path, search.outcome)
        assert {path.name for path in tmp_path.glob("*.pt")} == {f"trial-{one:05d}.pt" for one in kept}
