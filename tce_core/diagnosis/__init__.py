"""Why a class is hopeless: what the data show of it, what a trained model confuses it with, and the likely reason."""
