"""Rules: strategies without learned weights, by name."""

from mia.policy.rules.registry import RULES, make_rule

__all__ = ["RULES", "make_rule"]
