"""How sure a figure is: intervals over images and seeds, and the probability that one method beats another."""
