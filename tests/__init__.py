"""Worked examples: the folders are those of the code, and here is what concerns all of it."""
