"""Chores of the checkout: its environment, its browser, its layers. Not part of the package."""
