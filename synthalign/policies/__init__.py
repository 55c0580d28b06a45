"""Rewards and pairs become a policy: DPO, PPO, RRHF, RLOO and GRPO.

In: a base or SFT model, a reward model or pairs, prompts.  Out: model folders, learning curves, samples.
Imports core to reward.
"""
