"""What a sweep keeps: its record in an Optuna study, its plan, its folder, its lock."""
