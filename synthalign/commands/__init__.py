"""What a person types: plan, profile, recover, annotate, sql, check-tables, and chat, which is `make chat`.

In: arguments.  Out: lines for people, JSON for programs.  Imports every other package; only here is DVC asked.
"""
