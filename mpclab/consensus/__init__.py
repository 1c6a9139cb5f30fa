"""Approval policies and agreement protocols: how n parties come to one record."""
