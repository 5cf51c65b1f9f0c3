"""Fresh seeds: of the reference and the winner in a sweep, of every method in a comparison."""

from sweeps.storage.plan import Method
from tests.sweeps.searching import SPACE, train

METHODS = (Method("mcce", "mcce"), Method("focal", "focal"), Method("focal+adjusted", "focal", None))


def test_a_comparison_trains_every_method_with_every_seed_and_recommends_nothing(begin):
    search = begin(methods=METHODS, trials=0, confirm=2, space={**SPACE, "space": {}})
    order = []
    while (trial := search.next()) is not None:
        order.append((trial.label, trial.config["seed"]))
        assert search.sees_test(trial)
        train(search, trial, (0.5, 0.1))
    assert order == [
        (label + end, seed) for seed, end in ((5, ""), (6, " seed=6"), (7, " seed=7")) for label in ("mcce", "focal")
    ]
    assert search.finished
    assert search.outcome.choose() is None
    assert search.epochs_expected == search.record.epochs == 6 * 4


def test_a_method_whose_first_training_failed_has_its_other_seeds(begin):
    search = begin(methods=METHODS, trials=0, confirm=1, space={**SPACE, "space": {}})
    first = search.next()
    search.record_end(first.number, "it diverged")
    others = []
    while (trial := search.next()) is not None:
        others.append((trial.label, train(search, trial, (0.5, 0.1)).complete))
    assert others == [("focal", True), ("mcce seed=6", True), ("focal seed=6", True)]


def test_in_a_sweep_only_fresh_seeds_see_the_test_split(begin):
    search = begin(trials=1, confirm=1)
    seen = {}
    while (trial := search.next()) is not None:
        seen.setdefault(trial.role, set()).add(search.sees_test(trial))
        train(search, trial, (0.5, 0.1))
    assert seen == {"baseline": {False}, "search": {False}, "confirm": {True}}
