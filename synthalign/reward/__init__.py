"""Pairs become a reward model.

In: comparisons.  Out: a model folder with one output, its scores and token values; also what all trainers share.
Imports core to feedback.
"""
