"""What people see and take away: the terminal, plots, MLflow, the exported file."""
