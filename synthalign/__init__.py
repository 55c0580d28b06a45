"""Twelve packages, in the order of the data; an import goes only to a package further up this list.

core        Files, rows, settings and intervals: what every other package stands on.
dialogue    Texts as messages, messages as tokens.
generation  A model writes: one long prefix, many short queries, and random numbers that belong to the row.
queries     Seeds become queries.
feedback    Answers become pairs and demonstrations: by a rule of thumb, a contrast, a labeller, people, or a reward.
reward      Pairs become a reward model.
policies    Rewards and pairs become a policy: DPO, PPO, RRHF, RLOO and GRPO.
judging     Who answered better: oracle, reward model, language model and people, on the same pairs in both orders.
flan        Tasks become an instruction-tuned model.
ditto       One author's style from fewer than ten demonstrations.
reporting   Metrics become claims, tables and a page.
commands    What a person types: plan, recover, sql, annotate, chat.
"""
