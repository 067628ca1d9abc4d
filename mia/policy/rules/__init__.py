"""Rules: strategies without learned weights, by name."""

from mia.policy.rules.base import Rule, RuleSpec
from mia.policy.rules.params import Param
from mia.policy.rules.registry import RULES, make_rule, rule_spec, rule_values

__all__ = ["RULES", "Param", "Rule", "RuleSpec", "make_rule", "rule_spec", "rule_values"]
