"""Parties in browser tabs: what their pages are made of, and what runs in a tab."""
