"""Files, rows, settings and intervals: what every other room stands on.

In: settings files, Parquet, JSON lines, numbers.  Out: checked settings, tables that are written once and byte for byte
the same, content ids, metrics, intervals over questions and seeds.  Imports nothing of ours, and no torch.
"""
