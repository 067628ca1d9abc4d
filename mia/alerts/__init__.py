"""Alerts to a human, behind one port."""
