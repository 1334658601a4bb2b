"""What is measured on held-out documents."""
