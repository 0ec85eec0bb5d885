"""Ratios against what a user would pick instead, taken in one run."""
