"""Seeds become queries.

In: seed queries and what a model wrote after them.  Out: accepted queries, and rejected ones with their reason and the
nearest older query.  Imports core, dialogue and generation.
"""
