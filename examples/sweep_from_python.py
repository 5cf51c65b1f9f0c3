"""Run a small sweep from Python and read its Pareto front. It takes about two minutes on two CPU cores.

In a notebook, each paragraph below is a cell. `SweepOptions` has the same options as `python sweeps/run.py --help`.
"""

from sweeps.sweep import SweepOptions, run_sweep


def main() -> None:
    # Two configurations and four baselines, two short epochs each: it shows how a sweep works, and finds nothing.
    options = SweepOptions(trials=2, epochs=2, confirm=0, name="example", overrides=("trial.steps_per_epoch=5",))
    result = run_sweep(options)

    print("\nThe front, by rising mIoU:")
    for point in result.front:  # a trial with one strength of logit adjustment
        report = point.scores.report
        worst_class = result.class_names[report.worst_class]
        print(f"  {point.label:<40} mIoU {report.miou:.3f}, worst class {worst_class} {report.worst_iou:.3f}")

    assert result.recommended is not None
    print(f"Recommended: {result.recommended.label}, with lr = {result.recommended.trial.config['lr']:.3g}")
    print(f"Baselines:   {', '.join(trial.label for trial in result.baselines)}")
    print(f"Exported to  {result.folder.best}")


if __name__ == "__main__":
    main()
