"""The simulated market and venue: an order-driven market from one seed, and the matching of paper mode."""
