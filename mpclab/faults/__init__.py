"""Failure as data: what a network is like, and what may go wrong, when, and for how long."""
