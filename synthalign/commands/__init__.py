"""What a person types: plan, recover, sql, annotate, chat.

In: arguments.  Out: lines for people, JSON for programs.  Imports every other room; only here is DVC asked.
"""
