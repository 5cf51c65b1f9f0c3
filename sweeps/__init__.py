"""The search over `tce_core`: Ray runs the trials, Optuna keeps the record and proposes, MLflow shows."""
