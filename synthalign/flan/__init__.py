"""Tasks become an instruction-tuned model.

In: instruction data.  Out: mixtures, packed rows, answers to held-out tasks and their scores.  Imports core to judging.
"""
