"""The commands beside `run.py` and `train.py`: each parses its arguments, calls, and prints."""
