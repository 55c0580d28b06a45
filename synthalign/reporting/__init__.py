"""Metrics become claims, tables and a page.

In: metrics files of one run or of several seeds.  Out: the papers' claims with intervals, the tables of README and
docs, report/index.html.  Imports core to ditto.
"""
