"""Searches for the settings of an arm with Optuna: exact budgets, shared by workers."""
