"""Who answered better: oracle, reward model, language model and people, on the same pairs in both orders.

In: answers to the evaluation questions, benchmark files.  Out: judgements, win rates, agreement, benchmark scores.
Imports core to policies.
"""
