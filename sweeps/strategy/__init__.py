"""What a sweep does next: proposals, rungs, budget, the front and the recommendation. No Ray, no MLflow."""
