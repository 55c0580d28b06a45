"""A model writes: one long prefix, many short queries, and random numbers that belong to the row.

In: model folders or an endpoint's file, a prefix, suffixes.  Out: texts with why they ended, kept in a journal that
survives a crash; a row says the same on any number of processes.  Imports core and dialogue.
"""
