"""What a person types: plan, profile, bring, people, recover, annotate, sql, check-tables, export, and `make chat`.

In: arguments.  Out: lines for people, JSON for programs.  Imports every other package; only here is DVC asked.
"""
