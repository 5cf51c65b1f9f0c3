"""Masks of photographs by a trained model: which files, in which tiles, in which colours."""
