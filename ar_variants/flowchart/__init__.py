"""ARs that a person can follow by hand: charts of look-ups and questions, trees, rules."""
