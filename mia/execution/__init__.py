"""Order table, portfolio, targets to orders, protection and reconciliation."""
