"""Texts as messages, messages as tokens.

In: demonstration files and dialogues.  Out: the one dialogue format that prompts, training rows and rewards share, as
text and as token ids with the tokens to learn from, and the rule for what ended.  Imports core.
"""
