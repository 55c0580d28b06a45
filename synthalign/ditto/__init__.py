"""One author's style from fewer than ten demonstrations.

In: an author's demonstrations and the policy's own samples.  Out: pairs, a policy, samples, style scores.
Imports core to flan.
"""
