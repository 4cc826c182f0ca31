"""Domains at work: what is wanted, what is there, what is dirty; observe → plan → guard → apply → report."""
