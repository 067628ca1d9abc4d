"""Recordings of exchange frames as a venue."""
