"""Answers become pairs and demonstrations: by a rule of thumb, a contrast, a labeller, people, or a reward.

In: responses, votes, principles, texts to contrast.  Out: comparisons with the probability of their label, what was
dropped and why, demonstrations.  Imports the rooms above it in the import order: core to queries.
"""
