"""How far to trust a number: splits that leak no label, and holdouts that nobody reads by accident."""
